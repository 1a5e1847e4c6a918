//! Guests: the engines that ship, and small ones that misbehave, built from the texts in `tests/guests`.

use std::path::{Path, PathBuf};
use std::{env, fs};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap, UnresolvedPackageGroup, WorldId};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The component of an engine that ships.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn shipped(name: &str) -> Vec<u8> {
    let folder = env::var_os("PILOTHOUSE_ENGINES_DIR").map_or_else(|| target().join("engines"), PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}. Build the engines with `cargo xtask engines`", path.display()))
}

/// The target folder that this test was built into: `target/debug/deps/engine_host-…`.
fn target() -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    test.ancestors().nth(3).expect("a test is three folders deep").to_owned()
}

/// A small guest, by the name of its file in `tests/guests`.
///
/// # Panics
/// When there is no such file.
#[must_use]
pub fn guest(name: &str) -> Vec<u8> {
    Guest::new(name).component()
}

/// A small guest that is changed before it is built.
#[derive(Debug)]
pub struct Guest {
    module: String,
    wit: Vec<(PathBuf, String)>,
    wasi: bool,
}

/// The packages of WASI, each after those that it uses.
const WASI: [&str; 6] = ["io", "clocks", "random", "filesystem", "sockets", "cli"];

impl Guest {
    /// A guest as its file has it.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let read = |name: &str| {
            let path = Path::new(ROOT).join("tests/guests").join(name).with_extension("wat");
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let module = read("frame").replace("  ;; the guest\n", &read(name));
        let mut wit: Vec<_> = fs::read_dir(Path::new(ROOT).join("wit/engine"))
            .expect("the contract is there")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.clone(), fs::read_to_string(&path).expect("text")))
            .collect();
        wit.sort();
        Self { module, wit, wasi: false }
    }

    /// With the functions of WASI that `tests/guests/wasi-0.2/imports.wat` names to call.
    ///
    /// # Panics
    /// When the texts are not there.
    #[must_use]
    pub fn with_wasi(self) -> Self {
        let path = wasi("imports.wat");
        let imports = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let importing = self
            .with("  ;; more imports\n", &format!("{imports}  ;; more imports\n"))
            .with_contract("export engine;", "include wasi:cli/imports@0.2.12;\n    export engine;");
        Self { wasi: true, ..importing }
    }

    /// With a text of the module replaced, which must be there.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn with(mut self, old: &str, new: &str) -> Self {
        assert!(self.module.contains(old), "the module has no {old:?}");
        self.module = self.module.replace(old, new);
        self
    }

    /// With a text of the contract replaced, which must be there.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn with_contract(mut self, old: &str, new: &str) -> Self {
        assert!(self.wit.iter().any(|(_, text)| text.contains(old)), "the contract has no {old:?}");
        for (_, text) in &mut self.wit {
            *text = text.replace(old, new);
        }
        self
    }

    /// The core module.
    ///
    /// # Panics
    /// When the text is not well formed.
    #[must_use]
    pub fn module(&self) -> Vec<u8> {
        wat::parse_str(&self.module).expect("the module is well formed")
    }

    /// The component.
    ///
    /// # Panics
    /// When the module does not fit the contract.
    #[must_use]
    pub fn component(&self) -> Vec<u8> {
        let (resolve, world) = self.world();
        let mut module = self.module();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).expect("a module takes metadata");
        let mut encoder = ComponentEncoder::default();
        encoder.module(&module).expect("the module fits the world").validate(true).encode().expect("the component is sound")
    }

    /// The world that the component is of.
    ///
    /// # Panics
    /// When the contract is not well formed.
    #[must_use]
    pub fn world(&self) -> (Resolve, WorldId) {
        let mut resolve = Resolve::default();
        resolve.features.insert("network-error-code".to_owned());
        for package in WASI.iter().filter(|_| self.wasi) {
            resolve.push_file(wasi(&format!("{package}.wit"))).expect("the text is sound");
        }
        let mut files = SourceMap::default();
        for (path, text) in &self.wit {
            files.push(path, text);
        }
        let contract: UnresolvedPackageGroup = files.parse().map_err(|(_, error)| error).expect("the contract is well formed");
        let package = resolve.push_group(contract).expect("the contract is sound");
        let world = resolve.select_world(&[package], Some("decision-engine")).expect("the contract has the world");
        (resolve, world)
    }
}

fn wasi(file: &str) -> PathBuf {
    Path::new(ROOT).join("tests/guests/wasi-0.2").join(file)
}
