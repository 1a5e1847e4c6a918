//! The engine host on real components: the engines that ship, and small guests that misbehave in every way we could think of.

mod bounds;
mod compiled;
mod frozen;
mod limits;
mod refusals;
mod returns;
mod ships;
mod threads;
mod wasi;

use domain::{domain, run};
use guest::guest;
use pilothouse_core::cycle::{Fault, FaultKind, Ran};
use pilothouse_engine_host::{EngineLimits, LoadError, LoadedEngine, Sandbox, SandboxConfig};
pub(crate) use pilothouse_tests::{domain, guest};
use serde_json::json;

fn sandbox() -> Sandbox {
    limited(|_| ())
}

fn limited(change: impl FnOnce(&mut EngineLimits)) -> Sandbox {
    let mut config = SandboxConfig::default();
    change(&mut config.limits);
    Sandbox::new(config).expect("a sandbox")
}

fn load(name: &str) -> LoadedEngine {
    sandbox().load(&guest(name)).expect("it loads")
}

fn refused(bytes: &[u8]) -> LoadError {
    sandbox().load(bytes).expect_err("it is refused")
}

/// It is by the clock that a guest failed: because of what it does when it had the processor all the time, and because of the machine when not.
fn cut_by_the_clock(fault: &Fault, deadline_ms: u64) {
    match fault.kind {
        FaultKind::Processor => {
            let used =
                fault.message.strip_prefix("used the processor for ").and_then(|it| it.strip_suffix(" ms, as long as a call may run"));
            assert!(used.and_then(|it| it.parse().ok()).is_some_and(|used: u64| used >= deadline_ms * 9 / 10), "{fault}");
            assert!(fault.kind.counts());
        }
        FaultKind::Deadline => {
            assert_eq!(fault.message, format!("still ran after {deadline_ms} ms"));
            assert!(!fault.kind.counts(), "a busy machine is not the engine's fault");
        }
        _ => panic!("{fault}"),
    }
}

/// How a guest fails on an empty domain, and what else came of it.
fn fault_of(engine: &LoadedEngine) -> (Fault, Ran) {
    let mut ran = run(&domain(json!({})), engine);
    match &mut ran.outcome {
        Ok(decided) => panic!("it decided: {decided:?}"),
        Err(failed) => (failed.fault.clone(), ran),
    }
}
