//! What provisioners run and no domain knows, and the reverse.
//!
//! Domains and provisioners go on while they are compared, so the order of the looks decides what can be believed:
//!
//! 1. every domain says what it holds;
//! 2. every site says what it runs;
//! 3. each domain that either of the two speaks of says again what it holds.
//!
//! A launch is in the journal before its provisioner hears of it. So what a site ran in the second look is known to its domain in the third,
//! unless nobody knows it: an instance that was launched meanwhile is no orphan. And an end is reported before it is no longer listed. So
//! what a domain held at the first look, and holds unchanged at the third, should have been listed in between: one that was launched or
//! ended meanwhile is not missing. A domain that can't be asked is looked up in the journal rather than taken for one that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, StreamExt as _};
use pilothouse_core::command::{ApiError, Command, What};
use pilothouse_core::domain::Effect;
use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::State;
use pilothouse_core::message::{Dump, Inventory, InventoryAnswer, Known, Provision, Receipt, Terminate, ToDump, ToStop};
use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::promise::{Request, VALID_FOR};
use pilothouse_core::record::Adopted;
use pilothouse_core::state::{DomainState, Life};
use pilothouse_core::subject::DataKind;
use pilothouse_core::time::Timestamp;

use super::{bytes, name};
use crate::api::{ChooseOrphans, ListOrphans, Missing, NotDone, Orphan, Orphans, OrphansDone};
use crate::driver::host::Domains;
use crate::store::Journal;

/// How long a provisioner or a domain may take for one answer: less than the caller waits for all of it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Domains that are asked at the same time. Reading a large one takes a moment of a thread, and one that is not here a load of its journal.
const ASKED_AT_ONCE: usize = 32;

/// The most pages of one site. One that has more goes round in circles.
const MAX_PAGES: usize = 2000;

/// How many of each kind one answer tells of, and one request acts on: as many as fit a message.
const MAX_TOLD: usize = 1000;

/// What a domain holds, as far as it is compared.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    life: Life,
    epoch: u64,
    /// Of its newest record.
    sequence: u64,
    /// Where anything was ever launched that is on record.
    sites: BTreeSet<String>,
    instances: BTreeMap<InstanceId, HeldInstance>,
}

#[derive(Clone, Debug, PartialEq)]
struct HeldInstance {
    ordinal: u64,
    site: String,
    state: State,
    since: Timestamp,
}

impl Held {
    /// What a domain that is there holds.
    fn by(state: &DomainState) -> Option<Self> {
        if !matches!(state.life, Life::Active | Life::Removing) {
            return None;
        }
        let held = |it: &pilothouse_core::instance::Instance| HeldInstance {
            ordinal: it.ordinal,
            site: it.site.clone(),
            state: it.state,
            since: it.state_since,
        };
        let of_instances = state.instances().map(|it| it.site.clone());
        Some(Self {
            life: state.life,
            epoch: state.epoch,
            sequence: state.sequence,
            sites: of_instances.chain(state.sites.keys().cloned()).collect(),
            instances: state.instances().map(|it| (it.id.clone(), held(it))).collect(),
        })
    }
}

impl Held {
    /// Whether it can take in what a provisioner runs, and be believed by that provisioner afterwards. One that was heard of in a later
    /// epoch belongs to a journal that is lost: this one could ask for its end in vain.
    fn can_adopt(&self, known: &Known) -> bool {
        self.life == Life::Active && (self.epoch, self.sequence) >= (known.epoch, known.sequence)
    }
}

impl HeldInstance {
    /// Its provisioner has said that it has it, and has not said that it is gone.
    fn is_acknowledged(&self) -> bool {
        self.state > State::Requesting && !self.state.is_gone()
    }
}

