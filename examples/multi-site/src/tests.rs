//! The policy on a fake domain. What it does on a host is in the scenarios.

use pilothouse_engine::testing::{FakeDomain, check_schema_with, instance};

use super::*;

type Fake = FakeDomain<MultiSite>;

/// Two at home, one near, any number far; with these keys besides.
fn config(minimum: u32, maximum: u32) -> config::Value {
    json!({
        "clouds": [
            { "site_name": "far", "size": -1, "rank": 3 },
            { "site_name": "own", "size": 2, "rank": 1 },
            { "site_name": "near", "size": 1, "rank": 2 },
        ],
        "minimum_vms": minimum, "maximum_vms": maximum, "deployable_type": "db", "metric": "queue", "cooldown_period": 60,
        "scale_up_threshold": 100, "scale_up_n_vms": 2, "scale_down_threshold": 10, "scale_down_n_vms": 1,
    })
}

/// A domain in which so many run and are well at each site.
fn running(minimum: u32, maximum: u32, at: &[(&str, u32)]) -> Fake {
    let mut domain = Fake::new(config(minimum, maximum));
    for (site, count) in at {
        for n in 0..*count {
            let well = instance(&format!("{site}{n}"), InstanceState::Running, Health::Ok);
            domain.insert(Instance { site: (*site).to_owned(), ..well });
        }
    }
    domain
}

/// The launches of a decision: where, and how many.
fn launches(decision: &testing::Decision) -> Vec<(String, u32)> {
    let launch = |asked: &testing::Asked| match asked {
        testing::Asked::Launch { request, .. } => Some((request.site.clone(), request.count)),
        _ => None,
    };
    decision.asked.iter().filter_map(launch).collect()
}

fn at(site: &str, count: u32) -> (String, u32) {
    (site.to_owned(), count)
}

#[test]
fn the_best_site_is_filled_first_and_what_is_over_goes_to_the_next() {
    let decision = running(5, 9, &[]).decide();
    assert_eq!(launches(&decision), [at("own", 2), at("near", 1), at("far", 2)]);
    assert_eq!(
        decision.reason,
        "0 of 5 healthy, no readings of queue: the size is held: at own: launching 2; at near: launching 1; at far: launching 2"
    );
}

#[test]
fn the_worst_site_is_emptied_first_the_newest_there_before_the_others() {
    let mut domain = running(0, 2, &[("own", 1), ("near", 1), ("far", 2)]);
    assert_eq!(domain.decide().terminated(), ["far1", "far0"]);
    let mut domain = running(0, 1, &[("own", 2), ("far", 1)]);
    assert_eq!(domain.decide().terminated(), ["far0", "own1"]);
}

#[test]
fn what_is_over_the_size_of_a_site_goes_and_is_made_up_for_elsewhere() {
    let decision = running(4, 4, &[("own", 4)]).decide();
    assert_eq!(decision.terminated(), ["own3", "own2"]);
    assert_eq!(launches(&decision), [at("near", 1), at("far", 1)]);
    let decision = running(2, 2, &[("own", 1), ("gone", 1)]).decide();
    assert_eq!((decision.terminated(), launches(&decision)), (vec!["gone0".to_owned()], vec![at("own", 1)]));
}

#[test]
fn what_is_over_a_size_stays_while_nobody_can_be_launched_elsewhere_unless_it_is_more_than_wanted() {
    let over = || running(4, 4, &[("own", 4), ("near", 1)]);
    assert_eq!(over().decide().terminated(), ["own3", "own2"], "one is more than wanted, one is launched far away");
    let mut domain = over();
    let decision = domain.site("far", 1, Some(Duration::from_secs(5))).decide();
    assert_eq!((decision.terminated(), launches(&decision), decision.status), (vec!["own3".to_owned()], vec![], Status::Pending));
    assert!(decision.reason.contains(", 1 over the size of own until others can come"), "{}", decision.reason);
    let decision = domain.site("far", 1, Some(Duration::ZERO)).limit_launches(0).report("own3", InstanceState::Terminated).decide();
    assert_eq!((decision.requests().len(), decision.status), (0, Status::Pending));
    let decision = domain.limit_launches(1).decide();
    assert_eq!((decision.terminated(), launches(&decision)), (vec!["own2".to_owned()], vec![at("far", 1)]));
    let mut domain = running(5, 5, &[("own", 4)]);
    let decision = domain.limit_launches(1).decide();
    assert_eq!((decision.terminated(), launches(&decision)), (vec![], vec![at("near", 1)]), "the launch is for who is missing");
}

