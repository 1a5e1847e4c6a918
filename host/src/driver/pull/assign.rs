//! Whose the values of an answer are.

use std::collections::HashMap;

use pilothouse_core::config::Pull;
use pilothouse_core::id::InstanceId;
use pilothouse_core::message::Reading;
use pilothouse_core::sensor::{Scope, Sensors};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;

use super::answer::Series;

/// The most of a series' labels that is told, in characters.
const MAX_LABELS: usize = 120;

/// What an answer came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Assigned {
    pub(super) readings: Vec<(Scope, Reading)>,
    /// Series of the answer whose label names no instance.
    pub(super) unmatched: u64,
    /// Series of the answer whose label fits more than one instance: it would be a guess.
    pub(super) ambiguous: u64,
    /// Series of the answer without a number.
    pub(super) without_number: u64,
    /// What the server said against its answer.
    pub(super) warning: Option<String>,
}

/// Who the value of a label is, if it is one instance and no other.
type Known<'s> = HashMap<&'s str, Option<&'s InstanceId>>;

/// Makes readings of the answer to a query for the domain as a whole.
///
/// # Errors
/// When there is more than one series: nobody said what is to be made of them. When its time is far from now.
pub(super) fn to_domain(answer: &[Series], metric: &str, now: Timestamp) -> Result<Assigned, String> {
    let mut assigned = Assigned::default();
    match answer {
        [] => {}
        [one] => assigned.take(Scope::Domain, one, metric, now)?,
        [one, another, ..] => {
            return Err(format!(
                "the query gives {} series, {} and {} among them; expected one, as of sum(…), or instance_label",
                answer.len(),
                told(one),
                told(another)
            ));
        }
    }
    Ok(assigned)
}

/// Makes readings of the answer to a query with a series for each instance.
///
/// # Errors
/// When the labels of two series fit the same instance: nobody said what is to be made of them. When a time is far from now.
pub(super) fn to_instances(
    answer: &[Series],
    metric: &str,
    pull: &Pull,
    label: &str,
    state: &DomainState,
    now: Timestamp,
) -> Result<Assigned, String> {
    let known = pull.instance_attribute.as_deref().map(|attribute| by_attribute(state, attribute));
    let mut assigned = Assigned::default();
    let mut seen: HashMap<&InstanceId, &Series> = HashMap::new();
    for series in answer {
        let Some(value) = series.labels.get(label) else {
            assigned.unmatched += 1;
            continue;
        };
        let found = match &known {
            Some(known) => known.get(value).copied(),
            None => by_id(state, value).map(Some),
        };
        match found {
            Some(Some(id)) => {
                if let Some(other) = seen.insert(id, series) {
                    return Err(format!(
                        "two series have the same {label}, {} and {}; expected one, as of sum by ({label}) (…)",
                        told(other),
                        told(series)
                    ));
                }
                assigned.take(Scope::Instance(id.clone()), series, metric, now)?;
            }
            Some(None) => assigned.ambiguous += 1,
            None => assigned.unmatched += 1,
        }
    }
    Ok(assigned)
}

fn by_id<'s>(state: &'s DomainState, id: &str) -> Option<&'s InstanceId> {
    let instance = state.instance(&id.parse().ok()?)?;
    (!instance.state.is_gone()).then_some(&instance.id)
}

/// The instances that are not gone, by the value of an attribute.
fn by_attribute<'s>(state: &'s DomainState, attribute: &str) -> Known<'s> {
    let mut known = Known::new();
    for instance in state.instances().filter(|instance| !instance.state.is_gone()) {
        if let Some(value) = instance.attributes.get(attribute) {
            known.entry(value.as_str()).and_modify(|id| *id = None).or_insert(Some(&instance.id));
        }
    }
    known
}

impl Assigned {
    fn take(&mut self, scope: Scope, series: &Series, metric: &str, now: Timestamp) -> Result<(), String> {
        let Some(value) = series.value else {
            self.without_number += 1;
            return Ok(());
        };
        // One that is dated ahead would make all that follow look old.
        let time =
            Timestamp::from_secs_f64(series.time).ok_or_else(|| format!("{} is no time in seconds since 1970", series.time))?.min(now);
        if now.since(time) > Sensors::MAX_AGE {
            return Err(format!("the value is of {} ago; is the server's clock right?", now.since(time)));
        }
        self.readings.push((scope, Reading { metric: metric.to_owned(), time, value }));
        Ok(())
    }
}

