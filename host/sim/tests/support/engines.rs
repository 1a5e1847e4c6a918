//! Engines that are a few lines: one that keeps so many instances, and one that does whatever the dice say.

use pilothouse_core::cycle::{
    Called, Cycle, Engine, Fault, FaultKind, Filter, LaunchRequest, Level, Reconfigured, Settings, Status, Verdict, Wake,
};
use pilothouse_core::record::EngineInForce;
use pilothouse_core::sensor::{Scope, Statistic};
use pilothouse_core::time::Millis;
use serde_json::Value;

/// An engine that is one function: what it does when it decides. It starts with an empty memory.
pub(crate) struct Acts<F>(pub(crate) &'static str, pub(crate) F);

impl<F: Fn(&mut Cycle, &[u8]) -> Result<Verdict, Fault>> Engine for Acts<F> {
    fn identity(&self) -> EngineInForce {
        EngineInForce { name: self.0.to_owned(), version: "1.0.0".to_owned(), digest: "00".to_owned() }
    }

    fn initialize(&self, cycle: Cycle) -> Called<Vec<u8>> {
        Called { cycle, fuel: 1, result: Ok(Vec::new()) }
    }

    /// Takes up every other configuration; for the next one it starts afresh.
    fn reconfigure(&self, cycle: Cycle, memory: &[u8]) -> Called<Reconfigured> {
        let taken = if cycle.state().config_revision.is_multiple_of(2) {
            Reconfigured::Memory(memory.to_vec())
        } else {
            Reconfigured::NotSupported
        };
        Called { cycle, fuel: 1, result: Ok(taken) }
    }

    fn decide(&self, mut cycle: Cycle, memory: &[u8]) -> Called<Verdict> {
        let result = (self.1)(&mut cycle, memory);
        Called { cycle, fuel: 1, result }
    }
}

/// An engine under another name or version.
pub(crate) struct Under<E>(pub(crate) EngineInForce, pub(crate) E);

impl<E: Engine> Engine for Under<E> {
    fn identity(&self) -> EngineInForce {
        self.0.clone()
    }

    fn initialize(&self, cycle: Cycle) -> Called<Vec<u8>> {
        self.1.initialize(cycle)
    }

    fn reconfigure(&self, cycle: Cycle, memory: &[u8]) -> Called<Reconfigured> {
        self.1.reconfigure(cycle, memory)
    }

    fn decide(&self, cycle: Cycle, memory: &[u8]) -> Called<Verdict> {
        self.1.decide(cycle, memory)
    }
}

/// All is well, and this is to be remembered.
pub(crate) fn verdict(memory: &[u8]) -> Verdict {
    Verdict { memory: memory.to_vec(), status: Status::Stable, reason: "as it should be".to_owned(), figures: Vec::new(), wake: None }
}

fn launch(site: &str, count: u32, extra_vars: Vec<(String, String)>) -> LaunchRequest {
    LaunchRequest {
        deployable_type: "worker".to_owned(),
        site: site.to_owned(),
        allocation: "small".to_owned(),
        count,
        extra_vars,
        replaces: None,
        options: Vec::new(),
    }
}

fn number(cycle: &Cycle, key: &str) -> u64 {
    cycle.state().config.engine_conf.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// Keeps as many as `keep` of its configuration says: replaces the unhealthy, and ends the newest when there are too many.
pub(crate) fn keeper() -> impl Engine {
    Acts("keeper", keeps)
}

pub(crate) fn keeps(cycle: &mut Cycle, memory: &[u8]) -> Result<Verdict, Fault> {
    let keep = number(cycle, "keep");
    let ids = |all: Vec<&std::sync::Arc<pilothouse_core::instance::Instance>>| all.iter().map(|it| it.id.to_string()).collect::<Vec<_>>();
    let all = Filter::default();
    let (ill, well): (Vec<_>, Vec<_>) =
        cycle.instances(&all).filter(|it| it.state.is_valid() || it.is_unhealthy()).partition(|it| it.is_unhealthy());
    let there = well.len() as u64;
    let surplus = ids(well.into_iter().rev().take(there.saturating_sub(keep) as usize).collect());
    let ill = ids(ill);
    // Refusals are answers: it asks again next time.
    if !ill.is_empty() {
        drop(cycle.destroy(&ill, "it is unhealthy".to_owned()));
    }
    if !surplus.is_empty() {
        drop(cycle.destroy(&surplus, "there are too many".to_owned()));
    }
    if there < keep {
        drop(cycle.launch(launch("here", (keep - there) as u32, Vec::new())));
    }
    Ok(Verdict { status: if there == keep { Status::Stable } else { Status::Pending }, ..verdict(memory) })
}

/// Asks at random for launches and terminations, of any instance in any state, sensible or not; remembers, says and wants anything; and
/// sometimes faults.
pub(crate) fn chaos() -> impl Engine {
    Acts("chaos", |cycle: &mut Cycle, memory: &[u8]| {
        let all: Vec<(String, String)> = cycle.state().instances().map(|it| (it.id.to_string(), it.launch.to_string())).collect();
        for _ in 0..roll(cycle, 4) {
            match roll(cycle, 10) {
                0..4 => {
                    let (site, count) = (["here", "there", "not a site!"][skewed(cycle)], roll(cycle, 5) as u32);
                    let vars = (0..roll(cycle, 3)).map(|nth| (format!("v{nth}"), roll(cycle, 3).to_string())).collect();
                    // Some in the place of another, be it on its way or not.
                    let replaces = (!all.is_empty() && roll(cycle, 4) == 0).then(|| all[roll(cycle, all.len() as u64) as usize].0.clone());
                    if let Some(id) = replaces.as_ref().filter(|_| roll(cycle, 2) == 0) {
                        drop(cycle.destroy(std::slice::from_ref(id), "it is replaced, so the dice say".to_owned()));
                    }
                    drop(cycle.launch(LaunchRequest { replaces, ..launch(site, count, vars) }));
                }
                4..8 if !all.is_empty() => {
                    let mut ids: Vec<String> = (0..roll(cycle, 4)).map(|_| all[roll(cycle, all.len() as u64) as usize].0.clone()).collect();
                    if roll(cycle, 30) == 0 {
                        ids.push("nobody".to_owned());
                    }
                    let reason = ["so the dice say", "so the dice say again", ""][skewed(cycle)];
                    drop(cycle.destroy(&ids, reason.to_owned()));
                }
                8 if !all.is_empty() => {
                    let launch = all[roll(cycle, all.len() as u64) as usize].1.clone();
                    drop(cycle.destroy_launch(&launch, "its launch, so the dice say".to_owned()));
                }
                9 => {
                    let pulse = (roll(cycle, 2) == 0).then(|| Millis::new(roll(cycle, 20_000)));
                    let vars = (roll(cycle, 2) == 0).then(|| vec![("shared".to_owned(), roll(cycle, 3).to_string())]);
                    drop(cycle.configure(Settings { pulse, provisioner_vars: vars }));
                }
                _ => {
                    cycle.log(Level::Info, "nothing to do".to_owned());
                    cycle.sensor("load", Scope::Domain, Statistic::Average, Millis::from_secs(60));
                }
            }
        }
        if roll(cycle, 15) == 0 {
            let kinds = [FaultKind::Trap, FaultKind::Fuel, FaultKind::Memory, FaultKind::Deadline, FaultKind::Output, FaultKind::Returned];
            return Err(Fault::new(kinds[roll(cycle, 6) as usize], "so the dice say"));
        }
        let memory = match roll(cycle, 3) {
            0 => memory.to_vec(),
            _ => (0..roll(cycle, 8)).map(|_| roll(cycle, 256) as u8).collect(),
        };
        Ok(Verdict {
            memory,
            status: [Status::Stable, Status::Pending, Status::Failed][roll(cycle, 3) as usize],
            reason: format!("the dice say {}", roll(cycle, 3)),
            figures: vec![("dice".to_owned(), roll(cycle, 7) as f64 / 3.0), ("nothing".to_owned(), f64::NAN)],
            wake: [None, Some(Wake::OnChange), Some(Wake::After(Millis::new(1)))][roll(cycle, 3) as usize],
        })
    })
}

fn roll(cycle: &mut Cycle, sides: u64) -> u64 {
    cycle.random() % sides
}

/// Mostly 0, at times 1, and now and then 2.
fn skewed(cycle: &mut Cycle) -> usize {
    match roll(cycle, 20) {
        0..14 => 0,
        14..19 => 1,
        _ => 2,
    }
}
