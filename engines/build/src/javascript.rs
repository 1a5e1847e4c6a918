//! JavaScript: `@bytecodealliance/componentize-js` puts an interpreter and the project's modules, already evaluated, into one component.
//!
//! What the interpreter wants of WASI the host serves from the decision: `Date` shows its moment, `Math.random()` draws from its seed,
//! `console` writes into its log. What no host serves is switched off: `fetch`, and being called over HTTP.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::tools::Tools;
use crate::{BuildError, Component, Language, command, component, contract};

/// The version that is installed. Fixed, so that every machine builds with the same.
pub(crate) const COMPONENTIZE_JS: &str = "0.23.0";

/// The package that does the work.
const PACKAGE: &str = "@bytecodealliance/componentize-js";

/// Where packages are, inside a folder.
pub(crate) const MODULES: &str = "node_modules";

/// Calls the package. Its command line lacks what we need, so this is a program for Node.
pub(crate) const SCRIPT: &str = include_str!("javascript/componentize.mjs");

/// What is installed where there is no project: the package, and all that it needs in fixed versions. The lock names no registry, so it
/// works with any.
const TOOLS: [(&str, &str); 2] =
    [("package.json", include_str!("javascript/package.json")), ("package-lock.json", include_str!("javascript/package-lock.json"))];

/// The oldest Node that the package runs on.
const OLDEST_NODE: &str = "20";

/// Builds the project.
pub(crate) fn build(folder: &Path, tools: &Tools) -> Result<Component, BuildError> {
    let source = folder.join(main(folder)?);
    let node = node(tools)?;
    let at = find(folder, tools)?;
    let contract = contract::written()?;
    let out = TempDir::with_prefix("pilothouse-build-").map_err(BuildError::file("making", &std::env::temp_dir()))?;
    let file = out.path().join("engine.wasm");
    let mut componentize = Command::new(node);
    // A program that is handed over as text imports packages from where it runs. Its temporary files go with ours.
    componentize.current_dir(at).env("TMPDIR", out.path()).args(["--input-type=module", "--eval", SCRIPT, "--"]);
    componentize.arg(source).arg(contract.path()).arg(contract::WORLD).arg(&file);
    command::output(&mut componentize)?;
    component::check(fs::read(&file).map_err(BuildError::file("reading", &file))?)
}

/// The module that exports the engine, as `package.json` names it.
fn main(folder: &Path) -> Result<String, BuildError> {
    let package = package(folder)?;
    Ok(package["main"].as_str().unwrap_or("engine.js").to_owned())
}

fn package(folder: &Path) -> Result<Value, BuildError> {
    let path = folder.join(Language::JavaScript.mark());
    let text = fs::read(&path).map_err(BuildError::file("reading", &path))?;
    serde_json::from_slice(&text).map_err(|error| BuildError::Package { path, problem: error.to_string() })
}

fn node(tools: &Tools) -> Result<PathBuf, BuildError> {
    let remedy = || "your system's packages, or from https://nodejs.org".to_owned();
    let node = tools.program("node").ok_or_else(|| BuildError::MissingTool {
        tool: "node",
        language: Language::JavaScript,
        looked: "on the PATH".to_owned(),
        remedy: remedy(),
    })?;
    let found = command::output(Command::new(&node).arg("--version"))?.trim().to_owned();
    let major = found.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major < OLDEST_NODE.parse().ok() {
        return Err(BuildError::OldTool { tool: "node", found, needed: OLDEST_NODE, remedy: remedy() });
    }
    Ok(node)
}

/// The folder whose `node_modules` has the package.
fn find<'a>(project: &'a Path, tools: &'a Tools) -> Result<&'a Path, BuildError> {
    tools.folders(project).find(|folder| is_in(folder)).ok_or_else(|| BuildError::MissingTool {
        tool: PACKAGE,
        language: Language::JavaScript,
        looked: tools.looked(project, MODULES),
        remedy: format!("`npm install --save-dev {PACKAGE}@{COMPONENTIZE_JS}`"),
    })
}

fn is_in(folder: &Path) -> bool {
    folder.join(MODULES).join(PACKAGE).join("package.json").is_file()
}

/// Installs what the project's `package.json` names, and the package if it does not; or the package alone where there is no project.
pub(crate) fn provide(folder: &Path, tools: &Tools, say: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
    node(tools)?;
    let is_project = folder.join(Language::JavaScript.mark()).is_file() && !is_ours(folder);
    if is_in(folder) && (is_project || is_ours(folder)) {
        return Ok(());
    }
    let npm = tools.program("npm").ok_or_else(|| BuildError::MissingTool {
        tool: "npm",
        language: Language::JavaScript,
        looked: "on the PATH".to_owned(),
        remedy: "your system's packages, or from https://nodejs.org".to_owned(),
    })?;
    let mut npm = Command::new(npm);
    npm.current_dir(folder);
    if is_project {
        let package = package(folder)?;
        let names_it = ["dependencies", "devDependencies"].iter().any(|section| package[section][PACKAGE].is_string());
        npm.arg("install");
        if names_it {
            say(&format!("installing the npm packages that package.json names into {}", folder.join(MODULES).display()));
        } else {
            say(&format!("installing the npm package {PACKAGE} {COMPONENTIZE_JS} into {}", folder.join(MODULES).display()));
            npm.args(["--save-dev", "--save-exact", &format!("{PACKAGE}@{COMPONENTIZE_JS}")]);
        }
    } else {
        say(&format!("installing the npm package {PACKAGE} {COMPONENTIZE_JS} into {}", folder.join(MODULES).display()));
        for (name, text) in TOOLS {
            let path = folder.join(name);
            fs::write(&path, text).map_err(BuildError::file("writing", &path))?;
        }
        npm.arg("ci");
    }
    command::output(npm.args(["--no-audit", "--no-fund", "--loglevel=error"])).map(drop)
}

/// Whether the folder holds exactly what [`provide`] would put there.
fn is_ours(folder: &Path) -> bool {
    TOOLS.iter().all(|(name, text)| fs::read_to_string(folder.join(name)).is_ok_and(|found| found == *text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_names_the_version_that_is_told_and_no_registry() {
        let [(_, package), (_, lock)] = TOOLS;
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("it is JSON");
        assert_eq!(read(package)["dependencies"][PACKAGE], COMPONENTIZE_JS);
        assert_eq!(read(lock)["packages"][format!("{MODULES}/{PACKAGE}")]["version"], COMPONENTIZE_JS);
        assert!(!lock.contains("\"resolved\""), "whoever installs has a registry of their own");
    }
}
