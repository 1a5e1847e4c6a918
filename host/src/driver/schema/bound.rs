//! Bounds on what a schema takes, before anything compiles it or judges by it: neither can be interrupted.
//!
//! References make a short schema a long one: twenty definitions, each of which refers to the one before twice, are a million. Two bounds
//! keep that from harm. A schema alone is held to how often it judges one value ([`judge`]). A configuration is judged only when all
//! judging by a schema, values in values included, stays below a number of steps ([`steps`]), which are counted by going through both
//! without judging anything.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::outline::{Outline, Place, address, asks_what_was_evaluated};

/// Subschemas that one value is judged by, each reference counted as all that it leads to.
const MAX_FOR_A_VALUE: u64 = 10_000;

/// The same for all subschemas together that ask what was evaluated elsewhere. They are built anew for each way that leads to them.
const MAX_EVALUATED: u64 = 5_000;

/// Subschemas in one another that judge the same value. Each takes room on the stack.
const MAX_CHAIN: usize = 256;

/// Subschemas in one another, values in values included. Each takes room on the stack.
const MAX_DEPTH: usize = 512;

/// A byte of text counts as so many steps for each pattern that it is matched with.
const PATTERN_STEPS: u64 = 8;

/// How often one value is judged.
#[derive(Clone, Copy)]
struct Weight {
    judged: u64,
    /// To find out what was evaluated.
    evaluated: u64,
    chain: usize,
}

/// Judges a schema by itself.
///
/// # Errors
/// Why it is not fit to judge by, in words.
pub(super) fn judge(outline: &Outline<'_>) -> Result<(), String> {
    let mut weights = BTreeMap::new();
    let mut evaluated = 0_u64;
    for schema in outline.all() {
        let weight = weigh(outline, schema, 1, &mut weights)?;
        if schema.as_object().is_some_and(asks_what_was_evaluated) {
            evaluated = evaluated.saturating_add(weight.evaluated);
        }
        if weight.judged > MAX_FOR_A_VALUE {
            return Err(format!("with its references followed, one value is judged by more than {MAX_FOR_A_VALUE} subschemas"));
        }
    }
    if evaluated > MAX_EVALUATED {
        return Err(format!("with its references followed, more than {MAX_EVALUATED} subschemas are asked what they evaluated"));
    }
    Ok(())
}

fn weigh<'a>(
    outline: &Outline<'a>,
    schema: &'a Value,
    depth: usize,
    known: &mut BTreeMap<usize, Option<Weight>>,
) -> Result<Weight, String> {
    match known.get(&address(schema)) {
        Some(Some(weight)) => return Ok(*weight),
        Some(None) => return Err("it refers to itself for the same value, without end".to_owned()),
        None => {}
    }
    let too_deep = || Err(format!("with its references followed, more than {MAX_CHAIN} subschemas in one another judge the same value"));
    if depth > MAX_CHAIN {
        return too_deep();
    }
    known.insert(address(schema), None);
    let mut weight = Weight { judged: 1, evaluated: 1, chain: 1 };
    if let Value::Object(keywords) = schema {
        let mut parts = Vec::new();
        outline.parts(keywords, |part| {
            if let Place::Same = part.place {
                parts.push(part.schema);
            }
        });
        for part in parts {
            let part = weigh(outline, part, depth + 1, known)?;
            weight.judged = weight.judged.saturating_add(part.judged);
            weight.evaluated = weight.evaluated.saturating_add(part.judged).saturating_add(part.evaluated);
            weight.chain = weight.chain.max(part.chain + 1);
        }
        if asks_what_was_evaluated(keywords) {
            weight.judged = weight.judged.saturating_add(weight.evaluated);
        }
    }
    if weight.chain > MAX_CHAIN {
        return too_deep();
    }
    known.insert(address(schema), Some(weight));
    Ok(weight)
}

/// It would take more than it may.
#[derive(Debug, PartialEq)]
pub(super) struct TooMuch;

