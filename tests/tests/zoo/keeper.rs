//! The host that all of them visit, what goes on beside them, and what must still be so when they have gone.
//!
//! There is one nats-server, one provisioner and one host for all tests, as long as any of them runs or waits: starting them takes longer than
//! most tests. Tests take turns, so that it is clear whose fault it is when a neighbour suffers; each has a domain of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream;
use async_nats::jetstream::kv::Store;
use async_nats::jetstream::object_store::ObjectStore;
use futures::TryStreamExt as _;
use pilothouse::api::{
    CallError, DomainDescription, DomainList, EngineChanged, HostFigures, LimitEngine, ListDomains, OnDomain, Operation, PushEngine,
    RemoveDomain,
};
use pilothouse::driver::registry::{digest_of, put_component};
use pilothouse::store::{JetStreamJournal, Journal as _, JournalOptions};
use pilothouse_core::command::ApiError;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::{Event, Record};
use pilothouse_core::state::DomainState;
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::{Rig, SOON, keep};
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::beast::Beast;
use crate::neighbours::{NEIGHBOURS, Watch};

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// The site that guests launch at, and what they launch there: both are in `tests/guests/frame.wat`.
const SITE: &str = "site";
const DEPLOYABLE: &str = "type";

/// The most memory that the host may ever have used. What the limits allow all calls together is within it, and what guests ask for is not.
const PEAK_BYTES: u64 = 1 << 30;

/// Everything that is shared. It goes with the last test that holds it.
struct Shared {
    zoo: Mutex<Option<Zoo>>,
    runtime: Runtime,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _guard = self.runtime.enter();
        drop(self.zoo.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());

fn shared() -> Arc<Shared> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let zoo = runtime.block_on(Zoo::open()).unwrap_or_else(|error| panic!("{error:?}"));
        let opened = Arc::new(Shared { zoo: Mutex::new(Some(zoo)), runtime });
        *shared = Arc::downgrade(&opened);
        opened
    })
}

/// Carries out a test, alone, on the host that all share; afterwards the host and the neighbours must be as well as they were.
///
/// # Panics
/// When they are not, or the test fails.
pub(crate) fn visit(test: impl AsyncFnOnce(&Zoo) -> Result<()>) {
    let shared = shared();
    let zoo = shared.zoo.lock().unwrap_or_else(PoisonError::into_inner);
    let zoo = zoo.as_ref().expect("it is open");
    let visited = shared.runtime.block_on(async {
        zoo.clear().await?;
        let before = zoo.neighbours().await?;
        zoo.watch.begin(&before);
        test(zoo).await?;
        zoo.is_unharmed(&before).await
    });
    visited.unwrap_or_else(|error| panic!("{error:?}\n{}", zoo.rig.logs()));
}

/// A host with neighbours.
pub(crate) struct Zoo {
    pub(crate) rig: Rig,
    host: Program,
    _site: Program,
    journal: JetStreamJournal,
    store: ObjectStore,
    registry: Store,
    watch: Watch,
}

impl Zoo {
    async fn open() -> Result<Self> {
        let rig = Rig::new(PROGRAM).await?;
        let table = rig.path("deployables.toml");
        let of_worker = fs::read_to_string(&table)?;
        fs::write(&table, format!("{of_worker}\n{}", of_worker.replace("[deployable.worker]", &format!("[deployable.{DEPLOYABLE}]"))))?;
        let site = rig.site(SITE).await?;
        // A debug build on a crowded machine must use up its fuel before the clock cuts it short: what is cut short depends on the machine.
        let config = rig.path("keeper.toml");
        fs::write(&config, "[engine_limits]\ndeadline_ms = 30000\n")?;
        let host = rig.host_with("keeper", &[("PILOTHOUSE_CONFIG", &config.display().to_string())])?;
        for name in NEIGHBOURS {
            rig.add(name, keep(1, SITE)).await.with_context(|| host.said())?;
        }
        let journal = JetStreamJournal::open(rig.nats.client().await?, rig.api.subjects().clone(), &JournalOptions::default()).await?;
        let jetstream = jetstream::new(rig.nats.client().await?);
        let store = jetstream.get_object_store("PH_ENGINES").await.context("the store")?;
        let registry = jetstream.get_key_value("PH_REGISTRY").await.context("the registry")?;
        let watch = Watch::start(rig.api.clone());
        let zoo = Self { rig, host, _site: site, journal, store, registry, watch };
        eventually("the neighbours are well", SOON, async || {
            zoo.neighbours().await.is_ok_and(|all| all.values().all(|it| is_well(it) && it.instances.len() == 1))
        })
        .await
        .with_context(|| zoo.rig.logs())?;
        Ok(zoo)
    }

