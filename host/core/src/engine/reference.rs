//! What a configuration asks for, and which of the engines that there are it gets.
//!
//! A reference is a name, a name and as much of a version as should hold, or the digest of one component. The rules are those of semantic
//! versions: `npreserving` follows every release, `npreserving@1` every 1.x.y, `npreserving@1.2` every 1.2.y, and `npreserving@1.2.3` is
//! that version and no other. What has an operator (`^1.2.3`, `>=1.2, <3`) means what it means to Cargo. Pre-releases are taken by whoever
//! names one, and by nobody else.

use std::fmt;
use std::str::FromStr;

use semver::{Version, VersionReq};

use super::lineage::{Rejected, SwapReason};
use crate::record::EngineInForce;

/// The length of a digest, in hexadecimal digits.
const DIGEST_DIGITS: usize = 64;

/// What a configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Versions of an engine.
    Versions {
        /// The engine's name.
        name: String,
        /// Which of them.
        versions: VersionReq,
    },
    /// One component, for ever.
    Digest(String),
}

/// A text that is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The part after the `@` is no version.
    #[error("{version:?} is no version: {problem}; expected NAME, NAME@1, NAME@1.2.3 or a digest")]
    Version {
        /// As it was written.
        version: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It begins like a digest.
    #[error("{0:?} is no digest: expected sha256: and 64 hexadecimal digits")]
    Digest(String),
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let is_digest = |text: &str| text.len() == DIGEST_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(digest) = text.strip_prefix("sha256:") {
            return if is_digest(digest) {
                Ok(Self::Digest(digest.to_ascii_lowercase()))
            } else {
                Err(ReferenceError::Digest(text.chars().take(80).collect()))
            };
        }
        // No name is as long.
        if is_digest(text) {
            return Ok(Self::Digest(text.to_ascii_lowercase()));
        }
        let (name, version) = text.split_once('@').unwrap_or((text, "*"));
        let invalid =
            |error: semver::Error| ReferenceError::Version { version: version.chars().take(80).collect(), problem: error.to_string() };
        let versions = VersionReq::parse(&as_far_as_said(version)).map_err(invalid)?;
        Ok(Self::Versions { name: name.to_owned(), versions })
    }
}

/// A version without an operator holds as far as it is said.
fn as_far_as_said(version: &str) -> String {
    let version = version.trim();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if Version::parse(version).is_ok() {
        format!("={version}")
    } else if version.split('.').count() < 3 && version.split('.').all(is_number) {
        format!("{version}.*")
    } else {
        version.to_owned()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Versions { name, versions } if *versions == VersionReq::STAR => f.write_str(name),
            Self::Versions { name, versions } => write!(f, "{name}@{versions}"),
            Self::Digest(digest) => write!(f, "sha256:{digest}"),
        }
    }
}

impl Reference {
    /// Whether an engine is what is asked for.
    pub fn fits(&self, engine: &EngineInForce) -> bool {
        match self {
            Self::Versions { name, versions } => {
                *name == engine.name && engine.version.parse().is_ok_and(|version| versions.matches(&version))
            }
            Self::Digest(digest) => *digest == engine.digest,
        }
    }

    /// The name of the engine, where it says one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Versions { name, .. } => Some(name),
            Self::Digest(_) => None,
        }
    }
}

/// Where a host has an engine from. Of two with the same version the later one here is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// It came with the program.
    BuiltIn,
    /// It was pushed, and all hosts have it.
    Registry,
    /// A file that the host was started with.
    File,
    /// A file of a folder that is watched: it may be saved anew at any time, under the same version.
    Folder,
}

/// An engine that a host can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub engine: EngineInForce,
    /// Its version.
    pub version: Version,
    /// Where it is from.
    pub origin: Origin,
    /// An operator wants this version, and no newer one, for everybody whose reference it fits.
    pub pinned: bool,
}

/// The best of those that fit: what is pinned, else the newest.
pub fn newest<'c>(reference: &Reference, candidates: &'c [Candidate]) -> Option<&'c Candidate> {
    let fits = || candidates.iter().filter(|candidate| reference.fits(&candidate.engine));
    let best = |candidate: &&'c Candidate| (candidate.version.clone(), candidate.origin);
    fits().filter(|candidate| candidate.pinned).max_by_key(best).or_else(|| fits().max_by_key(best))
}

