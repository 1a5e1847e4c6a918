//! The fake domain, tried with an engine that does as its configuration says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::config::json;
use crate::{About, Destroyed, Filter, LaunchRequest, Launched, Level, Sample, Settings, Statistic, Verdict, Wake};

/// Does what it is told, and remembers how often it did.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Puppet {
    decided: u64,
    drawn: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({ "launch": 2 }))]
struct Strings {
    /// So many.
    #[serde(default)]
    launch: u32,
    /// In so many requests.
    #[serde(default = "one")]
    times: u32,
    /// These.
    #[serde(default)]
    destroy: Vec<String>,
    /// Fails.
    #[serde(default)]
    err: bool,
    /// So long a reason.
    #[serde(default)]
    reason: usize,
    /// Does not follow a change.
    #[serde(default)]
    stubborn: bool,
}

fn one() -> u32 {
    1
}

impl Engine for Puppet {
    type Config = Strings;

    const ABOUT: About = About { name: "puppet", version: "1.0.0", documentation: "" };

    fn initialize(domain: &Domain<'_>, _: &Strings, setup: &Setup<'_>) -> Result<Self, Error> {
        let pulse = Settings { pulse: Some(Duration::from_secs(7)), ..Settings::default() };
        setup.configure(&pulse).map_err(|refusal| Error::Other(refusal.to_string()))?;
        Ok(Self { decided: 100 * u64::from(domain.counts().valid), drawn: Vec::new() })
    }

    fn reconfigure(&mut self, _: &Domain<'_>, config: &Strings, _: &Setup<'_>) -> Result<(), Error> {
        self.decided += 10;
        if config.stubborn { Err(Error::NotSupported) } else { Ok(()) }
    }

    fn decide(&mut self, domain: &Domain<'_>, config: &Strings, control: &Control<'_>) -> Result<Verdict, Error> {
        self.decided += 1;
        self.drawn = vec![domain.random(), domain.random()];
        log_line(&format!("decided {}", self.decided));
        for _ in 0..config.times {
            if config.launch > 0 {
                let _ = control.launch(LaunchRequest::new("web", "local", "small").count(config.launch).extra_var("a", "b"));
            }
        }
        if !config.destroy.is_empty() {
            let _ = control.destroy_instances(&config.destroy, "told so");
        }
        if config.err {
            Err(Error::Other("told so".to_owned()))
        } else {
            Ok(Verdict::stable("x".repeat(config.reason)).figure("decided", self.decided))
        }
    }
}

fn log_line(text: &str) {
    crate::log(Level::Info, text);
}

fn domain(config: Value) -> FakeDomain<Puppet> {
    FakeDomain::new(config)
}