/// What a comparison found, all of it.
#[derive(Debug, Default)]
struct Found {
    unknown: Vec<Orphan>,
    missing: Vec<Missing>,
    sites: Vec<Name>,
    unanswered: Vec<Name>,
    /// The epochs of the domains that unknown instances were started for, where those are there.
    epochs: BTreeMap<DomainKey, u64>,
    /// What is listed by some site, and known to its domain.
    at_home: BTreeSet<InstanceId>,
}

impl<J: Journal> Domains<J> {
    pub(super) async fn list_orphans(&self, request: ListOrphans) -> Result<Bytes, ApiError> {
        let Found { mut unknown, mut missing, sites, unanswered, .. } = self.compare(&request.sites).await?;
        let left_out = unknown.len().saturating_sub(MAX_TOLD) + missing.len().saturating_sub(MAX_TOLD);
        unknown.truncate(MAX_TOLD);
        missing.truncate(MAX_TOLD);
        bytes(&Orphans { unknown, missing, sites, unanswered, left_out })
    }

    /// Takes orphans into the domains that they were started for. Repeating it is harmless: what was adopted is no orphan any more.
    pub(super) async fn adopt_orphans(self: &std::sync::Arc<Self>, user: Name, request: ChooseOrphans) -> Result<Bytes, ApiError> {
        check_choice(&request)?;
        let found = self.compare(&request.sites).await?;
        let (chosen, mut answer) = choose(&found, &request.instances, |id| {
            // It is where it was to be brought.
            if found.at_home.contains(id) { Ok(()) } else { Err("no provisioner that answered runs it".to_owned()) }
        });
        let mut adopted: BTreeMap<(DomainKey, Name), Vec<InstanceId>> = BTreeMap::new();
        for Orphan { site, known, adoptable } in chosen {
            if !adoptable {
                let reason = format!("domain {} is not there to take it, or its journal was begun anew since", known.domain);
                answer.failed.push(NotDone { instance_id: known.node_id, reason });
                continue;
            }
            match self.adopt(&user, &site, &known).await {
                Ok(()) => {
                    tracing::info!(instance = %known.node_id, domain = %known.domain, %site, by = %user, "orphan adopted");
                    answer.done.push(known.node_id.clone());
                    adopted.entry((known.domain, site)).or_default().push(known.node_id);
                }
                Err(error) => answer.failed.push(NotDone { instance_id: known.node_id, reason: error.to_string() }),
            }
        }
        // So that its state follows what its provisioner knows, and does not wait for the next question for the state of everything.
        for ((domain, site), ids) in adopted {
            self.ask_for_states(&domain, &site, &ids, found.epochs.get(&domain).copied().unwrap_or_default()).await;
        }
        bytes(&answer)
    }

    /// Has provisioners end orphans. No journal promises it, since no domain knows them; what a provisioner took it carries out, and what it
    /// did not take is an orphan still.
    pub(super) async fn terminate_orphans(&self, user: Name, request: ChooseOrphans) -> Result<Bytes, ApiError> {
        check_choice(&request)?;
        let found = self.compare(&request.sites).await?;
        let (chosen, mut answer) = choose(&found, &request.instances, |id| {
            Err(if found.at_home.contains(id) {
                "its domain knows it: end it with `pilothouse instance kill`".to_owned()
            } else {
                "no provisioner that answered runs it".to_owned()
            })
        });
        let mut groups: BTreeMap<(Name, DomainKey), Vec<Known>> = BTreeMap::new();
        for Orphan { site, known, .. } in chosen {
            groups.entry((site, known.domain.clone())).or_default().push(known);
        }
        let chunks = groups.iter().flat_map(|(to, known)| known.chunks(Provision::MAX_INSTANCES).map(move |chunk| (to, chunk)));
        let chunks: Vec<_> = chunks.collect();
        for ((site, domain), chunk) in chunks {
            let ids = || chunk.iter().map(|known| &known.node_id);
            let Some(receipt) = self.order_end(site, domain, chunk, found.epochs.get(domain).copied()).await else {
                let unsure = |id: &InstanceId| NotDone { instance_id: id.clone(), reason: format!("site {site} did not answer") };
                answer.failed.extend(ids().map(unsure));
                if !answer.unanswered.contains(site) {
                    answer.unanswered.push(site.clone());
                }
                continue;
            };
            for id in ids() {
                match receipt.refused.iter().find(|refused| refused.node_id == *id) {
                    None if receipt.accepted.contains(id) => {
                        tracing::info!(instance = %id, %domain, %site, by = %user, "orphan is to end");
                        answer.done.push(id.clone());
                    }
                    None => answer.failed.push(NotDone { instance_id: id.clone(), reason: "not mentioned in the answer".to_owned() }),
                    Some(refused) => {
                        let reason = format!("{}: {}", refused.kind, refused.reason);
                        answer.failed.push(NotDone { instance_id: id.clone(), reason });
                    }
                }
            }
        }
        bytes(&answer)
    }

