//! What there is of WASI for guests that import it: the decision's moment, its seed and its log, and nothing else.

use pilothouse_core::cycle::{Fault, FaultKind};
use pilothouse_core::seed::{Random, Seed, Stream};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;
use pilothouse_engine_host::{LoadError, LoadedEngine};
use serde_json::json;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::ManglingAndAbi;

use crate::domain::{NOW, cycle, decide, decide_at, domain, run};
use crate::guest::Guest;
use crate::{fault_of, limited, refused, sandbox};

/// Where its texts are, and the mark for what it does.
const DOES: &str = "  ;; what it does\n";

/// A guest that does this.
fn doing(what: &str) -> Guest {
    Guest::new("wasi").with_wasi().with(DOES, what)
}

fn load(guest: &Guest) -> LoadedEngine {
    sandbox().load(&guest.component()).expect("it loads")
}

/// What it returns as its memory, in a domain of its own.
fn memory_of(guest: &Guest) -> Vec<u8> {
    let mut state = domain(json!({}));
    decide(&mut state, &load(guest));
    state.memory.expect("it returned one")
}

fn fault_of_doing(what: &str) -> Fault {
    let engine = limited(|limits| limits.fuel = 5_000_000).load(&doing(what).component()).expect("it loads");
    fault_of(&engine).0
}

/// A number of eight bytes in what was returned.
fn number(memory: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(memory[at..at + 8].try_into().expect("eight bytes"))
}

/// The stream that WASI draws from when this domain decides next.
fn chance(state: &DomainState) -> Random {
    Seed(u128::from(state.sequence).to_be_bytes()).stream(Stream::Wasi)
}

/// The same bytes with another version of WASI, which must be as long.
fn with_version(component: &[u8], version: &str) -> Vec<u8> {
    let (old, new) = (b"@0.2.12", format!("@{version}").into_bytes());
    assert_eq!(old.len(), new.len());
    let mut bytes = component.to_vec();
    for at in 0..bytes.len() - old.len() {
        if bytes[at..].starts_with(old) {
            bytes[at..at + old.len()].copy_from_slice(&new);
        }
    }
    bytes
}

#[test]
fn both_clocks_show_the_moment_of_the_decision() {
    let engine = load(&doing("(call $wall (i32.const 4096)) (i64.store (i32.const 4112) (call $monotonic))"));
    let mut state = domain(json!({}));
    let now = Timestamp::from_millis(NOW.as_millis() + 1234);
    decide_at(&mut state, now, &engine);
    let memory = state.memory.expect("it returned one");
    assert_eq!((number(&memory, 0), number(&memory, 8) as u32), (now.as_millis() / 1000, 234_000_000));
    assert_eq!(number(&memory, 16), now.as_millis() * 1_000_000);
}

#[test]
fn chance_comes_from_the_seed_of_the_decision_in_a_stream_of_its_own() {
    let engine = load(&doing(
        "(i64.store (i32.const 4096) (call $random))
         (call $random_bytes (i64.const 12) (i32.const 2048))
         (memory.copy (i32.const 4104) (i32.load (i32.const 2048)) (i32.load (i32.const 2052)))
         (call $insecure_bytes (i64.const 8) (i32.const 2048))
         (memory.copy (i32.const 4116) (i32.load (i32.const 2048)) (i32.load (i32.const 2052)))
         (call $insecure_seed (i32.const 4128))",
    ));
    let mut state = domain(json!({}));
    let mut expected = chance(&state);
    let again = state.clone();
    let one = run(&state, &engine).outcome.expect("it decides").verdict.memory;
    assert_eq!(number(&one, 0), expected.next_u64());
    let bytes = [expected.next_u64().to_le_bytes(), expected.next_u64().to_le_bytes()].concat();
    assert_eq!(one[8..20], bytes[..12]);
    assert_eq!([number(&one, 20), number(&one, 32), number(&one, 40)], [(); 3].map(|()| expected.next_u64()));
    assert_eq!(run(&again, &engine).outcome.expect("it decides").verdict.memory, one, "the same seed");
    decide(&mut state, &engine);
    assert_ne!(run(&state, &engine).outcome.expect("it decides").verdict.memory, one, "another one");
}

