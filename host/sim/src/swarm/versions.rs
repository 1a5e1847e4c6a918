//! What happens to the engine of a random scenario: versions come, fail, are held, run beside and are given another chance.

use serde_json::{Value, json};

use super::make::Making;
use crate::event::{Beside, Fail, FailKind, Swap, SwapWhy};
use crate::timeline::Entry;

/// Versions that come, besides that of the component.
const VERSIONS: [&str; 4] = ["1.1.0", "1.2.0", "2.0.0", "3.0.0"];

/// Those that speak against a version, more often than the others.
const KINDS: [FailKind; 14] = [
    FailKind::Trap,
    FailKind::Trap,
    FailKind::Fuel,
    FailKind::Processor,
    FailKind::Memory,
    FailKind::Output,
    FailKind::Deadline,
    FailKind::Abandoned,
    FailKind::Returned,
    FailKind::Load,
    FailKind::Crowded,
    FailKind::MemoryRefused,
    FailKind::MemoryRefused,
    FailKind::MemoryRefused,
];

/// A few things happen.
pub(super) fn happen(making: &mut Making<'_>) {
    for _ in 0..making.dice.from_to(1, 8) {
        let at = making.moment();
        if making.dice.percent(30) {
            // While the engine decides.
            making.put(at, Entry { ask: Some(true), ..Entry::default() });
        }
        let entry = one(making);
        making.put(at, entry);
    }
}

fn one(making: &mut Making<'_>) -> Entry {
    let others = making.shape.others;
    let dice = &mut making.dice;
    let version = dice.pick(&VERSIONS).to_owned();
    let reconfigure = |sections: Value| Entry { reconfigure: sections.as_object().cloned(), ..Entry::default() };
    match dice.below(20) {
        0..5 => Entry {
            swap: Some(Swap { version, why: dice.pick(&[SwapWhy::Followed, SwapWhy::Pinned, SwapWhy::Reloaded]) }),
            ..Entry::default()
        },
        5..10 => {
            let of = dice.percent(30).then_some(version);
            Entry { fail: Some(Fail { kind: dice.pick(&KINDS), times: dice.pick(&[1, 2, 3, 4, 8]), version: of }), ..Entry::default() }
        }
        10..14 => {
            let engine = (!others.is_empty() && dice.percent(50)).then(|| dice.pick(others).to_owned());
            let promote_after = dice.pick(&[None, None, Some(1.0), Some(20.0), Some(300.0)]);
            Entry { shadow: Some(Beside { engine, version: Some(version), promote_after }), ..Entry::default() }
        }
        14 => Entry { unshadow: Some(true), ..Entry::default() },
        15..17 => Entry { retry: Some(true), ..Entry::default() },
        17 if !others.is_empty() => reconfigure(json!({"general": {"engine": dice.pick(others)}})),
        18 => reconfigure(json!({"general": {"memory_refused": dice.pick(&["hold", "hold", "initialize"])}})),
        _ => reconfigure(json!({"general": {"roll_back_after": dice.pick(&[1, 2, 3])}})),
    }
}
