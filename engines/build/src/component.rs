//! The last step: from a core module to a component, and from a component to the certainty that a host serves all it imports.

use std::collections::BTreeSet;

use wit_component::{ComponentEncoder, DecodedWasm};

use crate::BuildError;

/// The package of the contract, whose interfaces an engine may import.
const CONTRACT: &str = "pilothouse:engine/";

/// The interfaces of WASI that an engine may import as well, in every patch of the version that is named: the list that hosts have. Anything
/// else would be refused when it is loaded.
const WASI: &str = include_str!("../../../host/engine/src/wasi/served.txt");

/// An engine as a component. Made by [`check`] alone, so what it says of itself is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    bytes: Vec<u8>,
    imports: Vec<String>,
}

impl Component {
    /// The component.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the bytes away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What it imports: the interfaces of the contract by their names alone, then the packages of WASI, such as `wasi:cli`. Each in the order
    /// of the names.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }
}

/// Makes a component of a core module in which a binding generator left a description of its world.
///
/// # Errors
/// When the module does not fit that description, or the component is no engine.
pub fn encode(module: &[u8]) -> Result<Component, BuildError> {
    let encode = || ComponentEncoder::default().module(module)?.validate(true).encode();
    check(encode().map_err(|error| BuildError::Encode(format!("{error:#}")))?)
}

/// Checks that a component is an engine that a host can serve.
///
/// # Errors
/// When it exports no engine or imports what is not served.
pub fn check(bytes: Vec<u8>) -> Result<Component, BuildError> {
    let decoded = wit_component::decode(&bytes).map_err(|error| BuildError::NoComponent(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(BuildError::NoComponent("it is an interface".to_owned()));
    };
    let world = &resolve.worlds[world];
    let name = |key| resolve.name_world_key(key);
    let imports: BTreeSet<String> = world.imports.keys().map(name).collect();
    let foreign: Vec<String> = imports.iter().filter(|import| !is_served(import)).cloned().collect();
    if !foreign.is_empty() {
        return Err(BuildError::ForeignImports(foreign));
    }
    if !world.exports.keys().map(name).any(|export| export.starts_with("pilothouse:engine/engine@")) {
        return Err(BuildError::NoEngine);
    }
    let mut imports: Vec<String> = imports.iter().map(|import| short(import).to_owned()).collect();
    imports.dedup();
    Ok(Component { imports, bytes })
}

fn is_served(import: &str) -> bool {
    let of_wasi = |(series, patch): (&str, &str)| patch.parse::<u32>().is_ok() && WASI.lines().any(|line| line == series);
    import.starts_with(CONTRACT) || import.rsplit_once('.').is_some_and(of_wasi)
}

/// The interface of an import from the contract, the package of any other.
fn short(import: &str) -> &str {
    let (name, end) = import.strip_prefix(CONTRACT).map_or((import, '/'), |name| (name, '@'));
    name.split(end).next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(text: &str) -> Vec<u8> {
        wat::parse_str(text).expect("well formed")
    }

    const ENGINE: &str = r#"(instance $empty) (export "pilothouse:engine/engine@0.1.0" (instance $empty))"#;

    #[test]
    fn the_imports_of_an_engine_are_told() {
        let log = r#"(import "pilothouse:engine/log@0.1.0" (instance))"#;
        let checked = check(component(&format!("(component {log} {ENGINE})"))).expect("an engine");
        assert_eq!(checked.imports(), ["log"]);
    }

    #[test]
    fn what_hosts_serve_of_wasi_may_be_imported_and_is_told_by_package() {
        let imports: String = WASI.lines().map(|line| format!("(import \"{line}.12\" (instance))")).collect();
        let checked = check(component(&format!("(component {imports} {ENGINE})"))).expect("an engine");
        assert_eq!(checked.imports(), ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"]);
    }

    #[test]
    fn an_import_that_no_host_serves_is_refused_with_its_name() {
        for import in ["wasi:http/types@0.2.0", "wasi:clocks/timezone@0.2.1", "wasi:cli/exit@0.3.0", "wasi:cli/exit@0.2.0-rc.1"] {
            let imports = format!(r#"(import "wasi:cli/exit@0.2.3" (instance)) (import "{import}" (instance))"#);
            let error = check(component(&format!("(component {imports} {ENGINE})"))).expect_err("refused");
            assert!(matches!(&error, BuildError::ForeignImports(names) if names == &[import]), "{error}");
        }
    }

    #[test]
    fn a_component_that_is_no_engine_is_refused() {
        assert!(matches!(check(component("(component)")), Err(BuildError::NoEngine)));
        assert!(matches!(check(b"text".to_vec()), Err(BuildError::NoComponent(_))));
        assert!(matches!(encode(&component("(module)")), Err(BuildError::NoEngine)), "nothing in it says what it is");
        assert!(matches!(encode(b"text"), Err(BuildError::Encode(_))));
    }
}
