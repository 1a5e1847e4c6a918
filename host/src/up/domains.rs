//! The definitions and domains of the file, applied to what is there.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use pilothouse_core::command::ApiError;
use pilothouse_core::config::DomainConfig;
use pilothouse_core::name::Name;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::engines::Brought;
use super::say;
use crate::api::{
    AddDomain, ApiClient, CallError, DefinitionDescription, DomainDescription, DomainList, Done, ListDomains, OnDefinition, OnDomain,
    Operation, ReconfigureDomain, WriteDefinition,
};
use crate::commands::caller::request_id;

/// How long a host may take to be there. A first start compiles the engines.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Adds the domains that are missing and changes those that differ. Doing it again changes nothing.
pub(super) async fn apply(api: &ApiClient, domains: &BTreeMap<Name, DomainConfig>, engines: &[Brought]) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    for (name, config) in domains {
        let mut attempt = Attempt { api, name, config, engines, request: request_id() };
        loop {
            match attempt.make().await {
                Ok(Some(line)) => say(&line),
                Ok(None) => {}
                Err(error) if may_pass(&error) && Instant::now() < end => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error).with_context(|| format!("domain {name}")),
            }
            break;
        }
    }
    let list: DomainList = api.call(Operation::DomainList, &ListDomains {}).await.context("listing the domains")?;
    for other in list.domains.iter().filter(|other| !domains.contains_key(&other.name)) {
        say(&format!("{} is here too, although it is not in the file; it goes on", other.name));
    }
    Ok(())
}

/// Adds the definitions that are missing and replaces those that differ. Others are left alone.
pub(super) async fn define(api: &ApiClient, definitions: &BTreeMap<Name, Value>) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    for (name, definition) in definitions {
        let request = request_id();
        loop {
            match put_definition(api, name, definition, request.as_ref()).await {
                Ok(Some(line)) => say(&line),
                Ok(None) => {}
                Err(error) if may_pass(&error) && Instant::now() < end => {
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error).with_context(|| format!("definition {name}")),
            }
            break;
        }
    }
    Ok(())
}

/// What was changed, in words; nothing when it is as it should be, or new.
async fn put_definition(api: &ApiClient, name: &Name, wanted: &Value, request: Option<&String>) -> Result<Option<String>, CallError> {
    let described = api.call(Operation::DefinitionDescribe, &OnDefinition { name: name.to_string(), request_id: None }).await;
    let there: Option<DefinitionDescription> = match described {
        Ok(description) => Some(description),
        Err(CallError::Api(ApiError::NotFound { .. })) => None,
        Err(error) => return Err(error),
    };
    let (operation, line) = match there {
        Some(there) if there.definition == *wanted => return Ok(None),
        Some(_) => (Operation::DefinitionUpdate, Some(format!("definition {name} is here already; it is changed"))),
        None => (Operation::DefinitionAdd, None),
    };
    let write = WriteDefinition { name: name.to_string(), definition: wanted.clone(), request_id: request.cloned() };
    api.call::<Value>(operation, &write).await.map(|_| line)
}

/// Whether it may well work in a moment: no host yet, one that is just taking its domains, or a domain that is still being removed.
fn may_pass(error: &CallError) -> bool {
    match error {
        CallError::NoHost { .. } | CallError::TimedOut { .. } | CallError::Link { .. } => true,
        CallError::Api(error) => matches!(error, ApiError::Unavailable { .. } | ApiError::Conflict { .. }),
        CallError::Answer { .. } => false,
    }
}

struct Attempt<'a> {
    api: &'a ApiClient,
    name: &'a Name,
    config: &'a DomainConfig,
    /// Those that the file brings.
    engines: &'a [Brought],
    /// The same for every attempt: if an answer was lost, the next attempt is not a second wish.
    request: Option<String>,
}

