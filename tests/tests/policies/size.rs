//! The wanted size of a domain under the engine `sensor`, reckoned from the readings that were given and from what was granted: when it may
//! move, which way, and how far.

use std::cmp::Ordering;

use pilothouse_core::id::InstanceId;
use pilothouse_core::record::Decision;
use pilothouse_core::time::{Millis, Timestamp};
use pilothouse_sim::swarm::{Dice, Failure};
use serde_json::{Map, Value, json};

use crate::account::{Decided, Looked, unkept};
use crate::edges::Edges;
use crate::kind::{Own, number};
use crate::recommended::{Evidence, evidence, recommended};

/// The metric that is followed.
pub(crate) const METRIC: &str = "load";

/// The variable by which instances are unique.
pub(crate) const UNIQUE_KEY: &str = "slot";

/// A configuration whose keys go together, all of them given: what is left out would stay from the one before.
pub(crate) fn conf(dice: &mut Dice) -> Map<String, Value> {
    let least = dice.pick(&[0, 1, 1, 2, 2, 3]);
    let most = least + dice.pick(&[0, 1, 2, 4, 4, 6]);
    let down = dice.from_to(1, 3);
    let mut conf = section(json!({
        "metric": METRIC, "scope": dice.pick(&["instance", "instance", "instance", "domain"]),
        "sample_function": dice.pick(&["Average", "Average", "Sum", "Maximum", "Minimum", "SampleCount", "Last"]),
        "sample_period": dice.pick(&[1, 10, 60, 90]),
        "minimum_vms": least, "maximum_vms": if dice.percent(80) { json!(most) } else { json!(most.to_string()) },
        "scale_up_threshold": down + dice.below(3), "scale_up_n_vms": dice.pick(&[0, 1, 1, 2, 3]),
        "scale_down_threshold": down, "scale_down_n_vms": dice.pick(&[0, 1, 1, 2, 3]),
        "target_value": null, "target_tolerance": null,
        "cooldown_period": dice.pick(&[0, 1, 5, 20, 60]), "scale_up_cooldown": null, "scale_down_cooldown": null,
        "stabilisation_window": if dice.percent(20) { dice.pick(&[5, 30]) } else { 0 },
        "absent_data": "hold", "absent_data_max_age": null,
        "unique_key": null, "unique_values": null,
        "victims": dice.pick(&["newest", "newest", "random"]),
    }));
    if dice.percent(20) {
        let tolerance = dice.pick::<fn() -> Value>(&[|| json!(null), || json!(0), || json!(0.5)])();
        conf.extend(section(json!({ "scope": dice.pick(&["instance", "domain", "domain"]), "scale_down_cooldown": dice.pick(&[0, 5]) })));
        let target = json!({"scale_up_threshold": null, "scale_down_threshold": null, "target_value": down, "target_tolerance": tolerance});
        conf.extend(section(target));
    }
    if dice.percent(25) {
        conf.extend(section(json!({ "scale_up_cooldown": dice.pick(&[0, 3, 20]), "scale_down_cooldown": dice.pick(&[0, 10, 60]) })));
    }
    if dice.percent(20) {
        conf.extend(section(json!({ "absent_data": "last-known", "absent_data_max_age": 30, "sample_period": dice.pick(&[1, 10]), "sample_function": "Average" })));
    } else if dice.percent(15) {
        conf.extend(section(json!({ "absent_data": "up", "scale_up_n_vms": 1 })));
    }
    if dice.percent(30) {
        let values = dice.pick::<fn() -> Value>(&[
            || json!(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]),
            || json!("l, k, j, i, h, g, f, e, d, c, b, a"),
            || json!(["a", "b"]),
        ])();
        conf.extend(section(json!({ "unique_key": UNIQUE_KEY, "unique_values": values })));
    }
    conf
}

fn section(conf: Value) -> Map<String, Value> {
    conf.as_object().cloned().expect("an object")
}

/// The values by which instances are unique, if they have to be.
pub(crate) fn values(conf: &Map<String, Value>) -> Vec<String> {
    if conf.get("unique_key").and_then(Value::as_str).is_none() {
        return Vec::new();
    }
    match conf.get("unique_values") {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(all)) => all.split(',').map(|value| value.trim().to_owned()).collect(),
        _ => Vec::new(),
    }
}

/// One that contradicts itself, whatever it changes.
pub(crate) fn bad_conf(dice: &mut Dice) -> Map<String, Value> {
    section(dice.pick::<fn() -> Value>(&[
        || json!({"minimum_vms": 4, "maximum_vms": 3}),
        || json!({"minimum_vms": 1, "maximum_vms": 0}),
        || json!({"target_value": null, "target_tolerance": null, "scale_up_threshold": 1, "scale_down_threshold": 1.5}),
        || json!({"maximum_vms": -1, "minimum_vms": 0}),
        || json!({"target_value": 3, "scale_up_threshold": 3}),
        || json!({"absent_data": "last-known", "absent_data_max_age": 1, "sample_period": 1}),
    ])())
}

