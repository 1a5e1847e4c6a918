//! Stories, each told of what really happened to a domain on the bench, and compared with a file.
//!
//! A case is a function below: it lets something happen and asks. Its story is `why/NAME.json`, word for word what a host answers; the
//! host's own tests read the same files and render them. `UPDATE_GOLDEN=1 cargo test -p pilothouse-core --test why` writes them anew, to
//! be read before they are kept.

#[path = "why/engine.rs"]
mod engine;
mod support;

use std::path::Path;

use pilothouse_core::command::What;
use pilothouse_core::cycle::{Cycle, Fault, FaultKind, LaunchRequest, Level, Status, Verdict};
use pilothouse_core::explain::{Explanation, Later, View, explain_domain, explain_instance, list_decisions};
use pilothouse_core::instance::{Health, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, Reading, StateReport, Verdict as Beat};
use pilothouse_core::name::Slot;
use pilothouse_core::problem::Problem;
use pilothouse_core::record::{Event, Record};
use pilothouse_core::sensor::{Scope, Statistic};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::{Value, json};
use support::{Bench, Native, config, launch};

/// 2026-11-21 06:00:00Z.
const BEGIN: Timestamp = Timestamp::from_secs(1_795_240_800);

/// A domain that was just added, with an engine that keeps so many.
struct Scene {
    bench: Bench,
    keep: u32,
}

impl Scene {
    /// A domain with short windows, and with these sections over them.
    fn new(keep: u32, sections: Value) -> Self {
        let mut all = json!({
            "general": {"decide_interval": 5, "launch_timeout": 60},
            "health": {"boot_timeout": 30, "missing_timeout": 10, "really_missing_timeout": 2, "zombie_seconds": 20},
        });
        for (section, keys) in sections.as_object().expect("sections") {
            all[section].as_object_mut().expect("a section").extend(keys.as_object().expect("keys").clone());
        }
        let mut bench = Bench::absent(BEGIN);
        bench.command(Bench::add(config(all))).expect("added");
        Self { bench, keep }
    }

    /// The same, with all of them running and well.
    fn running(keep: u32, sections: Value) -> Self {
        let mut scene = Self::new(keep, sections);
        scene.decide();
        scene.after(1.0);
        for ordinal in 0..u64::from(keep) {
            scene.comes_up(ordinal);
        }
        scene
    }

    fn after(&mut self, secs: f64) -> &mut Self {
        self.bench.pass(Millis::new((secs * 1000.0) as u64));
        self
    }

    /// Takes what is due, too.
    fn input(&mut self, inputs: impl IntoIterator<Item = Input>) -> &mut Self {
        self.bench.absorb(inputs);
        self
    }

    fn id(&self, ordinal: u64) -> pilothouse_core::id::InstanceId {
        self.bench.state().instance_at(ordinal).expect("it is on record").id.clone()
    }

    fn comes_up(&mut self, ordinal: u64) {
        for state in [State::Requested, State::Running] {
            self.report(ordinal, state, None);
        }
        self.heard(ordinal);
    }

    fn report(&mut self, ordinal: u64, state: State, reason: Option<&str>) {
        let report = StateReport { reason: reason.map(str::to_owned), ..StateReport::new(state) };
        let id = self.id(ordinal);
        self.input([Input::Report(id, report)]);
    }

    fn heard(&mut self, ordinal: u64) {
        let id = self.id(ordinal);
        self.input([Input::Heartbeat(id, Heartbeat { verdict: Beat::Ok })]);
    }

    /// Time passes, second by second, and these are heard in each.
    fn hears(&mut self, secs: u32, ordinals: &[u64]) {
        for _ in 0..secs {
            self.after(1.0);
            let beats: Vec<_> = ordinals.iter().map(|it| Input::Heartbeat(self.id(*it), Heartbeat { verdict: Beat::Ok })).collect();
            self.input(beats);
        }
    }

    /// Time passes in silence until an instance is of this health.
    fn silent_until(&mut self, ordinal: u64, health: Health) {
        for _ in 0..600 {
            if self.bench.state().instance_at(ordinal).expect("on record").health == health {
                return;
            }
            self.hears(1, &[]);
        }
        panic!("instance {ordinal} is never {health}");
    }

    /// The next decision that is due, made at once.
    fn decide(&mut self) -> &mut Self {
        let keep = self.keep;
        self.decide_with(&keeping(keep))
    }

    fn decide_with(&mut self, engine: &Native<'_>) -> &mut Self {
        for _ in 0..600 {
            if let Some(cycle) = self.bench.begin() {
                self.bench.finish(cycle.run(engine));
                return self;
            }
            self.bench.pass(Millis::new(500));
        }
        panic!("no decision is due for five minutes");
    }

