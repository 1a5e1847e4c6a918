//! `pilothouse engine limits`: what one engine may use up.

use std::collections::BTreeMap;

use pilothouse_core::engine::Limits;
use serde_json::{Map, Value};

use super::show::reference;
use crate::api::{EngineChanged, EngineDescription, EngineLimitsInForce, LimitEngine, Operation};
use crate::commands::caller::{CallerArgs, request_id};
use crate::output::{clean, table};

/// Shows what an engine may use up, or changes that
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine limits keep
  pilothouse engine limits keep --set fuel=50000000 --set deadline_ms=500
  pilothouse engine limits keep --unset fuel

They hold for all versions of the engine and on all hosts, from the next call on. What is not set is as each host has it: see [engine_limits]
in the configuration file of a host. What is more than a host allows is cut to that there. What no engine has for itself is told below: it is in that file alone.")]
pub(super) struct LimitsArgs {
    /// The engine
    #[arg(value_name = "NAME")]
    engine: String,
    /// What a limit is to be; may be repeated
    #[arg(long, value_name = "LIMIT=NUMBER", value_parser = limit)]
    set: Vec<(String, u64)>,
    /// Have a limit as hosts have it; may be repeated
    #[arg(long, value_name = "LIMIT")]
    unset: Vec<String>,
    #[command(flatten)]
    pub(super) client: CallerArgs,
}

fn limit(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("expected LIMIT=NUMBER, such as fuel=50000000")?;
    let value = value.replace('_', "").parse().map_err(|error| format!("{value:?} is no number: {error}"))?;
    Ok((name.to_owned(), value))
}

/// Changes them if that is asked for, and shows them.
pub(super) async fn run(args: LimitsArgs) -> anyhow::Result<()> {
    let LimitsArgs { engine, set, unset, client } = args;
    let caller = client.connect().await?;
    let limits: BTreeMap<String, Option<u64>> =
        unset.into_iter().map(|limit| (limit, None)).chain(set.into_iter().map(|(limit, value)| (limit, Some(value)))).collect();
    if !limits.is_empty() {
        let request = LimitEngine { name: engine.clone(), limits, request_id: request_id() };
        let _changed: EngineChanged = caller.call(Operation::EngineLimit, &request).await?;
    }
    let shown: EngineDescription = caller.call(Operation::EngineShow, &reference(&engine)).await?;
    Ok(client.output.print(&shown.limits, text)?)
}

/// A line for each limit.
pub(super) fn text(limits: &EngineLimitsInForce) -> String {
    let all = |limits: &Limits| match serde_json::to_value(limits) {
        Ok(Value::Object(all)) => all,
        _ => Map::new(),
    };
    let (effective, own) = (all(&limits.effective), all(&limits.overrides));
    let row = |(limit, value): (&String, &Value)| {
        let own = own.get(limit).map_or_else(String::new, ToString::to_string);
        [limit.clone(), value.to_string(), own]
    };
    let rows: Vec<_> = effective.iter().map(row).collect();
    let mut text = table(["LIMIT", "IN EFFECT", "OF ITS OWN"], &rows);
    text.extend(limits.cut.iter().map(|cut| format!("{}\n", clean(cut))));
    if let Some(Ok(Value::Object(of_all))) = limits.of_all.as_ref().map(serde_json::to_value) {
        let rows: Vec<_> = of_all.iter().map(|(limit, value)| [limit.clone(), value.to_string()]).collect();
        text.push('\n');
        text.push_str(&table(["OF ALL ENGINES", "ON THIS HOST"], &rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::api::LimitsOfAll;

    use super::*;

    #[test]
    fn limits_are_told_with_what_holds_and_what_was_set() {
        let limits = EngineLimitsInForce {
            effective: Limits { fuel: Some(1_000_000_000), requests: Some(2000), ..Limits::default() },
            overrides: Limits { requests: Some(9000), ..Limits::default() },
            cut: vec!["/requests: 9000 is cut to the host's ceiling of 2000".to_owned()],
            of_all: Some(LimitsOfAll {
                stack_bytes: 524_288,
                time_out_ms: 10_000,
                component_bytes: 67_108_864,
                threads: 4,
                memory_together_bytes: 1_073_741_824,
            }),
        };
        assert_eq!(
            text(&limits),
            "LIMIT     IN EFFECT   OF ITS OWN\n\
             fuel      1000000000\n\
             requests  2000        9000\n\
             /requests: 9000 is cut to the host's ceiling of 2000\n\n\
             OF ALL ENGINES         ON THIS HOST\n\
             component_bytes        67108864\n\
             memory_together_bytes  1073741824\n\
             stack_bytes            524288\n\
             threads                4\n\
             time_out_ms            10000\n"
        );
    }

    #[test]
    fn a_limit_is_given_with_its_number() {
        assert_eq!(limit("fuel=50_000_000"), Ok(("fuel".to_owned(), 50_000_000)));
        for bad in ["fuel", "fuel=", "fuel=-1", "fuel=much"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
