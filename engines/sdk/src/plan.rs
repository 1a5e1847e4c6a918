//! A plan is what a policy wants, as data; carrying it out makes requests and a verdict of it.
//!
//! Terminations are asked first, then launches, because some launches make sense only when who holds their identity really goes.
//! A refusal is an answer: it is told in the verdict's reason, and what was refused is wanted again next time.

use std::collections::{BTreeMap, BTreeSet};

use crate::survey::trouble;
use crate::{
    Control, Destroyed, Domain, Instance, InstanceId, LAUNCHES_PER_DECISION, LaunchRequest, Launched, Refusal, Status, Survey, Vars,
    Verdict, Victims, victims,
};

/// Named figures, in the order in which they should be read.
pub type Figures = Vec<(&'static str, f64)>;

/// What a policy wants.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What was seen and compared, in words: `2 of 3 healthy`.
    pub seen: String,
    /// Whether all is as wanted if nothing has to be asked.
    pub settled: bool,
    /// The figures behind it.
    pub figures: Figures,
    /// Who has to go.
    pub terminations: Vec<Termination>,
    /// How many have to go, whoever they are.
    pub surplus: Option<Surplus>,
    /// What has to come.
    pub launches: Vec<Launch>,
}

/// Instances that have to go for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// Who.
    pub ids: Vec<InstanceId>,
    /// Why. Kept and shown to people.
    pub reason: String,
}

/// So many too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surplus {
    /// How many have to go.
    pub count: u32,
    /// How they are chosen.
    pub victims: Victims,
    /// Who is not chosen. Those in [`Plan::terminations`] are spared anyway.
    pub spare: BTreeSet<InstanceId>,
    /// Why.
    pub reason: String,
}

impl Surplus {
    /// So many too many, anyone.
    #[must_use]
    pub fn of(count: u32, victims: Victims) -> Self {
        Self { count, victims, spare: BTreeSet::new(), reason: format!("{count} more than wanted") }
    }
}

/// Instances that have to come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Launch {
    /// How many.
    pub count: u32,
    /// Variables of their own.
    pub extra_vars: Vars,
    /// Only asked for if the termination of this instance was granted in the same plan.
    pub after: Option<InstanceId>,
}

/// Where and as what instances are launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template<'a> {
    /// What is started.
    pub deployable_type: &'a str,
    /// At which site.
    pub site: &'a str,
    /// In which size.
    pub allocation: &'a str,
}

/// Where requests go: the host's [`Control`] or, in tests, [`crate::testing::Recorder`].
pub trait Hands {
    /// Asks for instances.
    ///
    /// # Errors
    /// When nothing of it is granted.
    fn launch(&self, request: &LaunchRequest) -> Result<Launched, Refusal>;

    /// Asks for the end of instances.
    ///
    /// # Errors
    /// When nothing of it is granted.
    fn destroy(&self, ids: &[InstanceId], reason: &str) -> Result<Destroyed, Refusal>;

    /// So many valid instances as there should go, first the first, without those to `spare`.
    fn victims(&self, victims: Victims, count: u32, spare: &BTreeSet<InstanceId>) -> Vec<InstanceId>;
}

/// The real hands.
#[derive(Debug, Clone, Copy)]
pub struct Live<'a> {
    /// Where victims are looked for.
    pub domain: &'a Domain,
    /// Where requests are made.
    pub control: &'a Control,
}

impl Hands for Live<'_> {
    fn launch(&self, request: &LaunchRequest) -> Result<Launched, Refusal> {
        self.control.launch(request)
    }

    fn destroy(&self, ids: &[InstanceId], reason: &str) -> Result<Destroyed, Refusal> {
        self.control.destroy_instances(ids, reason)
    }

    fn victims(&self, victims: Victims, count: u32, spare: &BTreeSet<InstanceId>) -> Vec<InstanceId> {
        victims::choose(self.domain, victims, count, |id| spare.contains(id))
    }
}

/// What came of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The instances granted to each of [`Plan::launches`].
    pub launched: Vec<Vec<InstanceId>>,
    /// Those whose end was granted.
    pub destroyed: BTreeSet<InstanceId>,
    /// Whether anything was asked, granted or not.
    pub asked: bool,
    seen: String,
    settled: bool,
    figures: Figures,
    notes: Vec<String>,
}

impl Plan {
    /// Starts a plan with the figures that every policy has, and with the end of those that the host advises to replace.
    #[must_use]
    pub fn of(survey: &Survey, target: u32) -> Self {
        Self {
            seen: format!("{} of {target} healthy", survey.healthy),
            settled: survey.is_settled_at(target),
            figures: vec![
                ("target", f64::from(target)),
                ("valid", f64::from(survey.valid)),
                ("healthy", f64::from(survey.healthy)),
                ("running", f64::from(survey.running)),
                ("starting", f64::from(survey.starting)),
                ("unhealthy", survey.unhealthy.len() as f64),
            ],
            terminations: replace(survey.to_replace()),
            ..Self::default()
        }
    }