#[test]
fn over_a_limit_or_with_nonsense_people_are_told_unless_somebody_makes_room() {
    for (refusal, status) in [
        (Refusal::Quota("2 of 2".to_owned()), Status::Failed),
        (Refusal::Invalid("site".to_owned()), Status::Failed),
        (Refusal::Paused, Status::Pending),
    ] {
        assert_eq!(running(3, 3, &[("own", 2)]).refuse_launches(refusal.clone()).decide().status, status, "{refusal}");
    }
    let mut domain = running(3, 3, &[("own", 2), ("near", 1)]);
    domain.health("own0", Health::Missing).refuse_launches(Refusal::Quota("3 of 3".to_owned()));
    assert_eq!(domain.decide().status, Status::Pending, "the one that goes makes room for the one that comes");
}

#[test]
fn where_five_launches_failed_people_are_told_while_the_site_is_short() {
    let told = |failures: u32, runs: u32| {
        let decision = running(3, 3, &[("own", runs), ("near", 1)]).site("own", failures, None).decide();
        let figure = decision.figures.iter().find(|(name, _)| name == "site-failures").map(|(_, value)| *value);
        (decision.status, figure, decision.reason.contains("5 launches at own have failed since one last ran"))
    };
    assert_eq!(told(SITE_FAILURES - 1, 1), (Status::Pending, Some(4.0), false));
    assert_eq!(told(SITE_FAILURES, 1), (Status::Failed, Some(5.0), true));
    assert_eq!(told(SITE_FAILURES, 2), (Status::Stable, None, false));
    let mut domain = running(3, 3, &[("own", 2)]);
    assert_eq!(domain.site("far", SITE_FAILURES, None).decide().status, Status::Pending, "nobody is wanted there");
}

#[test]
fn whoever_is_protected_stays_and_the_next_site_gives_or_the_size_of_the_site_is_not_kept() {
    let mut domain = running(2, 2, &[("own", 2), ("near", 1), ("far", 1)]);
    domain.protect("far0", true);
    let decision = domain.decide();
    assert_eq!(decision.requests(), ["destroy near0 (1 more than wanted at near)", "destroy own1 (1 more than wanted at own)"]);
    assert!(decision.reason.contains(", 1 more than wanted at far, but protected"), "{}", decision.reason);

    let mut domain = running(2, 2, &[("near", 2)]);
    domain.protect("near0", true).protect("near1", true);
    let decision = domain.decide();
    assert_eq!((decision.requests().len(), decision.status), (0, Status::Pending));
    assert!(decision.reason.contains(", 1 more than wanted at near, but protected"), "{}", decision.reason);
}

#[test]
fn who_is_ill_is_replaced_at_the_best_site_and_only_if_it_really_goes() {
    let mut domain = running(3, 3, &[("own", 2), ("near", 1)]);
    domain.health("own0", Health::Missing);
    let held = domain.hold("own0").decide();
    assert_eq!((launches(&held), held.terminated()), (vec![], vec![]));
    let decision = domain.grant_all().decide();
    assert_eq!((launches(&decision), decision.terminated()), (vec![at("own", 1)], vec!["own0".to_owned()]));
}

#[test]
fn a_site_that_keeps_failing_counts_with_what_it_has_while_it_rests() {
    let rest = Some(Duration::from_secs(5));
    for (failures, rest, sites) in [
        (KEEPS_FAILING - 1, rest, vec![at("own", 1), at("near", 1)]),
        (KEEPS_FAILING, rest, vec![at("near", 1), at("far", 1)]),
        (KEEPS_FAILING, None, vec![at("own", 1), at("near", 1)]),
        (KEEPS_FAILING, Some(Duration::ZERO), vec![at("own", 1), at("near", 1)]),
    ] {
        let mut domain = running(3, 3, &[("own", 1)]);
        let decision = domain.site("own", failures, rest).grant_all().decide();
        assert_eq!((launches(&decision), decision.status), (sites, Status::Pending), "{failures} failures, {rest:?}");
    }
}

