//! What a host's configuration file puts there from the beginning.

use std::fs;

use anyhow::{Context, Result, ensure};
use pilothouse::api::{
    ApiClient, CallError, DefinitionList, DomainDescription, DomainList, ListDefinitions, ListDomains, OnDomain, Operation,
};
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::{Rig, SOON, WEB, keep};
use pilothouse_tests::wait::eventually;
use serde_json::json;

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// What a host says when it has asked for everything.
const DONE: &str = "what should be there from the beginning was asked for";

/// Good entries among others that are refused, each for a reason of its own.
const FILE: &str = r#"
default_user = "default"

[initial_definitions.worker.general]
engine = "simplest"
decide_interval = 0.2
[initial_definitions.worker.engine_conf]
preserve_n = 1
force_site = "local"
epuworker_type = "worker"

[initial_definitions.misspelt.health]
boot_timout = 3

[initial_definitions."a.b".general]
engine = "simplest"

[initial_domains.web]
definition = "worker"
config.engine_conf.preserve_n = 2

[initial_domains.lost]
definition = "nowhere"

[initial_domains.misspelt]
config.health.boot_timout = 3

[initial_domains.quiet]
definition = "worker"
owner = "ann"
config.engine_conf.preserve_n = 0
"#;

fn host(rig: &Rig, name: &str, file: &str) -> Result<Program> {
    let path = rig.path(&format!("{name}.toml"));
    fs::write(&path, file)?;
    rig.host_with(name, &[("PILOTHOUSE_CONFIG", &path.display().to_string())])
}

fn caller(rig: &Rig, user: Option<&str>) -> Result<ApiClient> {
    let user = user.map(str::parse::<Name>).transpose()?;
    Ok(ApiClient::new(rig.api.nats().clone(), rig.api.subjects().clone(), user))
}

async fn domains_of(rig: &Rig, user: Option<&str>) -> Result<Vec<String>> {
    let list: DomainList = caller(rig, user)?.call(Operation::DomainList, &ListDomains {}).await?;
    Ok(list.domains.iter().map(|it| it.name.to_string()).collect())
}

/// Waits until a host, or those of one name one after the other, said so often that everything was asked for.
async fn done(host: &Program, times: usize) -> Result<()> {
    let said = async || host.said().matches(DONE).count() >= times;
    eventually("everything was asked for", SOON, said).await.with_context(|| host.said())
}

#[tokio::test]
async fn what_a_file_says_is_there_from_the_beginning_and_what_is_wrong_stops_nothing_else() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("local").await?;
    let first = host(&rig, "first", FILE)?;
    rig.settles_at(2).await?;
    done(&first, 1).await?;
    for named in [
        "initial_definitions.misspelt is left out: /health/boot_timout",
        "initial_definitions.a.b is left out",
        "initial_domains.lost is left out: definition nowhere not found",
        "initial_domains.misspelt is left out: /health/boot_timout: unknown field",
    ] {
        ensure!(first.said().contains(named), "{named} is not said: {}", first.said());
    }
    let definitions: DefinitionList = rig.api.call(Operation::DefinitionList, &ListDefinitions {}).await?;
    ensure!(definitions.definitions.iter().map(|it| it.name.as_str()).eq(["worker"]), "{definitions:?}");
    ensure!(domains_of(&rig, Some("default")).await? == ["web"] && domains_of(&rig, Some("ann")).await? == ["quiet"]);
    // Who names nobody is the file's default user.
    ensure!(domains_of(&rig, None).await? == ["web"]);

    // Another host with the same file, and the same host again: what was changed since stays changed.
    rig.reconfigure(json!({ "engine_conf": { "preserve_n": 3 } })).await?;
    rig.settles_at(3).await?;
    let second = host(&rig, "second", FILE)?;
    done(&second, 1).await?;
    ensure!(first.stop().await?.success());
    let first = host(&rig, "first", FILE)?;
    done(&first, 2).await?;
    rig.settles_at(3).await?;
    let described: DomainDescription =
        rig.api.call(Operation::DomainDescribe, &OnDomain { domain: WEB.to_owned(), request_id: None }).await?;
    ensure!(described.config["engine_conf"]["preserve_n"] == 3 && described.config_revision == 2, "{described:?}");
    ensure!(rig.ledger.starts().len() == 3 && domains_of(&rig, Some("ann")).await? == ["quiet"]);
    Ok(())
}

#[tokio::test]
async fn without_a_default_user_nobody_is_served_who_names_none() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let host = host(
        &rig,
        "only",
        "[initial_domains.web]\n[initial_domains.jobs]\nowner = 'ann'\nconfig.engine_conf = { preserve_n = 0, force_site = 'a', epuworker_type = 'w' }\n",
    )?;
    done(&host, 1).await?;
    ensure!(host.said().contains("initial_domains.web is left out: no user named"), "{}", host.said());
    ensure!(domains_of(&rig, Some("ann")).await? == ["jobs"], "{}", host.said());
    let refused = caller(&rig, None)?.call::<DomainList>(Operation::DomainList, &ListDomains {}).await;
    ensure!(matches!(&refused, Err(CallError::Api(ApiError::NotPermitted { .. }))), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn the_command_line_wins_over_the_file() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let path = rig.path("file.toml");
    fs::write(&path, "default_user = 'ann'")?;
    let environment = [("PILOTHOUSE_CONFIG", &*path.display().to_string()), ("PILOTHOUSE_DEFAULT_USER", "default")];
    let _host = rig.host_with("only", &environment)?;
    rig.add_web(keep(0, "local")).await?;
    ensure!(domains_of(&rig, None).await? == ["web"], "the default user is who was named beside the file");
    Ok(())
}

#[tokio::test]
async fn a_file_that_nobody_can_mean_stops_the_host_with_every_problem_named() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    for (name, file, named) in [
        ("no-toml", "default_user = ", &["no-toml.toml"][..]),
        (
            "unknown",
            "colour = 1\n[initial_domains.web]\nconfigs = {}\n",
            &["/colour: unknown field", "/initial_domains/web/configs: unknown"],
        ),
    ] {
        let mut host = host(&rig, name, file)?;
        let status = host.ended().await?;
        ensure!(status.code() == Some(2), "{name} ends with {status}: {}", host.said());
        ensure!(named.iter().all(|it| host.said().contains(it)), "{name} says {}", host.said());
    }
    Ok(())
}
