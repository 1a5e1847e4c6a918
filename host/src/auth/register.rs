//! What was given out: which clients there are, in which role, with which key, and who is out.

use std::collections::BTreeMap;

use pilothouse_core::name::Name;
use pilothouse_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::role::Role;

/// All that is not secret of a set-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    /// Of this layout: [`Register::VERSION`].
    pub(super) version: u32,
    /// What the operator and the account are called.
    pub(crate) name: Name,
    /// The prefix of all subjects. Clients of another one can't do anything here.
    pub(crate) prefix: Name,
    /// The public key of the account.
    pub(super) account: String,
    /// The public key of the account that the server speaks in.
    pub(super) system_account: String,
    /// The token of the operator. A server takes no other at a reload, so it is made once.
    pub(super) operator_token: String,
    /// The token of the system account, which never changes.
    pub(super) system_token: String,
    /// The public half of the signing key of each role.
    pub(super) role_keys: BTreeMap<Role, String>,
    /// What follows from all of this is not on disk yet: the server's configuration, and the signer of hosts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unfinished: bool,
    /// Everybody who was ever given credentials here; agents are not, for hosts give them theirs.
    pub(crate) clients: Vec<Client>,
}

/// Somebody who was given credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    /// What it may do.
    pub(crate) role: Role,
    /// Who it is: a user's name is that of the owner of its domains.
    pub(crate) name: Name,
    /// Where a provisioner carries out what is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) site: Option<Name>,
    /// The public key.
    pub(crate) key: String,
    /// When it was added, or last given other credentials.
    pub(crate) since: Timestamp,
    /// Its credentials are not on disk yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unfinished: bool,
    /// From when on it is out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<Timestamp>,
}

impl Register {
    /// The layout of the file.
    pub(super) const VERSION: u32 = 1;

    /// The clients that are not out.
    pub(super) fn active(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().filter(|client| client.revoked.is_none())
    }

    /// The keys that are not to be believed any more, with the second since when.
    pub(super) fn revoked_keys(&self) -> BTreeMap<String, u64> {
        let out = |client: &Client| Some((client.key.clone(), client.revoked?.as_millis() / 1000));
        self.clients.iter().filter_map(out).collect()
    }
}

impl Client {
    /// The name of its credentials file.
    pub(crate) fn file_name(&self) -> String {
        format!("{}-{}.creds", self.role, self.name)
    }

    /// What its token says beside its name.
    pub(super) fn tags(&self) -> Vec<String> {
        self.site.iter().map(|site| format!("site:{site}")).collect()
    }
}
