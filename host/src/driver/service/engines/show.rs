//! `engine.list`, `engine.show` and `engine.faults`: what there is to know of engines, on all hosts and in all domains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::engine::{Origin, Reference, newest};
use pilothouse_core::explain::rolled_back;
use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::state::DomainState;
use pilothouse_engine_host::LoadedEngine;
use semver::{Version, VersionReq};
use serde_json::Value;

use super::super::fitting::{fitting, size};
use super::super::{MAX_ANSWER, bytes, name};
use super::{unavailable, version_of};
use crate::api::{
    AskEngineFaults, DomainDescription, EngineDescription, EngineDomain, EngineFault, EngineFaults, EngineFileOnHost, EngineLimitsInForce,
    EngineList, EngineOnHost, EnginePinned, EngineShadow, EngineSource, EngineSummary, EngineVersion, EngineVersionRef, HostEngines,
    LimitsOfAll, ListEngines, Operation,
};
use crate::driver::host::Domains;
use crate::driver::ownership::Owner;
use crate::driver::registry::{self, Entry, not_found};
use crate::driver::router::Question;
use crate::store::Journal;

/// How long the owner of the domains is waited for. Without it there is something to tell, too.
const OWNER: Duration = Duration::from_secs(2);

/// How long a domain may take to tell of its shadow.
const SHADOW: Duration = Duration::from_secs(1);

/// Components that all hosts are asked for at once.
const MAX_ASKED: usize = 1000;

/// Faults that a description of an engine tells.
const NEWEST_FAULTS: usize = 10;

/// Room in a description that is left to versions and domains, in bytes, whatever an engine says of itself.
const FOR_LISTS: usize = 256 * 1024;

/// Shadows that a description of an engine tells.
const MAX_SHADOWS: usize = 50;

/// Faults that are told unless somebody wants more, or fewer.
const FAULTS: usize = 100;

/// Faults that are told at most.
const MAX_FAULTS: usize = 1000;

/// Engines of a version, wherever they are from.
#[derive(Default)]
struct Found {
    sources: BTreeSet<EngineSource>,
    bytes: u64,
}

impl<J: Journal> Domains<J> {
    /// Lets the owner of the domains answer, which knows which of them use what. Nothing when there is none that does.
    pub(in crate::driver::service) async fn told_by_owner(
        &self,
        operation: Operation,
        user: &Name,
        body: &[u8],
    ) -> Option<Result<Bytes, ApiError>> {
        let Owner::Other { host, process } = self.shared.ownership.owner() else { return None };
        let asked = self.forward(operation, user.as_str(), Bytes::copy_from_slice(body), &host, process);
        match tokio::time::timeout(OWNER, asked).await {
            Ok(Err(ApiError::Unavailable { .. })) | Err(_) => None,
            Ok(answered) => Some(answered),
        }
    }

    pub(in crate::driver::service) async fn list_engines(&self, ListEngines {}: ListEngines) -> Result<Bytes, ApiError> {
        let listed = self.shared.registry.all().await?;
        let own: Vec<(LoadedEngine, Origin)> = self.shared.engines.own().collect();
        let names: BTreeSet<&Name> = own.iter().map(|(engine, _)| &engine.description().name).chain(listed.entries.keys()).collect();
        let mut engines: Vec<EngineSummary> = names.into_iter().filter_map(|name| self.summary(name, listed.entries.get(name))).collect();
        let states = self.states().await;
        let hosts = self.hosts_with(engines.iter().filter_map(|engine| engine.digest.clone()).collect()).await?;
        for engine in &mut engines {
            engine.used_by = states.as_ref().map(|all| all.iter().filter(|state| state.engine.name == engine.name.as_str()).count() as u64);
            engine.ready = engine.digest.as_ref().map_or_else(Vec::new, |digest| on_hosts(&hosts, digest));
        }
        let (engines, left_out) = fitting(engines, MAX_ANSWER, |_| 0);
        bytes(&EngineList { engines, files: files(&hosts).collect(), unreadable: listed.unreadable.into_keys().collect(), left_out })
    }

