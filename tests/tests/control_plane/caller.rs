//! A caller whose request takes long.

use anyhow::{Context, Result};
use futures::StreamExt;
use pilothouse::api::{ApiClient, DomainList, ListDomains, Operation};
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use pilothouse_tests::nats::NatsServer;
use serde_json::json;

/// What takes longer than an attempt is not begun anew in vain: the first attempt's answer is taken, although a second one is under way.
#[tokio::test]
async fn an_answer_that_takes_long_is_taken() -> Result<()> {
    let nats = NatsServer::start().await?;
    let subjects = Subjects::new(&Subjects::DEFAULT_PREFIX.parse()?);
    let host = nats.client().await?;
    let mut requests = host.subscribe(subjects.api("ann", Operation::DomainList.name())).await?;
    host.flush().await?;
    let api = ApiClient::new(nats.client().await?, subjects, "ann".parse::<Name>()?);
    let asked = tokio::spawn(async move { api.call::<DomainList>(Operation::DomainList, &ListDomains {}).await });
    let first = requests.next().await.context("a first attempt")?;
    // The first is answered only when the second is there, and the second never.
    let second = requests.next().await.context("a second attempt")?;
    anyhow::ensure!(first.reply != second.reply && first.payload == second.payload);
    let answer = json!({"domains": [], "unanswered": ["slow"]}).to_string();
    host.publish(first.reply.context("somebody waits")?, answer.into()).await?;
    let list = asked.await??;
    anyhow::ensure!(list.unanswered.iter().map(Name::as_str).eq(["slow"]), "{list:?}");
    Ok(())
}
