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
use pilothouse_core::cycle::{Fault, Ran};
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

/// How a guest fails on an empty domain, and what else came of it.
fn fault_of(engine: &LoadedEngine) -> (Fault, Ran) {
    let mut ran = run(&domain(json!({})), engine);
    match &mut ran.outcome {
        Ok(decided) => panic!("it decided: {decided:?}"),
        Err(failed) => (failed.fault.clone(), ran),
    }
}
