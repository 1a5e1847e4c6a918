//! A loaded engine, and the one way in which a guest is ever called.

use std::fmt;
use std::sync::Arc;

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::{Bounds, Called, Cycle, Engine, Fault, Level, Reconfigured, Verdict, limits};
use pilothouse_core::engine::Limits;
use pilothouse_core::record::EngineInForce;
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, Resource};

use crate::bindings::exports::pilothouse::engine::engine as guest;
use crate::deadline::Deadline;
use crate::description::Description;
use crate::fault::{self, bounded};
use crate::held::Held;
use crate::host_impl::Call;
use crate::host_impl::handles::{ControlHandle, DomainHandle, SetupHandle};
use crate::limits::EngineLimits;
use crate::meter::{Meter, Weigh};
use crate::place::{Place, Seats};
use crate::{convert, sandbox};

/// The most problems of a configuration that are passed on. Who has that many starts at the top.
const PROBLEMS: usize = 64;
/// The longest name of a figure, in bytes.
const FIGURE_NAME_BYTES: usize = 128;
/// Handles that a guest may have at the same time, of resources of its own above all. They are kept outside of its memory.
const HANDLES: usize = 4096;
/// There is one of each handle in a call, so that their numbers mean nothing.
const THE_ONE: u32 = 0;

/// An engine that is ready to be called: compiled, judged, and known by its description.
///
/// Cheap to clone, and callable from many threads at once; every call has a store of its own. It keeps what it needs of its
/// [`Sandbox`](crate::Sandbox) alive.
#[derive(Clone)]
pub struct LoadedEngine(Arc<Limited>);

/// An engine with what it may use up, which may change while the rest stays.
struct Limited {
    loaded: Arc<Loaded>,
    limits: EngineLimits,
    seats: Seats,
}

struct Loaded {
    callee: Callee,
    digest: String,
    description: Description,
    identity: EngineInForce,
}

/// A component that can be called: what there is of an engine before it was asked who it is.
pub(crate) struct Callee {
    pub(crate) shared: Arc<sandbox::Shared>,
    pub(crate) pre: InstancePre<Call>,
    pub(crate) exports: Exports,
    /// Shown beside what it logs.
    pub(crate) label: Arc<str>,
}

/// Where the functions of the export are, found once: a call looks up the one that it calls, and no other.
pub(crate) struct Exports {
    pub(crate) describe: ComponentExportIndex,
    pub(crate) check_config: ComponentExportIndex,
    pub(crate) initialize: ComponentExportIndex,
    pub(crate) reconfigure: ComponentExportIndex,
    pub(crate) decide: ComponentExportIndex,
    pub(crate) retire: ComponentExportIndex,
}

/// A call that came back, with what its store held.
pub(crate) struct Back<T> {
    cycle: Option<Cycle>,
    fuel: u64,
    pub(crate) result: Result<T, Fault>,
}

impl Callee {
    /// Calls a function of the guest: a fresh store, all its limits set, and whatever happens told as a fault. `handed` is the weight of
    /// the arguments. What a function returns is a tuple of one, or of none.
    ///
    /// Waits while the pool is used up by other calls, which their deadlines bound.
    pub(crate) fn call<P, R>(
        &self,
        limits: &EngineLimits,
        cycle: Option<Cycle>,
        handed: u64,
        (function, arguments): (&ComponentExportIndex, P),
    ) -> Back<R>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift + Weigh + 'static,
    {
        self.in_store(limits, cycle, |store| {
            store.data_mut().meter.charge(handed)?;
            let instance = self.pre.instantiate(&mut *store)?;
            let value = instance.get_typed_func::<P, R>(&mut *store, function)?.call(&mut *store, arguments)?;
            store.data_mut().meter.charge(value.weight())?;
            Ok(value)
        })
    }

    /// Only starts the guest, for a look at what it became.
    pub(crate) fn instantiate(&self, limits: &EngineLimits, look: impl FnOnce(&mut Store<Call>, &Instance)) -> Result<(), Fault> {
        self.in_store(limits, None, |store| {
            let instance = self.pre.instantiate(&mut *store)?;
            look(store, &instance);
            Ok(())
        })
        .result
    }

