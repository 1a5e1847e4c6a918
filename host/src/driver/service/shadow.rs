//! `domain.shadow`: another engine beside that of a domain, which must be able to work with the domain's configuration.

use bytes::Bytes;
use pilothouse_core::command::{ApiError, What};
use pilothouse_core::engine::Shadow;
use pilothouse_core::name::Name;
use pilothouse_core::time::Millis;

use super::bytes;
use crate::api::{OnDomain, ShadowDomain};
use crate::driver::engines;
use crate::driver::host::Domains;
use crate::driver::router::Configuration;
use crate::store::Journal;

/// The shortest time after which a shadow may come into force: it is to have been compared.
const SHORTEST: f64 = 1.0;

/// The longest.
const LONGEST: f64 = 366.0 * 86_400.0;

impl<J: Journal> Domains<J> {
    pub(super) async fn shadow_domain(&self, user: Name, request: ShadowDomain) -> Result<Bytes, ApiError> {
        let ShadowDomain { domain, engine, promote_after, request_id } = request;
        let promote_after = promote_after.map(promote_after_of).transpose()?;
        let _chooses = self.places.chooses().await?;
        let shadow = match engine {
            None if promote_after.is_some() => return Err(ApiError::invalid("/engine", "expected with promote_after")),
            None => None,
            Some(reference) => match self.shadow_for(&user, &domain, reference, promote_after).await {
                Ok(shadow) => Some(shadow),
                // A repetition is not judged again: the engine may have gone since.
                Err(error) => match self.answered_already(&user, &domain, request_id.as_deref()).await {
                    Some(answer) => return bytes(&answer),
                    None => return Err(error),
                },
            },
        };
        self.on_domain(user, OnDomain { domain, request_id }, What::Shadow(shadow)).await
    }

    /// What is to run beside, judged by itself.
    async fn shadow_for(&self, by: &Name, domain: &str, reference: String, promote_after: Option<Millis>) -> Result<Shadow, ApiError> {
        let handle = self.find(by, domain)?;
        let Configuration { config, .. } = super::domains::configuration(&handle).await?;
        let engine = self.engine_for("/engine", &reference, None).await?;
        let problems = self.judged_by(&engine, &config).await?;
        if !problems.is_empty() {
            return Err(ApiError::Invalid { problems });
        }
        let since = self.shared.clock.now();
        Ok(Shadow { engine: engines::in_force(&engine), reference, by: by.clone(), since, promote_after, tally: Default::default() })
    }
}

fn promote_after_of(seconds: f64) -> Result<Millis, ApiError> {
    // Written so that what is no number fails it.
    if !(SHORTEST..=LONGEST).contains(&seconds) {
        return Err(ApiError::invalid("/promote_after", format!("expected {SHORTEST} to {LONGEST} seconds, got {seconds}")));
    }
    Ok(Millis::new((seconds * 1000.0).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_is_not_promoted_before_it_was_compared() {
        assert_eq!(promote_after_of(1.5), Ok(Millis::new(1500)));
        assert_eq!(promote_after_of(1.0), Ok(Millis::from_secs(1)));
        for bad in [0.999, 0.0, -3.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(matches!(promote_after_of(bad), Err(ApiError::Invalid { problems }) if problems[0].at == "/promote_after"), "{bad}");
        }
    }
}
