//! The streams of a journal: how they are made, and what an existing one must not do.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use pilothouse_core::subject::Subjects;
use tokio::time::Instant;

use super::{JournalOptions, READ_PATIENCE};
use crate::store::OpenError;
use crate::store::error::Source;
use crate::store::settle::Backoff;

/// How long the server remembers message ids. An append is settled without that too; it only saves a reading.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// The number of slots, in the stream's own description, because it is part of every subject.
const SLOTS: &str = "pilothouse-slots";

/// Finds or makes the stream for records, and judges it.
pub(super) async fn open_records(jetstream: &Context, subjects: &Subjects, options: &JournalOptions) -> Result<Stream, OpenError> {
    let wanted = Config {
        name: stream_name(subjects),
        description: Some("The journal of Pilothouse's domains: not to be edited or purged by hand".to_owned()),
        subjects: vec![subjects.all_journals()],
        deny_delete: true,
        duplicate_window: DUPLICATE_WINDOW,
        metadata: HashMap::from([(SLOTS.to_owned(), options.slots.to_string())]),
        ..lossless(options.replicas, options.max_bytes)
    };
    let stream = find_or_make(jetstream, &wanted).await?;
    let found = &stream.cached_info().config;
    judge(found)?;
    let demand = |field, found: &dyn Debug, needed: &dyn Debug| demand(&wanted.name, field, found, needed);
    demand("subjects", &found.subjects, &wanted.subjects)?;
    demand("deny_delete", &found.deny_delete, &true)?;
    demand("allow_rollup_hdrs", &found.allow_rollup, &false)?;
    demand(SLOTS, found.metadata.get(SLOTS).unwrap_or(&String::new()), &wanted.metadata[SLOTS])?;
    Ok(stream)
}

/// How the journal under a prefix is kept; nothing when there is none.
pub(super) async fn options_of(jetstream: &Context, subjects: &Subjects) -> Result<Option<JournalOptions>, OpenError> {
    let name = stream_name(subjects);
    let room = |config: &Config| u64::try_from(config.max_bytes).ok().filter(|bytes| *bytes > 0);
    let found = match jetstream.get_stream(&name).await {
        Ok(stream) => stream.cached_info().config.clone(),
        Err(error) if is_absent(&error.kind()) => return Ok(None),
        Err(error) => return Err(OpenError::Create { stream: name, source: error.into() }),
    };
    // One that was never a journal is refused when it is opened.
    let slots = found.metadata.get(SLOTS).and_then(|slots| slots.parse().ok()).unwrap_or_else(|| JournalOptions::default().slots);
    let objects = jetstream.get_stream(format!("OBJ_{name}")).await.ok();
    let max_object_bytes = objects.and_then(|stream| room(&stream.cached_info().config));
    Ok(Some(JournalOptions { replicas: found.num_replicas, max_bytes: room(&found), max_object_bytes, slots }))
}

fn stream_name(subjects: &Subjects) -> String {
    format!("{}-journal", subjects.prefix())
}

/// Finds or makes the bucket for large records, by its name, and judges the stream below it.
pub(super) async fn open_objects(
    jetstream: &Context,
    subjects: &Subjects,
    options: &JournalOptions,
) -> Result<(String, ObjectStore, Stream), OpenError> {
    let bucket = stream_name(subjects);
    // What the client makes of a bucket, with our own limits.
    let wanted = Config {
        name: format!("OBJ_{bucket}"),
        description: Some("Large records of Pilothouse's journal: not to be edited or purged by hand".to_owned()),
        subjects: vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
        allow_rollup: true,
        allow_direct: true,
        ..lossless(options.replicas, options.max_object_bytes)
    };
    let stream = find_or_make(jetstream, &wanted).await?;
    judge(&stream.cached_info().config)?;
    let store = jetstream.get_object_store(&bucket).await.map_err(|source| create_error(&wanted, source))?;
    Ok((bucket, store, stream))
}

/// A stream that keeps what it acknowledged, and refuses what it has no room for.
fn lossless(replicas: usize, max_bytes: Option<u64>) -> Config {
    Config {
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        max_bytes: max_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        max_messages: -1,
        max_messages_per_subject: -1,
        ..Default::default()
    }
}

