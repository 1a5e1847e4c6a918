//! What must be true after every step, whatever the scenario and whatever the engine.
//!
//! The checker does not trust the state. It keeps an account of its own from the records as they were written and the requests as they were
//! sent ([`Account`] for each instance), and holds that against the state in memory. Only what takes the whole state to tell is read off a
//! second fold, which is made from bytes.

mod account;
mod engine;
mod rule;

use std::collections::{BTreeMap, BTreeSet};

use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::message::Notice;
use pilothouse_core::promise::{Request, VALID_FOR};
use pilothouse_core::record::{Change, Decision, Event, Judgement, Record, Subscriber};
use pilothouse_core::state::{Counts, DomainState, Life};
use pilothouse_core::time::Timestamp;

use account::Account;
use engine::InForce;
use rule::broken;
pub use rule::{Rule, Violation};

/// Where the newest decision is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deciding {
    /// Nobody decides, and nothing is owed.
    No,
    /// The engine is being asked.
    Asked,
    /// It was asked: one record may tell of it.
    Answered,
}

/// Watches one domain from its first record on.
#[derive(Debug)]
pub struct Checker {
    /// The fold of what was written, read from bytes.
    folded: DomainState,
    /// Instances on record.
    accounts: BTreeMap<InstanceId, Account>,
    /// Every instance and launch that was ever promised: ids are unique for ever.
    promised: BTreeSet<InstanceId>,
    launches: BTreeSet<LaunchId>,
    deciding: Deciding,
    /// The sequence before which no decision that is still to come may have begun.
    decides_after: u64,
    sequence: u64,
    epoch: u64,
    at: Timestamp,
    life: Life,
    paused: bool,
    dry_run: bool,
    /// Nobody waits for the instances of a domain that goes.
    abandoned: bool,
    most: u32,
    engine: InForce,
    subscribers: BTreeSet<Subscriber>,
    /// What the newest record gave to tell, by whom it is about.
    news: Vec<(InstanceId, State)>,
}

impl Checker {
    /// Begins with a domain of which nothing is written yet.
    pub fn new(absent: DomainState) -> Self {
        Self {
            folded: absent,
            accounts: BTreeMap::new(),
            promised: BTreeSet::new(),
            launches: BTreeSet::new(),
            deciding: Deciding::No,
            decides_after: 0,
            sequence: 0,
            epoch: 0,
            at: Timestamp::ZERO,
            life: Life::Absent,
            paused: false,
            dry_run: false,
            abandoned: false,
            most: 0,
            engine: InForce::default(),
            subscribers: BTreeSet::new(),
            news: Vec::new(),
        }
    }

    /// A test put an instance where it wants it: from now on it is as the records would have told.
    pub fn given(&mut self, instance: &Instance) {
        self.accounts.insert(instance.id.clone(), Account::given(instance));
        self.promised.insert(instance.id.clone());
        self.folded.set(instance.clone());
    }

    /// A decision begins.
    ///
    /// # Errors
    /// When one is under way.
    pub fn begun(&mut self) -> Result<(), Violation> {
        if std::mem::replace(&mut self.deciding, Deciding::Asked) == Deciding::Asked {
            return broken(Rule::OneDecisionAtATime, "a decision began while another was under way".to_owned());
        }
        self.engine.begins()
    }

    /// A decision ended, however.
    pub fn ended(&mut self) {
        if self.deciding == Deciding::Asked {
            self.deciding = Deciding::Answered;
        }
    }

