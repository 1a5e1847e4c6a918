//! Who wants to know is told when an instance runs, fails and ends: once each, and as it is afterwards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use pilothouse::api::Operation;
use pilothouse_core::instance::State;
use pilothouse_core::message::StateReport;
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::pair::{Pair, brisk, over, preserve};
use crate::played::Played;
use crate::user::in_state;

type Heard = Arc<Mutex<BTreeMap<String, Vec<Value>>>>;

/// What every subscriber of a user is told, by name and operation.
async fn listen(pair: &Pair, user: &str) -> Result<Heard> {
    let heard = Heard::default();
    let (notes, nats) = (Arc::clone(&heard), pair.rig.nats.client().await?);
    let mut told = nats.subscribe(format!("ph.v1.subscriber.{user}.*.*")).await?;
    nats.flush().await?;
    tokio::spawn(async move {
        while let Some(message) = told.next().await {
            let whom: Vec<&str> = message.subject.rsplit('.').take(2).collect();
            let json = serde_json::from_slice(&message.payload).unwrap_or(Value::Null);
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.entry(format!("{}.{}", whom[1], whom[0])).or_default().push(json);
        }
    });
    Ok(heard)
}

fn told(heard: &Heard, whom: &str) -> Vec<Value> {
    heard.lock().unwrap_or_else(PoisonError::into_inner).get(whom).cloned().unwrap_or_default()
}

fn notice(id: &str, state: State, hostname: Option<&str>) -> Value {
    json!({"node_id": id, "state": state.name(), "domain_id": "web", "properties": {"hostname": hostname}})
}

fn named(state: State, hostname: Option<&str>) -> StateReport {
    let attributes = hostname.map(|name| ("hostname".to_owned(), name.to_owned()));
    StateReport { attributes: attributes.into_iter().collect(), ..StateReport::new(state) }
}

#[tokio::test]
async fn subscribers_are_told_once_of_each_state_that_matters() -> Result<()> {
    let pair = Pair::new().await?;
    let (owner, played) = (pair.user("owner1"), Played::silent(&pair.rig).await?);
    let heard = listen(&pair, "owner1").await?;
    let config = over(&brisk("simplest"), &preserve(2));
    let request = json!({"domain": "web", "config": config, "subscriber_name": "first", "subscriber_op": "state"});
    owner.ask(Operation::DomainAdd, request).await?;
    let subscribe = |name: &str, operation: &str| json!({"domain": "web", "subscriber_name": name, "subscriber_op": operation});
    for (name, operation) in [("second", "state"), ("second", "also"), ("second", "state")] {
        owner.ask(Operation::DomainSubscribe, subscribe(name, operation)).await?;
    }
    let ids = played.is_asked_to_launch(2).await?;
    owner.ask(Operation::DomainPause, json!({"domain": "web"})).await?;
    let everybody = ["first.state", "second.state", "second.also"];
    let are_told = async |whom: &[&str], expected: &[Value]| {
        let all = async || whom.iter().all(|whom| told(&heard, whom).len() >= expected.len());
        eventually("all are told", SOON, all).await.with_context(|| format!("{heard:#?}"))?;
        for whom in whom {
            ensure!(told(&heard, whom) == expected, "{whom}: {:#?} instead of {expected:#?}", told(&heard, whom));
        }
        anyhow::Ok(())
    };
    // States on the way are nobody's business; the host name comes with an earlier report, and with the one that is told.
    for state in [State::Requested, State::Pending, State::Started] {
        played.reports_all(&ids[0], &named(state, Some("early.example"))).await?;
    }
    played.reports_all(&ids[0], &named(State::Running, None)).await?;
    let mut expected = vec![notice(&ids[0], State::Running, Some("early.example"))];
    are_told(&everybody, &expected).await?;
    // Told again by its provisioner, with another name: no news.
    played.reports_all(&ids[0], &named(State::Running, Some("late.example"))).await?;
    played.reports_all(&ids[0], &named(State::Started, None)).await?;
    played.reports_all(&ids[1], &named(State::Failed, None)).await?;
    expected.push(notice(&ids[1], State::Failed, None));
    are_told(&everybody, &expected).await?;

    // Who unsubscribes from one operation hears of the other.
    let request = json!({"domain": "web", "subscriber_name": "second", "subscriber_op": "also"});
    owner.ask(Operation::DomainUnsubscribe, request).await?;
    let also = expected.clone();
    played.reports_all(&ids[0], &named(State::Terminated, None)).await?;
    expected.push(notice(&ids[0], State::Terminated, Some("late.example")));
    are_told(&everybody[..2], &expected).await?;

    // And who unsubscribes as a whole hears nothing.
    owner.ask(Operation::DomainUnsubscribe, json!({"domain": "web", "subscriber_name": "second"})).await?;
    let second = expected.clone();
    played.obliges(true);
    owner.ask(Operation::DomainResume, json!({"domain": "web"})).await?;
    let described = owner.sees("web", "two run", |it| in_state(it, &["RUNNING"]).len() == 2).await?;
    for id in in_state(&described, &["RUNNING"]) {
        expected.push(notice(&id, State::Running, Some("host.example")));
    }
    are_told(&everybody[..1], &expected).await?;
    // Those who went are told nothing of it, and the last word of a domain is told like every other.
    owner.ask(Operation::DomainRemove, json!({"domain": "web"})).await?;
    owner.sees_it_go("web").await?;
    eventually("the end is told", SOON, async || told(&heard, "first.state").len() == expected.len() + 2).await?;
    let ends = told(&heard, "first.state").split_off(expected.len());
    ensure!(ends.iter().all(|it| it["state"] == "TERMINATED" && it["properties"]["hostname"] == "host.example"), "{ends:#?}");
    ensure!(told(&heard, "second.state") == second && told(&heard, "second.also") == also, "{heard:#?}");
    pair.was_asked_through_the_standby().await
}

