//! Every scenario below `tests/scenarios` and `examples/scenarios`, with the transcript that is expected of it. A new test is a new file.
//!
//! Each is played with the component, and then with the same engine natively: what they show and what they write must be the same to the
//! byte. A component that was tampered with must be found out.

use pilothouse::driver::engines::check;
use pilothouse_core::cycle::Engine;
use pilothouse_core::record::EngineInForce;
use pilothouse_engine_host::LoadedEngine;
use pilothouse_engine_npreserving::Npreserving;
use pilothouse_engine_sensor::Sensor;
use pilothouse_engine_simplest::Simplest;
use pilothouse_sim::{Available, Judge, Scenario};
use pilothouse_tests::native::Native;
use pilothouse_tests::play::{Played, expect, first_difference, play_among, play_component, read, root, sandbox, scenarios, shipped};
use serde_json::{Map, Value};

/// The folders with scenarios.
fn all() -> Vec<std::path::PathBuf> {
    ["tests/scenarios", "examples/scenarios"].iter().flat_map(|folder| scenarios(&root().join(folder))).collect()
}

/// The engines that a scenario names, the one at its top first.
fn named(scenario: &Scenario) -> impl Iterator<Item = String> {
    std::iter::once(scenario.engine.clone()).chain(scenario.other_engines())
}

