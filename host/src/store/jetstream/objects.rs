//! Records that are too large for one message: objects in a bucket beside the stream.
//!
//! An object belongs to one append: its name is the append's message id and the digest of what is in it. So two writers never touch the same
//! object, one that is written again is written with the same content, and one can be removed with the record that points to it.
//!
//! It is written before the record. A host that dies between the two leaves an object that nothing points to; so does one that dies between
//! a purge and the removal of the objects. They take room and do no harm. Removing an object leaves a marker of a few hundred bytes.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::object_store::{GetErrorKind, ObjectMetadata, ObjectStore};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::wire::is_full;
use crate::store::MAX_RECORD;
use crate::store::error::Source;

/// For how long one object is read before it is begun anew. The largest takes a second.
const WHOLE_OBJECT: Duration = Duration::from_secs(15);

/// The bucket.
#[derive(Clone)]
pub(super) struct Objects {
    bucket: ObjectStore,
}

/// An object is not stored.
#[derive(Debug)]
pub(super) enum PutFailed {
    /// There is no room.
    Full(String),
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
    format!("{id}/{}", digest(bytes))
}

impl Objects {
    pub(super) fn new(bucket: ObjectStore) -> Self {
        Self { bucket }
    }

    pub(super) async fn put(&self, name: &str, bytes: &Bytes, chunk: usize) -> Result<(), PutFailed> {
        let object = ObjectMetadata { name: name.to_owned(), chunk_size: Some(chunk), ..Default::default() };
        match self.bucket.put(object, &mut bytes.as_ref()).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let text = error.to_string();
                Err(if said_full(&text) { PutFailed::Full(text) } else { PutFailed::Unknown(text) })
            }
        }
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
        let bytes = Bytes::from(bytes);
        match name.rsplit_once('/') {
            Some((_, expected)) if expected == digest(&bytes) => Ok(bytes),
            _ => Err(GetFailed::Broken("does not have the content that its name tells the digest of")),
        }
    }

    /// Removes an object that nothing points to. What fails is left behind, and told.
    pub(super) async fn discard(&self, name: &str) {
        if let Err(error) = self.bucket.delete(name).await {
            tracing::warn!(name, %error, "an object that nothing points to is left in the store");
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The client hands on the server's error as text only.
fn said_full(text: &str) -> bool {
    let code = text.rsplit_once("error code ").and_then(|(_, rest)| rest.trim_end_matches(')').parse().ok());
    code.is_some_and(|code| is_full(ErrorCode(code), text))
}
