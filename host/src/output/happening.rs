//! What happened in a domain, as a line.

use pilothouse_core::cycle::Status;
use pilothouse_core::domain::{Happened, Happening};
use pilothouse_core::instance::Health;

use super::clean;

/// One line: `web/0 RUNNING OK`, `web: launching 3 ("0 of 3 healthy: launching 3")`.
pub(crate) fn line(happening: &Happening) -> String {
    let domain = &happening.domain.name;
    match &happening.what {
        Happened::Instance { ordinal, state, health, reason, .. } => {
            let health = if *health == Health::Unknown { String::new() } else { format!(" {health}") };
            let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" ({})", clean(reason)));
            format!("{domain}/{ordinal} {state}{health}{reason}")
        }
        Happened::Decided { status, reason, launches, terminations, held_back } => {
            let mut does = Vec::new();
            if *launches > 0 {
                does.push(format!("launching {launches}"));
            }
            if *terminations > 0 {
                does.push(format!("terminating {terminations}"));
            }
            does.extend(held_back.iter().map(|held| clean(held)));
            if does.is_empty() {
                does.push(status_word(*status).to_owned());
            }
            format!("{domain}: {} (\"{}\")", does.join(", "), clean(reason))
        }
        Happened::Faulted { message, in_a_row } => format!("{domain}: its engine failed, {in_a_row} in a row: {}", clean(message)),
        Happened::Taken { host, epoch } => format!("{domain}: taken by host {host} (epoch {epoch})"),
        Happened::Configured { by, change } => format!("{domain}: {} (asked by {by})", clean(change)),
        Happened::Scheduled(turn) => format!("{domain}: schedule: {}", clean(&turn.in_words())),
        Happened::Swapped { why, .. } | Happened::Held { why, .. } => format!("{domain}: {}", clean(why)),
        Happened::Differed { engine, difference } => {
            let shadow = clean(&format!("{} {}", engine.name, engine.version));
            format!("{domain}: its shadow {shadow} differs: {}", clean(difference))
        }
        Happened::SnapshotLeftOut { bytes, most } => {
            let [bytes, most] = [bytes, most].map(|it| it >> 20);
            format!(
                "{domain}: A SNAPSHOT WAS LEFT OUT: it has {bytes} MiB and the journal takes {most}; have fewer instances, or fewer variables"
            )
        }
        Happened::Restored { by, .. } => format!("{domain}: restored from a backup (by {by})"),
        Happened::Removed => format!("{domain}: removed"),
    }
}

