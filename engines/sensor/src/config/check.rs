//! What of a configuration does not go together.

use pilothouse_engine::Problem;
use pilothouse_engine::config;

use super::{AbsentData, Config, LONGEST_PERIOD, SHORTEST_PERIOD};

/// What does not go together, each with its key.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    bounds(config, &mut problems);
    rule(config, &mut problems);
    period(config, &mut problems);
    absent_data(config, &mut problems);
    problems
}

fn bounds(config: &Config, problems: &mut Vec<Problem>) {
    if config.minimum_vms > config.maximum_vms {
        let message = format!("minimum_vms = {} is over maximum_vms = {}", config.minimum_vms, config.maximum_vms);
        problems.push(config::problem("minimum_vms", message));
    }
}

/// Thresholds, or a target, and something to compare with them.
fn rule(config: &Config, problems: &mut Vec<Problem>) {
    let (up, down, target) = (config.scale_up_threshold, config.scale_down_threshold, config.target_value);
    if let (Some(up), Some(down)) = (up, down)
        && down > up
    {
        let message = format!("expected at most scale_up_threshold = {up}, or every reading between the two would do both");
        problems.push(config::problem("scale_down_threshold", message));
    }
    let keys = [
        ("scale_up_threshold", up.is_some()),
        ("scale_down_threshold", down.is_some()),
        ("target_value", target.is_some()),
        ("absent_data", config.absent_data != AbsentData::Hold),
    ];
    for (key, _) in keys.iter().filter(|(_, given)| *given && config.metric.is_none()) {
        problems.push(config::problem(key, "expected a metric beside it"));
    }
    if target.is_some() && (up.is_some() || down.is_some()) {
        problems.push(config::problem("target_value", "expected either a target or thresholds, not both"));
    }
    if target.is_some_and(|target| target <= 0.0) {
        problems.push(config::problem("target_value", "expected a number over 0"));
    }
    if let Some(tolerance) = config.target_tolerance {
        if target.is_none() {
            problems.push(config::problem("target_tolerance", "expected a target_value beside it"));
        }
        if !(0.0..1.0).contains(&tolerance) {
            problems.push(config::problem("target_tolerance", "expected a share from 0 to below 1"));
        }
    }
}

fn period(config: &Config, problems: &mut Vec<Problem>) {
    if !(SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&config.sample_period) {
        let message = format!("expected from {SHORTEST_PERIOD} to {LONGEST_PERIOD}: hosts keep readings for an hour");
        problems.push(config::problem("sample_period", message));
    }
}