    /// Makes the requests.
    pub fn carry_out(self, hands: &impl Hands, template: &Template<'_>) -> Done {
        let mut done = Done {
            launched: Vec::with_capacity(self.launches.len()),
            destroyed: BTreeSet::new(),
            asked: false,
            seen: self.seen,
            settled: self.settled,
            figures: self.figures,
            notes: Vec::new(),
        };
        let mut leaving = BTreeSet::new();
        for termination in &self.terminations {
            leaving.extend(termination.ids.iter().cloned());
            done.destroy(hands, &termination.ids, &termination.reason);
        }
        if let Some(surplus) = self.surplus {
            leaving.extend(surplus.spare);
            let ids = hands.victims(surplus.victims, surplus.count, &leaving);
            if !ids.is_empty() {
                done.destroy(hands, &ids, &surplus.reason);
            }
        }
        done.launch(hands, template, self.launches);
        done
    }
}

impl Done {
    fn destroy(&mut self, hands: &impl Hands, ids: &[InstanceId], reason: &str) {
        self.asked = true;
        match hands.destroy(ids, reason) {
            Ok(Destroyed { accepted, deferred }) => {
                if !accepted.is_empty() {
                    self.notes.push(format!("terminating {} ({reason})", accepted.len()));
                }
                if !deferred.is_empty() {
                    self.notes.push(format!("{} held back from terminating ({reason})", deferred.len()));
                }
                self.destroyed.extend(accepted);
            }
            Err(refusal) => self.notes.push(format!("not terminating {} ({reason}): {}", ids.len(), words(&refusal))),
        }
    }

    fn launch(&mut self, hands: &impl Hands, template: &Template<'_>, launches: Vec<Launch>) {
        let (mut granted, mut deferred, mut left) = (0, 0, LAUNCHES_PER_DECISION);
        let mut refused = BTreeMap::new();
        for Launch { count, extra_vars, after } in launches {
            self.launched.push(Vec::new());
            if after.is_some_and(|id| !self.destroyed.contains(&id)) {
                continue;
            }
            let now = count.min(left);
            left -= now;
            deferred += count - now;
            if now == 0 {
                continue;
            }
            self.asked = true;
            let request = LaunchRequest {
                deployable_type: template.deployable_type.to_owned(),
                site: template.site.to_owned(),
                allocation: template.allocation.to_owned(),
                count: now,
                extra_vars,
                options: Vec::new(),
            };
            match hands.launch(&request) {
                Ok(launched) => {
                    granted += launched.instances.len();
                    deferred += launched.deferred;
                    if let Some(last) = self.launched.last_mut() {
                        *last = launched.instances;
                    }
                }
                Err(refusal) => *refused.entry(words(&refusal)).or_insert(0) += now,
            }
        }
        if granted > 0 {
            self.notes.push(format!("launching {granted}"));
        }
        if deferred > 0 {
            self.notes.push(format!("{deferred} more to launch later"));
        }
        self.notes.extend(refused.into_iter().map(|(why, count)| format!("not launching {count}: {why}")));
    }

    /// How many launches were granted.
    #[must_use]
    pub fn launched_count(&self) -> usize {
        self.launched.iter().map(Vec::len).sum()
    }

    /// The verdict: stable when nothing was asked and nothing is waited for.
    #[must_use]
    pub fn verdict<M>(self, memory: M) -> Verdict<M> {
        let (launched, destroyed) = (self.launched_count(), self.destroyed.len());
        let mut figures = self.figures;
        figures.push(("launched", launched as f64));
        figures.push(("terminated", destroyed as f64));
        Verdict {
            memory,
            status: if self.settled && !self.asked { Status::Stable } else { Status::Pending },
            reason: if self.notes.is_empty() { self.seen } else { format!("{}: {}", self.seen, self.notes.join("; ")) },
            figures,
            wake: None,
        }
    }
}

/// The end of these instances, one request for each kind of trouble, in the order in which the kinds were met.
fn replace<'a>(instances: impl Iterator<Item = &'a Instance>) -> Vec<Termination> {
    let mut known = BTreeMap::new();
    let mut terminations: Vec<Termination> = Vec::new();
    for instance in instances {
        let reason = trouble(instance);
        let at = *known.entry(reason.clone()).or_insert_with(|| {
            terminations.push(Termination { ids: Vec::new(), reason });
            terminations.len() - 1
        });
        terminations[at].ids.push(instance.id.clone());
    }
    terminations
}

/// A refusal in words that go on after a colon.
fn words(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Paused => "the domain is paused".to_owned(),
        Refusal::Blind(text) => format!("the host can't see well enough: {text}"),
        Refusal::Brake(text) => format!("the brake is on: {text}"),
        Refusal::Budget(wait) => format!("the rate budget is used up, {} s to wait", wait.div_ceil(1000)),
        Refusal::Quota(text) => format!("over a limit: {text}"),
        Refusal::BackingOff(wait) => format!("launches at the site keep failing, {} s to wait", wait.div_ceil(1000)),
        Refusal::Invalid(text) => format!("the host can't use the request: {text}"),
        Refusal::Other(text) => text.clone(),
    }
}
