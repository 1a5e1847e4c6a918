//! The buckets that all hosts share: of keys and values, and of engines.

use std::error::Error;

use async_nats::jetstream;
use async_nats::jetstream::context::{GetStreamError, PublishError, PublishErrorKind};
use async_nats::jetstream::kv::{Config, Store};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;

use crate::store::is_absent;

/// By this header clients of buckets tell what became of a key, unless it was written.
pub(super) const OPERATION: &str = "KV-Operation";

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
    let config =
        Config { bucket: bucket.to_owned(), description: description.to_owned(), history: 1, num_replicas: replicas, ..Config::default() };
    open_as(jetstream, config).await
}

/// The same, with all that a bucket is to be when it is made.
///
/// # Errors
/// As [`open`].
pub(super) async fn open_as(jetstream: &jetstream::Context, config: Config) -> Result<Store, BucketError> {
    let bucket = config.bucket.clone();
    let found = jetstream.get_key_value(&bucket).await;
    there_or_made(&bucket, found, || jetstream.create_key_value(config)).await
}

/// What was found, or what is made in its place when it is certain that there is nothing. Whoever got no answer must not make anything: it
/// would ask for a bucket that is there to be another than it is.
pub(super) async fn there_or_made<T, E, F, M>(bucket: &str, found: Result<T, E>, make: impl FnOnce() -> F) -> Result<T, BucketError>
where
    E: Error + 'static,
    F: Future<Output = Result<T, M>>,
    M: Error,
{
    let failed = |reason: String| BucketError { bucket: bucket.to_owned(), reason };
    match found {
        Ok(there) => Ok(there),
        Err(error) if is_of_absence(&error) => make().await.map_err(|error| failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The subject of a key, or of all keys with `*`.
pub(super) fn subject(bucket: &Store, key: &str) -> String {
    format!("$KV.{}.{key}", bucket.name)
}

/// Writes a value, or what `operation` says of the key beside it, if the key is still at `revision`: 0 when there never was one. The new
/// revision, or nothing when somebody was faster.
///
/// # Errors
/// When JetStream does not answer: then it may be written.
pub(super) async fn put(
    jetstream: &jetstream::Context,
    bucket: &Store,
    key: &str,
    revision: u64,
    value: Vec<u8>,
    operation: Option<&str>,
) -> Result<Option<u64>, PublishError> {
    let message = PublishMessage::build().payload(Bytes::from(value)).expected_last_subject_sequence(revision);
    let message = match operation {
        Some(operation) => message.header(OPERATION, operation),
        None => message,
    };
    let sent = jetstream.send_publish(subject(bucket, key), message).await;
    match async { sent?.await }.await {
        Ok(ack) => Ok(Some(ack.sequence)),
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the server said that there is no stream for the bucket. The client wraps that in errors of its own.
fn is_of_absence(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<GetStreamError>() {
        Some(said) => is_absent(&said.kind()),
        None => error.source().is_some_and(is_of_absence),
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::context::{GetStreamErrorKind, KeyValueError, KeyValueErrorKind};
    use serde_json::json;

    use super::*;

    async fn opened(found: GetStreamErrorKind) -> Result<&'static str, BucketError> {
        let made = async || Ok::<_, std::fmt::Error>("made");
        let found = KeyValueError::with_source(KeyValueErrorKind::GetBucket, GetStreamError::from(found));
        there_or_made("PH_LEASE", Err(found), made).await
    }

    #[tokio::test]
    async fn a_bucket_is_made_only_when_the_server_says_that_there_is_none() {
        let said =
            |code: u64| GetStreamErrorKind::JetStream(serde_json::from_value(json!({"code": 404, "err_code": code})).expect("an error"));
        assert_eq!(opened(said(10059)).await.expect("it is made"), "made");
        for kind in [said(10039), GetStreamErrorKind::Request] {
            let refused = opened(kind).await.expect_err("nobody knows whether it is there").to_string();
            assert!(refused.starts_with("bucket PH_LEASE: "), "{refused}");
        }
        let there = there_or_made("PH_LEASE", Ok::<_, std::fmt::Error>("there"), async || Err::<_, std::fmt::Error>(std::fmt::Error)).await;
        assert_eq!(there.expect("it is there"), "there");
    }
}
