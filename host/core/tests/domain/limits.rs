//! What an engine may ask for at most, and what makes no sense.

use pilothouse_core::cycle::{Cycle, LaunchRequest, Level, Settings, limits};
use pilothouse_core::guard::Refusal;
use pilothouse_core::instance::{Health, Instance, State};
use pilothouse_core::record::Event;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, instance, launch, verdict};

fn bench() -> Bench {
    let instances = [
        instance("a", 0, State::Running, Timestamp::ZERO),
        Instance { health: Health::Zombie, ..instance("z", 1, State::Terminated, Timestamp::ZERO) },
        instance("t", 2, State::Terminating, Timestamp::ZERO),
    ];
    Bench::with(config(json!({"general": {"max_instances": 5000, "launches_per_minute": 5000}})), Timestamp::from_secs(1000), instances)
}

/// Lets an engine ask in its decision, and returns what was recorded.
fn ask(bench: &mut Bench, asks: impl Fn(&mut Cycle)) -> Option<pilothouse_core::record::Record> {
    let engine = Native::new(|cycle, memory| {
        asks(cycle);
        Ok(verdict(memory))
    });
    bench.decide(&engine).0
}

#[track_caller]
fn invalid<T: std::fmt::Debug>(answer: Result<T, Refusal>, begins: &str) {
    match answer {
        Err(Refusal::Invalid(text)) => assert!(text.starts_with(begins), "{text}"),
        other => panic!("expected {begins}, got {other:?}"),
    }
}

#[test]
fn a_launch_that_makes_no_sense_is_refused_by_the_name_of_its_field() {
    let with = |change: &dyn Fn(&mut LaunchRequest)| {
        let mut request = launch("here", 1);
        change(&mut request);
        request
    };
    let vars = |count: usize| (0..count).map(|i| (format!("v{i}"), String::new())).collect::<Vec<_>>();
    ask(&mut bench(), |cycle| {
        invalid(cycle.launch(launch("here", 0)), "count: ");
        invalid(cycle.launch(launch("", 1)), "site: ");
        invalid(cycle.launch(launch("a.b", 1)), "site: ");
        invalid(cycle.launch(with(&|it| it.deployable_type.clear())), "deployable-type: ");
        invalid(cycle.launch(with(&|it| it.deployable_type = "a\nb".to_owned())), "deployable-type: ");
        invalid(cycle.launch(with(&|it| it.allocation = "x".repeat(257))), "allocation: ");
        invalid(cycle.launch(with(&|it| it.options = vars(1))), "options: ");
        let long = vec![("x".repeat(1 << 20), String::new())];
        let told = format!("options: \"{}\" is not known", "x".repeat(80));
        assert_eq!(cycle.launch(with(&|it| it.options = long.clone())), Err(Refusal::Invalid(told)));
        invalid(cycle.launch(with(&|it| it.extra_vars = vars(limits::VARS + 1))), "extra-vars: ");
        invalid(cycle.launch(with(&|it| it.extra_vars = vec![("v".into(), "x".repeat(limits::VARS_BYTES))])), "extra-vars: ");
        invalid(
            cycle.launch(with(&|it| it.extra_vars = vec![("v".into(), "1".into()), ("v".into(), "2".into())])),
            "extra-vars: \"v\" is there twice",
        );
        invalid(cycle.launch(with(&|it| it.extra_vars = vec![(String::new(), "1".into())])), "extra-vars: ");
        invalid(cycle.configure(Settings { pulse: None, provisioner_vars: Some(vars(limits::VARS + 1)) }), "provisioner-vars: ");
        cycle.launch(with(&|it| it.extra_vars = vars(limits::VARS))).expect("exactly as many as may be");
    });
}

#[test]
fn a_decision_launches_a_thousand_at_most() {
    let mut bench = bench();
    ask(&mut bench, |cycle| {
        cycle.launch(launch("here", 999)).expect("granted");
        invalid(cycle.launch(launch("here", 2)), "count: ");
        invalid(cycle.launch(launch("here", u32::MAX)), "count: ");
        cycle.launch(launch("here", 1)).expect("granted");
        invalid(cycle.launch(launch("here", 1)), "count: ");
    });
    assert_eq!(bench.state().counts().launching, 1000);
}

