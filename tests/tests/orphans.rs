//! What provisioners run and no domain knows, and the reverse, on real parts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use pilothouse::api::{ChooseOrphans, InstanceDescription, ListOrphans, Operation, Orphans, OrphansDone};
use pilothouse_core::id::InstanceId;
use pilothouse_core::instance::State;
use pilothouse_core::message::{Dump, DumpAnswer, Inventory, InventoryAnswer, Known, Provision, Receipt, StateReport, Terminate};
use pilothouse_tests::rig::{Rig, SOON, WEB, keep};
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::{Value, json};
use tokio::time::timeout;

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

fn names(instances: &[InstanceDescription]) -> BTreeSet<String> {
    instances.iter().map(|it| it.instance_id.to_string()).collect()
}

async fn list(rig: &Rig, sites: &[&str]) -> Result<Orphans> {
    let sites = sites.iter().map(|site| (*site).to_owned()).collect();
    Ok(rig.api.call(Operation::OrphanList, &ListOrphans { sites }).await?)
}

async fn inventory(rig: &Rig, site: &str, after: Option<&str>) -> Result<InventoryAnswer> {
    let request = Inventory { after: after.map(str::parse).transpose()? };
    let subject = rig.api.subjects().provisioner(site, "inventory");
    Ok(InventoryAnswer::parse(&rig.api.nats().request(subject, request.to_json().into()).await?.payload)?)
}

#[tokio::test]
async fn a_provisioner_lists_what_lives_in_pages_also_after_a_restart() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let site = rig.site("a").await?;
    let _host = rig.host("ship")?;
    rig.add_web(keep(3, "a")).await?;
    rig.settles_at(3).await?;
    rig.reconfigure(keep(2, "a")).await?;
    let two = rig.settles_at(2).await?;

    let all = inventory(&rig, "a", None).await?;
    let listed: Vec<String> = all.instances.iter().map(|known| known.node_id.to_string()).collect();
    ensure!(listed == names(&two).into_iter().collect::<Vec<_>>() && !all.more, "in order, and only what lives: {all:?}");
    let known = &all.instances[0];
    ensure!(known.domain.to_string() == "default/web" && known.deployable_type == "worker" && known.epoch > 0, "{known:?}");
    ensure!(two.iter().any(|it| it.launch_id == known.launch_id && it.allocation == known.allocation), "{known:?}");
    ensure!(inventory(&rig, "a", Some(&listed[0])).await?.instances == all.instances[1..]);
    ensure!(inventory(&rig, "a", Some(&listed[1])).await?.instances.is_empty());

    site.crash().await?;
    let _site = rig.site("a").await?;
    ensure!(inventory(&rig, "a", None).await? == all, "what it knew before");
    Ok(())
}

#[tokio::test]
async fn what_an_abandoned_domain_leaves_behind_is_found_and_ended_only_on_demand() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("a").await?;
    let _host = rig.host("ship")?;
    rig.add_web(keep(2, "a")).await?;
    let left = rig.settles_at(2).await?;
    let ids: Vec<String> = names(&left).into_iter().collect();
    let known = rig.run(&["orphans", "--terminate", "--instance", &ids[0]])?;
    ensure!(known.code == 4 && known.out.contains("its domain knows it"), "{known:?}");
    let _: Value = rig.api.call(Operation::DomainRemove, &json!({"domain": WEB, "abandon": true})).await?;
    eventually("the domain is gone", SOON, async || rig.describe().await.is_err()).await?;

    // No domain has the site on record any more, so it has to be named, and a check that asks nobody finds nothing in order.
    ensure!(list(&rig, &[]).await?.sites.is_empty());
    let unasked = rig.run(&["orphans", "--check"])?;
    ensure!(unasked.code == 7 && unasked.err.contains("no site was asked"), "{unasked:?}");
    let found = list(&rig, &["a"]).await?;
    ensure!(found.unknown.iter().map(|it| it.known.node_id.to_string()).collect::<Vec<_>>() == ids, "{found:?}");
    ensure!(found.unknown.iter().all(|it| !it.adoptable) && found.missing.is_empty(), "{found:?}");
    let adopt = ChooseOrphans { sites: vec!["a".to_owned()], ..ChooseOrphans::default() };
    let adopted: OrphansDone = rig.api.call(Operation::OrphanAdopt, &adopt).await?;
    ensure!(adopted.done.is_empty() && adopted.failed.len() == 2, "there is nobody to take them: {adopted:?}");

    // Added anew under its name, in a journal that went on, it could.
    let _: Value = rig.api.call(Operation::DomainAdd, &json!({"domain": WEB, "config": keep(0, "a")})).await?;
    let anew = list(&rig, &["a"]).await?;
    ensure!(anew.unknown.len() == 2 && anew.unknown.iter().all(|it| it.adoptable), "{anew:?}");
    let _: Value = rig.api.call(Operation::DomainRemove, &json!({"domain": WEB, "abandon": true})).await?;
    eventually("the domain is gone again", SOON, async || rig.describe().await.is_err()).await?;

    for operation in [Operation::OrphanAdopt, Operation::OrphanTerminate] {
        let unsaid = rig.api.call::<OrphansDone>(operation, &json!({})).await;
        ensure!(unsaid.as_ref().is_err_and(|error| error.to_string().contains("which orphans")), "{unsaid:?}");
    }
    let unsaid = rig.run(&["orphans", "--terminate"])?;
    ensure!(unsaid.code == 2 && rig.ledger.alive().len() == 2, "{unsaid:?}");
    let one = rig.run(&["orphans", "--terminate", "--site", "a", "--instance", &ids[0]])?;
    ensure!(one.code == 0 && one.json()?["done"] == json!([ids[0]]), "{one:?}");
    eventually("the one ends", SOON, async || rig.ledger.of(&ids[0]).is_empty()).await?;
    ensure!(rig.ledger.agent_of(&ids[1]).is_some(), "and not the other");
    let rest = rig.run(&["orphans", "--terminate", "--site", "a"])?;
    ensure!(rest.code == 0, "{rest:?}");
    eventually("the other ends", SOON, async || rig.ledger.alive().is_empty()).await?;
    eventually_some("nothing is listed any more", SOON, async || list(&rig, &["a"]).await.ok().filter(|it| it.unknown.is_empty())).await?;
    Ok(())
}