async fn find_or_make(jetstream: &Context, wanted: &Config) -> Result<Stream, OpenError> {
    let end = Instant::now() + READ_PATIENCE;
    let mut backoff = Backoff::new();
    loop {
        let source: Source = match jetstream.get_stream(&wanted.name).await {
            Ok(stream) => {
                tell_differences(&stream.cached_info().config, wanted);
                return Ok(stream);
            }
            Err(error) if is_absent(&error.kind()) => match jetstream.create_stream(wanted.clone()).await {
                Ok(stream) => {
                    tracing::info!(stream = wanted.name, replicas = wanted.num_replicas, "made a stream");
                    return Ok(stream);
                }
                Err(error) if is_final(&error.kind()) => return Err(create_error(wanted, error)),
                Err(error) => error.into(),
            },
            Err(error) => error.into(),
        };
        if Instant::now() >= end {
            return Err(create_error(wanted, source));
        }
        tracing::debug!(source, stream = wanted.name, "the stream can't be opened yet");
        backoff.pause().await;
    }
}

fn create_error(wanted: &Config, source: impl Into<Source>) -> OpenError {
    OpenError::Create { stream: wanted.name.clone(), source: source.into() }
}

/// Whether the server says that there is no such stream, rather than nothing.
pub(crate) fn is_absent(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Whether the server says that such a stream can't be made here, rather than that it can't be made now.
fn is_final(kind: &CreateStreamErrorKind) -> bool {
    match kind {
        // Somebody else made it a moment ago; or the servers have not all found each other.
        CreateStreamErrorKind::JetStream(said) => {
            said.code() != 503 && said.error_code() != ErrorCode::STREAM_NAME_EXIST && said.error_code() != ErrorCode::CLUSTER_NO_PEERS
        }
        CreateStreamErrorKind::EmptyStreamName | CreateStreamErrorKind::InvalidStreamName => true,
        _ => false,
    }
}

/// Refuses a stream that can lose what it acknowledged, or forget a subject's last sequence, or change what it is given.
fn judge(found: &Config) -> Result<(), OpenError> {
    let demand = |field, found_value: &dyn Debug, needed: &dyn Debug| demand(&found.name, field, found_value, needed);
    // No limit is written as 0 or as -1.
    let unlimited = |limit: i64| limit.max(0);
    demand("storage", &found.storage, &StorageType::File)?;
    demand("retention", &found.retention, &RetentionPolicy::Limits)?;
    demand("discard", &found.discard, &DiscardPolicy::New)?;
    demand("max_age", &found.max_age, &Duration::ZERO)?;
    demand("max_msgs", &unlimited(found.max_messages), &0)?;
    demand("max_msgs_per_subject", &unlimited(found.max_messages_per_subject), &0)?;
    demand("max_msg_size", &unlimited(found.max_message_size.into()), &0)?;
    demand("allow_msg_ttl", &found.allow_message_ttl, &false)?;
    demand("subject_delete_marker_ttl", &found.subject_delete_marker_ttl, &None::<Duration>)?;
    demand("persist_mode", &found.persist_mode.unwrap_or_default(), &PersistenceMode::Default)?;
    demand("no_ack", &found.no_ack, &false)?;
    demand("sealed", &found.sealed, &false)?;
    demand("deny_purge", &found.deny_purge, &false)?;
    demand("mirror", &found.mirror.as_ref().map(|mirror| &mirror.name), &None::<String>)?;
    let sources: Vec<_> = found.sources.iter().flatten().map(|source| &source.name).collect();
    demand("sources", &sources, &Vec::<String>::new())?;
    demand("subject_transform", &found.subject_transform, &None::<()>)
}

/// Compares by what is shown, so that one line serves every type.
fn demand(stream: &str, field: &'static str, found: &dyn Debug, needed: &dyn Debug) -> Result<(), OpenError> {
    let (found, needed) = (format!("{found:?}"), format!("{needed:?}"));
    if found == needed { Ok(()) } else { Err(OpenError::Unsafe { stream: stream.to_owned(), field, found, needed }) }
}

/// An operator may give a stream more room or more copies than this host was told; that is no danger.
fn tell_differences(found: &Config, wanted: &Config) {
    if (found.num_replicas, found.max_bytes) != (wanted.num_replicas, wanted.max_bytes) {
        tracing::warn!(
            stream = found.name,
            replicas = found.num_replicas,
            wanted_replicas = wanted.num_replicas,
            max_bytes = found.max_bytes,
            wanted_max_bytes = wanted.max_bytes,
            "the stream stays as it is, which is not as configured"
        );
    }
}