fn ids(of: &[&str]) -> Vec<String> {
    of.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn what_is_granted_is_carried_out() {
    let mut domain = domain(json!({ "launch": 2, "destroy": ["a"] }));
    domain.running("a").running("b").advance(Duration::from_secs(3));
    let decision = domain.decide();
    assert_eq!(decision.requests(), ["launch 2 a=b", "destroy a (told so)"]);
    assert_eq!((decision.launched(), decision.terminated()), (ids(&["new-0", "new-1"]), ids(&["a"])));
    let new = domain.instance("new-1");
    assert_eq!((new.state, new.state_since, new.extra_var("a")), (InstanceState::Requesting, domain.now(), Some("b")));
    assert_eq!(new.launch, domain.instance("new-0").launch);
    let leaving = domain.instance("a");
    assert_eq!((leaving.state, leaving.state_since), (InstanceState::Terminating, BEGIN + Duration::from_secs(3)));
    assert_eq!(domain.decide().launched(), ids(&["new-2", "new-3"]), "no id is minted twice");
    assert_ne!(domain.instance("new-2").launch, domain.instance("new-0").launch);
}

#[test]
fn a_call_that_errs_has_not_happened() {
    let mut domain = domain(json!({ "launch": 2, "err": true }));
    domain.initialize().unwrap();
    assert_eq!(domain.try_decide(), Err(Error::Other("told so".to_owned())));
    assert_eq!((domain.instances().count(), domain.memory().decided), (0, 0));
}

#[test]
fn the_memory_goes_through_bytes_and_all_of_it_comes_back() {
    let mut domain = domain(json!({}));
    domain.remember(&Puppet { decided: u64::MAX - 1, drawn: vec![u64::MAX, 0] });
    domain.decide();
    assert_eq!(domain.memory().decided, u64::MAX);
    assert_eq!(domain.memory_bytes()[0], Puppet::MEMORY_VERSION);
}

#[test]
fn a_memory_that_can_not_be_read_is_an_error() {
    let mut domain = domain(json!({}));
    domain.remember_bytes(*b"\x01garbage\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    assert!(matches!(domain.try_decide(), Err(Error::Memory(_))));
    domain.remember_bytes(*b"\x02");
    let Err(Error::Memory(text)) = domain.try_decide() else { panic!("it was read") };
    assert_eq!(text, "version 2; this engine reads version 1");
    assert!(domain.retire()[0].1.contains("version 2"));
}

#[test]
fn a_domain_that_has_instances_already_is_adopted() {
    let mut domain = domain(json!({}));
    domain.running("a").running("b");
    assert_eq!(domain.decide().figure("decided"), Some(201.0));
    assert_eq!(domain.pulse(), Some(Duration::from_secs(7)));
}

#[test]
fn another_configuration_goes_through_reconfigure_and_one_that_is_not_followed_starts_afresh() {
    let mut domain = domain(json!({}));
    domain.decide();
    domain.reconfigure(json!({ "times": 2 })).unwrap();
    assert_eq!((domain.memory().decided, domain.pulse()), (11, None));
    domain.reconfigure(json!({ "stubborn": true })).unwrap();
    assert_eq!((domain.memory().decided, domain.pulse()), (0, Some(Duration::from_secs(7))));
}

#[test]
#[should_panic(expected = "/lunch")]
fn a_configuration_that_the_engine_does_not_take_is_no_domain() {
    let _ = domain(json!({ "lunch": 2 }));
}

#[test]
#[should_panic(expected = "a reason of 4097 bytes")]
fn a_verdict_that_no_host_takes_is_found_out() {
    domain(json!({ "reason": 4096 })).decide();
    domain(json!({ "reason": 4097 })).decide();
}

#[test]
fn no_more_requests_are_taken_than_a_host_takes() {
    let mut domain = domain(json!({ "launch": 1, "times": 2001 }));
    domain.refuse(Refusal::Paused);
    let refused = |asked: &Asked| matches!(asked, Asked::Launch { answer: Err(Refusal::Invalid(_)), .. });
    assert_eq!(domain.decide().asked.iter().filter(|asked| refused(asked)).count(), 1);
}

#[test]
fn the_same_seed_gives_the_same_numbers_and_each_call_its_own() {
    let drawn = |seed: u64| {
        let mut domain = domain(json!({}));
        domain.seed(seed);
        [domain.decide(), domain.decide()].map(|_| domain.memory().drawn)
    };
    let mut domain = domain(json!({}));
    domain.seed(7).decide();
    let first = domain.memory().drawn;
    domain.decide();
    assert_ne!(first, domain.memory().drawn);
    assert_ne!(first[0], first[1]);
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7), drawn(8));
}

