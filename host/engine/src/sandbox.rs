//! What all engines share: the compiler and its configuration, the pool of memories, the clock that cuts calls short.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::cache::Cache;
use crate::compiler::{self, Compiler};
use crate::held::Together;
use crate::host_impl::Call;
use crate::limits::{EngineLimits, TICK};
use crate::runner::SLOW_PER_THREAD;
use crate::{loader, machine, runner};

/// Core instances of one component. A Rust engine has three, a Python engine about twenty.
pub(crate) const CORE_INSTANCES: u32 = 64;
/// Memories of one component. Every engine that we know has one; a component made of two would have two.
const MEMORIES: u32 = 2;
/// Tables of one component: one each for code, for calls to the host, and for what interpreters link at run time.
const TABLES: u32 = 8;
/// How much of a memory is wiped in place, rather than given back to the system, when its call is over. The kernel tells which pages were
/// written (Linux 6.7 and newer), so only those are wiped, and this is the most of them: more than an engine in Rust writes. Giving pages
/// back costs more than wiping them, and getting them again as much once more.
const KEEP_RESIDENT_KNOWN: usize = 512 << 10;
/// The same on a kernel that does not tell: all of it is wiped, and what lies beyond is given back. More would make calls slower.
const KEEP_RESIDENT: usize = 64 << 10;
/// Calls beyond those of a runner, the long ones among them, that the pool has room for: loading, checks of configurations.
const SPARE_CALLS: u32 = 4;
/// The most calls at the same time: each has 8 GiB of address space for its memories, of 128 TiB.
const MOST_CALLS: u32 = 3000;

/// How a sandbox is made.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// What each call of any engine may use up.
    pub limits: EngineLimits,
    /// Bytes that all running calls may hold together, in linear memories and tables. A call that wants more is ended, by a fault that does not
    /// speak against its engine. By default as much as all of them could hold one by one, and no more than half of this machine's memory.
    pub memory_together: Option<usize>,
    /// What compiles components in a process of its own. Nothing: they are compiled in this one.
    pub compiler: Option<Compiler>,
    /// Where compiled components are kept. Made if it is not there, for this user alone. Nothing: they are compiled again at every start.
    pub cache: Option<PathBuf>,
    /// How many calls may run at the same time, 1 to 3000; others wait. Address space is set aside for each. By default as many as a
    /// [`Runner`](crate::Runner) has threads by default, in its pool and beside it for long calls, and a few.
    pub concurrent_calls: u32,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self::of_threads(runner::default_threads())
    }
}

impl SandboxConfig {
    /// The most threads of a [`Runner`](crate::Runner) that a sandbox has room for.
    pub const MAX_THREADS: usize = 996;

    /// For a [`Runner`](crate::Runner) of so many threads.
    pub fn of_threads(threads: usize) -> Self {
        let threads = threads.clamp(1, Self::MAX_THREADS);
        Self {
            limits: EngineLimits { calls: EngineLimits::calls_of(threads), ..EngineLimits::default() },
            memory_together: None,
            compiler: None,
            cache: None,
            concurrent_calls: (threads * (1 + SLOW_PER_THREAD)) as u32 + SPARE_CALLS,
        }
    }

    fn memory_together(&self) -> usize {
        let one_by_one = self.limits.memory_bytes.saturating_mul(self.concurrent_calls as usize);
        let fair = || machine::memory_bytes().map_or(one_by_one, |bytes| one_by_one.min(bytes / 2));
        // What one call may hold by itself, it can.
        self.memory_together.unwrap_or_else(|| fair().max(self.limits.memory_bytes))
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A limit is none.
    #[error("limits of engines: {0}")]
    Limits(String),
    /// The machine does not offer what it takes, most often address space.
    #[error("setting up the sandbox for {concurrent_calls} concurrent calls: {problem}")]
    Setup {
        /// As configured.
        concurrent_calls: u32,
        /// What went wrong.
        problem: String,
    },
}

/// Where engines are loaded and run. Cheap to clone; all clones are the same sandbox.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

/// What every engine keeps alive. Fields are dropped in order: the clock stops first.
pub(crate) struct Shared {
    _clock: Clock,
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Call>,
    pub(crate) limits: EngineLimits,
    pub(crate) together: Arc<Together>,
    pub(crate) compiler: Option<Compiler>,
    pub(crate) cache: Option<Cache>,
    pub(crate) places: Places,
    compiled: AtomicU64,
}

impl Sandbox {
    /// Makes a sandbox.
    ///
    /// A cache that can't be used is no error: it is warned of, and components are compiled instead.
    ///
    /// # Errors
    /// When a limit makes no sense, or the machine can't set aside the address space.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let together = Arc::new(Together::new(config.memory_together()));
        let SandboxConfig { limits, compiler, cache, concurrent_calls, .. } = config;
        let mut problems: Vec<_> = limits.problems().iter().map(ToString::to_string).collect();
        if together.most() < limits.memory_bytes {
            problems.push(format!("memory_together: expected at least memory_bytes, which is {}", limits.memory_bytes));
        }
        if !(1..=MOST_CALLS).contains(&concurrent_calls) {
            problems.push(format!("concurrent_calls: expected 1 to {MOST_CALLS}"));
        }
        if !problems.is_empty() {
            return Err(SandboxError::Limits(problems.join("; ")));
        }
        let failed = |error: &dyn fmt::Display| SandboxError::Setup { concurrent_calls, problem: error.to_string() };
        let engine = Engine::new(&engine_config(&limits, concurrent_calls)).map_err(|error| failed(&format!("{error:#}")))?;
        let linker = loader::linker(&engine).map_err(|error| failed(&format!("{error:#}")))?;
        let clock = Clock::start(engine.clone()).map_err(|error| failed(&error))?;
        let cache = cache.and_then(|folder| Cache::open(&folder, &engine));
        let places = Places::new(concurrent_calls);
        let compiled = AtomicU64::new(0);
        Ok(Self(Arc::new(Shared { _clock: clock, engine, linker, limits, together, compiler, cache, places, compiled })))
    }

