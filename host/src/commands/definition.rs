//! `pilothouse definition …`: templates of configurations, from which domains are made.

use std::fmt::Write as _;

use clap::Subcommand;
use pilothouse_core::name::Name;

use super::caller::{CallerArgs, request_id};
use super::domain::config::{ConfigArgs, values};
use super::engine::check::keys;
use crate::api::{DefinitionDescription, DefinitionList, DefinitionSummary, ListDefinitions, OnDefinition, Operation, WriteDefinition};
use crate::conformance;
use crate::output::{Format, clean, count, moment, table};

/// What to do with definitions, and how to reach the hosts.
#[derive(Debug, clap::Args)]
pub(crate) struct DefinitionArgs {
    #[command(subcommand)]
    command: DefinitionCommand,
    #[command(flatten)]
    pub(crate) client: CallerArgs,
}

#[derive(Debug, Subcommand)]
enum DefinitionCommand {
    /// Adds a definition
    #[command(after_help = "\
Examples:
  pilothouse definition add workers workers.toml
  pilothouse definition add workers --engine simplest --set engine_conf.epuworker_type=worker
  pilothouse domain add web --definition workers --set engine_conf.preserve_n=3

A definition has the sections of a configuration: general, health, engine_conf, schedule and sensors, each with any of its keys. What is missing is given when
a domain is made from it.")]
    Add {
        /// The name of the new definition
        #[arg(value_name = "NAME")]
        name: Name,
        #[command(flatten)]
        definition: ConfigArgs,
    },
    /// Lists the definitions
    #[command(after_help = "\
Examples:
  pilothouse definition list
  pilothouse definition list --output json | jq -r '.definitions[].name'")]
    List,
    /// Tells all about one definition: its values, and what its engine can be told
    #[command(after_help = "\
Examples:
  pilothouse definition describe workers
  pilothouse definition describe workers --output json | jq .definition > workers.json")]
    Describe(OneDefinition),
    /// Replaces a definition whole; domains that were made from it stay as they are
    #[command(after_help = "\
Examples:
  pilothouse definition update workers workers.toml

What the new one does not name is gone from it. To change a value:
  pilothouse definition describe workers --output json | jq .definition |
    pilothouse definition update workers - --set engine_conf.preserve_n=4")]
    Update {
        /// The definition
        #[arg(value_name = "NAME")]
        name: Name,
        #[command(flatten)]
        definition: ConfigArgs,
    },
    /// Removes a definition; domains that were made from it stay as they are
    #[command(after_help = "\
Examples:
  pilothouse definition remove workers")]
    Remove(OneDefinition),
}

#[derive(Debug, clap::Args)]
struct OneDefinition {
    /// The definition
    #[arg(value_name = "NAME")]
    name: Name,
}

/// Carries out the command and shows the answer.
pub(crate) async fn run(args: DefinitionArgs) -> anyhow::Result<()> {
    let DefinitionArgs { command, client } = args;
    let output = client.output;
    match command {
        DefinitionCommand::Add { name, definition } => {
            let request = WriteDefinition { name: name.to_string(), definition: definition.read()?, request_id: request_id() };
            let done: DefinitionSummary = client.connect().await?.call(Operation::DefinitionAdd, &request).await?;
            tell(output, &done, "added")
        }
        DefinitionCommand::Update { name, definition } => {
            let request = WriteDefinition { name: name.to_string(), definition: definition.read_some()?, request_id: request_id() };
            let done: DefinitionSummary = client.connect().await?.call(Operation::DefinitionUpdate, &request).await?;
            tell(output, &done, "replaced")
        }
        DefinitionCommand::Remove(OneDefinition { name }) => {
            let request = OnDefinition { name: name.to_string(), request_id: request_id() };
            let done: DefinitionSummary = client.connect().await?.call(Operation::DefinitionRemove, &request).await?;
            tell(output, &done, "removed")
        }
        DefinitionCommand::List => {
            let list: DefinitionList = client.connect().await?.call(Operation::DefinitionList, &ListDefinitions {}).await?;
            Ok(output.print(&list, lines)?)
        }
        DefinitionCommand::Describe(OneDefinition { name }) => {
            let request = OnDefinition { name: name.to_string(), request_id: None };
            let description: DefinitionDescription = client.connect().await?.call(Operation::DefinitionDescribe, &request).await?;
            Ok(output.print(&description, text)?)
        }
    }
}

fn tell(output: Format, done: &DefinitionSummary, what: &str) -> anyhow::Result<()> {
    Ok(output.print(done, |done| format!("definition {} {what}", done.name))?)
}