/// What a domain takes up by itself, if anything: the pinned version, a newer one, or a file that was saved anew. Never one that it had to go
/// back from, and never another engine. What is in force stays unless there is something better: a host that has less than the one before
/// it changes nothing.
pub fn follow<'c>(
    reference: &Reference,
    in_force: &EngineInForce,
    rejected: &[Rejected],
    candidates: &'c [Candidate],
) -> Option<(&'c Candidate, SwapReason)> {
    let Reference::Versions { name, .. } = reference else { return None };
    let current: Version = in_force.version.parse().ok().filter(|_| in_force.name == *name)?;
    let refused = |candidate: &Candidate| rejected.iter().any(|it| it.engine.digest == candidate.engine.digest);
    let pinned = candidates.iter().any(|candidate| candidate.pinned && reference.fits(&candidate.engine));
    let open: Vec<&Candidate> = candidates.iter().filter(|it| !refused(it) && reference.fits(&it.engine) && it.pinned == pinned).collect();
    let best = open.into_iter().max_by_key(|candidate| (&candidate.version, candidate.origin))?;
    if best.engine.digest == in_force.digest {
        return None;
    }
    let why = if best.version > current && !pinned {
        SwapReason::Followed
    } else if best.version != current && pinned {
        SwapReason::Pinned
    } else if best.version == current && best.origin == Origin::Folder {
        SwapReason::Reloaded
    } else {
        return None;
    };
    Some((best, why))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Timestamp;

    fn engine(version: &str, digest: &str) -> EngineInForce {
        EngineInForce { name: "keep".to_owned(), version: version.to_owned(), digest: digest.to_owned() }
    }

    fn candidate(version: &str, origin: Origin) -> Candidate {
        let version: Version = version.parse().expect("a version");
        Candidate { engine: engine(&version.to_string(), &format!("{version}{origin:?}")), version, origin, pinned: false }
    }

    fn reference(text: &str) -> Reference {
        text.parse().expect("a reference")
    }

    #[test]
    fn a_version_holds_as_far_as_it_is_said() {
        for (text, fits, fits_not) in [
            ("keep", &["0.1.0", "1.2.3", "2.0.0"][..], &["1.0.0-rc.1"][..]),
            ("keep@1", &["1.0.0", "1.9.9"], &["0.9.0", "2.0.0", "1.0.0-rc.1"]),
            ("keep@1.2", &["1.2.0", "1.2.9"], &["1.3.0", "1.1.9"]),
            ("keep@1.2.3", &["1.2.3"], &["1.2.4", "1.3.0"]),
            ("keep@^1.2.3", &["1.2.3", "1.9.0"], &["1.2.2", "2.0.0"]),
            ("keep@>=1.2, <3", &["1.2.0", "2.9.9"], &["3.0.0"]),
            ("keep@1.0.0-rc.1", &["1.0.0-rc.1"], &["1.0.0"]),
        ] {
            for version in fits {
                assert!(reference(text).fits(&engine(version, "d")), "{text} takes {version}");
            }
            for version in fits_not {
                assert!(!reference(text).fits(&engine(version, "d")), "{text} does not take {version}");
            }
        }
        assert!(!reference("other").fits(&engine("1.0.0", "d")));
        let digest = "AB".repeat(32);
        for text in [digest.clone(), format!("sha256:{digest}")] {
            assert!(reference(&text).fits(&engine("1.0.0", &digest.to_lowercase())));
            assert!(!reference(&text).fits(&engine("1.0.0", "d")));
        }
        for text in ["keep@", "keep@one", "keep@1..2", "sha256:12", "keep@1.2.3.4"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_newest_that_fits_is_taken_unless_another_is_pinned() {
        let mut all = [candidate("1.0.0", Origin::Registry), candidate("1.2.0", Origin::BuiltIn), candidate("1.2.0", Origin::Registry)];
        let taken = |text: &str, all: &[Candidate]| newest(&reference(text), all).map(|it| it.engine.digest.clone());
        assert_eq!(taken("keep", &all).as_deref(), Some("1.2.0Registry"));
        assert_eq!(taken("keep@1.0", &all).as_deref(), Some("1.0.0Registry"));
        assert_eq!(taken("keep@3", &all), None);
        all[0].pinned = true;
        assert_eq!(taken("keep", &all).as_deref(), Some("1.0.0Registry"));
        assert_eq!(taken("keep@1.2", &all).as_deref(), Some("1.2.0Registry"), "a pin that does not fit concerns others");
    }

    #[test]
    fn a_domain_takes_up_what_is_newer_and_never_what_it_went_back_from() {
        let in_force = engine("1.1.0", "1.1.0Registry");
        let rejected = |version: &str| {
            let engine = candidate(version, Origin::Registry).engine;
            vec![Rejected { engine, at: Timestamp::ZERO, why: String::new() }]
        };
        let follows = |text: &str, rejected: &[Rejected], all: &[Candidate]| {
            follow(&reference(text), &in_force, rejected, all).map(|(to, why)| (to.engine.digest.clone(), why))
        };
        let mut all =
            vec![candidate("1.0.0", Origin::Registry), candidate("1.1.0", Origin::Registry), candidate("1.2.0", Origin::Registry)];
        let newer = Some(("1.2.0Registry".to_owned(), SwapReason::Followed));
        assert_eq!(follows("keep", &[], &all), newer);
        assert_eq!(follows("keep@1", &[], &all), newer);
        assert_eq!(follows("keep@1.1", &[], &all), None);
        assert_eq!(follows("keep@1.1.0", &[], &all), None);
        assert_eq!(follows("keep", &rejected("1.2.0"), &all), None);
        assert_eq!(follows("keep", &[], &all[..2]), None, "it is the newest");
        assert_eq!(follows("keep", &[], &all[..1]), None, "a host that has less changes nothing");
        assert_eq!(follows("other", &[], &all), None, "another engine is never taken up");
        all[0].pinned = true;
        assert_eq!(follows("keep", &[], &all), Some(("1.0.0Registry".to_owned(), SwapReason::Pinned)));
        assert_eq!(follows("keep", &rejected("1.0.0"), &all), None, "nor what is newer than the pin");
        assert_eq!(follows("keep@1.1", &[], &all), None, "a pin that does not fit concerns others");
    }

    #[test]
    fn only_a_file_of_a_watched_folder_replaces_one_of_the_same_version() {
        let in_force = engine("1.1.0", "d");
        for (origin, is_taken) in [(Origin::BuiltIn, false), (Origin::Registry, false), (Origin::File, false), (Origin::Folder, true)] {
            let all = [candidate("1.1.0", origin)];
            let followed = follow(&reference("keep"), &in_force, &[], &all).map(|(_, why)| why);
            assert_eq!(followed, is_taken.then_some(SwapReason::Reloaded), "{origin:?}");
        }
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let origins = &[Origin::BuiltIn, Origin::Registry, Origin::File, Origin::Folder][..];
        let one = (0..3_u64, 0..3_u64, 0..2_u8, prop::sample::select(origins), prop::bool::weighted(0.1), any::<bool>());
        let one = one.prop_map(|(major, minor, rc, origin, pinned, keep)| {
            let version: Version = format!("{major}.{minor}.0{}", if rc == 0 { "" } else { "-rc.1" }).parse().expect("a version");
            let name = if keep { "keep" } else { "other" };
            let engine =
                EngineInForce { name: name.to_owned(), version: version.to_string(), digest: format!("{name}{version}{origin:?}") };
            Candidate { engine, version, origin, pinned }
        });
        prop::collection::vec(one, 0..8)
    }

    proptest! {
        #[test]
        fn any_text_is_a_reference_or_none_and_what_is_one_is_written_as_it_is_read(
            text in prop_oneof![".{0,80}", "[a-z]{0,5}@[=^~<>]?[0-9]{1,3}([.][0-9*x]{1,2}){0,3}(-rc[.]1)?", "(sha256:)?[0-9a-fA-F]{60,66}"]
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }

        #[test]
        fn what_is_taken_up_fits_was_not_gone_back_from_and_is_taken_up_once(
            all in candidates(),
            in_force in candidates(),
            rejected in candidates(),
            text in prop::sample::select(&["keep", "keep@1", "keep@1.1", "keep@2.0.0-rc.1", "keep@>=1, <3"][..]),
        ) {
            let Some(in_force) = in_force.first().map(|it| &it.engine) else { return Ok(()) };
            let rejected: Vec<Rejected> =
                rejected.into_iter().map(|it| Rejected { engine: it.engine, at: Timestamp::ZERO, why: String::new() }).collect();
            let reference = reference(text);
            if let Some((taken, why)) = follow(&reference, in_force, &rejected, &all) {
                prop_assert!(reference.fits(&taken.engine) && taken.engine.name == in_force.name && taken.engine != *in_force);
                prop_assert!(rejected.iter().all(|it| it.engine != taken.engine));
                prop_assert!(why == SwapReason::Pinned || taken.version >= in_force.version.parse().expect("a version"), "{why:?}");
                prop_assert_eq!(follow(&reference, &taken.engine, &rejected, &all), None, "and then there is nothing better");
            }
        }
    }
}
