//! Which of the engines that there are a configuration gets.

use async_nats::jetstream::object_store::InfoErrorKind;
use pilothouse_core::command::ApiError;
use pilothouse_core::engine::{Candidate, Reference, Rejected, follow, newest};
use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
use pilothouse_engine_host::LoadedEngine;
use semver::Version;

use super::unavailable;
use crate::driver::engines::{FetchError, in_force};
use crate::driver::host::Domains;
use crate::driver::registry::ComponentError;
use crate::store::Journal;

/// Engines that are named to whoever asks for one that is not there.
const MAX_NAMED: usize = 20;

/// What decides a domain already.
#[derive(Clone, Copy)]
pub(super) struct Decides<'d> {
    /// The engine in force.
    pub(super) engine: &'d EngineInForce,
    /// What the configuration asks for so far.
    pub(super) reference: &'d str,
    /// Versions that the domain went back from.
    pub(super) rejected: &'d [Rejected],
}

impl<J: Journal> Domains<J> {
    /// The engine that a reference gets: of a new domain, or of one that `decides` already. `at` is the key of the request that holds the
    /// reference. One that is not ready here is fetched and compiled.
    ///
    /// # Errors
    /// `invalid` when there is none, with what there is instead, or it can't be loaded here; `unavailable` when it can't be had at the moment.
    pub(super) async fn engine_for(&self, at: &str, reference: &str, decides: Option<Decides<'_>>) -> Result<LoadedEngine, ApiError> {
        let wanted: Reference = reference.parse().map_err(|error| ApiError::invalid(at, format!("{error}")))?;
        let (digest, called) = match &wanted {
            Reference::Digest(digest) => (digest.clone(), wanted.to_string()),
            Reference::Versions { name, .. } => {
                let candidates = self.candidates(name);
                let chosen = match decides {
                    Some(decides) => chosen_again(&wanted, reference, &decides, &candidates),
                    None => newest(&wanted, &candidates).map(|candidate| candidate.engine.clone()),
                };
                let EngineInForce { name, version, digest } = chosen.ok_or_else(|| self.unknown(at, reference))?;
                (digest, format!("{name}@{version}"))
            }
        };
        let stays = decides.is_some_and(|decides| decides.engine.digest == digest);
        let engine = match self.shared.engines.get(&digest) {
            Some(engine) => engine,
            None => self.fetched(at, &digest, &called, stays).await?,
        };
        let says = in_force(&engine);
        if matches!(wanted, Reference::Versions { .. }) && called != format!("{}@{}", says.name, says.version) {
            return Err(ApiError::invalid(at, format!("engine {called} can't be used: it says that it is {}@{}", says.name, says.version)));
        }
        Ok(engine)
    }

    /// An engine that is not ready here. `stays`: it decides the domain already.
    async fn fetched(&self, at: &str, digest: &str, called: &str, stays: bool) -> Result<LoadedEngine, ApiError> {
        self.shared.engines.fetch(&self.shared.engine_store, digest).await.map_err(|error| match error {
            FetchError::Component(ComponentError::Missing { .. }) if !stays => {
                ApiError::invalid(at, format!("no engine {called}: no component of that digest was pushed"))
            }
            error if !stays && !error.may_pass() => {
                ApiError::invalid(at, format!("engine {called} can't be used: {:#}", anyhow::Error::new(error)))
            }
            error => {
                let which = if stays { ", which decides" } else { "" };
                unavailable(format!("engine {called}{which}: {:#}", anyhow::Error::new(error)))
            }
        })
    }

    /// The engine that decides a domain.
    ///
    /// # Errors
    /// `unavailable` when it can't be had at the moment.
    pub(super) async fn engine_in_force(&self, engine: &EngineInForce) -> Result<LoadedEngine, ApiError> {
        match self.shared.engines.get(&engine.digest) {
            Some(engine) => Ok(engine),
            None => self.fetched("/general/engine", &engine.digest, &format!("{}@{}", engine.name, engine.version), true).await,
        }
    }

