//! Whatever comes from outside as JSON is read or refused, and nothing panics.

use pilothouse_core::config::DomainConfig;
use pilothouse_core::id::{InstanceId, LaunchId};
use pilothouse_core::message::{Heartbeat, Reading, StateReport};
use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::problem::Problem;
use pilothouse_core::record::Record;
use pilothouse_core::seed::Seed;
use pilothouse_core::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

/// Keys that mean something here and there, so that values get past the first look.
const KEYS: [&str; 24] = [
    "general",
    "health",
    "engine_conf",
    "engine",
    "decide_interval",
    "launch_timeout",
    "brake",
    "share",
    "window",
    "max_instances",
    "provisioner_vars",
    "monitor_health",
    "boot_timeout",
    "zombie_seconds",
    "node_id",
    "state",
    "timestamp",
    "failed_processes",
    "name",
    "sensor_id",
    "value",
    "v",
    "at",
    "events",
];

fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        any::<f64>().prop_filter_map("finite", Number::from_f64)
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number.prop_map(Value::Number),
        ".*".prop_map(Value::String),
        prop::sample::select(vec!["OK", "RUNNING", "600-RUNNING", "MISSING", "n1", "*"]).prop_map(|word| json!(word)),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let key = prop_oneof![3 => prop::sample::select(&KEYS[..]).prop_map(str::to_owned), 1 => ".*"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((key, inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_configuration_is_read_or_refused_and_a_good_one_survives(value in any_json(), changes in any_json()) {
        if let Ok(config) = DomainConfig::from_json(value) {
            prop_assert_eq!(DomainConfig::from_json(config.to_json()), Ok(config));
        }
        if let Ok(changed) = DomainConfig::default().changed_by(&changes) {
            prop_assert_eq!(DomainConfig::from_json(changed.to_json()), Ok(changed));
        }
    }

    #[test]
    fn every_message_is_read_or_refused(value in any_json()) {
        let (bytes, now) = (value.to_string().into_bytes(), Timestamp::from_secs(1_700_000_000));
        let _ = Heartbeat::parse("n1", &bytes, now);
        let _ = StateReport::parse("n1", &bytes, now);
        let _ = Reading::parse(Some("n1"), &bytes, now);
        let _ = Record::from_bytes(&bytes);
        let _ = serde_json::from_value::<Problem>(value.clone());
        let _ = serde_json::from_value::<DomainKey>(value);
    }

    #[test]
    fn ids_and_names_are_read_or_refused_and_shown_as_they_were(text in "\\PC{0,80}|[A-Za-z0-9_-]{0,70}|i[0-9a-f]{0,5}-?[0-9a-z]*") {
        if let Ok(id) = text.parse::<InstanceId>() {
            prop_assert_eq!(id.to_string(), &*text);
            let _ = id.slot();
        }
        prop_assert_eq!(text.parse::<LaunchId>().is_ok(), text.parse::<InstanceId>().is_ok());
        if let Ok(name) = text.parse::<Name>() {
            prop_assert_eq!(name.as_str(), &*text);
            prop_assert!(text.parse::<InstanceId>().is_ok(), "a name is a token");
        }
        let _ = serde_json::from_value::<Seed>(json!(text));
    }
}
