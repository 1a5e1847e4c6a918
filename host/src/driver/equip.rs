//! What a launch is given that the journal does not have: the secrets that its variables refer to, and credentials for each of its agents.
//!
//! It is put into a request at the moment when it is sent, and again into every repetition. So none of it is kept anywhere on this side.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pilothouse_core::config::{ConfigProblem, DomainConfig};
use pilothouse_core::message::Provision;
use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::time::Timestamp;

use crate::auth::signer::{AgentSigner, SignerError};
use crate::auth::token::SignError;
use crate::secrets::{self, SecretError, Secrets};

/// That a launch can't be sent is said at most so often for each domain: it is tried every few seconds.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// Equips the launches of all domains of a host.
#[derive(Debug)]
pub(crate) struct Equipment {
    signer: Option<AgentSigner>,
    secrets: Secrets,
    reported: Mutex<BTreeMap<DomainKey, Instant>>,
}

/// A launch can't be equipped.
#[derive(Debug, thiserror::Error)]
enum Lacking {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("credentials for its agents")]
    Credentials(#[from] SignError),
}

impl Equipment {
    /// Reads the signer's file. Secrets are read when they are needed.
    ///
    /// # Errors
    /// When the signer can't be used.
    pub(crate) fn new(signer: Option<PathBuf>, secrets: Option<PathBuf>) -> Result<Arc<Self>, SignerError> {
        let signer = signer.map(|path| AgentSigner::read(&path)).transpose()?;
        Ok(Arc::new(Self { signer, secrets: Secrets::new(secrets), reported: Mutex::default() }))
    }

    /// The references of a configuration that lead nowhere on this host, each at its key. Those that were in force already are not judged.
    pub(crate) async fn problems(
        self: &Arc<Self>,
        owner: &Name,
        config: &DomainConfig,
        in_force: Option<&DomainConfig>,
    ) -> Vec<ConfigProblem> {
        if !secrets::any(config.general.provisioner_vars.iter().map(|(_, value)| value)) {
            return Vec::new();
        }
        let (this, owner, config, in_force) = (Arc::clone(self), owner.clone(), config.clone(), in_force.cloned());
        // Fails only when the runtime goes down, and nobody is answered then.
        tokio::task::spawn_blocking(move || this.secrets.problems(&owner, &config, in_force.as_ref())).await.unwrap_or_default()
    }

    /// Completes a request that is about to be sent. Nothing when it can't be: it is not sent then, and tried again like all promised work.
    pub(crate) async fn equip(self: &Arc<Self>, request: Provision, now: Timestamp) -> Option<Provision> {
        if self.signer.is_none() && !secrets::any(request.vars.values()) {
            return Some(request);
        }
        let (this, domain) = (Arc::clone(self), request.domain.clone());
        // Files are read and keys are made: not for the threads of the runtime.
        let equipped = tokio::task::spawn_blocking(move || this.complete(request, now)).await;
        match equipped {
            Ok(Ok(request)) => Some(request),
            Ok(Err(lacking)) => {
                self.report(domain, lacking);
                None
            }
            // The runtime goes down.
            Err(_) => None,
        }
    }

    fn complete(&self, mut request: Provision, now: Timestamp) -> Result<Provision, Lacking> {
        self.secrets.fill_in(&request.domain.owner, &mut request.vars)?;
        if let Some(signer) = &self.signer {
            signer.equip(&mut request.instances, now)?;
        }
        Ok(request)
    }

    fn report(&self, domain: DomainKey, lacking: Lacking) {
        let path = match &lacking {
            Lacking::Secret(error) => error.path().map(|path| path.display().to_string()),
            Lacking::Credentials(_) => None,
        };
        let error = anyhow::Error::new(lacking);
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.retain(|_, last| last.elapsed() < REPORT_EVERY);
        if let Entry::Vacant(unreported) = reported.entry(domain) {
            tracing::error!(domain = %unreported.key(), path, "launch not sent: {error:#}; tried again until it can be");
            unreported.insert(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(vars: serde_json::Value) -> Provision {
        let instance = |n: u32| {
            json!({"node_id": format!("i{n}"), "ordinal": n, "sequence": 1, "state_subject": "s", "heartbeat_subject": "h",
                "sensor_subject": "r", "probe_subject": "p"})
        };
        let request = json!({"domain": {"owner": "ann", "name": "web"}, "launch_id": "l1", "deployable_type": "worker", "site": "local",
            "allocation": "", "vars": vars, "epoch": 1, "not_after": 1, "instances": (0..100).map(instance).collect::<Vec<_>>()});
        Provision::parse(request.to_string().as_bytes()).expect("a request")
    }

    fn signer_file(dir: &std::path::Path) -> PathBuf {
        let (account, key) = (nkeys::KeyPair::new_account(), nkeys::KeyPair::new_account());
        let path = dir.join("agents.signer");
        let json = json!({"account": account.public_key(), "seed": key.seed().expect("a seed")});
        std::fs::write(&path, json.to_string()).expect("written");
        path
    }

    #[tokio::test]
    async fn every_agent_gets_credentials_of_its_own_and_the_request_still_fits_a_message() {
        let dir = tempfile::tempdir().expect("a directory");
        let equipment = Equipment::new(Some(signer_file(dir.path())), None).expect("a signer");
        let begun = Instant::now();
        let request = equipment.equip(request(json!({})), Timestamp::from_secs(1)).await.expect("complete");
        println!("a hundred in {:?}, {} bytes", begun.elapsed(), request.to_json().len());
        let mut names: Vec<_> = request
            .instances
            .iter()
            .map(|instance| {
                let text = instance.credentials.as_ref().expect("credentials").reveal();
                let name = crate::auth::credentials::name_in(text).expect("a name");
                assert_eq!(name, instance.node_id.as_str());
                text.to_owned()
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 100, "no two share a key");
        assert!(Provision::parse(&request.to_json()).is_ok());
    }

    #[tokio::test]
    async fn a_launch_whose_secret_is_missing_is_not_sent_until_it_is_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let equipment = Equipment::new(None, Some(dir.path().to_owned())).expect("no signer");
        let vars = json!({"TOKEN": "secret:token", "PLAIN": "x"});
        assert_eq!(equipment.equip(request(vars.clone()), Timestamp::from_secs(1)).await, None);
        std::fs::create_dir(dir.path().join("ann")).expect("made");
        std::fs::write(dir.path().join("ann/token"), "hunter2").expect("written");
        let sent = equipment.equip(request(vars), Timestamp::from_secs(1)).await.expect("complete");
        assert_eq!(sent.vars, [("PLAIN".to_owned(), "x".to_owned()), ("TOKEN".to_owned(), "hunter2".to_owned())].into());
    }

    #[test]
    fn a_signer_that_is_none_is_refused_and_not_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("agents.signer");
        std::fs::write(&path, r#"{"account": "AC", "seed": "SAAX"}"#).expect("written");
        let refused = Equipment::new(Some(path), None).expect_err("no signer");
        assert!(matches!(refused, SignerError::Shape { .. }) && !refused.to_string().contains("SAAX"), "{refused}");
    }
}