    /// The three looks.
    async fn compare(&self, named: &[String]) -> Result<Found, ApiError> {
        let named = named.iter().map(|site| name("/sites", site)).collect::<Result<BTreeSet<Name>, _>>()?;
        let router = &self.shared.router;
        let keys: Vec<DomainKey> = router.all().into_iter().map(|handle| handle.key).collect();
        let before = self.held_by(keys).await;
        let before: BTreeMap<DomainKey, Held> = before.into_iter().filter_map(|(key, held)| Some((key, held.ok()??))).collect();
        let on_record = || before.values().flat_map(|held| &held.sites).filter_map(|site| site.parse().ok());
        let sites: BTreeSet<Name> = if named.is_empty() { on_record().collect() } else { named };

        let asked: Vec<BoxFuture<'_, _>> = sites.iter().map(|site| self.inventory(site).boxed()).collect();
        let listed = join_all(asked).await;
        let mut found = Found { sites: sites.iter().cloned().collect(), ..Found::default() };
        let mut run: BTreeMap<&Name, BTreeMap<InstanceId, Known>> = BTreeMap::new();
        for (site, known) in sites.iter().zip(listed) {
            match known {
                Some(known) => drop(run.insert(site, known.into_iter().map(|known| (known.node_id.clone(), known)).collect())),
                None => found.unanswered.push(site.clone()),
            }
        }

        // Only now, and only where it matters.
        let unlisted = |held: &HeldInstance, id: &InstanceId| {
            let listed = run.iter().find(|(site, _)| site.as_str() == held.site);
            held.is_acknowledged() && listed.is_some_and(|(_, known)| !known.contains_key(id))
        };
        let strangers = run.values().flat_map(BTreeMap::values).filter(|known| router.instance(&known.node_id).is_none());
        let mut asked: BTreeSet<DomainKey> = strangers.map(|known| known.domain.clone()).collect();
        let mentions = |held: &Held| held.instances.iter().any(|(id, instance)| unlisted(instance, id));
        asked.extend(before.iter().filter(|(_, held)| mentions(held)).map(|(key, _)| key.clone()));
        let after = self.held_by(asked.into_iter().collect()).await;
        let after = after.into_iter().map(|(key, held)| Ok((key, held?))).collect::<Result<BTreeMap<_, _>, ApiError>>()?;

        for (site, known) in run.iter().flat_map(|(site, known)| known.values().map(move |known| (*site, known))) {
            let domain = after.get(&known.domain).and_then(Option::as_ref);
            let is_home =
                router.instance(&known.node_id).is_some() || domain.is_some_and(|held| held.instances.contains_key(&known.node_id));
            if is_home {
                found.at_home.insert(known.node_id.clone());
                continue;
            }
            found.epochs.extend(domain.map(|held| (known.domain.clone(), held.epoch)));
            let adoptable = domain.is_some_and(|held| held.can_adopt(known));
            found.unknown.push(Orphan { site: site.clone(), known: known.clone(), adoptable });
        }
        for (key, was) in &before {
            let Some(Some(is)) = after.get(key) else { continue };
            let unchanged =
                was.instances.iter().filter(|(id, instance)| unlisted(instance, id) && is.instances.get(*id) == Some(*instance));
            found.missing.extend(unchanged.filter_map(|(id, instance)| {
                let site = instance.site.parse().ok()?;
                Some(Missing { site, domain: key.clone(), instance_id: id.clone(), ordinal: instance.ordinal, state: instance.state })
            }));
        }
        Ok(found)
    }

