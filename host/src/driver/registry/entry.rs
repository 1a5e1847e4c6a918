//! What the registry says of one engine, and how it changes. Nothing here talks to anybody.
//!
//! A version is the same bytes for ever. So those that were removed are remembered: they may come back, and nothing else in their place.

mod backed_up;

use std::collections::BTreeMap;

use pilothouse_core::command::ApiError;
use pilothouse_core::engine::Limits;
use pilothouse_core::name::Name;
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::api::EngineChanged;

/// The versions of an engine that there can be at the same time.
pub const MAX_VERSIONS: usize = 256;

/// How many removed versions are remembered: the newest removals.
pub const MAX_GONE: usize = 256;

/// The longest version, in bytes, as text: it is part of a value with many of them.
pub const MAX_VERSION_BYTES: usize = pilothouse_engine_host::Description::MAX_VERSION_BYTES;

/// The longest line about a version, in bytes; what is longer is cut.
pub const MAX_ABOUT_BYTES: usize = 200;

/// How many answers are kept with an engine: more than one request is hardly ever under way.
const MAX_ANSWERS: usize = 16;

/// The format of the values. A host that is older than one of them leaves it as it is.
const FORMAT: u64 = 1;

/// What is kept of one engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<Version, Pushed>,
    /// Versions that were removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gone: BTreeMap<Version, Gone>,
    /// The version that everybody should have whose reference it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Pinned>,
    /// What all versions may use up, where it is not what the hosts have.
    #[serde(default)]
    pub limits: Limits,
    /// What was answered to the newest requests that came with an id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    answers: Vec<Answer>,
}

/// A version that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// SHA-256 of the component, in hexadecimal: the name of its object.
    pub digest: String,
    /// The length of the component.
    pub bytes: u64,
    /// In a line, what it is; possibly nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Who pushed it.
    pub by: Name,
    /// When.
    pub at: Timestamp,
}

/// A version that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// As it was.
    #[serde(flatten)]
    pub pushed: Pushed,
    /// Who removed it.
    pub removed_by: Name,
    /// When.
    pub removed_at: Timestamp,
}

/// The version that everybody should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Which.
    pub version: Version,
    /// The component, so that a host can have it that has no such version itself; nothing in entries of before it was kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Who says so.
    pub by: Name,
    /// Since when.
    pub at: Timestamp,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What somebody wants of an engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// What.
    pub what: What,
    /// Who.
    pub by: Name,
    /// When.
    pub at: Timestamp,
    /// Versions that hosts have without any registry, with their digests: they can be pinned, and nothing else pushed in their place.
    pub built_in: BTreeMap<Version, String>,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Another version.
    Push {
        /// Which.
        version: Version,
        /// SHA-256 of its component, in hexadecimal.
        digest: String,
        /// The length of its component.
        bytes: u64,
        /// In a line, what it is; possibly nothing.
        about: String,
    },
    /// One version less.
    Remove {
        /// Which.
        version: Version,
    },
    /// A removal is taken back, and what was answered to who asked for it.
    Restore {
        /// Of which version.
        version: Version,
    },
    /// One version for everybody whose reference it fits.
    Pin {
        /// Which.
        version: Version,
        /// Why.
        reason: Option<String>,
    },
    /// To each what the reference says.
    Unpin,
    /// An older version than the one in effect is pinned.
    RollBack {
        /// Which; the newest release below the one in effect if none is said.
        to: Option<Version>,
        /// Why.
        reason: Option<String>,
    },
    /// Other limits: by their names, what they are to be, or nothing for what the hosts have.
    Limit(BTreeMap<String, Option<u64>>),
}

