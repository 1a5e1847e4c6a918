//! All instances of one site: takes requests on, and lets instances live.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::State;
use pilothouse_core::message::{
    Dump, DumpAnswer, Inventory, InventoryAnswer, Known, Provision, Receipt, StateReport, Terminate, ToStart, ToStop,
};
use pilothouse_core::name::Name;
use pilothouse_core::subject::is_publishable;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::deployables::Deployables;
use super::instance::Instance;
use super::life::{self, Beginning};
use super::means::Means;
use super::record::{Launched, Record};
use super::records::RecordsError;
use super::rules::{self, Promise, Provisioning, Refusal, Termination};
use crate::clock;

/// About how much one page of the inventory may take, in bytes: well below what a message may.
const PAGE_BYTES: usize = 512 * 1024;

/// How many instances of one request are written to disk at once.
const WRITES_AT_ONCE: usize = 8;

/// How much longer than the agents' own grace a stop of all may take: for the sweeps after it.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// The instances of a site. Requests are taken one after the other; none waits for an instance to start or to end.
#[derive(Debug)]
pub(super) struct Site {
    name: Name,
    deployables: Deployables,
    means: Arc<Means>,
    instances: BTreeMap<InstanceId, Arc<Instance>>,
    lives: TaskTracker,
    /// A permit for each instance that may yet be alive.
    room: Arc<Semaphore>,
    most: u32,
}

/// An instance that was just taken on, and its place; without one it is gone already.
type TakenOn = (Arc<Instance>, Option<OwnedSemaphorePermit>);

impl Site {
    /// A site with room for so many instances, and with those that are known from before. They live on.
    pub(super) fn new(name: Name, deployables: Deployables, means: Means, most: u32, known: Vec<Record>) -> Self {
        let (lives, room) = (TaskTracker::new(), Arc::new(Semaphore::new(most as usize)));
        let mut site = Self { name, deployables, means: Arc::new(means), instances: BTreeMap::new(), lives, room, most };
        let mut gone = Vec::new();
        for record in known {
            let is_gone = record.state.is_gone();
            let instance = Instance::new(record);
            site.instances.insert(instance.id.clone(), Arc::clone(&instance));
            if is_gone {
                gone.push(instance);
            } else {
                // With less room than before those that are here stay, but none is added.
                let place = Arc::clone(&site.room).try_acquire_owned().ok();
                site.let_live(instance, Beginning::Found, place);
            }
        }
        // This provisioner may have been stopped before it had done that.
        let means = Arc::clone(&site.means);
        site.lives.spawn(async move {
            for instance in gone {
                means.tidy(&instance.id).await;
            }
        });
        site
    }

    pub(super) fn means(&self) -> &Means {
        &self.means
    }

    /// Takes on what is to be started.
    pub(super) async fn provision(&mut self, request: &Provision) -> Receipt {
        let ids: Vec<_> = request.instances.iter().map(|instance| &instance.node_id).collect();
        if let Err(receipt) = well_formed(&ids) {
            return receipt;
        }
        let site = &*self;
        let taken = some_at_once(request.instances.iter().map(|instance| site.start(request, instance).boxed()).collect()).await;
        self.take_on(&ids, taken)
    }

    /// Takes on what is to be ended.
    pub(super) async fn terminate(&mut self, request: &Terminate) -> Receipt {
        let ids: Vec<_> = request.instances.iter().map(|instance| &instance.node_id).collect();
        if let Err(receipt) = well_formed(&ids) {
            return receipt;
        }
        let site = &*self;
        let taken = some_at_once(request.instances.iter().map(|instance| site.end(request, instance).boxed()).collect()).await;
        self.take_on(&ids, taken)
    }

    /// Tells the state of instances, and which are not known.
    pub(super) async fn dump(&self, request: &Dump) -> DumpAnswer {
        let mut answer = DumpAnswer::default();
        for asked in &request.instances {
            match self.instances.get(&asked.node_id) {
                Some(instance) => {
                    instance.tell_on(&self.means, &asked.state_subject).await;
                    answer.known.push(asked.node_id.clone());
                }
                None => answer.unknown.push(asked.node_id.clone()),
            }
        }
        answer
    }

