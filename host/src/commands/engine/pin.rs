//! `pilothouse engine pin`, `unpin` and `rollback`: which version is in effect.

use serde::Serialize;

use crate::api::{EngineChanged, Operation, PinEngine, RollBackEngine, UnpinEngine};
use crate::commands::caller::{CallerArgs, request_id};
use crate::failure::Failure;
use crate::output::{clean, count};

/// Has every domain that it fits decided by one version, whatever newer ones there are or will be
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine pin keep@1.1.0
  pilothouse engine pin keep@1.1.0 --reason '1.2.0 is being looked at'
  pilothouse engine unpin keep

Domains whose configuration asks for another version, such as keep@1.2, are left as they are. One that went back from that version by itself
does not take it up again before `pilothouse domain retry`.")]
pub(super) struct PinArgs {
    /// The version, whole
    #[arg(value_name = "NAME@VERSION")]
    engine: String,
    /// Why, for whoever sees it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    pub(super) client: CallerArgs,
}

/// Lets domains follow the versions of an engine again: undoes `pin` and `rollback`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine unpin keep

Each domain takes up the newest version that its configuration asks for, between two decisions, except those that it went back from.")]
pub(super) struct UnpinArgs {
    /// The engine
    #[arg(value_name = "NAME")]
    engine: String,
    #[command(flatten)]
    pub(super) client: CallerArgs,
}

/// Pins the version before the one in effect, or an older one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine rollback keep --reason '1.2.0 launches too many'
  pilothouse engine rollback keep --to 1.0.0
  pilothouse engine unpin keep                      follows the newest again

Domains go back between two decisions and hand their memory to the older version; one that does not understand it begins anew on the
instances that run.")]
pub(super) struct RollbackArgs {
    /// The engine
    #[arg(value_name = "NAME")]
    engine: String,
    /// Which version, whole [default: the newest release below the one in effect]
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// Why, for whoever sees it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    pub(super) client: CallerArgs,
}

/// Pins a version.
pub(super) async fn pin(args: PinArgs) -> anyhow::Result<()> {
    let PinArgs { engine, reason, client } = args;
    let (name, version) = whole(&engine)?;
    change(&client, Operation::EnginePin, &PinEngine { name, version, reason, request_id: request_id() }).await
}

/// Pins none any more.
pub(super) async fn unpin(args: UnpinArgs) -> anyhow::Result<()> {
    let UnpinArgs { engine, client } = args;
    change(&client, Operation::EngineUnpin, &UnpinEngine { name: engine, request_id: request_id() }).await
}

/// Pins an older one.
pub(super) async fn rollback(args: RollbackArgs) -> anyhow::Result<()> {
    let RollbackArgs { engine, to, reason, client } = args;
    change(&client, Operation::EngineRollBack, &RollBackEngine { name: engine, to, reason, request_id: request_id() }).await
}

/// `NAME@VERSION`, both of them.
pub(super) fn whole(text: &str) -> anyhow::Result<(String, String)> {
    let parts = text.split_once('@').filter(|(name, version)| !name.is_empty() && !version.is_empty());
    let expected = || Failure::Invalid(format!("expected NAME@VERSION, such as keep@1.2.0, not {text:?}"));
    Ok(parts.map(|(name, version)| (name.to_owned(), version.to_owned())).ok_or_else(expected)?)
}

async fn change(client: &CallerArgs, operation: Operation, request: &impl Serialize) -> anyhow::Result<()> {
    let changed: EngineChanged = client.connect().await?.call(operation, request).await?;
    Ok(client.output.print(&changed, told)?)
}

fn told(changed: &EngineChanged) -> String {
    let EngineChanged { name, pinned, domains, changed, .. } = changed;
    let what = match (pinned, changed) {
        (Some(version), true) => format!("engine {name} is pinned to {}", clean(version)),
        (Some(version), false) => format!("engine {name} was pinned to {} already", clean(version)),
        (None, true) => format!("engine {name} is not pinned any more"),
        (None, false) => format!("engine {name} was not pinned"),
    };
    match domains {
        None => what,
        Some(0) => format!("{what}; no domain takes another version up by that"),
        Some(domains) => {
            let (who, take) =
                (count(usize::try_from(*domains).unwrap_or(usize::MAX), "domain"), if *domains == 1 { "takes" } else { "take" });
            format!("{what}; {who} {take} another version up, if it takes the configuration")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pin_leads_to_is_told() {
        let changed = |pinned: Option<&str>, domains, changed| {
            told(&EngineChanged {
                name: "keep".parse().expect("a name"),
                version: None,
                digest: None,
                pinned: pinned.map(str::to_owned),
                limits: Default::default(),
                domains,
                changed,
            })
        };
        let one = "engine keep is pinned to 1.1.0; 1 domain takes another version up, if it takes the configuration";
        assert_eq!(changed(Some("1.1.0"), Some(1), true), one);
        assert_eq!(
            changed(Some("1.1.0"), Some(0), false),
            "engine keep was pinned to 1.1.0 already; no domain takes another version up by that"
        );
        let many = "engine keep is not pinned any more; 12 domains take another version up, if it takes the configuration";
        assert_eq!(changed(None, Some(12), true), many);
        assert_eq!(changed(None, None, false), "engine keep was not pinned");
    }

    #[test]
    fn a_version_is_named_whole() {
        assert_eq!(whole("keep@1.2.0").expect("whole"), ("keep".to_owned(), "1.2.0".to_owned()));
        for bad in ["keep", "keep@", "@1.2.0", ""] {
            assert!(whole(bad).is_err(), "{bad}");
        }
    }
}
