//! Sensors that the host pulls: which query at which source becomes which series.
//!
//! A source is named, never addressed: the operator of a host says what stands behind the name, so nobody who configures a domain can make
//! the host fetch an address of his choice.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};

use super::{ConfigProblem, seconds};
use crate::message::Reading;
use crate::name::Name;
use crate::pointer::escaped;
use crate::time::Millis;

/// What is pulled for a domain, by the name of the series that it becomes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Pulls(BTreeMap<String, Pull>);

/// One series that is pulled, or one for each instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// Where from: a name that the operator of the host gave to a Prometheus server, `[prometheus.NAME]` in the host's configuration.
    pub source: Name,
    /// What is asked there, in PromQL. Without `instance_label` its answer must be a single value.
    #[schemars(length(min = 1, max = Pull::MAX_QUERY_BYTES))]
    pub query: String,
    /// From one question to the next.
    #[serde(default = "default_interval", with = "seconds")]
    #[schemars(with = "seconds::Seconds", extend("minimum" = 1, "maximum" = 3600))]
    pub interval: Millis,
    /// How long an answer may take; never longer than `interval`, whatever is said here.
    #[serde(default = "default_timeout", with = "seconds")]
    #[schemars(with = "seconds::Seconds", extend("minimum" = 1, "maximum" = 60))]
    pub timeout: Millis,
    /// The label whose value says which instance a value is of. Without it the value is of the domain as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = Pull::MAX_NAME_BYTES))]
    pub instance_label: Option<String>,
    /// The attribute of an instance, as its provisioner told it, that the label's value must equal: `hostname`, perhaps. Without it the label
    /// holds the id of the instance. Only with `instance_label`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = Pull::MAX_NAME_BYTES))]
    pub instance_attribute: Option<String>,
}

const fn default_interval() -> Millis {
    Millis::from_secs(15)
}

const fn default_timeout() -> Millis {
    Millis::from_secs(5)
}

impl Pull {
    /// The longest query, in bytes.
    pub const MAX_QUERY_BYTES: usize = 4096;
    /// The longest name of a label or an attribute, in bytes.
    pub const MAX_NAME_BYTES: usize = 128;

    /// How long an answer may take.
    pub fn patience(&self) -> Millis {
        self.timeout.min(self.interval)
    }

    /// Whether this asks for the same as another, however often and however patiently: its readings go on in the same series.
    pub fn asks_like(&self, other: &Self) -> bool {
        let Self { interval, timeout, .. } = *self;
        *self == Self { interval, timeout, ..other.clone() }
    }

    fn judge(&self, at: &str, problems: &mut Vec<ConfigProblem>) {
        let mut problem = |key: &str, message: String| problems.push(ConfigProblem::new(format!("{at}/{key}"), message));
        for (key, length, most) in [("interval", self.interval, 3600), ("timeout", self.timeout, 60)] {
            if !(Millis::from_secs(1)..=Millis::from_secs(most)).contains(&length) {
                problem(key, format!("expected 1 to {most} seconds, got {}", length.as_secs_f64()));
            }
        }
        let texts = [
            ("query", Some(&self.query), Self::MAX_QUERY_BYTES),
            ("instance_label", self.instance_label.as_ref(), Self::MAX_NAME_BYTES),
            ("instance_attribute", self.instance_attribute.as_ref(), Self::MAX_NAME_BYTES),
        ];
        for (key, text, most) in texts {
            if let Some(text) = text.filter(|text| text.is_empty() || text.len() > most) {
                problem(key, format!("expected 1 to {most} bytes, got {}", text.len()));
            }
        }
        if self.instance_attribute.is_some() && self.instance_label.is_none() {
            problem("instance_attribute", "goes with instance_label, which is not given".to_owned());
        }
    }
}

impl Pulls {
    /// The most series that are pulled for one domain.
    pub const MAX: usize = 32;

    /// Whether nothing is pulled.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that is pulled, by the name of the series.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Pull)> {
        self.0.iter().map(|(metric, pull)| (metric.as_str(), pull))
    }

    /// What a series is pulled from.
    pub fn get(&self, metric: &str) -> Option<&Pull> {
        self.0.get(metric)
    }

    pub(super) fn judge(&self, problems: &mut Vec<ConfigProblem>) {
        if self.0.len() > Self::MAX {
            problems.push(ConfigProblem::new("/sensors", format!("expected at most {} series, got {}", Self::MAX, self.0.len())));
        }
        for (metric, pull) in &self.0 {
            let at = format!("/sensors/{}", escaped(metric));
            if metric.is_empty() || metric.len() > Reading::MAX_METRIC_BYTES {
                let message = format!("the name of a series has 1 to {} bytes, this one {}", Reading::MAX_METRIC_BYTES, metric.len());
                problems.push(ConfigProblem::new(&*at, message));
            }
            pull.judge(&at, problems);
        }
    }
}

/// A series that is null is none: that is how a change takes one away.
impl<'de> Deserialize<'de> for Pulls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pulls = BTreeMap::<String, Option<Pull>>::deserialize(deserializer)?;
        Ok(Self(pulls.into_iter().filter_map(|(metric, pull)| Some((metric, pull?))).collect()))
    }
}