impl What {
    /// The last part of a failpoint's name.
    pub(super) const fn failpoint(&self) -> &'static str {
        match self {
            Self::Push { .. } => "push-engine",
            Self::Remove { .. } => "remove-engine",
            Self::Restore { .. } => "restore-engine",
            Self::Pin { .. } => "pin-engine",
            Self::Unpin => "unpin-engine",
            Self::RollBack { .. } => "roll-back-engine",
            Self::Limit(_) => "limit-engine",
        }
    }

    /// Stands for what is wanted, whoever wants it and whenever.
    fn fingerprint(&self) -> String {
        let told = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(told)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Answer {
    request: String,
    /// What it stood for.
    wish: String,
    changed: EngineChanged,
}

/// The value of a key.
#[derive(Serialize, Deserialize)]
struct Stored<E> {
    v: u64,
    #[serde(flatten)]
    entry: E,
}

impl Entry {
    /// Reads a value, which anybody may have written who can write to the bucket.
    ///
    /// # Errors
    /// Why it can't be read.
    pub fn read(value: &[u8]) -> Result<Self, String> {
        /// The part that all formats have.
        #[derive(Deserialize)]
        struct Format {
            v: u64,
        }
        let Format { v } = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        if v != FORMAT {
            return Err(format!("it has format {v}, and this host knows format {FORMAT} only: a newer one has written it"));
        }
        serde_json::from_slice::<Stored<Self>>(value).map(|stored| stored.entry).map_err(|error| error.to_string())
    }

    /// The value that says this.
    ///
    /// # Errors
    /// None that is known of: everything in it can be written as JSON.
    pub fn write(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(&Stored { v: FORMAT, entry: self }).map_err(|error| error.to_string())
    }

    /// The version that domains get which ask for nothing but the name: the pinned one, else the newest release, of the registry or of
    /// those that hosts have without it.
    pub fn in_effect<'e>(&'e self, built_in: &'e BTreeMap<Version, String>) -> Option<&'e Version> {
        match &self.pinned {
            Some(pinned) => Some(&pinned.version),
            None => self.releases(built_in).max(),
        }
    }

    /// The components that its versions and its pin name. A pinned one may have come with hosts that are of another build now.
    pub fn digests(&self) -> impl Iterator<Item = &String> {
        let pinned = self.pinned.iter().map(|pinned| &pinned.digest).filter(|digest| !digest.is_empty());
        self.versions.values().map(|pushed| &pushed.digest).chain(pinned)
    }

    fn releases<'e>(&'e self, built_in: &'e BTreeMap<Version, String>) -> impl Iterator<Item = &'e Version> {
        self.versions.keys().chain(built_in.keys()).filter(|version| version.pre.is_empty())
    }

    /// What was answered to a request, if it is among the newest.
    ///
    /// # Errors
    /// `conflict` when the request with this id was another one.
    pub fn answer_to(&self, request: Option<&str>, what: &What) -> Result<Option<&EngineChanged>, ApiError> {
        let Some(answer) = self.answers.iter().rev().find(|answer| Some(answer.request.as_str()) == request) else { return Ok(None) };
        if answer.wish == what.fingerprint() {
            Ok(Some(&answer.changed))
        } else {
            Err(ApiError::Conflict { message: format!("something else was asked for under the request id {:?}", answer.request) })
        }
    }

    /// The same with an answer to a request, which is given again when the request comes again.
    #[must_use]
    pub fn with_answer(mut self, request: &str, what: &What, changed: &EngineChanged) -> Self {
        self.answers.push(Answer { request: request.to_owned(), wish: what.fingerprint(), changed: changed.clone() });
        let too_many = self.answers.len().saturating_sub(MAX_ANSWERS);
        self.answers.drain(..too_many);
        self
    }

    /// What becomes of this by a wish, and what whoever has it is told. What is so already is no error, and changes nothing.
    ///
    /// # Errors
    /// `not_found` without the version, or without any; `conflict` when the version has other bytes, is pinned, or there is no room or no
    /// older version; `invalid` with a version or reason that is too long, or a limit that is none.
    pub fn change(&self, name: &Name, wish: &Wish) -> Result<(Self, EngineChanged), ApiError> {
        let mut next = self.clone();
        let version = match &wish.what {
            What::Push { version, digest, bytes, about } => {
                next.push(name, wish, version, Pushed::new(wish, digest, *bytes, about))?;
                Some(version.clone())
            }
            What::Remove { version } => {
                next.remove(name, wish, version)?;
                Some(version.clone())
            }
            What::Restore { version } => {
                next.restore(name, version)?;
                Some(version.clone())
            }
            What::Pin { version, reason } => {
                next.pin(name, wish, version, reason.as_deref())?;
                Some(version.clone())
            }
            What::Unpin => {
                self.must_be(name, wish)?;
                next.pinned.take().map(|pinned| pinned.version)
            }
            What::RollBack { to, reason } => {
                self.must_be(name, wish)?;
                let version = self.older(name, wish, to.as_ref())?;
                next.pin(name, wish, &version, reason.as_deref())?;
                Some(version)
            }
            What::Limit(limits) => {
                self.must_be(name, wish)?;
                next.limits = changed_limits(&self.limits, limits)?;
                None
            }
        };
        let digest = version.as_ref().and_then(|version| {
            let pushed = next.versions.get(version).or_else(|| next.gone.get(version).map(|gone| &gone.pushed));
            pushed.map(|pushed| &pushed.digest).or_else(|| wish.built_in.get(version)).cloned()
        });
        let changed = EngineChanged {
            name: name.clone(),
            version: version.map(|version| version.to_string()),
            digest,
            pinned: next.pinned.as_ref().map(|pinned| pinned.version.to_string()),
            limits: next.limits,
            domains: None,
            changed: next != *self,
        };
        Ok((next, changed))
    }

    fn push(&mut self, name: &Name, wish: &Wish, version: &Version, pushed: Pushed) -> Result<(), ApiError> {
        let text = version.to_string();
        if text.len() > MAX_VERSION_BYTES {
            return Err(ApiError::invalid("/version", format!("expected at most {MAX_VERSION_BYTES} bytes, found {}", text.len())));
        }
        let was = |digest: &str, where_from: &str| ApiError::Conflict {
            message: format!(
                "{name}@{version} {where_from} with other bytes (digest {digest}; this one has {}): a version never changes, so give the \
                 component another one",
                pushed.digest
            ),
        };
        match (self.versions.get(version), self.gone.get(version), wish.built_in.get(version)) {
            (Some(there), ..) if there.digest == pushed.digest => return Ok(()),
            (Some(there), ..) => return Err(was(&there.digest, "is there")),
            (None, Some(gone), _) if gone.pushed.digest != pushed.digest => return Err(was(&gone.pushed.digest, "was there")),
            (None, _, Some(digest)) if *digest != pushed.digest => return Err(was(digest, "comes with the hosts")),
            _ => {}
        }
        self.must_have_room(name)?;
        self.gone.remove(version);
        self.versions.insert(version.clone(), pushed);
        Ok(())
    }

    fn remove(&mut self, name: &Name, wish: &Wish, version: &Version) -> Result<(), ApiError> {
        if self.pinned.as_ref().is_some_and(|pinned| pinned.version == *version) && !wish.built_in.contains_key(version) {
            return Err(ApiError::Conflict { message: format!("{name}@{version} is pinned: unpin it, or pin another version first") });
        }
        let Some(pushed) = self.versions.remove(version) else {
            return if self.gone.contains_key(version) { Ok(()) } else { Err(not_found(name, Some(version))) };
        };
        self.gone.insert(version.clone(), Gone { pushed, removed_by: wish.by.clone(), removed_at: wish.at });
        self.forget_the_oldest();
        Ok(())
    }

    /// Of the removals that are remembered the newest stay.
    fn forget_the_oldest(&mut self) {
        while self.gone.len() > MAX_GONE {
            let oldest = self.gone.iter().min_by_key(|(_, gone)| gone.removed_at).map(|(version, _)| version.clone());
            oldest.map(|version| self.gone.remove(&version));
        }
    }

    fn restore(&mut self, name: &Name, version: &Version) -> Result<(), ApiError> {
        if self.versions.contains_key(version) {
            return Ok(());
        }
        if !self.gone.contains_key(version) {
            return Err(not_found(name, Some(version)));
        }
        self.must_have_room(name)?;
        // Who asked for the removal has it refused, and may ask for it once more.
        let removal = What::Remove { version: version.clone() }.fingerprint();
        self.answers.retain(|answer| answer.wish != removal);
        let gone = self.gone.remove(version);
        self.versions.extend(gone.map(|gone| (version.clone(), gone.pushed)));
        Ok(())
    }

    fn pin(&mut self, name: &Name, wish: &Wish, version: &Version, reason: Option<&str>) -> Result<(), ApiError> {
        if reason.is_some_and(|reason| reason.len() > DomainState::MAX_REASON_BYTES) {
            return Err(ApiError::invalid("/reason", format!("expected at most {} bytes", DomainState::MAX_REASON_BYTES)));
        }
        if !self.versions.contains_key(version) && !wish.built_in.contains_key(version) {
            return Err(not_found(name, Some(version)));
        }
        // Who was first stays.
        if self.pinned.as_ref().is_none_or(|pinned| pinned.version != *version) {
            let reason = reason.map(ToOwned::to_owned);
            let pushed = self.versions.get(version).map(|pushed| &pushed.digest);
            let digest = pushed.or_else(|| wish.built_in.get(version)).cloned().unwrap_or_default();
            self.pinned = Some(Pinned { version: version.clone(), digest, by: wish.by.clone(), at: wish.at, reason });
        }
        Ok(())
    }

    /// The version that a roll-back leads to.
    fn older(&self, name: &Name, wish: &Wish, to: Option<&Version>) -> Result<Version, ApiError> {
        let conflict = |message: String| Err(ApiError::Conflict { message });
        let in_effect = self.in_effect(&wish.built_in);
        match (to, in_effect) {
            (Some(to), Some(now)) if to > now => {
                conflict(format!("{name}@{to} is newer than {now}, which is in effect: pin it instead of rolling back"))
            }
            (Some(to), _) => Ok(to.clone()),
            (None, None) => {
                conflict(format!("{name} has no release in effect that it could be rolled back from: say which version to pin"))
            }
            (None, Some(now)) => match self.releases(&wish.built_in).filter(|version| *version < now).max() {
                Some(older) => Ok(older.clone()),
                None => conflict(format!("there is no release of {name} below {now}, which is in effect: nothing to roll back to")),
            },
        }
    }

    fn must_be(&self, name: &Name, wish: &Wish) -> Result<(), ApiError> {
        let is_there = !self.versions.is_empty() || !wish.built_in.is_empty() || self.pinned.is_some();
        is_there.then_some(()).ok_or_else(|| not_found(name, None))
    }

    fn must_have_room(&self, name: &Name) -> Result<(), ApiError> {
        if self.versions.len() < MAX_VERSIONS {
            return Ok(());
        }
        Err(ApiError::Conflict { message: format!("{name} has {MAX_VERSIONS} versions, and no more fit: remove some that nobody uses") })
    }
}

impl Pushed {
    fn new(wish: &Wish, digest: &str, bytes: u64, about: &str) -> Self {
        let line = about.lines().next().unwrap_or_default().trim();
        let about = line[..line.floor_char_boundary(MAX_ABOUT_BYTES)].to_owned();
        Self { digest: digest.to_owned(), bytes, about, by: wish.by.clone(), at: wish.at }
    }
}

/// The limits with some of them changed.
fn changed_limits(limits: &Limits, changes: &BTreeMap<String, Option<u64>>) -> Result<Limits, ApiError> {
    let wrong = |at: &str, error: &serde_json::Error| ApiError::invalid(at, error.to_string());
    let mut all = match serde_json::to_value(limits).map_err(|error| wrong("/limits", &error))? {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    for (limit, value) in changes {
        match value {
            Some(value) => drop(all.insert(limit.clone(), Value::from(*value))),
            None => drop(all.remove(limit)),
        }
        // One by one, so that the error tells which; a name that is none is told when it is taken back, too.
        let alone: Map<String, Value> = [(limit.clone(), value.map_or(Value::Null, Value::from))].into_iter().collect();
        serde_json::from_value::<Limits>(Value::Object(alone)).map_err(|error| wrong(&format!("/limits/{limit}"), &error))?;
    }
    serde_json::from_value(Value::Object(all)).map_err(|error| wrong("/limits", &error))
}

/// The answer about an engine, or a version of it, that is not there.
pub fn not_found(name: &Name, version: Option<&Version>) -> ApiError {
    let what = match version {
        Some(version) => format!("engine {name}@{version}"),
        None => format!("engine {name}"),
    };
    ApiError::NotFound { what }
}

#[cfg(test)]
mod tests;
