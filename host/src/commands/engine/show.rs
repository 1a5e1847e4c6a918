//! `pilothouse engine show`: all about one engine.

use std::fmt::Write as _;

use pilothouse_core::explain::ShadowTold;
use pilothouse_core::time::Timestamp;
use serde_json::Value;

use super::check::{keys, size};
use super::faults;
use super::limits;
use crate::api::{
    EngineDescription, EngineDomain, EngineFileOnHost, EngineShadow, EngineSource, EngineState, EngineVersion, EngineVersionRef, Operation,
};
use crate::commands::caller::CallerArgs;
use crate::conformance;
use crate::output::{clean, count, moment, moment_ago, table};

/// Tells all about one engine: its versions on all hosts, its limits, and your domains that it decides
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine show npreserving
  pilothouse engine show keep@1.2.0
  pilothouse engine show keep --output json | jq '.versions[] | {version, ready}'

With a version, documentation and keys of the configuration are those of that version; else those of the one in effect. Domains, shadows and
faults are told of your own domains alone, how many domains a version decides of all.")]
pub(super) struct ShowArgs {
    /// The engine, or one of its versions
    #[arg(value_name = "NAME[@VERSION]")]
    engine: String,
    #[command(flatten)]
    pub(super) client: CallerArgs,
}

/// Asks and shows the answer.
pub(super) async fn run(args: ShowArgs) -> anyhow::Result<()> {
    let ShowArgs { engine, client } = args;
    let shown: EngineDescription = client.connect().await?.call(Operation::EngineShow, &reference(&engine)).await?;
    let now = crate::clock::now();
    Ok(client.output.print(&shown, |shown| text(shown, now))?)
}

/// What somebody calls an engine, or a version of it.
pub(super) fn reference(text: &str) -> EngineVersionRef {
    match text.split_once('@') {
        Some((name, version)) => EngineVersionRef { name: name.to_owned(), version: Some(version.to_owned()) },
        None => EngineVersionRef { name: text.to_owned(), version: None },
    }
}

/// How a version is on a host.
pub(super) fn state_words(state: &EngineState) -> String {
    match state {
        EngineState::Waiting { reason: None } => "waiting for its turn".to_owned(),
        EngineState::Waiting { reason: Some(reason) } => format!("could not be had, tried again: {}", clean(reason)),
        EngineState::Compiling => "being compiled".to_owned(),
        EngineState::Ready { compile_ms, from_cache: true } => format!("ready in {compile_ms} ms, from the cache"),
        EngineState::Ready { compile_ms, from_cache: false } => format!("ready in {compile_ms} ms"),
        EngineState::Refused { reason } => format!("REFUSED: {}", clean(reason)),
        EngineState::OnDemand => "compiled when a domain takes it".to_owned(),
    }
}

