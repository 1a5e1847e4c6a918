//! What a Prometheus server answers, read. Whatever comes in, nothing here panics, and nothing becomes a number that is none.

use std::fmt;
use std::marker::PhantomData;

use pilothouse_core::sensor::Sensors;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The most of an error of the server that is told, in characters.
const MAX_ERROR: usize = 500;

/// The most of what a server warns of that is told, in warnings.
const MAX_WARNINGS: usize = 3;

/// What a server answers.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) series: Vec<Series>,
    /// What the server says against its own answer: that some of it is missing, perhaps.
    pub(super) warning: Option<String>,
}

/// One value, when it was true, and what it is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// None in the answer to a query for a scalar.
    pub(super) labels: Labels,
    /// In seconds since the Unix epoch.
    pub(super) time: f64,
    /// Finite. Nothing when it is not a number: NaN, an infinity, or a histogram.
    pub(super) value: Option<f64>,
}

/// The labels of one series. All in one text, so that no answer takes much more memory than its bytes: names and values in turn, each with
/// a NUL behind it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Labels(Box<str>);

impl Labels {
    fn of<'l>(labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> Self {
        let mut all = String::new();
        for text in labels.into_iter().flat_map(|(name, value)| [name, value]) {
            // Nothing that is looked for has a NUL in it.
            all.extend(text.chars().map(|it| if it == '\0' { char::REPLACEMENT_CHARACTER } else { it }));
            all.push('\0');
        }
        Self(all.into())
    }

    /// The value of the label of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All of them, in the order of the answer.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut texts = self.0.split_terminator('\0');
        std::iter::from_fn(move || texts.next().zip(texts.next()))
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut all = Vec::new();
                while let Some(label) = map.next_entry::<String, String>()? {
                    all.push(label);
                }
                Ok(Labels::of(all.iter().map(|(name, value)| (&**name, &**value))))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// The first of a list, as many as anybody can use. The others are read and not kept.
struct First<T, const MOST: usize> {
    kept: Vec<T>,
    is_all: bool,
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for First<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T, const MOST: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Reader<T, MOST> {
            type Value = First<T, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First<T, MOST>, A::Error> {
                let mut kept = Vec::new();
                while kept.len() < MOST {
                    match list.next_element()? {
                        Some(one) => kept.push(one),
                        None => return Ok(First { kept, is_all: true }),
                    }
                }
                let mut is_all = true;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    is_all = false;
                }
                Ok(First { kept, is_all })
            }
        }

        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

#[derive(Deserialize)]
struct Wire {
    status: Status,
    data: Option<Data>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    warnings: Option<First<String, MAX_WARNINGS>>,
    /// How VictoriaMetrics says that some of its data is missing.
    #[serde(rename = "isPartial")]
    is_partial: Option<bool>,
}

#[derive(PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Success,
    Error,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(First<Item, { Sensors::MAX_SERIES }>),
    Scalar((f64, String)),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    metric: Labels,
    value: Option<(f64, String)>,
    /// A native histogram, in place of a value.
    histogram: Option<(f64, IgnoredAny)>,
}

/// Why there are no values, in words for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The server says so itself.
    Said(String),
    /// It is not the answer of a Prometheus server.
    Strange(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(words) => f.write_str(words),
            Self::Strange(why) => write!(f, "that is no answer of a Prometheus server: {why}"),
        }
    }
}

/// Reads the body of an answer to an instant query.
///
/// # Errors
/// When the server answers with an error, the query asks for something that has no single newest value or for more series than a domain may
/// have, or the body is something else.
pub(super) fn read(body: &[u8]) -> Result<Answer, Refused> {
    let wire: Wire = serde_json::from_slice(body).map_err(|error| Refused::Strange(cut(&error.to_string())))?;
    if wire.status == Status::Error {
        let (kind, error) = (wire.error_type.unwrap_or_default(), wire.error.unwrap_or_default());
        return Err(Refused::Said(cut(&format!("{kind}: {error}"))));
    }
    let one = |labels, (time, value): (f64, String)| Series { labels, time, value: number(&value) };
    let series = match wire.data {
        Some(Data::Scalar(sample)) => Ok(vec![one(Labels::default(), sample)]),
        Some(Data::Vector(items)) if !items.is_all => {
            let most = Sensors::MAX_SERIES;
            Err(Refused::Said(format!(
                "the query gives more than {most} series, which is all that a domain may have; it should give fewer"
            )))
        }
        Some(Data::Vector(items)) => items
            .kept
            .into_iter()
            .map(|Item { metric, value, histogram }| match (value, histogram) {
                (Some(sample), _) => Ok(one(metric, sample)),
                (None, Some((time, _))) => Ok(Series { labels: metric, time, value: None }),
                (None, None) => Err(Refused::Strange("a series without a value".to_owned())),
            })
            .collect(),
        Some(Data::Matrix(_)) => {
            Err(Refused::Said("the query gives ranges of values; expected one value of each series, as of rate(…[5m])".to_owned()))
        }
        Some(Data::String(_)) => Err(Refused::Said("the query gives a text; expected numbers".to_owned())),
        None => Err(Refused::Strange("no data".to_owned())),
    };
    let mut warnings = wire.warnings.map(|it| it.kept).unwrap_or_default();
    if wire.is_partial == Some(true) {
        warnings.push("the answer is partial".to_owned());
    }
    Ok(Answer { series: series?, warning: (!warnings.is_empty()).then(|| cut(&warnings.join("; "))) })
}

