//! What decisions are held against: wasmtime alone, calling a component that does nothing.

use wasmtime::component::{Component, ComponentExportIndex, ComponentType, InstancePre, Lift, Linker};
use wasmtime::error::format_err;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, ResourceLimiter, Result, Store};

/// The smallest component there is that has a memory and a function.
const MINIMAL: &str = r#"(component
    (core module $module (memory (export "memory") 1) (func (export "run")))
    (core instance $instance (instantiate $module))
    (func (export "run") (canon lift (core func $instance "run"))))"#;

/// What a call is bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bounds {
    /// By nothing: how wasmtime is fastest.
    None,
    /// Fuel is counted.
    Fuel,
    /// Fuel is counted, and a clock cuts it short.
    FuelAndClock,
    /// All that, a limit on memory, and one on what it hands over: as the sandbox does it.
    All,
}

/// A component that can be called in a store of its own.
pub(crate) struct Bare {
    bounds: Bounds,
    engine: Engine,
    pre: InstancePre<Unlimited>,
    call: Call,
}

/// What is called: the least that a component offers.
enum Call {
    /// Nothing: it is only started.
    Nothing,
    /// A function without arguments that returns at once.
    Run(ComponentExportIndex),
    /// An engine's `retire`, with a memory of nothing. It has nothing to do.
    Retire(ComponentExportIndex),
    /// An engine's `check-config`, with this configuration: code of the guest, which asks the host for nothing.
    Check(ComponentExportIndex, String),
}

/// What `check-config` finds.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
struct Problem {
    at: String,
    message: String,
}

/// Says yes to everything: what asking costs is to be seen.
#[derive(Debug, Default)]
pub(crate) struct Unlimited;

impl ResourceLimiter for Unlimited {
    fn memory_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool> {
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool> {
        Ok(true)
    }
}

impl Bare {
    /// The smallest component.
    pub(crate) fn minimal(bounds: Bounds) -> Result<Self> {
        Self::of(&wat::parse_str(MINIMAL)?, bounds)
    }

    /// An engine, which is called with nothing to do.
    pub(crate) fn engine(bytes: &[u8], bounds: Bounds) -> Result<Self> {
        let mut bare = Self::of(bytes, bounds)?;
        bare.call = Call::Retire(bare.export("retire")?);
        Ok(bare)
    }

    /// An engine, which judges a configuration that nothing is wrong with.
    pub(crate) fn judging(bytes: &[u8], bounds: Bounds, config: String) -> Result<Self> {
        let mut bare = Self::of(bytes, bounds)?;
        bare.call = Call::Check(bare.export("check-config")?, config);
        Ok(bare)
    }

    fn export(&self, function: &str) -> Result<ComponentExportIndex> {
        let component = self.pre.component();
        let interface = component.get_export_index(None, "pilothouse:engine/engine@0.1.0");
        let export = interface.and_then(|interface| component.get_export_index(Some(&interface), function));
        export.ok_or_else(|| format_err!("the component exports no `{function}`"))
    }

    /// An engine, which is only started.
    pub(crate) fn started(bytes: &[u8], bounds: Bounds) -> Result<Self> {
        Self::of(bytes, bounds)
    }

    /// Any component. Its imports trap when they are called.
    fn of(bytes: &[u8], bounds: Bounds) -> Result<Self> {
        let engine = Engine::new(&config(bounds))?;
        let component = Component::new(&engine, bytes)?;
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component)?;
        let call = component.get_export_index(None, "run").map_or(Call::Nothing, Call::Run);
        Ok(Self { bounds, pre: linker.instantiate_pre(&component)?, engine, call })
    }

    /// A store and its end.
    pub(crate) fn store(&self) -> Result<()> {
        self.bounded().map(drop)
    }

    /// A store, an instance in it, the call, and the end of it all.
    pub(crate) fn call(&self) -> Result<()> {
        self.call_in(&mut self.bounded()?)
    }

    /// What a call uses up.
    pub(crate) fn fuel(&self) -> Result<u64> {
        let mut store = self.bounded()?;
        let before = store.get_fuel()?;
        self.call_in(&mut store)?;
        Ok(before - store.get_fuel()?)
    }

    fn bounded(&self) -> Result<Store<Unlimited>> {
        let mut store = Store::new(&self.engine, Unlimited);
        if self.bounds == Bounds::All {
            store.limiter(|limiter| limiter);
            store.set_hostcall_fuel(4 << 20);
        }
        if self.bounds != Bounds::None {
            store.set_fuel(1_000_000_000)?;
        }
        if matches!(self.bounds, Bounds::FuelAndClock | Bounds::All) {
            store.set_epoch_deadline(300);
        }
        Ok(store)
    }

    fn call_in(&self, store: &mut Store<Unlimited>) -> Result<()> {
        let instance = self.pre.instantiate(&mut *store)?;
        match &self.call {
            Call::Nothing => {}
            Call::Run(run) => instance.get_typed_func::<(), ()>(&mut *store, run)?.call(&mut *store, ())?,
            Call::Retire(retire) => instance.get_typed_func::<(&[u8],), ()>(&mut *store, retire)?.call(&mut *store, (&[],))?,
            Call::Check(check, config) => {
                let check = instance.get_typed_func::<(&str,), (Vec<Problem>,)>(&mut *store, check)?;
                let (found,) = check.call(&mut *store, (config,))?;
                if let Some(Problem { at, message }) = found.first() {
                    return Err(format_err!("a good configuration is refused: {at}: {message}"));
                }
            }
        }
        Ok(())
    }
}

/// The configuration of the sandbox, but for what bounds a call.
fn config(bounds: Bounds) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(8)
        .total_core_instances(512)
        .total_memories(16)
        .total_tables(64)
        .max_core_instances_per_component(64)
        .max_memories_per_component(2)
        .max_tables_per_component(8)
        .max_tables_per_module(8)
        .max_memory_size(64 << 20)
        .table_elements(65_536)
        .linear_memory_keep_resident(512 << 10)
        .table_keep_resident(512 << 10)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(8);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .cranelift_opt_level(OptLevel::Speed)
        .consume_fuel(bounds != Bounds::None)
        .epoch_interruption(matches!(bounds, Bounds::FuelAndClock | Bounds::All))
        .concurrency_support(false);
    config
}
