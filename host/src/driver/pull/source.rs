//! The Prometheus servers that this host may ask, by the names that its operator gave them.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pilothouse_core::name::Name;
use reqwest::{Client, Response, StatusCode, Url, redirect};
use rustls::RootCertStore;
use tokio::sync::Semaphore;

use super::answer::{self, Series};
use crate::api::PullFigures;
use crate::prometheus::{Credentials, PrometheusSource};

/// Questions that one source is asked at the same time.
const PLACES: usize = 8;

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 8 << 20;

/// All sources of a host, and what asking them came to.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    by_name: BTreeMap<Name, Arc<Source>>,
    figures: Figures,
}

/// Since the process was started.
#[derive(Debug, Default)]
struct Figures {
    questions: AtomicU64,
    failures: AtomicU64,
    readings: AtomicU64,
}

/// One server.
#[derive(Debug)]
pub(super) struct Source {
    client: Client,
    url: Url,
    config: PrometheusSource,
    /// So that many domains don't ask a server more than it can bear.
    places: Semaphore,
    /// Its credentials can't be read, and the log says so.
    complained: AtomicBool,
}

/// Sources can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// What is written is wrong.
    #[error("[prometheus.{name}]: {message}")]
    Written {
        /// The source.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// There is no HTTP client.
    #[error("a client for Prometheus: {0}")]
    Client(String),
}

impl Sources {
    /// The sources of a configuration that was judged.
    ///
    /// # Errors
    /// When there are sources and TLS can't be set up, or one is written wrong after all.
    pub(crate) fn new(configs: &BTreeMap<String, PrometheusSource>) -> Result<Self, SourcesError> {
        if configs.is_empty() {
            return Ok(Self::default());
        }
        let client = client(configs.values().any(|source| source.url.starts_with("https")))?;
        let mut by_name = BTreeMap::new();
        for (name, config) in configs {
            let wrong = |message: &dyn std::fmt::Display| SourcesError::Written { name: name.clone(), message: message.to_string() };
            let url = config.query_url().map_err(|error| wrong(&error))?;
            let source = Source {
                client: client.clone(),
                url,
                config: config.clone(),
                places: Semaphore::new(PLACES),
                complained: AtomicBool::new(false),
            };
            by_name.insert(name.parse().map_err(|error| wrong(&error))?, Arc::new(source));
        }
        Ok(Self { by_name, figures: Figures::default() })
    }

    /// The source of a name.
    pub(super) fn get(&self, name: &Name) -> Option<Arc<Source>> {
        self.by_name.get(name).cloned()
    }

    /// A question was asked; it gave so many readings, or none because it failed.
    pub(super) fn count(&self, readings: Option<usize>) {
        self.figures.questions.fetch_add(1, Ordering::Relaxed);
        match readings {
            Some(readings) => self.figures.readings.fetch_add(readings as u64, Ordering::Relaxed),
            None => self.figures.failures.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// What asking came to.
    pub(crate) fn figures(&self) -> PullFigures {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Figures { questions, failures, readings } = &self.figures;
        PullFigures { questions: of(questions), failures: of(failures), readings: of(readings) }
    }
}

/// A client that goes where it is sent and nowhere else: no redirects, no proxies out of the environment.
fn client(needs_certificates: bool) -> Result<Client, SourcesError> {
    let failed = |error: &dyn std::fmt::Display| SourcesError::Client(error.to_string());
    let mut roots = RootCertStore::empty();
    if needs_certificates {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(failed(&"this machine trusts no certificates; install them (on Debian: ca-certificates), or set SSL_CERT_FILE"));
        }
    }
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder().tls_backend_preconfigured(tls).redirect(redirect::Policy::none()).no_proxy().referer(false);
    let client = client.user_agent(concat!("pilothouse/", env!("CARGO_PKG_VERSION")));
    client.build().map_err(|error| failed(&error))
}

impl Source {
    /// Asks for the newest values, which takes no longer than `patience` once there is a place, and to get one no longer than `queue`.
    ///
    /// # Errors
    /// Why there are none, in words that tell neither an address nor a secret.
    pub(super) async fn ask(self: &Arc<Self>, query: &str, patience: Duration, queue: Duration) -> Result<Vec<Series>, String> {
        let place = tokio::time::timeout(queue, self.places.acquire()).await;
        let _place = place.map_err(|_| format!("no place within {queue:?}: this host asks the source {PLACES} questions at a time"))?;
        let body = tokio::time::timeout(patience, self.fetch(query, patience)).await;
        let (status, body) = body.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")))?;
        // Reading megabytes takes a while: not on the threads that decide.
        let read = tokio::task::spawn_blocking(move || answer::read(&body)).await.map_err(|_| "the answer could not be read".to_owned())?;
        match read {
            // An answer in its words tells more than a status.
            Err(answer::Refused::Strange(_)) if !status.is_success() => Err(format!("the server answers {status}")),
            read => read.map_err(|refused| refused.to_string()),
        }
    }

    async fn fetch(self: &Arc<Self>, query: &str, patience: Duration) -> Result<(StatusCode, Vec<u8>), String> {
        // So that the server gives up when nobody waits any more.
        let form = [("query", query), ("timeout", &format!("{}ms", patience.as_millis()))];
        let request = self.client.post(self.url.clone()).form(&form);
        let request = match self.credentials().await? {
            Credentials::None => request,
            Credentials::Token(token) => request.bearer_auth(token),
            Credentials::Basic(user, password) => request.basic_auth(user, Some(password)),
        };
        let response = request.send().await.map_err(|error| in_words(&error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(format!(
                "the server answers {status}, and redirects are not followed; the host's configuration must name the final address"
            ));
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(format!("the server refuses the host's credentials: {status}"));
        }
        Ok((status, bounded(response).await?))
    }

    /// What is shown to the server. Why it can't be read is for the operator: the log says it, once until it can.
    async fn credentials(self: &Arc<Self>) -> Result<Credentials, String> {
        let this = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || this.config.credentials()).await.unwrap_or_else(|error| Err(error.to_string()));
        match read {
            Ok(credentials) => {
                self.complained.store(false, Ordering::Relaxed);
                Ok(credentials)
            }
            Err(error) => {
                if !self.complained.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error, "credentials for Prometheus can't be read");
                }
                Err("the host can't read its credentials for this source".to_owned())
            }
        }
    }
}

/// The body, if it is not too large.
async fn bounded(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| in_words(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(format!("the answer is larger than {} MiB; a query should give fewer series", MAX_ANSWER >> 20));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What went wrong, without the address: the innermost cause tells most.
fn in_words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let what = if error.is_connect() { "the server can't be reached" } else { "the answer broke off" };
    match error.source() {
        Some(_) => format!("{what}: {cause}"),
        None => what.to_owned(),
    }
}
