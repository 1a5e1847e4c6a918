//! Records that are too large for one message: objects in a bucket beside the stream.
//!
//! The layout is that of every NATS object store, so the usual tools list and fetch them. Writing is done here, because an object that
//! could not be finished must not leave its pieces behind, and because a full store has to be told from a silent one.
//!
//! An object belongs to one append: its name is the append's message id and the digest of what is in it. So two writers never touch the same
//! object, one that is written again is written with the same content, and one can be removed with the record that points to it.
//!
//! It is written before the record. A host that dies between the two leaves an object that nothing points to; so does one that dies between
//! a purge and the removal of the objects. They take room and do no harm.

use std::time::Duration;

use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::Context;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{GetErrorKind, ObjectInfo, ObjectOptions, ObjectStore};
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::io::AsyncReadExt;

use super::wire::judge;
use crate::store::MAX_RECORD;
use crate::store::error::Source;
use crate::store::settle::Reply;

/// The size of a piece, unless the server takes only smaller messages: what the other clients use.
const PIECE: usize = 128 << 10;

/// The entry of an object replaces an earlier entry of the same object.
const REPLACES: &str = "sub";

/// For how long one object is read before it is begun anew. The largest takes a second.
const WHOLE_OBJECT: Duration = Duration::from_secs(15);

/// The bucket, and the stream below it.
pub(super) struct Objects {
    jetstream: Context,
    bucket: ObjectStore,
    stream: Stream,
    name: String,
}

/// An object is not stored.
#[derive(Debug)]
pub(super) enum PutFailed {
    /// There is no room.
    Full(String),
    /// The server does not take it, now or ever.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

/// An object can't be had.
#[derive(Debug)]
pub(super) enum GetFailed {
    /// It is not there, or not whole. A replica that lags behind says so too.
    Broken(&'static str),
    /// Nobody knows.
    Unknown(Source),
}

/// The object of an append.
pub(super) fn name(id: &str, bytes: &Bytes) -> String {
    format!("{id}/{}", hex(&Sha256::digest(bytes)))
}

impl Objects {
    pub(super) fn new(jetstream: Context, (name, bucket, stream): (String, ObjectStore, Stream)) -> Self {
        Self { jetstream, bucket, stream, name }
    }

    /// Writes an object in pieces that fit into `room`. Each attempt has pieces of its own, so that a late one of an earlier attempt spoils
    /// nothing.
    pub(super) async fn put(&self, name: &str, bytes: &Bytes, room: usize, attempt: u32) -> Result<(), PutFailed> {
        let piece = room.clamp(1, PIECE);
        let subject = self.pieces(name, &attempt.to_string());
        let mut start = 0;
        while start < bytes.len() {
            let end = bytes.len().min(start + piece);
            self.send(&subject, PublishMessage::build().payload(bytes.slice(start..end))).await?;
            start = end;
        }
        let info = ObjectInfo {
            name: name.to_owned(),
            description: None,
            metadata: Default::default(),
            headers: None,
            options: Some(ObjectOptions { link: None, max_chunk_size: Some(piece) }),
            bucket: self.name.clone(),
            nuid: nuid(name, &attempt.to_string()),
            size: bytes.len(),
            chunks: bytes.len().div_ceil(piece),
            modified: Some(OffsetDateTime::now_utc()),
            digest: Some(format!("SHA-256={}", URL_SAFE.encode(Sha256::digest(bytes)))),
            deleted: false,
        };
        let info = serde_json::to_vec(&info).map_err(|error| PutFailed::Refused(error.to_string()))?;
        self.send(&self.entry(name), PublishMessage::build().header(NATS_ROLLUP, REPLACES).payload(info.into())).await?;
        for failed in 0..attempt {
            self.purge(self.pieces(name, &failed.to_string())).await;
        }
        Ok(())
    }

    pub(super) async fn get(&self, name: &str) -> Result<Bytes, GetFailed> {
        let unknown = |error: Source| GetFailed::Unknown(error);
        let object = self.bucket.get(name).await.map_err(|error| match error.kind() {
            GetErrorKind::NotFound => GetFailed::Broken("is not there"),
            _ => unknown(error.into()),
        })?;
        let mut bytes = Vec::with_capacity(object.info.size.min(MAX_RECORD));
        let mut content = object.take(MAX_RECORD as u64);
        // The client would wait for ever for a server that goes away in the middle.
        let read = tokio::time::timeout(WHOLE_OBJECT, content.read_to_end(&mut bytes)).await;
        read.map_err(|late| unknown(late.into()))?.map_err(|error| unknown(error.into()))?;
        match name.rsplit_once('/') {
            Some((_, digest)) if digest == hex(&Sha256::digest(&bytes)) => Ok(bytes.into()),
            _ => Err(GetFailed::Broken("does not have the content that its name tells the digest of")),
        }
    }

    /// Whether the leader of the bucket says that there is no such object, or not any more. Not answering is no such word.
    pub(super) async fn is_missing(&self, name: &str) -> bool {
        match self.stream.raw_message_builder().last_by_subject(self.entry(name)).send().await {
            Ok(entry) => serde_json::from_slice::<ObjectInfo>(&entry.payload).is_ok_and(|info| info.deleted),
            Err(error) => error.kind() == RawMessageErrorKind::NoMessageFound,
        }
    }

    /// Removes an object that nothing points to, finished or not. What fails is left behind, and told.
    pub(super) async fn discard(&self, name: &str) {
        self.purge(self.entry(name)).await;
        self.purge(self.pieces(name, "*")).await;
    }

    async fn send(&self, subject: &str, message: PublishMessage) -> Result<(), PutFailed> {
        let sent = async { self.jetstream.send_publish(subject.to_owned(), message).await?.await };
        match sent.await {
            Ok(_) => Ok(()),
            Err(error) => Err(match judge(&error) {
                Reply::Full(reason) => PutFailed::Full(reason),
                Reply::Refused(reason) => PutFailed::Refused(reason),
                _ => PutFailed::Unknown(error.to_string()),
            }),
        }
    }

    async fn purge(&self, subject: String) {
        if let Err(error) = self.stream.purge().filter(&subject).await {
            tracing::warn!(subject, %error, "what nothing points to is left in the store");
        }
    }

    /// Where an object is entered in the bucket.
    fn entry(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.name, URL_SAFE.encode(name))
    }

    /// Where the pieces of an attempt are; `*` for all attempts.
    fn pieces(&self, name: &str, attempt: &str) -> String {
        format!("$O.{}.C.{}", self.name, nuid(name, attempt))
    }
}

/// What the pieces are known by. Other clients draw it at random; ours can be found again.
fn nuid(name: &str, attempt: &str) -> String {
    format!("{}.{attempt}", hex(&Sha256::digest(name)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
