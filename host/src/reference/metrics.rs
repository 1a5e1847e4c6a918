//! `metrics.md`: the figures that hosts tell.

use pilothouse_core::message::MalformedKind;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use super::head;
use super::markdown::fields;
use crate::api::{DecisionFigures, HostFigures, JournalFigures, PullFigures};

/// What the micro protocol tells of every endpoint, and what it means.
const OF_ENDPOINTS: &[(&str, &str)] = &[
    ("name", "The operation, with `-` in place of `.`."),
    ("subject", "Where it is asked for."),
    ("queue_group", "Hosts in one group share the requests."),
    ("num_requests", "Requests that this process took, those it forwarded included."),
    ("num_errors", "Of those, the ones that were answered with an error."),
    ("processing_time", "Nanoseconds from request to answer, summed up."),
    ("average_processing_time", "The same, for one request."),
    ("last_error", "The last error that was answered, if there was one."),
    ("data", "The figures of the host, the same with every endpoint: see below."),
];

/// The page.
pub(super) fn page() -> String {
    let mut text = head("Metrics");
    text += "Hosts tell figures as statistics of the service `pilothouse` of the NATS micro protocol. Whoever may ask for `$SRV.STATS.pilothouse` gets one answer \
             from every host:\n\n\
             ```text\nnats micro stats pilothouse\nnats req '$SRV.STATS.pilothouse' '' --replies 0 --timeout 1s\n```\n\n\
             All counts begin with the process. `nats micro info pilothouse` tells of every endpoint what it does.\n\n\
             ## Of every endpoint\n\n| field | meaning |\n|---|---|\n";
    OF_ENDPOINTS.iter().for_each(|(name, about)| text += &format!("| `{name}` | {about} |\n"));
    text += &format!("\n## Of a host\n\n{}", table::<HostFigures>());
    text += &format!("\n### `decisions`\n\n{}", table::<DecisionFigures>());
    text += &format!("\n### `journal`\n\n{}", table::<JournalFigures>());
    text += &format!("\n### `pulls`\n\n{}", table::<PullFigures>());
    text += "\n### `refused_messages`\n\nOne report of each kind goes to the log in five seconds; all are counted.\n\n| kind | meaning |\n|---|---|\n";
    MalformedKind::ALL.iter().for_each(|kind| text += &format!("| `{}` | {} |\n", kind.name(), kind.about()));
    text
}

fn table<T: JsonSchema>() -> String {
    let mut generator = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    fields(&T::json_schema(&mut generator).to_value(), "")
}