    /// Tells what lives here, in the order of ids, a page at a time.
    pub(super) async fn inventory(&self, request: &Inventory) -> InventoryAnswer {
        let from = request.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut answer = InventoryAnswer::default();
        let mut bytes = 0;
        for instance in self.instances.range::<InstanceId, _>((from, Bound::Unbounded)).map(|(_, instance)| instance) {
            let Some(known) = instance.record().await.known() else { continue };
            // Texts of a launch are as long as whoever asked for it liked.
            let size = serde_json::to_vec(&known).map_or(0, |json| json.len());
            if answer.instances.len() == Known::MAX_LISTED || (bytes > 0 && bytes + size > PAGE_BYTES) {
                answer.more = true;
                break;
            }
            bytes += size;
            answer.instances.push(known);
        }
        answer
    }

    /// Tells of everything that somebody may have missed while there was no link.
    pub(super) async fn tell_again(&self) {
        let now = clock::now();
        for instance in self.instances.values() {
            instance.tell_again(&self.means, now).await;
        }
    }

    /// Forgets what is gone for long.
    pub(super) async fn forget_old(&mut self) {
        let now = clock::now();
        let mut old = Vec::new();
        for instance in self.instances.values() {
            if rules::may_forget(&instance.record().await, now) {
                old.push(instance.id.clone());
            }
        }
        for id in old {
            match self.means.forget(id.clone()).await {
                Ok(()) => drop(self.instances.remove(&id)),
                Err(error) => tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "can't be forgotten"),
            }
        }
    }

    /// Ends all instances and waits until nothing is left of them; says whether that came in time.
    pub(super) async fn stop_all(&self, reason: &str) -> bool {
        some_at_once(self.instances.values().map(|instance| self.order_end(instance, reason).boxed()).collect()).await;
        self.lives.close();
        tokio::time::timeout(self.means.agents_grace() + STOP_MARGIN, self.lives.wait()).await.is_ok()
    }

    async fn order_end(&self, instance: &Instance, reason: &str) {
        let end = |record: &mut Record| record.advance(State::Terminating, Some(reason.to_owned()), clock::now());
        if let Err(error) = instance.promise(&self.means, end).await {
            tracing::error!(instance = %instance.id, error = &error as &dyn std::error::Error, "its end can't be recorded");
            // It ends all the same; after a restart it counts as failed.
            instance.end.cancel();
        }
    }

    /// Judges one instance to start. What comes back is on disk and told, but does not live yet; nothing when it was known before.
    async fn start(&self, request: &Provision, instance: &ToStart) -> Result<Option<TakenOn>, Refusal> {
        if request.site != self.name.as_str() {
            return Err(Refusal::Invalid(format!("site {:?}; this is {}", request.site, self.name)));
        }
        for subject in [&instance.state_subject, &instance.heartbeat_subject, &instance.sensor_subject, &instance.probe_subject] {
            publishable(subject)?;
        }
        let asked = Promise { epoch: request.epoch, sequence: instance.sequence, not_after: request.not_after };
        if let Some(known) = self.instances.get(&instance.node_id) {
            let verdict = known.promise(&self.means, |record| rules::provision(Some(record), &asked, clock::now())).await;
            if matches!(verdict, Ok(Ok(_) | Err(Refusal::Terminated))) {
                known.tell(&self.means).await;
            }
            return verdict.map_err(unavailable)?.map(|_| None);
        }
        let Provisioning::New = rules::provision(None, &asked, clock::now())? else { return Ok(None) };
        let (state, reason, place) = match self.prepare(request, instance).await? {
            Ok(place) => (State::Requested, None, Some(place)),
            Err(reason) => (State::Rejected, Some(reason), None),
        };
        let (id, domain, subject) = (instance.node_id.clone(), request.domain.clone(), instance.state_subject.clone());
        let record = Record::new(id, domain, asked, subject, state, reason, clock::now());
        let taken = self
            .remember(Record { launched: Some(Launched::from(request)), has_credentials: instance.credentials.is_some(), ..record })
            .await?;
        Ok(Some((taken, place)))
    }

    /// Finds a place for an instance and writes down what its agent will be told; or says why it is rejected for good.
    async fn prepare(&self, request: &Provision, instance: &ToStart) -> Result<Result<OwnedSemaphorePermit, String>, Refusal> {
        let spec = match self.deployables.spec(request, instance, self.means.grace.as_secs_f64()) {
            Ok(spec) => spec,
            Err(reason) => return Ok(Err(reason)),
        };
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            return Ok(Err(format!("site {} is full: it has room for {} instances", self.name, self.most)));
        };
        self.means.furnish(&spec, instance.credentials.as_ref()).await.map_err(unavailable)?;
        Ok(Ok(place))
    }

    /// Judges one instance to end. Something comes back when it was not known before.
    async fn end(&self, request: &Terminate, instance: &ToStop) -> Result<Option<TakenOn>, Refusal> {
        publishable(&instance.state_subject)?;
        let asked = Promise { epoch: request.epoch, sequence: instance.sequence, not_after: request.not_after };
        let Some(known) = self.instances.get(&instance.node_id) else {
            rules::terminate(None, &asked, clock::now())?;
            let reason = StateReport::never_seen().reason;
            let (id, domain, subject) = (instance.node_id.clone(), request.domain.clone(), instance.state_subject.clone());
            let record = Record::new(id, domain, asked, subject, State::Terminated, reason, clock::now());
            return Ok(Some((self.remember(record).await?, None)));
        };
        let verdict =
            known.promise(&self.means, |record| rules::terminate(Some(record), &asked, clock::now())).await.map_err(unavailable)?;
        if verdict? == Termination::Again {
            self.tell_once_more(known).await;
        }
        Ok(None)
    }

    /// Tells again of an instance whose end is asked for again. If it is gone, somebody may have heard from it: it is looked for first.
    async fn tell_once_more(&self, instance: &Arc<Instance>) {
        let record = instance.record().await;
        if !record.state.is_gone() {
            instance.tell(&self.means).await;
            return;
        }
        let (instance, means) = (Arc::clone(instance), Arc::clone(&self.means));
        self.lives.spawn(async move {
            life::clear(&instance, &means, record.agent.as_ref()).await;
            instance.tell(&means).await;
        });
    }

    /// Puts an instance on disk and tells of it.
    async fn remember(&self, record: Record) -> Result<Arc<Instance>, Refusal> {
        self.means.write(record.clone()).await.map_err(unavailable)?;
        record.log();
        let instance = Instance::new(record);
        instance.tell(&self.means).await;
        Ok(instance)
    }

    fn take_on(&mut self, ids: &[&InstanceId], taken: Vec<Result<Option<TakenOn>, Refusal>>) -> Receipt {
        let mut receipt = Receipt::default();
        for (&id, outcome) in ids.iter().zip(taken) {
            match outcome {
                Ok(new) => {
                    receipt.accepted.push(id.clone());
                    if let Some((instance, place)) = new {
                        self.instances.insert(id.clone(), Arc::clone(&instance));
                        if let Some(place) = place {
                            self.let_live(instance, Beginning::Fresh, Some(place));
                        }
                    }
                }
                Err(refusal) => {
                    let refused = refusal.of(id.clone());
                    tracing::warn!(instance = %id, kind = refused.kind, reason = refused.reason, "refused");
                    receipt.refused.push(refused);
                }
            }
        }
        receipt
    }

    fn let_live(&self, instance: Arc<Instance>, beginning: Beginning, place: Option<OwnedSemaphorePermit>) {
        let means = Arc::clone(&self.means);
        self.lives.spawn(async move {
            life::lead(&instance, &means, beginning).await;
            drop(place);
        });
    }
}

