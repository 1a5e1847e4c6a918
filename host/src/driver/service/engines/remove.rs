//! `engine.remove`: a version less, and its component, unless somebody needs it.

use std::sync::Arc;

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::{DomainKey, Name};

use super::super::{bytes, check_request_id, name};
use super::{unavailable, version_of};
use crate::api::{EngineChanged, RemoveEngine};
use crate::driver::host::Domains;
use crate::driver::registry::{What, not_found};
use crate::store::Journal;

/// Domains that an error names.
const MAX_NAMED: usize = 10;

impl<J: Journal> Domains<J> {
    /// Takes a version out of the registry. To ask for what was removed already changes nothing.
    pub(in crate::driver::service) async fn remove_engine(self: &Arc<Self>, user: Name, request: RemoveEngine) -> Result<Bytes, ApiError> {
        let RemoveEngine { name: engine, version, request_id } = request;
        check_request_id(request_id.as_deref())?;
        let engine = name("/name", &engine)?;
        let version = version_of("/version", &version)?;
        let this = Arc::clone(self);
        // Whether somebody waits for it or not, it is done whole: an entry is not left without its component.
        let removed = tokio::spawn(async move {
            let changed = this.removed(&user, &engine, &version, request_id.as_deref()).await?;
            if changed.changed {
                tracing::info!(engine = %engine, %version, by = %user, "a version was removed");
            }
            this.sweep_components();
            Ok::<_, ApiError>(changed)
        });
        bytes(&removed.await.map_err(unavailable)??)
    }

    async fn removed(&self, user: &Name, name: &Name, version: &semver::Version, request: Option<&str>) -> Result<EngineChanged, ApiError> {
        let registry = &self.shared.registry;
        // Nobody chooses an engine meanwhile, so that none comes into use that was looked for before.
        let nobody_chooses = self.places.nobody_chooses().await?;
        let entry = registry.get(name).await?.unwrap_or_default();
        let remove = What::Remove { version: version.clone() };
        if let Some(answer) = entry.answer_to(request, &remove)? {
            // What was pushed again since stays.
            return Ok(answer.clone());
        }
        let (there, gone) = (entry.versions.get(version), entry.gone.get(version).map(|gone| &gone.pushed));
        let digest = there.or(gone).ok_or_else(|| not_found(name, Some(version)))?.digest.clone();
        if there.is_some() {
            self.must_be_unneeded(name, version, &digest).await?;
        }
        let changed = registry.change(name, &self.wish(user, name, remove), request).await?;
        if changed.changed {
            // Before its next step every domain sees that it is gone, so none takes it up after it was asked once more.
            self.shared.engines.look_again();
            if let Err(error) = self.must_be_unneeded(name, version, &digest).await {
                registry.change(name, &self.wish(user, name, What::Restore { version: version.clone() }), None).await?;
                return Err(error);
            }
        }
        // No version is called so any more. Whoever chooses these bytes by their digest is asked once more.
        drop(nobody_chooses);
        self.discard_unneeded(&digest).await;
        Ok(changed)
    }

    async fn must_be_unneeded(&self, name: &Name, version: &semver::Version, digest: &str) -> Result<(), ApiError> {
        let needed = self.who_needs(digest).await?;
        if needed.is_empty() {
            return Ok(());
        }
        let domains = named(&needed);
        Err(ApiError::Conflict {
            message: format!("{name}@{version} is in use: it decides, may be gone back to by, or runs beside the engine of {domains}"),
        })
    }
}

fn named(domains: &[DomainKey]) -> String {
    let mut named: Vec<String> = domains.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    if domains.len() > MAX_NAMED {
        named.push(format!("and {} more", domains.len() - MAX_NAMED));
    }
    named.join(", ")
}
