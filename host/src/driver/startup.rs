//! What a host's file wants to be there from the beginning: definitions and domains, asked for as a user would.
//!
//! It is asked for again until somebody has said yes or no to each, while the host serves already. What is there already is left as it is,
//! so every host may have the same file, and starting again changes nothing. An entry that is refused is reported and left out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use serde::Serialize;

use super::host::Domains;
use crate::api::{self, AddDomain, Operation, WriteDefinition};
use crate::hostfile::HostFile;
use crate::store::Journal;

/// Before what could not be had is asked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// Something to ask for.
struct Entry {
    /// Its key in the file.
    at: String,
    operation: Operation,
    /// Whose it will be, as the token of a subject.
    user: String,
    request: Bytes,
}

/// How an entry fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Added,
    Already,
    Refused,
    NotYet,
}

/// Puts everything there, and ends when nothing is left to be tried.
pub(super) async fn apply<J: Journal>(domains: Arc<Domains<J>>, file: HostFile) {
    let (mut added, mut already, mut refused) = (0_usize, 0_usize, 0_usize);
    // The domains are made from the definitions.
    let default_user = domains.default_user.as_ref();
    let rounds = [definitions(&file, default_user.unwrap_or(&domains.shared.host)), initial_domains(&file, default_user)];
    for mut left in rounds {
        while !left.is_empty() {
            let mut not_yet = Vec::new();
            for entry in left {
                match ask(&domains, &entry).await {
                    Fate::Added => added += 1,
                    Fate::Already => already += 1,
                    Fate::Refused => refused += 1,
                    Fate::NotYet => not_yet.push(entry),
                }
            }
            left = not_yet;
            if !left.is_empty() {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    if added + already + refused > 0 {
        tracing::info!(added, already, refused, "what should be there from the beginning was asked for");
    }
}

async fn ask<J: Journal>(domains: &Arc<Domains<J>>, entry: &Entry) -> Fate {
    let Entry { at, operation, user, request } = entry;
    match domains.serve(*operation, user, request.clone()).await {
        Ok(_) => {
            tracing::info!("{at} is added");
            Fate::Added
        }
        Err(ApiError::Conflict { message }) => {
            tracing::debug!("{at} is left as it is: {message}");
            Fate::Already
        }
        Err(ApiError::Unavailable { message }) => {
            tracing::debug!("{at} is asked for again: {message}");
            Fate::NotYet
        }
        Err(ApiError::Invalid { problems }) => {
            for problem in problems {
                tracing::error!("{at} is left out: {problem}");
            }
            Fate::Refused
        }
        Err(error @ (ApiError::NotFound { .. } | ApiError::NotPermitted { .. })) => {
            tracing::error!("{at} is left out: {error}");
            Fate::Refused
        }
    }
}

fn definitions(file: &HostFile, user: &Name) -> Vec<Entry> {
    let entry = |(name, sections)| {
        let request = WriteDefinition { name: String::clone(name), definition: serde_json::json!(sections), request_id: request_id() };
        entry(format!("initial_definitions.{name}"), Operation::DefinitionAdd, user.to_string(), &request)
    };
    file.initial_definitions.iter().filter_map(entry).collect()
}

fn initial_domains(file: &HostFile, default_user: Option<&Name>) -> Vec<Entry> {
    let entry = |(name, wanted): (&String, &crate::hostfile::InitialDomain)| {
        let request = AddDomain {
            domain: name.clone(),
            definition: wanted.definition.clone(),
            config: serde_json::json!(wanted.config),
            request_id: request_id(),
            ..AddDomain::default()
        };
        let owner = wanted.owner.as_ref().or(default_user).map_or(api::NOBODY, Name::as_str);
        entry(format!("initial_domains.{name}"), Operation::DomainAdd, owner.to_owned(), &request)
    };
    file.initial_domains.iter().filter_map(entry).collect()
}

fn entry(at: String, operation: Operation, user: String, request: &impl Serialize) -> Option<Entry> {
    match serde_json::to_vec(request) {
        Ok(request) => Some(Entry { at, operation, user, request: request.into() }),
        Err(error) => {
            tracing::error!("{at} is left out: {error}");
            None
        }
    }
}

/// One for all attempts at an entry: if an answer is lost, the next attempt is not a second wish.
fn request_id() -> Option<String> {
    Some(format!("{:032x}", rand::random::<u128>()))
}