#[test]
fn what_is_drawn_through_wasi_changes_nothing_of_what_the_contract_gives() {
    let contract = "(import \"pilothouse:engine/state@0.1.0\" \"[method]domain.random\" (func $draw (param i32) (result i64)))";
    let drawing = |before: &str| {
        let what = format!("{before} (i64.store (i32.const 4096) (call $draw (local.get $domain)))");
        doing(&what).with("  ;; more imports", contract)
    };
    let plain = memory_of(&drawing(""));
    assert_eq!(memory_of(&drawing("(drop (call $random)) (drop (call $random))")), plain);
    assert_ne!(number(&plain, 0), chance(&domain(json!({}))).next_u64());
}

#[test]
fn chance_goes_on_from_call_to_call_of_one_decision() {
    let keep = "(i64.store (i32.const 4096) (call $random))
                (i32.store (i32.const 1028) (i32.const 4096)) (i32.store (i32.const 1032) (i32.const 8))";
    let guest = doing("(memory.copy (i32.const 4096) (local.get $memory) (local.get $length)) (i64.store (i32.const 4104) (call $random))");
    let memory = memory_of(&guest.with("    ;; its first memory\n", keep));
    let mut expected = chance(&domain(json!({})));
    assert_eq!([number(&memory, 0), number(&memory, 8)], [expected.next_u64(), expected.next_u64()]);
}

#[test]
fn a_call_that_belongs_to_no_decision_has_time_zero_and_the_same_numbers_every_time() {
    let first = Seed::default().stream(Stream::Wasi).next_u64();
    let check = format!(
        "(param i32 i32) (result i32)
         (call $wall (i32.const 2048))
         (if (i64.ne (i64.load (i32.const 2048)) (i64.const 0)) (then unreachable))
         (if (i64.ne (call $monotonic) (i64.const 0)) (then unreachable))
         (if (i64.ne (call $random) (i64.const {first})) (then unreachable))
         (i32.const 1024))"
    );
    let engine =
        load(&doing("").with("#check-config\") (param i32 i32) (result i32) (i32.const 1024))", &format!("#check-config\") {check}")));
    for _ in 0..2 {
        assert_eq!(engine.check_config("{}"), Ok(Vec::new()));
    }
}

