//! What of a schema is judged against what: the parts of each subschema, references followed.
//!
//! Every keyword of every draft that has subschemas counts, whatever draft the schema claims: more is counted than judged, never less.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The deepest nesting of values in a schema.
const MAX_NESTING: usize = 64;

/// Subschemas of one schema.
const MAX_SUBSCHEMAS: usize = 10_000;

/// Patterns of one schema.
const MAX_PATTERNS: usize = 256;

/// The longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1024;

/// The longest reference, in bytes: long ones would be followed again and again.
const MAX_REFERENCE_BYTES: usize = 256;

/// What a part of a subschema is judged against, when the subschema is judged against a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// The same value.
    Same,
    /// One property of it.
    Property(&'a str),
    /// The properties of it that `properties` does not name.
    Others(Option<&'a Map<String, Value>>),
    /// All its properties.
    Properties,
    /// The names of its properties.
    Names,
    /// One item of it.
    Item(usize),
    /// All its items.
    Items,
    /// Nothing by itself: only references lead there.
    Nothing,
}

/// A part of a subschema.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) place: Place<'a>,
    pub(super) schema: &'a Value,
    /// Whether it is judged again to find out what was evaluated.
    pub(super) evaluates: bool,
}

const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// The parts of a schema, and where its references lead.
pub(super) struct Outline<'a> {
    root: &'a Value,
    /// By what the reference says.
    targets: BTreeMap<&'a str, &'a Value>,
    /// Every subschema that can be come to, once.
    all: Vec<&'a Value>,
}

impl<'a> Outline<'a> {
    /// # Errors
    /// What of it can't be judged, in words.
    pub(super) fn of(root: &'a Value) -> Result<Self, String> {
        if nests_deeper(root, MAX_NESTING) {
            return Err(format!("it nests more than {MAX_NESTING} deep"));
        }
        let mut outline = Self { root, targets: BTreeMap::new(), all: Vec::new() };
        let mut anchors = BTreeMap::new();
        let mut references = BTreeMap::new();
        let mut patterns = 0;
        let mut seen = std::collections::BTreeSet::new();
        let mut ahead = vec![root];
        loop {
            let Some(schema) = ahead.pop() else {
                // Anchors may come after what refers to them.
                let Some((reference, ())) = references.pop_first() else { break };
                let target = outline.follow(reference, &anchors)?;
                outline.targets.insert(reference, target);
                ahead.push(target);
                continue;
            };
            if !seen.insert(address(schema)) {
                continue;
            }
            outline.all.push(schema);
            if outline.all.len() > MAX_SUBSCHEMAS {
                return Err(format!("it has more than {MAX_SUBSCHEMAS} subschemas"));
            }
            let Value::Object(keywords) = schema else { continue };
            if !std::ptr::eq(schema, root) && ["$id", "id"].iter().any(|id| keywords.get(*id).is_some_and(Value::is_string)) {
                return Err("a subschema has an `$id` of its own: only the whole may have one".to_owned());
            }
            for anchor in ["$anchor", "$dynamicAnchor"].iter().filter_map(|keyword| keywords.get(*keyword)?.as_str()) {
                if anchors.insert(anchor, schema).is_some_and(|other| !std::ptr::eq(other, schema)) {
                    return Err(format!("two subschemas have the anchor {:?}", shown(anchor)));
                }
            }
            patterns += judge_patterns(keywords)?;
            if patterns > MAX_PATTERNS {
                return Err(format!("it has more than {MAX_PATTERNS} patterns"));
            }
            for reference in REFERENCES.iter().filter_map(|keyword| keywords.get(*keyword)?.as_str()) {
                if !outline.targets.contains_key(reference) {
                    references.insert(reference, ());
                }
            }
            outline.parts(keywords, |part| ahead.push(part.schema));
        }
        Ok(outline)
    }

    /// Every subschema, each once.
    pub(super) fn all(&self) -> &[&'a Value] {
        &self.all
    }