    /// Gives an engine to the host, as `pilothouse engine push` does.
    pub(crate) async fn offer(&self, beast: &Beast) -> Result<()> {
        match self.pushed(&beast.component()).await? {
            Ok(changed) => {
                ensure!(changed.name.as_str() == beast.name, "{changed:?}");
                Ok(())
            }
            Err(error) => bail!("{} was refused: {error}", beast.name),
        }
    }

    /// Changes a limit of an engine.
    pub(crate) async fn limit(&self, beast: &Beast, limit: &str, value: u64) -> Result<()> {
        let limits = [(limit.to_owned(), Some(value))].into();
        let request = LimitEngine { name: beast.name.clone(), limits, request_id: None };
        let changed: EngineChanged = self.rig.api.call(Operation::EngineLimit, &request).await?;
        ensure!(changed.changed, "{changed:?}");
        Ok(())
    }

    /// What the host says of a component that it refuses, of which nothing may stay.
    pub(crate) async fn refusal(&self, bytes: &[u8]) -> Result<String> {
        self.refusal_as(bytes, None).await
    }

    /// The same of a component that is expected to be this `NAME@VERSION`, if any.
    pub(crate) async fn refusal_as(&self, bytes: &[u8], expect: Option<&str>) -> Result<String> {
        match self.pushed_as(bytes, expect).await? {
            Err(error) => Ok(error),
            Ok(changed) => bail!("it was taken: {changed:?}"),
        }
    }

    /// The same of a file of this name, that is offered with `pilothouse engine push`.
    pub(crate) async fn refusal_of_file(&self, name: &str, bytes: &[u8]) -> Result<String> {
        let file = self.rig.path(name);
        fs::write(&file, bytes)?;
        let engines = self.engines().await?;
        self.watch.beast_comes();
        let answer = self.rig.run(&["engine", "push", file.to_str().context("a path")?])?;
        ensure!(answer.code == 2, "{answer:?}");
        self.keeps_nothing_of(bytes, &engines).await.with_context(|| answer.err.clone())?;
        Ok(answer.err)
    }

    /// Offers a component to the host. What it refuses is neither in the registry nor in the store afterwards.
    pub(crate) async fn pushed(&self, bytes: &[u8]) -> Result<Result<EngineChanged, String>> {
        self.pushed_as(bytes, None).await
    }

    async fn pushed_as(&self, bytes: &[u8], expect: Option<&str>) -> Result<Result<EngineChanged, String>> {
        let digest = put_component(&self.store, bytes).await?;
        let engines = self.engines().await?;
        let expect = expect.map(str::to_owned);
        let request = PushEngine { digest, bytes: bytes.len() as u64, expect, ..PushEngine::default() };
        self.watch.beast_comes();
        match self.rig.api.call(Operation::EnginePush, &request).await {
            Ok(changed) => Ok(Ok(changed)),
            Err(CallError::Api(error)) => {
                self.keeps_nothing_of(bytes, &engines).await.with_context(|| error.to_string())?;
                Ok(Err(error.to_string()))
            }
            Err(error) => Err(error).context("pushing"),
        }
    }

    /// What was refused is neither in the registry, which has these engines as before, nor in the store.
    async fn keeps_nothing_of(&self, bytes: &[u8], engines: &[String]) -> Result<()> {
        ensure!(self.engines().await? == engines, "what was refused is in the registry");
        let kept = self.store.info(&digest_of(bytes)).await.is_ok_and(|info| !info.deleted);
        ensure!(!kept, "what was refused is in the store");
        Ok(())
    }

