//! Operations on hosts: any host lists them all, and disables or enables any of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use bytes::Bytes;
use futures::StreamExt;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use tokio_util::sync::CancellationToken;

use super::{bytes, name, unavailable};
use crate::api::{Disabled, HostDescription, HostList, HostSwitched, ListHosts, OnHost};
use crate::driver::host::Domains;
use crate::store::Journal;

/// What every host is asked at once.
const DESCRIBE: &str = "describe";

/// How long the first answer may take. The host that asks hears its own question, so that there is one.
const FIRST: Duration = Duration::from_secs(1);

/// How long after an answer another may come. Hosts answer from memory.
const NEXT: Duration = Duration::from_millis(300);

/// How long a list may take in all.
const ALL: Duration = Duration::from_secs(2);

/// How long a host that is there may take to see that it was disabled, or enabled again.
const NOTED: Duration = Duration::from_secs(2);

/// Answers when every host is asked how it is.
pub(in crate::driver) async fn attend<J: Journal>(
    client: &Client,
    domains: Arc<Domains<J>>,
    stop: &CancellationToken,
) -> Result<(), async_nats::SubscribeError> {
    let mut questions = client.subscribe(domains.shared.subjects.hosts(DESCRIBE)).await?;
    let (client, stop) = (client.clone(), stop.clone());
    tokio::spawn(async move {
        loop {
            let question = tokio::select! {
                question = questions.next() => match question { Some(question) => question, None => break },
                () = stop.cancelled() => break,
            };
            let (Some(reply), Ok(answer)) = (question.reply, bytes(&domains.describe_this_host())) else { continue };
            if let Err(error) = client.publish(reply, answer).await {
                tracing::debug!(%error, "nobody waits for an answer");
            }
        }
    });
    Ok(())
}

impl<J: Journal> Domains<J> {
    pub(super) async fn list_hosts(&self, ListHosts {}: ListHosts) -> Result<Bytes, ApiError> {
        let mut hosts = self.ask_hosts().await?;
        hosts.sort_by(|a, b| a.host.cmp(&b.host));
        let mut away = self.shared.hosts.all_disabled().await.map_err(unavailable)?;
        away.retain(|name| hosts.iter().all(|it| it.host != *name));
        away.sort();
        bytes(&HostList { hosts, disabled_and_away: away })
    }

    /// Disables or enables a host, and waits a moment for it to say that it knows. It need not be there.
    pub(super) async fn switch_host(&self, user: Name, request: OnHost, enabled: bool) -> Result<Bytes, ApiError> {
        let host = name("/host", &request.host)?;
        super::check_request_id(request.request_id.as_deref())?;
        let hosts = &self.shared.hosts;
        let switched = if enabled {
            hosts.enable(&host).await
        } else {
            hosts.disable(&host, &Disabled { by: user, at: self.shared.clock.now() }).await
        };
        switched.map_err(unavailable)?;
        let end = Instant::now() + NOTED;
        let noted = loop {
            let mut there = self.ask_hosts().await?;
            there.retain(|it| it.host == host);
            if there.is_empty() {
                break false;
            }
            let noted = there.iter().all(|it| it.disabled.is_none() == enabled);
            if noted || Instant::now() >= end {
                break noted;
            }
        };
        bytes(&HostSwitched { host, enabled, noted })
    }

    /// How this host is.
    fn describe_this_host(&self) -> HostDescription {
        let shared = &self.shared;
        HostDescription {
            host: shared.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            owner: shared.ownership.is_mine(),
            domains: shared.router.len() as u64,
            disabled: shared.hosts.own().borrow().clone(),
        }
    }

    /// Asks every host how it is. Who does not answer within a moment is held for away.
    async fn ask_hosts(&self) -> Result<Vec<HostDescription>, ApiError> {
        let (client, question) = (&self.shared.nats, self.shared.subjects.hosts(DESCRIBE));
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(unavailable)?;
        client.publish_with_reply(question, inbox, Bytes::new()).await.map_err(unavailable)?;
        let end = Instant::now() + ALL;
        let (mut hosts, mut patience) = (Vec::new(), FIRST);
        while let Ok(Some(answer)) = tokio::time::timeout(patience.min(end.saturating_duration_since(Instant::now())), answers.next()).await
        {
            match serde_json::from_slice::<HostDescription>(&answer.payload) {
                Ok(host) => hosts.push(host),
                Err(error) => tracing::debug!(%error, "a host describes itself in another way"),
            }
            patience = NEXT;
        }
        Ok(hosts)
    }
}
