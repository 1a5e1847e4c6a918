//! A domain to test engines on, natively and in virtual time.
//!
//! [`FakeDomain`] plays the host: it keeps instances, readings, the time and the engine's memory, calls the engine through the same
//! functions as a component's exports (so the memory really becomes bytes between two calls), and carries out what was granted: launched
//! instances appear as `requesting`, terminated ones as `terminating`. From there on the test tells how things go.
//!
//! ```
//! # use pilothouse_engine::{About, Control, Domain, Engine, Error, LaunchRequest, Verdict};
//! # #[derive(Default, PartialEq, serde::Serialize, serde::Deserialize)]
//! # struct OneMore { times: u64 }
//! # #[derive(serde::Deserialize, schemars::JsonSchema)]
//! # struct Config { site: String }
//! # impl Engine for OneMore {
//! #     type Config = Config;
//! #     const ABOUT: About = About { name: "one-more", version: "1.0.0", documentation: "" };
//! #     fn decide(&mut self, _: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
//! #         self.times += 1;
//! #         Ok(match control.launch(LaunchRequest::new("web", &config.site, "small")) {
//! #             Ok(_) => Verdict::pending("one more"),
//! #             Err(refusal) => Verdict::pending(format!("not launching: {refusal}")),
//! #         })
//! #     }
//! # }
//! use pilothouse_engine::config::json;
//! use pilothouse_engine::testing::FakeDomain;
//! use pilothouse_engine::{Health, InstanceState, Refusal};
//!
//! let mut domain = FakeDomain::<OneMore>::new(json!({ "site": "local" }));
//! let decision = domain.decide();
//! assert_eq!(decision.requests(), ["launch 1"]);
//!
//! let [id] = &decision.launched()[..] else { panic!("one instance") };
//! assert_eq!(domain.instance(id).state, InstanceState::Requesting);
//! domain.report(id, InstanceState::Running).health(id, Health::Ok);
//!
//! domain.refuse(Refusal::Paused);
//! assert_eq!(domain.decide().reason, "not launching: the domain is paused");
//! assert_eq!(domain.memory().times, 2);
//! ```
//!
//! Each decision is made twice, from the same beginnings. An engine that does not do the same both times (because of a hash map's order,
//! or a static) fails the test, as its decisions could not be replayed.
//!
//! What a guard of a real host would say is not modelled: a test says what is refused, held back or limited. Nonsense, and what is beyond the
//! bounds of a host, is [`Refusal::Invalid`] as there.

mod bounds;
mod call;
mod decision;
mod readings;
mod schema;
mod world;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde_json::Value;

use crate::{
    Cause, Control, Counts, Domain, Engine, Error, FIGURES, Health, Instance, InstanceId, InstanceState, REASON_BYTES, Refusal, Scope,
    Setup, Timestamp, Vars, host, memory,
};

use call::Call;
pub use decision::{Asked, Decision};
pub use schema::{check_schema, check_schema_with};
use world::World;

/// When a fake domain begins. Far enough from the epoch for readings of the past.
pub const BEGIN: Timestamp = Timestamp::from_millis(1_000_000_000_000);

/// An instance of which only this matters. Everything else can be changed before it is [inserted](FakeDomain::insert).
#[must_use]
pub fn instance(id: &str, state: InstanceState, health: Health) -> Instance {
    Instance {
        id: id.to_owned(),
        launch: "before".to_owned(),
        deployable_type: "worker".to_owned(),
        site: "local".to_owned(),
        allocation: "small".to_owned(),
        state,
        state_since: BEGIN,
        health,
        errors: Vec::new(),
        extra_vars: Vec::new(),
        attributes: Vec::new(),
        protected: false,
    }
}

/// No instances.
#[must_use]
pub fn counts() -> Counts {
    Counts { total: 0, valid: 0, starting: 0, running: 0, unhealthy: 0, launching: 0, terminating: 0, unconfirmed: 0 }
}

/// A domain with an engine, in virtual time.
pub struct FakeDomain<E> {
    world: World,
    memory: Option<Vec<u8>>,
    engine: PhantomData<E>,
}

impl<E: Engine> FakeDomain<E> {
    /// An empty domain with this configuration of its engine. Health is monitored, everything is granted, and the time is [`BEGIN`].
    ///
    /// # Panics
    /// When the engine does not take the configuration; [`FakeDomain::problems`] tells without.
    #[must_use]
    #[track_caller]
    pub fn new(config: Value) -> Self {
        let mut domain = Self { world: World::new(), memory: None, engine: PhantomData };
        domain.configure(config);
        domain
    }

