//! What came of a plan, and the verdict that follows from it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{Launch, Plan, Template};
use crate::{
    Control, Destroyed, Domain, Filter, InstanceId, LAUNCHES_PER_DECISION, LaunchRequest, REASON_BYTES, Refusal, Status, Verdict, victims,
};

/// What came of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The instances granted to each of [`Plan::launches`]; with [`Plan::uniques`], to each value that was handed out.
    pub launched: Vec<Vec<InstanceId>>,
    /// Those whose end was granted.
    pub destroyed: BTreeSet<InstanceId>,
    /// Whether anything was asked, granted or not.
    pub asked: bool,
    seen: String,
    settled: bool,
    /// Whether people should look. Why is in the notes.
    failed: bool,
    figures: Vec<(&'static str, f64)>,
    notes: Vec<String>,
    /// Terminations that there is no note of.
    untold: usize,
}

/// So many failed launches at a site without one that ran mean that people should look. With the pauses that a host makes by itself, twice
/// as long after each failure, it takes the better part of a minute to get there: less is a site that hiccups.
pub const SITE_FAILURES: u32 = 5;

/// How many requests to terminate a reason tells of, each with its own: as many as anybody reads.
const NOTES: usize = 10;

/// The most that each of them may take up: they hold error lines, and ten of them have to fit into [`REASON_BYTES`].
const NOTE_BYTES: usize = 240;

/// What the reasons of all terminations may take up together: half of what a host takes in one decision, so that launches find room.
const REASONS_BYTES: usize = 128 * 1024;

/// What is left of each however many there are: enough to say what is wrong.
const SHORT_REASON_BYTES: usize = 64;

impl Done {
    /// Makes the requests of a plan.
    pub(super) fn of(plan: Plan, domain: &Domain<'_>, control: &Control<'_>, template: &Template<'_>) -> Self {
        let mut done = Self {
            launched: Vec::with_capacity(plan.launches.len()),
            destroyed: BTreeSet::new(),
            asked: false,
            seen: plan.seen,
            settled: plan.settled,
            failed: false,
            figures: plan.figures,
            notes: Vec::new(),
            untold: 0,
        };
        let mut ending: BTreeSet<InstanceId> = plan.terminations.iter().flat_map(|termination| &termination.ids).cloned().collect();
        let share = (REASONS_BYTES / (plan.terminations.len() + 1)).max(SHORT_REASON_BYTES);
        for termination in &plan.terminations {
            done.destroy(control, &termination.ids, &clipped(&termination.reason, share));
        }
        if let Some(surplus) = plan.surplus {
            let spare = |id: &str| ending.contains(id) || surplus.spare.contains(id);
            let ids = victims::choose_after(domain, surplus.victims, &surplus.first, surplus.count, spare);
            if !ids.is_empty() {
                done.destroy(control, &ids, &clipped(&surplus.reason, share));
            }
            done.tell_of_kept(domain, surplus.count.saturating_sub(u32::try_from(ids.len()).unwrap_or(u32::MAX)));
            ending.extend(ids);
        }
        let mut launches = plan.launches;
        if let Some(uniques) = plan.uniques.filter(|_| !launches.is_empty()) {
            let shared = uniques.share(domain, &ending, &done.destroyed, launches);
            done.figures.push(("unique-values-free", f64::from(shared.free)));
            done.tell_of_values(shared.waiting, shared.lacking);
            launches = shared.launches;
        }
        done.launch(domain, control, template, launches, plan.leaving, &ending);
        if plan.lacking > 0 {
            done.look_at_site(domain, template.site);
        }
        if let Some(why) = plan.failed {
            done.fail(why);
        }
        done
    }

    /// People should look, for this reason.
    fn fail(&mut self, why: String) {
        self.failed = true;
        self.notes.push(why);
    }

    /// Unique values that were not to be had: for some because their holders are still there, for others because there are none.
    fn tell_of_values(&mut self, waiting: u32, lacking: u32) {
        if waiting > 0 {
            self.notes.push(format!("{waiting} to launch when a unique value is free"));
        }
        if lacking > 0 {
            self.fail(format!("no unique value is left for {lacking}"));
        }
    }