#[test]
fn there_is_no_environment_no_file_no_terminal_and_nothing_to_read() {
    let memory = memory_of(&doing(
        "(memory.fill (i32.const 2048) (i32.const 255) (i32.const 64))
         (call $environment (i32.const 2048)) (i32.store (i32.const 4096) (i32.load (i32.const 2052)))
         (call $arguments (i32.const 2048)) (i32.store (i32.const 4100) (i32.load (i32.const 2052)))
         (call $directories (i32.const 2048)) (i32.store (i32.const 4104) (i32.load (i32.const 2052)))
         (call $cwd (i32.const 2060)) (i32.store8 (i32.const 4108) (i32.load8_u (i32.const 2060)))
         (call $terminal (i32.const 2060)) (i32.store8 (i32.const 4109) (i32.load8_u (i32.const 2060)))
         ;; An error, and it is `closed`.
         (call $read (call $stdin) (i64.const 0x7fffffffffffffff) (i32.const 2064))
         (i32.store8 (i32.const 4110) (i32.load8_u (i32.const 2064))) (i32.store8 (i32.const 4111) (i32.load8_u (i32.const 2068)))",
    ));
    assert_eq!(memory[..16], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
}

#[test]
fn a_directory_that_nobody_gave_can_not_be_made_up() {
    let open = "(call $open (i32.const 1) (i32.const 0) (i32.const 3072) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 2048))";
    let fault = fault_of_doing(open);
    assert!(fault.kind.counts() && fault.message.contains("handle"), "{fault}");
}

#[test]
fn sockets_and_look_ups_are_refused() {
    let memory = memory_of(&doing(
        "(call $tcp (i32.const 0) (i32.const 4096))
         (call $udp (i32.const 1) (i32.const 4104))
         (call $resolve (call $network) (i32.const 3072) (i32.const 5) (i32.const 4112))",
    ));
    let access_denied = [1, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(memory[..24], [access_denied; 3].concat());
}

#[test]
fn whoever_waits_for_what_can_not_come_has_failed_and_nothing_comes_of_it() {
    let poll = |first: &str, second: &str| {
        format!(
            "(i32.store (i32.const 3000) {first}) (i32.store (i32.const 3004) {second})
             (call $poll (i32.const 3000) (i32.const 2) (i32.const 2048))"
        )
    };
    let never = "(call $after (i64.const 1))";
    for wait in [
        "(call $block (call $after (i64.const 1)))".to_owned(),
        "(call $block (call $after (i64.const -1)))".to_owned(),
        "(call $block (call $at (i64.add (call $monotonic) (i64.const 1))))".to_owned(),
        poll(never, never),
        "(call $poll (i32.const 3000) (i32.const 0) (i32.const 2048))".to_owned(),
    ] {
        let engine = load(&doing(&format!("(call $ask (local.get $control) (i32.const 3)) {wait}")));
        let (fault, ran) = fault_of(&engine);
        assert_eq!(fault.kind, FaultKind::Trap, "{wait}: {fault}");
        assert!(fault.message.starts_with("waits through WASI"), "{wait}: {fault}");
        let mut state = domain(json!({}));
        let event = ran.finish(&state, NOW).event.expect("a fault is recorded");
        crate::domain::apply(&mut state, event);
        assert_eq!((state.counts().total, state.memory.as_deref()), (0, None), "{wait}");
    }
    let ready = poll(never, "(call $after (i64.const 0))");
    let memory = memory_of(&doing(&format!(
        "{ready}
         (i32.store (i32.const 4096) (i32.load (i32.const 2052)))
         (i32.store (i32.const 4100) (i32.load (i32.load (i32.const 2048))))
         (i32.store (i32.const 4104) (call $ready {never}))"
    )));
    assert_eq!(memory[..12], [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "the second of two is ready");
}

#[test]
fn what_is_ready_at_once_is_not_waited_for() {
    memory_of(&doing(
        "(call $block (call $after (i64.const 0))) (call $block (call $at (call $monotonic))) (call $block (call $at (i64.const 0)))
         (call $block (call $readable (call $stdin))) (call $block (call $writable (call $stdout)))",
    ));
}

#[test]
fn whoever_only_lets_wasi_work_is_cut_by_fuel() {
    for work in [
        "(call $wall (i32.const 2048))",
        "(drop (call $random))",
        "(call $environment (i32.const 2048))",
        "(call $drop_pollable (call $after (i64.const 1)))",
        "(call $tcp (i32.const 0) (i32.const 2048))",
        // Lines beyond those that are kept, and the start of one that never ends.
        "(local.set $count (call $stdout))
         (loop $print (call $print (local.get $count) (i32.const 3072) (i32.const 38) (i32.const 2048)) (br $print))",
        "(local.set $count (call $stdout))
         (loop $print (call $zeroes (local.get $count) (i64.const 65536) (i32.const 2048)) (br $print))",
    ] {
        let fault = fault_of_doing(&format!("(loop $again {work} (br $again))"));
        assert_eq!(fault.kind, FaultKind::Fuel, "{work}: {fault}");
    }
}

#[test]
fn numbers_that_a_guest_makes_up_are_bounded() {
    for (work, words) in [
        ("(call $random_bytes (i64.const 0x10000000000) (i32.const 2048))", "asked WASI for 1099511627776 bytes"),
        ("(call $insecure_bytes (i64.const -1) (i32.const 2048))", "asked WASI for"),
        ("(call $zeroes (call $stdout) (i64.const 0x10000000000) (i32.const 2048))", "wrote 1099511627776 bytes"),
        (
            "(drop (memory.grow (i32.const 4))) (call $write (call $stdout) (i32.const 0) (i32.const 70000) (i32.const 2048))",
            "wrote 70000 bytes",
        ),
        ("(loop $again (drop (call $after (i64.const 1))) (br $again))", "holds 1024 handles"),
        ("(loop $again (drop (call $network)) (br $again))", "holds 1024 handles"),
        ("(loop $again (drop (call $stdout)) (br $again))", "holds 1024 handles"),
    ] {
        let fault = fault_of_doing(work);
        assert_eq!(fault.kind, FaultKind::Trap, "{work}: {fault}");
        assert!(fault.message.starts_with(words), "{work}: {fault}");
    }
    let long = "(drop (memory.grow (i32.const 100))) (call $poll (i32.const 0) (i32.const 1500000) (i32.const 2048))";
    assert!(fault_of_doing(long).kind.counts(), "a list of what are no handles");
    memory_of(&doing("(call $random_bytes (i64.const 65536) (i32.const 2048))"));
}

#[test]
fn what_is_printed_is_in_the_log_line_by_line() {
    let print = |stream: &str, from: u32, bytes: u32| {
        format!("(call $print (call ${stream}) (i32.const {from}) (i32.const {bytes}) (i32.const 2048))")
    };
    let engine = load(&doing(&[print("stdout", 3072, 3), print("stderr", 3072, 6), print("stdout", 3075, 35)].concat()));
    let decision = decide(&mut domain(json!({})), &engine);
    assert_eq!(decision.log, ["warn: first", "info: first", "info: second", "info: third, which does not end"]);
}

#[test]
fn a_line_that_is_printed_is_paid_as_one_that_is_logged() {
    let fuel = |byte: u8| {
        let fill = format!("(memory.fill (i32.const 5000) (i32.const {byte}) (i32.const 1000))");
        let print = "(call $print (call $stdout) (i32.const 5000) (i32.const 1000) (i32.const 2048))";
        run(&domain(json!({})), &load(&doing(&format!("{fill} {print}")))).fuel
    };
    assert_eq!(fuel(b'\n') - fuel(b'A'), 1000 * 100);
}

#[test]
fn what_was_printed_before_a_fault_is_told_with_it() {
    let print = "(call $print (call $stderr) (i32.const 3072) (i32.const 9) (i32.const 2048)) unreachable";
    let state = domain(json!({}));
    let ran = run(&state, &load(&doing(print)));
    let lines: Vec<_> = ran.cycle.lines().map(|(_, line)| line.to_owned()).collect();
    assert_eq!(lines, ["first", "sec"]);
}

#[test]
fn a_line_is_cut_as_a_line_of_the_log_is() {
    let fill = "(memory.fill (i32.const 5000) (i32.const 65) (i32.const 3000))";
    let engine = load(&doing(&format!("{fill} (call $print (call $stdout) (i32.const 5000) (i32.const 3000) (i32.const 2048))")));
    assert_eq!(decide(&mut domain(json!({})), &engine).log, [format!("info: {}", "A".repeat(1024))]);
}

#[test]
fn whoever_ends_itself_has_failed() {
    for (exit, status) in [("$exit (i32.const 0)", 0), ("$exit (i32.const 1)", 1), ("$exit_with_code (i32.const 42)", 42)] {
        let fault = fault_of_doing(&format!("(call {exit})"));
        assert_eq!((fault.kind, fault.message), (FaultKind::Trap, format!("ended itself through WASI with status {status}")));
    }
}

#[test]
fn all_functions_of_wasi_are_there() {
    let (resolve, world) = Guest::new("quiet").with_wasi().world();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).expect("a module takes metadata");
    let component = ComponentEncoder::default().module(&module).expect("it fits").validate(true).encode().expect("it is sound");
    assert!(component.windows(12).any(|name| name == b"network-erro"), "those that are not stable, too");
    // It is started, and only then shows that it is nothing.
    assert!(matches!(refused(&component), LoadError::Describe(Fault { kind: FaultKind::Trap, .. })));
}

#[test]
fn every_version_of_wasi_0_2_is_served_and_no_other() {
    let component = doing("(call $wall (i32.const 4096))").component();
    let newer = sandbox().load(&with_version(&component, "0.2.99")).expect("it loads");
    assert!(newer.imports().iter().any(|import| import == "wasi:clocks/wall-clock@0.2.99"), "{:?}", newer.imports());
    assert!(cycle(&domain(json!({}))).run(&newer).outcome.is_ok());
    match refused(&with_version(&component, "0.3.12")) {
        LoadError::UnknownImport { import } => assert!(import.starts_with("wasi:") && import.ends_with("@0.3.12"), "{import}"),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_not_served_of_wasi_is_refused_with_its_name() {
    for name in ["wasi:http/outgoing-handler@0.2.0", "wasi:keyvalue/store@0.2.0", "wasi:cli/environment", "wasi:clocks/timezone@0.2.12"] {
        let component = wat::parse_str(format!("(component (import \"{name}\" (instance)))"));
        let expected = component.map(|component| refused(&component)).expect("it is well formed");
        assert_eq!(expected, LoadError::UnknownImport { import: name.to_owned() });
    }
}
