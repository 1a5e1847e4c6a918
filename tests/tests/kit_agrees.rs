//! The fake domain of the SDK's test kit, held against the host's own decision cycle: the same requests must be answered the same way, so
//! that an engine that passes its author's tests is not refused in production.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use pilothouse_core::record::EngineInForce;
use pilothouse_engine::testing::{FakeDomain, instance};
use pilothouse_engine::{
    About, Control, Domain, Engine, Error, Health, Instance, InstanceState, LaunchRequest, Refusal, Settings, Vars, Verdict,
};
use pilothouse_tests::domain;
use pilothouse_tests::native::Native;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::Ask::{Configure, Destroy, DestroyLaunch, Launch};

/// Something to ask the host for.
#[derive(Clone, Debug)]
enum Ask {
    Launch(LaunchRequest),
    Destroy(Vec<String>, String),
    DestroyLaunch(String, String),
    Configure(Settings),
}

thread_local! {
    static ASKS: RefCell<Vec<Ask>> = RefCell::default();
    static ANSWERS: RefCell<Vec<String>> = RefCell::default();
}

/// Asks for whatever the test wants, and hands back the answers.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Asker;

impl Engine for Asker {
    type Config = BTreeMap<String, String>;

    const ABOUT: About = About { name: "asker", version: "1.0.0", documentation: "" };

    fn decide(&mut self, _: &Domain<'_>, _: &Self::Config, control: &Control<'_>) -> Result<Verdict, Error> {
        let destroyed = |it: pilothouse_engine::Destroyed| format!("{} go, {} stay", it.accepted.len(), it.deferred.len());
        let answer = |ask| match ask {
            Launch(request) => told(control.launch(request).map(|it| format!("{} come, {} wait", it.instances.len(), it.deferred))),
            Destroy(ids, reason) => told(control.destroy_instances(&ids, &reason).map(destroyed)),
            DestroyLaunch(launch, reason) => told(control.destroy_launch(&launch, &reason).map(destroyed)),
            Configure(settings) => told(control.configure(&settings).map(|()| "set".to_owned())),
        };
        let asks = ASKS.with_borrow(Clone::clone);
        ANSWERS.set(asks.into_iter().map(answer).collect());
        Ok(Verdict::stable("asked"))
    }
}

/// What was granted, or which field is invalid. What is beyond the bounds of a whole decision names no field.
fn told(answer: Result<String, Refusal>) -> String {
    match answer {
        Ok(granted) => granted,
        Err(Refusal::Invalid(text)) => match text.split_once(": ") {
            Some((field, _)) => format!("invalid {field}"),
            None => "invalid".to_owned(),
        },
        Err(other) => format!("refused: {other}"),
    }
}

/// The answers to these requests, made in one decision, and the pulse that comes of them.
#[derive(Debug, PartialEq)]
struct Answered {
    answers: Vec<String>,
    pulse: Option<Duration>,
}

const INSTANCES: u64 = 3;

fn by_the_kit(asks: &[Ask]) -> Answered {
    let mut domain = FakeDomain::<Asker>::new(json!({}));
    for n in 0..INSTANCES {
        domain.insert(Instance { launch: format!("l{n}"), ..instance(&format!("i{n}"), InstanceState::Running, Health::Ok) });
    }
    ASKS.set(asks.to_vec());
    domain.decide();
    Answered { answers: ANSWERS.take(), pulse: domain.pulse() }
}

fn by_the_host(asks: &[Ask]) -> Answered {
    let mut state = domain::domain(json!({}));
    state.next_ordinal = 0;
    domain::populate(&mut state, INSTANCES);
    // The kit grants everything that makes sense.
    let general = &mut state.config.general;
    (general.launches_per_minute, general.terminations_per_minute, general.max_instances) = (1_000_000, 1_000_000, 1_000_000);
    ASKS.set(asks.to_vec());
    let ran = domain::run(&state, &Native::<Asker>::in_place_of(EngineInForce::default()));
    ran.outcome.expect("a decision");
    Answered { answers: ANSWERS.take(), pulse: ran.cycle.settings().pulse.map(pilothouse_core::time::Millis::to_std) }
}