/// The word for a status.
pub(crate) const fn status_word(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Stable => "stable",
        Status::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_core::cycle::FaultKind;
    use pilothouse_core::engine::{EngineHeld, HoldReason, SwapReason, Swapped};
    use pilothouse_core::instance::State;
    use pilothouse_core::name::DomainKey;
    use pilothouse_core::record::EngineInForce;
    use pilothouse_core::schedule::{KeyChange, Turn};
    use pilothouse_core::time::Timestamp;

    use super::*;

    fn told(what: Happened) -> String {
        let domain = DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") };
        line(&Happening { domain, at: Timestamp::ZERO, what })
    }

    fn instance(state: State, health: Health, reason: Option<&str>) -> String {
        let node_id = "i001-x".parse().expect("an id");
        told(Happened::Instance { node_id, ordinal: 0, state, health, reason: reason.map(str::to_owned) })
    }

    #[test]
    fn an_instance_is_told_with_its_number() {
        assert_eq!(instance(State::Running, Health::Unknown, None), "web/0 RUNNING");
        assert_eq!(instance(State::Running, Health::Ok, None), "web/0 RUNNING OK");
        let failed = "process main failed, killed by signal 9: bad\u{1b}[0m";
        assert_eq!(
            instance(State::Running, Health::ProcessError, Some(failed)),
            "web/0 RUNNING PROCESS_ERROR (process main failed, killed by signal 9: bad\u{fffd}[0m)"
        );
    }

    #[test]
    fn a_switch_of_the_schedule_is_told_by_its_windows_and_what_changes() {
        let change = |key: &str, from: u64, to: u64| KeyChange { key: key.to_owned(), from: Some(from.into()), to: Some(to.into()) };
        let turn = |ended: &[&str], changes| Turn {
            began: vec!["day".parse().expect("a name")],
            ended: ended.iter().map(|name| name.parse().expect("a name")).collect(),
            changes,
        };
        let began = told(Happened::Scheduled(turn(&[], vec![change("preserve_n", 3, 10)])));
        assert_eq!(began, "web: schedule: window day began: preserve_n 3 -> 10");
        let both = told(Happened::Scheduled(turn(&["night", "dawn"], vec![change("a\u{1b}", 1, 2), change("b", 2, 3)])));
        assert_eq!(both, "web: schedule: windows night, dawn ended, window day began: a\u{fffd} 1 -> 2, b 2 -> 3");
        assert_eq!(told(Happened::Scheduled(turn(&[], vec![]))), "web: schedule: window day began: nothing changes for the engine");
    }

    #[test]
    fn a_call_that_failed_is_told_with_how_often_and_how() {
        let faulted = |in_a_row, message: &str| told(Happened::Faulted { message: message.to_owned(), in_a_row });
        assert_eq!(
            faulted(1, "trap in decide: wasm trap: unreachable"),
            "web: its engine failed, 1 in a row: trap in decide: wasm trap: unreachable"
        );
        assert_eq!(
            faulted(12, "returned in reconfigure: not\nthat\u{1b}[2J"),
            "web: its engine failed, 12 in a row: returned in reconfigure: not that\u{fffd}[2J"
        );
    }

    #[test]
    fn what_becomes_of_an_engine_is_told_in_words() {
        let engine = || EngineInForce { name: "keep".to_owned(), version: "1.2.0".to_owned(), digest: "ab".to_owned() };
        let swapped = |why: SwapReason| {
            let (rolled_back, swapped) = (false, Swapped { engine: engine(), why, reference: None });
            told(Happened::Swapped { engine: engine(), why: swapped.in_words(), rolled_back })
        };
        let kind = FaultKind::Trap;
        assert_eq!(swapped(SwapReason::Followed), "web: decided by keep 1.2.0 from now on, which is newer");
        assert_eq!(
            swapped(SwapReason::RolledBack { kind, faults: 3 }),
            "web: ROLLED BACK to keep 1.2.0: the version before failed 3 times in a row, last with trap"
        );
        let held = EngineHeld { engine: engine(), why: HoldReason::Failed { kind, faults: 1 } };
        assert_eq!(
            told(Happened::Held { engine: engine(), why: held.in_words() }),
            "web: HELD: keep 1.2.0 failed once, last with trap, and there is no version to go back to"
        );
        let difference = "it would launch 3,\nthe engine in force 0\u{1b}".to_owned();
        assert_eq!(
            told(Happened::Differed { engine: engine(), difference }),
            "web: its shadow keep 1.2.0 differs: it would launch 3, the engine in force 0\u{fffd}"
        );
    }

    #[test]
    fn a_snapshot_that_was_left_out_is_told_loudly() {
        let left_out = told(Happened::SnapshotLeftOut { bytes: 80 << 20, most: 64 << 20 });
        assert_eq!(
            left_out,
            "web: A SNAPSHOT WAS LEFT OUT: it has 80 MiB and the journal takes 64; have fewer instances, or fewer variables"
        );
    }

    #[test]
    fn a_decision_is_told_by_what_it_does_else_by_its_status() {
        let decided = |status, launches, held_back: &[&str]| {
            let held_back = held_back.iter().map(|held| (*held).to_owned()).collect();
            told(Happened::Decided { status, reason: "0 of 3".to_owned(), launches, terminations: 0, held_back })
        };
        assert_eq!(decided(Status::Pending, 3, &[]), "web: launching 3 (\"0 of 3\")");
        assert_eq!(decided(Status::Stable, 0, &[]), "web: stable (\"0 of 3\")");
        assert_eq!(
            decided(Status::Pending, 1, &["launch: 2 held back by brake"]),
            "web: launching 1, launch: 2 held back by brake (\"0 of 3\")"
        );
    }
}
