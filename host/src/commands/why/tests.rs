//! Stories as they are told, word for word.

use pilothouse_core::cycle::{Cause, Status};
use pilothouse_core::explain::{ChangeTold, DecisionTold, DomainStory, Ending, InstanceNow, InstanceStory, Start, Step, StepKind};
use pilothouse_core::guard::Guard;
use pilothouse_core::instance::{Health, State};
use pilothouse_core::record::{DecidedLaunch, DecidedTermination, Decision};
use pilothouse_core::state::{Counts, Life, OpenFault, SiteRecord};

use super::*;

fn simplest() -> EngineInForce {
    EngineInForce { name: "simplest".to_owned(), version: "0.1.0".to_owned(), digest: "0123456789abcdef".to_owned() }
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_795_241_000 + secs)
}

fn ruling(guard: Guard, passed: u32, note: Option<&str>) -> Ruling {
    Ruling { guard, passed, note: note.map(str::to_owned) }
}

fn story() -> DomainStory {
    let launch = DecidedLaunch {
        launch: "l1".parse().expect("an id"),
        deployable_type: "worker".to_owned(),
        site: "local".to_owned(),
        allocation: "small".to_owned(),
        extra_vars: vec![],
        asked: 2,
        instances: vec!["i3".parse().expect("an id")],
        refused: None,
        rulings: vec![ruling(Guard::Pause, 2, None), ruling(Guard::Brake, 2, None), ruling(Guard::Budget, 1, Some("used up"))],
    };
    let termination = DecidedTermination {
        reason: "missing".to_owned(),
        accepted: vec!["i0".parse().expect("an id")],
        again: vec![],
        deferred: vec![],
        dropped: vec![("i1".parse().expect("an id"), "it recovered: OK since 1 s".to_owned())],
        refused: None,
        dripped: false,
        rulings: vec![ruling(Guard::Pause, 2, None), ruling(Guard::Brake, 2, None)],
    };
    let acted = Decision {
        based_on: 40,
        cause: Cause::Changed,
        engine: simplest(),
        config_revision: 2,
        reason: "1 of 3 healthy".to_owned(),
        figures: vec![("healthy".to_owned(), 1.0)],
        launches: vec![launch],
        terminations: vec![termination],
        log: vec!["info: looking".to_owned()],
        fuel: 1234,
        ..Decision::default()
    };
    let stable = Decision {
        based_on: 44,
        engine: simplest(),
        config_revision: 2,
        status: Status::Stable,
        reason: "3 of 3 healthy".to_owned(),
        ..Decision::default()
    };
    let first = Decision { reason: "0 of 3 healthy".to_owned(), ..acted.clone() };
    DomainStory {
        domain: pilothouse_core::name::DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") },
        sequence: 45,
        life: Life::Active,
        host: Some("h1".parse().expect("a name")),
        epoch: 2,
        engine: simplest(),
        config_revision: 2,
        applied_revision: 2,
        paused: false,
        dry_run: false,
        counts: Counts { total: 4, valid: 3, running: 3, ..Counts::default() },
        status: Status::Stable,
        reason: "3 of 3 healthy".to_owned(),
        fault: None,
        failing_sites: Default::default(),
        decisions: [(45, stable), (41, acted), (7, first)]
            .map(|(sequence, decision)| DecisionTold { sequence, at: at(sequence), epoch: 2, decision })
            .to_vec(),
        changes: vec![ChangeTold { sequence: 5, at: at(5), by: "ann".parse().expect("a name"), change: "paused".to_owned() }],
        ordinals: [("i0", 0), ("i1", 1), ("i3", 3)].map(|(id, ordinal)| (id.parse().expect("an id"), ordinal)).into(),
    }
}

#[test]
fn a_domain_is_told_with_its_newest_decision_and_the_one_that_mattered() {
    let told = text(&Explanation::Domain(Box::new(story())), at(60));
    assert_eq!(
        told,
        "\
Domain web is stable: \"3 of 3 healthy\"
  3 running of 3, 0 unhealthy, 0 on their way out
  engine simplest 0.1.0 (0123456789ab), configuration revision 2, looked after by h1

The newest decision on record: 2026-11-21 06:04:05Z (15 s ago), record #45
  asked because it was time; it looked at everything up to record #44
  it said: stable, \"3 of 3 healthy\"
  it asked for nothing
  it used 0 units of fuel

The newest one that asked for something: 2026-11-21 06:04:01Z (19 s ago), record #41
  asked because something had changed; it looked at everything up to record #40
  it said: pending, \"1 of 3 healthy\"
  its figures: healthy 1
  launch 2 of worker at local (small): 1 promised: web/3
    budget let 1 pass: used up
    no objection from pause, brake
  terminate, because \"missing\"; 1 promised: web/0
    web/1 was dropped: it recovered: OK since 1 s
    every guard let it pass
  it logged info: looking
  it used 1234 units of fuel

Other decisions
  2026-11-21 06:03:27Z (53 s ago)  #7  pending, launched 1, terminated 1 (\"0 of 3 healthy\")

Changes by people
  2026-11-21 06:03:25Z (55 s ago)  #5  paused by ann
"
    );
}

