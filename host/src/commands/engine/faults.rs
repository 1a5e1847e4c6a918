//! `pilothouse engine faults`: how engines failed.

use pilothouse_core::time::Timestamp;

use crate::api::{AskEngineFaults, EngineFault, EngineFaults, Operation};
use crate::commands::caller::CallerArgs;
use crate::commands::moment;
use crate::output::{self, clean};

/// Functions of a backtrace that are shown.
const MAX_FRAMES: usize = 8;

/// Tells how engines failed, in the domains of everybody: the newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine faults
  pilothouse engine faults keep --since -1h
  pilothouse engine faults --domain ann/web --limit 5
  pilothouse engine faults --output json | jq -r '.faults[].engine.version' | sort | uniq -c

What is told is what the host that looks after the domains remembers: the newest 1000 since it was started. What is older is in the journal:
`pilothouse history DOMAIN` tells it. Of those that are counted, as many in a row as `general.roll_back_after` says, three by default,
lead back to the version before.")]
pub(super) struct FaultsArgs {
    /// Only of this engine
    #[arg(value_name = "NAME")]
    engine: Option<String>,
    /// Only in this domain: yours, or OWNER/NAME
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// From then on: 2026-11-21T03:12:00Z, 03:12 or 03:12:30 (UTC, the last time it was that late), or -10m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = past)]
    since: Option<Timestamp>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    pub(super) client: CallerArgs,
}

fn past(text: &str) -> Result<Timestamp, String> {
    moment::parse(text, crate::clock::now())
}

/// Asks and shows the answer.
pub(super) async fn run(args: FaultsArgs) -> anyhow::Result<()> {
    let FaultsArgs { engine, domain, since, limit, client } = args;
    let request = AskEngineFaults { name: engine, domain, since, limit: Some(limit) };
    let faults: EngineFaults = client.connect().await?.call(Operation::EngineFaults, &request).await?;
    Ok(client.output.print(&faults, text)?)
}

fn text(faults: &EngineFaults) -> String {
    if faults.faults.is_empty() {
        return "no faults".to_owned();
    }
    let mut text = lines(&faults.faults);
    if faults.more {
        text += "and older ones\n";
    }
    let counts: Vec<String> = faults.counts.iter().map(|(kind, count)| format!("{count} {}", clean(kind))).collect();
    text + &format!("{} in all\n", counts.join(", "))
}

/// Two lines, or three, for each.
pub(super) fn lines(faults: &[EngineFault]) -> String {
    faults.iter().map(line).collect()
}

fn line(fault: &EngineFault) -> String {
    let EngineFault { owner, domain, at, engine, call, kind, message, backtrace, fuel, counted, led_to } = fault;
    let engine = clean(&format!("{}@{}", engine.name, engine.version));
    let counted = if *counted { "counted" } else { "not counted" };
    let led_to = led_to.as_ref().map(|led_to| format!(", {}", clean(led_to).to_uppercase())).unwrap_or_default();
    let kind = kind.name();
    let mut text = format!(
        "{}  {owner}/{domain}  {engine}  {kind} in {}, {counted}{led_to}\n    {} ({fuel} units of fuel)\n",
        output::moment(*at),
        clean(call),
        clean(message)
    );
    if !backtrace.is_empty() {
        let mut frames: Vec<String> = backtrace.iter().take(MAX_FRAMES).map(|frame| clean(frame)).collect();
        if backtrace.len() > MAX_FRAMES {
            frames.push("…".to_owned());
        }
        text += &format!("    in {}\n", frames.join(", called by "));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_is_told_with_what_it_led_to() {
        let fault = json!({
            "owner": "ann", "domain": "web", "at": 1_795_241_128_000_u64,
            "engine": {"name": "keep", "version": "1.2.0", "digest": "ab"},
            "call": "decide", "kind": "trap", "message": "unreachable\u{1b}", "backtrace": ["inner", "decide"], "fuel": 77, "counted": true,
            "led_to": "back to 1.1.0",
        });
        let mut faults: EngineFaults =
            serde_json::from_value(json!({"faults": [fault], "counts": {"trap": 3, "fuel": 1}, "more": true})).expect("faults");
        assert_eq!(
            text(&faults),
            "2026-11-21 06:05:28Z  ann/web  keep@1.2.0  trap in decide, counted, BACK TO 1.1.0\n    unreachable\u{fffd} (77 units of fuel)\n    \
             in inner, called by decide\nand older ones\n1 fuel, 3 trap in all\n"
        );
        faults.faults.clear();
        assert_eq!(text(&faults), "no faults");
    }
}
