//! The configuration of a nats-server: a part that belongs to its operator, and one that is written anew with every change.

use std::path::Path;

use super::register::Register;

/// The part that is written once. What an operator changes in it stays.
pub(super) fn nats_conf(store: &Path) -> String {
    format!(
        "# A nats-server for Pilothouse. Written once by `pilothouse auth init`: change what you like.\n\
         \n\
         # Reachable from other machines only when you say so. Use TLS then: credentials are safe without it, what is said is not.\n\
         listen: \"127.0.0.1:4222\"\n\
         \n\
         jetstream {{\n  \
           store_dir: {store:?}\n  \
           # A journal on one server must be on disk before it is acknowledged. Three servers and --replicas 3 make it faster.\n  \
           sync_interval: always\n\
         }}\n\
         \n\
         # Who may say what. Beside this file; written anew by `pilothouse auth`, then: nats-server --signal reload\n\
         include \"{}\"\n",
        super::folder::AUTH_CONF
    )
}

/// The part that says who may say what, with the token of the account.
pub(super) fn auth_conf(register: &Register, account_token: &str) -> String {
    let Register { account, system_account, operator_token, system_token, .. } = register;
    format!(
        "# Written by `pilothouse auth`, and written anew by it: changes made by hand are lost.\n\
         operator: \"{operator_token}\"\n\
         system_account: {system_account}\n\
         resolver: MEMORY\n\
         resolver_preload: {{\n  \
           {account}: \"{account_token}\"\n  \
           {system_account}: \"{system_token}\"\n\
         }}\n"
    )
}
