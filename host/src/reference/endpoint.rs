//! What discovery shows of an operation.

use std::collections::HashMap;

use schemars::generate::SchemaSettings;

use crate::api::{Audience, Operation};

use super::traffic;

/// The largest schema that is told with an endpoint, in bytes. All endpoints of a host are told in one message.
const MAX_SCHEMA: usize = 4096;

/// The metadata of the endpoint of an operation: what it does, for whom, who serves it, and what its request looks like. The schema of the
/// answer is in the reference.
pub(crate) fn endpoint_metadata(operation: Operation) -> HashMap<String, String> {
    let (request, _) = operation.schemas(&mut SchemaSettings::draft07().with(|it| it.inline_subschemas = true).into_generator());
    let audience = match operation.audience() {
        Audience::Users => "users",
        Audience::Operators => "operators",
    };
    let mut metadata: HashMap<String, String> = [
        ("about", operation.about().to_owned()),
        ("audience", audience.to_owned()),
        ("served_by", traffic::served_by(operation).to_owned()),
        ("changes", operation.changes().to_string()),
        ("reference", format!("docs/reference/api.asyncapi.json#/operations/{}", operation.name())),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let schema = request.to_value().to_string();
    if schema.len() <= MAX_SCHEMA {
        metadata.insert("request_schema".to_owned(), schema);
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_tells_the_schema_of_its_request_and_all_fit_into_a_message() {
        let mut size = 0;
        for operation in Operation::ALL {
            let metadata = endpoint_metadata(*operation);
            let schema: serde_json::Value = serde_json::from_str(&metadata["request_schema"]).expect("JSON");
            assert_eq!(schema["type"], "object", "{operation:?}");
            assert!(!schema.to_string().contains("$ref"), "{operation:?} stands alone");
            size += serde_json::to_vec(&metadata).expect("JSON").len();
        }
        assert!(size < 256 * 1024, "{size}");
    }
}
