//! The SDK and the contract, as they are embedded in this program, ready to stand alone.

use toml::{Table, Value};

include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// The SDK's manifest, which takes much from its workspace.
const MANIFEST: &str = include_str!("../../../../../engines/sdk/Cargo.toml");
/// The workspace's.
const WORKSPACE: &str = include_str!("../../../../../Cargo.toml");

/// The line of the SDK that says where the contract is, and what it says where the two are not in this repository.
const CONTRACT_PATH: (&str, &str) = ("path: \"../../wit/engine\"", "path: \"wit\"");

/// The files of the contract, by their names.
pub(super) fn contract() -> impl Iterator<Item = (String, String)> {
    CONTRACT.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
}

/// The files of the SDK as a crate of its own, the contract in its folder `wit`.
pub(super) fn crate_files() -> Vec<(String, String)> {
    let sources = SDK.iter().map(|(path, text)| (format!("src/{path}"), text.replace(CONTRACT_PATH.0, CONTRACT_PATH.1)));
    let contract = contract().map(|(path, text)| (format!("wit/{path}"), text));
    sources.chain(contract).chain([("Cargo.toml".to_owned(), manifest())]).collect()
}

/// The manifest, with what it takes from the workspace put in its place.
fn manifest() -> String {
    let mut manifest: Table = MANIFEST.parse().expect("this repository's own manifest");
    let whole: Table = WORKSPACE.parse().expect("this repository's own manifest");
    let workspace = &whole["workspace"];
    // Rules for those who work on it, not for those who use it.
    manifest.remove("lints");
    manifest.remove("dev-dependencies");
    let mut package = match manifest.remove("package") {
        Some(Value::Table(package)) => package,
        _ => Table::new(),
    };
    resolve(&mut package, &workspace["package"]);
    resolve_dependencies(&mut manifest, &workspace["dependencies"]);
    // What people look for first comes first.
    format!("# Made from the SDK's own manifest in Pilothouse's repository.\n\n[package]\n{package}\n{manifest}")
}

/// Those for every target, and those for some.
fn resolve_dependencies(manifest: &mut Table, workspace: &Value) {
    for (key, value) in manifest.iter_mut() {
        match value {
            Value::Table(table) if key == "dependencies" => resolve(table, workspace),
            Value::Table(table) => resolve_dependencies(table, workspace),
            _ => {}
        }
    }
}

/// Replaces each `key = { workspace = true, … }` by what the workspace says, and what is said beside it.
fn resolve(table: &mut Table, workspace: &Value) {
    for (key, value) in table.iter_mut() {
        let Value::Table(said) = value else { continue };
        if said.remove("workspace").is_none() {
            continue;
        }
        let mut inherited = workspace[key.as_str()].clone();
        if !said.is_empty() {
            let mut whole = match inherited {
                Value::Table(whole) => whole,
                version => Table::from_iter([("version".to_owned(), version)]),
            };
            whole.extend(std::mem::take(said));
            inherited = Value::Table(whole);
        }
        *value = inherited;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_stands_alone() {
        let manifest: Table = manifest().parse().expect("TOML");
        let text = manifest.to_string();
        assert!(!text.contains("workspace"), "{text}");
        assert_eq!(manifest["package"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
        assert!(manifest["dependencies"]["serde"]["features"].is_array(), "{text}");
        // Whatever it depends on is in a registry.
        assert!(!text.contains("path ="), "{text}");
    }

    #[test]
    fn what_is_said_beside_the_workspace_is_kept() {
        let mut table: Table = "a = { workspace = true, optional = true }\nb.workspace = true\nc = \"3\"".parse().expect("TOML");
        let workspace: Table = "a = \"1\"\nb = { version = \"2\", features = [\"x\"] }".parse().expect("TOML");
        resolve(&mut table, &Value::Table(workspace));
        let expected: Table =
            "a = { version = \"1\", optional = true }\nb = { version = \"2\", features = [\"x\"] }\nc = \"3\"".parse().expect("TOML");
        assert_eq!(table, expected);
    }

    #[test]
    fn every_file_is_there_and_finds_the_contract() {
        let files = crate_files();
        let text = |path: &str| files.iter().find(|file| file.0 == path).map_or_else(|| panic!("no {path}"), |file| file.1.as_str());
        assert!(text("src/bindings.rs").contains("path: \"wit\","), "{}", text("src/bindings.rs"));
        assert!(text("wit/world.wit").contains("world decision-engine") && text("src/lib.rs").contains("mod bindings;"));
        assert!(files.iter().all(|(_, text)| !text.contains("../../")), "nothing points out of the crate");
    }
}
