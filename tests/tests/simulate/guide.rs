//! The guide and the schema beside it: what they say is what the program does.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pilothouse_tests::play::{root, scenarios};
use serde_json::{Value, json};

use crate::{Folder, without_digest};

/// The schema that is kept beside the guide.
fn schema() -> Result<Value> {
    let path = root().join("docs/scenario.schema.json");
    serde_json::from_str(&std::fs::read_to_string(&path)?).with_context(|| path.display().to_string())
}

#[test]
fn the_schema_beside_the_guide_is_the_one_that_is_printed() -> Result<()> {
    let printed = Folder::with(&[])?.run("simulate --schema")?.printed()?;
    let path = root().join("docs/scenario.schema.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &printed)?;
    }
    let kept = std::fs::read_to_string(&path)?;
    ensure!(printed == kept, "run `cargo xtask reference`, and look at the difference");
    Ok(())
}

#[test]
fn every_scenario_file_fits_the_schema_and_what_is_no_scenario_does_not() -> Result<()> {
    let schema = schema()?;
    jsonschema::meta::validate(&schema).map_err(|error| anyhow::anyhow!("it is no schema: {error}"))?;
    let validator = jsonschema::validator_for(&schema)?;
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path)?;
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        anyhow::Ok(if is_json { serde_json::from_str(&text)? } else { toml::from_str::<Value>(&text)? })
    };
    let all: Vec<_> = ["tests/scenarios", "examples/scenarios"].iter().flat_map(|folder| scenarios(&root().join(folder))).collect();
    ensure!(all.len() > 100, "scenarios were found: {}", all.len());
    for path in &all {
        let problems: Vec<String> = validator.iter_errors(&read(path)?).map(|it| format!("{}: {it}", it.instance_path())).collect();
        ensure!(problems.is_empty(), "{}: {problems:?}", path.display());
    }
    for wrong in [
        json!({}),
        json!({"engine": "simplest", "colour": "red"}),
        json!({"engine": "simplest", "events": [{"tick": "decide"}]}),
        json!({"engine": "simplest", "events": [{"at": 0, "tick": "sleep"}]}),
        json!({"engine": "simplest", "events": [{"at": 0, "heartbeat": {"of": 0}}]}),
        json!({"engine": "simplest", "events": [{"at": 0, "agent": "dances"}]}),
        json!({"engine": "simplest", "events": [{"at": 0, "heartbeat": {"of": {"health": "OK"}, "state": "OK"}}]}),
    ] {
        ensure!(!validator.is_valid(&wrong), "{wrong}");
    }
    Ok(())
}

/// The fenced blocks of the guide, each with its language.
fn blocks(guide: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            blocks.push((language.to_owned(), text));
        }
    }
    blocks
}

/// Scenarios of the guide are run; what stands behind one is what it prints. Lines of a timeline are run in a scenario around them.
#[test]
fn what_the_guide_shows_is_what_the_program_does() -> Result<()> {
    let guide = std::fs::read_to_string(root().join("docs/scenarios.md"))?;
    let folder = Folder::with(&[])?;
    let (mut stories, mut lines, mut outputs) = (Vec::new(), 0, 0);
    for (language, text) in blocks(&guide) {
        match language.as_str() {
            "toml" if text.contains("engine = ") => {
                folder.pipe("simulate -", &text)?.printed().with_context(|| text.clone())?;
                stories.push(text);
            }
            "toml" => {
                let story = format!(
                    "engine = \"simplest\"\nengine_conf = {{ preserve_n = 3 }}\nevents = [\n{{ at = 0, tick = \"decide\" }},\n{text}]"
                );
                let printed = folder.pipe("simulate -", &story)?.printed().with_context(|| story.clone())?;
                ensure!(!printed.contains("refused") && !printed.contains("nobody"), "{text}\n{printed}");
                lines += 1;
            }
            "text" => {
                let story = stories.last().context("a scenario before it")?;
                let printed = without_digest(&folder.pipe("simulate -", story)?.printed()?);
                ensure!(printed == text, "the guide shows\n{text}\nand it is\n{printed}");
                outputs += 1;
            }
            "json" => {
                let objects = folder.pipe("simulate - --output json", &stories[0])?.objects()?;
                let last = objects.iter().rfind(|object| object["type"] == "tick").context("a tick")?;
                ensure!(*last == serde_json::from_str::<Value>(&text)?, "the guide shows\n{text}\nand it is\n{last:#}");
                outputs += 1;
            }
            other => anyhow::bail!("nobody checks what is in {other:?}"),
        }
    }
    ensure!(stories.len() >= 4 && lines >= 10 && outputs >= 3, "{} {lines} {outputs}", stories.len());
    // And every key that there is, is in it.
    for name in ["Scenario", "Entry", "Guards", "Report", "Beat", "Reading", "Provisioner", "Matching"] {
        let schema = schema()?;
        let properties = if name == "Scenario" { &schema["properties"] } else { &schema["$defs"][name]["properties"] };
        for key in properties.as_object().with_context(|| format!("{name} has keys"))?.keys() {
            ensure!(guide.contains(&format!("`{key}`")) || guide.contains(&format!("{key} = ")), "the guide does not know {name}.{key}");
        }
    }
    Ok(())
}
