//! `pilothouse up FILE`: everything that some domains need on one machine, in one command.
//!
//! It keeps three children, each a process of its own: a private nats-server with JetStream on disk, a host, and the local provisioner.
//! Any of them can be killed and comes back. It applies the domains of the file, prints what happens, and when it is told to stop it
//! stops what it started in an order in which nothing is lost: the host first, so that nothing is launched any more; then the
//! provisioner, which ends its instances and reports that; the server last.
//!
//! It decides nothing and keeps no state but where things are ([`folder`]). Everything that matters is in the journal, so it can be
//! killed as well: what it leaves behind is recorded, and ended at the next start ([`leftovers`]).

mod backoff;
mod child;
mod domains;
mod engines;
mod file;
mod folder;
mod leftovers;
mod nats_server;
mod saved;
mod span;
mod stability;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use pilothouse_core::domain::Happening;
use pilothouse_core::name::Name;
use pilothouse_core::subject::Subjects;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::child::{Child, Program};
use self::engines::Offers;
use self::file::UpFile;
use self::folder::Folder;
pub(crate) use self::folder::URL_FILE;
use self::saved::Saved;
use self::stability::Stability;
use crate::api::{ApiClient, DomainList, ListDomains, Operation};
use crate::driver::registry;
use crate::hostfile::HostFile;
use crate::nats::client::{NatsArgs, stay_connected};
use crate::output;

/// The user that the domains belong to: that of commands where nobody said anything else.
const USER: &str = "default";

/// The host's name: the same after every start, so that it takes over from itself at once.
const HOST: &str = "local";

/// Between two looks at how the domains stand.
const LOOK: Duration = Duration::from_millis(500);

/// How long the host and nats-server have to stop before they are killed, which harms neither.
const STOP: Duration = Duration::from_secs(10);

/// How long the provisioner has to stop. It waits for its workers, who have five seconds to stop by themselves, and kills those who don't.
const STOP_PROVISIONER: Duration = Duration::from_secs(40);

/// What to keep up, where, and for how long.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse up examples/quickstart/domain.toml
  pilothouse up domains.toml --data /var/lib/pilothouse
  pilothouse up domains.toml --for 20s              as a test: fails unless every domain becomes stable
  pilothouse up domain.toml --watch                 for those who write engines: what is saved decides within a second

The file names domains and what can be started for them:
  [domain.web.engine_conf]
  preserve_n = 3
  force_site = \"local\"
  epuworker_type = \"worker\"

  [deployable.worker]
  commands = [{ name = \"main\", argv = [\"sleep\", \"1000000\"] }]

Domains that are alike can be made from a definition; other commands can make more from it:
  [definition.fleet.engine_conf]
  force_site = \"local\"
  epuworker_type = \"worker\"
  [domain.jobs]
  definition = \"fleet\"
  engine_conf.preserve_n = 2

An engine of your own is named there too; a domain asks for it by `[domain.web.general] engine = \"my-engine\"`:
  [engine.my-engine]
  file = \"my-engine.wasm\"
With --watch it decides as soon as it is saved. Nothing is built here: `pilothouse engine build`, or cargo, writes the file.

Sensors can be pulled from Prometheus servers, which are named there, too:
  [prometheus.main]
  url = \"http://localhost:9090\"
  [domain.web.sensors.queue]
  source = \"main\"
  query = \"sum(queue_length)\"

nats-server 2.11 or newer is taken from PILOTHOUSE_NATS_SERVER or the PATH.
Ctrl-C stops everything that was started, workers too. Started again in the same directory it continues.
While it runs, `--data DIR` (or PILOTHOUSE_DATA) lets other commands find it.")]
pub(crate) struct UpArgs {
    /// The domains, as TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where everything is kept
    #[arg(long, env = "PILOTHOUSE_DATA", value_name = "DIR", default_value = "pilothouse-data")]
    data: PathBuf,
    /// End by itself after so long, such as 20s or 5m; a failure unless every domain was stable meanwhile
    #[arg(long = "for", value_name = "TIME", value_parser = span::parse)]
    span: Option<Duration>,
    /// Follow the components that the file names: one that is saved, by `pilothouse engine build` or whatever else writes it, decides at once
    #[arg(long)]
    watch: bool,
    /// Port of the NATS server on the loopback interface [default: a free one, which is remembered]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

/// Keeps everything up until `shutdown` is cancelled or the time is over.
///
/// # Errors
/// When the file is wrong, something can't be started, or a domain did not become stable in the time that was given.
pub(crate) async fn run(args: UpArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let file = UpFile::read(&args.file)?;
    let nats_program = nats_server::find()?;
    let folder = Folder::open(&args.data)?;
    stop_on_hangup(&shutdown)?;
    leftovers::end(&folder).await?;
    let engines = Offers::of(&file, &folder, args.watch).await?;
    let port = folder.port(args.port)?;
    let host = serde_json::to_string_pretty(&HostFile { prometheus: file.prometheus.clone(), ..HostFile::default() })?;
    folder.prepare(&nats_server::config(port, &folder.nats_store())?, &host, &file.deployables, &nats_server::url(port))?;

    let mut fleet = Fleet::default();
    let outcome = tokio::select! {
        outcome = fleet.keep_up(&file, &engines, &folder, &nats_program, port, args.span) => outcome,
        () = shutdown.cancelled() => Ok(()),
    };
    say("stopping");
    fleet.stop().await;
    say("stopped");
    outcome
}

/// The terminal was closed: the children would be left alone.
fn stop_on_hangup(shutdown: &CancellationToken) -> anyhow::Result<()> {
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).context("catching SIGHUP")?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        hangup.recv().await;
        shutdown.cancel();
    });
    Ok(())
}