    fn command(&mut self, what: What) -> &mut Self {
        self.bench.command(what).expect("taken");
        self
    }

    fn records(&self) -> Vec<(u64, Record)> {
        self.bench.records().map(|(sequence, record)| (sequence, record.clone())).collect()
    }

    fn ask(&self, question: impl FnOnce(&View<'_>) -> Explanation) -> Explanation {
        let (records, eyes) = (self.records(), self.bench.domain.eyes());
        question(&View {
            state: self.bench.state(),
            records: &records,
            now: self.bench.now,
            eyes: Some(&eyes),
            asked: self.bench.domain.last_asked(),
            later: None,
        })
    }

    fn domain(&self) -> Explanation {
        self.ask(explain_domain)
    }

    fn instance(&self, which: &str) -> Explanation {
        self.ask(|view| explain_instance(view, which).expect("it is known"))
    }

    /// The domain as it was so many seconds after the beginning.
    fn domain_at(&self, secs: u64) -> Explanation {
        let (at, records) = (BEGIN + Millis::from_secs(secs), self.records());
        let (before, after) = records.split_at(records.partition_point(|(_, record)| record.at <= at));
        let mut state = DomainState::absent(self.bench.state().key.clone(), Slot(42));
        for (sequence, record) in before {
            state.apply(*sequence, record);
        }
        let later = Some(Later { state: self.bench.state(), records: after });
        explain_domain(&View { state: &state, records: before, now: at, eyes: None, asked: None, later })
    }
}

/// An engine that launches what is missing, and ends what the host advises to replace.
fn keeping(keep: u32) -> Native<'static> {
    Native::new(move |cycle, memory| Ok(keep_so_many(cycle, keep, memory)))
}

fn keep_so_many(cycle: &mut Cycle, keep: u32, memory: &[u8]) -> Verdict {
    let ill: Vec<_> = cycle.state().unhealthy().filter(|it| it.state.is_valid()).map(|it| (it.id.to_string(), it.health)).collect();
    let well = cycle.state().counts().valid - ill.len() as u32;
    let mut reason = format!("{well} of {keep} healthy");
    for (id, health) in &ill {
        reason += match cycle.destroy(std::slice::from_ref(id), health.name().to_lowercase()) {
            Ok(_) => "; terminating 1",
            Err(_) => "; can't terminate 1",
        };
    }
    if well < keep {
        reason += &match cycle.launch(launch("here", keep - well)) {
            Ok(launched) => format!("; launching {}", launched.instances.len()),
            Err(refusal) => format!("; not launching {}: {refusal}", keep - well),
        };
    }
    let status = if well == keep { Status::Stable } else { Status::Pending };
    let figures = vec![("target".to_owned(), f64::from(keep)), ("healthy".to_owned(), f64::from(well))];
    Verdict { memory: memory.to_vec(), status, reason, figures, wake: None }
}

/// Compares a story with its file.
#[track_caller]
fn told(name: &str, story: &Explanation) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/why/{name}.json"));
    let got = serde_json::to_string_pretty(story).expect("JSON") + "\n";
    assert_eq!(&serde_json::from_str::<Explanation>(&got).expect("a story"), story, "a story survives JSON");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        #[expect(clippy::disallowed_methods, reason = "what is compared with has to come from somewhere")]
        std::fs::write(&path, &got).expect("written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = expected.lines().zip(got.lines()).enumerate().find(|(_, (old, new))| old != new);
    assert!(
        expected == got,
        "{} is not what is told now; first difference: {differs:?}. If the new story is right, run this test with UPDATE_GOLDEN=1",
        path.display()
    );
}

#[test]
fn nothing_was_decided_yet() {
    told("domain_new", &Scene::new(3, json!({})).domain());
}

#[test]
fn all_is_well_and_quiet() {
    let mut scene = Scene::running(3, json!({}));
    scene.decide().hears(20, &[0, 1, 2]);
    scene.decide();
    told("domain_quiet", &scene.domain());
    told("instance_running", &scene.instance("web/1"));
}

#[test]
fn the_engine_fails() {
    let mut scene = Scene::running(3, json!({}));
    scene.decide();
    for _ in 0..2 {
        scene.decide_with(&Native::new(|cycle, _| {
            cycle.log(Level::Warn, "12000 instances to look at\u{1b}[2J".to_owned());
            Err(Fault::new(FaultKind::Fuel, "all fuel used up"))
        }));
    }
    told("domain_engine_fails", &scene.after(2.0).domain());
}