#[test]
fn a_decision_makes_so_many_requests_and_names_so_many_victims_at_most() {
    ask(&mut bench(), |cycle| {
        for _ in 0..limits::REQUESTS {
            cycle.destroy(&["a".to_owned()], String::new()).expect("granted");
        }
        invalid(cycle.destroy(&["a".to_owned()], String::new()), "a decision may make ");
    });
    ask(&mut bench(), |cycle| {
        let many = vec!["a".to_owned(); limits::VICTIMS];
        assert_eq!(cycle.destroy(&many, String::new()).expect("granted").accepted.len(), 1, "named often, ended once");
        invalid(cycle.destroy(&["a".to_owned()], String::new()), "ids: ");
    });
}

#[test]
fn the_variables_of_all_instances_have_a_bound_together() {
    let mut bench = bench();
    let large = |count: u32| LaunchRequest { extra_vars: vec![("v".into(), "x".repeat(16 * 1024 - 100))], ..launch("here", count) };
    let mut come = 0;
    for _ in 0..3 {
        bench.pass(Millis::from_secs(60));
        ask(&mut bench, |cycle| drop(cycle.launch(large(1000))));
        come = bench.state().instances().count();
    }
    let each = 16 * 1024 - 99;
    assert_eq!(come, 3 + limits::DOMAIN_VARS_BYTES / each, "as many as there is room for, and no more");
    bench.pass(Millis::from_secs(60));
    ask(&mut bench, |cycle| {
        let refused = cycle.launch(large(1)).expect_err("there is no room");
        assert!(matches!(&refused, Refusal::Quota(why) if why.contains("variables")), "{refused}");
        cycle.launch(launch("here", 1)).expect("one without any");
    });
    assert_eq!(bench.state().instances().count(), come + 1);
}

#[test]
fn variables_count_as_snapshots_write_them() {
    let mut bench = bench();
    // One byte each, and six in a record.
    let large = |count: u32| LaunchRequest { extra_vars: vec![("v".into(), "\u{1}".repeat(15 * 1024))], ..launch("here", count) };
    for _ in 0..2 {
        bench.pass(Millis::from_secs(60));
        ask(&mut bench, |cycle| drop(cycle.launch(large(1000))));
    }
    let (instances, snapshot) = (bench.state().instances().count(), bench.domain.snapshot_now(bench.now).to_bytes().len());
    assert!((150..200).contains(&instances), "{instances}");
    assert!((limits::DOMAIN_VARS_BYTES / 2..limits::DOMAIN_VARS_BYTES + (1 << 20)).contains(&snapshot), "{snapshot} bytes");
}

#[test]
fn a_launch_that_is_ended_counts_with_all_its_instances() {
    let mut bench = bench();
    ask(&mut bench, |cycle| drop(cycle.launch(launch("here", 1000)).expect("granted")));
    let launched = bench.state().instances().next_back().expect("one of them").launch.clone();
    bench.pass(Millis::from_secs(60));
    let record = ask(&mut bench, |cycle| {
        for _ in 0..limits::VICTIMS / 1000 {
            cycle.destroy_launch(launched.as_str(), "over".to_owned()).expect("granted");
        }
        invalid(cycle.destroy_launch(launched.as_str(), "over".to_owned()), "launch: ");
        let named = cycle.destroy(&["a".to_owned()], "named".to_owned());
        assert!(!matches!(named, Err(Refusal::Invalid(_))), "ids are counted by themselves: {named:?}");
    });
    // However short the requests were.
    assert!(record.expect("ended").to_bytes().len() < 4 << 20);
}

