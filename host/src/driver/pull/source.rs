//! The Prometheus servers that this host may ask, by the names that its operator gave them.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pilothouse_core::name::{DomainKey, Name};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use rustls::RootCertStore;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{self, Answer};
use crate::api::PullFigures;
use crate::prometheus::{Credentials, PrometheusSource};

/// Questions that one source is asked at the same time.
const PLACES: usize = 8;

/// Questions that one domain asks one source at the same time, so that it never takes all places from the others.
pub(super) const PLACES_OF_A_DOMAIN: usize = 2;

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 8 << 20;

/// All sources of a host, and what asking them came to.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    by_name: BTreeMap<Name, Arc<Source>>,
    figures: Figures,
    /// What goes wrong right now, by the source and what is told of it, and for how many series.
    troubles: Mutex<BTreeMap<(Name, String), usize>>,
}

/// Something goes wrong with a series for as long as this is held. The log tells what goes wrong with many series of a source only once.
#[derive(Debug)]
pub(super) struct Trouble {
    sources: Arc<Sources>,
    what: (Name, String),
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
    places: Arc<Semaphore>,
    /// Its credentials can't be read, and the log says so.
    complained: AtomicBool,
    /// TLS with it fails, and the log says why.
    distrusted: AtomicBool,
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'q> {
    pub(super) query: &'q str,
    /// How long the answer may take.
    pub(super) patience: Duration,
    /// How long it may wait for a place before that.
    pub(super) queue: Duration,
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
        let wrong = |name: &String, error: &dyn std::fmt::Display| SourcesError::Written { name: name.clone(), message: error.to_string() };
        let urls = configs.iter().map(|(name, config)| config.query_url().map_err(|error| wrong(name, &error)));
        let urls = urls.collect::<Result<Vec<Url>, _>>()?;
        let client = client(urls.iter().any(|url| url.scheme() == "https"))?;
        let mut by_name = BTreeMap::new();
        for ((name, config), url) in configs.iter().zip(urls) {
            let source = Source {
                client: client.clone(),
                url,
                config: config.clone(),
                places: Arc::new(Semaphore::new(PLACES)),
                complained: AtomicBool::new(false),
                distrusted: AtomicBool::new(false),
            };
            by_name.insert(name.parse().map_err(|error| wrong(name, &error))?, Arc::new(source));
        }
        Ok(Self { by_name, ..Self::default() })
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

    /// Something goes wrong with a series from now on. The log says so unless the same goes wrong with another already.
    pub(super) fn trouble(self: &Arc<Self>, source: &Name, message: &str, domain: &DomainKey, metric: &str) -> Trouble {
        let what = (source.clone(), message.to_owned());
        let mut troubles = self.troubles();
        let series = troubles.entry(what.clone()).or_default();
        *series += 1;
        if *series == 1 {
            tracing::warn!(%source, error = message, first_domain = %domain, first_metric = metric, "no readings from Prometheus");
        }
        Trouble { sources: Arc::clone(self), what }
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<(Name, String), usize>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What asking came to.
    pub(crate) fn figures(&self) -> PullFigures {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Figures { questions, failures, readings } = &self.figures;
        PullFigures { questions: of(questions), failures: of(failures), readings: of(readings) }
    }
}

impl Trouble {
    /// Whether it is the one that this message tells of.
    pub(super) fn is(&self, message: &str) -> bool {
        self.what.1 == message
    }

