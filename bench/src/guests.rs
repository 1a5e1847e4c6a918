//! Small engines for the rows that need one to behave in a certain way: texts that are put into the frame of the tests' guests.

use anyhow::{Context, Result, anyhow, ensure};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

/// An engine without its `decide`.
const FRAME: &str = include_str!("../../tests/guests/frame.wat");

macro_rules! contract {
    ($($file:literal),+) => { [$(($file, include_str!(concat!("../../wit/engine/", $file, ".wit")))),+] };
}
const CONTRACT: [(&str, &str); 6] = contract!["control", "engine", "log", "state", "types", "world"];

/// How `decide` begins.
const DECIDE: &str = r#"(func (export "pilothouse:engine/engine@0.1.0#decide")
  (param $memory i32) (param $length i32) (param $domain i32) (param $control i32) (result i32)
  (local $asked i64) (local $left i64) (local $at i32)
"#;

/// What a guest may import beside what the frame does.
const IMPORTS: &str = r#"(import "pilothouse:engine/state@0.1.0" "[method]domain.config" (func $config (param i32 i32)))
  (import "pilothouse:engine/state@0.1.0" "[method]domain.counts" (func $counts (param i32 i32)))
  (import "pilothouse:engine/state@0.1.0" "[method]domain.random" (func $random (param i32) (result i64)))
"#;

/// An engine that remembers how often it was asked, in eight bytes, and hands that over to the version after it. First it wants to be asked
/// again at some moment of the next second, so that a thousand domains are not asked all at once.
pub(crate) const COUNT: &str = "count";

const COUNTS: &str = "
  (if (i32.eq (local.get $length) (i32.const 8)) (then (local.set $asked (i64.load (local.get $memory)))))
  (if (i64.eqz (local.get $asked))
    (then (i32.store8 (i32.const 1064) (i32.const 1))
          (i64.store (i32.const 1080)
            (i64.add (i64.const 200) (i64.rem_u (call $random (local.get $domain)) (i64.const 1000))))))
  (i64.store (i32.const 4096) (i64.add (local.get $asked) (i64.const 1)))
  (i32.store (i32.const 1032) (i32.const 4096))
  (i32.store (i32.const 1036) (i32.const 8))
  (call $done (local.get $domain) (local.get $control)))";

/// Takes all memory that it can get, and writes to all of it.
const HOARDS: &str = "
  (loop $again
    (local.set $at (i32.mul (memory.size) (i32.const 65536)))
    (if (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))
      (then (memory.fill (local.get $at) (i32.const 7) (i32.const 1048576))
            (br $again))))";

/// An engine that does no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Does not return.
    Spins,
    /// Takes all memory there is, and traps.
    Hoards,
    /// Takes all memory there is, and counts as if nothing were.
    Keeps,
    /// Traps.
    Traps,
    /// Goes round so often, and counts as if nothing were.
    Burns(u64),
}

impl Bad {
    /// What the engine is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Spins => "spins",
            Self::Hoards => "hoard",
            Self::Keeps => "keeps",
            Self::Traps => "traps",
            Self::Burns(_) => "burns",
        }
    }

    /// The component.
    pub(crate) fn component(self) -> Result<Vec<u8>> {
        let decide = match self {
            Self::Spins => "(loop $again (br $again)) unreachable)".to_owned(),
            Self::Hoards => format!("{HOARDS} unreachable)"),
            Self::Keeps => format!("{HOARDS} {COUNTS}"),
            Self::Traps => "unreachable)".to_owned(),
            Self::Burns(rounds) => format!(
                "(local.set $left (i64.const {rounds}))
                 (loop $again
                   (local.set $left (i64.sub (local.get $left) (i64.const 1)))
                   (br_if $again (i64.gt_s (local.get $left) (i64.const 0))))
                 {COUNTS}"
            ),
        };
        build(self.name(), 0, &decide)
    }
}

/// The how-manieth version of `count`: up to a hundred.
pub(crate) fn count(version: usize) -> Result<Vec<u8>> {
    build(COUNT, version, COUNTS)
}

/// What the version is called.
pub(crate) fn version(number: usize) -> String {
    format!("1.{}.{}", number / 10, number % 10)
}

/// An engine that asks for what `simplest` asks for when there is nothing to do, and hands back so many bytes and figures: what crosses the
/// border, and nothing else.
pub(crate) fn mirror(memory: usize, reason: usize, figures: &[(String, f64)]) -> Result<Vec<u8>> {
    let (at_memory, at_reason, at_figures, at_names) = (20_000, 24_000, 28_000, 32_000);
    ensure!(memory.max(reason) < 4000 && figures.len() < 200, "what it hands back has room");
    let mut decide = format!(
        "(call $config (local.get $domain) (i32.const 4096))
         (call $counts (local.get $domain) (i32.const 4104))
         (memory.fill (i32.const {at_memory}) (i32.const 97) (i32.const 8000))
         (i32.store (i32.const 1032) (i32.const {at_memory})) (i32.store (i32.const 1036) (i32.const {memory}))
         (i32.store8 (i32.const 1040) (i32.const 1))
         (i32.store (i32.const 1044) (i32.const {at_reason})) (i32.store (i32.const 1048) (i32.const {reason}))
         (i32.store (i32.const 1052) (i32.const {at_figures})) (i32.store (i32.const 1056) (i32.const {}))\n",
        figures.len()
    );
    for (place, (name, value)) in figures.iter().enumerate() {
        let (at, at_name) = (at_figures + 16 * place, at_names + 128 * place);
        decide += &format!(
            "(memory.fill (i32.const {at_name}) (i32.const 98) (i32.const {length}))
             (i32.store (i32.const {at}) (i32.const {at_name})) (i32.store (i32.const {}) (i32.const {length}))
             (f64.store (i32.const {}) (f64.const {value}))\n",
            at + 4,
            at + 8,
            length = name.len(),
        );
    }
    build("glass", 0, &format!("{decide} (call $done (local.get $domain) (local.get $control)))"))
}