#[test]
fn the_engine_gives_up() {
    let mut scene = Scene::running(1, json!({}));
    scene.decide_with(&Native::new(|_, memory| {
        let reason = "no site has room".to_owned();
        Ok(Verdict { status: Status::Failed, reason, memory: memory.to_vec(), figures: vec![], wake: None })
    }));
    told("domain_engine_gives_up", &scene.domain());
}

#[test]
fn somebody_paused_it() {
    let mut scene = Scene::running(3, json!({}));
    scene.decide().after(60.0).command(What::Pause(true));
    scene.report(1, State::Failed, Some("exit code 1"));
    told("domain_paused", &scene.decide().after(3.0).domain());
}

#[test]
fn it_runs_dry() {
    let mut scene = Scene::running(2, json!({}));
    scene.command(What::DryRun(true));
    scene.report(0, State::Failed, Some("exit code 1"));
    told("domain_dry_run", &scene.decide().after(3.0).domain());
}

/// Three of four fall silent at once.
fn braked() -> Scene {
    let mut scene = Scene::running(4, json!({}));
    scene.decide().hears(13, &[3]);
    scene.decide();
    scene
}

#[test]
fn the_brake_holds() {
    let mut scene = braked();
    scene.hears(4, &[3]);
    told("domain_brake", &scene.domain());
    told("instance_unhealthy_held_by_the_brake", &scene.instance("web/0"));
}

#[test]
fn the_brake_lets_one_go_at_a_time() {
    let mut scene = braked();
    scene.hears(1000, &[3]);
    scene.decide();
    told("domain_brake_drips", &scene.domain());
}

#[test]
fn the_budget_defers() {
    let mut scene = Scene::new(5, json!({"general": {"launches_per_minute": 2}}));
    told("domain_budget", &scene.decide().after(2.0).domain());
}

#[test]
fn no_more_are_allowed() {
    let mut scene = Scene::new(5, json!({"general": {"max_instances": 3}}));
    told("domain_quota", &scene.decide().after(2.0).domain());
}

#[test]
fn the_host_is_blind() {
    let mut scene = Scene::running(2, json!({}));
    scene.decide().hears(13, &[1]);
    let now = scene.bench.now;
    scene.bench.domain.lose_sight(now, "the link to NATS is down");
    scene.after(1.0).decide().after(3.0);
    told("domain_blind", &scene.domain());
}

#[test]
fn the_host_has_not_seen_for_long_enough() {
    let mut scene = Scene::running(2, json!({}));
    scene.decide().hears(13, &[1]);
    let now = scene.bench.now;
    scene.bench.domain.missed(Millis::from_secs(5), now);
    told("domain_barely_sees", &scene.decide().domain());
}

#[test]
fn launches_fail_at_a_site() {
    let mut scene = Scene::new(2, json!({}));
    scene.decide().after(1.0);
    for ordinal in 0..2 {
        scene.report(ordinal, State::Failed, Some("no such file: worker"));
    }
    scene.decide().after(0.5);
    scene.report(2, State::Failed, Some("no such file: worker"));
    told("domain_backing_off", &scene.after(0.5).domain());
}

#[test]
fn no_provisioner_answers() {
    let mut scene = Scene::new(2, json!({}));
    scene.decide().after(40.0);
    told("domain_unanswered", &scene.domain());
    told("instance_starting", &scene.instance("0"));
}

#[test]
fn it_is_being_removed() {
    let mut scene = Scene::running(2, json!({}));
    scene.decide().after(5.0).command(What::Remove { abandon: false });
    scene.input([]);
    scene.report(0, State::Terminated, None);
    told("domain_removing", &scene.after(2.0).domain());
    told("instance_removed_with_its_domain", &scene.instance("1"));
}

#[test]
fn the_engine_refuses_its_configuration() {
    use pilothouse_core::config::ConfigProblem;
    use pilothouse_core::cycle::Reconfigured;
    let mut scene = Scene::running(1, json!({}));
    scene.decide();
    let again = scene.bench.reconfigure(config(json!({"engine_conf": {"preserve_n": -1}})));
    scene.command(again);
    let refuses = keeping(1).reconfiguring(|_, _| Ok(Reconfigured::Refused(vec![ConfigProblem::new("/preserve_n", "expected 0 or more")])));
    told("domain_configuration_refused", &scene.decide_with(&refuses).domain());
}

