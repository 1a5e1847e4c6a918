//! The limits of one engine within the ceilings of its host, each met to the unit, and what all engines use together.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use pilothouse_core::cycle::{Engine as _, Fault, FaultKind, Verdict};
use pilothouse_core::engine::Limits;
use pilothouse_core::state::DomainState;
use pilothouse_engine_host::{Compiler, EngineLimits, LoadError, LoadedEngine, Runner, RunnerConfig, Sandbox, SandboxConfig};
use procfs::process::{Limit, LimitValue, Process};
use serde_json::json;

use crate::domain::{cycle, decide, domain};
use crate::guest::{Guest, guest, shipped};
use crate::{cut_by_the_clock, limited, load, sandbox};

/// The end of every decision of the quiet guest.
const DONE: &str = "(call $done (local.get $domain) (local.get $control))";

/// A guest that does this when it decides.
fn does(body: &str) -> Guest {
    Guest::new("quiet").with(DONE, &format!("{body}\n  {DONE}"))
}

fn engine(sandbox: &Sandbox, guest: &Guest) -> LoadedEngine {
    sandbox.load(&guest.component()).expect("it loads")
}

/// What comes of one call of `decide`, with a memory that it was never given, and what it used up.
fn decides(engine: &LoadedEngine) -> (Result<Verdict, Fault>, u64) {
    decides_over(engine, &domain(json!({})))
}

fn decides_over(engine: &LoadedEngine, state: &DomainState) -> (Result<Verdict, Fault>, u64) {
    let called = engine.decide(cycle(state), b"");
    (called.result, called.fuel)
}

fn fault(engine: &LoadedEngine) -> Fault {
    decides(engine).0.expect_err("it fails")
}

/// Decides well with this much, and not with one less: the fault.
fn just_enough(engine: &LoadedEngine, limits: impl Fn(u64) -> Limits, enough: u64) -> Fault {
    let (with_enough, _) = decides(&engine.with_limits(&limits(enough)));
    assert!(with_enough.is_ok(), "with {enough}: {with_enough:?}");
    fault(&engine.with_limits(&limits(enough - 1)))
}

/// The least with which it decides well.
fn least(engine: &LoadedEngine, limits: impl Fn(u64) -> Limits, within: std::ops::Range<u64>) -> u64 {
    let std::ops::Range { mut start, mut end } = within;
    while start + 1 < end {
        let middle = start.midpoint(end);
        let good = decides(&engine.with_limits(&limits(middle))).0.is_ok();
        *(if good { &mut end } else { &mut start }) = middle;
    }
    end
}

#[test]
fn fuel_is_enough_to_the_last_unit() {
    let engine = load("chatter");
    let (_, used) = decides(&engine);
    let fault = just_enough(&engine, |fuel| Limits { fuel: Some(fuel), ..Limits::default() }, used);
    assert_eq!(fault, Fault::new(FaultKind::Fuel, format!("used up its {} units of fuel", used - 1)));
    assert!(fault.kind.counts());
}

#[test]
fn an_engine_can_have_a_shorter_deadline_than_its_host() {
    let sandbox = limited(|limits| limits.fuel = u64::MAX);
    let spin = engine(&sandbox, &Guest::new("spin")).with_limits(&Limits { deadline_ms: Some(30), ..Limits::default() });
    let fault = fault(&spin);
    cut_by_the_clock(&fault, 30);
}

#[test]
fn linear_memory_is_bounded_to_the_byte() {
    let grows = does("(if (i32.lt_s (memory.grow (i32.const 9)) (i32.const 0)) (then unreachable))");
    let limits = |bytes| Limits { memory_bytes: Some(bytes), ..Limits::default() };
    let fault = just_enough(&engine(&sandbox(), &grows), limits, 10 << 16);
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Memory, "wanted 589824 bytes of memory more when 589823 were left"));
}

#[test]
fn an_engine_that_begins_with_more_memory_than_it_may_have_can_not_be_called() {
    let large = Guest::new("quiet").with("(memory (export \"memory\") 1)", "(memory (export \"memory\") 20)");
    let fault = fault(&engine(&sandbox(), &large).with_limits(&Limits { memory_bytes: Some(1 << 20), ..Limits::default() }));
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Memory, "wanted 1310720 bytes of memory more when 1048576 were left"));
}