/// What is known of the wanted size.
#[derive(Debug, Default)]
pub(crate) struct Size {
    size: Option<u32>,
    scaled: Option<Timestamp>,
    /// The ends of the cooldowns, up and down, as they are configured now.
    ends: Option<[Timestamp; 2]>,
}

impl Size {
    /// What is wanted within the bounds of a configuration.
    pub(crate) fn wanted(&self, conf: &Map<String, Value>) -> Option<u32> {
        self.size.map(|size| bounded(conf, size))
    }
}

/// Within the bounds of a configuration.
pub(crate) fn bounded(conf: &Map<String, Value>, size: u32) -> u32 {
    let bound = |key| number(conf, key).unwrap_or_default() as u32;
    size.clamp(bound("minimum_vms"), bound("maximum_vms"))
}

/// A length that is configured in seconds.
pub(crate) fn seconds(conf: &Map<String, Value>, key: &str) -> Option<Millis> {
    number(conf, key).map(|seconds| Millis::new((seconds * 1000.0) as u64))
}

/// Which way a size goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

fn way(from: u32, to: u32) -> Option<Way> {
    match to.cmp(&from) {
        Ordering::Greater => Some(Way::Up),
        Ordering::Less => Some(Way::Down),
        Ordering::Equal => None,
    }
}

fn cooldown(conf: &Map<String, Value>, way: Way) -> Millis {
    let own = seconds(conf, if way == Way::Up { "scale_up_cooldown" } else { "scale_down_cooldown" });
    own.or_else(|| seconds(conf, "cooldown_period")).unwrap_or_default()
}

impl Own for Size {
    fn decided(&mut self, decided: &Decided<'_>, edges: &mut Edges) -> Result<(), Failure> {
        let Decided { looked, said, decision, held_back } = decided;
        let (conf, now) = (looked.state.engine_conf(), looked.now);
        let from = bounded(&conf, self.size.unwrap_or_else(|| looked.state.counts().valid));
        let to = said.figures.get("target").copied().unwrap_or(-1.0);
        if to != f64::from(bounded(&conf, to.max(0.0) as u32)) {
            return Err(unkept("the size stays within its bounds", format!("{to} is wanted with {conf:?}")));
        }
        let to = to as u32;
        let told = format!("at {} ms the size goes from {from} to {to}: {}", now.as_millis(), said.reason);

        let Evidence { value, some_absent } = evidence(&conf, looked);
        let recommended = recommended(&conf, looked, from);
        let wanted = bounded(&conf, recommended.size);
        // With a target the rest of a shrink is called off as far as it is needed again, in a cooldown too.
        let called_off = value.is_some() && number(&conf, "target_value").is_some() && wanted > from && looked.taken() > from;
        let from = if called_off { from.max(wanted.min(bounded(&conf, looked.taken()))) } else { from };
        let end = |way| self.scaled.map(|last| last + cooldown(&conf, way));
        let rests = |way| end(way).is_some_and(|end| now < end);
        if way(from, to).is_some_and(rests) {
            return Err(unkept("no scaling inside a cooldown", format!("{told}; the last time was at {:?}", self.scaled)));
        }
        if to < from && value.is_none() {
            return Err(unkept("no shrinking for want of readings", told));
        }
        let pointed = way(from, wanted).filter(|way| !rests(*way));
        let is_expected = match pointed {
            // The highest recommendation of the window wins, and this is the lowest of them for certain.
            Some(Way::Down) if number(&conf, "stabilisation_window") != Some(0.0) => (wanted..=from).contains(&to),
            // It grows for want of readings once that has lasted.
            Some(Way::Up) if recommended.for_want => to == wanted || to == from,
            Some(_) => to == wanted,
            None => to == from,
        };
        if !is_expected {
            let seen = format!("{told}; the readings come to {value:?}, so {wanted} is expected, held back by no cooldown: {pointed:?}");
            return Err(unkept("the size follows the readings", seen));
        }
        let (least, most) = (bounded(&conf, 0), bounded(&conf, u32::MAX));
        let is_at = |key| value.is_some() && value == number(&conf, key);
        edges.reach("minimum = maximum", least == most);
        edges.reach("equal to scale_up_threshold", is_at("scale_up_threshold"));
        edges.reach("equal to scale_down_threshold", is_at("scale_down_threshold"));
        edges.reach("no reading at all, and room to shrink", value.is_none() && from > least);
        edges.reach("readings of some only", some_absent);
        edges.reach("above the threshold at the maximum", recommended.size > from && from == most);
        edges.reach(
            "below the threshold at the minimum",
            recommended.size < from && from == least || recommended.size == 0 && least == 0 && from == 0,
        );
        edges.reach("grown for want of readings", recommended.for_want && to > from);
        edges.reach("from nothing, by readings of the domain", from == 0 && to > 0 && value.is_some());
        let of_domain = conf.get("scope").is_some_and(|scope| scope == "domain");
        let work = value.zip(number(&conf, "target_value")).is_some_and(|(work, share)| work > share);
        edges.reach("fewer for the work of the domain, and more than one", of_domain && work && to < from);
        edges.reach("within the tolerance of a target", recommended.within_tolerance);
        edges.reach("by readings that are stale", recommended.by_stale);
        edges.reach("a sum that is not believed", recommended.for_want_of_a_whole_period);
        edges.reach("the rest of a shrink is called off", called_off);
        let by_length = |way: &Way| cooldown(&conf, *way) > Millis::default();
        let pointed = way(from, wanted).filter(by_length);
        let ends_in = pointed.and_then(end).map(|end| i128::from(end.as_millis()) - i128::from(now.as_millis()));
        edges.reach("a millisecond before the end of a cooldown", ends_in == Some(1));
        edges.reach("at the end of a cooldown", ends_in == Some(0));
        edges.reach("scaled up at the end of a cooldown", ends_in == Some(0) && to > from);
        edges.reach("scaled down at the end of a cooldown", ends_in == Some(0) && to < from);

        let taken = looked.taken();
        let asked = decision.map_or(*held_back, |it| it.launches.iter().map(|launch| launch.asked).sum());
        if asked < to.saturating_sub(taken) && values(&conf).is_empty() {
            let seen = format!("{told}; {taken} places are taken and {asked} launches asked for");
            return Err(unkept("whoever is missing is asked for, in a cooldown too", seen));
        }
        edges.reach("replacement in a cooldown", rests(Way::Up) && rests(Way::Down) && taken < from);
        if let Some(decision) = decision.filter(|it| !it.dry_run) {
            self.remember(decision, looked, from, to, edges)?;
        }
        self.ends = self.scaled.map(|last| [last + cooldown(&conf, Way::Up), last + cooldown(&conf, Way::Down)]);
        Ok(())
    }