    fn in_store<T>(
        &self,
        limits: &EngineLimits,
        cycle: Option<Cycle>,
        body: impl FnOnce(&mut Store<Call>) -> wasmtime::Result<T>,
    ) -> Back<T> {
        let _place = self.shared.places.take();
        let (held, meter) = (Held::new(limits, Arc::clone(&self.shared.together)), Meter::new(limits.fuel));
        let EngineLimits { log_lines: lines_left, log_bytes: line_bytes, .. } = *limits;
        let call = Call {
            cycle,
            held,
            meter,
            engine: Arc::clone(&self.label),
            lines_left,
            line_bytes,
            deadline: Deadline::new(limits.ticks()),
            wasi: None,
        };
        let mut store = Store::new(&self.shared.engine, call);
        store.limiter(|call| &mut call.held);
        store.set_hostcall_fuel(limits.answer_bytes);
        store.set_max_component_handles(HANDLES);
        // The first tick only begins to count.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().deadline.tick()));
        let result = store.set_fuel(limits.fuel).and_then(|()| body(&mut store));
        let left = store.get_fuel().unwrap_or(0);
        store.data_mut().end_lines();
        let Call { cycle, held, meter, deadline, .. } = store.into_data();
        let fuel = (limits.fuel - left.min(limits.fuel)).saturating_add(meter.used());
        let result = result.and_then(|value| if fuel > limits.fuel { Err(wasmtime::Trap::OutOfFuel.into()) } else { Ok(value) });
        Back { cycle, fuel, result: result.map_err(|error| fault::fault(&error, limits, held.refused(), deadline.used())) }
    }

    /// Calls the guest on a cycle and judges what it returned.
    fn call_on<P, T, R>(
        &self,
        limits: &EngineLimits,
        cycle: Cycle,
        handed: u64,
        function: (&ComponentExportIndex, P),
        judge: impl FnOnce(&mut Cycle, T) -> Result<R, Fault>,
    ) -> Called<R>
    where
        P: ComponentNamedList + Lower,
        (T,): ComponentNamedList + Lift + Weigh + 'static,
    {
        let back: Back<(T,)> = self.call(limits, Some(cycle), handed, function);
        // The store was given a cycle, and nothing takes it out but the end of the call.
        let mut cycle = back.cycle.expect("a call gives back the cycle that it was given");
        let result = back.result.and_then(|(value,)| judge(&mut cycle, value));
        Called { cycle, fuel: back.fuel, result }
    }
}

impl LoadedEngine {
    pub(crate) fn new(callee: Callee, digest: String, description: Description) -> Self {
        let identity =
            EngineInForce { name: description.name.to_string(), version: description.version.to_string(), digest: digest.clone() };
        let limits = callee.shared.limits.clone();
        let seats = Seats::new(limits.calls);
        Self(Arc::new(Limited { loaded: Arc::new(Loaded { callee, digest, description, identity }), limits, seats }))
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.0.loaded.description
    }

    /// SHA-256 of the component, in hexadecimal: what it is pinned by.
    pub fn digest(&self) -> &str {
        &self.0.loaded.digest
    }

    /// What each of its calls may use up.
    pub fn limits(&self) -> &EngineLimits {
        &self.0.limits
    }

    /// The same engine with limits of its own, instead of those that it has. Cheap: what is compiled is shared. What is above the ceilings of
    /// its [`Sandbox`](crate::Sandbox) is cut to them, see [`EngineLimits::cut`]; what is not said is as they have it.
    ///
    /// Calls that have a [place](Self::place) share theirs with the new one, unless there are to be more or fewer at the same time.
    #[must_use]
    pub fn with_limits(&self, own: &Limits) -> Self {
        let Limited { loaded, limits, seats } = &*self.0;
        let left = loaded.callee.shared.limits.cut(own);
        let seats = if left.calls == limits.calls { seats.clone() } else { Seats::new(left.calls) };
        Self(Arc::new(Limited { loaded: Arc::clone(loaded), limits: left, seats }))
    }

    /// Waits for a place for a call: there are as many as the limits allow calls at the same time, and they are given in the order in which they
    /// were asked for. Get one before a thread, or a slow engine in many domains takes all threads. Nothing is lost if this is dropped.
    pub async fn place(&self) -> Place {
        self.0.seats.take().await
    }

    /// How many places are free.
    pub fn free_places(&self) -> usize {
        self.0.seats.free()
    }

    fn callee(&self) -> (&Callee, &EngineLimits) {
        (&self.0.loaded.callee, &self.0.limits)
    }