    /// The names and versions of all engines.
    async fn engines(&self) -> Result<Vec<String>> {
        let mut keys: Vec<String> = self.registry.keys().await?.try_collect().await?;
        keys.sort();
        let mut all = Vec::new();
        for key in keys {
            let entry: Value = serde_json::from_slice(&self.registry.get(&key).await?.unwrap_or_default())?;
            let versions = entry["versions"].as_object().into_iter().flatten().map(|(version, _)| version.clone());
            all.extend(versions.map(|version| format!("{key}@{version}")));
        }
        Ok(all)
    }

    /// What the host said so far.
    pub(crate) fn said(&self) -> String {
        self.host.said()
    }

    /// What the host says of a domain.
    pub(crate) async fn describe(&self, domain: &str) -> Result<DomainDescription> {
        let request = OnDomain { domain: domain.to_owned(), request_id: None };
        Ok(self.rig.api.call(Operation::DomainDescribe, &request).await?)
    }

    /// What the host says of a domain, as soon as that is so.
    pub(crate) async fn sees(&self, domain: &str, what: &str, is: impl Fn(&DomainDescription) -> bool) -> Result<DomainDescription> {
        let mut last = None;
        let seen = eventually_some(what, SOON, async || {
            let described = self.describe(domain).await.ok()?;
            last = Some(format!("{described:#?}"));
            is(&described).then_some(described)
        });
        seen.await.with_context(|| last.unwrap_or_default())
    }

    /// Adds a domain that an engine decides, five times a second and with this configuration.
    pub(crate) async fn add(&self, domain: &str, engine: &str, engine_conf: Value) -> Result<()> {
        self.watch.beast_comes();
        self.rig.add(domain, config(engine, engine_conf)).await
    }

    /// The answer to the addition of a domain that is refused.
    pub(crate) async fn add_refused(&self, domain: &str, engine: &str) -> Result<String> {
        match self.added(domain, config(engine, json!({}))).await? {
            Err(error) => Ok(error),
            Ok(answer) => bail!("{domain} was answered with {answer}"),
        }
    }