    fn rests_until(&self) -> Option<Timestamp> {
        self.ends.map(|[up, down]| up.max(down))
    }
}

impl Size {
    /// The size from now on, by what was granted.
    fn remember(&mut self, decision: &Decision, looked: &Looked, from: u32, to: u32, edges: &mut Edges) -> Result<(), Failure> {
        let (taken, ill) = (looked.taken(), looked.ill());
        let launched = decision.launches.iter().map(|it| it.instances.len()).sum::<usize>() as u32;
        // Who went by another hand while the engine decided was granted all the same.
        let granted =
            decision.terminations.iter().flat_map(|it| it.accepted.iter().chain(&it.again).chain(it.dropped.iter().map(|(id, _)| id)));
        let was_well = |id: &&InstanceId| looked.state.instance(id).is_some_and(|it| it.state.is_valid()) && !ill.contains(*id);
        let removed = granted.filter(was_well).count() as u32;
        // What the engine says that it wants is all that it may do.
        if launched > to.saturating_sub(taken) || removed > looked.well().saturating_sub(to) {
            let seen = format!("{launched} come and {removed} go, where {to} are wanted and {taken} places are taken");
            return Err(unkept("an engine does what it says", seen));
        }
        let happened = match to.cmp(&from) {
            Ordering::Greater => launched > from.saturating_sub(taken),
            Ordering::Less => removed > looked.well().saturating_sub(from),
            Ordering::Equal => false,
        };
        // Nobody has to come or go for it: the size moves, and no cooldown begins.
        let moved = if to > from { taken >= to } else { looked.well() <= to };
        edges.reach("scaled up", happened && to > from);
        edges.reach("scaled down", happened && to < from);
        edges.reach("a move for which nobody comes or goes", !happened && moved && to != from);
        edges.reach("scaling that a guard refused", !happened && !moved && to != from);
        let fell = decision.launches.iter().any(|it| it.instances.is_empty() && it.rulings.last().is_some_and(|last| last.passed > 0))
            || decision.launches.iter().any(|it| it.refused.as_ref().is_some_and(|why| why.contains("by now")))
            || decision.terminations.iter().any(|it| it.dropped.iter().any(|(_, why)| why.contains("while the engine decided")));
        match decision.memory {
            Some(_) if happened => (self.size, self.scaled) = (Some(to), Some(looked.now)),
            Some(_) => self.size = Some(if moved { to } else { from }),
            None if happened && !fell => {
                return Err(unkept("a change of size is remembered", format!("from {from} to {to} by {decision:?}")));
            }
            None => {}
        }
        Ok(())
    }
}