#[test]
fn what_all_requests_carry_together_stays_small_enough_for_a_record() {
    let mut bench = bench();
    let record = ask(&mut bench, |cycle| {
        let mut request = launch("here", 1);
        request.extra_vars = vec![("v".into(), "x".repeat(limits::VARS_BYTES - 1))];
        let granted = (0..limits::REQUESTS).take_while(|_| cycle.launch(request.clone()).is_ok()).count();
        assert_eq!(granted, limits::REQUESTED_BYTES / (limits::VARS_BYTES + "workerheresmall".len()));
        invalid(cycle.launch(request), "the requests of a decision may carry ");
        let ended = (0..9).take_while(|_| cycle.destroy(&["a".to_owned()], "x".repeat(9999)).is_ok()).count();
        assert!(ended < 4, "reasons count, too: {ended}");
    });
    assert!(record.expect("launched").to_bytes().len() < 2 * limits::REQUESTED_BYTES);
}

#[test]
fn an_end_without_a_reason_is_recorded_as_one() {
    let mut bench = bench();
    ask(&mut bench, |cycle| drop(cycle.destroy(&["a".to_owned()], " \n".to_owned()).expect("granted")));
    assert_eq!(bench.instance("a").end_reason.as_deref(), Some("its engine gave no reason"));
}

#[test]
fn whom_a_termination_names_must_be_there() {
    ask(&mut bench(), |cycle| {
        invalid(cycle.destroy(&["a".to_owned(), "nobody".to_owned()], String::new()), "ids: no instance \"nobody\"");
        invalid(cycle.destroy(&["not an id".to_owned()], String::new()), "ids: ");
        invalid(cycle.destroy_launch("nothing", String::new()), "launch: ");
        assert_eq!(cycle.destroy(&[], String::new()).expect("nothing asked").accepted, []);
    });
}

#[test]
fn a_whole_launch_can_be_ended() {
    let mut bench = bench();
    ask(&mut bench, |cycle| assert_eq!(cycle.destroy_launch("launch-of-a", "all of it".to_owned()).expect("granted").accepted.len(), 1));
    assert_eq!(bench.instance("a").state, State::Terminating);
}

#[test]
fn what_is_on_its_way_out_is_accepted_again_without_a_record() {
    let mut bench = bench();
    bench.decide(&Native::idle());
    bench.pass(Millis::from_secs(5));
    let asks = |cycle: &mut Cycle| {
        let again = cycle.destroy(&["t".to_owned()], "still unhealthy".to_owned()).expect("it goes already");
        assert_eq!(again.accepted.len(), 1);
    };
    assert_eq!(ask(&mut bench, asks), None, "nothing comes of it");
}

#[test]
fn a_zombie_is_asked_to_end_once_more() {
    let mut bench = bench();
    bench.decide(&Native::idle());
    bench.requests();
    bench.pass(Millis::from_secs(5));
    let asks = |cycle: &mut Cycle| drop(cycle.destroy(&["z".to_owned()], "it lives".to_owned()).expect("granted"));
    assert!(ask(&mut bench, asks).is_some());
    assert!(bench.instance("z").undead);
    bench.pass(Millis::from_secs(5));
    assert_eq!(ask(&mut bench, asks), None, "once");
}

#[test]
fn what_an_engine_logs_is_bounded() {
    let record = ask(&mut bench(), |cycle| {
        for _ in 0..limits::LOG_LINES + 7 {
            cycle.log(Level::Warn, "ü".repeat(limits::LOG_BYTES));
        }
    });
    let events = record.expect("the first decision").events;
    let Event::Decided(decided) = &events[0] else { panic!("{events:?}") };
    assert_eq!(decided.log.len(), limits::LOG_LINES + 1);
    assert!(decided.log[0].len() <= limits::LOG_BYTES + 8);
    assert_eq!(decided.log.last().map(String::as_str), Some("warn: 7 more lines were dropped"));
}

#[test]
fn a_pulse_is_kept_within_reason() {
    for (asked, kept) in [(0, 100), (1, 100), (5000, 5000), (u64::MAX, 86_400_000)] {
        let mut bench = bench();
        ask(&mut bench, |cycle| cycle.configure(Settings { pulse: Some(Millis::new(asked)), provisioner_vars: None }).expect("taken"));
        assert_eq!(bench.state().pace(), Millis::new(kept));
    }
}
