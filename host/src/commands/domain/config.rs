//! A configuration as people give it: a file, and single values over it.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output::clean;

/// The largest configuration that is read. The hosts take a quarter of a megabyte.
const MAX_BYTES: u64 = 1024 * 1024;

/// A configuration on the command line.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct ConfigArgs {
    /// The configuration, as TOML or JSON; `-` reads it from standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The engine: NAME, or NAME@VERSION
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
    /// One value of the configuration, over that of the file; JSON, or a plain text. May be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    settings: Vec<Setting>,
}

impl ConfigArgs {
    /// All of it as one value: what the file says, and the rest over it.
    pub(in crate::commands) fn read(self) -> anyhow::Result<Value> {
        let mut config = match &self.file {
            Some(path) => read(path)?,
            None => Value::Object(Map::new()),
        };
        let engine = self.engine.map(Setting::engine);
        for setting in engine.into_iter().chain(self.settings) {
            setting.put_into(&mut config)?;
        }
        Ok(config)
    }

    /// As [`ConfigArgs::read`], for what makes no sense without any value.
    pub(in crate::commands) fn read_some(self) -> anyhow::Result<Value> {
        let config = self.read()?;
        if config.as_object().is_some_and(Map::is_empty) {
            return Err(Failure::Invalid("nothing to change: name a FILE, --engine or --set".to_owned()).into());
        }
        Ok(config)
    }
}

/// Reads TOML or JSON; `-` is standard input. What it says is judged by the host.
pub(in crate::commands) fn read(path: &Path) -> anyhow::Result<Value> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let mut text = String::new();
    let read = if is_stdin {
        std::io::stdin().take(MAX_BYTES).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::Invalid(format!("{name}: {error}")))?;
    parse(&text, path.extension().and_then(|it| it.to_str())).with_context(|| name)
}

/// The extension tells what it is; where it does not, the first character does.
fn parse(text: &str, extension: Option<&str>) -> Result<Value, Failure> {
    let is_json = match extension {
        Some("json") => true,
        Some("toml") => false,
        _ => text.trim_start().starts_with('{'),
    };
    if is_json {
        serde_json::from_str(text).map_err(|error| Failure::Invalid(error.to_string()))
    } else {
        toml::from_str(text).map_err(|error| Failure::Invalid(error.to_string()))
    }
}

/// A line a value: `general.engine = "simplest"`.
pub(in crate::commands) fn values(config: &Value) -> String {
    let mut text = String::new();
    let sections = config.as_object().into_iter().flatten();
    for (section, keys) in sections {
        for (place, value) in keys.as_array().into_iter().flatten().enumerate() {
            let _ = writeln!(text, "  {section}[{place}] = {}", clean(&value.to_string()));
        }
        for (key, value) in keys.as_object().into_iter().flatten() {
            let _ = writeln!(text, "  {section}.{key} = {}", clean(&value.to_string()));
        }
    }
    text
}

/// One value of a configuration: `engine_conf.preserve_n=3`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    section: String,
    key: String,
    value: Value,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) = text.split_once('=').ok_or("expected SECTION.KEY=VALUE")?;
        let (section, key) = path.split_once('.').ok_or_else(|| format!("{path:?} names no section; expected SECTION.KEY"))?;
        if section.is_empty() || key.is_empty() {
            return Err(format!("{path:?} is incomplete; expected SECTION.KEY"));
        }
        if let Some((outer, _)) = key.split_once('.') {
            return Err(format!("{path:?} goes too deep: a value is replaced whole, so give {section}.{outer} as JSON"));
        }
        // What is no JSON is meant as a text: `general.engine=simplest`.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok(Self { section: section.to_owned(), key: key.to_owned(), value })
    }
}

impl Setting {
    /// The engine of a domain.
    pub(super) fn engine(engine: String) -> Self {
        Self { section: "general".to_owned(), key: "engine".to_owned(), value: json!(engine) }
    }

    /// Puts the value over whatever the configuration says.
    pub(super) fn put_into(self, config: &mut Value) -> Result<(), Failure> {
        let not_an_object = || Failure::Invalid(format!("the configuration has no section {} to set {} in", self.section, self.key));
        let sections = config.as_object_mut().ok_or_else(not_an_object)?;
        let section = sections.entry(&self.section).or_insert_with(|| Value::Object(Map::new()));
        section.as_object_mut().ok_or_else(not_an_object)?.insert(self.key, self.value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", setting in "[a-z_.]{0,12}=.{0,24}") {
            for extension in [None, Some("toml"), Some("json")] {
                let _ = parse(&text, extension);
            }
            let _ = setting.parse::<Setting>().map(|setting| setting.put_into(&mut json!({})).is_ok());
        }
    }

    fn set(text: &str) -> Setting {
        text.parse().expect("a setting")
    }

    #[test]
    fn toml_and_json_are_told_apart_by_the_name_else_by_the_first_character() {
        let both = json!({"engine_conf": {"preserve_n": 3}});
        let (as_toml, as_json) = ("[engine_conf]\npreserve_n = 3", " {\"engine_conf\": {\"preserve_n\": 3}}");
        for (text, extension) in
            [(as_toml, Some("toml")), (as_toml, None), (as_toml, Some("conf")), (as_json, Some("json")), (as_json, None)]
        {
            assert_eq!(parse(text, extension).expect("readable"), both, "{text} {extension:?}");
        }
        assert!(parse(as_toml, Some("json")).is_err() && parse(as_json, Some("toml")).is_err());
        assert!(parse("[engine_conf]\npreserve_n 3", None).expect_err("wrong").to_string().contains("line 2"), "the place is named");
    }

    #[test]
    fn a_setting_is_json_or_a_plain_text() {
        assert_eq!(set("engine_conf.preserve_n=3").value, json!(3));
        assert_eq!(set("general.engine=simplest@1").value, json!("simplest@1"));
        assert_eq!(set("general.brake={\"enabled\":false}").value, json!({"enabled": false}));
        assert_eq!(set("engine_conf.note=a=b").value, json!("a=b"));
        for (bad, says) in
            [("preserve_n=3", "section"), ("a.b", "VALUE"), (".b=1", "incomplete"), ("general.brake.floor=2", "general.brake")]
        {
            let error = bad.parse::<Setting>().expect_err("no setting");
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn settings_go_over_the_file() {
        let mut config = json!({"engine_conf": {"preserve_n": 1, "force_site": "a"}});
        set("engine_conf.preserve_n=3").put_into(&mut config).expect("an object");
        Setting::engine("simplest".to_owned()).put_into(&mut config).expect("an object");
        assert_eq!(config, json!({"engine_conf": {"preserve_n": 3, "force_site": "a"}, "general": {"engine": "simplest"}}));
        assert!(set("general.engine=x").put_into(&mut json!({"general": 3})).is_err());
        assert!(set("general.engine=x").put_into(&mut json!([])).is_err());
    }
}