/// How many steps it takes to judge a value by a schema; or that it is more than the most, or too deep.
pub(super) fn steps<'a>(outline: &Outline<'a>, schema: &'a Value, value: &Value, most: u64) -> Result<u64, TooMuch> {
    let mut count = Count { outline, left: most, depth: 0 };
    count.judged(schema, value)?;
    Ok(most - count.left)
}

struct Count<'o, 'a> {
    outline: &'o Outline<'a>,
    left: u64,
    depth: usize,
}

impl<'a> Count<'_, 'a> {
    fn take(&mut self, steps: u64) -> Result<(), TooMuch> {
        self.left = self.left.checked_sub(steps).ok_or(TooMuch)?;
        Ok(())
    }

    fn judged(&mut self, schema: &'a Value, value: &Value) -> Result<(), TooMuch> {
        self.visit(schema, value, false)
    }

    fn visit(&mut self, schema: &'a Value, value: &Value, evaluated: bool) -> Result<(), TooMuch> {
        let Value::Object(keywords) = schema else { return self.take(1) };
        if self.depth == MAX_DEPTH {
            return Err(TooMuch);
        }
        self.depth += 1;
        self.take(price(keywords, value))?;
        let mut parts = Vec::with_capacity(keywords.len());
        self.outline.parts(keywords, |part| parts.push(part));
        for part in parts {
            if !evaluated || part.evaluates {
                self.part(part.place, part.schema, value)?;
            }
            if evaluated && let Place::Same = part.place {
                self.visit(part.schema, value, true)?;
            }
        }
        if !evaluated && asks_what_was_evaluated(keywords) {
            self.visit(schema, value, true)?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn part(&mut self, place: Place<'a>, part: &'a Value, value: &Value) -> Result<(), TooMuch> {
        match (place, value) {
            (Place::Same, _) => self.judged(part, value),
            (Place::Property(name), Value::Object(map)) => map.get(name).map_or(Ok(()), |value| self.judged(part, value)),
            (Place::Others(named), Value::Object(map)) => {
                let is_named = |name: &String| named.is_some_and(|named| named.contains_key(name));
                map.iter().filter(|(name, _)| !is_named(name)).try_for_each(|(_, value)| self.judged(part, value))
            }
            (Place::Properties, Value::Object(map)) => map.values().try_for_each(|value| self.judged(part, value)),
            (Place::Names, Value::Object(map)) => map.keys().try_for_each(|name| self.judged(part, &Value::String(name.clone()))),
            (Place::Item(n), Value::Array(items)) => items.get(n).map_or(Ok(()), |value| self.judged(part, value)),
            (Place::Items, Value::Array(items)) => items.iter().try_for_each(|value| self.judged(part, value)),
            _ => Ok(()),
        }
    }
}

/// What the keywords of one subschema take, without their parts.
fn price(keywords: &Map<String, Value>, value: &Value) -> u64 {
    let mut steps = 1 + keywords.len() as u64;
    let bytes = |text: &String| text.len() as u64;
    steps += match value {
        Value::String(text) if keywords.contains_key("pattern") || keywords.contains_key("format") => bytes(text) * PATTERN_STEPS,
        Value::String(text) => bytes(text) / 32,
        Value::Array(items) => items.len() as u64,
        Value::Object(map) => {
            let patterns = keywords.get("patternProperties").and_then(Value::as_object).map_or(0, Map::len) as u64;
            map.len() as u64 + map.keys().map(bytes).sum::<u64>() * patterns * PATTERN_STEPS
        }
        _ => 0,
    };
    for (keyword, stated) in keywords {
        steps += match keyword.as_str() {
            "enum" | "const" | "required" | "dependentRequired" | "dependencies" => size(stated),
            "uniqueItems" => 2 * size(value),
            _ => 0,
        };
    }
    steps
}

/// How many values there are in a value.
fn size(value: &Value) -> u64 {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}