    /// A record was committed; `state` is what memory holds now.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn committed(&mut self, sequence: u64, record: &Record, state: &DomainState) -> Result<(), Violation> {
        if !self.subscribers.is_empty() {
            // Whoever was told already is owed nothing any more.
            self.told(&[])?;
        }
        self.in_order(sequence, record)?;
        self.engine.committed(sequence, record, self.deciding == Deciding::Asked)?;
        for event in &record.events {
            self.happened(sequence, event)?;
        }
        self.sequence = sequence;
        self.news = self.accounts.iter_mut().filter_map(|(id, account)| Some((id.clone(), account.news()?))).collect();
        let launches =
            |event: &Event| matches!(event, Event::Decided(it) if !it.dry_run && it.launches.iter().any(|it| !it.instances.is_empty()));
        let alive = self.accounts.values().filter(|it| !it.state.is_gone()).count();
        if record.events.iter().any(launches) && alive > self.most as usize {
            let seen = format!("{alive} instances after record {sequence} launched some; max_instances is {}", self.most);
            return broken(Rule::MaximumRespected, seen);
        }
        self.stands(state)?;
        self.fold(sequence, record, state)?;
        self.agrees(sequence, state)?;
        derived(sequence, state)
    }

    fn in_order(&mut self, sequence: u64, record: &Record) -> Result<(), Violation> {
        if sequence <= self.sequence {
            return broken(Rule::InOrder, format!("record {sequence} came after record {}", self.sequence));
        }
        let takes = record.events.iter().any(|event| matches!(event, Event::Took { .. }));
        let restores = record.events.iter().any(|event| matches!(event, Event::Restored(_)));
        // A restore begins with an epoch that no provisioner has seen.
        let epoch = if restores { record.epoch.max(self.epoch + 1) } else { self.epoch + u64::from(takes) };
        if record.epoch != epoch {
            return broken(Rule::InOrder, format!("record {sequence} is of epoch {}, expected {epoch}", record.epoch));
        }
        if record.at < self.at {
            return broken(Rule::InOrder, format!("record {sequence} is of {:?}, before {:?}", record.at, self.at));
        }
        (self.epoch, self.at) = (epoch, record.at);
        Ok(())
    }

    fn happened(&mut self, sequence: u64, event: &Event) -> Result<(), Violation> {
        match event {
            // Whatever another host's engine was asked, this one may not write it down.
            Event::Took { .. } => self.decides_after = sequence,
            Event::Configured(configured) => match &configured.change {
                Change::Added { config, .. } => {
                    self.forget_all()?;
                    (self.life, self.paused, self.dry_run, self.most) = (Life::Active, false, false, config.general.max_instances);
                    (self.abandoned, self.subscribers) = (false, BTreeSet::new());
                    self.decides_after = sequence;
                }
                Change::Reconfigured { config, .. } => self.most = config.general.max_instances,
                Change::Paused(paused) => self.paused = *paused,
                Change::DryRun(dry_run) => self.dry_run = *dry_run,
                Change::Removing => self.life = Life::Removing,
                Change::Abandoned => (self.life, self.abandoned) = (Life::Removing, true),
                Change::Subscribed(subscriber) => drop(self.subscribers.insert(subscriber.clone())),
                Change::Unsubscribed { name, operation } => {
                    self.subscribers.retain(|it| it.name != *name || operation.as_ref().is_some_and(|only| *only != it.operation));
                }
                Change::Killed { id, reason } => self.account(sequence, id)?.end_as_asked(sequence, id, reason)?,
                Change::Protected { id, on } => {
                    let account = self.account(sequence, id)?;
                    account.protected = *on && account.state.is_valid();
                }
                Change::Adopted(adopted) => {
                    self.promised.insert(adopted.id.clone());
                    self.accounts.entry(adopted.id.clone()).or_insert_with(|| Account::adopted(adopted, sequence));
                }
                Change::Shadowed(_) | Change::Retried | Change::BrakeReleased | Change::Nothing => {}
            },
            Event::Restored(restored) => {
                self.restored(sequence, &restored.state);
                self.paused |= restored.paused;
            }
            Event::Reported(reported) => self.account(sequence, &reported.id)?.reported(reported)?,
            Event::Judged(judged) => {
                self.account(sequence, &judged.id)?.judged(sequence, judged)?;
                if judged.verdict == Judgement::Reaped {
                    self.accounts.remove(&judged.id);
                }
            }
            Event::Decided(decision) => self.decided(sequence, decision)?,
            Event::Faulted(_) => self.answered(sequence, None)?,
            // Say nothing of any instance; that they say the truth is a property of the state.
            Event::Scheduled(_) | Event::Swapped(_) | Event::Held(_) | Event::Compared(_) => {}
            Event::Snapshot(snapshot) => {
                if DomainState::clone(snapshot).reindexed() != self.folded {
                    return broken(Rule::FoldIsState, format!("the snapshot in record {sequence} is not what came before it"));
                }
            }
            Event::Removed => {
                self.forget_all()?;
                self.life = Life::Removed;
            }
        }
        Ok(())
    }

    /// Whatever was before is void.
    fn restored(&mut self, sequence: u64, state: &DomainState) {
        self.accounts = state.instances().map(|it| (it.id.clone(), Account::restored(it, sequence))).collect();
        self.promised.extend(self.accounts.keys().cloned());
        self.launches.extend(state.instances().map(|it| it.launch.clone()));
        (self.life, self.paused, self.dry_run) = (state.life, state.paused, state.dry_run);
        (self.abandoned, self.most) = (state.abandoned, state.config.general.max_instances);
        self.subscribers = state.subscribers.iter().cloned().collect();
        self.decides_after = sequence;
    }

    /// What is known of an instance that a record tells of.
    fn account(&mut self, sequence: u64, id: &InstanceId) -> Result<&mut Account, Violation> {
        let unknown = || Violation { rule: Rule::NeverBackwards, seen: format!("record {sequence} tells of {id}, which is not on record") };
        self.accounts.get_mut(id).ok_or_else(unknown)
    }

    /// The domain begins afresh, or is gone: nobody may be left behind.
    fn forget_all(&mut self) -> Result<(), Violation> {
        let is_left = |(_, it): &(&InstanceId, &Account)| !self.abandoned && (!it.state.is_gone() || it.undead);
        if let Some((id, left)) = self.accounts.iter().find(is_left) {
            return broken(Rule::EndedForAReason, format!("the domain went while {id} was {left}"));
        }
        self.accounts.clear();
        Ok(())
    }

    /// A record tells what came of asking the engine.
    fn answered(&mut self, sequence: u64, based_on: Option<u64>) -> Result<(), Violation> {
        if self.life != Life::Active {
            return broken(Rule::StoppedMeansStopped, format!("record {sequence} tells of a decision of a domain that is {:?}", self.life));
        }
        if std::mem::replace(&mut self.deciding, Deciding::No) != Deciding::Answered {
            return broken(Rule::OneDecisionAtATime, format!("record {sequence} tells of a decision that nobody made"));
        }
        let (earliest, latest) = (self.decides_after, self.sequence);
        if let Some(based_on) = based_on.filter(|based_on| !(earliest..=latest).contains(based_on)) {
            let seen = format!("record {sequence} decided on what stood at {based_on}, which is not from {earliest} to {latest}");
            return broken(Rule::OneDecisionAtATime, seen);
        }
        self.decides_after = sequence;
        Ok(())
    }

    fn decided(&mut self, sequence: u64, decision: &Decision) -> Result<(), Violation> {
        self.answered(sequence, Some(decision.based_on))?;
        if decision.dry_run {
            return Ok(());
        }
        let grants =
            decision.launches.iter().any(|it| !it.instances.is_empty()) || decision.terminations.iter().any(|it| !it.accepted.is_empty());
        if grants && (self.paused || self.dry_run) {
            let why = if self.paused { "paused" } else { "in dry run" };
            return broken(Rule::StoppedMeansStopped, format!("record {sequence} grants something and the domain is {why}"));
        }
        for launch in decision.launches.iter().filter(|launch| !launch.instances.is_empty()) {
            if launch.instances.len() > launch.asked as usize {
                return broken(Rule::LaunchedOnce, format!("{} for {} that were asked for", launch.instances.len(), launch.asked));
            }
            if !self.launches.insert(launch.launch.clone()) {
                return broken(Rule::LaunchedOnce, format!("launch {} was promised before", launch.launch));
            }
            for id in &launch.instances {
                if !self.promised.insert(id.clone()) {
                    return broken(Rule::LaunchedOnce, format!("instance {id} was promised before"));
                }
                self.accounts.insert(id.clone(), Account::promised(launch, sequence));
            }
        }
        for termination in &decision.terminations {
            for id in &termination.accepted {
                self.account(sequence, id)?.end_as_asked(sequence, id, &termination.reason)?;
            }
            for id in &termination.again {
                // It may be gone for good by now: then there is nothing to ask for again.
                if let Some(account) = self.accounts.get_mut(id) {
                    account.end_again(id, &termination.reason)?;
                }
            }
        }
        for launch in decision.launches.iter().filter(|launch| !launch.instances.is_empty()) {
            let replaced = launch.replaces.as_ref().and_then(|id| Some((id, self.accounts.get(id)?)));
            if let Some((id, stays)) = replaced.filter(|(_, account)| account.state.is_valid()) {
                let seen = format!("record {sequence} launches {} in the place of {id}, and that is {stays}", launch.launch);
                return broken(Rule::ReplacedLeave, seen);
            }
        }
        Ok(())
    }

    /// What memory holds of each instance never goes back, whatever was written.
    fn stands(&mut self, state: &DomainState) -> Result<(), Violation> {
        for instance in state.instances() {
            if let Some(account) = self.accounts.get_mut(&instance.id) {
                let before = std::mem::replace(&mut account.stood, instance.state);
                if before > instance.state {
                    return broken(Rule::NeverBackwards, format!("{} went from {before} to {} in memory", instance.id, instance.state));
                }
            }
        }
        Ok(())
    }

    fn fold(&mut self, sequence: u64, record: &Record, state: &DomainState) -> Result<(), Violation> {
        let bytes = record.to_bytes();
        let read = Record::from_bytes(&bytes);
        let read =
            read.map_err(|error| Violation { rule: Rule::FoldIsState, seen: format!("record {sequence} can't be read: {error}") })?;
        if read.to_bytes() != bytes {
            return broken(Rule::FoldIsState, format!("record {sequence} is another one when it is read"));
        }
        self.folded.apply(sequence, &read);
        if self.folded == *state {
            return Ok(());
        }
        let (folded, held) = (serde_json::json!(self.folded), serde_json::json!(state));
        let differs =
            |(key, value): (&String, &serde_json::Value)| (held[key] != *value).then(|| format!("{key}: {value}, in memory {}", held[key]));
        let all: Vec<String> = folded.as_object().into_iter().flatten().filter_map(differs).collect();
        let seen = if all.is_empty() { "what is derived from it differs".to_owned() } else { all.join("; ") };
        broken(Rule::FoldIsState, format!("after record {sequence}: {seen}"))
    }

    /// The state tells of every instance what the records tell.
    fn agrees(&self, sequence: u64, state: &DomainState) -> Result<(), Violation> {
        for (id, account) in &self.accounts {
            let instance = state.instance(id);
            if !instance.is_some_and(|it| account.tells_of(it)) {
                let held = instance.map_or_else(|| "nothing".to_owned(), |it| Account::given(it).to_string());
                return broken(Rule::FoldIsState, format!("after record {sequence} {id} is {account}, and in memory {held}"));
            }
        }
        match state.instances().find(|it| !self.accounts.contains_key(&it.id)) {
            Some(it) => broken(Rule::FoldIsState, format!("after record {sequence} {} is in memory and nowhere in the records", it.id)),
            None => Ok(()),
        }
    }

    /// What the newest record gives to tell of instances, whether or not anybody wants to be told: whom it is about, and what. Nothing any
    /// more when it was told.
    pub fn news(&self) -> &[(InstanceId, State)] {
        &self.news
    }

    /// The newest record was told of to subscribers. Must follow on every record that gives news to somebody.
    ///
    /// # Errors
    /// When somebody was told too much or too little, or something that is not so.
    pub fn told(&mut self, notices: &[(Subscriber, Notice)]) -> Result<(), Violation> {
        let (sequence, news) = (self.sequence, std::mem::take(&mut self.news));
        let mut owed: BTreeSet<(&Subscriber, &InstanceId, State)> =
            news.iter().flat_map(|(id, state)| self.subscribers.iter().map(move |whom| (whom, id, *state))).collect();
        for (whom, notice) in notices {
            let (name, what) = (&whom.name, format!("{} {}", notice.node_id, notice.state));
            if !owed.remove(&(whom, &notice.node_id, notice.state)) {
                return broken(Rule::ToldOnce, format!("after record {sequence} {name} was told {what}, which is no news for them"));
            }
            let attributes = self.folded.instance(&notice.node_id).map(|it| &it.attributes);
            let known = attributes.and_then(|all| all.get("hostname").or_else(|| all.get("public_ip")));
            if (notice.properties.hostname.as_ref(), &notice.domain_id) != (known, &self.folded.key.name) {
                return broken(Rule::ToldOnce, format!("after record {sequence} {name} was told {what} with {:?}", notice.properties));
            }
        }
        match owed.first() {
            Some((whom, id, state)) => broken(Rule::ToldOnce, format!("after record {sequence} {} was not told {id} {state}", whom.name)),
            None => Ok(()),
        }
    }

    /// A request leaves the host at `now`, as the clock says.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn sent(&mut self, request: &Request, now: Timestamp) -> Result<(), Violation> {
        let (epoch, not_after) = match request {
            Request::Provision(ask) => (ask.epoch, Some(ask.not_after)),
            Request::Terminate { message, .. } => (message.epoch, Some(message.not_after)),
            Request::Dump { message, .. } => (message.epoch, None),
        };
        if epoch != self.epoch {
            return broken(Rule::InOrder, format!("a request of epoch {epoch} left in epoch {}", self.epoch));
        }
        if let Some(until) = not_after.filter(|until| *until <= now || *until > now + VALID_FOR) {
            return broken(Rule::InOrder, format!("a request left at {now:?} that is good until {until:?}"));
        }
        match request {
            Request::Provision(ask) => ask.instances.iter().try_for_each(|it| {
                let Some(account) = self.accounts.get_mut(&it.node_id) else {
                    return broken(Rule::LaunchedOnce, format!("{} was asked for and is not on record", it.node_id));
                };
                account.asked_for(ask, it, now)
            }),
            Request::Terminate { site, message } => message.instances.iter().try_for_each(|it| {
                let Some(account) = self.accounts.get_mut(&it.node_id) else {
                    return broken(Rule::EndedForAReason, format!("the end of {} was asked for, which is not on record", it.node_id));
                };
                account.asked_to_end(site, it, now)
            }),
            Request::Dump { .. } => Ok(()),
        }
    }

    /// The host died: whoever comes next knows only the journal, and may ask for everything at once.
    pub fn restarted(&mut self) {
        self.deciding = Deciding::No;
        self.accounts.values_mut().for_each(Account::restarted);
    }
}

/// What is derived from the instances can be derived again.
fn derived(sequence: u64, state: &DomainState) -> Result<(), Violation> {
    let count = |fits: &dyn Fn(&Instance) -> bool| state.instances().filter(|it| fits(it)).count() as u32;
    let counts = Counts {
        total: count(&|_| true),
        valid: count(&|it| it.state.is_valid()),
        starting: count(&|it| it.state.is_starting()),
        running: count(&|it| it.state == State::Running),
        unhealthy: count(&Instance::is_unhealthy),
        launching: count(&|it| it.state == State::Requesting),
        terminating: count(&|it| it.state == State::Terminating),
        unconfirmed: match state.config.health.monitor_health {
            true => count(&|it| it.state == State::Running && !it.is_unhealthy() && it.health != Health::Ok),
            false => 0,
        },
    };
    if counts != state.counts() {
        return broken(
            Rule::FoldIsState,
            format!("after record {sequence} there are {counts:?}, and the state counts {:?}", state.counts()),
        );
    }
    if DomainState::clone(state).reindexed() != *state {
        return broken(Rule::FoldIsState, format!("after record {sequence} what is derived from the instances is not what they give"));
    }
    Ok(())
}
