//! An engine of the SDK, run natively on the host's own decision cycle.
//!
//! The same policy, without the sandbox: what it answers must be the same to the byte. A scenario that differs between the two has found a
//! fault in the SDK's glue, in the bindings, or in the sandbox.

mod convert;
mod source;

use std::cell::RefCell;
use std::marker::PhantomData;

use pilothouse::driver::engines::check_schema;
use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::{Called, Cycle, Fault, FaultKind, Reconfigured, Verdict};
use pilothouse_core::record::EngineInForce;
use pilothouse_engine::host::{self, logged};
use pilothouse_engine::{Control, Domain, Error, Setup};
use serde_json::{Map, Value};

use self::source::Source;

/// An engine of the SDK as the host sees it.
#[derive(Debug)]
pub struct Native<E> {
    identity: EngineInForce,
    engine: PhantomData<fn() -> E>,
}

impl<E: pilothouse_engine::Engine> Native<E> {
    /// Takes the place of the component with this identity: records name the engine, and those of the two must be the same.
    pub fn in_place_of(identity: EngineInForce) -> Self {
        Self { identity, engine: PhantomData }
    }

    /// What is wrong with a configuration, as the host would tell it.
    pub fn check(conf: &Map<String, Value>) -> Vec<ConfigProblem> {
        let schema: Map<String, Value> = serde_json::from_str(&host::describe::<E>().config_schema).expect("a schema is an object");
        let by_schema = check_schema(&schema, conf);
        if !by_schema.is_empty() {
            return by_schema;
        }
        let problems = host::check_config::<E>(&Value::Object(conf.clone()).to_string());
        problems.into_iter().map(|problem| ConfigProblem::new(format!("/engine_conf{}", problem.at), problem.message)).collect()
    }

    /// Lends the cycle to a call, and takes it back with what the call logged.
    fn lend<T, R>(
        cycle: Cycle,
        call: impl FnOnce(&Source) -> Result<T, Error>,
        judge: impl FnOnce(Result<T, Error>) -> Result<R, Fault>,
    ) -> Called<R> {
        let source = Source(RefCell::new(cycle));
        let (answer, lines) = logged(|| call(&source));
        let mut cycle = source.0.into_inner();
        for (level, line) in lines {
            cycle.log(convert::level(level), line);
        }
        Called { cycle, fuel: 0, result: judge(answer) }
    }
}

fn fault(call: &str, error: Error) -> Fault {
    let text = match error {
        Error::Config(problems) => {
            let problems: Vec<String> = problems.into_iter().map(|it| ConfigProblem::new(it.at, it.message).to_string()).collect();
            format!("the configuration can't be used: {}", problems.join("; "))
        }
        Error::Memory(text) => format!("the memory can't be read: {text}"),
        Error::NotSupported => format!("{call} is not offered"),
        Error::Other(text) => text,
    };
    Fault::new(FaultKind::Returned, text)
}

impl<E: pilothouse_engine::Engine> pilothouse_core::cycle::Engine for Native<E> {
    fn identity(&self) -> EngineInForce {
        self.identity.clone()
    }

    fn initialize(&self, cycle: Cycle) -> Called<Vec<u8>> {
        let call = |source: &Source| host::initialize::<E>(&Domain::new(source), &Setup::new(source));
        Self::lend(cycle, call, |answer| answer.map_err(|error| fault("initialize", error)))
    }

    fn reconfigure(&self, cycle: Cycle, memory: &[u8]) -> Called<Reconfigured> {
        let call = |source: &Source| host::reconfigure::<E>(memory, &Domain::new(source), &Setup::new(source));
        Self::lend(cycle, call, |answer| match answer {
            Ok(after) => Ok(Reconfigured::Memory(after)),
            Err(Error::NotSupported) => Ok(Reconfigured::NotSupported),
            Err(Error::Config(problems)) => {
                Ok(Reconfigured::Refused(problems.into_iter().map(|it| ConfigProblem::new(it.at, it.message)).collect()))
            }
            Err(error) => Err(fault("reconfigure", error)),
        })
    }

    fn decide(&self, cycle: Cycle, memory: &[u8]) -> Called<Verdict> {
        let call = |source: &Source| host::decide::<E>(memory, &Domain::new(source), &Control::new(source));
        Self::lend(cycle, call, |answer| answer.map(convert::verdict).map_err(|error| fault("decide", error)))
    }

    fn retire(&self, memory: &[u8]) -> Result<(), Fault> {
        host::retire::<E>(memory);
        Ok(())
    }
}
