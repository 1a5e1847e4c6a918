//! A plan is what a policy wants, as data; carrying it out makes requests and a verdict of it.
//!
//! Terminations are asked first, then launches, because some launches make sense only when who holds their identity really goes.
//! A refusal is an answer: it is told in the verdict's reason, and what was refused is wanted again next time.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::survey::trouble;
use crate::{
    Control, Destroyed, Domain, Filter, Instance, InstanceId, LAUNCHES_PER_DECISION, LaunchRequest, REASON_BYTES, Status, Survey, Vars,
    Verdict, Victims, victims,
};

/// What a policy wants.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// What was seen and compared, in words: `2 of 3 healthy`.
    pub seen: String,
    /// Whether all is as wanted if nothing has to be asked.
    pub settled: bool,
    /// The figures behind it, in the order in which they should be read.
    pub figures: Vec<(&'static str, f64)>,
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
    figures: Vec<(&'static str, f64)>,
    notes: Vec<String>,
    /// Terminations that there is no note of.
    untold: usize,
}

/// How many requests to terminate a reason tells of, each with its own: as many as anybody reads.
const NOTES: usize = 10;

/// The most that each of them may take up: they hold error lines, and ten of them have to fit into [`REASON_BYTES`].
const NOTE_BYTES: usize = 240;

/// What the reasons of all terminations may take up together: half of what a host takes in one decision, so that launches find room.
const REASONS_BYTES: usize = 128 * 1024;

/// What is left of each however many there are: enough to say what is wrong.
const SHORT_REASON_BYTES: usize = 64;

impl Plan {
    /// Starts a plan with the figures that every policy has, and with the end of those that the host advises to replace.
    #[must_use]
    pub fn of(survey: &Survey, target: u32) -> Self {
        Self {
            seen: match survey.kept {
                0 => format!("{} of {target} healthy", survey.healthy),
                kept => format!("{} of {target} healthy, {kept} unhealthy and protected", survey.healthy),
            },
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
    pub fn carry_out(self, domain: &Domain<'_>, control: &Control<'_>, template: &Template<'_>) -> Done {
        let mut done = Done {
            launched: Vec::with_capacity(self.launches.len()),
            destroyed: BTreeSet::new(),
            asked: false,
            seen: self.seen,
            settled: self.settled,
            figures: self.figures,
            notes: Vec::new(),
            untold: 0,
        };
        let mut leaving = BTreeSet::new();
        let share = (REASONS_BYTES / (self.terminations.len() + 1)).max(SHORT_REASON_BYTES);
        for termination in &self.terminations {
            leaving.extend(termination.ids.iter().cloned());
            done.destroy(control, &termination.ids, &clipped(&termination.reason, share));
        }
        if let Some(surplus) = self.surplus {
            leaving.extend(surplus.spare);
            let ids = victims::choose(domain, surplus.victims, surplus.count, |id| leaving.contains(id));
            if !ids.is_empty() {
                done.destroy(control, &ids, &clipped(&surplus.reason, share));
            }
            done.tell_of_kept(domain, surplus.count.saturating_sub(u32::try_from(ids.len()).unwrap_or(u32::MAX)));
        }
        done.launch(control, template, self.launches);
        done
    }
}

impl Done {
    fn tell(&mut self, note: String) {
        if self.notes.len() < NOTES {
            self.notes.push(clipped(&note, NOTE_BYTES).into_owned());
        } else {
            self.untold += 1;
        }
    }

    /// So many could not be chosen: those that an operator protects are told of.
    fn tell_of_kept(&mut self, domain: &Domain<'_>, missing: u32) {
        if missing > 0 {
            let kept = domain.instances(&Filter::valid(), None).into_iter().filter(|instance| instance.protected).count();
            let kept = missing.min(u32::try_from(kept).unwrap_or(u32::MAX));
            if kept > 0 {
                self.tell(format!("{kept} more than wanted, but protected"));
            }
        }
    }

    fn destroy(&mut self, control: &Control<'_>, ids: &[InstanceId], reason: &str) {
        self.asked = true;
        match control.destroy_instances(ids, reason) {
            Ok(Destroyed { accepted, deferred }) => {
                if !accepted.is_empty() {
                    self.tell(format!("terminating {} ({reason})", accepted.len()));
                }
                if !deferred.is_empty() {
                    self.tell(format!("{} held back from terminating ({reason})", deferred.len()));
                }
                self.destroyed.extend(accepted);
            }
            Err(refusal) => self.tell(format!("not terminating {} ({}): {refusal}", ids.len(), clipped(reason, NOTE_BYTES / 2))),
        }
    }

    fn launch(&mut self, control: &Control<'_>, template: &Template<'_>, launches: Vec<Launch>) {
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
            match control.launch(request) {
                Ok(launched) => {
                    granted += launched.instances.len();
                    deferred += launched.deferred;
                    if let Some(last) = self.launched.last_mut() {
                        *last = launched.instances;
                    }
                }
                Err(refusal) => *refused.entry(refusal.to_string()).or_insert(0usize) += now as usize,
            }
        }
        if self.untold > 0 {
            self.notes.push(format!("and {} more of that kind", self.untold));
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
    pub fn verdict(self) -> Verdict {
        let (launched, destroyed) = (self.launched_count(), self.destroyed.len());
        let reason = if self.notes.is_empty() { self.seen } else { format!("{}: {}", self.seen, self.notes.join("; ")) };
        let reason = if reason.len() > REASON_BYTES { clipped(&reason, REASON_BYTES).into_owned() } else { reason };
        let granted = [("launched", launched as f64), ("terminated", destroyed as f64)];
        Verdict {
            status: if self.settled && !self.asked { Status::Stable } else { Status::Pending },
            reason,
            figures: self.figures.into_iter().chain(granted).map(|(name, value)| (name.to_owned(), value)).collect(),
            wake: None,
        }
    }
}

/// So much of a text, with a sign that there was more.
fn clipped(text: &str, bytes: usize) -> Cow<'_, str> {
    const MORE: &str = "…";
    if text.len() <= bytes { text.into() } else { format!("{}{MORE}", &text[..text.floor_char_boundary(bytes - MORE.len())]).into() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_clipped_between_letters() {
        assert_eq!(clipped("abcdef", 6), "abcdef");
        assert_eq!(clipped("abcdefg", 6), "abc…");
        assert_eq!(clipped("äöüß", 7), "äö…");
    }
}