#[tokio::test]
async fn a_domain_that_was_begun_anew_does_not_adopt_what_it_could_never_end() -> Result<()> {
    let mut rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("a").await?;
    let host = rig.host("ship")?;
    rig.add_web(keep(1, "a")).await?;
    let old = rig.settles_at(1).await?;
    // The host takes the domain some more times, so that the provisioner hears of a higher epoch.
    host.crash().await?;
    let host = rig.host("ship")?;
    eventually("the host is back", SOON, async || rig.reconfigure(keep(2, "a")).await.is_ok()).await?;
    rig.settles_at(2).await?;
    host.crash().await?;
    rig.nats.restart_empty().await?;
    let _host = rig.host("ship")?;
    rig.add_web(keep(0, "a")).await?;
    let found = list(&rig, &["a"]).await?;
    ensure!(found.unknown.len() == 2, "{found:?}");
    let newer = found.unknown.iter().find(|it| !names(&old).contains(it.known.node_id.as_str())).context("the second")?;
    ensure!(!newer.adoptable, "{newer:?}");
    let ended = rig.run(&["orphans", "--terminate", "--site", "a"])?;
    ensure!(ended.code == 0 && ended.json()?["done"].as_array().map(Vec::len) == Some(2), "{ended:?}");
    eventually("both end", SOON, async || rig.ledger.alive().is_empty()).await?;
    Ok(())
}