    /// A line about an engine, without what others have to say; nothing when there is none.
    fn summary(&self, name: &Name, entry: Option<&Entry>) -> Option<EngineSummary> {
        let candidates = self.shared.engines.all_candidates(name, entry);
        if candidates.is_empty() {
            return None;
        }
        let in_effect = newest(&by_name(name), &candidates).map(|candidate| candidate.engine.clone());
        let versions: BTreeSet<_> = candidates.iter().map(|it| (&it.version, &it.engine.digest)).collect();
        let sources: BTreeSet<_> = candidates.iter().map(|it| source_of(it.origin)).collect();
        Some(EngineSummary {
            name: name.clone(),
            digest: in_effect.as_ref().map(|engine| engine.digest.clone()),
            in_effect: in_effect.map(|engine| engine.version),
            pinned: entry.is_some_and(|entry| entry.pinned.is_some()),
            versions: versions.len(),
            sources: sources.into_iter().collect(),
            ready: Vec::new(),
            used_by: None,
        })
    }

    pub(in crate::driver::service) async fn show_engine(&self, user: Name, request: EngineVersionRef) -> Result<Bytes, ApiError> {
        let name = name("/name", &request.name)?;
        let version = request.version.as_deref().map(|version| version_of("/version", version)).transpose()?;
        let entry = self.shared.registry.get(&name).await?;
        let candidates = self.shared.engines.all_candidates(&name, entry.as_ref());
        let mut found: BTreeMap<(Version, String), Found> = BTreeMap::new();
        for candidate in &candidates {
            let here = found.entry((candidate.version.clone(), candidate.engine.digest.clone())).or_default();
            here.sources.insert(source_of(candidate.origin));
        }
        if candidates.is_empty() || version.as_ref().is_some_and(|version| found.keys().all(|(there, _)| there != version)) {
            return Err(not_found(&name, version.as_ref()));
        }
        self.measure(&name, entry.as_ref(), &mut found).await;
        let states = self.states().await;
        let hosts = self.hosts_with(found.keys().map(|(_, digest)| digest.clone()).collect()).await?;
        let versions = found.into_iter().rev().map(|((version, digest), Found { sources, bytes })| {
            let pushed = entry.as_ref().and_then(|entry| entry.versions.get(&version)).filter(|pushed| pushed.digest == digest);
            EngineVersion {
                version: version.to_string(),
                bytes,
                sources: sources.into_iter().collect(),
                about: pushed.map(|pushed| pushed.about.clone()).unwrap_or_default(),
                by: pushed.map(|pushed| pushed.by.clone()),
                at: pushed.map(|pushed| pushed.at),
                ready: on_hosts(&hosts, &digest),
                used_by: states.as_ref().map(|all| all.iter().filter(|state| state.engine.digest == digest).count() as u64),
                digest,
            }
        });
        let versions = versions.collect();
        let in_effect = newest(&by_name(&name), &candidates);
        let shown = match &version {
            Some(version) => candidates.iter().find(|candidate| candidate.version == *version),
            None => in_effect,
        };
        let loaded = shown.and_then(|candidate| self.shared.engines.get(&candidate.engine.digest));
        let description = loaded.as_ref().map(LoadedEngine::description);
        let theirs: Vec<_> = states.into_iter().flatten().filter(|state| state.key.owner == user).collect();
        let ceilings = self.shared.engines.sandbox().limits();
        let overrides = entry.as_ref().map(|entry| entry.limits).unwrap_or_default();
        let whole = EngineDescription {
            versions,
            in_effect: in_effect.map(|candidate| candidate.engine.version.clone()),
            pinned: entry.as_ref().and_then(|entry| entry.pinned.as_ref()).map(|pinned| EnginePinned {
                version: pinned.version.to_string(),
                by: pinned.by.clone(),
                at: pinned.at,
                reason: pinned.reason.clone(),
            }),
            limits: EngineLimitsInForce {
                effective: ceilings.cut(&overrides).as_own(),
                overrides,
                cut: ceilings.above(&overrides).iter().map(ToString::to_string).collect(),
                of_all: Some(LimitsOfAll {
                    stack_bytes: ceilings.stack_bytes as u64,
                    time_out_ms: ceilings.time_out.as_millis() as u64,
                    component_bytes: ceilings.component_bytes as u64,
                    threads: self.shared.runner.threads() as u64,
                    memory_together_bytes: self.shared.engines.sandbox().memory_together().1 as u64,
                }),
            },
            domains: theirs.iter().filter(|state| state.engine.name == name.as_str()).map(|state| domain_of(state)).collect(),
            shadows: self.shadows(&name, &theirs).await,
            faults: self.faults_of(&name, &user),
            files: files(&hosts).filter(|file| file.file.engine.as_ref().is_none_or(|engine| engine.name == name.as_str())).collect(),
            documentation: description.map(|it| it.documentation.clone()),
            config_schema: description.map(|it| Value::Object(it.config_schema.clone())),
            left_out: 0,
            name,
        };
        bytes(&fitted(whole))
    }

