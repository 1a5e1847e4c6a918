//! Who may say what: a NATS server that judges it by itself, and the keys behind that.
//!
//! The permissions are in the subjects. An *operator* key vouches for one *account*; the account names a signing key for each
//! [`Role`], and beside each key a template of what its users may publish and hear, with a place for the name of the user. So whoever
//! holds the signing key of a role can make credentials of that role and of no other, and the server needs nobody to ask when a client
//! connects: everything is in the token that the client shows and in the configuration of the server.
//!
//! ```text
//! operator key ──signs──▶ account ──names──▶ signing key of a role + template ──signs──▶ token of a client: name, key, site
//!   offline                auth.conf           offline; that of agents: hosts              its credentials file
//! ```
//!
//! [`token`] and [`role`] are pure: keys and time come in as arguments. [`folder`] is where an operator keeps all of it on disk.
//! Deliberately not here: passwords, TLS, and any account but the one that Pilothouse works in.

pub(crate) mod credentials;
pub(crate) mod folder;
pub(crate) mod register;
pub(crate) mod role;
mod server;
pub(crate) mod signer;
pub(crate) mod token;

pub use role::Role;
pub use signer::{AgentSigner, SignerError};
pub use token::SignError;
