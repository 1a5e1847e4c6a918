//! `pilothouse why`: the reasons for what a domain or an instance did, out of its journal.
//!
//! The first line is the answer. Below it stands what it rests on, the most important first.

mod decision;
mod domain;
mod hold;
mod instance;
mod list;
mod page;
#[cfg(test)]
mod tests;

use pilothouse_core::explain::{Ask, Explanation};
use pilothouse_core::guard::Ruling;
use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
use pilothouse_core::time::Timestamp;

use super::caller::CallerArgs;
use super::moment;
use crate::api::Operation;
use crate::failure::Failure;
use crate::output::clean;

/// Of what, and how to reach the hosts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse why web               what holds it back, the newest decision, and what came of it
  pilothouse why web --at 03:12    the same, as it was at that time of day (UTC)
  pilothouse why web --at -10m     ... as it was ten minutes ago
  pilothouse why web --last 20     its newest decisions, a line each
  pilothouse why web 0             why instance web/0 was started, what it went through, and why it ended
  pilothouse why web --output json | jq '.holds, .decisions[0].reason'

Decisions that changed nothing and said nothing new are not on record.")]
pub(crate) struct WhyArgs {
    /// The domain
    #[arg(value_name = "DOMAIN")]
    domain: Name,
    /// One of its instances: its number or its id
    #[arg(value_name = "INSTANCE", conflicts_with_all = ["at", "last"])]
    instance: Option<String>,
    /// The domain as it was then: 2026-11-21T03:12:00Z, 03:12 or 03:12:30 (UTC, the last time it was that late), or -10m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
    /// Its newest N decisions, a line each; with --at the newest by then
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(Ask::MAX_LAST)))]
    last: Option<u32>,
    #[command(flatten)]
    pub(crate) client: CallerArgs,
}

/// Asks, and shows the answer.
pub(crate) async fn run(args: WhyArgs) -> anyhow::Result<()> {
    let asked_at = crate::clock::now();
    let at = args.at.as_deref().map(|text| moment::parse(text, asked_at)).transpose();
    let at = at.map_err(|error| Failure::Invalid(format!("--at {error}")))?;
    let caller = args.client.connect().await?;
    let ask = Ask { domain: args.domain.to_string(), instance: args.instance, at, last: args.last };
    let explanation: Explanation = caller.call(Operation::Why, &ask).await?;
    let now = crate::clock::now();
    args.client.output.print(&explanation, |it| page::fitted(text(it, now)))?;
    Ok(())
}

/// The story, as it is told at `now`.
fn text(explanation: &Explanation, now: Timestamp) -> String {
    match explanation {
        Explanation::Domain(story) => domain::text(story, now),
        Explanation::Decisions(list) => list::text(list, now),
        Explanation::Instance(story) => instance::text(story, now),
    }
}

/// What each guard said, in the order in which they were asked: in a word when nobody objected, else a line each.
fn rulings(rulings: &[Ruling], indent: &str) -> String {
    if rulings.is_empty() {
        return String::new();
    }
    let names = || rulings.iter().map(|ruling| ruling.guard.name()).collect::<Vec<_>>();
    if rulings.iter().all(|ruling| ruling.note.is_none()) {
        return format!("{indent}every guard let it pass ({})\n", names().join(", "));
    }
    let width = names().iter().map(|name| name.len()).max().unwrap_or_default();
    let mut left = true;
    let mut text = String::new();
    for ruling in rulings {
        let said = match &ruling.note {
            _ if !left => "had nothing left to rule on".to_owned(),
            Some(note) => format!("let {} pass: {}", ruling.passed, clean(note)),
            None => format!("let {} pass", ruling.passed),
        };
        left = ruling.passed > 0;
        text += &format!("{indent}guard {:width$}  {said}\n", ruling.guard.name());
    }
    text
}

fn engine(engine: &EngineInForce) -> String {
    clean(&format!("{} {} ({:.12})", engine.name, engine.version, engine.digest))
}
