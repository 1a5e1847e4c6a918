//! Values for native tests of policies, and a check that a schema says what a configuration type does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Counts, Destroyed, Hands, Health, Instance, InstanceId, InstanceState, LaunchRequest, Launched, Refusal, Victims, config};

/// No instances.
#[must_use]
pub fn counts() -> Counts {
    Counts { total: 0, valid: 0, starting: 0, running: 0, unhealthy: 0, launching: 0, terminating: 0 }
}

/// An instance of which only this matters.
#[must_use]
pub fn instance(id: &str, state: InstanceState, health: Health) -> Instance {
    Instance {
        id: id.to_owned(),
        launch: "launch".to_owned(),
        deployable_type: "worker".to_owned(),
        site: "site".to_owned(),
        allocation: "small".to_owned(),
        state,
        state_since: 0,
        health,
        errors: Vec::new(),
        extra_vars: Vec::new(),
        attributes: Vec::new(),
    }
}

/// Takes requests down and grants them, unless it is told otherwise.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Refuses every launch.
    pub refuse_launches: Option<Refusal>,
    /// Refuses every termination.
    pub refuse_terminations: Option<Refusal>,
    /// Grants so many launches and defers the rest.
    pub most_launches: Option<u32>,
    /// Defers the termination of these.
    pub defer: BTreeSet<InstanceId>,
    /// Valid instances in the order in which they should go.
    pub candidates: Vec<InstanceId>,
    /// What was asked, a line each: `launch 2`, `launch 1 port=80`, `destroy a b (missing)`.
    pub asked: RefCell<Vec<String>>,
    /// How many instances were granted. They are called `new-0`, `new-1` and so on.
    pub minted: Cell<u32>,
}

impl Hands for Recorder {
    fn launch(&self, request: &LaunchRequest) -> Result<Launched, Refusal> {
        let vars: String = request.extra_vars.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        self.asked.borrow_mut().push(format!("launch {}{vars}", request.count));
        if let Some(refusal) = &self.refuse_launches {
            return Err(refusal.clone());
        }
        let minted = self.minted.get();
        let left = self.most_launches.map_or(u32::MAX, |most| most.saturating_sub(minted));
        let granted = request.count.min(left);
        let instances = (minted..minted + granted).map(|n| format!("new-{n}")).collect();
        self.minted.set(minted + granted);
        Ok(Launched { launch: "launch".to_owned(), instances, deferred: request.count - granted })
    }

    fn destroy(&self, ids: &[InstanceId], reason: &str) -> Result<Destroyed, Refusal> {
        self.asked.borrow_mut().push(format!("destroy {} ({reason})", ids.join(" ")));
        if let Some(refusal) = &self.refuse_terminations {
            return Err(refusal.clone());
        }
        let (deferred, accepted) = ids.iter().cloned().partition(|id| self.defer.contains(id));
        Ok(Destroyed { accepted, deferred })
    }

    fn victims(&self, _: Victims, count: u32, spare: &BTreeSet<InstanceId>) -> Vec<InstanceId> {
        self.candidates.iter().filter(|id| !spare.contains(*id)).take(count as usize).cloned().collect()
    }
}

/// Compares a JSON Schema with the configuration type that it describes, so that the two can't drift apart.
///
/// The schema has to close its object, describe each key, give `examples` for the whole that the type accepts, and `default`s and
/// `examples` for the keys. Accepted must be: each whole example; the first one with any key set to its default or one of its examples;
/// the first one without any key that is not `required`. Refused must be: the first one without a required key, and with an unknown key.
///
/// # Panics
/// When the two differ, with the key.
pub fn check_schema<C: DeserializeOwned>(schema: &str) {
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["additionalProperties"], false);
    let properties = schema["properties"].as_object().expect("`properties`");
    let required: Vec<&str> = schema["required"].as_array().map(|keys| keys.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    let examples = schema["examples"].as_array().expect("`examples`");
    let accepts = |config: &Value| config::parse::<C>(&config.to_string()).map(|_| ());

    for example in examples {
        assert_eq!(accepts(example), Ok(()), "example {example}");
        for key in example.as_object().expect("an example is an object").keys() {
            assert!(properties.contains_key(key), "example {example}: key {key} is not described");
        }
    }
    let first = &examples[0];
    for (key, property) in properties {
        assert!(property["description"].is_string(), "{key} has no description");
        let values: Vec<&Value> = property["examples"].as_array().into_iter().flatten().chain(property.get("default")).collect();
        assert!(!values.is_empty(), "{key} has neither default nor examples");
        for value in values {
            let mut config = first.clone();
            config[key] = value.clone();
            assert_eq!(accepts(&config), Ok(()), "{key}: {value}");
        }
        let mut config = first.clone();
        config.as_object_mut().expect("an object").remove(key);
        assert_eq!(accepts(&config).is_err(), required.contains(&key.as_str()), "without {key}");
    }
    let mut config = first.clone();
    config["no_such_key"] = Value::Null;
    assert!(accepts(&config).is_err(), "an unknown key is accepted");
}
