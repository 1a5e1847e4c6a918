//! Components in the engine store: objects whose name is the SHA-256 of their bytes, in hexadecimal.

use std::time::Duration;

use async_nats::jetstream::object_store::{DeleteErrorKind, GetErrorKind, InfoErrorKind, ObjectStore};
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

/// How long the transfer of a component may take. A server that goes away midway would have it wait for ever.
const TRANSFER: Duration = Duration::from_secs(60);

/// A component can't be had from the store, or put there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ComponentError {
    /// There is none with this digest.
    #[error("the engine store has no component {digest}")]
    Missing {
        /// Which.
        digest: String,
    },
    /// It is larger than a component may be; it was not read.
    #[error("component {digest} has {bytes} bytes; at most {limit} are taken")]
    TooLarge {
        /// Which.
        digest: String,
        /// As the store says.
        bytes: u64,
        /// What is taken.
        limit: u64,
    },
    /// What is there is not what its name says.
    #[error("the engine store holds something else under the name of component {digest}")]
    Forged {
        /// Which.
        digest: String,
    },
    /// The store does not answer, or has no room.
    #[error("the engine store: {0}")]
    Store(String),
}

impl ComponentError {
    fn store(error: impl std::fmt::Display) -> Self {
        Self::Store(error.to_string())
    }

    /// Whether another attempt may end otherwise.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Forged { .. } | Self::Store(_))
    }
}

/// What a component is called in the store.
pub fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts a component into the store, unless it is there. Returns its digest, which takes a moment to find out: who serves others meanwhile
/// says it ([`put_known`]).
///
/// # Errors
/// As [`put_known`].
pub async fn put_component(store: &ObjectStore, bytes: &[u8]) -> Result<String, ComponentError> {
    let digest = digest_of(bytes);
    put_known(store, &digest, bytes).await?;
    Ok(digest)
}

/// Puts a component of which the digest is known into the store, unless it is there. A transfer that fails may leave pieces that nothing points
/// to.
///
/// # Errors
/// When the store does not take it.
pub async fn put_known(store: &ObjectStore, digest: &str, bytes: &[u8]) -> Result<(), ComponentError> {
    let put = async {
        match store.info(digest).await {
            Ok(info) if !info.deleted && info.size == bytes.len() => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == InfoErrorKind::NotFound => {}
            Err(error) => return Err(ComponentError::store(error)),
        }
        let mut left = bytes;
        store.put(digest, &mut left).await.map(drop).map_err(ComponentError::store)
    };
    in_time(put).await
}

/// The component of a digest, which is certain to be that. Nothing of one with more than `limit` bytes is read.
///
/// # Errors
/// When it is not there, is larger, is something else, or the store does not answer.
pub async fn get_component(store: &ObjectStore, digest: &str, limit: usize) -> Result<Vec<u8>, ComponentError> {
    let read = async {
        let object = store.get(digest).await.map_err(|error| match error.kind() {
            GetErrorKind::NotFound => ComponentError::Missing { digest: digest.to_owned() },
            _ => ComponentError::store(error),
        })?;
        let size = object.info.size;
        if size > limit {
            return Err(ComponentError::TooLarge { digest: digest.to_owned(), bytes: size as u64, limit: limit as u64 });
        }
        // What the object says of itself is no promise. One byte more than it says shows that it lied.
        let mut bytes = Vec::with_capacity(size);
        object.take(size as u64 + 1).read_to_end(&mut bytes).await.map_err(|error| match error.kind() {
            // The store's own digest over what is there.
            std::io::ErrorKind::InvalidData => ComponentError::Forged { digest: digest.to_owned() },
            _ => ComponentError::store(error),
        })?;
        Ok(bytes)
    };
    let bytes = in_time(read).await?;
    // A large one takes a good part of a second.
    let digested = tokio::task::spawn_blocking(move || (digest_of(&bytes), bytes)).await;
    let (found, bytes) = digested.map_err(ComponentError::store)?;
    if found == digest { Ok(bytes) } else { Err(ComponentError::Forged { digest: digest.to_owned() }) }
}

/// The component of a digest, so that it can be put back should it be [discarded](discard_component) too soon; nothing where there is none
/// with at most `limit` bytes.
///
/// # Errors
/// When the store does not answer.
pub async fn copy_component(store: &ObjectStore, digest: &str, limit: usize) -> Result<Option<Vec<u8>>, ComponentError> {
    match get_component(store, digest, limit).await {
        Ok(component) => Ok(Some(component)),
        Err(error @ ComponentError::Store(_)) => Err(error),
        // What is no component can be deleted, and need not be put back.
        Err(_) => Ok(None),
    }
}

/// Takes a component out of the store that nobody needs, as `is_needed` says. Somebody may come to need it between that and the end of it: so
/// it is asked once more when the component is gone, which is put back from its [copy](copy_component) if it is needed, or nobody can say.
/// Whether it is gone.
///
/// # Errors
/// Those of `is_needed`, and of the store as `failed` tells them.
pub async fn discard_component<'n, E>(
    store: &ObjectStore,
    digest: &str,
    copy: Option<&[u8]>,
    is_needed: impl Fn() -> BoxFuture<'n, Result<bool, E>>,
    failed: impl Fn(ComponentError) -> E,
) -> Result<bool, E> {
    if is_needed().await? {
        return Ok(false);
    }
    delete_component(store, digest).await.map_err(&failed)?;
    let needed = is_needed().await;
    if matches!(needed, Ok(false)) {
        return Ok(true);
    }
    if let Some(component) = copy {
        put_known(store, digest, component).await.map_err(failed)?;
    }
    needed.map(|_| false)
}

/// Takes a component out of the store. One that is not there is no error.
///
/// # Errors
/// When the store does not answer.
pub async fn delete_component(store: &ObjectStore, digest: &str) -> Result<(), ComponentError> {
    let delete = async {
        match store.delete(digest).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
            Err(error) => Err(ComponentError::store(error)),
        }
    };
    in_time(delete).await
}

async fn in_time<T>(transfer: impl Future<Output = Result<T, ComponentError>>) -> Result<T, ComponentError> {
    tokio::time::timeout(TRANSFER, transfer).await.map_err(|_| ComponentError::Store("no answer in time".to_owned()))?
}