/// Both answer the last of these requests with `expected`, and all of them alike.
#[track_caller]
fn agree(what: &str, asks: &[Ask], expected: &str) {
    let (kit, host) = (by_the_kit(asks), by_the_host(asks));
    assert_eq!(host.answers.last().map(String::as_str), Some(expected), "the host: {what}");
    let differs = kit.answers.iter().zip(&host.answers).position(|(kit, host)| kit != host);
    assert_eq!(differs.map(|at| (at, &kit.answers[at], &host.answers[at])), None, "the kit: {what}");
    assert_eq!(kit, host, "{what}");
}

fn request() -> LaunchRequest {
    LaunchRequest::new("web", "local", "small")
}

fn vars(count: usize, bytes: usize) -> Vars {
    let mut vars: Vars = (0..count).map(|n| (format!("{n:03}"), String::new())).collect();
    vars[0].1 = "x".repeat(bytes - 3 * count);
    vars
}

fn pairs(names: &[&str]) -> Vars {
    names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect()
}

fn ids(of: &[&str]) -> Vec<String> {
    of.iter().map(|id| (*id).to_owned()).collect()
}

fn these(ids: Vec<String>) -> Ask {
    Destroy(ids, "told so".to_owned())
}

#[test]
fn the_fields_of_a_launch_are_bounded_alike() {
    const GOOD: &str = "1 come, 0 wait";
    let long = |letter: &str, count: usize| letter.repeat(count);
    for (site, expected) in [
        ("A-1_b".to_owned(), GOOD),
        (long("x", 63), GOOD),
        (long("x", 64), "invalid site"),
        (String::new(), "invalid site"),
        ("-a".to_owned(), "invalid site"),
        ("_a".to_owned(), "invalid site"),
        ("a.b".to_owned(), "invalid site"),
        ("a b".to_owned(), "invalid site"),
        ("\u{e4}".to_owned(), "invalid site"),
    ] {
        agree(&format!("site {site:?}"), &[Launch(LaunchRequest { site, ..request() })], expected);
    }
    for (text, type_expected, allocation_expected) in [
        ("two words".to_owned(), GOOD, GOOD),
        (String::new(), "invalid deployable-type", GOOD),
        (long("x", 256), GOOD, GOOD),
        (long("\u{e4}", 128), GOOD, GOOD),
        (long("x", 257), "invalid deployable-type", "invalid allocation"),
        (long("\u{e4}", 129), "invalid deployable-type", "invalid allocation"),
        ("a\nb".to_owned(), "invalid deployable-type", "invalid allocation"),
        ("\u{85}".to_owned(), "invalid deployable-type", "invalid allocation"),
    ] {
        agree(&format!("type {text:?}"), &[Launch(LaunchRequest { deployable_type: text.clone(), ..request() })], type_expected);
        agree(&format!("allocation {text:?}"), &[Launch(LaunchRequest { allocation: text, ..request() })], allocation_expected);
    }
    agree("an option", &[Launch(LaunchRequest { options: pairs(&["fast"]), ..request() })], "invalid options");
}

fn in_place_of(id: &str) -> Ask {
    Launch(LaunchRequest { replaces: Some(id.to_owned()), ..request() })
}