    /// What some domains hold.
    async fn held_by(&self, keys: Vec<DomainKey>) -> Vec<(DomainKey, Result<Option<Held>, ApiError>)> {
        let ask = |key: DomainKey| {
            async move {
                let held = self.held(&key).await;
                (key, held)
            }
            .boxed()
        };
        let asked: Vec<BoxFuture<'_, _>> = keys.into_iter().map(ask).collect();
        futures::stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await
    }

    /// What a domain holds; nothing when there is no such domain. Of one that is just changing hands the journal tells it.
    async fn held(&self, key: &DomainKey) -> Result<Option<Held>, ApiError> {
        let unavailable = |message: String| ApiError::Unavailable { message };
        if let Some(handle) = self.shared.router.domain(key) {
            match tokio::time::timeout(PATIENCE, handle.state()).await {
                Ok(Ok(state)) => return Ok(Held::by(&state)),
                // Its task is gone.
                Ok(Err(_)) => {}
                Err(_) => return Err(unavailable(format!("domain {key} does not say what it holds; try again"))),
            }
        }
        let state = self.load(key).await.map_err(unavailable)?;
        Ok(Held::by(&state))
    }

    /// What a site runs; nothing when it does not answer as it should.
    async fn inventory(&self, site: &Name) -> Option<Vec<Known>> {
        let mut all: Vec<Known> = Vec::new();
        for _ in 0..MAX_PAGES {
            let after = all.last().map(|known| known.node_id.clone());
            let payload = self.ask_site(site, "inventory", Inventory { after: after.clone() }.to_json()).await?;
            let page = match InventoryAnswer::parse(&payload) {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%site, %error, "what the provisioner says it runs can't be read");
                    return None;
                }
            };
            let grows = page.instances.iter().map(|known| Some(&known.node_id)).is_sorted();
            let first = page.instances.first().map(|known| known.node_id.clone());
            if !grows || first.as_ref().is_some_and(|first| after.as_ref() >= Some(first)) || (page.more && first.is_none()) {
                break;
            }
            all.extend(page.instances);
            if !page.more {
                return Some(all);
            }
        }
        tracing::warn!(%site, "the provisioner does not list what it runs in the order of ids");
        None
    }

    async fn ask_site(&self, site: &Name, operation: &str, payload: Vec<u8>) -> Option<Bytes> {
        let subject = self.shared.subjects.provisioner(site.as_str(), operation);
        let request = async_nats::Request::new().payload(payload.into()).timeout(Some(PATIENCE));
        match self.shared.nats.send_request(subject, request).await {
            Ok(answer) => Some(answer.payload),
            Err(error) => {
                tracing::debug!(%site, operation, %error, "no answer");
                None
            }
        }
    }

    async fn adopt(self: &std::sync::Arc<Self>, user: &Name, site: &Name, known: &Known) -> Result<(), ApiError> {
        let adopted = Adopted {
            id: known.node_id.clone(),
            launch: known.launch_id.clone(),
            deployable_type: known.deployable_type.clone(),
            site: site.to_string(),
            allocation: known.allocation.clone(),
            state: known.state,
            attributes: BTreeMap::new(),
            extra_vars: known.extra_vars.clone().into_iter().collect(),
        };
        let handle = self.open(&known.domain).await?;
        let command = Command { by: user.clone(), request: None, what: What::Adopt(adopted) };
        let commanded = tokio::time::timeout(PATIENCE, handle.command(command)).await;
        let late = |_| ApiError::Unavailable { message: format!("domain {} does not answer", known.domain) };
        commanded.map_err(late)?.map(|_| ())
    }

    async fn ask_for_states(&self, domain: &DomainKey, site: &Name, ids: &[InstanceId], epoch: u64) {
        let slot = domain.slot(self.slots());
        let subject = |id: &InstanceId| self.shared.subjects.data(DataKind::State, slot, id);
        let dumps = ids.chunks(Provision::MAX_INSTANCES).map(|chunk| {
            let instances = chunk.iter().map(|id| ToDump { node_id: id.clone(), state_subject: subject(id) }).collect();
            Effect::Request(Request::Dump { site: site.to_string(), message: Dump { domain: domain.clone(), epoch, instances } })
        });
        self.shared.sender.send(slot, dumps.collect()).await;
    }

    /// Asks a provisioner for the end of some instances of one domain. What it answers, if it does.
    async fn order_end(&self, site: &Name, domain: &DomainKey, some: &[Known], epoch: Option<u64>) -> Option<Receipt> {
        let slot = domain.slot(self.slots());
        let instance = |known: &Known| ToStop {
            node_id: known.node_id.clone(),
            // Not newer than what its provisioner heard last, but not older either: of that it takes a termination.
            sequence: known.sequence,
            state_subject: self.shared.subjects.data(DataKind::State, slot, &known.node_id),
        };
        let message = Terminate {
            domain: domain.clone(),
            epoch: some.iter().map(|known| known.epoch).chain(epoch).max().unwrap_or_default(),
            not_after: self.shared.clock.now() + VALID_FOR,
            instances: some.iter().map(instance).collect(),
        };
        let answer = self.ask_site(site, "terminate", message.to_json()).await?;
        Receipt::parse(&answer).inspect_err(|error| tracing::warn!(%site, %error, "the answer of the provisioner can't be read")).ok()
    }
}