#[test]
fn it_reads_sensors_and_some_of_what_it_wants_no_longer_holds() {
    let mut scene = Scene::running(3, json!({}));
    scene.decide().hears(13, &[1, 2]);
    let time = scene.bench.now;
    scene.bench.domain.read(Scope::Domain, Reading { metric: "queue".to_owned(), time, value: 12.5 }).expect("there is room");
    let looks = Native::new(|cycle, memory| {
        cycle.sensor("queue", Scope::Domain, Statistic::Average, Millis::from_secs(60));
        let first = cycle.state().instance_at(0).expect("on record").id.clone();
        cycle.sensor("load", Scope::Instance(first), Statistic::Last, Millis::from_secs(60));
        cycle.log(Level::Info, "looking\u{1b}[2J".to_owned());
        Ok(keep_so_many(cycle, 3, memory))
    });
    let cycle = loop {
        match scene.bench.begin() {
            Some(cycle) => break cycle,
            None => drop(scene.after(0.5)),
        }
    };
    let ran = cycle.run(&looks);
    scene.after(0.2).heard(0);
    scene.bench.finish(ran);
    told("domain_sensors_and_dropped", &scene.domain());
    told("instance_recovered_in_time", &scene.instance("0"));
}

#[test]
fn it_was_silent_and_was_replaced() {
    let mut scene = Scene::running(3, json!({}));
    scene.decide().hears(13, &[1, 2]);
    scene.decide().after(1.0);
    told("instance_missing_not_confirmed", &scene.instance("0"));
    scene.report(0, State::Terminated, None);
    scene.comes_up(3);
    scene.decide().after(1.0);
    told("instance_missing", &scene.instance("0"));
    told("domain_replaced_one", &scene.domain());
    told("domain_at", &scene.domain_at(16));
    told("domain_last", &scene.ask(|view| list_decisions(view, 3).into_explanation()));
}

#[test]
fn it_came_in_the_place_of_another() {
    let mut scene = Scene::running(2, json!({}));
    let id = scene.id(0);
    let problems = vec![Problem::Text("disk full".to_owned())];
    let error = Beat::Error { health: Health::MonitorError, problems, time: None };
    scene.input([Input::Heartbeat(id.clone(), Heartbeat { verdict: error })]);
    scene.decide_with(&Native::new(|cycle, memory| {
        cycle.destroy(&[id.to_string()], "disk full".to_owned()).expect("granted");
        cycle.launch(LaunchRequest { replaces: Some(id.to_string()), ..launch("here", 1) }).expect("granted");
        Ok(Verdict { reason: "its name is taken over".to_owned(), ..support::verdict(memory) })
    }));
    told("domain_takes_over", &scene.after(1.0).domain());
    told("instance_in_the_place_of_another", &scene.instance("2"));
}

#[test]
fn nobody_was_there_to_answer() {
    let mut scene = Scene::running(1, json!({}));
    scene.decide().silent_until(0, Health::OutOfContact);
    let id = scene.id(0);
    scene.after(0.2).input([Input::NoAgent(id)]);
    told("instance_nobody_there", &scene.instance("0"));
    told("instance_nobody_there_ended", &scene.decide().instance("0"));
}

#[test]
fn it_was_never_heard() {
    let mut scene = Scene::new(1, json!({}));
    scene.decide().after(1.0).report(0, State::Running, None);
    scene.silent_until(0, Health::OutOfContact);
    told("instance_silent", &scene.instance("0"));
    scene.silent_until(0, Health::Missing);
    told("instance_never_heard", &scene.decide().instance("0"));
}

#[test]
fn its_agent_tells_of_an_error() {
    let mut scene = Scene::running(2, json!({}));
    let (id, problems) = (scene.id(1), vec![Problem::Text("disk full".to_owned())]);
    scene.decide().input([Input::Heartbeat(id, Heartbeat { verdict: Beat::Error { health: Health::MonitorError, problems, time: None } })]);
    told("instance_error", &scene.instance("1"));
}

#[test]
fn it_ended_by_itself() {
    let mut scene = Scene::running(1, json!({}));
    scene.decide().after(5.0).report(0, State::Failed, Some("its agent ended by itself (signal: 9 (SIGKILL))"));
    told("instance_failed_by_itself", &scene.decide().instance("0"));
}

#[test]
fn its_launch_stalled_twice() {
    let mut scene = Scene::new(1, json!({}));
    scene.decide().after(1.0).report(0, State::Pending, None);
    for _ in 0..2 {
        scene.after(61.0).input([]);
    }
    told("instance_stalled_twice", &scene.instance("0"));
}