    /// The interfaces that it imports, as the component names them.
    pub fn imports(&self) -> Vec<String> {
        let Callee { shared, pre, .. } = &self.0.loaded.callee;
        pre.component().component_type().imports(&shared.engine).map(|(name, _)| name.to_owned()).collect()
    }

    /// The interfaces that it exports, as the component names them.
    pub fn exports(&self) -> Vec<String> {
        let Callee { shared, pre, .. } = &self.0.loaded.callee;
        pre.component().component_type().exports(&shared.engine).map(|(name, _)| name.to_owned()).collect()
    }

    /// What is wrong with a configuration, beyond what the schema says: the first 64 problems. `config` is the engine's section, as JSON.
    ///
    /// # Errors
    /// When the call failed. Whether the configuration is good is not known then.
    pub fn check_config(&self, config: &str) -> Result<Vec<ConfigProblem>, Fault> {
        let (callee, limits) = self.callee();
        let back = callee.call(limits, None, config.weight(), (&callee.exports.check_config, (config,)));
        let (found,): (Vec<guest::Problem>,) = back.result?;
        Ok(found.into_iter().take(PROBLEMS).map(problem).collect())
    }
}

impl Engine for LoadedEngine {
    fn identity(&self) -> EngineInForce {
        self.0.loaded.identity.clone()
    }

    fn bounds(&self) -> Bounds {
        self.0.limits.bounds()
    }

    fn initialize(&self, cycle: Cycle) -> Called<Vec<u8>> {
        let (callee, limits) = self.callee();
        callee.call_on(limits, cycle, 0, (&callee.exports.initialize, (domain(), setup())), |_, answer: Result<Vec<u8>, guest::Failure>| {
            answer.map_err(|error| returned("initialize", error)).and_then(|first| memory(first, limits))
        })
    }

    fn reconfigure(&self, cycle: Cycle, before: &[u8]) -> Called<Reconfigured> {
        let (callee, limits) = self.callee();
        callee.call_on(
            limits,
            cycle,
            before.weight(),
            (&callee.exports.reconfigure, (before, domain(), setup())),
            |_, answer: Result<Vec<u8>, guest::Failure>| match answer {
                Ok(after) => memory(after, limits).map(Reconfigured::Memory),
                Err(guest::Failure::NotSupported) => Ok(Reconfigured::NotSupported),
                Err(guest::Failure::Memory(text)) => Ok(Reconfigured::MemoryRefused(bounded(text))),
                Err(guest::Failure::Config(problems)) => {
                    Ok(Reconfigured::Refused(problems.into_iter().take(PROBLEMS).map(problem).collect()))
                }
                Err(error) => Err(returned("reconfigure", error)),
            },
        )
    }

    fn decide(&self, cycle: Cycle, before: &[u8]) -> Called<Verdict> {
        let (callee, limits) = self.callee();
        let control = Resource::<ControlHandle>::new_borrow(THE_ONE);
        callee.call_on(
            limits,
            cycle,
            before.weight(),
            (&callee.exports.decide, (before, domain(), control)),
            |cycle, answer: Result<guest::Verdict, guest::Failure>| {
                answer.map_err(|error| returned("decide", error)).and_then(|told| verdict(cycle, told, limits))
            },
        )
    }

    /// What it says is logged.
    fn retire(&self, memory: &[u8]) -> Result<(), Fault> {
        let (callee, limits) = self.callee();
        callee.call::<_, ()>(limits, None, memory.weight(), (&callee.exports.retire, (memory,))).result
    }
}

impl fmt::Debug for LoadedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadedEngine").field(&self.0.loaded.identity).finish()
    }
}

fn domain() -> Resource<DomainHandle> {
    Resource::new_borrow(THE_ONE)
}

fn setup() -> Resource<SetupHandle> {
    Resource::new_borrow(THE_ONE)
}

fn memory(bytes: Vec<u8>, limits: &EngineLimits) -> Result<Vec<u8>, Fault> {
    if bytes.len() > limits.blob_bytes {
        return Err(fault::output(format!("a memory of {} bytes; at most {} are kept", bytes.len(), limits.blob_bytes)));
    }
    Ok(bytes)
}

