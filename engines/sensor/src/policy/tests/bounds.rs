//! The bounds: what they stop, what moves them, and where nothing is left between them.

use super::*;

#[test]
fn the_bounds_hold_and_what_they_stop_starts_no_cooldown() {
    check(&[9.0; 5], &["launch 1"], scaled_to(6));
    for (at, load, bound) in [(6, 9.0, "maximum"), (2, 0.0, "minimum")] {
        let (decision, memory) = decided(&vec![load; at as usize], |domain| domain);
        assert_eq!((decision.status, memory), (Status::Stable, size(at)));
        assert!(decision.reason.ends_with(&format!("but the size is at its {bound}")), "{}", decision.reason);
    }
}

#[test]
fn an_empty_domain_is_filled_to_the_minimum_without_a_cooldown() {
    let mut domain = FakeDomain::<Sensor>::new(scaled(json!({})));
    assert_eq!(domain.decide().requests(), ["launch 2"]);
    assert_eq!(domain.memory(), size(2));
}

#[test]
fn what_is_already_there_is_adopted_within_the_bounds() {
    for (there, adopted) in [(4, 4), (9, 6)] {
        let mut domain = running(there, scaled(json!({})));
        domain.initialize().unwrap();
        assert_eq!(domain.memory(), size(adopted));
    }
}

#[test]
fn bounds_that_move_move_the_size_and_start_no_cooldown() {
    for (changes, there, target, requests) in
        [(json!({ "maximum_vms": 3 }), 5, 3, ["destroy i4 i3 (2 more than wanted)"]), (json!({ "minimum_vms": 6 }), 5, 6, ["launch 1"])]
    {
        let mut domain = running(there, scaled(changes));
        loads(&mut domain, &vec![2.0; there as usize]);
        let decision = domain.decide();
        assert_eq!((decision.requests(), domain.memory()), (requests.map(str::to_owned).to_vec(), size(target)));
        assert!(decision.reason.contains(&format!(", the bounds move the size from 5 to {target}, ")), "{}", decision.reason);
    }
}

#[test]
fn where_the_bounds_are_one_the_size_is_that() {
    for load in [0.0, 2.0, 9.0] {
        let mut domain = running(3, scaled(json!({ "minimum_vms": 3, "maximum_vms": 3 })));
        loads(&mut domain, &[load; 3]);
        let decision = domain.decide();
        assert_eq!((decision.status, decision.requests().len(), domain.memory()), (Status::Stable, 0, size(3)));
    }
}

#[test]
fn a_maximum_of_none_is_nobody_and_stable() {
    let none = json!({ "minimum_vms": 0, "maximum_vms": 0 });
    let mut domain = running(0, scaled(none.clone()));
    let decision = domain.decide();
    assert_eq!((decision.status, decision.reason.as_str()), (Status::Stable, "0 of 0 healthy, nobody is there whose load could be read"));

    let mut domain = running(2, scaled(none));
    loads(&mut domain, &[9.0; 2]);
    let decision = domain.decide();
    assert_eq!((decision.requests(), domain.memory()), (vec!["destroy i1 i0 (2 more than wanted)".to_owned()], size(0)));
    assert!(decision.reason.contains("above 4, but the size is at its maximum"), "{}", decision.reason);
}

#[test]
fn where_everybody_is_unhealthy_nobody_is_asked_and_everybody_is_replaced() {
    let mut domain = running(3, scaled(json!({})));
    loads(&mut domain, &[0.0; 3]);
    for id in ["i0", "i1", "i2"] {
        domain.health(id, Health::Missing);
    }
    let decision = domain.decide();
    assert_eq!(decision.requests(), ["destroy i0 i1 i2 (missing)", "launch 3"]);
    assert_eq!((domain.memory(), decision.figure("samples")), (size(3), None));
}