#[test]
fn tables_are_bounded_to_the_element() {
    let with_table = |grow: u32| {
        let refused = format!("(if (i32.lt_s (table.grow $t (ref.null func) (i32.const {grow})) (i32.const 0)) (then unreachable))");
        engine(&sandbox(), &does(&refused).with("(global $heap ", "(table $t 3 funcref)\n  (global $heap "))
    };
    let limits = |elements| Limits { table_elements: Some(elements), ..Limits::default() };
    // What the component has besides is the frame's, and differs by nothing.
    let (five, six) = (least(&with_table(5), limits, 0..1000), least(&with_table(6), limits, 0..1000));
    assert_eq!((five >= 8, six), (true, five + 1));
    let fault = just_enough(&with_table(5), limits, five);
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Memory, "wanted 5 table elements more when 4 were left"));
}

/// Stacks from the smallest that a host may have to the largest.
const STACKS: [usize; 5] = [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20];

fn with_stack(bytes: usize) -> Sandbox {
    limited(|limits| limits.stack_bytes = bytes)
}

#[test]
fn what_is_too_deep_for_a_small_stack_is_not_for_a_large_one() {
    let [smallest, .., largest] = STACKS;
    // Each of these has a place on the stack of 16 bytes at least, for where it goes on and where the one before is: 160 000 in all.
    let ends = "(if (result i32) (local.get 0) (then (i32.add (call $deeper (i32.sub (local.get 0) (i32.const 1))) (i32.const 1))) \
                (else (i32.const 0)))";
    let deep = Guest::new("recurse").with("(i32.add (call $deeper (local.get 0)) (i32.const 1))", ends).with(
        "(call $deeper (i32.const 0))",
        &format!("(if (i32.ne (call $deeper (i32.const 10000)) (i32.const 10000)) (then unreachable)) {DONE}"),
    );
    assert!(decides(&engine(&with_stack(largest), &deep)).0.is_ok());
    let fault = fault(&engine(&with_stack(smallest), &deep));
    assert_eq!((fault.kind, fault.message.contains("stack")), (FaultKind::Trap, true), "{fault}");
}

#[test]
fn a_stack_of_twice_the_bytes_is_twice_as_deep() {
    // It uses the same fuel for every call of itself.
    let depths = STACKS.map(|bytes| {
        let (result, fuel) = decides(&engine(&with_stack(bytes), &Guest::new("recurse")));
        let fault = result.expect_err("it recurses without end");
        assert_eq!((fault.kind, fault.message.contains("stack")), (FaultKind::Trap, true), "{fault}");
        fuel
    });
    for pair in depths.windows(2) {
        assert!((pair[0] * 19 / 10..=pair[0] * 21 / 10).contains(&pair[1]), "{depths:?}");
    }
}

#[test]
fn what_is_kept_from_call_to_call_is_bounded_to_the_byte() {
    let limits = |bytes| Limits { blob_bytes: Some(bytes), ..Limits::default() };
    let keeps = Guest::new("large_memory").with("65537", "1000");
    let fault = just_enough(&engine(&sandbox(), &keeps), limits, 1000);
    assert_eq!(fault, Fault::new(FaultKind::Output, "a memory of 1000 bytes; at most 999 are kept"));
    // Also of its first memory.
    let begins =
        keeps.with(";; its first memory", "(i32.store (i32.const 1028) (i32.const 8192)) (i32.store (i32.const 1032) (i32.const 7))");
    let begins = engine(&sandbox(), &begins).with_limits(&limits(6));
    let fault = begins.initialize(cycle(&domain(json!({})))).result.expect_err("one too many");
    assert_eq!(fault, Fault::new(FaultKind::Output, "a memory of 7 bytes; at most 6 are kept"));
}

