//! Definitions, domains and users.

use anyhow::{Context, Result, ensure};
use pilothouse::api::Operation;
use pilothouse_core::command::ApiError;
use serde_json::{Value, json};

use crate::pair::{Pair, brisk, over, preserve};
use crate::played::Played;
use crate::user::{in_state, names};

/// The keys of `expected`, section by section, as a description has them.
fn holds(config: &Value, expected: &Value) -> bool {
    let sections = expected.as_object().into_iter().flatten();
    sections.into_iter().all(|(section, keys)| keys.as_object().into_iter().flatten().all(|(key, value)| config[section][key] == *value))
}

#[tokio::test]
async fn domains_are_listed_and_described_as_they_were_made() -> Result<()> {
    let pair = Pair::new().await?;
    let (asterix, _played) = (pair.user("asterix"), Played::silent(&pair.rig).await?);
    ensure!(asterix.domains().await?.is_empty());
    let (one, two) = (over(&brisk("npreserving"), &json!({"general": {"max_instances": 7}})), brisk("simplest"));
    asterix.ask(Operation::DefinitionAdd, json!({"name": "onedomaindef", "definition": one})).await?;
    asterix.ask(Operation::DomainAdd, json!({"domain": "onedomain", "definition": "onedomaindef", "config": preserve(0)})).await?;
    ensure!(asterix.domains().await? == ["onedomain"]);
    let described = asterix.describe("onedomain").await?;
    ensure!(described["name"] == "onedomain" && described["owner"] == "asterix", "{described:#}");
    ensure!(holds(&described["config"], &over(&one, &preserve(0))) && described["instances"] == json!([]), "{described:#}");

    asterix.ask(Operation::DefinitionAdd, json!({"name": "twodomaindef", "definition": two})).await?;
    asterix.ask(Operation::DomainAdd, json!({"domain": "twodomain", "definition": "twodomaindef", "config": preserve(1)})).await?;
    ensure!(asterix.domains().await? == ["onedomain", "twodomain"]);
    let described = asterix.sees("twodomain", "it launches one", |it| !in_state(it, &["REQUESTING"]).is_empty()).await?;
    ensure!(described["name"] == "twodomain" && holds(&described["config"], &over(&two, &preserve(1))), "{described:#}");
    let instances = described["instances"].as_array().context("a list")?;
    ensure!(instances.len() == 1, "{described:#}");
    for field in ["instance_id", "launch_id", "state", "health", "state_time"] {
        ensure!(!instances[0][field].is_null(), "{field} in {described:#}");
    }
    for field in ["status", "paused", "subjects"] {
        ensure!(!described[field].is_null(), "{field} in {described:#}");
    }
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn what_belongs_to_one_user_is_not_there_for_another() -> Result<()> {
    let pair = Pair::new().await?;
    let (permitted, other) = (pair.user("permitted"), pair.user("disallowed"));
    let played = Played::obliging(&pair.rig).await?;
    permitted.ask(Operation::DefinitionAdd, json!({"name": "def123", "definition": brisk("simplest")})).await?;
    permitted.ask(Operation::DomainAdd, json!({"domain": "testing123", "definition": "def123", "config": preserve(1)})).await?;
    let described = permitted.sees("testing123", "one runs", |it| !in_state(it, &["RUNNING"]).is_empty()).await?;
    let id = &played.launched()[0];

    let on = |more: Value| {
        let mut request = json!({"domain": "testing123"});
        request.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        request
    };
    let subscriber = json!({"subscriber_name": "s", "subscriber_op": "told"});
    let of_domains = [
        (Operation::DomainDescribe, json!({})),
        (Operation::DomainDiff, json!({"config": {}})),
        (Operation::DomainReconfigure, json!({"config": {}})),
        (Operation::DomainPause, json!({})),
        (Operation::DomainResume, json!({})),
        (Operation::DomainDryRun, json!({"on": true})),
        (Operation::DomainShadow, json!({"engine": "npreserving"})),
        (Operation::DomainRetry, json!({})),
        (Operation::DomainSubscribe, subscriber.clone()),
        (Operation::DomainUnsubscribe, json!({"subscriber_name": "s"})),
        (Operation::DomainHistory, json!({})),
        (Operation::Why, json!({})),
        (Operation::BrakeShow, json!({})),
        (Operation::BrakeRelease, json!({})),
        (Operation::InstanceList, json!({})),
        (Operation::DomainRemove, json!({})),
    ];
    for (operation, more) in of_domains {
        let error = other.refused(operation, on(more)).await?;
        ensure!(matches!(error, ApiError::NotFound { .. }), "{operation:?}: {error}");
        ensure!(!error.to_string().contains("permitted"), "it does not tell whose it is: {error}");
    }
    for operation in [Operation::InstanceDescribe, Operation::InstanceKill, Operation::InstanceProtect, Operation::InstanceUnprotect] {
        for called in [id.as_str(), "testing123/0"] {
            let error = other.refused(operation, json!({"instance": called})).await?;
            ensure!(matches!(error, ApiError::NotFound { .. }), "{operation:?} {called}: {error}");
        }
    }
    ensure!(other.domains().await?.is_empty() && permitted.domains().await?.len() == 1);
    ensure!(other.ask(Operation::InstanceList, json!({})).await?["instances"] == json!([]));

    let after = permitted.describe("testing123").await?;
    for field in ["config", "config_revision", "paused", "dry_run", "subscribers", "instances", "life"] {
        ensure!(after[field] == described[field], "{field}: {after:#} instead of {described:#}");
    }
    permitted.ask(Operation::DomainReconfigure, on(json!({"config": {}}))).await?;
    // The same name is another domain of another user.
    other.ask(Operation::DomainAdd, json!({"domain": "testing123", "definition": "def123", "config": preserve(0)})).await?;
    permitted.ask(Operation::DomainRemove, on(json!({}))).await?;
    permitted.sees_it_go("testing123").await?;
    ensure!(other.domains().await? == ["testing123"]);
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn definitions_are_added_once_and_replaced_and_removed() -> Result<()> {
    let pair = Pair::new().await?;
    let user = pair.user("owner1");
    let (first, second) = (brisk("simplest"), over(&brisk("npreserving"), &json!({"general": {"max_instances": 3}})));
    let write = |name: &str, definition: &Value| json!({"name": name, "definition": definition});
    user.ask(Operation::DefinitionAdd, write("definition1", &first)).await?;
    let error = user.refused(Operation::DefinitionAdd, write("definition1", &second)).await?;
    ensure!(matches!(error, ApiError::Conflict { .. }), "{error}");
    user.ask(Operation::DefinitionAdd, write("definition2", &second)).await?;
    for (name, definition) in [("definition1", &first), ("definition2", &second)] {
        let described = user.ask(Operation::DefinitionDescribe, json!({"name": name})).await?;
        ensure!(described["name"] == name && described["definition"] == *definition, "{described:#}");
    }
    let list = user.ask(Operation::DefinitionList, json!({})).await?;
    ensure!(names(&list["definitions"])? == ["definition1", "definition2"], "{list:#}");

    // A domain is made from it, with values of its own: the definition stays what it is, and the domain what it was made as.
    let config = over(&preserve(0), &json!({"general": {"max_instances": 2}}));
    user.ask(Operation::DomainAdd, json!({"domain": "made", "definition": "definition2", "config": config})).await?;
    let made = user.describe("made").await?["config"].clone();
    ensure!(made["general"]["max_instances"] == 2 && made["general"]["engine"] == "npreserving", "{made:#}");
    let described = user.ask(Operation::DefinitionDescribe, json!({"name": "definition2"})).await?;
    ensure!(described["definition"] == second, "{described:#}");

    user.ask(Operation::DefinitionRemove, json!({"name": "definition1"})).await?;
    for operation in [Operation::DefinitionDescribe, Operation::DefinitionRemove] {
        let error = user.refused(operation, json!({"name": "definition1"})).await?;
        ensure!(matches!(error, ApiError::NotFound { .. }), "{operation:?}: {error}");
    }
    for request in [write("definition1", &first), write("never", &first)] {
        let error = user.refused(Operation::DefinitionUpdate, request).await?;
        ensure!(matches!(error, ApiError::NotFound { .. }), "{error}");
    }
    let request = json!({"domain": "late", "definition": "definition1", "config": preserve(0)});
    let error = user.refused(Operation::DomainAdd, request).await?;
    ensure!(matches!(error, ApiError::NotFound { .. }) && error.to_string().contains("definition1"), "{error}");

    user.ask(Operation::DefinitionUpdate, write("definition2", &first)).await?;
    let described = user.ask(Operation::DefinitionDescribe, json!({"name": "definition2"})).await?;
    ensure!(described["definition"] == first, "replaced whole: {described:#}");
    user.ask(Operation::DefinitionRemove, json!({"name": "definition2"})).await?;
    ensure!(user.describe("made").await?["config"] == made, "what was made stays");
    // A name that was removed may be given again.
    user.ask(Operation::DefinitionAdd, write("definition1", &second)).await?;
    let described = user.ask(Operation::DefinitionDescribe, json!({"name": "definition1"})).await?;
    ensure!(described["definition"] == second, "{described:#}");
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn a_configuration_that_lacks_something_is_refused_with_its_key() -> Result<()> {
    let pair = Pair::new().await?;
    let asterix = pair.user("asterix");
    asterix.ask(Operation::DefinitionAdd, json!({"name": "def123", "definition": brisk("simplest")})).await?;
    let add = |config: Value| json!({"domain": "domain", "definition": "def123", "config": config});
    let problems = |error: ApiError| match error {
        ApiError::Invalid { problems } => Ok(problems.into_iter().map(|it| it.to_string()).collect::<Vec<_>>()),
        other => anyhow::bail!("{other}"),
    };
    let told = problems(asterix.refused(Operation::DomainAdd, add(json!({"engine_conf": {}}))).await?)?;
    ensure!(told.iter().any(|it| it.contains("/engine_conf") && it.contains("preserve_n")), "{told:?}");
    ensure!(asterix.domains().await?.is_empty(), "nothing was added");
    asterix.ask(Operation::DomainAdd, add(preserve(0))).await?;

    // The same before a change is stored; every problem is told, each with its key.
    let before = asterix.describe("domain").await?;
    let wrong = [
        (
            json!({"general": {"decide_interval": "soon"}, "health": {"missing_timeout": -1}}),
            ["/general/decide_interval", "/health/missing_timeout"],
        ),
        (json!({"engine_conf": {"preserve_n": "many", "colour": 1}}), ["/engine_conf/preserve_n", "colour"]),
    ];
    for (config, keys) in wrong {
        let change = json!({"domain": "domain", "config": config});
        let told = problems(asterix.refused(Operation::DomainReconfigure, change.clone()).await?)?;
        let diff = asterix.ask(Operation::DomainDiff, change).await?;
        let foreseen: Vec<String> = diff["problems"].as_array().context("a list")?.iter().map(ToString::to_string).collect();
        for key in keys {
            ensure!([&told, &foreseen].into_iter().all(|all| all.iter().any(|it| it.contains(key))), "{key}: {told:?} {foreseen:?}");
        }
    }
    let after = asterix.describe("domain").await?;
    ensure!(after["config"] == before["config"] && after["config_revision"] == 1, "{after:#}");
    let diff = asterix.ask(Operation::DomainDiff, json!({"domain": "domain", "config": {"engine_conf": {"preserve_n": 2}}})).await?;
    ensure!(diff["problems"] == json!([]) && diff["changes"] == json!([{"at": "/engine_conf/preserve_n", "from": 0, "to": 2}]), "{diff:#}");
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn a_definition_tells_how_its_engine_is_configured() -> Result<()> {
    let pair = Pair::new().await?;
    let user = pair.user("owner1");
    user.ask(Operation::DefinitionAdd, json!({"name": "def123", "definition": brisk("simplest")})).await?;
    let described = user.ask(Operation::DefinitionDescribe, json!({"name": "def123"})).await?;
    ensure!(described["documentation"].as_str().is_some_and(|text| text.contains("preserve_n")), "{described:#}");
    ensure!(described["config_schema"]["properties"]["preserve_n"].is_object(), "{described:#}");
    ensure!(described["engine"]["name"] == "simplest", "{described:#}");
    pair.was_asked_through_the_standby().await
}
