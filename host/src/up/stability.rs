//! Whether all domains are as they should be.

use std::collections::{BTreeMap, BTreeSet};

use pilothouse_core::cycle::Status;
use pilothouse_core::domain::{Happened, Happening};
use pilothouse_core::name::Name;
use pilothouse_core::state::Life;

use crate::api::{DomainList, DomainSummary};

/// A domain that was decided to be stable must look so twice in a row: what happened just before a look is heard of just after it.
const LOOKS_DECIDED: u32 = 2;

/// A domain that nothing was decided about since something happened must look stable so often in a row: right after a start it still
/// looks as it was before everything was stopped, and after a failure as it was before its engine saw that.
const LOOKS: u32 = 6;

/// What is known of the domains of the file.
#[derive(Debug)]
pub(super) struct Stability {
    domains: BTreeMap<Name, Seen>,
    all_were: bool,
}

#[derive(Debug, Default)]
struct Seen {
    /// The newest decision says so, and nothing has happened since.
    decided: bool,
    /// How often in a row it looked so.
    looks: u32,
    stable: bool,
    was_stable: bool,
}

impl Stability {
    /// Nothing is known of these domains.
    pub(super) fn of<'n>(names: impl Iterator<Item = &'n Name>) -> Self {
        Self { domains: names.map(|name| (name.clone(), Seen::default())).collect(), all_were: false }
    }

    /// Takes in what happened.
    pub(super) fn take(&mut self, happening: &Happening) {
        let Some(seen) = self.domains.get_mut(&happening.domain.name) else { return };
        match &happening.what {
            Happened::Decided { status, .. } => seen.decided = *status == Status::Stable,
            _ => (seen.decided, seen.looks) = (false, 0),
        }
    }

    /// Takes in how the domains stand. A line when all have become stable.
    pub(super) fn look(&mut self, list: &DomainList) -> Option<String> {
        let by_name: BTreeMap<_, _> = list.domains.iter().map(|domain| (&domain.name, domain)).collect();
        for (name, seen) in &mut self.domains {
            let looks_stable = by_name.get(name).is_some_and(|domain| looks_stable(domain));
            seen.looks = if looks_stable { seen.looks.saturating_add(1) } else { 0 };
            seen.stable = seen.looks >= if seen.decided { LOOKS_DECIDED } else { LOOKS };
            seen.was_stable |= seen.stable;
        }
        let all_are = self.domains.values().all(|seen| seen.stable);
        let news = all_are && !self.all_were;
        self.all_were = all_are;
        news.then(|| {
            let running: u32 = self.domains.keys().filter_map(|name| by_name.get(name)).map(|domain| domain.counts.running).sum();
            format!("all is as it should be: {} running", crate::output::count(running as usize, "instance"))
        })
    }

    /// The domains that were never stable.
    pub(super) fn never_stable(&self) -> Vec<String> {
        let never: BTreeSet<_> = self.domains.iter().filter(|(_, seen)| !seen.was_stable).map(|(name, _)| name.to_string()).collect();
        never.into_iter().collect()
    }
}

fn looks_stable(domain: &DomainSummary) -> bool {
    let counts = &domain.counts;
    domain.life == Life::Active
        && domain.status == Status::Stable
        && domain.fault.is_none()
        && domain.held.is_none()
        && counts.unhealthy == 0
        && counts.running == counts.valid
}

#[cfg(test)]
mod tests {
    use pilothouse_core::name::DomainKey;
    use pilothouse_core::record::EngineInForce;
    use pilothouse_core::state::Counts;
    use pilothouse_core::time::Timestamp;

    use super::*;

    fn name() -> Name {
        "web".parse().expect("a name")
    }

    fn list(status: Status, running: u32) -> DomainList {
        let counts = Counts { valid: 3, running, ..Counts::default() };
        let domain = DomainSummary {
            name: name(),
            life: Life::Active,
            engine: EngineInForce::default(),
            status,
            reason: String::new(),
            paused: false,
            dry_run: false,
            counts,
            fault: None,
            held: None,
            rolled_back: None,
        };
        DomainList { domains: vec![domain], ..DomainList::default() }
    }

    fn decided(status: Status) -> Happening {
        happened(Happened::Decided { status, reason: String::new(), launches: 0, terminations: 0, held_back: vec![] })
    }

    fn happened(what: Happened) -> Happening {
        let domain = DomainKey { owner: name(), name: name() };
        Happening { domain, at: Timestamp::ZERO, what }
    }

    #[test]
    fn a_domain_that_was_decided_to_be_stable_is_when_it_looks_so_twice() {
        let mut stability = Stability::of([name()].iter());
        stability.take(&decided(Status::Pending));
        assert_eq!(stability.look(&list(Status::Pending, 0)), None);
        assert_eq!(stability.never_stable(), ["web"]);
        stability.take(&decided(Status::Stable));
        assert_eq!(stability.look(&list(Status::Stable, 3)), None);
        assert_eq!(stability.look(&list(Status::Stable, 3)).as_deref(), Some("all is as it should be: 3 instances running"));
        assert_eq!(stability.look(&list(Status::Stable, 3)), None, "no news");
        assert_eq!(stability.look(&list(Status::Pending, 2)), None);
        assert!(stability.never_stable().is_empty(), "it was");
        assert_eq!(stability.look(&list(Status::Stable, 3)), None);
        assert!(stability.look(&list(Status::Stable, 3)).is_some(), "news again");
    }

    #[test]
    fn a_domain_that_only_looks_as_it_did_before_is_looked_at_for_longer() {
        let mut stability = Stability::of([name()].iter());
        for _ in 1..LOOKS {
            assert_eq!(stability.look(&list(Status::Stable, 3)), None);
        }
        assert_eq!(stability.look(&list(Status::Stable, 2)), None, "one is gone: begin again");
        for _ in 1..LOOKS {
            assert_eq!(stability.look(&list(Status::Stable, 3)), None);
        }
        assert!(stability.look(&list(Status::Stable, 3)).is_some());
    }

    #[test]
    fn what_was_decided_before_something_happened_counts_no_longer() {
        let mut stability = Stability::of([name()].iter());
        stability.take(&decided(Status::Stable));
        stability.take(&happened(Happened::Taken { host: name(), epoch: 2 }));
        for _ in 1..LOOKS {
            assert_eq!(stability.look(&list(Status::Stable, 3)), None);
        }
        assert!(stability.look(&list(Status::Stable, 3)).is_some());
    }

    #[test]
    fn a_domain_that_is_not_there_is_not_stable() {
        let mut stability = Stability::of([name()].iter());
        stability.take(&decided(Status::Stable));
        for _ in 0..=LOOKS {
            assert_eq!(stability.look(&DomainList::default()), None);
        }
        assert_eq!(stability.never_stable(), ["web"]);
    }
}