    /// That there is an engine for a reference, ready here or not.
    ///
    /// # Errors
    /// `invalid` when there is none, with what there is instead; `unavailable` when the store does not say.
    pub(super) async fn must_be_there(&self, at: &str, reference: &str) -> Result<(), ApiError> {
        let wanted: Reference = reference.parse().map_err(|error| ApiError::invalid(at, format!("{error}")))?;
        let Reference::Digest(digest) = &wanted else {
            return self.newest_of(&wanted).map(drop).ok_or_else(|| self.unknown(at, reference));
        };
        if self.shared.engines.get(digest).is_some() {
            return Ok(());
        }
        match self.shared.engine_store.info(digest.as_str()).await {
            Ok(info) if !info.deleted => Ok(()),
            Ok(_) => Err(ApiError::invalid(at, format!("no engine {wanted}: no component of that digest was pushed"))),
            Err(error) if error.kind() == InfoErrorKind::NotFound => {
                Err(ApiError::invalid(at, format!("no engine {wanted}: no component of that digest was pushed")))
            }
            Err(error) => Err(unavailable(format!("the engine store: {error}"))),
        }
    }

    /// What a new domain with a reference gets, ready here or not; nothing when there is none, or it is a digest that is not loaded here.
    pub(super) fn newest_of(&self, wanted: &Reference) -> Option<EngineInForce> {
        match wanted {
            Reference::Digest(digest) => self.shared.engines.get(digest).map(|engine| in_force(&engine)),
            Reference::Versions { name, .. } => newest(wanted, &self.candidates(name)).map(|candidate| candidate.engine.clone()),
        }
    }

    /// Everything that there is under a name.
    fn candidates(&self, name: &str) -> Vec<Candidate> {
        // What is no name was never pushed under it.
        let Ok(name) = name.parse::<Name>() else { return Vec::new() };
        self.shared.engines.all_candidates(&name, self.shared.registry.known().get(&name))
    }

    fn unknown(&self, at: &str, reference: &str) -> ApiError {
        let mut known: Vec<String> = self.shared.engines.own().map(|(it, _)| named(&it)).collect();
        for (name, entry) in self.shared.registry.known().iter() {
            known.extend(entry.versions.keys().map(|version| format!("{name}@{version}")));
        }
        known.sort();
        known.dedup();
        let hidden = known.len().saturating_sub(MAX_NAMED);
        known.truncate(MAX_NAMED);
        if hidden > 0 {
            known.push(format!("and {hidden} more (`pilothouse engine list`)"));
        }
        ApiError::invalid(at, format!("no engine {reference:?}; there are {}", known.join(", ")))
    }
}

fn named(engine: &LoadedEngine) -> String {
    format!("{}@{}", engine.description().name, engine.description().version)
}

/// The engine of a domain that has one, from now on; nothing, when there is none.
///
/// Whoever asks for something else gets the newest of that. Whoever changes only the rest keeps what decides, gets what is followed anyhow, or
/// what was built anew under the same version: whoever offers that means it. A version that the domain went back from is not come by like this.
fn chosen_again(wanted: &Reference, reference: &str, decides: &Decides<'_>, candidates: &[Candidate]) -> Option<EngineInForce> {
    let Decides { engine, reference: before, rejected } = *decides;
    let best = newest(wanted, candidates);
    let in_force = engine.version.parse::<Version>().ok().filter(|_| wanted.fits(engine));
    let Some(in_force) = in_force else { return best.map(|it| it.engine.clone()) };
    let chosen = if reference == before {
        let followed = follow(wanted, engine, rejected, candidates).map(|(candidate, _)| candidate);
        let is_pinned = candidates.iter().any(|it| it.pinned && wanted.fits(&it.engine));
        let is_refused = |it: &Candidate| rejected.iter().any(|rejected| rejected.engine.digest == it.engine.digest);
        let anew = || candidates.iter().filter(|it| it.version == in_force && !is_refused(it)).max_by_key(|it| it.origin);
        followed.or_else(|| if is_pinned { None } else { anew() })
    } else {
        // A domain that came from a host with other engines goes on with a newer one.
        best.filter(|it| it.pinned || it.version >= in_force)
    };
    Some(chosen.map_or_else(|| engine.clone(), |it| it.engine.clone()))
}

