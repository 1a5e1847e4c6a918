//! A bucket of keys and values that all hosts share.

use async_nats::jetstream;
use async_nats::jetstream::kv::{Config, Store};

/// A bucket can't be used.
#[derive(Debug, thiserror::Error)]
#[error("bucket {bucket}: {reason}")]
pub struct BucketError {
    pub(super) bucket: String,
    pub(super) reason: String,
}

/// Opens a bucket, and makes it when it is not there.
///
/// # Errors
/// When JetStream does not answer.
pub(super) async fn open(jetstream: &jetstream::Context, bucket: &str, description: &str, replicas: usize) -> Result<Store, BucketError> {
    if let Ok(store) = jetstream.get_key_value(bucket).await {
        return Ok(store);
    }
    let config =
        Config { bucket: bucket.to_owned(), description: description.to_owned(), history: 1, num_replicas: replicas, ..Config::default() };
    let made = jetstream.create_key_value(config).await;
    made.map_err(|error| BucketError { bucket: bucket.to_owned(), reason: error.to_string() })
}