impl JsonSchema for Pulls {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pulls".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = BTreeMap::<String, Pull>::json_schema(generator);
        schema.insert("maxProperties".to_owned(), Self::MAX.into());
        schema.insert("propertyNames".to_owned(), serde_json::json!({"minLength": 1, "maxLength": Reading::MAX_METRIC_BYTES}));
        schema
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::DomainConfig;

    fn config(sensors: Value) -> Result<DomainConfig, Vec<String>> {
        DomainConfig::from_json(json!({ "sensors": sensors })).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn only_source_and_query_must_be_said() {
        let config = config(json!({"queue": {"source": "main", "query": "sum(queue_length)"}})).expect("good");
        let pull = config.sensors.get("queue").expect("there");
        assert_eq!((pull.interval, pull.timeout), (Millis::from_secs(15), Millis::from_secs(5)));
        assert_eq!((&pull.instance_label, &pull.instance_attribute), (&None, &None));
        let again = DomainConfig::from_json(config.to_json()).expect("good");
        assert_eq!(again, config);
    }

    #[test]
    fn a_domain_that_pulls_nothing_says_nothing_of_it() {
        assert!(DomainConfig::default().to_json().get("sensors").is_none());
    }

    #[test]
    fn an_answer_may_never_take_longer_than_the_interval() {
        let config = config(json!({"q": {"source": "main", "query": "q", "interval": 2}})).expect("good");
        assert_eq!(config.sensors.get("q").expect("there").patience(), Millis::from_secs(2));
    }

    #[test]
    fn only_what_is_asked_makes_another_series() {
        let pull = |change: Value| {
            let mut all = json!({"source": "main", "query": "q", "instance_label": "node"});
            all.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
            serde_json::from_value::<Pull>(all).expect("good")
        };
        let old = pull(json!({}));
        assert!(pull(json!({"interval": 30, "timeout": 10})).asks_like(&old));
        for other in [json!({"source": "b"}), json!({"query": "r"}), json!({"instance_label": "host"}), json!({"instance_attribute": "a"})]
        {
            assert!(!pull(other.clone()).asks_like(&old), "{other}");
        }
    }

    #[test]
    fn whatever_is_wrong_is_named_by_its_key() {
        let good = json!({"source": "main", "query": "q"});
        let with = |key: &str, value: Value| {
            let mut pull = good.clone();
            pull[key] = value;
            pull
        };
        for (wrong, named) in [
            (json!({"q": {"query": "q"}}), "/sensors/q: missing field `source`"),
            (json!({"q": with("query", json!(""))}), "/sensors/q/query: expected 1 to 4096 bytes"),
            (json!({"q": with("query", json!("q".repeat(4097)))}), "/sensors/q/query: expected 1 to 4096 bytes, got 4097"),
            (json!({"q": with("source", json!("http://a"))}), "/sensors/q/source: "),
            (json!({"q": with("url", json!("http://a"))}), "/sensors/q/url: unknown field"),
            (json!({"q": with("interval", json!(0.5))}), "/sensors/q/interval: expected 1 to 3600 seconds, got 0.5"),
            (json!({"q": with("interval", json!(3601))}), "/sensors/q/interval: expected 1 to 3600 seconds"),
            (json!({"q": with("timeout", json!(0.9))}), "/sensors/q/timeout: expected 1 to 60 seconds, got 0.9"),
            (json!({"q": with("timeout", json!(61))}), "/sensors/q/timeout: expected 1 to 60 seconds, got 61"),
            (json!({"q": with("instance_label", json!(""))}), "/sensors/q/instance_label: expected 1 to 128 bytes"),
            (json!({"q": with("instance_attribute", json!("hostname"))}), "/sensors/q/instance_attribute: goes with instance_label"),
            (json!({"": good}), "/sensors/: the name of a series has 1 to 128 bytes"),
            (json!({"a/b": with("timeout", json!(0))}), "/sensors/a~1b/timeout: "),
            (json!(3), "/sensors: "),
        ] {
            let found = config(wrong).expect_err("wrong");
            assert!(found.len() == 1 && found[0].starts_with(named), "{named} is not in {found:?}");
        }
        let many: BTreeMap<_, _> = (0..33).map(|n| (format!("q{n}"), good.clone())).collect();
        assert_eq!(config(json!(many)).expect_err("too many"), ["/sensors: expected at most 32 series, got 33"]);
    }

    #[test]
    fn a_change_folds_series_in_one_by_one_and_null_takes_one_away() {
        let pull = |query: &str| json!({"source": "main", "query": query});
        let old = config(json!({"a": pull("a"), "b": pull("b"), "c": pull("c")})).expect("good");
        let new = old.changed_by(&json!({"sensors": {"a": pull("new"), "b": null, "d": pull("d"), "e": null}})).expect("good");
        let queries: Vec<_> = new.sensors.iter().map(|(metric, pull)| (metric, pull.query.as_str())).collect();
        assert_eq!(queries, [("a", "new"), ("c", "c"), ("d", "d")]);
        let whole = old.changed_by(&json!({"sensors": {"a": {"query": "new"}}})).expect_err("a series is replaced whole");
        assert_eq!(whole[0].at, "/sensors/a");
        assert_eq!(new.changed_by(&json!({"health": {}})), Ok(new.clone()));
    }
}