/// A request that names nothing must say that it means everything: an empty one was sent by mistake.
fn check_choice(request: &ChooseOrphans) -> Result<(), ApiError> {
    super::check_request_id(request.request_id.as_deref())?;
    if request.sites.is_empty() && request.instances.is_empty() && !request.all {
        return Err(ApiError::invalid("", "which orphans? Name `instances` or `sites`, or say `\"all\": true`"));
    }
    Ok(())
}

/// The orphans that are meant. What is named and is no orphan is done already, or not to be done: `other` says which.
fn choose(found: &Found, named: &[InstanceId], other: impl Fn(&InstanceId) -> Result<(), String>) -> (Vec<Orphan>, OrphansDone) {
    let mut answer = OrphansDone { unanswered: found.unanswered.clone(), ..OrphansDone::default() };
    let wanted: BTreeSet<&InstanceId> = named.iter().collect();
    let mut chosen: Vec<Orphan> =
        found.unknown.iter().filter(|it| wanted.is_empty() || wanted.contains(&it.known.node_id)).cloned().collect();
    for id in wanted.into_iter().filter(|id| !found.unknown.iter().any(|it| it.known.node_id == **id)) {
        match other(id) {
            Ok(()) => answer.done.push(id.clone()),
            Err(reason) => answer.failed.push(NotDone { instance_id: id.clone(), reason }),
        }
    }
    answer.left_out = chosen.len().saturating_sub(MAX_TOLD);
    chosen.truncate(MAX_TOLD);
    (chosen, answer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn orphans_are_chosen_and_never_all_of_them_by_saying_nothing() {
        for (request, is_choice) in [
            (json!({}), false),
            (json!({"all": false, "request_id": "r1"}), false),
            (json!({"all": true}), true),
            (json!({"sites": ["north"]}), true),
            (json!({"instances": ["i1"]}), true),
        ] {
            let checked = check_choice(&serde_json::from_value(request.clone()).expect("a request"));
            assert_eq!(checked.is_ok(), is_choice, "{request}: {checked:?}");
        }
    }
}