#[test]
fn what_stands_in_the_way_is_said_first() {
    let fault = OpenFault { message: "trap in decide: boom\u{1b}[2J".to_owned(), in_a_row: 3, since: at(50) };
    let site = SiteRecord { failures: 2, backing_off_until: Some(at(64)) };
    let story = DomainStory {
        paused: true,
        dry_run: true,
        fault: Some(fault),
        failing_sites: [("local".to_owned(), site)].into(),
        applied_revision: 1,
        decisions: vec![],
        changes: vec![],
        ..story()
    };
    let told = text(&Explanation::Domain(Box::new(story)), at(60));
    for part in [
        "  the engine has not taken up this revision yet; it works with revision 1\n",
        "  PAUSED: ",
        "  DRY RUN: ",
        "  NO DECISIONS: the engine failed 3 in a row since 2026-11-21 06:04:10Z (10 s ago): trap in decide: boom\u{fffd}[2J\n",
        "  site local failed the last 2 launches; the next may go in 4 s\n",
        "\nNo decision is on record yet.\n",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}

#[test]
fn an_instance_is_told_from_its_start_to_its_end() {
    let step = |secs, what| Step { sequence: secs, at: at(secs), what };
    let missing = || "missing".to_owned();
    let story = InstanceStory {
        domain: story().domain,
        instance_id: "i0".parse().expect("an id"),
        ordinal: Some(0),
        started: Some(Start {
            sequence: 7,
            at: at(7),
            engine: simplest(),
            cause: Cause::TakenOver,
            reason: "0 of 3 healthy: launching 3".to_owned(),
            launch: "l1".parse().expect("an id"),
            asked: 3,
            granted: 3,
            rulings: vec![ruling(Guard::Pause, 3, None)],
        }),
        history: vec![
            step(9, StepKind::State { state: State::Running, reason: None }),
            step(10, StepKind::Health { health: Health::Ok, problems: vec![] }),
            step(40, StepKind::Health { health: Health::Missing, problems: vec![] }),
            step(41, StepKind::EndPromised { reason: missing() }),
            step(42, StepKind::State { state: State::Terminated, reason: Some("killed".to_owned()) }),
        ],
        left_out: 0,
        ended: Some(Ending::Engine {
            sequence: 41,
            at: at(41),
            engine: simplest(),
            reason: missing(),
            decision: "2 of 3 healthy".to_owned(),
            dripped: false,
            rulings: vec![],
        }),
        now: Some(InstanceNow {
            state: State::Terminated,
            state_since: at(42),
            health: Health::Unknown,
            health_since: at(42),
            deployable_type: "worker".to_owned(),
            site: "local".to_owned(),
            allocation: "small".to_owned(),
            problems: vec![],
        }),
    };
    let told = text(&Explanation::Instance(Box::new(story.clone())), at(60));
    assert_eq!(
        told,
        "\
Instance web/0 (i0) has been TERMINATED for 18 s
  worker at local

Started 2026-11-21 06:03:27Z (53 s ago), record #7
  decided by simplest 0.1.0 (0123456789ab), asked because a host had just taken the domain
  it said: \"0 of 3 healthy: launching 3\"
  launch l1: 3 asked for, 3 granted
    every guard let it pass

What it went through
  06:03:29Z (   51 s ago)  #9     RUNNING
  06:03:30Z (   50 s ago)  #10    health OK
  06:04:00Z (   20 s ago)  #40    health MISSING
  06:04:01Z (   19 s ago)  #41    its termination was promised (\"missing\")
  06:04:02Z (   18 s ago)  #42    TERMINATED (killed)

Ended by its engine 2026-11-21 06:04:01Z (19 s ago), record #41
  decided by simplest 0.1.0 (0123456789ab): \"missing\"
  it said of the domain: \"2 of 3 healthy\"
"
    );

    let forgotten = InstanceStory {
        started: None,
        now: None,
        ordinal: None,
        ended: Some(Ending::Itself { sequence: 42, at: at(42), state: State::Failed, reason: None }),
        history: vec![],
        ..story
    };
    let told = text(&Explanation::Instance(Box::new(forgotten)), at(60));
    assert!(told.starts_with("Instance i0 of domain web is gone, and so is its record\n"), "{told}");
    assert!(
        told.contains("no longer on record") && told.contains("Nothing was heard of it.") && told.contains("reported FAILED\n"),
        "{told}"
    );
}
