//! `pilothouse why`: the reasons for what a domain or an instance did, out of its journal.

mod domain;
mod instance;
#[cfg(test)]
mod tests;

use pilothouse_core::explain::Explanation;
use pilothouse_core::guard::Ruling;
use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
use pilothouse_core::time::Timestamp;

use super::caller::CallerArgs;
use crate::api::{AskWhy, Operation};
use crate::output::clean;

/// Of what, and how to reach the hosts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse why web               the newest decision that mattered: what was seen, asked for, and ruled by each guard
  pilothouse why web 0             why instance web/0 was started, what it went through, and why it ended
  pilothouse why web --output json | jq '.decisions[0].reason'

Decisions that changed nothing and said nothing new are not on record.")]
pub(crate) struct WhyArgs {
    /// The domain
    #[arg(value_name = "DOMAIN")]
    domain: Name,
    /// One of its instances: its number or its id
    #[arg(value_name = "INSTANCE")]
    instance: Option<String>,
    #[command(flatten)]
    pub(crate) client: CallerArgs,
}

/// Asks, and shows the answer.
pub(crate) async fn run(args: WhyArgs) -> anyhow::Result<()> {
    let caller = args.client.connect().await?;
    let request = AskWhy { domain: args.domain.to_string(), instance: args.instance };
    let explanation: Explanation = caller.call(Operation::Why, &request).await?;
    let now = crate::clock::now();
    args.client.output.print(&explanation, |it| text(it, now))?;
    Ok(())
}

/// The story, as it is told at `now`.
fn text(explanation: &Explanation, now: Timestamp) -> String {
    match explanation {
        Explanation::Domain(story) => domain::text(story, now),
        Explanation::Instance(story) => instance::text(story, now),
    }
}

/// The guards that had something to say, each on a line; and in a word that the others let it pass.
fn rulings(rulings: &[Ruling], indent: &str) -> String {
    let mut text = String::new();
    let mut silent = Vec::new();
    for ruling in rulings {
        match &ruling.note {
            Some(note) => text += &format!("{indent}{} let {} pass: {}\n", ruling.guard.name(), ruling.passed, clean(note)),
            None => silent.push(ruling.guard.name()),
        }
    }
    match (silent.len(), rulings.len()) {
        (0, _) => {}
        (all, guards) if all == guards => text += &format!("{indent}every guard let it pass\n"),
        _ => text += &format!("{indent}no objection from {}\n", silent.join(", ")),
    }
    text
}

fn engine(engine: &EngineInForce) -> String {
    clean(&format!("{} {} ({:.12})", engine.name, engine.version, engine.digest))
}