    /// Adds a domain, which may be refused.
    pub(crate) async fn added(&self, domain: &str, config: Value) -> Result<Result<Value, String>> {
        self.watch.beast_comes();
        match self.rig.api.call(Operation::DomainAdd, &json!({"domain": domain, "config": config})).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(CallError::Api(error)) => Ok(Err(error.to_string())),
            Err(error) => Err(error).context("adding"),
        }
    }

    /// Waits until the neighbours have gone on for a while since the newest beast came.
    pub(crate) async fn neighbours_go_on(&self) -> Result<()> {
        self.watch.go_on().await
    }

    /// Every record of a domain, oldest first.
    pub(crate) async fn records(&self, domain: &str) -> Result<Vec<(u64, Record)>> {
        let mut entries = self.journal.history(&key(domain)?, None, 10_000).await?;
        entries.reverse();
        entries.into_iter().map(|entry| Ok((entry.sequence, Record::from_bytes(&entry.bytes)?))).collect()
    }

    /// Every event of a domain, oldest first.
    pub(crate) async fn events(&self, domain: &str) -> Result<Vec<Event>> {
        Ok(self.records(domain).await?.into_iter().flat_map(|(_, record)| record.events).collect())
    }

    /// A domain as its journal has it.
    pub(crate) async fn state(&self, domain: &str) -> Result<DomainState> {
        let key = key(domain)?;
        let mut state = DomainState::absent(key.clone(), key.slot(256));
        for (sequence, record) in self.records(domain).await? {
            state.apply(sequence, &record);
        }
        Ok(state)
    }

    /// Removes a domain, and returns when it and its instances are gone.
    pub(crate) async fn remove(&self, domain: &str) -> Result<()> {
        let instances = self.describe(domain).await?.instances;
        let request = RemoveDomain { domain: domain.to_owned(), ..RemoveDomain::default() };
        let _: Value = self.rig.api.call(Operation::DomainRemove, &request).await?;
        eventually("the domain is gone", SOON, async || {
            let request = OnDomain { domain: domain.to_owned(), request_id: None };
            let described = self.rig.api.call::<Value>(Operation::DomainDescribe, &request).await;
            matches!(described, Err(CallError::Api(ApiError::NotFound { .. })))
        })
        .await?;
        let alive = self.rig.ledger.alive();
        ensure!(instances.iter().all(|it| !alive.contains_key(it.instance_id.as_str())), "{domain} is gone, and of it run {alive:?}");
        Ok(())
    }

    /// Removes what a test that failed has left behind.
    async fn clear(&self) -> Result<()> {
        let domains: DomainList = self.rig.api.call(Operation::DomainList, &ListDomains {}).await?;
        for domain in domains.domains.iter().map(|it| it.name.as_str()).filter(|name| !NEIGHBOURS.contains(name)) {
            self.remove(domain).await?;
        }
        Ok(())
    }

    /// The instance ids of all processes that really run and do not belong to a neighbour.
    pub(crate) async fn strangers(&self) -> Result<BTreeSet<String>> {
        let neighbours = self.neighbours().await?;
        let known: BTreeSet<&str> = neighbours.values().flat_map(|it| &it.instances).map(|it| it.instance_id.as_str()).collect();
        Ok(self.rig.ledger.alive().into_keys().filter(|id| !known.contains(id.as_str())).collect())
    }

    /// The figures of the host.
    pub(crate) async fn figures(&self) -> Result<HostFigures> {
        let answer = self.rig.api.nats().request("$SRV.STATS.pilothouse", "".into()).await?;
        let statistics: Value = serde_json::from_slice(&answer.payload)?;
        Ok(serde_json::from_value(statistics["endpoints"][0]["data"].clone())?)
    }

    async fn neighbours(&self) -> Result<BTreeMap<&'static str, DomainDescription>> {
        let mut all = BTreeMap::new();
        for name in NEIGHBOURS {
            all.insert(name, self.describe(name).await?);
        }
        Ok(all)
    }

    /// Nobody else noticed anything: the neighbours went on at their pace, none of their decisions came late, their engine and their instances
    /// are the same; the host is the same process, complained of nothing of its own, and has all its threads.
    async fn is_unharmed(&self, before: &BTreeMap<&'static str, DomainDescription>) -> Result<()> {
        self.watch.assert_at_ease().await?;
        let after = self.neighbours().await?;
        for (name, before) in before {
            let after = &after[name];
            ensure!(
                after.host.as_str() == "keeper" && after.epoch == before.epoch,
                "{name} is decided by {} ({})",
                after.host,
                after.epoch
            );
            ensure!(after.summary.engine == before.summary.engine, "{name} is decided by {:?}", after.summary.engine);
            ensure!(after.asked.faults == 0, "{name} failed: {:?}", after.asked);
            let ids = |it: &DomainDescription| it.instances.iter().map(|it| it.instance_id.clone()).collect::<Vec<_>>();
            ensure!(is_well(after) && ids(after) == ids(before), "{name} was {before:#?} and is {after:#?}");
        }
        let all_back = async || self.figures().await.is_ok_and(|it| it.engine_threads_lost == 0);
        eventually("all threads of engines have come back", SOON, all_back).await?;
        let strangers = async || self.strangers().await.is_ok_and(|it| it.is_empty());
        eventually("nothing runs that belongs to nobody", SOON, strangers).await?;
        ensure!(!self.host.said().contains("panicked"), "the host panicked");
        let process = procfs::process::Process::new(i32::try_from(self.host.pid())?)?;
        let peak = process.status()?.vmhwm.context("a peak")? * 1024;
        ensure!(peak < PEAK_BYTES, "the host has used {peak} bytes");
        Ok(())
    }
}

fn is_well(domain: &DomainDescription) -> bool {
    domain.instances.iter().all(|it| it.state == State::Running && it.health == Health::Ok)
}

fn key(domain: &str) -> Result<DomainKey> {
    Ok(DomainKey { owner: "default".parse()?, name: domain.parse()? })
}

/// A domain that is decided five times a second.
pub(crate) fn config(engine: &str, engine_conf: Value) -> Value {
    json!({
        "general": {"engine": engine, "decide_interval": 0.2},
        "health": {"boot_timeout": 30, "missing_timeout": 4, "really_missing_timeout": 1, "zombie_seconds": 10},
        "engine_conf": engine_conf,
    })
}