#[tokio::test]
async fn subscribers_are_told_of_real_instances() -> Result<()> {
    let pair = Pair::new().await?;
    let owner = pair.user("owner1");
    let heard = listen(&pair, "owner1").await?;
    let _site = pair.rig.site("local").await?;
    let config = json!({
        "general": {"decide_interval": 0.2},
        "health": {"boot_timeout": 30, "missing_timeout": 4, "really_missing_timeout": 1},
        "engine_conf": {"preserve_n": 2, "force_site": "local", "epuworker_type": "worker"},
    });
    let request = json!({"domain": "web", "config": config, "subscriber_name": "first", "subscriber_op": "state"});
    owner.ask(Operation::DomainAdd, request).await?;
    let described = owner.sees("web", "two run", |it| in_state(it, &["RUNNING"]).len() == 2).await?;
    let ids = in_state(&described, &["RUNNING"]);
    owner.ask(Operation::InstanceKill, json!({"instance": ids[0], "reason": "a test"})).await?;
    let two = |it: &Value| in_state(it, &["RUNNING"]).len() == 2 && in_state(it, &["TERMINATED"]).len() == 1;
    owner.sees("web", "it is replaced", two).await?;
    owner.ask(Operation::DomainRemove, json!({"domain": "web"})).await?;
    owner.sees_it_go("web").await?;
    let ended = async || told(&heard, "first.state").len() >= 6;
    eventually("everything is told", SOON, ended).await.with_context(|| format!("{heard:#?}"))?;
    let mut by_id: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for notice in told(&heard, "first.state") {
        let word = |at: &str| notice[at].as_str().map(str::to_owned).with_context(|| format!("{at} in {notice}"));
        by_id.entry(word("node_id")?).or_default().push(word("state")?);
        ensure!(notice["domain_id"] == "web" && notice["properties"].is_object(), "{notice}");
    }
    ensure!(by_id.len() == 3 && by_id.values().all(|states| states == &["RUNNING", "TERMINATED"]), "{by_id:#?}");
    pair.was_asked_through_the_standby().await
}