    /// What the engine finds wrong with a configuration.
    #[must_use]
    pub fn problems(config: &Value) -> Vec<crate::Problem> {
        host::check_config::<E>(&config.to_string())
    }

    #[track_caller]
    fn configure(&mut self, config: Value) {
        let problems = Self::problems(&config);
        assert!(problems.is_empty(), "the engine does not take this configuration: {problems:?}");
        self.world.config = config.to_string();
        self.world.revision += 1;
    }

    // The engine's functions.

    /// Calls `initialize`, and keeps the memory. The first decision does so by itself.
    ///
    /// # Errors
    /// What the engine returned. Nothing has changed then.
    pub fn initialize(&mut self) -> Result<(), Error> {
        let before = std::mem::take(&mut self.world.settings);
        let (memory, call) = self.twice(|domain, _, setup| host::initialize::<E>(domain, setup));
        let memory = memory.inspect_err(|_| self.world.settings = before)?;
        let memory = self.kept(memory);
        call.settle(&mut self.world);
        self.memory = Some(memory);
        Ok(())
    }

    /// Gives the engine another configuration. If it has a memory already, that goes through `reconfigure`; an engine that answers
    /// [`Error::NotSupported`] is initialised afresh, as a host does.
    ///
    /// # Errors
    /// What the engine returned. Its memory is as before then, but the domain has the new configuration.
    ///
    /// # Panics
    /// When the engine does not take the configuration.
    #[track_caller]
    pub fn reconfigure(&mut self, config: Value) -> Result<(), Error> {
        self.configure(config);
        self.world.settings = crate::Settings::default();
        let Some(before) = self.memory.clone() else { return Ok(()) };
        self.world.cause = Cause::Configured;
        let (memory, call) = self.twice(|domain, _, setup| host::reconfigure::<E>(&before, domain, setup));
        match memory {
            Err(Error::NotSupported) => self.initialize(),
            Err(error) => Err(error),
            Ok(memory) => {
                self.memory = Some(self.kept(memory));
                call.settle(&mut self.world);
                Ok(())
            }
        }
    }

    /// Lets the engine decide, and carries out what it was granted.
    ///
    /// # Panics
    /// When the engine errs; [`FakeDomain::try_decide`] is for those that should. When it does not decide the same a second time.
    #[track_caller]
    pub fn decide(&mut self) -> Decision {
        self.try_decide().unwrap_or_else(|error| panic!("the engine erred: {error:?}"))
    }

    /// Lets the engine decide, and carries out what it was granted.
    ///
    /// # Errors
    /// What the engine returned. The call has not happened then.
    ///
    /// # Panics
    /// When it does not decide the same a second time, or its verdict is larger than a host takes.
    #[track_caller]
    pub fn try_decide(&mut self) -> Result<Decision, Error> {
        if self.memory.is_none() {
            self.initialize()?;
        }
        let before = self.memory.clone().unwrap_or_default();
        let ((decided, log), call) = self.twice(|domain, control, _| host::logged(|| host::decide::<E>(&before, domain, control)));
        let host::Decided { memory, status, reason, figures, wake } = decided?;
        assert!(reason.len() <= REASON_BYTES, "a reason of {} bytes: a host takes at most {REASON_BYTES}", reason.len());
        assert!(figures.len() <= FIGURES, "{} figures: a host takes at most {FIGURES}", figures.len());
        self.memory = Some(self.kept(memory));
        let asked = call.settle(&mut self.world);
        Ok(Decision { status, reason, figures, wake, log, asked })
    }

    /// Calls `retire`; the lines that it logs.
    #[must_use]
    pub fn retire(self) -> Vec<(crate::Level, String)> {
        host::logged(|| host::retire::<E>(&self.memory.unwrap_or_default())).1
    }