    /// How large the components are: as the registry says, or the store.
    async fn measure(&self, name: &Name, entry: Option<&Entry>, found: &mut BTreeMap<(Version, String), Found>) {
        for ((version, digest), found) in found {
            let pushed = entry.and_then(|entry| entry.versions.get(version)).filter(|pushed| pushed.digest == *digest);
            found.bytes = match pushed {
                Some(pushed) => pushed.bytes,
                None => match self.shared.engine_store.info(digest.as_str()).await {
                    Ok(info) => info.size as u64,
                    Err(error) => {
                        tracing::debug!(engine = %name, digest, %error, "the store does not say how large a component is");
                        0
                    }
                },
            };
        }
    }

    /// What all domains hold; nothing when this host does not look after them.
    async fn states(&self) -> Option<Vec<Arc<DomainState>>> {
        if self.ready() { Some(self.told_by_all().await.states) } else { None }
    }

    async fn hosts_with(&self, mut digests: Vec<String>) -> Result<Vec<HostEngines>, ApiError> {
        digests.truncate(MAX_ASKED);
        registry::ask(&self.shared.nats, &self.shared.subjects, digests).await.map_err(unavailable)
    }

    /// Where an engine runs beside another one, and how they compare by now.
    async fn shadows(&self, name: &Name, states: &[Arc<DomainState>]) -> Vec<EngineShadow> {
        let with = states.iter().filter(|state| state.shadow().is_some_and(|shadow| shadow.engine.name == name.as_str()));
        let mut shadows = Vec::new();
        for state in with.take(MAX_SHADOWS) {
            let Some(handle) = self.shared.router.domain(&state.key) else { continue };
            let Ok(Ok(told)) = tokio::time::timeout(SHADOW, handle.ask(Question::Describe)).await else { continue };
            let described: Option<DomainDescription> = serde_json::from_value(told).ok();
            let shadow = described.and_then(|described| described.shadow);
            shadows.extend(shadow.map(|shadow| EngineShadow { domain: state.key.name.clone(), shadow }));
        }
        shadows
    }

    fn faults_of(&self, name: &Name, user: &Name) -> Vec<EngineFault> {
        let mut faults = self.shared.decisions.faults();
        faults.retain(|fault| fault.engine.name == name.as_str() && fault.owner == *user);
        faults.truncate(NEWEST_FAULTS);
        faults
    }

    pub(in crate::driver::service) fn tell_faults(&self, user: &Name, request: AskEngineFaults) -> Result<Bytes, ApiError> {
        let AskEngineFaults { name: engine, domain, since, limit } = request;
        let engine = engine.map(|engine| name("/name", &engine)).transpose()?;
        let domain = domain.map(|domain| domain_key(user, &domain)).transpose()?;
        let limit = limit.map_or(FAULTS, |limit| limit as usize);
        if !(1..=MAX_FAULTS).contains(&limit) {
            return Err(ApiError::invalid("/limit", format!("expected 1 to {MAX_FAULTS}")));
        }
        let mut faults = self.shared.decisions.faults();
        faults.retain(|fault| {
            engine.as_ref().is_none_or(|engine| fault.engine.name == engine.as_str())
                && domain.as_ref().is_none_or(|key| (&key.owner, &key.name) == (&fault.owner, &fault.domain))
                && since.is_none_or(|since| fault.at >= since)
        });
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for fault in &faults {
            *counts.entry(fault.kind.name().to_owned()).or_default() += 1;
        }
        let all = faults.len();
        faults.truncate(limit);
        let (faults, _) = fitting(faults, MAX_ANSWER, |_| 0);
        bytes(&EngineFaults { more: faults.len() < all, faults, counts })
    }
}

