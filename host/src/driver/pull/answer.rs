//! What a Prometheus server answers, read. Whatever comes in, nothing here panics, and nothing becomes a number that is none.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The most of an error of the server that is told, in characters.
const MAX_ERROR: usize = 500;

/// One value, when it was true, and what it is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// By name. Nothing in the answer to a query for a scalar.
    pub(super) labels: BTreeMap<String, String>,
    /// In seconds since the Unix epoch.
    pub(super) time: f64,
    /// Finite. Nothing when it is not a number: NaN, an infinity, or a histogram.
    pub(super) value: Option<f64>,
}

#[derive(Deserialize)]
struct Wire {
    status: Status,
    data: Option<Data>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
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
    Vector(Vec<Item>),
    Scalar((f64, String)),
    Matrix(IgnoredAny),
    String(IgnoredAny),
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    metric: BTreeMap<String, String>,
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
/// When the server answers with an error, the query asks for something that has no single newest value, or the body is something else.
pub(super) fn read(body: &[u8]) -> Result<Vec<Series>, Refused> {
    let wire: Wire = serde_json::from_slice(body).map_err(|error| Refused::Strange(cut(&error.to_string())))?;
    if wire.status == Status::Error {
        let (kind, error) = (wire.error_type.unwrap_or_default(), wire.error.unwrap_or_default());
        return Err(Refused::Said(cut(&format!("{kind}: {error}"))));
    }
    let one = |labels, (time, value): (f64, String)| Series { labels, time, value: number(&value) };
    match wire.data {
        Some(Data::Scalar(sample)) => Ok(vec![one(BTreeMap::new(), sample)]),
        Some(Data::Vector(items)) => items
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
    }
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
        read(json!({"status": "success", "data": data}).to_string().as_bytes())
    }

    #[test]
    fn values_are_read_with_their_labels_and_times() {
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"instance": "a"}, "value": [1_700_000_000.5, "3.25"]},
            {"metric": {"instance": "b"}, "value": [1_700_000_000.5, "1e3"]},
        ], "stats": {}});
        let series = |label: &str, value| Series {
            labels: [("instance".to_owned(), label.to_owned())].into(),
            time: 1_700_000_000.5,
            value: Some(value),
        };
        assert_eq!(answer(vector), Ok(vec![series("a", 3.25), series("b", 1000.0)]));
        let scalar = Series { labels: BTreeMap::new(), time: 7.0, value: Some(-1.0) };
        assert_eq!(answer(json!({"resultType": "scalar", "result": [7, "-1"]})), Ok(vec![scalar]));
        assert_eq!(answer(json!({"resultType": "vector", "result": []})), Ok(Vec::new()));
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