#[test]
fn requests_beyond_the_limit_are_refused_and_the_others_stand() {
    let asks = engine(&sandbox(), &does(&"(call $ask (local.get $control) (i32.const 1))\n".repeat(4)));
    for (requests, granted) in [(0, 0), (3, 3), (4, 4), (5, 4)] {
        let limited = asks.with_limits(&Limits { requests: Some(requests), ..Limits::default() });
        assert_eq!(decide(&mut domain(json!({})), &limited).launches.len(), granted, "{requests}");
    }
}

#[test]
fn lines_of_the_log_are_bounded_in_number_and_length() {
    let limits = Limits { log_lines: Some(5), log_bytes: Some(3), ..Limits::default() };
    let log = decide(&mut domain(json!({})), &load("chatter").with_limits(&limits)).log;
    assert_eq!((log.len(), log[4].as_str(), log[5].as_str()), (6, "warn: typ", "warn: 995 more lines were dropped"));
    let limits = Limits { log_lines: Some(0), ..Limits::default() };
    assert_eq!(decide(&mut domain(json!({})), &load("chatter").with_limits(&limits)).log, ["warn: 1000 more lines were dropped"]);
}

#[test]
fn what_is_handed_over_at_once_is_bounded_to_the_byte() {
    let says = |bytes: u32| engine(&sandbox(), &does(&format!("(call $log (i32.const 1) (i32.const 128) (i32.const {bytes}))")));
    let limits = |bytes| Limits { answer_bytes: Some(bytes), ..Limits::default() };
    let (some, more) = (least(&says(10_000), limits, 4096..100_000), least(&says(10_007), limits, 4096..100_000));
    assert_eq!(((10_000..10_100).contains(&some), more), (true, some + 7), "{some}");
    let fault = just_enough(&says(10_000), limits, some);
    assert_eq!(fault.kind, FaultKind::Output);
    assert!(fault.message.contains("too much data"), "{fault}");
}

#[test]
fn what_is_above_the_ceiling_is_cut_to_it() {
    let sandbox = limited(|limits| (limits.fuel, limits.memory_bytes) = (1_000_000, 8 << 20));
    let own = Limits { fuel: Some(u64::MAX), memory_bytes: Some(1 << 30), requests: Some(1), ..Limits::default() };
    let spin = engine(&sandbox, &Guest::new("spin")).with_limits(&own);
    assert_eq!(spin.limits(), &EngineLimits { requests: 1, ..sandbox.limits().clone() });
    assert_eq!(fault(&spin).message, "used up its 1000000 units of fuel");
    let told: Vec<_> = sandbox.limits().above(&own).iter().map(ToString::to_string).collect();
    let expected = [
        "/fuel: 18446744073709551615 is cut to the host's ceiling of 1000000",
        "/memory_bytes: 1073741824 is cut to the host's ceiling of 8388608",
    ];
    assert_eq!(told, expected);
}

#[test]
fn engines_of_one_sandbox_have_limits_of_their_own_without_being_compiled_again() {
    let sandbox = sandbox();
    let chatter = engine(&sandbox, &Guest::new("chatter"));
    let (_, used) = decides(&chatter);
    let poor = chatter.with_limits(&Limits { fuel: Some(used - 1), ..Limits::default() });
    let rich = poor.with_limits(&Limits { fuel: Some(used), ..Limits::default() });
    let quiet = engine(&sandbox, &Guest::new("quiet")).with_limits(&Limits { log_lines: Some(1), ..Limits::default() });
    for _ in 0..2 {
        assert_eq!(fault(&poor).kind, FaultKind::Fuel);
        assert!([&rich, &chatter, &quiet].into_iter().all(|engine| decides(engine).0.is_ok()));
    }
    assert_eq!((sandbox.compiled(), poor.digest(), poor.identity()), (2, chatter.digest(), chatter.identity()));
    let all_again = poor.with_limits(&Limits::default());
    assert_eq!(all_again.limits(), sandbox.limits(), "what is not said is as the host has it");
}

/// Takes what a call may have, and then never ends; or tells in its verdict that it was refused memory.
fn hoarding(sandbox: &Sandbox, then: &str) -> LoadedEngine {
    let hoards = format!("(if (i32.ge_s (memory.grow (i32.const 127)) (i32.const 0)) (then {then}))");
    engine(sandbox, &does(&hoards))
}