    /// Makes a call twice over the same domain. Both must come to the same.
    #[track_caller]
    fn twice<T: PartialEq + fmt::Debug>(&mut self, run: impl Fn(&Domain<'_>, &Control<'_>, &Setup<'_>) -> T) -> (T, call::Outcome) {
        self.world.calls += 1;
        let one = || {
            let call = Call::new(&self.world);
            let result = run(&Domain::new(&call), &Control::new(&call), &Setup::new(&call));
            (result, call.outcome())
        };
        let (first, second) = (one(), one());
        assert_eq!(first, second, "the engine is not deterministic: the same call came to something else the second time");
        first
    }

    /// A memory that means the same when it is read.
    #[track_caller]
    fn kept(&self, bytes: Vec<u8>) -> Vec<u8> {
        let again = memory::decode::<E>(&bytes).and_then(|engine| memory::encode(&engine));
        assert_eq!(
            again.as_ref().ok(),
            Some(&bytes),
            "the memory is not the same after it was written and read: does its type use `skip_serializing_if`, `flatten` or `untagged`?"
        );
        bytes
    }

    /// What the engine remembers; before the first call, what it begins with.
    ///
    /// # Panics
    /// When the bytes that a test has put there are no memory.
    #[must_use]
    #[track_caller]
    pub fn memory(&self) -> E {
        let Some(bytes) = &self.memory else { return E::default() };
        memory::decode(bytes).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// What the engine remembers, as the host keeps it.
    #[must_use]
    pub fn memory_bytes(&self) -> &[u8] {
        self.memory.as_deref().unwrap_or_default()
    }

    /// Lets the engine remember this.
    ///
    /// # Panics
    /// When it can't be kept.
    #[track_caller]
    pub fn remember(&mut self, engine: &E) -> &mut Self {
        let bytes = memory::encode(engine).unwrap_or_else(|error| panic!("{error:?}"));
        self.memory = Some(self.kept(bytes));
        self
    }

    /// Puts any bytes in the place of the memory: what another version has written, or garbage.
    pub fn remember_bytes(&mut self, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.memory = Some(bytes.into());
        self
    }
}

impl<E> FakeDomain<E> {
    // The domain.

    /// The moment it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.world.now
    }

    /// Lets time pass.
    pub fn advance(&mut self, length: Duration) -> &mut Self {
        self.world.now = self.world.now + length;
        self
    }

    /// Begins another stream of random numbers. The same seed gives the same numbers in each call that follows.
    pub fn seed(&mut self, seed: u64) -> &mut Self {
        (self.world.seed, self.world.calls) = (seed, 0);
        self
    }

    /// Why the next call is made. After it the cause is the pulse again.
    pub fn cause(&mut self, cause: Cause) -> &mut Self {
        self.world.cause = cause;
        self
    }

    /// What every launch is given, as the domain's own configuration says.
    pub fn provisioner_vars(&mut self, vars: Vars) -> &mut Self {
        self.world.provisioner_vars = vars;
        self
    }

    /// The pause between two decisions that the engine asked for, if it did, within the bounds of a host: 100 ms to a day.
    #[must_use]
    pub fn pulse(&self) -> Option<Duration> {
        self.world.settings.pulse
    }

    /// The variables for every launch that the engine has set in the place of the domain's own, if it did.
    #[must_use]
    pub fn set_vars(&self) -> Option<Vars> {
        self.world.settings.provisioner_vars.clone()
    }

    /// Whether the domain's health is monitored. When not, every health is unknown.
    pub fn monitor_health(&mut self, monitored: bool) -> &mut Self {
        self.world.monitored = monitored;
        self
    }

    /// How launches at a site have been going: so many failures since the last success, and no launch for that long.
    pub fn site(&mut self, site: &str, failures: u32, backing_off: Option<Duration>) -> &mut Self {
        let until = backing_off.map(|length| self.world.now + length);
        self.world.sites.insert(site.to_owned(), world::Site { failures, backing_off_until: until });
        self
    }

    // Instances.

    /// Puts an instance there, launched after all that are there.
    ///
    /// # Panics
    /// When there is one of that id.
    #[track_caller]
    pub fn insert(&mut self, instance: Instance) -> &mut Self {
        assert!(self.world.row_of(&instance.id).is_none(), "there is an instance {:?} already", instance.id);
        self.world.add(instance);
        self
    }

    /// Puts a running instance there, of which all is well.
    ///
    /// # Panics
    /// When there is one of that id.
    #[track_caller]
    pub fn running(&mut self, id: &str) -> &mut Self {
        self.insert(instance(id, InstanceState::Running, Health::Ok))
    }

    /// The instance of an id.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn instance(&self, id: &str) -> &Instance {
        &self.world.instances[&self.row(id)]
    }

