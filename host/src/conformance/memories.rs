//! Memories that are not the engine's own: damaged, cut short, of a version that is yet to come. A host hands them over after a rollback, or
//! when two engines share a name. They must lead to an error that people can read, and to no trap.

use std::time::Instant;

use pilothouse_core::cycle::{Called, Engine as _, Fault, FaultKind, Reconfigured};
use pilothouse_core::seed::{Seed, Stream};
use pilothouse_engine_host::{EngineLimits, LoadedEngine};
use serde_json::Value;

use super::bench::Bench;
use super::report::{Check, Report};
use super::script::Script;
use super::{Call, told};

/// Instances of the domain that is decided over.
const INSTANCES: usize = 10;
/// Places at which a memory is cut.
const CUTS: usize = 16;
/// Faults that are told of each check.
const TOLD: usize = 3;
/// What could say which version a memory in JSON is of.
const VERSION_KEYS: [&str; 5] = ["version", "v", "format", "schema", "memory_version"];

/// Hands over memories of each sort, to every call that takes one. `own` is one that the engine returned.
pub(super) fn check(script: &Script, engine: &LoadedEngine, own: &[u8], limits: &EngineLimits, report: &mut Report) {
    let bench = script.empty().with_instances(INSTANCES);
    let hand = |name: &str, memories: Vec<Vec<u8>>| Handed::over(name, &memories, engine, &bench, limits);

    let mut garbage = hand("a memory of garbage: no trap", garbage(own));
    garbage.note();
    report.push(garbage.check);

    let mut cut = hand("a memory cut short: no trap", cut(own));
    if cut.taken > 0 {
        cut.check.warn("it took one for whole: say in the memory how long it is, or use a format that does");
    }
    cut.note();
    report.push(cut.check);

    let mut later = hand("a memory of a later version: no trap", of_a_later_version(own));
    if later.taken > 0 {
        later.check.warn("it took one for its own: begin the memory with a version and refuse others");
    }
    later.note();
    report.push(later.check);

    report.push(retire(engine, own, limits));
}

/// What came of handing some memories over.
struct Handed {
    check: Check,
    refused: usize,
    taken: usize,
    /// One ran into a limit of time; each of the rest would take as long.
    cut_short: bool,
}

impl Handed {
    fn over(name: &str, memories: &[Vec<u8>], engine: &LoadedEngine, bench: &Bench, limits: &EngineLimits) -> Self {
        let mut handed = Self { check: Check::new(name), refused: 0, taken: 0, cut_short: false };
        for memory in memories {
            if handed.cut_short {
                break;
            }
            let domain = bench.clone().with_memory(engine, memory.clone());
            let begun = Instant::now();
            let ran = domain.cycle(0).run(engine);
            let fault = ran.outcome.err().map(|failed| failed.fault);
            handed.take("decide", memory, Call { fuel: ran.fuel, time: begun.elapsed(), fault }, limits);

            let domain = domain.reconfigured();
            let begun = Instant::now();
            let Called { fuel, result, .. } = engine.reconfigure(domain.cycle(0), memory);
            // An engine that starts afresh does not look at the memory, which is no reason for praise or blame.
            let fault = match result {
                Ok(Reconfigured::NotSupported) => continue,
                Ok(Reconfigured::MemoryRefused(text)) => Some(Fault::new(FaultKind::Returned, text)),
                result => result.err(),
            };
            handed.take("reconfigure", memory, Call { fuel, time: begun.elapsed(), fault }, limits);
        }
        handed
    }

    fn take(&mut self, what: &str, memory: &[u8], mut call: Call, limits: &EngineLimits) {
        self.cut_short |= call.ran_for_too_long();
        match call.fault.take() {
            None => self.taken += 1,
            Some(Fault { kind: FaultKind::Returned, .. }) => self.refused += 1,
            Some(fault) if self.check.notes.len() < TOLD => {
                self.check.fail(format!("{what} with {}: {}", shown(memory), told(&fault, limits)));
            }
            Some(_) => self.check.outcome = super::Outcome::Failed,
        }
        call.judge(limits, &mut self.check);
    }

    fn note(&mut self) {
        let text = match (self.refused, self.taken) {
            (0, 0) if self.check.notes.is_empty() => "its memory is empty: there is nothing to try".to_owned(),
            (0, 0) => return,
            (refused, 0) => format!("{refused} refused"),
            (0, taken) => format!("{taken} taken without a word"),
            (refused, taken) => format!("{refused} refused, {taken} taken"),
        };
        self.check.note(text);
    }
}