#[test]
fn only_who_leaves_is_replaced_alike() {
    const GOOD: &str = "1 come, 0 wait";
    let end = || these(ids(&["i1"]));
    agree("one that stays", &[in_place_of("i0")], "invalid replaces");
    agree("one that goes", &[end(), in_place_of("i1")], GOOD);
    agree("its launch goes", &[DestroyLaunch("l1".to_owned(), "told so".to_owned()), in_place_of("i1")], GOOD);
    agree("another goes", &[end(), in_place_of("i0")], "invalid replaces");
    agree("too early", &[in_place_of("i1"), end()], "1 go, 0 stay");
    agree("twice", &[end(), in_place_of("i1"), in_place_of("i1")], "invalid replaces");
    agree("a stranger twice", &[in_place_of("i9"), in_place_of("i9")], "invalid replaces");
    let two = LaunchRequest { replaces: Some("i1".to_owned()), ..request() }.count(2);
    agree("by two", &[end(), Launch(two)], "invalid replaces");
    agree("a stranger", &[in_place_of("i9")], GOOD);
    agree("63 letters", &[in_place_of(&"x".repeat(63))], GOOD);
    for bad in ["", "no id", "\u{e4}", "a.b", &"x".repeat(64)] {
        agree(&format!("{bad:?}"), &[in_place_of(bad)], "invalid replaces");
    }
}

#[test]
fn what_is_wrong_with_a_launch_is_told_in_the_same_order() {
    let wrong = LaunchRequest { replaces: Some("i0".to_owned()), ..request() };
    let twice = LaunchRequest { extra_vars: pairs(&["a", "a"]), ..wrong.clone() };
    agree("first the variables", &[Launch(twice)], "invalid extra-vars");
    agree("then how many", &[Launch(wrong.clone().count(1001))], "invalid count");
    agree("then who is replaced", &[Launch(wrong)], "invalid replaces");
    // And last how much all of them carry: the id that is replaced counts, too.
    let full = Launch(LaunchRequest { extra_vars: vars(1, 16 * 1024 - "weblocalsmall".len()), ..request() });
    let nearly = Launch(LaunchRequest { extra_vars: vars(1, 16 * 1024 - "weblocalsmallweblocalsmall".len() - 2), ..request() });
    let rest = |id: &str| [vec![full.clone(); 15], vec![nearly.clone()], vec![in_place_of(id)]].concat();
    agree("an id that fits", &rest("i9"), "1 come, 0 wait");
    agree("one that does not", &rest("i99"), "invalid");
}

#[test]
fn a_decision_launches_alike_many() {
    for (counts, expected) in [
        (&[0][..], "invalid count"),
        (&[1000], "1000 come, 0 wait"),
        (&[1001], "invalid count"),
        (&[u32::MAX], "invalid count"),
        (&[600, 400], "400 come, 0 wait"),
        (&[600, 401], "invalid count"),
        (&[600, 401, 400], "400 come, 0 wait"),
    ] {
        let asks: Vec<_> = counts.iter().map(|count| Launch(request().count(*count))).collect();
        agree(&format!("counts {counts:?}"), &asks, expected);
    }
}

#[test]
fn variables_are_bounded_alike() {
    for (what, vars, fits) in [
        ("none", Vars::new(), true),
        ("128", vars(128, 1000), true),
        ("129", vars(129, 1000), false),
        ("16 KiB", vars(2, 16 * 1024), true),
        ("a byte more", vars(2, 16 * 1024 + 1), false),
        ("a name twice", pairs(&["a", "b", "a"]), false),
        ("no name", pairs(&["a", ""]), false),
    ] {
        let launch = Launch(LaunchRequest { extra_vars: vars.clone(), ..request() });
        agree(what, &[launch], if fits { "1 come, 0 wait" } else { "invalid extra-vars" });
        let configure = Configure(Settings { pulse: Some(Duration::from_secs(7)), provisioner_vars: Some(vars) });
        agree(what, &[configure], if fits { "set" } else { "invalid provisioner-vars" });
    }
}