/// A line for each definition.
fn lines(list: &DefinitionList) -> String {
    let row = |it: &DefinitionSummary| [it.name.to_string(), clean(&it.engine), it.revision.to_string()];
    let rows: Vec<_> = list.definitions.iter().map(row).collect();
    let mut text = if rows.is_empty() { "no definitions\n".to_owned() } else { table(["NAME", "ENGINE", "REVISION"], &rows) };
    if list.left_out > 0 {
        text += &format!("and {} that did not fit\n", count(list.left_out, "definition"));
    }
    let told = |name: &Name| format!("{name}: what is kept under this name is no definition; update or remove it\n");
    text.extend(list.unreadable.iter().map(told));
    text
}

/// One definition, and what can be said in a domain that is made from it.
fn text(it: &DefinitionDescription) -> String {
    let engine = match &it.engine {
        Some(engine) => clean(&format!("{} {} ({:.12})", engine.name, engine.version, engine.digest)),
        None => "none that this host has".to_owned(),
    };
    let mut text = format!("definition {}, revision {}\nengine     {engine}\n", it.name, it.revision);
    if let (Some(by), Some(at)) = (&it.written_by, it.written_at) {
        text += &format!("written    {} by {by}\n", moment(at));
    }
    let values = values(&it.definition);
    // Writing to a `String` never fails.
    let _ = write!(text, "\nvalues\n{}", if values.is_empty() { "  none: everything is given by its domains\n" } else { &values });
    if let Some(schema) = it.config_schema.as_ref().and_then(|schema| schema.as_object()) {
        let _ = write!(text, "\nkeys of engine_conf\n{}", keys(&conformance::keys(schema)));
    }
    if let Some(documentation) = it.documentation.as_ref().filter(|text| !text.trim().is_empty()) {
        text += "\nwhat its engine says\n";
        text.extend(documentation.trim().lines().map(|line| format!("  {}", clean(line)).trim_end().to_owned() + "\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use pilothouse_core::record::EngineInForce;
    use pilothouse_core::time::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_of_definitions() {
        let summary =
            |name: &str, revision| DefinitionSummary { name: name.parse().expect("a name"), engine: "simplest@0.1.0".to_owned(), revision };
        let list = DefinitionList {
            definitions: vec![summary("pool", 12), summary("workers", 3)],
            unreadable: vec!["odd".parse().expect("a name")],
            left_out: 1,
        };
        assert_eq!(
            lines(&list),
            "NAME     ENGINE          REVISION\npool     simplest@0.1.0  12\nworkers  simplest@0.1.0  3\nand 1 definition that did not fit\n\
             odd: what is kept under this name is no definition; update or remove it\n"
        );
        assert_eq!(lines(&DefinitionList::default()), "no definitions\n");
    }

    #[test]
    fn a_definition_is_told_with_what_its_engine_can_be_told() {
        let schema = json!({
            "properties": {"preserve_n": {"type": "integer", "description": "How many"}, "victims": {"enum": ["newest", "random"], "default": "newest"}},
            "required": ["preserve_n"],
        });
        let described = DefinitionDescription {
            name: "workers".parse().expect("a name"),
            definition: json!({"general": {"engine": "simplest"}, "engine_conf": {"force_site": "lo\u{1b}cal"}}),
            revision: 3,
            written_by: Some("ann".parse().expect("a name")),
            written_at: Some(Timestamp::from_secs(1_795_241_128)),
            engine: Some(EngineInForce { name: "simplest".to_owned(), version: "0.1.0".to_owned(), digest: "0123456789abcdef".to_owned() }),
            documentation: Some("# simplest\n\n- Keeps some.\u{1b}[2J\n".to_owned()),
            config_schema: Some(schema),
        };
        assert_eq!(
            text(&described),
            "definition workers, revision 3\n\
             engine     simplest 0.1.0 (0123456789ab)\n\
             written    2026-11-21 06:05:28Z by ann\n\n\
             values\n\
             \u{20} engine_conf.force_site = \"lo\\u001bcal\"\n\
             \u{20} general.engine = \"simplest\"\n\n\
             keys of engine_conf\n\
             \u{20} KEY         KIND             DEFAULT\n\
             \u{20} preserve_n  integer          required  How many\n\
             \u{20} victims     newest | random  \"newest\"\n\n\
             what its engine says\n\
             \u{20} # simplest\n\n\
             \u{20} - Keeps some.\u{fffd}[2J\n"
        );
        let bare = DefinitionDescription {
            definition: json!({}),
            written_by: None,
            engine: None,
            documentation: None,
            config_schema: None,
            ..described
        };
        let expected =
            "definition workers, revision 3\nengine     none that this host has\n\nvalues\n  none: everything is given by its domains\n";
        assert_eq!(text(&bare), expected);
    }
}
