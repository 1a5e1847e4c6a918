//! `engine.pin`, `engine.unpin`, `engine.roll-back` and `engine.limit`: what is said of all versions of an engine.

use std::time::Duration;

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::engine::{Limits, Reference, follow};
use pilothouse_core::name::Name;
use pilothouse_core::state::{DomainState, Life};
use pilothouse_engine_host::EngineLimits;

use super::super::{bytes, check_request_id, name};
use super::version_of;
use crate::api::{EngineChanged, LimitEngine, PinEngine, RollBackEngine, UnpinEngine};
use crate::driver::host::Domains;
use crate::driver::registry::{Entry, What};
use crate::store::Journal;

/// How long domains may take to be counted.
const COUNTED: Duration = Duration::from_secs(2);

impl<J: Journal> Domains<J> {
    pub(in crate::driver::service) async fn pin_engine(&self, user: Name, request: PinEngine) -> Result<Bytes, ApiError> {
        let PinEngine { name, version, reason, request_id } = request;
        let what = What::Pin { version: version_of("/version", &version)?, reason };
        self.steer(&user, &name, what, request_id.as_deref()).await
    }

    pub(in crate::driver::service) async fn unpin_engine(&self, user: Name, request: UnpinEngine) -> Result<Bytes, ApiError> {
        self.steer(&user, &request.name, What::Unpin, request.request_id.as_deref()).await
    }

    pub(in crate::driver::service) async fn roll_back_engine(&self, user: Name, request: RollBackEngine) -> Result<Bytes, ApiError> {
        let RollBackEngine { name, to, reason, request_id } = request;
        let to = to.map(|to| version_of("/to", &to)).transpose()?;
        self.steer(&user, &name, What::RollBack { to, reason }, request_id.as_deref()).await
    }

    pub(in crate::driver::service) async fn limit_engine(&self, user: Name, request: LimitEngine) -> Result<Bytes, ApiError> {
        let LimitEngine { name: engine, limits, request_id } = request;
        check_request_id(request_id.as_deref())?;
        let engine = name("/name", &engine)?;
        self.check_limits(&limits)?;
        let wish = self.wish(&user, &engine, What::Limit(limits));
        bytes(&self.shared.registry.change(&engine, &wish, request_id.as_deref()).await?)
    }

    /// That limits make sense. Those above the ceiling of a host are cut there, and that is told by who shows them.
    fn check_limits(&self, limits: &std::collections::BTreeMap<String, Option<u64>>) -> Result<(), ApiError> {
        let given = limits.iter().filter_map(|(limit, value)| Some((limit.clone(), (*value)?.into()))).collect();
        // What is no limit at all, the registry says.
        let Ok(own) = serde_json::from_value::<Limits>(serde_json::Value::Object(given)) else { return Ok(()) };
        let mut problems = EngineLimits::problems_of(&own);
        for problem in &mut problems {
            problem.at = format!("/limits{}", problem.at);
        }
        if problems.is_empty() { Ok(()) } else { Err(ApiError::Invalid { problems }) }
    }

    /// Changes which version is in effect, and says how many domains that concerns.
    async fn steer(&self, user: &Name, engine: &str, what: What, request: Option<&str>) -> Result<Bytes, ApiError> {
        check_request_id(request)?;
        let name = name("/name", engine)?;
        let wish = self.wish(user, &name, what);
        let entry = self.shared.registry.get(&name).await?.unwrap_or_default();
        // Asked before, because domains don't wait for this answer. It is only a number, and a version must be taken back also when many
        // domains say nothing.
        let told = tokio::time::timeout(COUNTED, self.told_by_all()).await.ok().filter(|told| told.silent.is_empty());
        let domains = told.zip(entry.change(&name, &wish).ok()).map(|(told, (next, _))| {
            let others = told.states.iter().filter(|state| self.takes_up_another(&name, &next, state)).count();
            others as u64
        });
        let changed = self.shared.registry.change(&name, &wish, request).await?;
        if changed.changed {
            let version = changed.version.as_deref().unwrap_or_default();
            tracing::info!(engine = %name, version, pinned = changed.pinned.is_some(), by = %user, "which version is in effect was changed");
        }
        bytes(&EngineChanged { domains, ..changed })
    }

    /// Whether a domain takes up another version by what the registry is to say.
    fn takes_up_another(&self, name: &Name, next: &Entry, state: &DomainState) -> bool {
        let Ok(reference) = state.config.general.engine.parse::<Reference>() else { return false };
        let rejected = state.lineage.as_ref().map_or(&[][..], |lineage| &lineage.rejected);
        let candidates = self.shared.engines.all_candidates(name, Some(next));
        state.life == Life::Active && follow(&reference, &state.engine, rejected, &candidates).is_some()
    }
}