/// Where an engine is from.
pub(super) fn sources_words(sources: &[EngineSource]) -> String {
    let word = |source: &EngineSource| match source {
        EngineSource::BuiltIn => "built in",
        EngineSource::File => "file",
        EngineSource::Folder => "folder",
        EngineSource::Pushed => "pushed",
    };
    sources.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// A line about a file of a folder that a host watches.
pub(super) fn file_words(on_host: &EngineFileOnHost) -> String {
    let EngineFileOnHost { host, file } = on_host;
    let path = clean(&file.file);
    let offers = file.engine.as_ref().map(|engine| clean(&format!("{}@{}", engine.name, engine.version)));
    match (&file.refused, offers) {
        (None, Some(offers)) => format!("{path} on {host}: {offers}, saved {}\n", moment(file.saved)),
        (None, None) => format!("{path} on {host}: nothing yet\n"),
        (Some(why), Some(offers)) => format!("{path} on {host}: REFUSED as it is now: {}; {offers} stays\n", clean(why)),
        (Some(why), None) => format!("{path} on {host}: REFUSED: {}\n", clean(why)),
    }
}

fn text(it: &EngineDescription, now: Timestamp) -> String {
    let mut text = format!("engine     {}\n", it.name);
    let in_effect = it.in_effect.as_deref().map_or_else(|| "none: there are only pre-releases".to_owned(), clean);
    // Writing to a `String` never fails.
    let _ = writeln!(text, "in effect  {in_effect}");
    if let Some(pinned) = &it.pinned {
        let why = pinned.reason.as_ref().map(|reason| format!(": {}", clean(reason))).unwrap_or_default();
        let (version, since) = (clean(&pinned.version), moment_ago(pinned.at, now));
        let _ = writeln!(text, "pinned     {version} by {} since {since}{why}", pinned.by);
    }
    text += "\nversions\n";
    text += &indented(&table(
        ["VERSION", "DIGEST", "SIZE", "FROM", "DOMAINS", "PUSHED"],
        &it.versions.iter().map(version_row).collect::<Vec<_>>(),
    ));
    text += "\non hosts\n";
    text += &indented(&on_hosts(&it.versions));
    if !it.files.is_empty() {
        text += "\nfiles of watched folders\n";
        text += &indented(&it.files.iter().map(file_words).collect::<String>());
    }
    text += "\nlimits\n";
    text += &indented(&limits::text(&it.limits));
    if !it.domains.is_empty() {
        text += "\nyour domains\n";
        let rows: Vec<_> = it.domains.iter().map(domain_row).collect();
        text += &indented(&table(["DOMAIN", "VERSION", "ASKS FOR", ""], &rows));
    }
    if !it.shadows.is_empty() {
        text += "\nas a shadow\n";
        let rows: Vec<_> = it.shadows.iter().map(shadow_row).collect();
        text += &indented(&table(["DOMAIN", "VERSION", "COMPARED", "DIFFERED", "FAILED", "NEWEST DIFFERENCE"], &rows));
    }
    if !it.faults.is_empty() {
        text += "\nnewest faults in your domains\n";
        text += &indented(&faults::lines(&it.faults));
    }
    if let Some(schema) = it.config_schema.as_ref().and_then(Value::as_object) {
        let _ = write!(text, "\nkeys of engine_conf\n{}", keys(&conformance::keys(schema)));
    }
    match it.documentation.as_ref().map(|documentation| documentation.trim()) {
        Some("") => {}
        Some(documentation) => {
            text += "\nwhat it says\n";
            text += &documentation.lines().map(|line| format!("  {}", clean(line)).trim_end().to_owned() + "\n").collect::<String>();
        }
        None => text += "\nThe host that answers has not loaded it, and so does not know what it says of itself.\n",
    }
    if it.left_out > 0 {
        let _ = writeln!(text, "\nand {} that did not fit", count(it.left_out, "version or domain"));
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn version_row(it: &EngineVersion) -> [String; 6] {
    let pushed = match (&it.by, it.at) {
        (Some(by), Some(at)) => format!("{} by {by}", moment(at)),
        _ => String::new(),
    };
    let about = if it.about.is_empty() { String::new() } else { format!("  {}", clean(&it.about)) };
    [
        clean(&it.version),
        it.digest.chars().take(12).collect(),
        if it.bytes == 0 { "?".to_owned() } else { size(usize::try_from(it.bytes).unwrap_or(usize::MAX)) },
        sources_words(&it.sources),
        it.used_by.map_or_else(|| "?".to_owned(), |used_by| used_by.to_string()),
        format!("{pushed}{about}"),
    ]
}

/// How the versions are on each host; where that is the same for all versions, in one line.
fn on_hosts(versions: &[EngineVersion]) -> String {
    let mut rows = Vec::new();
    for version in versions {
        for host in &version.ready {
            rows.push([clean(&version.version), host.host.to_string(), state_words(&host.state)]);
        }
    }
    if rows.is_empty() { "no host answers\n".to_owned() } else { table(["VERSION", "HOST", "STATE"], &rows) }
}

fn domain_row(it: &EngineDomain) -> [String; 4] {
    let held = if it.held { "HELD" } else { "" }.to_owned();
    let back = it.rolled_back_from.as_ref().map(|from| format!("ROLLED BACK from {}", clean(from)));
    let notes: Vec<String> = [held, back.unwrap_or_default()].into_iter().filter(|note| !note.is_empty()).collect();
    [it.domain.to_string(), clean(&it.engine.version), clean(&it.reference), notes.join(", ")]
}

fn shadow_row(it: &EngineShadow) -> [String; 6] {
    let ShadowTold { shadow, promoted_at, .. } = &it.shadow;
    let newest = match (&shadow.tally.last, promoted_at) {
        (Some(last), _) => format!("{}: {}", moment(last.at), clean(&last.words)),
        (None, Some(at)) => format!("none; it comes into force at {}", moment(*at)),
        (None, None) => "none".to_owned(),
    };
    let tally = &shadow.tally;
    let [compared, differed, failed] = [tally.compared, tally.differed, tally.failed].map(|n| n.to_string());
    [it.domain.to_string(), clean(&shadow.engine.version), compared, differed, failed, newest]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_engine_is_told_with_everything_about_it() {
        let engine = json!({"name": "keep", "version": "1.1.0", "digest": "ab".repeat(32)});
        let described: EngineDescription = serde_json::from_value(json!({
            "name": "keep",
            "in_effect": "1.1.0",
            "pinned": {"version": "1.1.0", "by": "ann", "at": 1_795_241_128_000_u64, "reason": "1.2.0 is\u{1b} odd"},
            "versions": [
                {"version": "1.2.0", "digest": "cd".repeat(32), "bytes": 21_734, "sources": ["pushed"], "about": "Keeps some", "by": "ann",
                 "at": 1_795_241_128_000_u64, "used_by": 0,
                 "ready": [{"host": "ship-1", "state": "ready", "compile_ms": 120, "from_cache": false},
                           {"host": "ship-2", "state": "refused", "reason": "it imports `wasi:http`"}]},
                {"version": "1.1.0", "digest": "ab".repeat(32), "bytes": 0, "sources": ["built_in", "file"],
                 "ready": [{"host": "ship-1", "state": "on_demand"}]},
            ],
            "limits": {"effective": {"fuel": 1000}, "overrides": {"fuel": 1000}, "cut": []},
            "domains": [{"domain": "web", "engine": engine, "reference": "keep@1", "held": true, "rolled_back_from": "1.2.0"}],
            "shadows": [{"domain": "jobs", "engine": engine, "reference": "keep@1.1.0", "by": "ann", "since": 1_795_241_128_000_u64,
                         "tally": {"compared": 7, "differed": 2, "failed": 1,
                                   "last": {"at": 1_795_241_130_000_u64, "places": ["launches", "status"],
                                            "words": "it would launch 3,\nthe engine in force 0\u{1b}"}}},
                        {"domain": "web", "engine": engine, "reference": "keep", "by": "ann", "since": 1_795_241_128_000_u64,
                         "promote_after": 60_000, "promoted_at": 1_795_241_188_000_u64, "tally": {"compared": 12, "differed": 0, "failed": 0}},
                        {"domain": "new", "engine": engine, "reference": "keep", "by": "ann", "since": 1_795_241_128_000_u64}],
            "documentation": "# keep\n\nKeeps some.\u{1b}[2J",
            "config_schema": {"properties": {"n": {"type": "integer"}}},
        }))
        .expect("a description");
        assert_eq!(
            text(&described, Timestamp::from_secs(1_795_241_140)),
            "engine     keep\n\
             in effect  1.1.0\n\
             pinned     1.1.0 by ann since 2026-11-21 06:05:28Z (12 s ago): 1.2.0 is\u{fffd} odd\n\n\
             versions\n\
             \u{20} VERSION  DIGEST        SIZE    FROM            DOMAINS  PUSHED\n\
             \u{20} 1.2.0    cdcdcdcdcdcd  22 KiB  pushed          0        2026-11-21 06:05:28Z by ann  Keeps some\n\
             \u{20} 1.1.0    abababababab  ?       built in, file  ?\n\n\
             on hosts\n\
             \u{20} VERSION  HOST    STATE\n\
             \u{20} 1.2.0    ship-1  ready in 120 ms\n\
             \u{20} 1.2.0    ship-2  REFUSED: it imports `wasi:http`\n\
             \u{20} 1.1.0    ship-1  compiled when a domain takes it\n\n\
             limits\n\
             \u{20} LIMIT  IN EFFECT  OF ITS OWN\n\
             \u{20} fuel   1000       1000\n\n\
             your domains\n\
             \u{20} DOMAIN  VERSION  ASKS FOR\n\
             \u{20} web     1.1.0    keep@1    HELD, ROLLED BACK from 1.2.0\n\n\
             as a shadow\n\
             \u{20} DOMAIN  VERSION  COMPARED  DIFFERED  FAILED  NEWEST DIFFERENCE\n\
             \u{20} jobs    1.1.0    7         2         1       2026-11-21 06:05:30Z: it would launch 3, the engine in force 0\u{fffd}\n\
             \u{20} web     1.1.0    12        0         0       none; it comes into force at 2026-11-21 06:06:28Z\n\
             \u{20} new     1.1.0    0         0         0       none\n\n\
             keys of engine_conf\n\
             \u{20} KEY  KIND     DEFAULT\n\
             \u{20} n    integer\n\n\
             what it says\n\
             \u{20} # keep\n\n\
             \u{20} Keeps some.\u{fffd}[2J\n"
        );
    }

    #[test]
    fn a_file_of_a_folder_is_told_with_what_it_offers_and_why_not() {
        let file = |engine: bool, refused: Option<&str>| {
            let engine = engine.then(|| json!({"name": "keep", "version": "1.1.0", "digest": "ab"}));
            let file =
                json!({"host": "ship-1", "file": "/e/keep.wasm", "engine": engine, "saved": 1_795_241_128_000_u64, "refused": refused});
            file_words(&serde_json::from_value(file).expect("a file"))
        };
        assert_eq!(file(true, None), "/e/keep.wasm on ship-1: keep@1.1.0, saved 2026-11-21 06:05:28Z\n");
        assert_eq!(file(true, Some("cut off")), "/e/keep.wasm on ship-1: REFUSED as it is now: cut off; keep@1.1.0 stays\n");
        assert_eq!(file(false, Some("cut off")), "/e/keep.wasm on ship-1: REFUSED: cut off\n");
    }
}
