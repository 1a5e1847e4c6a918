//! What a backup is made of and restored into: journal, definitions, engines and their registry of one prefix, on one server.

use async_nats::Client;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::{self, Context, ErrorCode};
use pilothouse_core::subject::Subjects;

use crate::driver::BucketError;
use crate::driver::definitions::Definitions;
use crate::driver::engines::{EngineError, open_store};
use crate::driver::registry::Registry;
use crate::store::{JetStreamJournal, JournalError, JournalOptions, OpenError};

/// Where journals, definitions, engines and their registry are.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    client: Client,
    subjects: Subjects,
    jetstream: Context,
}

/// The server can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// There is nothing to be backed up.
    #[error("no journal with the prefix {prefix} on this server")]
    NoJournal {
        /// The prefix.
        prefix: String,
    },
    /// The journal can't be opened.
    #[error("the journal")]
    Open(#[from] OpenError),
    /// The journal can't be read, or not be written to.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal takes no more.
    #[error("the journal is full: {0}")]
    Full(String),
    /// Definitions or the registry of engines can't be read, or not be written.
    #[error(transparent)]
    Answer(#[from] pilothouse_core::command::ApiError),
    /// A bucket can't be opened.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The store of engines can't be opened.
    #[error(transparent)]
    Engines(#[from] EngineError),
    /// A component can't be read or written.
    #[error("engine {digest}: {reason}")]
    Component {
        /// Which.
        digest: String,
        /// Why not.
        reason: String,
    },
    /// JetStream does not answer.
    #[error("JetStream: {0}")]
    JetStream(String),
}

impl Server {
    pub(crate) fn new(client: Client, subjects: Subjects) -> Self {
        Self { jetstream: jetstream::new(client.clone()), client, subjects }
    }

    pub(super) fn prefix(&self) -> &str {
        self.subjects.prefix()
    }

    /// The journal, if there is one.
    pub(super) async fn journal(&self) -> Result<Option<JetStreamJournal>, ServerError> {
        Ok(JetStreamJournal::open_existing(self.client.clone(), self.subjects.clone()).await?)
    }

    /// The journal, made if there is none.
    pub(super) async fn journal_or_new(&self, replicas: usize) -> Result<JetStreamJournal, ServerError> {
        match self.journal().await? {
            Some(journal) => Ok(journal),
            None => {
                let options = JournalOptions { replicas, ..JournalOptions::default() };
                Ok(JetStreamJournal::open(self.client.clone(), self.subjects.clone(), &options).await?)
            }
        }
    }

    /// The definitions, if there is a bucket of them, or if one is to be made.
    pub(super) async fn definitions(&self, make: Option<usize>) -> Result<Option<Definitions>, ServerError> {
        let bucket = self.named("DEFINITIONS");
        if make.is_none() && !self.has_stream(&format!("KV_{bucket}")).await? {
            return Ok(None);
        }
        Ok(Some(Definitions::open(&self.jetstream, &bucket, make.unwrap_or(1)).await?))
    }

    /// The store of engines, if there is one, or if one is to be made.
    pub(super) async fn engines(&self, make: Option<usize>) -> Result<Option<ObjectStore>, ServerError> {
        let bucket = self.named("ENGINES");
        if make.is_none() && !self.has_stream(&format!("OBJ_{bucket}")).await? {
            return Ok(None);
        }
        Ok(Some(open_store(&self.jetstream, &bucket, make.unwrap_or(1)).await?))
    }

    /// The registry of engines, if there is a bucket of it, or if one is to be made.
    pub(super) async fn registry(&self, make: Option<usize>) -> Result<Option<Registry>, ServerError> {
        let bucket = self.named("REGISTRY");
        if make.is_none() && !self.has_stream(&format!("KV_{bucket}")).await? {
            return Ok(None);
        }
        Ok(Some(Registry::open(&self.client, &self.jetstream, &bucket, make.unwrap_or(1)).await?))
    }

    /// As hosts call it.
    fn named(&self, what: &str) -> String {
        format!("{}_{what}", self.prefix().to_uppercase())
    }

    /// Told apart from no answer: what is not there is left out of a backup.
    async fn has_stream(&self, name: &str) -> Result<bool, ServerError> {
        match self.jetstream.get_stream(name).await {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(false),
                _ => Err(ServerError::JetStream(error.to_string())),
            },
        }
    }
}
