//! Between the generated bindings and the [`Engine`] trait: bytes become values and values bytes. Reached through [`crate::export!`].

use std::marker::PhantomData;

use crate::bindings::exports::pilothouse::engine::engine::{Description, Guest, Verdict};
use crate::{Control, Domain, Engine, Error, Level, Problem, Setup, config, memory};

/// The component that an engine becomes.
#[derive(Debug)]
pub struct Glue<E>(PhantomData<E>);

impl<E: Engine> Guest for Glue<E> {
    fn describe() -> Description {
        Description {
            name: E::ABOUT.name.to_owned(),
            version: E::ABOUT.version.to_owned(),
            documentation: E::ABOUT.documentation.to_owned(),
            config_schema: E::ABOUT.config_schema.to_owned(),
        }
    }

    fn check_config(text: String) -> Vec<Problem> {
        read_config::<E>(&text).err().unwrap_or_default()
    }

    fn initialize(domain: &Domain, setup: &Setup) -> Result<Vec<u8>, Error> {
        let config = config_of::<E>(domain)?;
        memory::encode(E::MEMORY_VERSION, &E::initialize(domain, &config, setup)?)
    }

    fn reconfigure(memory: Vec<u8>, domain: &Domain, setup: &Setup) -> Result<Vec<u8>, Error> {
        let config = config_of::<E>(domain)?;
        let before = memory::decode(E::MEMORY_VERSION, &memory)?;
        memory::encode(E::MEMORY_VERSION, &E::reconfigure(before, domain, &config, setup)?)
    }

    fn decide(memory: Vec<u8>, domain: &Domain, control: &Control) -> Result<Verdict, Error> {
        let config = config_of::<E>(domain)?;
        let before = memory::decode(E::MEMORY_VERSION, &memory)?;
        let verdict = E::decide(before, domain, &config, control)?;
        Ok(Verdict {
            memory: memory::encode(E::MEMORY_VERSION, &verdict.memory)?,
            status: verdict.status,
            reason: verdict.reason,
            figures: verdict.figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            wake: verdict.wake,
            options: Vec::new(),
        })
    }

    fn retire(memory: Vec<u8>) {
        match memory::decode(E::MEMORY_VERSION, &memory) {
            Ok(memory) => E::retire(memory),
            Err(error) => crate::log(Level::Warn, &format!("retired with a memory that can't be read: {error:?}")),
        }
    }
}

fn config_of<E: Engine>(domain: &Domain) -> Result<E::Config, Error> {
    read_config::<E>(&domain.config()).map_err(Error::Config)
}

/// A configuration that is good in every way, or what is wrong with it.
fn read_config<E: Engine>(text: &str) -> Result<E::Config, Vec<Problem>> {
    let config = config::parse(text).map_err(|problem| vec![problem])?;
    let problems = E::check_config(&config);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}