/// An engine of five letters.
fn build(name: &str, number: usize, decide: &str) -> Result<Vec<u8>> {
    ensure!(name.len() == 5 && number < 100, "the frame has room for a name of five letters and a version of five");
    let reconfigured = "(i32.store (i32.const 1028) (local.get 0)) (i32.store (i32.const 1032) (local.get 1))";
    let text = replaced(FRAME, r"guest\00\00\001.0.0", &format!(r"{name}\00\00\00{}", version(number)))?;
    let text = replaced(&text, "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const 2))", reconfigured)?;
    let text = replaced(&text, "(global $heap (mut i32) (i32.const 8192))", "(global $heap (mut i32) (i32.const 49152))")?;
    let text = replaced(&text, "  ;; more imports\n", IMPORTS)?;
    let text = replaced(&text, "  ;; the guest\n", &format!("{DECIDE} {decide}\n"))?;
    let mut module = wat::parse_str(&text).context("the module is well formed")?;
    let mut files = SourceMap::default();
    for (file, text) in CONTRACT {
        files.push(std::path::Path::new(file), text);
    }
    let contract = files.parse().map_err(|(_, error)| anyhow!("the contract: {error:?}"))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(contract).map_err(|error| anyhow!("the contract: {error:?}"))?;
    let world = resolve.select_world(&[package], Some("decision-engine")).map_err(|error| anyhow!("the contract: {error:?}"))?;
    let sound = |error| anyhow!("the component of {name}: {error:?}");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).map_err(sound)?;
    ComponentEncoder::default().module(&module).map_err(sound)?.validate(true).encode().map_err(sound)
}

fn replaced(text: &str, old: &str, new: &str) -> Result<String> {
    ensure!(text.contains(old), "the frame of guests has no {old:?}");
    Ok(text.replace(old, new))
}

#[cfg(test)]
mod tests {
    use pilothouse_core::cycle::{Engine, FaultKind};
    use pilothouse_core::engine::{SwapReason, Swapped};
    use pilothouse_core::record::Event;
    use pilothouse_engine_host::{Sandbox, SandboxConfig};

    use super::*;
    use crate::decision::Decide;
    use crate::fixture;

    fn once(component: &[u8]) -> Event {
        let sandbox = Sandbox::new(SandboxConfig::default()).expect("a sandbox");
        let engine = sandbox.load(component).expect("it loads");
        let state = fixture::state(0, 0, 0, &engine.identity());
        Decide::new(engine, state).once().0.event.expect("it is on record")
    }

    #[test]
    fn who_counts_counts_from_one_version_to_the_next() {
        let Event::Decided(decision) = once(&count(0).expect("it is built")) else { panic!("it decides") };
        assert_eq!(decision.memory.as_deref(), Some(&1_u64.to_le_bytes()[..]));
        assert!(decision.wake.is_some(), "the first time");
        let sandbox = Sandbox::new(SandboxConfig::default()).expect("a sandbox");
        let (first, next) = (sandbox.load(&count(0).expect("built")), sandbox.load(&count(13).expect("built")));
        let (first, next) = (first.expect("it loads"), next.expect("it loads"));
        assert_eq!((next.description().name.as_str(), next.description().version.to_string()), (COUNT, "1.1.3".to_owned()));
        let mut state = fixture::state(0, 0, 0, &first.identity());
        let swapped = Swapped { engine: next.identity(), why: SwapReason::Followed, reference: None };
        fixture::apply(&mut state, vec![Event::Decided(decision), Event::Swapped(swapped)]);
        let Some(Event::Decided(decision)) = Decide::new(next, state).once().0.event else { panic!("it decides") };
        assert_eq!(decision.memory.as_deref(), Some(&2_u64.to_le_bytes()[..]));
    }

    #[test]
    fn the_bad_ones_are_as_bad_as_they_say() {
        let kind = |bad: Bad| match once(&bad.component().expect("it is built")) {
            Event::Faulted(faulted) => Some(faulted.kind),
            _ => None,
        };
        assert_eq!(kind(Bad::Spins), Some(FaultKind::Fuel));
        assert_eq!(kind(Bad::Hoards), Some(FaultKind::Memory));
        assert_eq!(kind(Bad::Traps), Some(FaultKind::Trap));
        assert_eq!((kind(Bad::Keeps), kind(Bad::Burns(1000))), (None, None));
    }

    #[test]
    fn a_mirror_hands_back_what_it_is_told_to() {
        let figures = [("one".to_owned(), 1.0), ("three".to_owned(), 3.5)];
        let Event::Decided(decision) = once(&mirror(17, 40, &figures).expect("it is built")) else { panic!("it decides") };
        let lengths: Vec<_> = decision.figures.iter().map(|(name, value)| (name.len(), *value)).collect();
        assert_eq!((decision.reason.len(), lengths), (40, vec![(3, 1.0), (5, 3.5)]));
        assert_eq!(decision.memory.as_ref().map(Vec::len), Some(17));
    }
}
