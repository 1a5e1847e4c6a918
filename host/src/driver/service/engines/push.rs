//! `engine.push`: a component that is in the store already becomes a version, or is refused with the reason.

use std::sync::Arc;

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use pilothouse_engine_host::LoadedEngine;

use super::super::{bytes, check_request_id};
use super::unavailable;
use crate::api::{EngineChanged, Operation, PushEngine};
use crate::driver::host::Domains;
use crate::driver::ownership::Owner;
use crate::driver::registry::{ComponentError, What, get_component};
use crate::store::Journal;

/// The digits of a digest, in hexadecimal.
const DIGEST_DIGITS: usize = 64;

impl<J: Journal> Domains<J> {
    /// Makes a version of a component. What is refused here is for the owner of the domains to judge: an older host knows less than a newer
    /// one, and only the owner can tell whether the bytes are still needed.
    pub(in crate::driver::service) async fn push_engine(self: &Arc<Self>, user: Name, request: PushEngine) -> Result<Bytes, ApiError> {
        check_request_id(request.request_id.as_deref())?;
        let request = PushEngine { digest: digest_of(&request.digest)?, ..request };
        let body = serde_json::to_vec(&request).map_err(unavailable)?;
        let place = self.places.pushes(&request.digest).await?;
        let (this, by) = (Arc::clone(self), user.clone());
        // It goes on when nobody waits for it any more: compiling may take longer than a request, and whoever asks again finds it done.
        let pushed = tokio::spawn(async move {
            let _place = place;
            this.pushed(&by, request).await
        });
        let pushed = pushed.await.map_err(unavailable)?;
        match (pushed, self.shared.ownership.owner()) {
            (Err(ApiError::Invalid { .. } | ApiError::Conflict { .. }), Owner::Other { host, process }) => {
                self.forward(Operation::EnginePush, user.as_str(), body.into(), &host, process).await
            }
            (pushed, _) => bytes(&pushed?),
        }
    }

    async fn pushed(&self, user: &Name, request: PushEngine) -> Result<EngineChanged, ApiError> {
        let PushEngine { digest, bytes, expect, request_id } = request;
        let shared = &self.shared;
        let limit = shared.engines.sandbox().limits().component_bytes;
        let component = match get_component(&shared.engine_store, &digest, limit).await {
            Ok(component) => Bytes::from(component),
            Err(ComponentError::Store(problem)) => return Err(unavailable(format!("the engine store: {problem}"))),
            Err(missing @ ComponentError::Missing { .. }) => {
                return Err(ApiError::invalid("/digest", format!("{missing}: put it there first, as `pilothouse engine push` does")));
            }
            Err(error) => {
                self.discard_unneeded(&digest).await;
                return Err(ApiError::invalid("/digest", error.to_string()));
            }
        };
        let entered = self.entered(user, &digest, bytes, expect.as_deref(), request_id.as_deref(), &component).await;
        if matches!(entered, Err(ApiError::Invalid { .. } | ApiError::Conflict { .. })) {
            self.discard_unneeded(&digest).await;
        }
        entered
    }

    async fn entered(
        &self,
        user: &Name,
        digest: &str,
        bytes: u64,
        expect: Option<&str>,
        request: Option<&str>,
        component: &Bytes,
    ) -> Result<EngineChanged, ApiError> {
        let length = component.len() as u64;
        if bytes != length {
            return Err(ApiError::invalid("/bytes", format!("the component has {length} bytes, not {bytes}")));
        }
        let shared = &self.shared;
        let engine = match shared.engines.get(digest) {
            Some(engine) => engine,
            None => self.tried(digest, component.clone()).await?,
        };
        let description = engine.description();
        let (name, version) = (&description.name, &description.version);
        if let Some(expected) = expect.filter(|expected| **expected != format!("{name}@{version}")) {
            return Err(ApiError::invalid("/expect", format!("expected {expected}, and the component says that it is {name}@{version}")));
        }
        let about = description.documentation.lines().map(title).find(|line| !line.is_empty()).unwrap_or_default().to_owned();
        let what = What::Push { version: version.clone(), digest: digest.to_owned(), bytes: length, about };
        let wish = self.wish(user, name, what);
        let pushed = shared.registry.push(&shared.engine_store, component, name, &wish, request).await;
        shared.engines.fetch_anew(digest);
        if let Ok(changed) = &pushed
            && changed.changed
        {
            tracing::info!(engine = %name, %version, digest, by = %user, "a version was pushed");
        }
        pushed
    }

    /// Loads a component, as every host will. Nothing is kept of it but what the cache has: it is not in the registry yet.
    async fn tried(&self, digest: &str, component: Bytes) -> Result<LoadedEngine, ApiError> {
        match self.shared.engines.load(digest, component).await {
            Ok(loaded) => Ok(loaded.engine().clone()),
            // That tells of the machine.
            Err(error) if error.may_pass() => Err(unavailable(format!("{error}; try again"))),
            Err(error) => Err(ApiError::invalid("/digest", error.to_string())),
        }
    }
}

/// A digest as objects are called.
pub(super) fn digest_of(text: &str) -> Result<String, ApiError> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if digits.len() != DIGEST_DIGITS || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ApiError::invalid("/digest", format!("expected SHA-256 as {DIGEST_DIGITS} hexadecimal digits")));
    }
    Ok(digits.to_ascii_lowercase())
}

/// A line of Markdown without what makes it a heading.
fn title(line: &str) -> &str {
    line.trim_start_matches('#').trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_people_copy_it() {
        let digits = "AB".repeat(32);
        for text in [digits.clone(), digits.to_lowercase(), format!("sha256:{digits}")] {
            assert_eq!(digest_of(&text), Ok(digits.to_lowercase()), "{text}");
        }
        for text in ["", "sha256:", "ab", &"g".repeat(64), &"é".repeat(32)] {
            assert!(matches!(digest_of(text), Err(ApiError::Invalid { problems }) if problems[0].at == "/digest"), "{text}");
        }
    }

    #[test]
    fn a_heading_is_told_without_its_marks() {
        assert_eq!(["# keep", "Keeps some.", "  ## ", ""].map(title), ["keep", "Keeps some.", "##", ""]);
    }
}
