//! One value of a variable for each instance, no value twice: the keys `unique_key` and `unique_values`.
//!
//! A value is held by a valid instance that was launched with it. It is free when nobody valid holds it; or when the end of the one that
//! holds it was granted in the same decision, and then the launch is bound to that end. So while the host holds an instance back, its value
//! is given to nobody else.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};

use crate::{Domain, Filter, InstanceId, Launch};

/// The value of the key `unique_values`: a list, or a text with commas. Space around a value is dropped, and so is a value of nothing
/// else; a whole number is the same as its digits. A value that is there twice is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UniqueValues(Vec<String>);

impl UniqueValues {
    /// The values, in the order in which they are handed out.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for UniqueValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Texts(mut values) = deserializer.deserialize_any(ListOrText)?;
        values.retain(|value| !value.is_empty());
        let mut known = BTreeSet::new();
        match values.iter().find(|value| !known.insert(value.as_str())) {
            Some(twice) => Err(D::Error::custom(format!("the value {twice:?} is there twice"))),
            None => Ok(Self(values)),
        }
    }
}

impl JsonSchema for UniqueValues {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "UniqueValues".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "array", "items": { "type": ["string", "integer"] }, "uniqueItems": true },
                { "type": ["string", "null"] },
            ],
        })
    }
}

struct Texts(Vec<String>);

struct ListOrText;

impl<'de> Visitor<'de> for ListOrText {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values, or values with commas between them")
    }

    fn visit_unit<E: Error>(self) -> Result<Texts, E> {
        Ok(Texts(Vec::new()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts(text.split(',').map(|value| value.trim().to_owned()).collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
        let mut values = Vec::new();
        while let Some(Text(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Texts(values))
    }
}

/// One value in a list.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber)
    }
}

struct TextOrNumber;

impl Visitor<'_> for TextOrNumber {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a whole number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.trim().to_owned()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    /// JSON knows one kind of number: `3.0` is as whole as `3`.
    fn visit_f64<E: Error>(self, number: f64) -> Result<Text, E> {
        if number.fract() == 0.0 && number.abs() <= 9e15 {
            Ok(Text(format!("{number:.0}")))
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }
}

/// Which variable, and the values that it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uniques {
    key: String,
    values: Vec<String>,
}

/// Launches with a value each.
pub(crate) struct Shared {
    /// One instance each.
    pub(crate) launches: Vec<Launch>,
    /// How many values were free before anybody was given one.
    pub(crate) free: u32,
    /// How many have to wait until the holder of a value has gone, which was asked for.
    pub(crate) waiting: u32,
    /// For how many there is no value.
    pub(crate) lacking: u32,
}

impl Uniques {
    /// Nothing unless there is a key and there are values: then instances are all alike.
    #[must_use]
    pub fn of(key: Option<&str>, values: &UniqueValues) -> Option<Self> {
        let key = key.filter(|key| !key.is_empty() && !values.0.is_empty())?;
        Some(Self { key: key.to_owned(), values: values.0.clone() })
    }

    /// Gives each instance that is to be launched the next free value: first those whose holders go, so that a replacement gets the value of
    /// the one that it replaces, then those that nobody has. `ending`: whose end was asked for; `destroyed`: and granted.
    pub(crate) fn share(
        &self,
        domain: &Domain<'_>,
        ending: &BTreeSet<InstanceId>,
        destroyed: &BTreeSet<InstanceId>,
        launches: Vec<Launch>,
    ) -> Shared {
        let valid = domain.instances(&Filter::valid(), None);
        let mut holders: BTreeMap<&str, Vec<&InstanceId>> = BTreeMap::new();
        for instance in &valid {
            if let Some(value) = instance.extra_var(&self.key) {
                holders.entry(value).or_default().push(&instance.id);
            }
        }
        let (mut free, mut going) = (Vec::new(), 0);
        for value in &self.values {
            match holders.get(value.as_str()).map(Vec::as_slice) {
                None => free.push((value, None)),
                Some([holder]) if destroyed.contains(*holder) => free.push((value, Some((*holder).clone()))),
                Some(holders) if holders.iter().all(|holder| ending.contains(*holder)) => going += 1,
                Some(_) => {}
            }
        }
        free.sort_by_key(|(_, holder)| holder.is_none());
        let wanted: u32 = launches.iter().map(|launch| launch.count).fold(0, u32::saturating_add);
        let each = launches.iter().flat_map(|launch| (0..launch.count).map(move |_| launch));
        let with = |(launch, (value, holder)): (&Launch, &(&String, Option<InstanceId>))| {
            let mut extra_vars = launch.extra_vars.clone();
            extra_vars.retain(|(name, _)| *name != self.key);
            extra_vars.push((self.key.clone(), (*value).clone()));
            Launch { count: 1, extra_vars, replaces: holder.clone().or_else(|| launch.replaces.clone()) }
        };
        let shared: Vec<Launch> = each.zip(&free).map(with).collect();
        let without = wanted.saturating_sub(narrow(shared.len()));
        let waiting = without.min(going);
        Shared { launches: shared, free: narrow(free.len()), waiting, lacking: without - waiting }
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
