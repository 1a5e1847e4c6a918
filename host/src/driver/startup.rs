//! What a host's file wants to be there from the beginning: definitions and domains, asked for as a user would.
//!
//! It is asked for again until somebody has said yes or no to each, while the host serves already. What is there already is left as it is,
//! so every host may have the same file, and starting again changes nothing. A domain that is still being removed is waited for, and then
//! added. An entry that is refused is reported and left out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use pilothouse_core::state::Life;
use serde::{Deserialize, Serialize};

use super::host::Domains;
use super::service::in_time;
use crate::api::{self, AddDomain, OnDefinition, OnDomain, Operation, WriteDefinition};
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
    /// What tells whether it is there already.
    describe: (Operation, Bytes),
}

/// What is asked of a domain that is there already. A definition has no life.
#[derive(Deserialize)]
struct Living {
    life: Life,
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
    let Entry { at, operation, user, request, describe } = entry;
    match in_time(domains.serve(*operation, user, request.clone())).await {
        Ok(_) => {
            tracing::info!("{at} is added");
            Fate::Added
        }
        Err(ApiError::Conflict { message }) => {
            let there = in_time(domains.serve(describe.0, user, describe.1.clone())).await;
            in_the_way(at, &message, &there)
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

/// What it means that something is in the way of an entry, by the description of what is there.
fn in_the_way(at: &str, message: &str, there: &Result<Bytes, ApiError>) -> Fate {
    let is_going = |there: &Bytes| serde_json::from_slice(there).is_ok_and(|Living { life }| life == Life::Removing);
    match there {
        Ok(there) if is_going(there) => {
            tracing::debug!("{at} is asked for again: {message}");
            Fate::NotYet
        }
        Ok(_) => {
            tracing::debug!("{at} is left as it is: {message}");
            Fate::Already
        }
        // It has just gone, or can't be asked.
        Err(ApiError::NotFound { .. } | ApiError::Unavailable { .. }) => {
            tracing::debug!("{at} is asked for again: {message}");
            Fate::NotYet
        }
        Err(error) => {
            tracing::error!("{at} is left out: {message}; {error}");
            Fate::Refused
        }
    }
}

fn definitions(file: &HostFile, user: &Name) -> Vec<Entry> {
    let entry = |(name, sections)| {
        let request = WriteDefinition { name: String::clone(name), definition: serde_json::json!(sections), request_id: request_id() };
        let describe = OnDefinition { name: name.clone(), request_id: None };
        let describe = (Operation::DefinitionDescribe, serde_json::to_vec(&describe));
        entry(format!("initial_definitions.{name}"), Operation::DefinitionAdd, user.to_string(), &request, describe)
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
        let describe = OnDomain { domain: name.clone(), request_id: None };
        let describe = (Operation::DomainDescribe, serde_json::to_vec(&describe));
        entry(format!("initial_domains.{name}"), Operation::DomainAdd, owner.to_owned(), &request, describe)
    };
    file.initial_domains.iter().filter_map(entry).collect()
}

fn entry(
    at: String,
    operation: Operation,
    user: String,
    request: &impl Serialize,
    (describe, of): (Operation, serde_json::Result<Vec<u8>>),
) -> Option<Entry> {
    match serde_json::to_vec(request).and_then(|request| Ok((request, of?))) {
        Ok((request, of)) => Some(Entry { at, operation, user, request: request.into(), describe: (describe, of.into()) }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_to_stay_is_left_as_it_is() {
        let domain = |life: Life| Ok(Bytes::from(serde_json::json!({"name": "web", "life": life, "paused": false}).to_string()));
        let fate = |there| in_the_way("initial_domains.web", "it is there already", &there);
        assert_eq!(fate(domain(Life::Active)), Fate::Already);
        assert_eq!(fate(domain(Life::Removing)), Fate::NotYet, "it is added once that is gone");
        assert_eq!(fate(Err(ApiError::NotFound { what: "domain web".to_owned() })), Fate::NotYet);
        assert_eq!(fate(Err(ApiError::Unavailable { message: "busy".to_owned() })), Fate::NotYet);
        assert_eq!(fate(Ok(Bytes::from_static(br#"{"name": "worker"}"#))), Fate::Already, "a definition has no life");
        let unreadable = ApiError::Conflict { message: "definition worker can't be read".to_owned() };
        assert_eq!(fate(Err(unreadable)), Fate::Refused);
    }
}