#[test]
fn what_is_refused_or_limited_is_answered_as_a_host_does() {
    let mut domain = domain(json!({ "launch": 3, "times": 3, "destroy": ["a", "b", "c"] }));
    domain.running("a").running("b").running("c");
    domain.limit_launches(4).hold("b").limit_terminations(1);
    let decision = domain.decide();
    let wait = Refusal::Budget(Duration::from_secs(60));
    let granted: Vec<_> = decision
        .asked
        .iter()
        .filter_map(|asked| match asked {
            Asked::Launch { answer, .. } => Some(answer.clone().map(|it| (it.instances.len(), it.deferred))),
            _ => None,
        })
        .collect();
    assert_eq!(granted, [Ok((3, 0)), Ok((1, 2)), Err(wait)]);
    let Asked::Destroy { answer: Ok(Destroyed { accepted, deferred }), .. } = &decision.asked[3] else { panic!("granted in part") };
    assert_eq!((accepted, deferred), (&ids(&["a"]), &ids(&["b", "c"])));

    let refused = |domain: &mut FakeDomain<Puppet>| match domain.decide().asked.last() {
        Some(Asked::Destroy { answer: Err(refusal), .. }) => refusal.clone(),
        other => panic!("{other:?}"),
    };
    // One is on its way out already and accepted again, so it takes another request to be refused.
    domain.grant_all().report("a", InstanceState::Terminated);
    domain.reconfigure(json!({ "destroy": ["b", "c"] })).unwrap();
    domain.refuse(Refusal::Paused);
    assert_eq!(refused(&mut domain), Refusal::Paused);
    domain.grant_all().hold("b").hold("c");
    assert!(matches!(refused(&mut domain), Refusal::Brake(_)));
    domain.reap("c");
    assert!(matches!(refused(&mut domain), Refusal::Invalid(text) if text.contains("\"c\"")));
}