    /// All is well again with this series. The log says so with the last one.
    pub(super) fn over(self) {
        if self.sources.troubles().get(&self.what) == Some(&1) {
            let (source, error) = &self.what;
            tracing::info!(%source, error, "Prometheus gives readings again: this is over");
        }
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        let mut troubles = self.sources.troubles();
        if let Some(series) = troubles.get_mut(&self.what) {
            *series -= 1;
            if *series == 0 {
                troubles.remove(&self.what);
            }
        }
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
    /// Asks for the newest values, and has `make` make something of them. It takes no longer than the question's patience once there is a
    /// place, one of `own` first. What `make` needs beside the answer is `needed` once the server answers: so nothing large is held while it
    /// is awaited, and the place is given back only when the answer is no more.
    ///
    /// # Errors
    /// Why there are none, in words that tell neither an address nor a secret.
    pub(super) async fn ask<N: Send + 'static, T: Send + 'static>(
        self: &Arc<Self>,
        question: Question<'_>,
        own: &Arc<Semaphore>,
        needed: impl Future<Output = Result<N, String>>,
        make: impl FnOnce(Answer, N) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let Question { query, patience, queue } = question;
        let places =
            timeout(queue, async { (Arc::clone(own).acquire_owned().await, Arc::clone(&self.places).acquire_owned().await) }).await;
        let places = places.map_err(|_| {
            format!(
                "no place within {queue:?}: this host asks the source {PLACES} questions at a time, and {PLACES_OF_A_DOMAIN} for one domain"
            )
        })?;
        let (deadline, late) = (Instant::now() + patience, |_| format!("no answer within {patience:?}"));
        let response = timeout_at(deadline, self.fetch(query, patience)).await.map_err(late)??;
        let status = response.status();
        let needed = timeout_at(deadline, needed).await.map_err(|_| "the domain was busy for too long".to_owned())??;
        let body = timeout_at(deadline, self.body(response)).await.map_err(late)??;
        // Reading megabytes takes a while: not on the threads that decide. It goes on when nobody waits any more, and so do the places.
        let made = tokio::task::spawn_blocking(move || {
            let _places = places;
            let read = answer::read(&body);
            drop(body);
            match read {
                Ok(answer) => make(answer, needed),
                // An answer in its words tells more than a status.
                Err(answer::Refused::Strange(_)) if !status.is_success() => Err(format!("the server answers {status}")),
                Err(refused) => Err(refused.to_string()),
            }
        });
        made.await.map_err(|_| "the answer could not be read".to_owned())?
    }

    async fn fetch(self: &Arc<Self>, query: &str, patience: Duration) -> Result<Response, String> {
        // So that the server gives up when nobody waits any more.
        let form = [("query", query), ("timeout", &format!("{}ms", patience.as_millis()))];
        let request = self.client.post(self.url.clone()).form(&form);
        let request = match self.credentials().await? {
            Credentials::None => request,
            Credentials::Token(token) => request.bearer_auth(token),
            Credentials::Basic(user, password) => request.basic_auth(user, Some(password)),
        };
        let response = request.send().await.map_err(|error| self.in_words(&error))?;
        self.distrusted.store(false, Ordering::Relaxed);
        let status = response.status();
        if status.is_redirection() {
            return Err(format!(
                "the server answers {status}, and redirects are not followed; the host's configuration must name the final address"
            ));
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(format!("the server refuses the host's credentials: {status}"));
        }
        Ok(response)
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
    /// The body, if it is not too large.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.in_words(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(format!("the answer is larger than {} MiB; a query should give fewer series", MAX_ANSWER >> 20));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What went wrong, without the address: the innermost cause tells most. Of TLS it would tell the server's name, so that goes to the log,
    /// once until it works.
    fn in_words(&self, error: &reqwest::Error) -> String {
        let what = if error.is_connect() { "the server can't be reached" } else { "the answer broke off" };
        let mut cause: &(dyn std::error::Error + 'static) = error;
        let tls = loop {
            if let Some(tls) = of_tls(cause) {
                break tls;
            }
            match cause.source() {
                Some(inner) => cause = inner,
                None if error.source().is_some() => return format!("{what}: {cause}"),
                None => return what.to_owned(),
            }
        };
        if !self.distrusted.swap(true, Ordering::Relaxed) {
            tracing::warn!(host = self.url.host_str(), error = %tls, "TLS with a Prometheus server fails");
        }
        match tls {
            rustls::Error::InvalidCertificate(_) => format!("{what}: its certificate can't be trusted"),
            _ => format!("{what}: no secure connection comes about"),
        }
    }
}

/// The error of TLS, if it is one. One that comes out of a stream is wrapped, and more than once, so that no `source` tells of it.
fn of_tls<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    error.downcast_ref().or_else(|| of_tls(error.downcast_ref::<io::Error>()?.get_ref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(url: &str) -> Arc<Sources> {
        let source = serde_json::from_value(serde_json::json!({ "url": url })).expect("good");
        Arc::new(Sources::new(&[("main".to_owned(), source)].into()).expect("sources"))
    }

    #[test]
    fn what_goes_wrong_with_many_series_is_one_trouble_until_all_are_well() {
        let (sources, main) = (sources("http://localhost"), "main".parse().expect("a name"));
        let domain = DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") };
        let trouble = |message| sources.trouble(&main, message, &domain, "queue");
        let (a, b, c) = (trouble("down"), trouble("down"), trouble("wrong"));
        let counted = || sources.troubles().iter().map(|((_, message), series)| (message.clone(), *series)).collect::<Vec<_>>();
        assert_eq!(counted(), [("down".to_owned(), 2), ("wrong".to_owned(), 1)]);
        a.over();
        drop(c);
        assert_eq!(counted(), [("down".to_owned(), 1)]);
        drop(b);
        assert_eq!(counted(), []);
    }

    #[tokio::test]
    async fn no_domain_takes_all_places_of_a_source() {
        // A server that takes connections and says nothing.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let sources = sources(&format!("http://{}", listener.local_addr().expect("an address")));
        let source = sources.get(&"main".parse().expect("a name")).expect("there");
        let ask = |own: &Arc<Semaphore>| {
            let (source, own) = (Arc::clone(&source), Arc::clone(own));
            let question = Question { query: "q", patience: Duration::from_secs(60), queue: Duration::from_millis(1) };
            async move { source.ask(question, &own, async { Ok(()) }, |_, ()| Ok(())).await }
        };
        let own = || Arc::new(Semaphore::new(PLACES_OF_A_DOMAIN));
        let (one, other) = (own(), own());
        let mut asking = Vec::new();
        for own in [&one, &one, &other] {
            let task = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(ask(own)));
            // It has its place once it has connected.
            asking.push((task, listener.accept().await.expect("it connects")));
        }
        assert_eq!(source.places.available_permits(), PLACES - 3);
        assert!(ask(&one).await.expect_err("no place").starts_with("no place within 1ms"));
        assert_eq!((one.available_permits(), other.available_permits()), (0, 1));
    }
}