/// Judges a verdict. Figures that are not numbers are left out, and a line of the log says which: they only explain, and a decision
/// that keeps instances alive should not fail over its explanation. The journal could not hold them.
fn verdict(cycle: &mut Cycle, told: guest::Verdict, own: &EngineLimits) -> Result<Verdict, Fault> {
    if told.reason.len() > limits::REASON_BYTES {
        return Err(fault::output(format!("a reason of {} bytes; at most {} are kept", told.reason.len(), limits::REASON_BYTES)));
    }
    if told.figures.len() > limits::FIGURES {
        return Err(fault::output(format!("{} figures; at most {} are kept", told.figures.len(), limits::FIGURES)));
    }
    if let Some((name, _)) = told.figures.iter().find(|(name, _)| name.len() > FIGURE_NAME_BYTES) {
        return Err(fault::output(format!("a figure with a name of {} bytes; at most {FIGURE_NAME_BYTES} are kept", name.len())));
    }
    let (figures, odd): (Vec<_>, Vec<_>) = told.figures.into_iter().partition(|(_, value)| value.is_finite());
    for (name, value) in odd {
        cycle.log(Level::Warn, format!("figure {name:?} is {value} and was left out"));
    }
    Ok(Verdict {
        memory: memory(told.memory, own)?,
        status: convert::status(told.status),
        reason: told.reason,
        figures,
        wake: told.wake.map(convert::wake),
    })
}

/// An error that the guest returned where it is a fault.
fn returned(call: &str, error: guest::Failure) -> Fault {
    fault::returned(match error {
        guest::Failure::Config(problems) => {
            let problems: Vec<String> = problems.into_iter().take(PROBLEMS).map(|it| problem(it).to_string()).collect();
            format!("the configuration can't be used: {}", problems.join("; "))
        }
        guest::Failure::Memory(text) => format!("the memory can't be read: {text}"),
        guest::Failure::NotSupported => format!("{call} is not offered"),
        guest::Failure::Other(text) => text,
    })
}

fn problem(told: guest::Problem) -> ConfigProblem {
    let ConfigProblem { at, message } = convert::problem(told);
    ConfigProblem { at: bounded(at), message: bounded(message) }
}

#[cfg(test)]
mod tests {
    use wasmtime::component::Component;

    use crate::sandbox::{Sandbox, SandboxConfig};

    use super::*;

    /// A component that makes so many handles of a resource of its own when it starts, and drops each if it is told to.
    fn handles(count: usize, dropped: bool) -> Result<(), Fault> {
        let drop = if dropped { "call $drop" } else { "drop" };
        let text = format!(
            "(component
               (type $own (resource (rep i32)))
               (core func $new (canon resource.new $own))
               (core func $drop (canon resource.drop $own))
               (core instance $canon (export \"new\" (func $new)) (export \"drop\" (func $drop)))
               (core module $module
                 (import \"canon\" \"new\" (func $new (param i32) (result i32)))
                 (import \"canon\" \"drop\" (func $drop (param i32)))
                 (func $start (local $left i32)
                   (local.set $left (i32.const {count}))
                   (loop $again
                     (call $new (i32.const 7)) {drop}
                     (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
                 (func (export \"any\"))
                 (start $start))
               (core instance $made (instantiate $module (with \"canon\" (instance $canon))))
               (func (export \"any\") (canon lift (core func $made \"any\"))))"
        );
        let sandbox = Sandbox::new(SandboxConfig { concurrent_calls: 1, ..SandboxConfig::default() }).expect("a sandbox");
        let shared = Arc::clone(sandbox.shared());
        let component = Component::new(&shared.engine, wat::parse_str(text).expect("well formed")).expect("it compiles");
        let pre = shared.linker.instantiate_pre(&component).expect("it imports nothing");
        let any = || component.get_export_index(None, "any").expect("it is there");
        let exports = Exports { describe: any(), check_config: any(), initialize: any(), reconfigure: any(), decide: any(), retire: any() };
        let callee = Callee { pre, exports, label: Arc::from("handles"), shared };
        callee.instantiate(&EngineLimits::default(), |_, _| ())
    }

    #[test]
    fn handles_are_bounded_in_number_and_not_in_how_many_there_ever_were() {
        assert_eq!(handles(HANDLES, false), Ok(()));
        let fault = handles(HANDLES + 1, false).expect_err("too many");
        assert!(fault.kind.counts() && fault.message.contains("handle limit exceeded"), "{fault}");
        assert_eq!(handles(2 * HANDLES, true), Ok(()));
    }
}