/// A domain of the caller, or `OWNER/NAME`.
fn domain_key(user: &Name, text: &str) -> Result<DomainKey, ApiError> {
    let (owner, domain) = match text.split_once('/') {
        Some((owner, domain)) => (name("/domain", owner)?, domain),
        None => (user.clone(), text),
    };
    Ok(DomainKey { owner, name: name("/domain", domain)? })
}

fn by_name(name: &Name) -> Reference {
    Reference::Versions { name: name.to_string(), versions: VersionReq::STAR }
}

fn source_of(origin: Origin) -> EngineSource {
    match origin {
        Origin::BuiltIn => EngineSource::BuiltIn,
        Origin::Registry => EngineSource::Pushed,
        Origin::File => EngineSource::File,
        Origin::Folder => EngineSource::Folder,
    }
}

fn on_hosts(hosts: &[HostEngines], digest: &str) -> Vec<EngineOnHost> {
    let on = |host: &HostEngines| Some(EngineOnHost { host: host.host.clone(), state: host.engines.get(digest)?.clone() });
    hosts.iter().filter_map(on).collect()
}

fn files(hosts: &[HostEngines]) -> impl Iterator<Item = EngineFileOnHost> {
    hosts.iter().flat_map(|host| host.files.iter().map(|file| EngineFileOnHost { host: host.host.clone(), file: file.clone() }))
}

fn domain_of(state: &DomainState) -> EngineDomain {
    EngineDomain {
        domain: state.key.name.clone(),
        engine: state.engine.clone(),
        reference: state.config.general.engine.clone(),
        held: state.held().is_some(),
        rolled_back_from: rolled_back(state).map(|rejected| rejected.engine.version.clone()),
    }
}

/// As much of a description as fits an answer: the newest versions, and the first domains. What an engine says of itself goes first: it may
/// be as long as an answer, and its author has it.
fn fitted(mut whole: EngineDescription) -> EngineDescription {
    let (versions, domains) = (std::mem::take(&mut whole.versions), std::mem::take(&mut whole.domains));
    let is_too_large = |whole: &EngineDescription| size(whole) > MAX_ANSWER - FOR_LISTS;
    if is_too_large(&whole) {
        whole.documentation = None;
    }
    if is_too_large(&whole) {
        whole.config_schema = None;
    }
    let room = MAX_ANSWER.saturating_sub(size(&whole));
    let (versions, versions_left_out) = fitting(versions, room, |_| 0);
    let (domains, domains_left_out) = fitting(domains, room.saturating_sub(size(&versions)), |_| 0);
    EngineDescription { versions, domains, left_out: versions_left_out + domains_left_out, ..whole }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A description with one version, where the engine says so much of itself: as JSON, six bytes a character.
    fn shown(documentation: usize, schema: usize) -> EngineDescription {
        let version = json!({"version": "1.0.0", "digest": "d", "bytes": 1, "sources": ["pushed"], "ready": []});
        let control = |length: usize| "\u{1}".repeat(length);
        let whole = json!({
            "name": "keep",
            "versions": [version],
            "limits": {"effective": {}, "overrides": {}},
            "domains": [],
            "documentation": control(documentation),
            "config_schema": {"title": control(schema)},
        });
        fitted(serde_json::from_value(whole).expect("a description"))
    }

    #[test]
    fn an_engine_that_says_too_much_of_itself_is_shown_without_that() {
        let told = |it: &EngineDescription| (it.documentation.is_some(), it.config_schema.is_some(), it.versions.len(), it.left_out);
        for (documentation, schema, expected) in [
            (1_000, 1_000, (true, true, 1, 0)),
            (256 * 1024, 1_000, (false, true, 1, 0)),
            (1_000, 256 * 1024, (false, false, 1, 0)),
            (256 * 1024, 256 * 1024, (false, false, 1, 0)),
        ] {
            let shown = shown(documentation, schema);
            assert_eq!(told(&shown), expected, "{documentation} {schema}");
            assert!(size(&shown) <= MAX_ANSWER);
        }
    }
}