impl Attempt<'_> {
    /// What was changed, in words; nothing when it is as it should be.
    async fn make(&mut self) -> Result<Option<String>, CallError> {
        let Self { api, name, config, engines, request } = self;
        let (domain, mut wanted) = (name.to_string(), config.to_json());
        let described = api.call(Operation::DomainDescribe, &OnDomain { domain: domain.clone(), request_id: None }).await;
        let there: DomainDescription = match described {
            Ok(description) => description,
            Err(CallError::Api(ApiError::NotFound { .. })) => {
                let add = AddDomain { domain, config: wanted, request_id: request.clone(), ..AddDomain::default() };
                api.call::<Done>(Operation::DomainAdd, &add).await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        for metric in left_over("sensors", &there.config, &wanted).into_iter().map(str::to_owned).collect::<Vec<_>>() {
            wanted["sensors"][metric] = Value::Null;
        }
        if config.schedule.is_empty() && there.config.get("schedule").is_some() {
            wanted["schedule"] = Value::Array(Vec::new());
        }
        for key in left_over("engine_conf", &there.config, &wanted) {
            say(&format!("{name}: engine_conf.{key} is no longer in the file but stays as it is; remove the domain to be rid of it"));
        }
        // The same configuration, but a component that was built anew: asked for once more, it is what decides from then on.
        let brought = engines.iter().find(|engine| engine.is_meant_by(&config.general.engine)).map(Brought::identity);
        let is_new = brought.filter(|engine| **engine != there.summary.engine);
        let has_changed = differs(&there.config, &wanted);
        if !has_changed && is_new.is_none() {
            return Ok(Some(format!("{name} is here already, as the file wants it")));
        }
        let change = ReconfigureDomain { domain, config: wanted, request_id: request.clone() };
        api.call::<Done>(Operation::DomainReconfigure, &change).await?;
        Ok(Some(match is_new.filter(|_| !has_changed) {
            Some(engine) => {
                format!("{name} is here already; another {} {} decides from now on ({:.12})", engine.name, engine.version, engine.digest)
            }
            None => format!("{name} is here already; its configuration is changed"),
        }))
    }
}

/// Whether a change would change anything: some value is not as it is wanted.
fn differs(there: &Value, wanted: &Value) -> bool {
    let mut sections = wanted.as_object().into_iter().flatten();
    sections.any(|(section, keys)| match (there.get(section), keys) {
        (there, Value::Object(keys)) => keys.iter().any(|(key, value)| there.and_then(|keys| keys.get(key)) != Some(value)),
        // A list is replaced whole.
        (there, list) => there != Some(list),
    })
}

/// Keys of a section that are there and not wanted. A change can't take away one of the engine's.
fn left_over<'v>(section: &str, there: &'v Value, wanted: &Value) -> Vec<&'v str> {
    let keys = there.get(section).and_then(Value::as_object).into_iter().flatten();
    keys.map(|(key, _)| key.as_str()).filter(|key| wanted.get(section).is_none_or(|keys| keys.get(key).is_none())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_value_that_is_wanted_otherwise_is_a_difference() {
        let there = json!({"general": {"engine": "simplest"}, "engine_conf": {"preserve_n": 3, "old": 1}});
        assert!(!differs(&there, &there));
        assert!(!differs(&there, &json!({"engine_conf": {"preserve_n": 3}})));
        assert!(differs(&there, &json!({"engine_conf": {"preserve_n": 4}})));
        assert!(differs(&there, &json!({"engine_conf": {"new": 1}})));
        assert!(differs(&there, &json!({"health": {"boot_timeout": 1}})));
        let scheduled = json!({"engine_conf": {"preserve_n": 3}, "schedule": [{"name": "day"}]});
        assert!(differs(&there, &scheduled) && !differs(&scheduled, &scheduled));
        assert!(differs(&scheduled, &json!({"schedule": []})), "a schedule that is no longer in the file");
        assert_eq!(left_over("engine_conf", &there, &json!({"engine_conf": {"preserve_n": 3}})), ["old"]);
        assert_eq!(left_over("engine_conf", &there, &json!({})), ["old", "preserve_n"]);
        assert_eq!(left_over("sensors", &there, &json!({})), [""; 0]);
    }
}
