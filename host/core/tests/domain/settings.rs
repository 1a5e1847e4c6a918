//! How long that lasts which an engine sets: until the next `initialize` or `reconfigure`, which begin with the domain's configuration.

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::{Cycle, Reconfigured, Settings};
use pilothouse_core::instance::Vars;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, launch, verdict};

const DOMAINS: Millis = Millis::from_secs(9);
const ENGINES: Millis = Millis::from_secs(33);

fn domain(revision: u32) -> pilothouse_core::config::DomainConfig {
    config(json!({"general": {"decide_interval": 9, "provisioner_vars": {"a": "domain"}}, "engine_conf": {"n": revision}}))
}

fn of(value: &str) -> Vars {
    vec![("a".to_owned(), value.to_owned())]
}

fn set(cycle: &mut Cycle, value: &str) {
    cycle.configure(Settings { pulse: Some(ENGINES), provisioner_vars: Some(of(value)) }).expect("taken");
}

/// A domain whose engine has set what it wants when it was initialised.
fn bench() -> Bench {
    let mut bench = Bench::new(domain(1), Timestamp::from_secs(1000));
    let engine = Native::idle().initializing(|cycle| {
        assert_eq!(cycle.base_vars(), &of("domain"));
        set(cycle, "engine");
        Ok(Vec::new())
    });
    bench.decide(&engine);
    assert_eq!((bench.state().pace(), bench.state().base_vars()), (ENGINES, &of("engine")));
    bench
}

/// An engine that does not set anything when it takes a configuration up, and is shown the domain's own.
fn sets_nothing() -> Native<'static> {
    Native::new(|cycle, memory| {
        assert_eq!(cycle.base_vars(), &of("domain"));
        Ok(verdict(memory))
    })
    .reconfiguring(|cycle, memory| {
        assert_eq!(cycle.base_vars(), &of("domain"));
        Ok(Reconfigured::Memory(memory.to_vec()))
    })
}

#[test]
fn it_lasts_from_decision_to_decision() {
    let mut bench = bench();
    bench.pass(ENGINES);
    bench.decide(&Native::new(|cycle, memory| {
        assert_eq!(cycle.base_vars(), &of("engine"));
        Ok(verdict(memory))
    }));
    assert_eq!((bench.state().pace(), bench.state().base_vars()), (ENGINES, &of("engine")));
}

#[test]
fn a_configuration_that_is_taken_up_ends_it() {
    let mut bench = bench();
    bench.command(bench.reconfigure(domain(2))).expect("taken");
    bench.decide(&sets_nothing());
    assert_eq!((bench.state().pace(), bench.state().base_vars()), (DOMAINS, &of("domain")));
}

#[test]
fn what_is_set_anew_is_in_force_when_the_engine_decides() {
    let mut bench = bench();
    bench.command(bench.reconfigure(domain(2))).expect("taken");
    let engine = Native::new(|cycle, memory| {
        assert_eq!(cycle.base_vars(), &of("anew"));
        // What it sets in the decision itself it sees in the next.
        set(cycle, "later");
        assert_eq!(cycle.base_vars(), &of("anew"));
        cycle.launch(launch("here", 1)).expect("granted");
        Ok(verdict(memory))
    })
    .reconfiguring(|cycle, memory| {
        set(cycle, "anew");
        Ok(Reconfigured::Memory(memory.to_vec()))
    });
    bench.decide(&engine);
    assert_eq!((bench.state().pace(), bench.state().base_vars()), (ENGINES, &of("later")));
}

#[test]
fn another_engine_begins_without_it() {
    let mut bench = bench();
    bench.give_to("other");
    let other = sets_nothing().named("other").initializing(|cycle| {
        assert_eq!(cycle.base_vars(), &of("domain"));
        Ok(b"mine".to_vec())
    });
    bench.decide(&other);
    assert_eq!((bench.state().pace(), bench.state().base_vars()), (DOMAINS, &of("domain")));
}

#[test]
fn what_a_refused_configuration_set_never_was() {
    let mut bench = bench();
    bench.command(bench.reconfigure(domain(2))).expect("taken");
    let engine = Native::new(|cycle, memory| {
        assert_eq!(cycle.base_vars(), &of("engine"), "as before the call that did not succeed");
        Ok(verdict(memory))
    })
    .reconfiguring(|cycle, _| {
        set(cycle, "refused");
        Ok(Reconfigured::Refused(vec![ConfigProblem::new("/n", "expected one less")]))
    });
    bench.decide(&engine);
    assert_eq!((bench.state().pace(), bench.state().base_vars()), (ENGINES, &of("engine")));
}

#[test]
fn the_pulse_that_ends_with_a_decision_does_not_time_the_next() {
    let mut bench = bench();
    bench.command(bench.reconfigure(domain(2))).expect("taken");
    bench.decide(&sets_nothing());
    bench.pass(DOMAINS);
    assert!(bench.begin().is_some());
}

#[test]
fn nobody_is_launched_without_the_variables_that_its_engine_knows_of() {
    let launching = || {
        Native::new(|cycle, _| {
            cycle.launch(launch("here", 2)).expect("granted");
            Ok(verdict(b"two"))
        })
    };
    for (first, kept) in [(true, 0), (false, 2)] {
        // The variables are set in the call that launches, or were set long ago: these last until the engine takes the new configuration up.
        let mut bench = if first { Bench::new(domain(1), Timestamp::from_secs(1000)) } else { bench() };
        bench.pass(ENGINES);
        let engine = launching().initializing(|cycle| {
            set(cycle, "engine");
            Ok(Vec::new())
        });
        let ran = bench.begin().expect("due").run(&engine);
        bench.command(bench.reconfigure(domain(2))).expect("taken");
        bench.finish(ran);
        assert_eq!(bench.state().counts().launching, kept, "{first}");
        assert_eq!(bench.state().memory.as_deref() == Some(b"two"), !first);
        // What a request carries is what is in force when it leaves, which is now.
        assert!(first || bench.state().base_vars() == &of("engine"));
        assert!(bench.begin().is_some(), "the engine is asked again at once");
    }
}