/// Does all of it, some at once, and gives the outcomes in order.
async fn some_at_once<T>(work: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    stream::iter(work).buffered(WRITES_AT_ONCE).collect().await
}

/// A request names some instances, not too many, and each once; otherwise all of it is refused.
fn well_formed(ids: &[&InstanceId]) -> Result<(), Receipt> {
    let mut named = BTreeSet::new();
    let problem = match ids.len() {
        count if count > Provision::MAX_INSTANCES => format!("{count} instances in one request; at most {}", Provision::MAX_INSTANCES),
        _ => match ids.iter().find(|id| !named.insert(**id)) {
            Some(twice) => format!("{twice} is named twice"),
            None => return Ok(()),
        },
    };
    let refused = ids.iter().map(|id| Refusal::Invalid(problem.clone()).of((*id).clone())).collect();
    Err(Receipt { accepted: Vec::new(), refused })
}

fn publishable(subject: &str) -> Result<(), Refusal> {
    if is_publishable(subject) { Ok(()) } else { Err(Refusal::Invalid(format!("{subject:?} is no subject that can be published on"))) }
}

fn unavailable(error: RecordsError) -> Refusal {
    tracing::error!(error = &error as &dyn std::error::Error, "a request can't be recorded");
    Refusal::Unavailable(error.to_string())
}