/// A series by its labels, as Prometheus writes it.
fn told(series: &Series) -> String {
    let labels: Vec<_> = series.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let text = format!("{{{}}}", labels.join(", "));
    if text.chars().count() <= MAX_LABELS { text } else { text.chars().take(MAX_LABELS).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pilothouse_core::instance::{Instance, State};
    use pilothouse_core::name::DomainKey;
    use pilothouse_core::time::Millis;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn series(labels: &[(&str, &str)], value: Option<f64>) -> Series {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let labels = serde_json::from_value(json!(labels)).expect("labels");
        Series { labels, time: NOW.as_secs_f64() - 2.0, value }
    }

    fn pull(attribute: Option<&str>) -> Pull {
        serde_json::from_value(json!({"source": "main", "query": "q", "instance_label": "node", "instance_attribute": attribute}))
            .expect("good")
    }

    /// A domain with these instances: ids, states, and host names.
    fn state(instances: &[(&str, State, &str)]) -> DomainState {
        let key = DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") };
        let mut state = DomainState::absent(key.clone(), key.slot(64));
        for (ordinal, (id, how, hostname)) in (0..).zip(instances) {
            let mut instance = Instance::requesting(id.parse().expect("an id"), "l1".parse().expect("an id"), ordinal, NOW, ordinal);
            instance.state = *how;
            instance.attributes.insert("hostname".to_owned(), (*hostname).to_owned());
            state.set(instance);
        }
        state
    }

    /// Whose readings they are, and what was read; of the domain as a whole without an id.
    fn whose(assigned: &Assigned) -> Vec<(&str, f64)> {
        fn of(scope: &Scope) -> &str {
            match scope {
                Scope::Domain => "",
                Scope::Instance(id) => id.as_str(),
            }
        }
        assigned.readings.iter().map(|(scope, reading)| (of(scope), reading.value)).collect()
    }

    #[test]
    fn a_single_series_is_of_the_domain_and_several_are_nobodys() {
        let one = to_domain(&[series(&[], Some(3.0))], "q", NOW).expect("one");
        let time = NOW - Millis::from_secs(2);
        assert_eq!(one.readings, [(Scope::Domain, Reading { metric: "q".into(), time, value: 3.0 })], "as old as Prometheus says");
        assert_eq!(to_domain(&[], "q", NOW), Ok(Assigned::default()), "absent is no reading");
        let none = to_domain(&[series(&[], None)], "q", NOW).expect("none");
        assert_eq!((none.readings.len(), none.without_number), (0, 1), "what is no number is no reading");
        let several = to_domain(&[series(&[("a", "1")], Some(1.0)), series(&[("a", "2")], Some(2.0))], "q", NOW).expect_err("several");
        assert!(several.starts_with("the query gives 2 series, {a=\"1\"} and {a=\"2\"} among them"), "{several}");
    }

    #[test]
    fn labels_name_instances_by_their_ids() {
        let state = state(&[("i1", State::Running, "a"), ("i2", State::Terminated, "b")]);
        let answer = [
            series(&[("node", "i1")], Some(1.0)),
            series(&[("node", "i2")], Some(2.0)),
            series(&[("node", "no id at all!")], Some(3.0)),
            series(&[("other", "i1")], Some(4.0)),
        ];
        let assigned = to_instances(&answer, "q", &pull(None), "node", &state, NOW).expect("assigned");
        assert_eq!(whose(&assigned), [("i1", 1.0)]);
        assert_eq!((assigned.unmatched, assigned.ambiguous), (3, 0), "one that is gone is no instance any more");
    }

    #[test]
    fn labels_name_instances_by_what_their_provisioner_told() {
        let running = State::Running;
        let state = state(&[("i1", running, "a"), ("i2", running, "b"), ("i3", running, "b"), ("i4", State::Terminated, "a")]);
        let answer = [series(&[("node", "a")], Some(1.0)), series(&[("node", "b")], Some(2.0)), series(&[("node", "i1")], Some(3.0))];
        let assigned = to_instances(&answer, "q", &pull(Some("hostname")), "node", &state, NOW).expect("assigned");
        assert_eq!(whose(&assigned), [("i1", 1.0)]);
        assert_eq!((assigned.unmatched, assigned.ambiguous), (1, 1), "what fits two is nobody's");
        let other = to_instances(&answer, "q", &pull(Some("zone")), "node", &state, NOW).expect("assigned");
        assert_eq!((whose(&other), other.unmatched), (Vec::new(), 3), "nobody has such an attribute");
    }

    #[test]
    fn two_series_of_one_label_are_never_added_up() {
        let answer = [series(&[("node", "i1"), ("core", "0")], Some(1.0)), series(&[("node", "i1"), ("core", "1")], Some(2.0))];
        let error = to_instances(&answer, "q", &pull(None), "node", &state(&[("i1", State::Running, "a")]), NOW).expect_err("two of one");
        assert!(error.starts_with("two series have the same node, {core=\"0\", node=\"i1\"} and {core=\"1\""), "{error}");
    }

    #[test]
    fn two_series_of_one_stranger_cost_nobody_a_reading() {
        let strangers = ["0", "1"].map(|core| series(&[("node", "elsewhere"), ("core", core)], Some(7.0)));
        let answer: Vec<_> = strangers.into_iter().chain([series(&[("node", "i1")], Some(1.0))]).collect();
        let assigned = to_instances(&answer, "q", &pull(None), "node", &state(&[("i1", State::Running, "a")]), NOW).expect("assigned");
        assert_eq!((whose(&assigned), assigned.unmatched), (vec![("i1", 1.0)], 2));
    }

    #[test]
    fn a_value_is_never_of_the_future_nor_of_long_ago() {
        let at = |time| to_domain(&[Series { time, ..series(&[], Some(1.0)) }], "q", NOW);
        let secs = NOW.as_secs_f64();
        assert_eq!(at(secs + 3600.0).expect("taken").readings[0].1.time, NOW);
        assert!(at(secs - 3599.0).is_ok());
        assert!(at(secs - 3601.0).expect_err("long ago").contains("clock"));
        for time in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(at(time).is_err(), "{time}");
        }
    }
}