/// The children, as far as they were started.
#[derive(Debug, Default)]
struct Fleet {
    nats: Option<Child>,
    host: Option<Child>,
    provisioner: Option<Child>,
}

impl Fleet {
    /// Starts everything and tells what happens. Returns when the time is over.
    async fn keep_up(
        &mut self,
        file: &UpFile,
        engines: &Offers,
        folder: &Folder,
        nats_program: &Path,
        port: u16,
        span: Option<Duration>,
    ) -> anyhow::Result<()> {
        let url = nats_server::url(port);
        let over = async {
            match span {
                Some(span) => tokio::time::sleep(span).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(over);
        let stability = Mutex::new(Stability::of(file.domains.keys()));
        let told = tokio::select! {
            told = self.run(file, engines, folder, nats_program, &url, &stability) => told,
            () = &mut over => Ok(()),
        };
        told?;
        let unsteady = stability.lock().unwrap_or_else(PoisonError::into_inner).never_stable();
        if !unsteady.is_empty() {
            bail!("not stable in time: {}; logs are in {}", unsteady.join(", "), folder.logs().display());
        }
        Ok(())
    }

    async fn run(
        &mut self,
        file: &UpFile,
        engines: &Offers,
        folder: &Folder,
        nats_program: &Path,
        url: &str,
        stability: &Mutex<Stability>,
    ) -> anyhow::Result<()> {
        let nats = self.nats.insert(Child::keep(nats_server::program(nats_program, folder), folder, STOP));
        nats.unless_in_vain(nats_server::ready(url)).await?;

        let (events, _) = mpsc::unbounded_channel();
        let args = NatsArgs { url: url.to_owned(), creds: None };
        let client = stay_connected(&args, "pilothouse up", events).await?;
        let subjects = Subjects::new(&name(Subjects::DEFAULT_PREFIX)?);
        let happenings = client.subscribe(subjects.events_of(USER)).await.context("listening for events")?;
        let api = ApiClient::new(client, subjects, name(USER)?);

        let own = std::env::current_exe().context("finding this program")?;
        let host = self.host.insert(Child::keep(serve(&own, folder, url, engines.arguments(folder)), folder, STOP));
        let provisioner = self.provisioner.insert(Child::keep(provision(&own, folder, url), folder, STOP_PROVISIONER));
        announce(folder, url, &own, file);
        engines.announce(file);

        let directing = async {
            let applied = async {
                domains::define(&api, &file.definitions).await?;
                domains::apply(&api, &file.domains, engines.brought()).await
            };
            host.unless_in_vain(provisioner.unless_in_vain(applied)).await???;
            watch(&api, stability).await
        };
        let following = async {
            match engines.saved(file, folder) {
                Some(saved) => follow(&api, saved).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            told = tell(happenings, stability) => told,
            directed = directing => directed,
            () = following => Ok(()),
        }
    }

    /// Stops the children, one after the other.
    async fn stop(self) {
        for child in [self.host, self.provisioner, self.nats].into_iter().flatten() {
            child.stop().await;
        }
    }
}

/// Prints what happens.
async fn tell(mut happenings: async_nats::Subscriber, stability: &Mutex<Stability>) -> anyhow::Result<()> {
    while let Some(message) = happenings.next().await {
        match serde_json::from_slice::<Happening>(&message.payload) {
            Ok(happening) => {
                say(&output::happening::line(&happening));
                stability.lock().unwrap_or_else(PoisonError::into_inner).take(&happening);
            }
            Err(error) => tracing::warn!(%error, subject = %message.subject, "not an event"),
        }
    }
    bail!("the connection to NATS was closed")
}

/// Looks at how the domains stand, again and again, and tells when all of them have become stable.
async fn watch(api: &ApiClient, stability: &Mutex<Stability>) -> anyhow::Result<()> {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        // No answer is no news: the host is being started again.
        let Ok(list) = api.call::<DomainList>(Operation::DomainList, &ListDomains {}).await else { continue };
        let news = stability.lock().unwrap_or_else(PoisonError::into_inner).look(&list);
        if let Some(news) = news {
            say(&news);
        }
    }
}

/// Looks at the components that the host follows, again and again, and tells what becomes of them. Never ends.
async fn follow(api: &ApiClient, mut saved: Saved) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        // No answer is no news: the host is being started again.
        let Ok(hosts) = registry::ask(api.nats(), api.subjects(), Vec::new()).await else { continue };
        let Some(host) = hosts.into_iter().find(|host| host.host.as_str() == HOST) else { continue };
        let Ok(list) = api.call::<DomainList>(Operation::DomainList, &ListDomains {}).await else { continue };
        saved.look(&host.files, &list).iter().for_each(|line| say(line));
    }
}