#[test]
fn it_lives_although_it_should_be_gone() {
    let mut scene = Scene::running(1, json!({}));
    scene.decide();
    scene.keep = 0;
    let ends = Native::new(|cycle, memory| {
        let first = cycle.state().instance_at(0).expect("on record").id.to_string();
        cycle.destroy(&[first], "1 more than wanted".to_owned()).expect("granted");
        Ok(support::verdict(memory))
    });
    scene.decide_with(&ends).after(1.0).report(0, State::Terminated, None);
    scene.hears(25, &[0]);
    told("instance_zombie", &scene.instance("0"));
}

#[test]
fn its_record_is_gone() {
    let mut scene = Scene::running(1, json!({"general": {"record_reaping_max_age": 60}}));
    scene.decide().after(5.0).report(0, State::Failed, Some("exit code 1"));
    scene.decide().after(1.0).comes_up(1);
    for _ in 0..4 {
        scene.hears(30, &[1]);
    }
    told("instance_reaped", &scene.instance("web/0"));
}

#[test]
fn somebody_killed_it() {
    let mut scene = Scene::running(2, json!({}));
    let kill = || What::Kill { instance: "1".to_owned(), reason: "it holds a lock that nobody else can take".to_owned() };
    scene.decide().after(3.0).command(kill());
    told("instance_killed_not_confirmed", &scene.after(1.0).instance("1"));
    scene.report(1, State::Terminated, None);
    told("instance_killed", &scene.decide().after(1.0).instance("1"));
}

#[test]
fn somebody_protects_it() {
    let mut scene = Scene::running(3, json!({}));
    scene.decide().after(2.0).command(What::Protect { instance: "0".to_owned(), on: true });
    told("instance_protected", &scene.after(1.0).instance("0"));
    let (id, problems) = (scene.id(0), vec![Problem::Text("disk full".to_owned())]);
    scene.input([Input::Heartbeat(id, Heartbeat { verdict: Beat::Error { health: Health::MonitorError, problems, time: None } })]);
    told("instance_protected_and_unhealthy", &scene.after(1.0).instance("0"));
    scene.decide().after(1.0);
    told("instance_protected_and_asked_for", &scene.instance("0"));
    told("domain_protected", &scene.domain());
}

#[test]
fn somebody_took_it_in() {
    let mut scene = Scene::running(1, json!({}));
    let adopted = pilothouse_core::record::Adopted {
        id: "i02a-orphan".parse().expect("an id"),
        launch: "l02a-orphan".parse().expect("an id"),
        deployable_type: "worker".to_owned(),
        site: "here".to_owned(),
        allocation: "small".to_owned(),
        state: State::Running,
        attributes: Default::default(),
        extra_vars: Vec::new(),
    };
    scene.decide().after(5.0).command(What::Adopt(adopted)).after(1.0).heard(1);
    told("instance_adopted", &scene.after(1.0).instance("web/1"));
}

#[test]
fn somebody_restored_it() {
    let mut scene = Scene::running(2, json!({}));
    scene.decide();
    let backup = scene.bench.state().clone();
    scene.after(3600.0).bench.restore(backup, false);
    scene.after(2.0);
    told("domain_restored", &scene.domain());
    told("instance_restored", &scene.instance("0"));
}

#[test]
fn somebody_abandoned_it() {
    let mut scene = Scene::running(2, json!({}));
    scene.decide().after(5.0).command(What::Remove { abandon: false });
    scene.input([]);
    scene.after(600.0).command(What::Remove { abandon: true });
    told("domain_abandoned", &scene.domain());
    told("instance_abandoned", &scene.instance("1"));
}

#[test]
fn its_schedule_had_it_do_that() {
    let mut scene = Scene::running(2, json!({}));
    scene.decide().after(60.0);
    let windows = json!({"engine_conf": {"keep": 2}, "schedule": [
        {"name": "week-end", "time_zone": "Europe/Vienna", "start": "0 0 * * sat", "end": "0 0 * * mon", "engine_conf": {"site": "there"}},
        {"name": "day", "time_zone": "Europe/Vienna", "start": "0 8 * * *", "end": "0 18 * * *", "engine_conf": {"keep": 3}},
    ]});
    let config = scene.bench.state().config.changed_by(&windows).expect("a good schedule");
    let change = scene.bench.reconfigure(config);
    scene.command(change).decide();
    // A minute before the day begins, and a minute after.
    scene.bench.now = BEGIN + Millis::from_secs(3540);
    scene.heard(0);
    scene.heard(1);
    told("domain_schedule_before", &scene.domain());
    scene.after(120.0).keep = 3;
    scene.input([]).decide();
    told("domain_schedule", &scene.after(3.0).domain());
}
