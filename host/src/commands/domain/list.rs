//! Domains as a table.

use pilothouse_core::state::Life;

use crate::api::{DomainList, DomainSummary};
use crate::output::happening::status_word;
use crate::output::{clean, count, table};

/// A line for each domain.
pub(super) fn text(list: &DomainList) -> String {
    if list.domains.is_empty() && list.unanswered.is_empty() {
        return "no domains".to_owned();
    }
    let rows: Vec<_> = list.domains.iter().map(row).collect();
    let mut text = table(["NAME", "STATUS", "RUNNING", "UNHEALTHY", "ENGINE", "REASON"], &rows);
    if list.left_out > 0 {
        text += &format!("and {} that did not fit\n", count(list.left_out, "domain"));
    }
    text.extend(list.unanswered.iter().map(|name| format!("{name} does not answer at the moment\n")));
    text
}

fn row(domain: &DomainSummary) -> [String; 6] {
    let counts = &domain.counts;
    let reason = match (&domain.held, &domain.fault) {
        (Some(held), _) => clean(held.words.trim_start_matches("HELD: ")),
        (None, Some(fault)) => format!("engine failed, {} in a row: {}", fault.in_a_row, clean(&fault.message)),
        (None, None) => clean(&domain.reason),
    };
    [
        domain.name.to_string(),
        status(domain),
        format!("{} of {}", counts.running, counts.valid),
        counts.unhealthy.to_string(),
        clean(&format!("{} {}", domain.engine.name, domain.engine.version)),
        reason,
    ]
}

/// The status, and what stands in the way of the engine.
pub(super) fn status(domain: &DomainSummary) -> String {
    let mut status = match domain.life {
        Life::Removing => "removing".to_owned(),
        Life::Removed | Life::Absent => "removed".to_owned(),
        Life::Active if domain.held.is_some() => "HELD".to_owned(),
        Life::Active if domain.fault.is_some() => "faulted".to_owned(),
        Life::Active => status_word(domain.status).to_owned(),
    };
    for (holds, word) in [(domain.rolled_back.is_some(), ", ROLLED BACK"), (domain.paused, ", paused"), (domain.dry_run, ", dry run")] {
        if holds {
            status.push_str(word);
        }
    }
    status
}

#[cfg(test)]
pub(super) mod tests {
    use pilothouse_core::cycle::{FaultKind, Status};
    use pilothouse_core::engine::{EngineHeld, HoldReason, Rejected};
    use pilothouse_core::explain::HeldTold;
    use pilothouse_core::record::EngineInForce;
    use pilothouse_core::state::{Counts, OpenFault};
    use pilothouse_core::time::Timestamp;

    use super::*;

    pub(in super::super) fn summary(name: &str) -> DomainSummary {
        DomainSummary {
            name: name.parse().expect("a name"),
            life: Life::Active,
            engine: EngineInForce { name: "simplest".to_owned(), version: "0.1.0".to_owned(), digest: "0123456789abcdef".to_owned() },
            status: Status::Stable,
            reason: "3 of 3 healthy".to_owned(),
            paused: false,
            dry_run: false,
            counts: Counts { total: 4, valid: 3, running: 3, ..Counts::default() },
            fault: None,
            held: None,
            rolled_back: None,
        }
    }

    pub(in super::super) fn engine(version: &str) -> EngineInForce {
        EngineInForce { version: version.to_owned(), ..summary("web").engine }
    }

    pub(in super::super) fn held() -> HeldTold {
        let held = EngineHeld { engine: engine("0.1.0"), why: HoldReason::Failed { kind: FaultKind::Trap, faults: 3 } };
        HeldTold { since: Timestamp::from_secs(1_000), words: held.in_words(), held }
    }

    pub(in super::super) fn rejected() -> Rejected {
        Rejected { engine: engine("0.2.0"), at: Timestamp::from_secs(900), why: "trap in decide: boom".to_owned() }
    }

    #[test]
    fn a_table_of_domains_says_what_stands_in_the_way() {
        let fault = Some(OpenFault { message: "trap in decide: boom".to_owned(), in_a_row: 2, counted: 2, since: Timestamp::ZERO });
        let domains = vec![summary("web"), DomainSummary { paused: true, fault, ..summary("jobs") }];
        assert_eq!(
            text(&DomainList { domains, unanswered: vec!["slow".parse().expect("a name")], left_out: 2 }),
            "NAME  STATUS           RUNNING  UNHEALTHY  ENGINE          REASON\n\
             web   stable           3 of 3   0          simplest 0.1.0  3 of 3 healthy\n\
             jobs  faulted, paused  3 of 3   0          simplest 0.1.0  engine failed, 2 in a row: trap in decide: boom\n\
             and 2 domains that did not fit\n\
             slow does not answer at the moment\n"
        );
        assert_eq!(text(&DomainList::default()), "no domains");
    }

    #[test]
    fn a_domain_that_is_held_or_was_rolled_back_says_so_loudly() {
        let fault = Some(OpenFault { message: "trap in decide: boom".to_owned(), in_a_row: 3, counted: 3, since: Timestamp::ZERO });
        let rolled_back = DomainSummary { rolled_back: Some(rejected()), ..summary("back") };
        let held = DomainSummary { held: Some(held()), fault, ..summary("held") };
        assert_eq!(
            text(&DomainList { domains: vec![rolled_back, held], ..DomainList::default() }),
            "NAME  STATUS               RUNNING  UNHEALTHY  ENGINE          REASON\n\
             back  stable, ROLLED BACK  3 of 3   0          simplest 0.1.0  3 of 3 healthy\n\
             held  HELD                 3 of 3   0          simplest 0.1.0  simplest 0.1.0 failed 3 times in a row, last with trap, and there is no version to go back to\n"
        );
    }
}