    /// A site where launches go on failing is for people to look at, whether another launch is under way there or not.
    fn look_at_site(&mut self, domain: &Domain<'_>, site: &str) {
        let failures = domain.sites().into_iter().find(|report| report.site == site).map_or(0, |report| report.failures);
        if failures > 0 {
            self.figures.push(("site-failures", f64::from(failures)));
        }
        if failures >= SITE_FAILURES {
            self.fail(format!("{failures} launches at {site} have failed since one last ran"));
        }
    }

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

    /// `leaving` are on their way out already; the end of those in `ending` was asked for.
    fn launch(
        &mut self,
        domain: &Domain<'_>,
        control: &Control<'_>,
        template: &Template<'_>,
        launches: Vec<Launch>,
        leaving: u32,
        ending: &BTreeSet<InstanceId>,
    ) {
        let (mut granted, mut deferred, mut left, mut over_limit) = (0, 0, LAUNCHES_PER_DECISION, 0);
        let mut refused = BTreeMap::new();
        for Launch { count, extra_vars, replaces } in launches {
            self.launched.push(Vec::new());
            if replaces.as_ref().is_some_and(|id| !self.destroyed.contains(id)) {
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
                replaces,
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
                Err(refusal) => {
                    over_limit += if matches!(refusal, Refusal::Quota(_)) { now } else { 0 };
                    self.failed |= matches!(refusal, Refusal::Invalid(_));
                    *refused.entry(refusal.to_string()).or_insert(0usize) += now as usize;
                }
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
        self.failed |= over_limit > leaving && over_limit > leaving + making_room(domain, ending, over_limit - leaving);
    }

    /// How many launches were granted.
    #[must_use]
    pub fn launched_count(&self) -> usize {
        self.launched.iter().map(Vec::len).sum()
    }

    /// The verdict.
    ///
    /// *Stable*: nothing was asked and nothing is waited for. *Failed*: the policy can't be kept and people should look, that is, launches
    /// are over a limit under which nobody makes room, on its way out or asked to go (whoever is held back goes later), or are nonsense to the host; or [`SITE_FAILURES`] launches at the site
    /// have failed since one ran, and too few run; or no unique value is left; or the policy says so itself. *Pending*: everything else,
    /// so also what passes by itself: a pause, a budget, a brake, a host that can't see, a site that backs off for the first few times.
    pub fn verdict(self) -> Verdict {
        let (launched, destroyed) = (self.launched_count(), self.destroyed.len());
        let reason = if self.notes.is_empty() { self.seen } else { format!("{}: {}", self.seen, self.notes.join("; ")) };
        let reason = if reason.len() > REASON_BYTES { clipped(&reason, REASON_BYTES).into_owned() } else { reason };
        let granted = [("launched", launched as f64), ("terminated", destroyed as f64)];
        let status = match (self.failed, self.settled && !self.asked) {
            (true, _) => Status::Failed,
            (false, true) => Status::Stable,
            (false, false) => Status::Pending,
        };
        Verdict {
            status,
            reason,
            figures: self.figures.into_iter().chain(granted).map(|(name, value)| (name.to_owned(), value)).collect(),
            wake: None,
        }
    }
}

/// How many of those whose end was asked for count against the limits of the host, as far as that is worth knowing.
fn making_room(domain: &Domain<'_>, ending: &BTreeSet<InstanceId>, most: u32) -> u32 {
    let valid = ending.iter().filter(|id| domain.instance(id).is_some_and(|instance| instance.is_valid()));
    valid.take(most as usize).fold(0, |count, _| count + 1)
}

/// So much of a text, with a sign that there was more.
fn clipped(text: &str, bytes: usize) -> Cow<'_, str> {
    const MORE: &str = "…";
    if text.len() <= bytes { text.into() } else { format!("{}{MORE}", &text[..text.floor_char_boundary(bytes - MORE.len())]).into() }
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