/// A number as Prometheus writes it, if it is finite.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(MAX_ERROR).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn answer(data: Value) -> Result<Vec<Series>, Refused> {
        read(json!({"status": "success", "data": data}).to_string().as_bytes()).map(|answer| answer.series)
    }

    #[test]
    fn values_are_read_with_their_labels_and_times() {
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"instance": "a"}, "value": [1_700_000_000.5, "3.25"]},
            {"metric": {"instance": "b"}, "value": [1_700_000_000.5, "1e3"]},
        ], "stats": {}});
        let series = |label: &str, value| Series { labels: Labels::of([("instance", label)]), time: 1_700_000_000.5, value: Some(value) };
        assert_eq!(answer(vector), Ok(vec![series("a", 3.25), series("b", 1000.0)]));
        let scalar = Series { labels: Labels::default(), time: 7.0, value: Some(-1.0) };
        assert_eq!(answer(json!({"resultType": "scalar", "result": [7, "-1"]})), Ok(vec![scalar]));
        assert_eq!(answer(json!({"resultType": "vector", "result": []})), Ok(Vec::new()));
    }

    #[test]
    fn labels_are_found_by_their_whole_names() {
        let labels: Labels = serde_json::from_value(json!({"a": "x", "ab": "a", "c": "", "d": "one\0two"})).expect("labels");
        let found = ["a", "ab", "b", "x", "c"].map(|name| labels.get(name));
        assert_eq!(found, [Some("x"), Some("a"), None, None, Some("")]);
        assert_eq!(labels.iter().last(), Some(("d", "one\u{fffd}two")), "no value becomes a label");
    }

    #[test]
    fn more_series_than_a_domain_may_have_are_refused() {
        let vector = |count: usize| {
            let series = json!({"metric": {"a": "b"}, "value": [1, "2"]});
            answer(json!({"resultType": "vector", "result": vec![series; count]}))
        };
        assert_eq!(vector(Sensors::MAX_SERIES).expect("just so many").len(), Sensors::MAX_SERIES);
        assert!(vector(Sensors::MAX_SERIES + 1).expect_err("too many").to_string().starts_with("the query gives more than 20000 series"));
    }

    #[test]
    fn what_a_server_warns_of_is_told_and_its_values_are_taken() {
        let read = |more: Value| {
            let mut body = json!({"status": "success", "data": {"resultType": "scalar", "result": [7, "1"]}});
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            let Answer { series, warning } = read(body.to_string().as_bytes()).expect("read");
            assert_eq!(series.len(), 1);
            warning
        };
        assert_eq!(read(json!({})), None);
        assert_eq!(read(json!({"warnings": [], "isPartial": false})), None);
        assert_eq!(read(json!({"warnings": ["a", "b", "c", "d"]})).as_deref(), Some("a; b; c"));
        assert_eq!(read(json!({"isPartial": true})).as_deref(), Some("the answer is partial"));
    }

    #[test]
    fn what_is_no_number_is_no_value() {
        for text in ["NaN", "+Inf", "-Inf", "", "zero", "1e999"] {
            let vector = json!({"resultType": "vector", "result": [{"metric": {}, "value": [1, text]}]});
            assert_eq!(answer(vector).expect("read")[0].value, None, "{text}");
        }
        let histogram = json!({"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {"count": "3", "sum": "4"}]}]});
        assert_eq!(answer(histogram).expect("read")[0].value, None);
    }

    #[test]
    fn errors_are_told_in_the_words_of_the_server() {
        let body = json!({"status": "error", "errorType": "bad_data", "error": "invalid parameter \"query\": 1:4: parse error"});
        let said = "bad_data: invalid parameter \"query\": 1:4: parse error";
        assert_eq!(read(body.to_string().as_bytes()), Err(Refused::Said(said.to_owned())));
        let long = json!({"status": "error", "errorType": "execution", "error": "x".repeat(10_000)});
        let Err(Refused::Said(words)) = read(long.to_string().as_bytes()) else { panic!("it is an error") };
        assert_eq!(words.chars().count(), MAX_ERROR + 1);
    }

    #[test]
    fn what_is_no_value_of_each_series_is_refused() {
        let said = |data| answer(data).expect_err("refused").to_string();
        assert!(said(json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "2"]]}]})).contains("ranges"));
        assert!(said(json!({"resultType": "string", "result": [1, "text"]})).contains("a text"));
        assert!(said(json!({"resultType": "vector", "result": [{"metric": {}}]})).contains("no answer of a Prometheus server"));
        assert!(read(b"<html>").expect_err("refused").to_string().contains("no answer of a Prometheus server"));
        assert!(read(br#"{"status": "success"}"#).expect_err("refused").to_string().contains("no data"));
    }

    /// Any JSON, of keys and values that answers are made of.
    fn strange() -> impl Strategy<Value = Value> {
        let words = ["status", "success", "error", "data", "resultType", "result", "vector", "scalar", "metric", "value", "NaN", "1"];
        let leaf = prop_oneof![
            any::<f64>().prop_map(|n| json!(n)),
            prop::sample::select(words.to_vec()).prop_map(|text| json!(text)),
            Just(Value::Null)
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(prop::sample::select(words.to_vec()), inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..512), value in strange()) {
            let _ = read(&body);
            let _ = read(value.to_string().as_bytes());
            for kind in ["vector", "scalar", "matrix"] {
                for series in answer(json!({"resultType": kind, "result": value.clone()})).into_iter().flatten() {
                    prop_assert!(series.value.is_none_or(f64::is_finite));
                }
            }
        }
    }
}
