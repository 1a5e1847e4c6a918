//! The examples, built once and loaded once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use pilothouse_engine_build::{Tools, build_if_changed};
use pilothouse_engine_host::{EngineLimits, LoadedEngine, Sandbox, SandboxConfig};

/// An example that is ready to decide.
pub(crate) struct Example {
    /// Of the folder.
    pub(crate) name: &'static str,
    /// Where its sources are.
    pub(crate) folder: PathBuf,
    pub(crate) component: Vec<u8>,
    pub(crate) engine: LoadedEngine,
    /// Runs the tests of its policy in its own language.
    pub(crate) own_tests: fn() -> Command,
}

/// Both, the same way `cargo xtask example` makes them.
pub(crate) fn examples() -> &'static [Example; 2] {
    static EXAMPLES: OnceLock<[Example; 2]> = OnceLock::new();
    EXAMPLES.get_or_init(|| {
        let sandbox = sandbox();
        let example = |name, own_tests| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
            let file = target().join("examples").join(format!("{name}.wasm"));
            let built = build_if_changed(&folder, &tools(), &file).unwrap_or_else(|error| panic!("{name}: {error}\n{SET_UP}"));
            let component = built.component.into_bytes();
            let engine = sandbox.load(&component).unwrap_or_else(|error| panic!("{name}: {error}"));
            Example { name, folder, component, engine, own_tests }
        };
        [example("python-steady", python_tests), example("javascript-steady", node_tests)]
    })
}

/// What a test says when something is not there.
pub(crate) const SET_UP: &str = "`cargo xtask setup` sets up what builds the examples";

/// A sandbox as a host has it: every limit the default. What was compiled is kept from one run of the tests to the next, because compiling an
/// interpreter takes seconds.
pub(crate) fn sandbox() -> Sandbox {
    sandbox_with(EngineLimits::default())
}

/// A sandbox with other limits.
pub(crate) fn sandbox_with(limits: EngineLimits) -> Sandbox {
    let cache = Some(target().join("examples/compiled"));
    Sandbox::new(SandboxConfig { limits, cache, ..SandboxConfig::default() }).expect("a sandbox")
}

/// What `cargo xtask setup` installed.
pub(crate) fn tools() -> Tools {
    let folder = target().join("tools");
    assert!(folder.is_dir(), "{} is not there: {SET_UP}", folder.display());
    Tools::default().and_in(&folder)
}

/// The target folder that this test was built into: `target/debug/deps/examples-…`.
pub(crate) fn target() -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let target = test.ancestors().nth(3).expect("a test is three folders deep").to_owned();
    fs::create_dir_all(target.join("examples")).expect("a folder");
    target
}

pub(crate) fn python_tests() -> Command {
    let mut python = Command::new("python3");
    python.args(["-B", "-m", "unittest"]);
    python
}

fn node_tests() -> Command {
    let mut node = Command::new("node");
    node.arg("--test");
    node
}
