//! Stories of domains whose engine was held, rolled back, replaced, or compared with another.

use pilothouse_core::cycle::{Fault, FaultKind, Reconfigured};
use pilothouse_core::engine::{Shadow, SwapReason, Tally};
use pilothouse_core::explain::ShadowTold;

use super::support::engine;
use super::*;

/// Keeps so many, as another version that takes the memory of the one before.
fn version(keep: u32, version: &str) -> Native<'static> {
    keeping(keep).reconfiguring(|_, memory| Ok(Reconfigured::Memory(memory.to_vec()))).version(version)
}

/// Traps, and says where.
fn traps(version: &str) -> Native<'_> {
    let fault = Native::new(|cycle, _| {
        cycle.log(Level::Info, "3 to look at\u{1b}[2J".to_owned());
        let backtrace = ["pick_site", "fill_up", "decide"].map(str::to_owned).to_vec();
        Err(Fault { backtrace, ..Fault::new(FaultKind::Trap, "wasm `unreachable` instruction executed") })
    });
    fault.reconfiguring(|_, memory| Ok(Reconfigured::Memory(memory.to_vec()))).version(version)
}

impl Scene {
    /// Another version comes into force.
    fn swap(&mut self, version: &str, why: SwapReason) -> &mut Self {
        assert!(self.bench.swap(&engine("native", version), why), "{version} comes into force");
        self
    }

    /// What runs beside is asked together with the engine in force, at the next decision that is due.
    fn decide_beside(&mut self, shadow: &Native<'_>) -> &mut Self {
        for _ in 0..600 {
            if let Some(cycle) = self.bench.begin() {
                let beside = self.bench.domain.shadow_cycle(&cycle).expect("a shadow runs beside");
                let (ran, wanted) = (cycle.run(&keeping(self.keep)), beside.run(shadow));
                let (_, finished) = self.bench.finish(ran);
                self.bench.compare(wanted, &finished.said.expect("it decided"), true);
                return self;
            }
            self.bench.pass(Millis::new(500));
        }
        panic!("no decision is due for five minutes");
    }

    /// The story with what only the host knows of a shadow.
    fn domain_beside(&self) -> Explanation {
        let Explanation::Domain(mut story) = self.domain() else { panic!("not of a domain") };
        let known = ShadowTold::of(self.bench.state(), self.bench.domain.shadowing());
        story.shadow = known.map(|known| known.with_words_of(story.shadow.take()));
        Explanation::Domain(story)
    }

    fn shadow(&mut self, promote_after: Option<Millis>) -> &mut Self {
        let (by, since) = ("ann".parse().expect("a name"), self.bench.now);
        let reference = "native@2".to_owned();
        let shadow = Shadow { engine: engine("native", "2.0.0"), reference, by, since, promote_after, tally: Tally::default() };
        self.command(What::Shadow(Some(shadow)))
    }
}

#[test]
fn the_engine_is_held() {
    let mut scene = Scene::running(2, json!({}));
    for _ in 0..3 {
        scene.decide_with(&traps("1.0.0"));
    }
    told("domain_engine_held", &scene.after(60.0).domain());
    // It is asked again, and the fault is one like any other.
    scene.command(What::Retry).decide_with(&traps("1.0.0"));
    told("domain_engine_retried", &scene.after(2.0).domain());
}

#[test]
fn the_engine_is_held_with_a_memory_that_it_can_not_read() {
    let mut scene = Scene::running(2, json!({"general": {"memory_refused": "hold"}}));
    scene.decide().after(30.0).swap("2.0.0", SwapReason::Followed);
    let refuses = keeping(2).version("2.0.0");
    let refuses = refuses.reconfiguring(|_, _| Ok(Reconfigured::MemoryRefused("version 7 is not known".to_owned())));
    told("domain_memory_refused", &scene.decide_with(&refuses).after(5.0).domain());
}

/// 2.0.0 was taken up, launched one, and failed.
fn rolled_back() -> Scene {
    let mut scene = Scene::running(2, json!({}));
    scene.decide().after(30.0).swap("2.0.0", SwapReason::Followed);
    scene.keep = 3;
    scene.decide_with(&version(3, "2.0.0")).after(1.0).comes_up(2);
    for _ in 0..3 {
        scene.decide_with(&traps("2.0.0"));
    }
    scene.decide_with(&version(3, "1.0.0"));
    scene
}

#[test]
fn it_went_back_to_the_version_before() {
    let mut scene = rolled_back();
    scene.after(10.0);
    told("domain_rolled_back", &scene.domain());
    told("instance_of_another_version", &scene.instance("2"));
    // As it was while 2.0.0 decided.
    let swapped = scene.bench.records().find(|(_, record)| record.events.iter().any(|it| matches!(it, Event::Swapped(_))));
    let at = swapped.expect("on record").1.at.since(BEGIN);
    told("domain_before_it_went_back", &scene.domain_at(at.get().div_ceil(1000)));
}

#[test]
fn a_newer_version_ends_what_was_told_of_the_one_before() {
    let mut scene = rolled_back();
    scene.after(60.0).swap("2.0.1", SwapReason::Followed).decide_with(&version(3, "2.0.1"));
    told("domain_followed", &scene.after(3.0).domain());
}

#[test]
fn another_version_runs_beside() {
    let mut scene = Scene::running(2, json!({}));
    scene.decide().after(30.0).shadow(Some(Millis::from_secs(600)));
    told("domain_shadow_new", &scene.domain_beside());
    for _ in 0..3 {
        scene.hears(5, &[0, 1]);
        scene.decide_beside(&version(2, "2.0.0"));
    }
    scene.hears(5, &[0, 1]);
    scene.decide_beside(&version(5, "2.0.0"));
    scene.hears(5, &[0, 1]);
    scene.decide_beside(&version(2, "2.0.0"));
    told("domain_shadow", &scene.domain_beside());
    let secs = scene.bench.now.since(BEGIN).get() / 1000;
    told("domain_shadow_at", &scene.domain_at(secs));
}

#[test]
fn what_ran_beside_fails_and_comes_into_force_when_it_is_quiet() {
    let mut scene = Scene::running(2, json!({}));
    scene.decide().after(30.0).shadow(Some(Millis::from_secs(8)));
    scene.hears(5, &[0, 1]);
    scene.decide_beside(&traps("2.0.0"));
    told("domain_shadow_fails", &scene.domain_beside());
    for _ in 0..3 {
        scene.hears(5, &[0, 1]);
        if scene.bench.state().shadow().is_some() {
            scene.decide_beside(&version(2, "2.0.0"));
        }
    }
    scene.decide_with(&version(2, "2.0.0"));
    told("domain_promoted", &scene.domain());
}

#[test]
fn what_was_promoted_fails_and_what_was_asked_for_before_fits_it_no_more() {
    let mut scene = Scene::running(2, json!({}));
    let (mut config, from_revision) = (scene.bench.state().config.clone(), scene.bench.state().config_revision);
    config.general.engine = "native@1".to_owned();
    scene.command(What::Reconfigure { config, engine: scene.bench.state().engine.clone(), from_revision });
    scene.decide_with(&version(2, "1.0.0")).after(30.0).shadow(Some(Millis::from_secs(8)));
    while scene.bench.state().shadow().is_some() {
        scene.hears(5, &[0, 1]);
        scene.decide_beside(&version(2, "2.0.0"));
    }
    scene.decide_with(&version(2, "2.0.0"));
    for _ in 0..3 {
        scene.decide_with(&traps("2.0.0"));
    }
    scene.decide_with(&version(2, "1.0.0"));
    told("domain_promotion_rolled_back", &scene.after(10.0).domain());
}