#[tokio::test]
async fn nothing_is_taken_for_an_orphan_while_a_fleet_comes_and_goes() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("a").await?;
    let _host = rig.host("ship")?;
    rig.add_web(keep(1, "a")).await?;
    rig.settles_at(1).await?;
    let mut looks = 0;
    let mut counts = [6, 1, 5, 0, 4, 1].into_iter().cycle();
    while let Some(count) = counts.next().filter(|_| looks < 40) {
        rig.reconfigure(keep(count, "a")).await?;
        let done = async || {
            let valid = rig.valid().await.map_or(usize::MAX, |it| it.len());
            valid == count as usize && rig.ledger.alive().len() == count as usize
        };
        let end = Instant::now() + SOON;
        while !done().await {
            ensure!(Instant::now() < end, "it does not come to {count}: {}", rig.logs());
            let found = list(&rig, &[]).await?;
            ensure!(found.unknown.is_empty() && found.unanswered.is_empty(), "a false orphan: {found:#?}");
            looks += 1;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_a_site_lost_is_missing_and_a_silent_site_is_named() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let site = rig.site("a").await?;
    let _host = rig.host("ship")?;
    rig.add_web(keep(2, "a")).await?;
    let two = rig.settles_at(2).await?;
    let found = list(&rig, &[]).await?;
    ensure!(found.unknown.is_empty() && found.missing.is_empty() && found.unanswered.is_empty(), "{found:?}");

    site.crash().await?;
    let silent = rig.run(&["orphans", "--check"])?;
    ensure!(silent.code == 7 && silent.json()?["unanswered"] == json!(["a"]), "{silent:?}");
    ensure!(silent.json()?["missing"] == json!([]), "who does not answer has lost nothing");

    // Its disk is lost: it comes back and knows of nothing.
    std::fs::rename(rig.path("a"), rig.path("lost"))?;
    let _site = rig.site("a").await?;
    let found = list(&rig, &["a", "elsewhere"]).await?;
    let missing: Vec<_> = found.missing.iter().map(|it| it.instance_id.to_string()).collect();
    ensure!(missing.into_iter().collect::<BTreeSet<_>>() == names(&two), "{found:?}");
    ensure!(found.unanswered.iter().map(ToString::to_string).collect::<Vec<_>>() == ["elsewhere"], "{found:?}");
    let refused = rig.run(&["orphans", "--site", "not.a.name"])?;
    ensure!(refused.code == 2, "{refused:?}");
    Ok(())
}

/// Where the state of an instance is reported, whose it is, and the state.
type Reported = (String, String, State);

/// A provisioner that lets something happen while it is asked what it runs, before it answers.
struct Meddler {
    rig: Rig,
    requests: async_nats::Subscriber,
    /// By id, what it runs.
    runs: BTreeMap<InstanceId, (Provision, String)>,
}

impl Meddler {
    /// The count that `web` is told to keep while the inventory is being made.
    async fn list_while_it_becomes(&mut self, count: u32) -> Result<Orphans> {
        let api = self.rig.api.clone();
        let request = ListOrphans { sites: vec!["b".to_owned()] };
        let listing = tokio::spawn(async move { api.call::<Orphans>(Operation::OrphanList, &request).await });
        let inventory = self.serve_until(|operation, _| operation == "inventory").await?.context("the question what it runs")?;
        self.rig.reconfigure(keep(count, "b")).await?;
        self.serve_until(|_, runs| runs == count as usize).await?;
        let known = |(id, (launch, _)): (&InstanceId, &(Provision, String))| Known {
            node_id: id.clone(),
            domain: launch.domain.clone(),
            launch_id: launch.launch_id.clone(),
            deployable_type: launch.deployable_type.clone(),
            allocation: launch.allocation.clone(),
            extra_vars: launch.extra_vars.clone(),
            state: State::Running,
            epoch: launch.epoch,
            sequence: launch.instances[0].sequence,
        };
        let answer = InventoryAnswer { instances: self.runs.iter().map(known).collect(), more: false };
        let reply = inventory.reply.context("it waits for an answer")?;
        self.rig.api.nats().publish(reply, answer.to_json().into()).await?;
        Ok(listing.await??)
    }

    /// Does what it is asked for until something holds; gives the request after which it did, unless that was carried out.
    async fn serve_until(&mut self, holds: impl Fn(&str, usize) -> bool) -> Result<Option<async_nats::Message>> {
        while !holds("", self.runs.len()) {
            let request = timeout(SOON, self.requests.next()).await.context("no request came")?.context("no more requests")?;
            let operation = request.subject.rsplit('.').next().unwrap_or_default().to_owned();
            if holds(&operation, self.runs.len()) {
                return Ok(Some(request));
            }
            let (answer, states) = self.carry_out(&operation, &request.payload)?;
            for (subject, id, state) in states {
                let report = StateReport::new(state).to_json(&id, pilothouse::clock::now());
                self.rig.api.nats().publish(subject, report.into()).await?;
            }
            if let Some(reply) = request.reply {
                self.rig.api.nats().publish(reply, answer.into()).await?;
            }
        }
        Ok(None)
    }

    fn carry_out(&mut self, operation: &str, payload: &[u8]) -> Result<(Vec<u8>, Vec<Reported>)> {
        let mut receipt = Receipt::default();
        let mut states = Vec::new();
        match operation {
            "provision" => {
                let launch = Provision::parse(payload)?;
                for instance in &launch.instances {
                    receipt.accepted.push(instance.node_id.clone());
                    states.push((instance.state_subject.clone(), instance.node_id.to_string(), State::Running));
                    self.runs.insert(instance.node_id.clone(), (launch.clone(), instance.state_subject.clone()));
                }
            }
            "terminate" => {
                for instance in Terminate::parse(payload)?.instances {
                    self.runs.remove(&instance.node_id);
                    states.push((instance.state_subject, instance.node_id.to_string(), State::Terminated));
                    receipt.accepted.push(instance.node_id);
                }
            }
            "dump" => {
                let asked = Dump::parse(payload)?.instances.into_iter().map(|it| it.node_id);
                let (known, unknown) = asked.partition(|id| self.runs.contains_key(id));
                return Ok((DumpAnswer { known, unknown }.to_json(), states));
            }
            // It is asked again when it takes long.
            _ => {}
        }
        Ok((receipt.to_json(), states))
    }
}

#[tokio::test]
async fn what_was_launched_or_ended_between_the_looks_is_neither_unknown_nor_missing() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let requests = rig.api.nats().subscribe(rig.api.subjects().provisioner("b", "*")).await?;
    rig.api.nats().flush().await?;
    let _host = rig.host("ship")?;
    let mut config = keep(1, "b");
    // Nobody of this site ever speaks, and nobody is to be judged for that.
    config["health"] = json!({ "monitor_health": false });
    rig.add_web(config).await?;
    let mut meddler = Meddler { rig, requests, runs: BTreeMap::new() };
    meddler.serve_until(|_, runs| runs == 1).await?;
    for count in [3, 1, 2, 0, 2] {
        let found = meddler.list_while_it_becomes(count).await?;
        ensure!(found.unanswered.is_empty(), "it answered in time: {found:?}");
        ensure!(found.unknown.is_empty() && found.missing.is_empty(), "on the way to {count}: {found:#?}");
    }
    Ok(())
}
