//! `pilothouse domain shadow`: another engine beside that of a domain, of which nothing is carried out.

use pilothouse_core::name::Name;

use super::change;
use crate::api::{Done, Operation, ShadowDomain};
use crate::commands::caller::{CallerArgs, request_id};
use crate::output::clean;

/// Beside which domain what runs, and until when.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse domain shadow web --engine npreserving@1.3
  pilothouse domain shadow web --engine npreserving@1.3 --promote-after 10m
  pilothouse why web                         how often they differed, and in what
  pilothouse domain shadow web --off

The shadow sees what the engine in force sees, in every decision. What it asks for is compared and counted, and never carried out. With
--promote-after it comes into force when it has wanted the same for so long; without, it never does. A domain has one shadow: another one
takes its place.")]
pub(super) struct ShadowArgs {
    /// The domain
    #[arg(value_name = "NAME")]
    name: Name,
    /// What runs beside: NAME, NAME@VERSION, or a digest
    #[arg(long, value_name = "ENGINE", required_unless_present = "off")]
    engine: Option<String>,
    /// It comes into force when it has wanted the same for so long: 90s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = seconds, conflicts_with = "off")]
    promote_after: Option<f64>,
    /// Nothing runs beside any more
    #[arg(long, conflicts_with = "engine")]
    off: bool,
}

impl ShadowArgs {
    /// Asks for it, and shows the answer.
    pub(super) async fn run(self, client: &CallerArgs) -> anyhow::Result<()> {
        let Self { name, engine, promote_after, off: _ } = self;
        let request = ShadowDomain { domain: name.to_string(), engine, promote_after, request_id: request_id() };
        change(client, Operation::DomainShadow, &request, |done| told(&name, done)).await
    }
}

fn told(domain: &Name, done: &Done) -> String {
    let engine = &done["shadow"];
    match (engine["name"].as_str(), engine["version"].as_str()) {
        (Some(name), Some(version)) => {
            let shadow = clean(&format!("{name} {version}"));
            format!("{shadow} runs beside the engine of domain {domain}, as a shadow; pilothouse why {domain} tells how they compare")
        }
        _ => format!("no shadow runs beside the engine of domain {domain}"),
    }
}

/// A length of time as people write it, in seconds.
fn seconds(text: &str) -> Result<f64, String> {
    let expected = || format!("{text:?} is no length of time: expected one such as 90s, 10m or 2h");
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let unit = match unit {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.parse().map_err(|_| expected())?;
    let seconds = number * unit;
    if seconds.is_finite() && seconds >= 1.0 { Ok(seconds) } else { Err("expected at least one second".to_owned()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_length_of_time_is_read_as_people_write_it() {
        for (text, read) in [("90s", 90.0), ("90", 90.0), ("10m", 600.0), ("1.5min", 90.0), ("2h", 7200.0), ("1d", 86_400.0)] {
            assert_eq!(seconds(text), Ok(read), "{text}");
        }
        for text in ["", "m", "10 m", "-5m", "0.5s", "ten", "5w", "inf", "nan", "NaNs", "1e400"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_runs_beside_is_told_and_that_nothing_does_any_more() {
        let name: Name = "web".parse().expect("a name");
        let done = json!({"domain": "web", "shadow": {"name": "keep", "version": "1.3.0", "digest": "ab"}});
        assert_eq!(
            told(&name, &done),
            "keep 1.3.0 runs beside the engine of domain web, as a shadow; pilothouse why web tells how they compare"
        );
        assert_eq!(told(&name, &json!({"domain": "web", "shadow": null})), "no shadow runs beside the engine of domain web");
    }

    #[test]
    fn one_asks_for_an_engine_or_for_none() {
        use clap::Parser;
        #[derive(Debug, Parser)]
        struct Cli {
            #[command(flatten)]
            shadow: ShadowArgs,
        }
        let parse = |args: &[&str]| Cli::try_parse_from([&["shadow"], args].concat()).map(|cli| cli.shadow);
        assert_eq!(parse(&["web", "--engine", "keep@2", "--promote-after", "10m"]).expect("valid").promote_after, Some(600.0));
        assert!(parse(&["web", "--off"]).expect("valid").engine.is_none());
        for bad in [&["web"][..], &["web", "--off", "--engine", "keep"], &["web", "--off", "--promote-after", "10m"], &["--engine", "keep"]]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