fn retire(engine: &LoadedEngine, own: &[u8], limits: &EngineLimits) -> Check {
    let mut check = Check::new("retire");
    let begun = Instant::now();
    let fault = engine.retire(own).err();
    let call = Call { fuel: 0, time: begun.elapsed(), fault };
    check.cost = super::Cost::of_time(call.time, None);
    if let Some(fault) = &call.fault {
        check.fail(told(fault, limits));
    }
    if call.ran_for_too_long() {
        check.note("a memory that is not its own was not tried: it would take as long");
        return check;
    }
    if let Some(fault) = garbage(own).iter().find_map(|memory| engine.retire(memory).err()) {
        check.warn(format!("with a memory that is not its own it fails, which stops nothing: {fault}"));
    }
    check
}

/// Bytes that are no memory of anybody.
fn garbage(own: &[u8]) -> Vec<Vec<u8>> {
    let mut random = Seed(*b"garbage memories").stream(Stream::Engine);
    let mut noise = |bytes: usize| std::iter::repeat_with(|| random.next_u64().to_le_bytes()).flatten().take(bytes).collect::<Vec<u8>>();
    let mut memories = vec![vec![0xff], vec![0], vec![0xff; 64], b"{}".to_vec(), b"[]".to_vec(), b"no memory of yours".to_vec()];
    memories.extend([noise(16), noise(1024), noise(64 << 10)]);
    if !own.is_empty() {
        // Its own, with more behind it, and with noise behind what may be a version.
        memories.push([own, &noise(16)].concat());
        memories.push([&own[..1], &noise(64)].concat());
    }
    memories.retain(|memory| memory.len() <= pilothouse_core::cycle::limits::MEMORY_BYTES);
    memories
}

/// Its own, cut at several places. Not before the first byte: nothing at all may well be a memory.
fn cut(own: &[u8]) -> Vec<Vec<u8>> {
    let step = own.len().div_ceil(CUTS).max(1);
    (1..own.len()).step_by(step).map(|end| own[..end].to_vec()).collect()
}

/// Its own, with whatever looks like a version raised.
fn of_a_later_version(own: &[u8]) -> Vec<Vec<u8>> {
    if let Ok(Value::Object(whole)) = serde_json::from_slice(own) {
        let raised = VERSION_KEYS.iter().filter(|key| whole.contains_key(**key)).map(|key| {
            let mut whole = whole.clone();
            whole.insert((*key).to_owned(), Value::from(999));
            Value::Object(whole).to_string().into_bytes()
        });
        return raised.collect();
    }
    let Some((first, rest)) = own.split_first() else { return Vec::new() };
    [first.wrapping_add(1), 0x7f, 0xfe].into_iter().filter(|version| version != first).map(|version| [&[version], rest].concat()).collect()
}

/// The beginning of a memory, as it is said.
fn shown(memory: &[u8]) -> String {
    let head: String = memory.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let more = if memory.len() > 8 { "…" } else { "" };
    format!("{} bytes ({head}{more})", memory.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_is_cut_everywhere_but_at_its_ends() {
        assert_eq!(cut(b"abc"), [b"a".to_vec(), b"ab".to_vec()]);
        assert!(cut(b"").is_empty() && cut(b"a").is_empty());
        let cuts = cut(&[7; 1000]);
        assert!(cuts.len() <= CUTS && cuts.iter().all(|cut| (1..1000).contains(&cut.len())), "{}", cuts.len());
    }

    #[test]
    fn a_later_version_is_one_in_the_first_byte_or_one_by_its_name() {
        assert_eq!(of_a_later_version(&[1, 9]), [vec![2, 9], vec![0x7f, 9], vec![0xfe, 9]]);
        assert_eq!(of_a_later_version(br#"{"v":1,"n":2}"#), [br#"{"n":2,"v":999}"#.to_vec()]);
        assert!(of_a_later_version(b"").is_empty());
    }

    #[test]
    fn no_garbage_is_longer_than_a_memory_can_be() {
        assert!(garbage(&[1; 64 << 10]).iter().all(|memory| memory.len() <= 64 << 10));
    }
}
