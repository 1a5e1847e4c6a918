//! What engines are told in one word of all instances.

use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, Verdict as Beat};
use pilothouse_core::state::Counts;
use pilothouse_core::time::Timestamp;
use serde_json::json;

use crate::support::{Bench, config, instance};

/// One of each health that runs, and others of which nobody expects a word.
fn bench(monitored: bool) -> Bench {
    let healths = [Health::Unknown, Health::Ok, Health::MonitorError, Health::ProcessError, Health::OutOfContact, Health::Missing];
    let running = healths.map(|health| (State::Running, health));
    let others = [State::Started, State::RunningFailed, State::Terminating, State::Failed].map(|state| (state, Health::Unknown));
    let at = |(ordinal, (state, health)): (usize, (State, Health))| Instance {
        health,
        end_reason: (state > State::RunningFailed).then(|| "it was too many".to_owned()),
        ..instance(&format!("i{ordinal}"), ordinal as u64, state, Timestamp::from_secs(999))
    };
    let instances: Vec<_> = running.into_iter().chain(others).enumerate().map(at).collect();
    Bench::with(config(json!({"health": {"monitor_health": monitored}})), Timestamp::from_secs(1000), instances)
}

#[test]
fn those_that_run_and_have_not_said_that_they_are_well_are_counted() {
    let mut bench = bench(true);
    let expected = Counts { total: 10, valid: 8, starting: 1, running: 6, unhealthy: 4, launching: 0, terminating: 1, unconfirmed: 2 };
    assert_eq!(bench.state().counts(), expected, "i0 was not heard from yet, and i4 is being asked");
    for (id, unconfirmed) in [("i0", 1), ("i4", 0), ("i1", 0)] {
        bench.absorb([Input::Heartbeat(id.parse().expect("an id"), Heartbeat { verdict: Beat::Ok })]);
        assert_eq!(bench.state().counts().unconfirmed, unconfirmed, "{id} is well");
    }
}

#[test]
fn nobody_owes_a_word_where_nobody_listens() {
    assert_eq!(bench(false).state().counts().unconfirmed, 0);
}
