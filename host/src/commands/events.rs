//! `pilothouse events`: what happens in one's domains, as it happens.

use anyhow::Context as _;
use futures::StreamExt as _;
use pilothouse_core::domain::Happening;
use pilothouse_core::name::Name;

use super::caller::CallerArgs;
use crate::output::{happening, time_of_day};
use crate::process;

/// Of which domain, and how to reach the hosts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse events
  pilothouse events web --output json | jq .event

Prints until it is stopped. What happened before is in the journal: ask `pilothouse history` or `pilothouse why`.")]
pub(crate) struct EventsArgs {
    /// Only this domain
    #[arg(value_name = "DOMAIN")]
    domain: Option<Name>,
    #[command(flatten)]
    pub(crate) client: CallerArgs,
}

/// Prints until asked to stop, or until nobody reads.
pub(crate) async fn run(args: EventsArgs) -> anyhow::Result<()> {
    let stop = process::asked_to_stop()?;
    let caller = args.client.connect().await?;
    let subject = caller.events_subject();
    let mut events = caller.nats().subscribe(subject.clone()).await.with_context(|| format!("listening on {subject}"))?;
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            refused = caller.refused(&subject) => return Err(refused.into()),
            message = events.next() => message.context("the connection was closed")?,
        };
        let Ok(happened) = serde_json::from_slice::<Happening>(&message.payload) else {
            tracing::warn!(subject = %message.subject, "not an event");
            continue;
        };
        if args.domain.as_ref().is_none_or(|domain| *domain == happened.domain.name) {
            args.client.output.print_line(&happened, |it| format!("{}  {}", time_of_day(it.at), happening::line(it)))?;
        }
    }
}
