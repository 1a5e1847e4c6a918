//! Examples with scenarios of their own: played in the sandbox and natively, and in each language that the policy is written in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pilothouse::conformance::{Kit, Outcome};
use pilothouse_core::cycle::Engine as _;
use pilothouse_engine_build::build_if_changed;
use pilothouse_engine_host::{EngineLimits, LoadedEngine};
use pilothouse_example_multi_site::MultiSite;
use pilothouse_example_needy::Needy;
use pilothouse_tests::native::Native;
use pilothouse_tests::play::{expect, first_difference, play, play_component, read, root, scenarios};

use crate::engine::{SET_UP, sandbox, target, tools};

/// A component, and what it is made of.
struct Built {
    component: Vec<u8>,
    engine: LoadedEngine,
}

impl Built {
    fn of(name: &str, component: Vec<u8>) -> Self {
        let engine = sandbox().load(&component).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { component, engine }
    }

    /// An example in Rust, as `cargo xtask example` left it.
    fn in_rust(name: &str) -> Self {
        let file = target().join("examples").join(format!("{name}.wasm"));
        let component = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask example {name}`", file.display()));
        Self::of(name, component)
    }
}

fn needy() -> &'static Built {
    static NEEDY: OnceLock<Built> = OnceLock::new();
    NEEDY.get_or_init(|| Built::in_rust("needy"))
}

fn multi_site() -> &'static Built {
    static MULTI_SITE: OnceLock<Built> = OnceLock::new();
    MULTI_SITE.get_or_init(|| Built::in_rust("multi-site"))
}

fn needy_python() -> &'static Built {
    static NEEDY_PYTHON: OnceLock<Built> = OnceLock::new();
    NEEDY_PYTHON.get_or_init(|| {
        let file = target().join("examples/needy-python.wasm");
        let built = build_if_changed(&root().join("examples/needy-python"), &tools(), &file);
        Built::of("needy-python", built.unwrap_or_else(|error| panic!("{error}\n{SET_UP}")).component.into_bytes())
    })
}

/// Plays every scenario of an example, and tells all failures at once, each with its file.
#[track_caller]
fn check_all(example: &str, check: impl Fn(&Path) -> Result<(), String>) {
    let all: Vec<PathBuf> = scenarios(&root().join("examples").join(example).join("scenarios"));
    assert!(!all.is_empty(), "{example} has scenarios");
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let failures: Vec<String> = all.iter().filter_map(|path| Some(format!("{}: {}", name(path), check(path).err()?))).collect();
    assert!(failures.is_empty(), "{} of {} scenarios fail:\n\n{}", failures.len(), all.len(), failures.join("\n\n"));
}

/// The component, and the native policy in its place, show and write the same to the byte.
fn agree<E: pilothouse_engine::Engine>(path: &Path, engine: &LoadedEngine) -> Result<(), String> {
    let scenario = read(path)?;
    let sandboxed = play_component(&scenario, engine)?;
    let native = play(&scenario, &Native::<E>::in_place_of(engine.identity()), &Native::<E>::check)?;
    first_difference(&native.text, &sandboxed.text)?;
    first_difference(&native.lines.join("\n"), &sandboxed.lines.join("\n"))?;
    first_difference(&native.journal.join("\n"), &sandboxed.journal.join("\n"))
}

#[test]
fn every_scenario_of_an_example_gives_the_transcript_that_is_expected_of_it() {
    for (name, built) in [("needy", needy()), ("multi-site", multi_site())] {
        check_all(name, |path| expect(path, &play_component(&read(path)?, &built.engine)?.text));
    }
}

#[test]
fn an_example_in_its_sandbox_and_natively_agree_to_the_byte() {
    check_all("needy", |path| agree::<Needy>(path, &needy().engine));
    check_all("multi-site", |path| agree::<MultiSite>(path, &multi_site().engine));
}

#[test]
fn the_same_policy_in_python_shows_and_writes_the_same_to_the_byte() {
    check_all("needy", |path| agree::<Needy>(path, &needy_python().engine));
}

#[test]
fn the_same_policy_in_python_is_configured_the_same_way() {
    let [rust, python] = [needy(), needy_python()].map(|built| {
        let mut schema = built.engine.description().config_schema.clone();
        schema.remove("title");
        schema
    });
    assert_eq!(python, rust, "as JSON: {}", serde_json::to_string_pretty(&rust).expect("it is JSON"));
}

#[test]
fn the_examples_pass_the_conformance_kit_and_python_is_warned_of_very_large_domains_only() {
    let very_large = ["decide: 10000 instances"];
    for (name, built, warnings) in
        [("needy", needy(), &[][..]), ("multi-site", multi_site(), &[][..]), ("needy-python", needy_python(), &very_large[..])]
    {
        let kit = Kit { config: None, limits: EngineLimits::default(), quick: false, progress: &|_| () };
        let report = kit.examine(&built.component).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let warned: Vec<_> =
            report.checks.iter().filter(|check| check.outcome != Outcome::Passed).map(|check| check.name.as_str()).collect();
        assert!(report.passed && warned == warnings, "{name}: {:#?}", report.checks);
        let documentation = &built.engine.description().documentation;
        let untold: Vec<_> = report.engine.keys.iter().filter(|key| !documentation.contains(&format!("`{}`", key.name))).collect();
        assert!(untold.is_empty(), "{name}: {untold:#?}");
    }
}

#[test]
fn the_policy_in_python_passes_its_own_tests() {
    let mut python = crate::engine::python_tests();
    let ran = python.current_dir(root().join("examples/needy-python")).output().expect("Python runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("Ran "), "{said}");
}

#[test]
fn a_policy_and_its_glue_are_under_200_lines() {
    for example in ["needy", "multi-site"] {
        let source = fs::read_to_string(root().join("examples").join(example).join("src/lib.rs")).expect("it is there");
        assert!(source.lines().count() < 200, "{example}: {} lines", source.lines().count());
    }
}