#[test]
fn a_pulse_is_kept_within_the_same_bounds() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    for (asked, kept) in [
        (Duration::ZERO, Duration::from_millis(100)),
        (Duration::from_millis(99), Duration::from_millis(100)),
        (Duration::from_micros(100_900), Duration::from_millis(100)),
        (Duration::from_millis(101), Duration::from_millis(101)),
        (DAY, DAY),
        (DAY + Duration::from_millis(1), DAY),
        (Duration::MAX, DAY),
    ] {
        let asks = [Configure(Settings { pulse: Some(asked), provisioner_vars: None })];
        agree(&format!("{asked:?}"), &asks, "set");
        assert_eq!(by_the_kit(&asks).pulse, Some(kept), "{asked:?}");
    }
}

#[test]
fn a_decision_makes_alike_many_requests() {
    let invalid = vec![Launch(request().count(0)); 5];
    let asks = |count: usize| [invalid.clone(), vec![these(ids(&["i0"])); count]].concat();
    agree("2000, and some that are invalid", &asks(2000), "1 go, 0 stay");
    agree("2001", &asks(2001), "invalid");
    let set = Configure(Settings { pulse: Some(Duration::from_secs(7)), provisioner_vars: None });
    agree("settings are none", &[vec![set; 2001], vec![Launch(request())]].concat(), "1 come, 0 wait");
}

#[test]
fn the_requests_of_a_decision_carry_alike_much() {
    // The names of what is launched, and where, count too.
    let full = Launch(LaunchRequest { extra_vars: vars(1, 16 * 1024 - "weblocalsmall".len()), ..request() });
    agree("256 KiB of launches", &vec![full.clone(); 16], "1 come, 0 wait");
    agree("one more", &[vec![full; 16], vec![Launch(request())]].concat(), "invalid");

    let because = |reason: &str| Destroy(ids(&["i0"]), reason.to_owned());
    let long = because(&"x".repeat(5000));
    agree("256 KiB of reasons, each cut off", &vec![long.clone(); 64], "1 go, 0 stay");
    agree("one more", &[vec![long; 64], vec![because("x")]].concat(), "invalid");
    // Cut off before a letter of two bytes, they leave 64 bytes. The host says something of its own for a reason that is none.
    let odd = because(&format!("x{}", "\u{e4}".repeat(3000)));
    agree("two empty reasons fit", &[vec![odd.clone(); 64], vec![because(" "); 2]].concat(), "1 go, 0 stay");
    agree("three do not", &[vec![odd.clone(); 64], vec![because(" "); 3]].concat(), "invalid");
    agree("14 bytes fit", &[vec![odd.clone(); 64], vec![because(" "); 2], vec![because(&"x".repeat(14))]].concat(), "1 go, 0 stay");
    agree("15 do not", &[vec![odd; 64], vec![because(" "); 2], vec![because(&"x".repeat(15))]].concat(), "invalid");
}

#[test]
fn victims_are_known_and_alike_many() {
    let many = |count: usize| these(vec!["i0".to_owned(); count]);
    agree("known ones", &[these(ids(&["i0", "i2", "i0"]))], "2 go, 0 stay");
    agree("nobody", &[these(Vec::new())], "0 go, 0 stay");
    agree("an unknown one", &[these(ids(&["i0", "i9"]))], "invalid ids");
    agree("no id at all", &[these(ids(&["no id"]))], "invalid ids");
    agree("20 000", &[many(20_000)], "1 go, 0 stay");
    agree("20 001", &[many(20_001)], "invalid ids");
    agree("20 000 in two", &[many(19_999), many(1)], "1 go, 0 stay");
    agree("20 001 in two", &[many(20_000), many(1)], "invalid ids");
    agree("those of an invalid request count", &[these([ids(&["i9"]), vec!["i0".to_owned(); 19_999]].concat()), many(1)], "invalid ids");
    let launch = |launch: &str| DestroyLaunch(launch.to_owned(), "told so".to_owned());
    agree("a launch names nobody", &[many(20_000), launch("l1")], "1 go, 0 stay");
    agree("an unknown launch", &[launch("l9")], "invalid launch");
}