#[test]
fn memory_that_all_calls_hold_together_is_bounded_and_who_finds_none_is_not_to_blame() {
    const CALL: usize = 8 << 20;
    let mut config = SandboxConfig { memory_together: Some(CALL + (CALL >> 1)), ..SandboxConfig::default() };
    (config.limits.memory_bytes, config.limits.fuel, config.limits.deadline) = (CALL, u64::MAX, Duration::from_secs(1));
    let sandbox = Sandbox::new(config).expect("a sandbox");
    let (keeps, makes_do) = (hoarding(&sandbox, "(loop $again (br $again))"), hoarding(&sandbox, ""));
    assert_eq!(sandbox.memory_together(), (0, CALL + (CALL >> 1)));
    thread::scope(|scope| {
        let keeping = scope.spawn(|| fault(&keeps));
        while sandbox.memory_together().0 < CALL {
            thread::yield_now();
        }
        let held = sandbox.memory_together().0;
        // It would make do with less, and decide otherwise than it does by itself: so it is ended instead of being told.
        let fault = fault(&makes_do);
        assert_eq!(fault.kind, FaultKind::Crowded, "{fault}");
        assert!(!fault.kind.counts() && fault.message.contains("engines together hold"), "{fault}");
        assert!(!keeping.is_finished(), "the other one held it at that time");
        assert_eq!(sandbox.memory_together().0, held, "what the call held is given back with it");
        assert!(decides(&engine(&sandbox, &Guest::new("quiet"))).0.is_ok(), "what fits goes on");
        cut_by_the_clock(&keeping.join().expect("it was ended"), 1000);
    });
    assert_eq!(sandbox.memory_together().0, 0);
    assert!(decides(&makes_do).0.is_ok(), "and there is room again");
}

#[test]
fn a_sandbox_has_room_for_one_call_at_least() {
    let config = |together| SandboxConfig { memory_together: Some(together), ..SandboxConfig::default() };
    let least = EngineLimits::default().memory_bytes;
    assert!(Sandbox::new(config(least)).is_ok());
    let error = Sandbox::new(config(least - 1)).expect_err("nonsense");
    assert!(error.to_string().contains("memory_together: expected at least memory_bytes, which is 67108864"), "{error}");
}

#[tokio::test]
async fn calls_of_one_component_never_take_the_threads_of_others() {
    let sandbox = limited(|limits| (limits.fuel, limits.deadline) = (u64::MAX, Duration::from_millis(30)));
    let spin = engine(&sandbox, &Guest::new("spin")).with_limits(&Limits { calls: Some(2), ..Limits::default() });
    let quiet = engine(&sandbox, &Guest::new("quiet"));
    let runner = Arc::new(Runner::new(RunnerConfig { threads: 3, queue: 100 }).expect("threads"));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let state = domain(json!({}));
    let slow: Vec<_> = (0..10)
        .map(|_| {
            let (spin, cycle, runner) = (spin.clone(), cycle(&state), Arc::clone(&runner));
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let place = spin.place().await;
                let job = move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let fault = spin.decide(cycle, b"").result.expect_err("it spins");
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(place);
                    fault
                };
                runner.run(job).expect("there is room").await
            })
        })
        .collect();
    let mut decided = 0;
    while !slow.iter().all(tokio::task::JoinHandle::is_finished) {
        let (quiet, cycle) = (quiet.clone(), cycle(&state));
        let place = quiet.place().await;
        let verdict = runner.run(move || (quiet.decide(cycle, b"").result, place)).expect("there is room").await.expect("an answer").0;
        assert!(verdict.is_ok());
        decided += 1;
    }
    for call in slow {
        cut_by_the_clock(&call.await.expect("no panic").expect("an answer"), 30);
    }
    assert_eq!(most.load(Ordering::SeqCst), 2, "as many as it may, and never more");
    assert!(decided >= 5, "the other one went on: {decided}");
    assert_eq!(spin.free_places(), 2);
}