fn natively(scenario: &Scenario, identity: impl Fn(&str) -> Result<EngineInForce, String>) -> Result<Played, String> {
    let mut natives: Vec<(Box<dyn Engine>, Judge<'_>)> = Vec::new();
    for name in named(scenario) {
        let identity = identity(&name)?;
        natives.push(match name.as_str() {
            "simplest" => (Box::new(Native::<Simplest>::in_place_of(identity)), &Native::<Simplest>::check),
            "npreserving" => (Box::new(Native::<Npreserving>::in_place_of(identity)), &Native::<Npreserving>::check),
            "sensor" => (Box::new(Native::<Sensor>::in_place_of(identity)), &Native::<Sensor>::check),
            other => return Err(format!("no native engine {other:?}")),
        });
    }
    let all: Vec<Available<'_>> = natives.iter().map(|(engine, judge)| Available { engine: &**engine, judge: *judge }).collect();
    play_among(scenario, &all)
}

fn in_sandboxes(scenario: &Scenario, components: &Components) -> Result<Played, String> {
    let engines: Vec<&LoadedEngine> = named(scenario).map(|name| components.get(&name)).collect::<Result<_, _>>()?;
    let judges: Vec<_> = engines.iter().map(|engine| |conf: &Map<String, Value>| check(engine, conf)).collect();
    let all: Vec<Available<'_>> = engines.iter().zip(&judges).map(|(engine, judge)| Available { engine: *engine, judge }).collect();
    play_among(scenario, &all)
}

/// How many rules the engines of the predecessor have in the table of `tests/README.md`, by engine.
const RULES: [(&str, usize); 8] = [
    ("every engine", 5),
    ("simplest", 13),
    ("npreserving", 28),
    ("sensor", 27),
    ("queue length", 4),
    ("readings", 9),
    ("needy", 16),
    ("multi-site", 11),
];

/// Whether there is a test of this name: `SUITE::TEST` or `SUITE::MODULE::TEST`, below `tests/tests`.
fn is_test(name: &str) -> bool {
    let Some((file, test)) = name.rsplit_once("::") else { return false };
    let file = root().join("tests/tests").join(file.replace("::", "/")).with_extension("rs");
    let is_it = |lines: &[&str]| lines[0].ends_with("test]") && lines[1].trim_start_matches("async ").starts_with(&format!("fn {test}("));
    std::fs::read_to_string(file).is_ok_and(|source| source.lines().collect::<Vec<_>>().windows(2).any(is_it))
}

/// The scenario of a name: below `tests/scenarios`, or `EXAMPLE/NAME` below `examples/EXAMPLE/scenarios`.
fn scenario_of(name: &str) -> Option<std::path::PathBuf> {
    let (folder, file) = name.split_once('/')?;
    let places = [root().join("tests/scenarios").join(folder), root().join("examples").join(folder).join("scenarios")];
    let with = |extension: &'static str| places.iter().map(move |place| place.join(file).with_extension(extension));
    ["toml", "json"].into_iter().flat_map(with).find(|path| path.exists())
}

#[test]
fn every_rule_of_the_predecessors_engines_has_a_scenario_or_a_test_and_every_scenario_of_such_an_engine_a_rule() {
    let readme = std::fs::read_to_string(root().join("tests/README.md")).expect("it is there");
    let mut rules = std::collections::BTreeMap::<&str, usize>::new();
    let mut named = std::collections::BTreeSet::new();
    for row in readme.lines().filter(|line| line.starts_with("| ")).map(|line| line.split('|').map(str::trim).collect::<Vec<_>>()) {
        let Some((engine, number)) = row[1].rsplit_once(' ').and_then(|(engine, number)| Some((engine, number.parse().ok()?))) else {
            continue;
        };
        let before = rules.insert(engine, number).unwrap_or_default();
        assert_eq!(number, before + 1, "the rules of {engine} are numbered one by one");
        let shown_by: Vec<&str> = row[3].split('`').skip(1).step_by(2).collect();
        assert!(!shown_by.is_empty(), "{engine} {number} has a scenario or a test");
        for name in shown_by {
            assert!(scenario_of(name).is_some() || is_test(name), "{engine} {number}: there is a scenario or a test {name}");
            named.insert(name);
        }
    }
    assert_eq!(rules, RULES.into_iter().collect());
    let places = |engine: &str| [root().join("tests/scenarios").join(engine), root().join("examples").join(engine).join("scenarios")];
    let folders = rules.keys().flat_map(|engine| places(engine).map(|folder| (engine, folder)));
    for (engine, folder) in folders.filter(|(_, folder)| folder.is_dir()) {
        for path in scenarios(&folder) {
            let name = format!("{engine}/{}", path.file_stem().unwrap_or_default().to_string_lossy());
            assert!(named.contains(name.as_str()), "the table has a rule for {name}");
        }
    }
}

struct Components(Vec<LoadedEngine>);

impl Components {
    fn load() -> Self {
        let sandbox = sandbox();
        let load = |name| sandbox.load(&shipped(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self(["simplest", "npreserving", "sensor"].map(load).to_vec())
    }

    fn get(&self, name: &str) -> Result<&LoadedEngine, String> {
        self.0.iter().find(|engine| engine.description().name.as_str() == name).ok_or_else(|| format!("no engine {name:?}"))
    }
}

/// Tells all failures at once, each with its file.
fn check_all(check: impl Fn(&std::path::Path) -> Result<(), String>) {
    let all = all();
    assert!(!all.is_empty(), "scenarios were found: {all:?}");
    let failures: Vec<String> = all
        .iter()
        .filter_map(|path| {
            let error = check(path).err()?;
            Some(format!("{}: {error}", path.strip_prefix(root()).unwrap_or(path).display()))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} scenarios fail:\n\n{}", failures.len(), all.len(), failures.join("\n\n"));
}

#[test]
fn every_scenario_gives_the_transcript_that_is_expected_of_it() {
    let components = Components::load();
    check_all(|path| {
        let scenario = read(path)?;
        let played = in_sandboxes(&scenario, &components)?;
        expect(path, &played.text)
    });
}

#[test]
fn an_engine_in_its_sandbox_and_the_same_engine_natively_agree_to_the_byte() {
    let components = Components::load();
    check_all(|path| {
        let scenario = read(path)?;
        let identity = |name: &str| components.get(name).map(|engine| engine.identity());
        let (sandboxed, native) = (in_sandboxes(&scenario, &components)?, natively(&scenario, identity)?);
        first_difference(&native.text, &sandboxed.text)?;
        first_difference(&native.lines.join("\n"), &sandboxed.lines.join("\n"))?;
        first_difference(&native.journal.join("\n"), &sandboxed.journal.join("\n"))
    });
}

#[test]
fn a_scenario_gives_the_same_twice_and_another_seed_gives_other_ids() {
    let components = Components::load();
    check_all(|path| {
        let mut scenario = read(path)?;
        let first = in_sandboxes(&scenario, &components)?;
        if first != in_sandboxes(&scenario, &components)? {
            return Err("it gave something else the second time".to_owned());
        }
        scenario.seed += 1;
        let other = in_sandboxes(&scenario, &components)?;
        let launched = first.journal.iter().any(|record| record.contains("\"instances\":[\"i"));
        if launched && first.journal == other.journal { Err("the seed changes nothing".to_owned()) } else { Ok(()) }
    });
}

/// Mutants of a component: one comparison turned round each.
mod mutants {
    use wasmparser::{Operator, Parser, Payload};

    /// Where comparisons stand in the code, and what to put there instead.
    pub(super) fn comparisons(component: &[u8]) -> Vec<(u64, u8)> {
        let mut found = Vec::new();
        for payload in Parser::new(0).parse_all(component).flatten() {
            let Payload::CodeSectionEntry(body) = payload else { continue };
            let Ok(mut operators) = body.get_operators_reader() else { continue };
            while let Ok((operator, at)) = operators.read_with_offset() {
                found.extend(turned(&operator).map(|opcode| (at, opcode)));
            }
        }
        found
    }

    /// The opcode of the opposite comparison.
    fn turned(operator: &Operator<'_>) -> Option<u8> {
        match operator {
            Operator::I32LtU => Some(0x4f),
            Operator::I32GtU => Some(0x4d),
            Operator::I32LeU => Some(0x4b),
            Operator::I32GeU => Some(0x49),
            _ => None,
        }
    }
}

#[test]
fn a_component_that_was_tampered_with_is_found_out() {
    const WANTED: usize = 4;
    let sandbox = sandbox();
    let honest = shipped("simplest");
    // Those that are about the engine's own rules: a mutant that changes nothing has to be played through all of them.
    let scenarios: Vec<Scenario> =
        scenarios(&root().join("tests/scenarios/simplest")).iter().map(|path| read(path).expect("a scenario")).collect();
    let honest_engine = sandbox.load(&honest).expect("it loads");
    let expected: Vec<_> = scenarios.iter().map(|scenario| natively(scenario, |_| Ok(honest_engine.identity()))).collect();
    let is_found_out = |engine: &LoadedEngine| {
        scenarios.iter().zip(&expected).any(|(scenario, expected)| match (play_component(scenario, engine), expected) {
            (Ok(played), Ok(expected)) => played.text != expected.text,
            (Err(_), _) => true,
            (_, Err(error)) => panic!("the native engine failed: {error}"),
        })
    };
    assert!(!is_found_out(&honest_engine), "the honest one passes");
    let comparisons = mutants::comparisons(&honest);
    assert!(comparisons.len() > 100, "an engine compares: {}", comparisons.len());
    let (mut caught, mut tried) = (0, 0);
    // Spread over the whole code; most of it is never run, and turning round what is never run is no fault. The policy's own code comes
    // first, but behind what starts it: beginning there saves time and nothing else.
    let (start, rest) = comparisons.split_at(comparisons.len() / 5);
    for (at, opcode) in rest.iter().chain(start).step_by((comparisons.len() / 150).max(1)) {
        let mut bytes = honest.clone();
        bytes[usize::try_from(*at).expect("a place in the file")] = *opcode;
        let Ok(mutant) = sandbox.load(&bytes) else { continue };
        tried += 1;
        caught += usize::from(is_found_out(&mutant));
        if caught >= WANTED {
            return;
        }
    }
    panic!("only {caught} of {tried} mutants were found out");
}