#[test]
fn when_no_site_has_room_people_are_told() {
    let mut domain = Fake::new(json!({
        "clouds": [{ "site_name": "own", "size": 2, "rank": 1 }], "minimum_vms": 2, "maximum_vms": 2, "deployable_type": "db",
    }));
    let decision = domain.site("own", KEEPS_FAILING, Some(Duration::from_secs(5))).decide();
    assert_eq!(
        (decision.status, &*decision.reason),
        (Status::Failed, "0 of 2 healthy, launches at own keep failing: no site has room for 2")
    );
}

#[test]
fn a_reading_moves_the_size_by_a_step_and_then_it_rests_to_the_second() {
    let mut domain = running(1, 9, &[("own", 1)]);
    assert!(domain.read_domain("queue", 100.0).decide().requests().is_empty(), "equal to the threshold");
    let decision = domain.read_domain("queue", 200.0).decide();
    assert_eq!(launches(&decision), [at("own", 1), at("near", 1)]);
    assert!(decision.reason.contains("queue is 150.000, above 100: from 1 to 3"), "{}", decision.reason);
    domain.report_all(InstanceState::Running).all_well().advance(Duration::from_millis(59_999)).read_domain("queue", 500.0);
    assert!(domain.decide().reason.ends_with("the size is held for 1 s more"));
    assert_eq!(launches(&domain.advance(Duration::from_millis(1)).decide()), [at("far", 2)]);
}

#[test]
fn a_move_of_which_nothing_was_granted_has_not_happened() {
    let mut domain = running(1, 9, &[("own", 1)]);
    domain.read_domain("queue", 200.0).refuse(Refusal::Paused);
    assert_eq!(
        domain.decide().reason,
        "1 of 3 healthy, queue is 200.000, above 100: from 1 to 3: at own: not launching 1: the domain is paused; at near: not launching 1: the domain is paused"
    );
    assert_eq!(domain.memory(), MultiSite { wanted: Some(1), moved_at: None });
}

#[test]
fn what_contradicts_itself_is_refused_with_its_key() {
    let keys = |changes: config::Value| {
        let mut config = config(1, 3);
        config.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        Fake::problems(&config).into_iter().map(|problem| problem.at).collect::<Vec<_>>()
    };
    let sites = |ranks: &[(&str, i32, u32)]| json!({ "clouds": ranks.iter().map(|(name, size, rank)| json!({ "site_name": name, "size": size, "rank": rank })).collect::<Vec<_>>() });
    assert_eq!(keys(json!({})), [""; 0]);
    assert_eq!(keys(json!({ "minimum_vms": 4 })), ["/minimum_vms"]);
    assert_eq!(keys(sites(&[("a", 1, 1), ("b", -1, 3)])), ["/clouds"]);
    assert_eq!(keys(sites(&[("a", 1, 1), ("b", -1, 1)])), ["/clouds"]);
    assert_eq!(keys(sites(&[("a", 1, 1), ("a", -1, 2)])), ["/clouds"]);
    assert_eq!(keys(sites(&[("a", 0, 1)])), ["/minimum_vms"], "there is no room for one");
    assert_eq!(keys(json!({ "scale_down_threshold": 100.5 })), ["/scale_down_threshold"]);
    assert_eq!(keys(json!({ "metric": null })), ["/scale_up_threshold", "/scale_down_threshold"]);
    for (name, told) in
        [("", 1), ("Own Cloud!", 1), ("-a", 1), ("_a", 1), ("ä", 1), ("a_-9", 0), (&*"x".repeat(63), 0), (&*"x".repeat(64), 1)]
    {
        assert_eq!(keys(sites(&[(name, -1, 1)])).len(), told, "{name:?}");
    }
}

#[test]
fn the_schema_says_what_the_configuration_is() {
    check_schema_with::<MultiSite>(|schema, config| {
        jsonschema::draft202012::meta::validate(schema).expect("it is a schema");
        jsonschema::draft202012::is_valid(schema, config)
    });
}