    /// What each call of any engine may use up: the ceilings of what engines may have as their own limits.
    pub fn limits(&self) -> &EngineLimits {
        &self.0.limits
    }

    /// Bytes that running calls hold together in linear memories and tables, and the most that they may.
    pub fn memory_together(&self) -> (usize, usize) {
        (self.0.together.used(), self.0.together.most())
    }

    /// How many components were compiled, rather than found compiled, since the start.
    pub fn compiled(&self) -> u64 {
        self.0.compiled.load(Ordering::Relaxed)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("limits", &self.0.limits).field("compiled", &self.compiled()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn count_compiled(&self) {
        self.compiled.fetch_add(1, Ordering::Relaxed);
    }
}

/// The configuration that all components run in. What they are compiled for is the compiler's part of it.
fn engine_config(limits: &EngineLimits, concurrent_calls: u32) -> Config {
    // Where the kernel tells which pages a call has written, only those are wiped: more may stay.
    let keep = if PoolingAllocationConfig::is_pagemap_scan_available() { KEEP_RESIDENT_KNOWN } else { KEEP_RESIDENT };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(concurrent_calls)
        .total_core_instances(concurrent_calls * CORE_INSTANCES)
        .total_memories(concurrent_calls * MEMORIES)
        .total_tables(concurrent_calls * TABLES)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_tables_per_module(TABLES)
        .max_memory_size(limits.memory_bytes)
        .table_elements(limits.table_elements)
        .linear_memory_keep_resident(keep)
        .table_keep_resident(keep)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(concurrent_calls);
    let mut config = compiler::configuration();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool)).max_wasm_stack(limits.stack_bytes);
    config
}

/// A thread that advances the clock by which calls are cut short. It ends when this is dropped.
struct Clock {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Clock {
    fn start(engine: Engine) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let tick = move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        };
        let thread = thread::Builder::new().name("engine-clock".to_owned()).spawn(tick)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It can only have ended.
            let _ = thread.join();
        }
    }
}

/// As many places as the pool has: whoever finds none free waits, so that the pool is never found empty. Nobody holds a lock who need not
/// wait: calls that are long may be stopped anywhere.
pub(crate) struct Places {
    free: AtomicU32,
    /// How many wait, or are about to.
    waiting: AtomicU32,
    lock: Mutex<()>,
    freed: Condvar,
}

/// A place that is taken until this is dropped.
pub(crate) struct Place<'a>(&'a Places);

impl Places {
    fn new(count: u32) -> Self {
        Self { free: AtomicU32::new(count), waiting: AtomicU32::new(0), lock: Mutex::new(()), freed: Condvar::new() }
    }

    pub(crate) fn take(&self) -> Place<'_> {
        if !self.try_take() {
            let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            // Before it is tried again: in one order for all, so whoever frees one either is seen here or sees this.
            self.waiting.fetch_add(1, Ordering::SeqCst);
            drop(self.freed.wait_while(lock, |()| !self.try_take()).unwrap_or_else(PoisonError::into_inner));
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        Place(self)
    }

    fn try_take(&self) -> bool {
        self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |free| free.checked_sub(1)).is_ok()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            // Whoever has tried in vain waits by now.
            drop(self.0.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.0.freed.notify_one();
        }
    }
}