fn announce(folder: &Folder, url: &str, own: &Path, file: &UpFile) {
    let here = std::env::current_dir().unwrap_or_default();
    let short = |path: &Path| path.strip_prefix(&here).unwrap_or(path).display().to_string();
    let (program, data) = (short(own), short(folder.root()));
    let domain = file.domains.keys().next().map_or_else(String::new, ToString::to_string);
    say(&format!("NATS    {url}"));
    say(&format!("ask     {program} domain list --data {data}"));
    say(&format!("        {program} why {domain} --data {data}"));
    say(&format!("logs    {}", short(folder.logs())));
    say("stop    Ctrl-C");
}

fn serve(own: &Path, folder: &Folder, url: &str, engines: Vec<OsString>) -> Program {
    let (cache, config) = (folder.cache(), folder.host_config());
    let args = ["serve".as_ref(), "--nats".as_ref(), url.as_ref(), "--prefix".as_ref(), Subjects::DEFAULT_PREFIX.as_ref()];
    let more = ["--name".as_ref(), HOST.as_ref(), "--default-user".as_ref(), USER.as_ref(), "--cache".as_ref(), cache.as_os_str()];
    let config = ["--config".as_ref(), config.as_os_str()];
    let args = args.into_iter().chain(more).chain(config).map(OsString::from).chain(engines).collect();
    Program { name: "host", path: own.to_owned(), args, must_end_well: false }
}

fn provision(own: &Path, folder: &Folder, url: &str) -> Program {
    let (data, deployables) = (folder.provisioner(), folder.deployables());
    let args = ["provisioner".as_ref(), "local".as_ref(), "--nats".as_ref(), url.as_ref()];
    let more = ["--prefix".as_ref(), Subjects::DEFAULT_PREFIX.as_ref(), "--stop-instances-on-exit".as_ref()];
    let paths = ["--data".as_ref(), data.as_os_str(), "--deployables".as_ref(), deployables.as_os_str()];
    let args = args.into_iter().chain(more).chain(paths).map(OsString::from).collect();
    Program { name: "provisioner", path: own.to_owned(), args, must_end_well: true }
}

fn name(text: &str) -> anyhow::Result<Name> {
    Ok(text.parse()?)
}

/// Prints a line. Nobody reading any more is no reason to stop keeping things up.
fn say(line: &str) {
    let _ = output::print(line);
}