    /// Every instance on record, oldest launch first.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.world.instances.values()
    }

    #[track_caller]
    fn row(&self, id: &str) -> u32 {
        self.world.row_of(id).unwrap_or_else(|| panic!("there is no instance {id:?}"))
    }

    /// A provisioner reports a state. One that has left or is leaving is monitored no more: its health becomes unknown. A launch that ends
    /// as failed or rejected counts as a failure of its site, and one that runs wipes the site's failures out.
    ///
    /// # Panics
    /// When there is no such instance, or the state is one that it has passed already: no host would take that.
    #[track_caller]
    pub fn report(&mut self, id: &str, state: InstanceState) -> &mut Self {
        let row = self.row(id);
        let before = self.world.instances[&row].state;
        assert!(state >= before, "{id} is {before:?} and can't become {state:?} any more");
        self.world.moved(row, state);
        self
    }

    /// An operator protects an instance, or does so no more. Its end is refused or deferred, as by a host.
    ///
    /// # Panics
    /// When there is no such instance.
    #[track_caller]
    pub fn protect(&mut self, id: &str, on: bool) -> &mut Self {
        let row = self.row(id);
        if let Some(instance) = self.world.instances.get_mut(&row) {
            instance.protected = on && instance.is_valid();
        }
        self
    }

    /// Reports a state of every instance that has not got so far.
    pub fn report_all(&mut self, state: InstanceState) -> &mut Self {
        let behind = |(row, instance): (&u32, &Instance)| (instance.state < state).then_some(*row);
        for row in self.world.instances.iter().filter_map(behind).collect::<Vec<_>>() {
            self.world.moved(row, state);
        }
        self
    }

    /// The monitor thinks this of an instance. With [`Health::Ok`] its errors are forgotten.
    ///
    /// # Panics
    /// When there is no such instance.
    #[track_caller]
    pub fn health(&mut self, id: &str, health: Health) -> &mut Self {
        let row = self.row(id);
        self.world.judged(row, health);
        self
    }

    /// Everything that runs is well.
    pub fn all_well(&mut self) -> &mut Self {
        let running = |(row, instance): (&u32, &Instance)| (instance.state == InstanceState::Running).then_some(*row);
        for row in self.world.instances.iter().filter_map(running).collect::<Vec<_>>() {
            self.world.judged(row, Health::Ok);
        }
        self
    }

    /// Something went wrong on an instance. Its health is not touched.
    ///
    /// # Panics
    /// When there is no such instance.
    #[track_caller]
    pub fn error(&mut self, id: &str, line: &str) -> &mut Self {
        let row = self.row(id);
        if let Some(instance) = self.world.instances.get_mut(&row) {
            instance.errors.insert(0, line.to_owned());
            instance.errors.truncate(world::ERRORS);
        }
        self
    }

    /// The record of an instance is dropped.
    ///
    /// # Panics
    /// When there is no such instance.
    #[track_caller]
    pub fn reap(&mut self, id: &str) -> &mut Self {
        let row = self.row(id);
        self.world.instances.remove(&row);
        self.world.changed.remove(&row);
        self
    }

    // Readings.

    /// An instance has read this just now.
    pub fn read(&mut self, id: &str, metric: &str, value: f64) -> &mut Self {
        let now = self.world.now;
        self.read_at(&Scope::instance(id), metric, now, value)
    }

    /// The domain as a whole has read this just now.
    pub fn read_domain(&mut self, metric: &str, value: f64) -> &mut Self {
        let now = self.world.now;
        self.read_at(&Scope::Domain, metric, now, value)
    }

    /// A reading of a certain moment.
    pub fn read_at(&mut self, scope: &Scope, metric: &str, at: Timestamp, value: f64) -> &mut Self {
        self.world.readings.take(scope, metric, at, value);
        self
    }

    // What is granted.

    /// Refuses every launch and termination from now on.
    pub fn refuse(&mut self, refusal: Refusal) -> &mut Self {
        self.refuse_launches(refusal.clone()).refuse_terminations(refusal)
    }

    /// Refuses every launch from now on.
    pub fn refuse_launches(&mut self, refusal: Refusal) -> &mut Self {
        self.world.rules.refuse_launches = Some(refusal);
        self
    }

    /// Refuses every termination from now on.
    pub fn refuse_terminations(&mut self, refusal: Refusal) -> &mut Self {
        self.world.rules.refuse_terminations = Some(refusal);
        self
    }

    /// Grants so many launches in each decision and defers the rest. Once none is left the answer is [`Refusal::Budget`].
    pub fn limit_launches(&mut self, most: u32) -> &mut Self {
        self.world.rules.launches = Some(most);
        self
    }

    /// Grants so many terminations in each decision and defers the rest. Once none is left the answer is [`Refusal::Budget`].
    pub fn limit_terminations(&mut self, most: u32) -> &mut Self {
        self.world.rules.terminations = Some(most);
        self
    }

    /// Defers the termination of this instance. A request in which nobody is left to go is answered with [`Refusal::Brake`].
    pub fn hold(&mut self, id: impl Into<InstanceId>) -> &mut Self {
        self.world.rules.held.insert(id.into());
        self
    }

    /// Grants everything again.
    pub fn grant_all(&mut self) -> &mut Self {
        self.world.rules = world::Rules::default();
        self
    }
}

impl<E> fmt::Debug for FakeDomain<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeDomain").field("world", &self.world).field("memory", &self.memory).finish()
    }
}

#[cfg(test)]
mod tests;
