//! `pilothouse engine remove`: a version less.

use super::pin::whole;
use crate::api::{EngineChanged, Operation, RemoveEngine};
use crate::commands::caller::{CallerArgs, request_id};
use crate::output::clean;

/// Takes a version out of the registry, and its component out of the store
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine remove keep@1.0.0

A version stays while a domain of anybody needs it: it decides the domain, is what the domain goes back to when its engine fails, or runs
beside it as a shadow. So does one that is pinned. Removed versions may be pushed again, with the same bytes.")]
pub(super) struct RemoveArgs {
    /// The version, whole
    #[arg(value_name = "NAME@VERSION")]
    engine: String,
    #[command(flatten)]
    pub(super) client: CallerArgs,
}

/// Removes it and says so.
pub(super) async fn run(args: RemoveArgs) -> anyhow::Result<()> {
    let RemoveArgs { engine, client } = args;
    let (name, version) = whole(&engine)?;
    let request = RemoveEngine { name, version, request_id: request_id() };
    let changed: EngineChanged = client.connect().await?.call(Operation::EngineRemove, &request).await?;
    Ok(client.output.print(&changed, told)?)
}

fn told(changed: &EngineChanged) -> String {
    let EngineChanged { name, version, changed, .. } = changed;
    let what = if *changed { "removed" } else { "was removed already" };
    format!("engine {name}@{} {what}", clean(version.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_version_is_gone_is_told_also_when_it_was_before() {
        let mut changed = EngineChanged {
            name: "keep".parse().expect("a name"),
            version: Some("1.0.0".to_owned()),
            digest: None,
            pinned: None,
            limits: Default::default(),
            domains: None,
            changed: true,
        };
        assert_eq!(told(&changed), "engine keep@1.0.0 removed");
        changed.changed = false;
        assert_eq!(told(&changed), "engine keep@1.0.0 was removed already");
    }
}
