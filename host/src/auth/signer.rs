//! What a host needs to give every instance credentials of its own: the signing key of agents, and nothing more.

use std::path::{Path, PathBuf};

use nkeys::KeyPair;
use pilothouse_core::id::InstanceId;
use pilothouse_core::message::{Credentials, ToStart};
use pilothouse_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::token::SignError;
use super::{credentials, token};

/// The file of a signer: JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignerFile {
    /// The public key of the account.
    pub(super) account: String,
    /// The secret half of the signing key of agents.
    pub(super) seed: String,
}

/// Makes credentials for agents. With its key nothing else can be made: the server believes it for agents alone.
#[derive(Debug)]
pub struct AgentSigner {
    account: String,
    key: KeyPair,
}

/// The file of a signer can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// It can't be read.
    #[error("reading the agents' signer {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is none.
    #[error("{path} is no signer of agents; `pilothouse auth init` writes one")]
    Shape {
        /// The file.
        path: PathBuf,
    },
}

impl AgentSigner {
    /// Reads the file that `pilothouse auth init` wrote.
    ///
    /// # Errors
    /// When it can't be read or is no signer. What is in it is not told.
    pub fn read(path: &Path) -> Result<Self, SignerError> {
        let json = std::fs::read(path).map_err(|source| SignerError::Read { path: path.to_owned(), source })?;
        Self::parse(&json).ok_or_else(|| SignerError::Shape { path: path.to_owned() })
    }

    fn parse(json: &[u8]) -> Option<Self> {
        let SignerFile { account, seed } = serde_json::from_slice(json).ok()?;
        let key = KeyPair::from_seed(seed.trim()).ok()?;
        KeyPair::from_public_key(&account).ok()?;
        Some(Self { account, key })
    }

    /// Fresh credentials for the agent of one instance.
    ///
    /// # Errors
    /// Never, unless the signer's key is not whole.
    pub fn credentials_of(&self, id: &InstanceId, now: Timestamp) -> Result<Credentials, SignError> {
        self.mint(id, &KeyPair::new_user(), now)
    }

    /// Credentials for the agent of one instance, with a key of its own.
    fn mint(&self, id: &InstanceId, key: &KeyPair, now: Timestamp) -> Result<Credentials, SignError> {
        let token = token::user(&self.key, &self.account, &key.public_key(), id.as_str(), &[], now.as_millis() / 1000)?;
        credentials::write(&token, key)
    }

    /// Gives every instance of a request its credentials. A hundred of them take some milliseconds of a processor.
    pub(crate) fn equip(&self, instances: &mut [ToStart], now: Timestamp) -> Result<(), SignError> {
        for instance in instances {
            instance.credentials = Some(self.credentials_of(&instance.node_id, now)?);
        }
        Ok(())
    }
}