fn absent_data(config: &Config, problems: &mut Vec<Problem>) {
    let period = config.sample_period;
    match (config.absent_data, config.absent_data_max_age) {
        (AbsentData::LastKnown, None) => {
            problems.push(config::problem(
                "absent_data",
                "expected absent_data_max_age beside it: how old the last readings may be, in seconds",
            ));
        }
        (AbsentData::LastKnown, Some(age)) if age <= period => {
            let message = format!("expected more than sample_period = {period}: up to there no reading is the last one known");
            problems.push(config::problem("absent_data_max_age", message));
        }
        (AbsentData::LastKnown, Some(age)) if age > LONGEST_PERIOD => {
            let message = format!("expected at most {LONGEST_PERIOD}: hosts keep readings for an hour");
            problems.push(config::problem("absent_data_max_age", message));
        }
        (AbsentData::Hold | AbsentData::Up, Some(_)) => {
            problems.push(config::problem("absent_data_max_age", "expected absent_data = \"last-known\" beside it"));
        }
        _ => {}
    }
    if config.absent_data == AbsentData::LastKnown && config.sample_function.adds_up() {
        let message = "expected another sample_function: one reading says nothing of a sum or a count of many";
        problems.push(config::problem("absent_data", message));
    }
    if config.absent_data == AbsentData::Up && config.scale_up_n_vms.get() == 0 {
        problems.push(config::problem("absent_data", "expected scale_up_n_vms of at least 1 beside it: by so many it grows"));
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_engine::config::{Value, json};
    use pilothouse_engine::testing::FakeDomain;

    use crate::Sensor;

    /// The keys that are wrong in this configuration with these changes; null takes a key out.
    fn keys_of(mut config: Value, changes: &Value) -> Vec<String> {
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        FakeDomain::<Sensor>::problems(&config).into_iter().map(|problem| problem.at).collect()
    }

    fn with_thresholds(changes: Value) -> Vec<String> {
        let config = json!({ "metric": "load", "scale_up_threshold": 4, "scale_down_threshold": 1, "minimum_vms": 2, "maximum_vms": 6 });
        keys_of(config, &changes)
    }

    fn with_a_target(changes: Value) -> Vec<String> {
        keys_of(json!({ "metric": "load", "target_value": 4, "maximum_vms": 6 }), &changes)
    }

    #[test]
    fn configurations_that_contradict_themselves_are_refused_with_the_key() {
        assert_eq!(with_thresholds(json!({})), [""; 0]);
        assert_eq!(with_thresholds(json!({ "minimum_vms": 6 })), [""; 0]);
        assert_eq!(with_thresholds(json!({ "minimum_vms": 7 })), ["/minimum_vms"]);
        assert_eq!(with_thresholds(json!({ "scale_down_threshold": 4 })), [""; 0]);
        assert_eq!(with_thresholds(json!({ "scale_down_threshold": 4.1 })), ["/scale_down_threshold"]);
        assert_eq!(with_thresholds(json!({ "metric": null })), ["/scale_up_threshold", "/scale_down_threshold"]);
        assert_eq!(with_thresholds(json!({ "maximum_vms": "many" })), ["/maximum_vms"]);
        assert_eq!(with_thresholds(json!({ "scale_down_n_vms": -1 })), ["/scale_down_n_vms"]);
        assert_eq!(with_thresholds(json!({ "scope": "site" })), ["/scope"]);
        assert_eq!(with_thresholds(json!({ "sample_period": 0 })), ["/sample_period"]);
        assert_eq!(with_thresholds(json!({ "sample_period": 1 })), [""; 0]);
        assert_eq!(with_thresholds(json!({ "sample_period": 3600 })), [""; 0]);
        assert_eq!(with_thresholds(json!({ "sample_period": 3601 })), ["/sample_period"]);
    }

    #[test]
    fn a_target_stands_alone_and_is_over_zero() {
        assert_eq!(with_a_target(json!({})), [""; 0]);
        assert_eq!(with_a_target(json!({ "scale_up_threshold": 4 })), ["/target_value"]);
        assert_eq!(with_a_target(json!({ "scale_down_threshold": 1 })), ["/target_value"]);
        assert_eq!(with_a_target(json!({ "target_value": 0 })), ["/target_value"]);
        assert_eq!(with_a_target(json!({ "metric": null })), ["/target_value"]);
        assert_eq!(with_a_target(json!({ "target_tolerance": 0 })), [""; 0]);
        assert_eq!(with_a_target(json!({ "target_tolerance": 1 })), ["/target_tolerance"]);
        assert_eq!(with_a_target(json!({ "target_tolerance": -0.1 })), ["/target_tolerance"]);
        assert_eq!(with_thresholds(json!({ "target_tolerance": 0.2 })), ["/target_tolerance"]);
    }

    #[test]
    fn what_is_to_be_done_without_data_needs_its_figures() {
        assert_eq!(with_thresholds(json!({ "absent_data": "last-known" })), ["/absent_data"]);
        assert_eq!(with_thresholds(json!({ "absent_data": "last-known", "absent_data_max_age": 91 })), [""; 0]);
        assert_eq!(with_thresholds(json!({ "absent_data": "last-known", "absent_data_max_age": 90 })), ["/absent_data_max_age"]);
        assert_eq!(with_thresholds(json!({ "absent_data": "last-known", "absent_data_max_age": 3600 })), [""; 0]);
        assert_eq!(with_thresholds(json!({ "absent_data": "last-known", "absent_data_max_age": 3601 })), ["/absent_data_max_age"]);
        assert_eq!(with_thresholds(json!({ "absent_data_max_age": 300 })), ["/absent_data_max_age"]);
        let counted = json!({ "absent_data": "last-known", "absent_data_max_age": 300, "sample_function": "SampleCount" });
        assert_eq!(with_thresholds(counted), ["/absent_data"]);
        assert_eq!(with_thresholds(json!({ "absent_data": "up" })), ["/absent_data"]);
        assert_eq!(with_thresholds(json!({ "absent_data": "up", "scale_up_n_vms": 1 })), [""; 0]);
        assert_eq!(with_a_target(json!({ "absent_data": "up", "scale_up_n_vms": 1 })), [""; 0]);
        assert_eq!(keys_of(json!({ "maximum_vms": 1 }), &json!({ "absent_data": "up", "scale_up_n_vms": 1 })), ["/absent_data"]);
    }
}