#[cfg(test)]
mod tests {
    use pilothouse_core::engine::Origin;
    use pilothouse_core::time::Timestamp;

    use super::*;

    fn candidate(version: &str, origin: Origin) -> Candidate {
        let version: Version = version.parse().expect("a version");
        let engine = EngineInForce { name: "keep".to_owned(), version: version.to_string(), digest: format!("{version} {origin:?}") };
        Candidate { engine, version, origin, pinned: false }
    }

    /// The digest that a domain gets which had `reference` and is given `now`, with 1.1.0 of the registry in force.
    fn gets(reference: &str, now: &str, rejected: &[&str], candidates: &[Candidate]) -> Option<String> {
        let engine = candidate("1.1.0", Origin::Registry).engine;
        let rejected: Vec<_> = rejected
            .iter()
            .map(|version| Rejected { engine: candidate(version, Origin::Registry).engine, at: Timestamp::ZERO, why: String::new() })
            .collect();
        let decides = Decides { engine: &engine, reference, rejected: &rejected };
        chosen_again(&now.parse().expect("a reference"), now, &decides, candidates).map(|it| it.digest)
    }

    #[test]
    fn a_reconfiguration_does_not_bring_back_what_a_domain_went_back_from() {
        let all = ["1.0.0", "1.1.0", "1.2.0"].map(|version| candidate(version, Origin::Registry));
        let (here, newer) = (Some("1.1.0 Registry".to_owned()), Some("1.2.0 Registry".to_owned()));
        assert_eq!(gets("keep", "keep", &[], &all), newer, "which is followed anyhow");
        assert_eq!(gets("keep", "keep", &["1.2.0"], &all), here);
        assert_eq!(gets("keep@1.1", "keep", &["1.2.0"], &all), newer, "who asks for something else gets the newest of that");
        assert_eq!(gets("keep", "keep@1.1", &["1.2.0"], &all), here);
        assert_eq!(gets("keep", "keep@1.0", &[], &all), Some("1.0.0 Registry".to_owned()));
        assert_eq!(gets("keep", "keep@3", &[], &all), None);
    }

    #[test]
    fn an_engine_that_decides_stays_unless_it_is_not_wanted_or_there_is_one_as_new() {
        let here = Some("1.1.0 Registry".to_owned());
        for reference in ["keep", "keep@1", "keep@1.1.0"] {
            for before in [reference, "other"] {
                assert_eq!(gets(before, reference, &[], &[]), here, "{reference}, and this host has none");
                assert_eq!(
                    gets(before, reference, &[], &[candidate("1.0.0", Origin::File)]),
                    here,
                    "{reference}, and this host has an older one"
                );
                let anew = [candidate("1.1.0", Origin::File)];
                assert_eq!(
                    gets(before, reference, &[], &anew),
                    Some("1.1.0 File".to_owned()),
                    "{reference}, and this host has one built anew"
                );
            }
        }
        let both = [candidate("1.1.0", Origin::BuiltIn), candidate("1.1.0", Origin::Registry)];
        assert_eq!(
            gets("keep", "keep", &[], &both),
            here,
            "of one version that of the registry is taken before what came with the program"
        );
    }

    #[test]
    fn a_pinned_version_is_taken_also_when_it_is_older() {
        let mut all = ["1.0.0", "1.1.0", "1.2.0"].map(|version| candidate(version, Origin::Registry));
        all[0].pinned = true;
        let pinned = Some("1.0.0 Registry".to_owned());
        assert_eq!(gets("keep", "keep", &[], &all), pinned);
        assert_eq!(gets("keep@1.1", "keep", &[], &all), pinned);
        assert_eq!(gets("keep", "keep", &["1.0.0"], &all), Some("1.1.0 Registry".to_owned()), "unless the domain went back from it");
        let anew = [all[0].clone(), candidate("1.1.0", Origin::File)];
        assert_eq!(gets("keep", "keep", &["1.0.0"], &anew), Some("1.1.0 Registry".to_owned()), "what is pinned is nothing else");
    }
}
