//! Calls on threads of their own.

use std::time::Duration;

use pilothouse_core::cycle::Engine;
use pilothouse_engine_host::{LoadedEngine, Runner, RunnerConfig, Sandbox, SandboxConfig};
use serde_json::json;

use crate::domain::{cycle, domain};
use crate::guest::guest;
use crate::{cut_by_the_clock, limited};

#[tokio::test(flavor = "current_thread")]
async fn guests_that_spin_do_not_delay_their_neighbours() {
    let sandbox = limited(|limits| (limits.fuel, limits.deadline) = (u64::MAX, Duration::from_secs(2)));
    let (spin, quiet) = (sandbox.load(&guest("spin")).expect("it loads"), sandbox.load(&guest("quiet")).expect("it loads"));
    let runner = Runner::new(RunnerConfig { threads: 4, queue: 16 }).expect("threads");
    let state = domain(json!({}));
    let call = |engine: &LoadedEngine| {
        let (engine, cycle) = (engine.clone(), cycle(&state));
        runner.run(move || engine.decide(cycle, b"").result).expect("there is room")
    };
    let spinning = [call(&spin), call(&spin)];
    for _ in 0..100 {
        call(&quiet).await.expect("an answer").expect("a verdict");
    }
    assert_eq!(runner.busy(), 2, "the neighbours were done while both still spun");
    for spun in spinning {
        cut_by_the_clock(&spun.await.expect("an answer").expect_err("it was cut"), 2000);
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_counts_as_lost_until_it_comes_back() {
    let sandbox = limited(|limits| (limits.fuel, limits.deadline) = (u64::MAX, Duration::from_secs(1)));
    let spin = sandbox.load(&guest("spin")).expect("it loads");
    let runner = Runner::new(RunnerConfig { threads: 1, queue: 1 }).expect("threads");
    let cycle = cycle(&domain(json!({})));
    let call = runner.run(move || spin.decide(cycle, b"").result).expect("there is room");
    assert!(tokio::time::timeout(Duration::from_millis(50), call).await.is_err(), "it still spins");
    assert_eq!((runner.busy(), runner.lost()), (1, 1));
    // The call is a long one: the pool has another thread for the next job.
    assert_eq!(runner.run(|| 7).expect("there is room").await, Ok(7));
    assert_eq!((runner.busy(), runner.lost(), runner.slow()), (1, 1, 1));
    while (runner.busy(), runner.lost(), runner.slow()) != (0, 0, 0) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn guests_that_spin_on_every_thread_do_not_hold_up_their_neighbours() {
    let sandbox = limited(|limits| (limits.fuel, limits.deadline) = (u64::MAX, Duration::from_secs(2)));
    let (spin, quiet) = (sandbox.load(&guest("spin")).expect("it loads"), sandbox.load(&guest("quiet")).expect("it loads"));
    let runner = Runner::new(RunnerConfig { threads: 2, queue: 16 }).expect("threads");
    let state = domain(json!({}));
    let call = |engine: &LoadedEngine| {
        let (engine, cycle) = (engine.clone(), cycle(&state));
        runner.run(move || engine.decide(cycle, b"").result).expect("there is room")
    };
    let spinning = [call(&spin), call(&spin), call(&spin), call(&spin)];
    for _ in 0..100 {
        call(&quiet).await.expect("an answer").expect("a verdict");
    }
    assert_eq!((runner.busy(), runner.slow()), (4, 4), "the neighbours were done while all of them still spun");
    for spun in spinning {
        cut_by_the_clock(&spun.await.expect("an answer").expect_err("it was cut"), 2000);
    }
}

#[tokio::test]
async fn more_calls_than_the_pool_has_room_for_wait_for_each_other() {
    let config = SandboxConfig { concurrent_calls: 1, ..SandboxConfig::default() };
    let engine = Sandbox::new(config).expect("a sandbox").load(&guest("ask")).expect("it loads");
    let runner = Runner::new(RunnerConfig { threads: 8, queue: 100 }).expect("threads");
    let state = domain(json!({}));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (engine, cycle) = (engine.clone(), cycle(&state));
            runner.run(move || engine.initialize(cycle).result).expect("there is room")
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("an answer"), Ok(Vec::new()));
    }
}