#[tokio::test]
async fn places_are_given_in_order_and_who_gives_up_takes_none() {
    let engine = load("quiet").with_limits(&Limits { calls: Some(1), ..Limits::default() });
    let taken = engine.place().await;
    let same = engine.with_limits(&Limits { calls: Some(1), fuel: Some(7), ..Limits::default() });
    let mut first = Box::pin(engine.place());
    let mut second = Box::pin(same.place());
    let mut third = Box::pin(engine.place());
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending() && futures::poll!(&mut third).is_pending());
    drop(second);
    drop(taken);
    assert!(futures::poll!(&mut third).is_pending(), "it is not its turn");
    let taken = first.await;
    assert!(futures::poll!(&mut third).is_pending());
    let more = engine.with_limits(&Limits { calls: Some(2), ..Limits::default() });
    assert_eq!((engine.free_places(), more.free_places()), (0, 2), "another number of places is other places");
    drop(taken);
    drop(third.await);
    assert_eq!(engine.free_places(), 1);
}

/// The program as a compiler of hosts.
fn compiler() -> Compiler {
    Compiler { program: env!("CARGO_BIN_EXE_pilothouse-under-test").into(), arguments: vec!["compile-component".into()] }
}

#[test]
fn what_another_process_compiled_is_what_this_one_would_have() {
    let apart = Sandbox::new(SandboxConfig { compiler: Some(compiler()), ..SandboxConfig::default() }).expect("a sandbox");
    for component in [guest("chatter"), shipped("npreserving")] {
        let (here, there) = (sandbox().load(&component).expect("it loads"), apart.load(&component).expect("it loads"));
        let (here, there) = (decides(&here), decides(&there));
        assert_eq!((here.1, here.0.is_ok()), (there.1, there.0.is_ok()), "the same fuel");
    }
    assert_eq!(apart.compiled(), 2);
    let whole = guest("quiet");
    assert!(matches!(apart.load(&whole[..whole.len() - 3]), Err(LoadError::Malformed(why)) if !why.is_empty()));
}

#[test]
fn what_was_compiled_in_another_process_is_kept_for_this_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = |compiler| SandboxConfig { compiler, cache: Some(folder.path().to_owned()), ..SandboxConfig::default() };
    Sandbox::new(config(Some(compiler()))).expect("a sandbox").load(&guest("quiet")).expect("it loads");
    let here = Sandbox::new(config(None)).expect("a sandbox");
    here.load(&guest("quiet")).expect("it loads");
    assert_eq!(here.compiled(), 0);
}

#[test]
fn a_process_that_compiles_is_bounded_before_it_reads_anything() {
    let Compiler { program, arguments } = compiler();
    let (read, write) = (Stdio::piped(), Stdio::piped());
    let mut child = Command::new(program).args(arguments).stdin(read).stdout(write).spawn().expect("it starts");
    let process = Process::new(child.id().try_into().expect("a number")).expect("it runs");
    // The last that it does before it waits for a component.
    while process.stat().expect("it runs").nice == 0 {
        assert_eq!(child.try_wait().expect("its end, if it has one"), None);
        thread::yield_now();
    }
    let bounds = process.limits().expect("it runs");
    let of = |limit: Limit| match (limit.soft_limit, limit.hard_limit) {
        (LimitValue::Value(soft), LimitValue::Value(hard)) => [soft, hard],
        unlimited => panic!("{unlimited:?}"),
    };
    assert_eq!((of(bounds.max_data_size), of(bounds.max_cpu_time)), ([2 << 30; 2], [300; 2]));
    drop(child.stdin.take());
    let answer = child.wait_with_output().expect("it ends");
    assert_eq!((answer.status.success(), answer.stdout.first()), (true, Some(&1)), "nothing is no component");
}

#[test]
fn a_compiler_that_dies_refuses_the_component_and_hurts_nobody() {
    let dies = Compiler { program: "/bin/sh".into(), arguments: vec!["-c".into(), "kill -SEGV $$".into()] };
    let sandbox = Sandbox::new(SandboxConfig { compiler: Some(dies), ..SandboxConfig::default() }).expect("a sandbox");
    match sandbox.load(&guest("quiet")).expect_err("it is refused") {
        LoadError::Compile(why) => assert!(why.contains("signal"), "{why}"),
        other => panic!("{other}"),
    }
}