    /// Tells each part of a subschema, and where its references lead.
    pub(super) fn parts(&self, keywords: &'a Map<String, Value>, mut tell: impl FnMut(Part<'a>)) {
        let named = keywords.get("properties").and_then(Value::as_object);
        for (keyword, value) in keywords {
            let again = matches!(keyword.as_str(), "contains" | "unevaluatedProperties" | "unevaluatedItems");
            let mut tell = |place, schema| tell(Part { place, schema, evaluates: again || matches!(place, Place::Same) });
            let whole = match keyword.as_str() {
                "$ref" | "$dynamicRef" | "$recursiveRef" => {
                    if let Some(target) = value.as_str().and_then(|reference| self.targets.get(reference)) {
                        tell(Place::Same, target);
                    }
                    continue;
                }
                "not" | "if" | "then" | "else" | "allOf" | "anyOf" | "oneOf" | "dependentSchemas" | "dependencies" => Place::Same,
                "additionalProperties" | "unevaluatedProperties" => Place::Others(named),
                "patternProperties" => Place::Properties,
                "propertyNames" => Place::Names,
                "contains" | "unevaluatedItems" | "additionalItems" | "items" => Place::Items,
                "properties" => {
                    value.as_object().into_iter().flatten().for_each(|(name, part)| tell(Place::Property(name), part));
                    continue;
                }
                "prefixItems" => Place::Item(0),
                "$defs" | "definitions" | "contentSchema" => Place::Nothing,
                _ => continue,
            };
            let item = matches!(keyword.as_str(), "prefixItems" | "items");
            let map = matches!(keyword.as_str(), "dependentSchemas" | "dependencies" | "patternProperties" | "$defs" | "definitions");
            match value {
                Value::Object(parts) if map => parts.values().filter(|part| is_schema(part)).for_each(|part| tell(whole, part)),
                Value::Array(parts) => {
                    for (n, part) in parts.iter().enumerate().filter(|(_, part)| is_schema(part)) {
                        tell(if item { Place::Item(n) } else { whole }, part);
                    }
                }
                part if is_schema(part) => tell(whole, part),
                _ => {}
            }
        }
    }

    /// Where a reference leads: into the schema itself, or nowhere.
    fn follow(&self, reference: &'a str, anchors: &BTreeMap<&'a str, &'a Value>) -> Result<&'a Value, String> {
        let outside = || format!("it refers to {:?}, which is not in it: nothing is fetched for a schema", shown(reference));
        if reference.len() > MAX_REFERENCE_BYTES {
            return Err(format!("it refers to {:?}: at most {MAX_REFERENCE_BYTES} bytes are followed", shown(reference)));
        }
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let own = ["$id", "id"].iter().find_map(|id| self.root.get(*id)?.as_str());
        if !document.is_empty() && own.is_none_or(|own| own.trim_end_matches('#') != document) {
            return Err(outside());
        }
        let fragment = percent_decoded(fragment).ok_or_else(outside)?;
        let mut at = self.root;
        if let Some(pointer) = fragment.strip_prefix('/') {
            for step in pointer.split('/') {
                let step = step.replace("~1", "/").replace("~0", "~");
                at = match at {
                    Value::Object(map) => map.get(&step),
                    Value::Array(items) => step.parse().ok().and_then(|n: usize| items.get(n)),
                    _ => None,
                }
                .ok_or_else(outside)?;
                if ["$id", "id"].iter().any(|id| at.get(*id).is_some_and(Value::is_string)) {
                    return Err("a subschema has an `$id` of its own: only the whole may have one".to_owned());
                }
            }
        } else if !fragment.is_empty() {
            at = anchors.get(&*fragment).ok_or_else(outside)?;
        }
        if is_schema(at) { Ok(at) } else { Err(format!("it refers to {:?}, which is no schema", shown(reference))) }
    }
}

/// Tells one value from another of the same document.
pub(super) fn address(value: &Value) -> usize {
    std::ptr::from_ref(value).addr()
}

/// Whether what was evaluated elsewhere matters to a subschema: then the parts that it is judged by are judged more than once.
pub(super) fn asks_what_was_evaluated(keywords: &Map<String, Value>) -> bool {
    keywords.contains_key("unevaluatedProperties") || keywords.contains_key("unevaluatedItems")
}

fn is_schema(value: &Value) -> bool {
    matches!(value, Value::Object(_) | Value::Bool(_))
}

fn judge_patterns(keywords: &Map<String, Value>) -> Result<usize, String> {
    let pattern = keywords.get("pattern").and_then(Value::as_str);
    let of_names = keywords.get("patternProperties").and_then(Value::as_object).into_iter().flat_map(Map::keys).map(String::as_str);
    let mut count = 0;
    for pattern in pattern.into_iter().chain(of_names) {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(format!("the pattern {:?} has more than {MAX_PATTERN_BYTES} bytes", shown(pattern)));
        }
        count += 1;
    }
    Ok(count)
}

fn nests_deeper(value: &Value, left: usize) -> bool {
    let Some(left) = left.checked_sub(1) else { return true };
    match value {
        Value::Array(items) => items.iter().any(|item| nests_deeper(item, left)),
        Value::Object(map) => map.values().any(|item| nests_deeper(item, left)),
        _ => false,
    }
}

fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
                (digit(*high)? << 4 | digit(*low)?, after)
            }
            (b'%', _) => return None,
            _ => (byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