#[test]
fn nonsense_is_refused_as_a_host_does() {
    struct Case(LaunchRequest, &'static str);
    let request = || LaunchRequest::new("web", "local", "small");
    let world = World::new();
    for Case(request, field) in [
        Case(request().count(0), "count"),
        Case(request().count(1001), "count"),
        Case(LaunchRequest { site: String::new(), ..request() }, "site"),
        Case(LaunchRequest { deployable_type: String::new(), ..request() }, "deployable-type"),
        Case(LaunchRequest { options: vec![("fast".to_owned(), String::new())], ..request() }, "options"),
        Case(request().extra_var("a", "1").extra_var("a", "2"), "extra-vars"),
    ] {
        let call = Call::new(&world);
        let Err(Refusal::Invalid(text)) = Control::new(&call).launch(request) else { panic!("{field} was taken") };
        assert!(text.starts_with(field), "{text}");
    }
}

#[test]
fn a_call_sees_the_domain_as_it_was_before() {
    let mut world = World::new();
    for (id, state, health) in [
        ("a", InstanceState::Running, Health::Ok),
        ("b", InstanceState::Pending, Health::Unknown),
        ("c", InstanceState::Terminated, Health::Zombie),
        ("d", InstanceState::Running, Health::Missing),
        ("e", InstanceState::RunningFailed, Health::Unknown),
    ] {
        world.add(instance(id, state, health));
    }
    world.judged(0, Health::OutOfContact);
    let call = Call::new(&world);
    let (domain, control) = (Domain::new(&call), Control::new(&call));
    let Launched { instances, .. } = control.launch(LaunchRequest::new("web", "local", "small")).unwrap();
    control.destroy_instances(&ids(&["a"]), "").unwrap();

    assert_eq!(domain.counts(), Counts { total: 5, valid: 4, starting: 1, running: 2, unhealthy: 3, unconfirmed: 1, ..counts() });
    assert_eq!(domain.instance(&instances[0]), None);
    let of = |found: Vec<Instance>| found.into_iter().map(|instance| instance.id).collect::<Vec<_>>();
    assert_eq!(of(domain.unhealthy(None)), ["c", "d", "e"]);
    assert_eq!(of(domain.changed(None)), ["a"]);
    assert_eq!(of(domain.instances(&Filter::running(), Some(1))), ["a"]);
    assert_eq!(of(domain.instances(&Filter::all().healths([Health::Missing]).at_site("local"), None)), ["d"]);
    assert_eq!(of(domain.instances(&Filter::all().at_site("elsewhere"), None)), [""; 0]);
    let columns = domain.columns(&Filter::valid());
    assert_eq!(columns.rows.iter().map(|row| domain.instance_at(*row).unwrap().id).collect::<Vec<_>>(), ["a", "b", "d", "e"]);
    assert_eq!(domain.sites()[0].instances, 4);
}

#[test]
fn nobody_is_known_to_be_ill_where_nobody_looks() {
    let mut world = World::new();
    world.add(instance("a", InstanceState::Running, Health::Missing));
    world.monitored = false;
    let call = Call::new(&world);
    assert_eq!(Domain::new(&call).counts().unhealthy, 0);
    assert_eq!(Domain::new(&call).instance("a").unwrap().health, Health::Unknown);
}

#[test]
fn a_site_forgets_its_failures_when_a_launch_succeeds() {
    let mut domain = domain(json!({ "launch": 3 }));
    domain.decide();
    domain.report("new-0", InstanceState::Failed).report("new-1", InstanceState::Rejected);
    assert_eq!(domain.world.sites["local"].failures, 2);
    domain.report("new-2", InstanceState::Running);
    assert_eq!(domain.world.sites["local"].failures, 0);
}

#[test]
#[should_panic(expected = "can't become InstanceState::Pending")]
fn no_instance_goes_back() {
    let mut domain = domain(json!({ "launch": 1 }));
    domain.decide();
    domain.report_all(InstanceState::Running).report("new-0", InstanceState::Pending);
}

#[test]
fn readings_are_those_of_the_window() {
    let mut domain = domain(json!({}));
    domain.running("a").running("b").read("a", "load", 2.0).advance(Duration::from_secs(30)).read("a", "load", 4.0);
    let call = Call::new(&domain.world);
    let seen = Domain::new(&call);
    let minute = Duration::from_secs(60);
    assert_eq!(
        seen.sensor_of_all("load", Statistic::Average, minute),
        [("a".to_owned(), Sample::Value(3.0)), ("b".to_owned(), Sample::Absent)]
    );
    assert_eq!(seen.series("load", &Scope::instance("a"), Duration::from_secs(29), 9), [(domain.now(), 4.0)]);
}

#[test]
fn the_lines_and_figures_of_a_decision_are_its_own() {
    let mut domain = domain(json!({}));
    domain.decide();
    let decision = domain.decide();
    assert_eq!(decision.log, [(Level::Info, "decided 2".to_owned())]);
    assert_eq!((decision.figure("decided"), decision.figure("other"), decision.wake), (Some(2.0), None, None::<Wake>));
}

#[test]
fn the_puppet_is_described() {
    check_schema::<Puppet>();
}

/// Counts its calls where no host can see it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sly {}

impl Engine for Sly {
    type Config = Strings;

    const ABOUT: About = About { name: "sly", version: "1.0.0", documentation: "" };

    fn decide(&mut self, _: &Domain<'_>, _: &Strings, _: &Control<'_>) -> Result<Verdict, Error> {
        static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        Ok(Verdict::stable("done").figure("calls", CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
    }
}

#[test]
#[should_panic(expected = "not deterministic")]
fn an_engine_that_keeps_something_to_itself_is_found_out() {
    FakeDomain::<Sly>::new(json!({})).decide();
}

/// Remembers in a way that does not survive.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Forgetful {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<u8>,
    second: u8,
}

impl Engine for Forgetful {
    type Config = Strings;

    const ABOUT: About = About { name: "forgetful", version: "1.0.0", documentation: "" };

    fn decide(&mut self, _: &Domain<'_>, _: &Strings, _: &Control<'_>) -> Result<Verdict, Error> {
        self.second += 1;
        Ok(Verdict::stable("done"))
    }
}

#[test]
#[should_panic(expected = "skip_serializing_if")]
fn a_memory_that_does_not_survive_is_found_out() {
    FakeDomain::<Forgetful>::new(json!({})).decide();
}
