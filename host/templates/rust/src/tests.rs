//! The policy on a fake domain, in virtual time. `cargo test` runs this; no host is needed.

use pilothouse_engine::testing::{FakeDomain, check_schema};
use pilothouse_engine::{Health, InstanceState, Refusal, Status};

use super::*;

/// A domain that wants three workers, and has them.
fn settled() -> FakeDomain<Keeper> {
    let mut domain = FakeDomain::new(json!({ "workers": 3, "site": "local" }));
    assert_eq!(domain.decide().reason, "0 of 3 healthy; launching 3");
    domain.report_all(InstanceState::Running).all_well();
    domain
}

#[test]
fn what_is_missing_is_launched_and_then_nothing_more_is_wanted() {
    let decision = settled().decide();
    assert_eq!((decision.status, decision.requests().len()), (Status::Stable, 0));
}

#[test]
fn the_unhealthy_are_replaced_and_that_is_remembered() {
    let mut domain = settled();
    domain.health("new-1", Health::Missing);
    assert_eq!(domain.decide().requests(), ["destroy new-1 (unhealthy)", "launch 1"]);
    assert_eq!(domain.memory(), Keeper { ended: 1 });
}

#[test]
fn a_refusal_is_an_answer() {
    let mut domain = settled();
    domain.health("new-1", Health::Missing).refuse(Refusal::Paused);
    let reason = "2 of 3 healthy; 1 unhealthy stay: the domain is paused; not launching 1: the domain is paused";
    assert_eq!(domain.decide().reason, reason);
    assert_eq!(domain.memory(), Keeper { ended: 0 });
}

#[test]
fn too_many_are_reduced_by_the_newest() {
    let mut domain = settled();
    domain.reconfigure(json!({ "workers": 2, "site": "local" })).expect("it takes up the change");
    assert_eq!(domain.decide().terminated(), ["new-2"]);
}

#[test]
fn who_is_ill_and_protected_holds_its_place_and_takes_nobodys() {
    let mut domain = settled();
    assert!(domain.health("new-0", Health::Missing).protect("new-0", true).decide().requests().is_empty());
    domain.reconfigure(json!({ "workers": 1, "site": "local" })).expect("it takes up the change");
    assert_eq!(domain.decide().terminated(), ["new-2"]);
}

#[test]
fn the_schema_says_what_the_configuration_is() {
    check_schema::<Keeper>();
}
