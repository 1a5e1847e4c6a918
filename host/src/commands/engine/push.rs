//! `pilothouse engine push`: a component becomes a version that all hosts have.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_nats::jetstream::object_store::ObjectStore;
use pilothouse_core::command::ApiError;
use serde::Serialize;

use super::component::{read, said_by_name, store, upload};
use super::show::state_words;
use crate::api::{CallError, EngineChanged, EngineDescription, EngineOnHost, EngineState, EngineVersionRef, Operation, PushEngine};
use crate::commands::caller::{Caller, CallerArgs, request_id};
use crate::failure::Failure;
use crate::output::{clean, count, table};

/// How often a host that is compiling is asked for its answer again: each question waits itself for most of that.
const ATTEMPTS: u32 = 8;

/// Before hosts are asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Who waits longer is told why.
const SILENCE: Duration = Duration::from_secs(3);

/// Enters a component into the registry, and waits until all hosts are ready for it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine push my-engine.wasm
  pilothouse engine push target/my-engine.wasm --expect my-engine@1.3.0
  pilothouse engine build my-engine && pilothouse engine push my-engine/my-engine.wasm

The component says its name and version itself. A version never changes: the same bytes may be pushed again, others need another version.
Domains whose configuration follows the engine take a newer version up between two decisions, at once. A component that no host could run
is refused with the reason, and nothing is kept of it. A file called NAME@VERSION.wasm must be that version.

Exit code 0 when all hosts that answer are ready, 7 when one of them can't run it, 5 when one is not ready in time.")]
pub(super) struct PushArgs {
    /// The component; `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    how: PushHow,
    #[command(flatten)]
    pub(super) client: CallerArgs,
}

/// How something is pushed, wherever it is from.
#[derive(Debug, clap::Args)]
pub(super) struct PushHow {
    /// What the component must call itself; refused otherwise
    #[arg(long, value_name = "NAME@VERSION")]
    pub(super) expect: Option<String>,
    /// How many seconds to wait for hosts to be ready; 0 not to
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) wait: u64,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Pushed {
    /// What the registry says now.
    #[serde(flatten)]
    changed: EngineChanged,
    /// How the version is on the hosts that answer.
    hosts: Vec<EngineOnHost>,
}

/// Pushes it and shows what came of it.
pub(super) async fn run(args: PushArgs) -> anyhow::Result<()> {
    let PushArgs { file, mut how, client } = args;
    let component = read(&file)?;
    how.expect = how.expect.or_else(|| said_by_name(&file));
    let caller = client.connect().await?;
    push(&caller, &client, &file.display().to_string(), &component, &how).await
}

/// Pushes a component that is called `what`.
pub(super) async fn push(caller: &Caller, client: &CallerArgs, what: &str, component: &[u8], how: &PushHow) -> anyhow::Result<()> {
    let changed = enter(caller, &store(caller).await?, what, component, how.expect.clone()).await?;
    let hosts = ready_on(caller, &changed, Duration::from_secs(how.wait)).await?;
    let pushed = Pushed { changed, hosts };
    client.output.print(&pushed, told)?;
    verdict(&pushed, how.wait)
}

/// Has a component in the store, and a host enter it.
async fn enter(
    caller: &Caller,
    store: &ObjectStore,
    what: &str,
    component: &[u8],
    expect: Option<String>,
) -> anyhow::Result<EngineChanged> {
    let begun = Instant::now();
    let digest = upload(store, component).await?;
    // One id for all attempts.
    let request = PushEngine { digest, bytes: component.len() as u64, expect, request_id: request_id() };
    let mut attempts = 1;
    loop {
        match caller.try_call(Operation::EnginePush, &request).await {
            // A large one is compiled for longer than a request is waited for.
            Err(CallError::TimedOut { .. }) if attempts < ATTEMPTS => {
                eprintln!("pilothouse: {what} has been compiling for {} s", begun.elapsed().as_secs());
                attempts += 1;
            }
            Err(CallError::Api(ApiError::Invalid { problems })) => {
                let told: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
                return Err(Failure::Invalid(format!("{what} is refused: {}", told.join("; "))).into());
            }
            answered => return Ok(answered?),
        }
    }
}

/// Waits until every host that answers is ready, or says that it can't be.
async fn ready_on(caller: &Caller, changed: &EngineChanged, wait: Duration) -> anyhow::Result<Vec<EngineOnHost>> {
    let begun = Instant::now();
    let request = EngineVersionRef { name: changed.name.to_string(), version: changed.version.clone() };
    let mut said = false;
    loop {
        let shown: EngineDescription = caller.call(Operation::EngineShow, &request).await?;
        let version = shown.versions.into_iter().find(|version| Some(&version.digest) == changed.digest.as_ref());
        let hosts = version.map(|version| version.ready).unwrap_or_default();
        if hosts.iter().all(|host| is_settled(&host.state)) && !hosts.is_empty() || begun.elapsed() >= wait {
            return Ok(hosts);
        }
        if begun.elapsed() >= SILENCE && !std::mem::replace(&mut said, true) {
            let waiting: Vec<&str> = hosts.iter().filter(|host| !is_settled(&host.state)).map(|host| host.host.as_str()).collect();
            eprintln!("pilothouse: waiting for {}", if waiting.is_empty() { "a host".to_owned() } else { waiting.join(", ") });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether nothing more is to come.
const fn is_settled(state: &EngineState) -> bool {
    matches!(state, EngineState::Ready { .. } | EngineState::Refused { .. } | EngineState::OnDemand)
}

fn told(pushed: &Pushed) -> String {
    let Pushed { changed: EngineChanged { name, version, digest, changed, pinned, .. }, hosts } = pushed;
    let version = clean(version.as_deref().unwrap_or_default());
    let digest: String = digest.iter().flat_map(|digest| digest.chars().take(12)).collect();
    let what = if *changed { "pushed" } else { "was there already" };
    let mut text = format!("engine {name}@{version} ({digest}) {what}\n");
    if let Some(pinned) = pinned.as_ref().filter(|pinned| **pinned != version) {
        text += &format!("{name} is pinned to {}: domains keep to that until `pilothouse engine unpin {name}`\n", clean(pinned));
    }
    if !hosts.is_empty() {
        let rows: Vec<_> = hosts.iter().map(|host| [host.host.to_string(), state_words(&host.state)]).collect();
        text += &table(["HOST", "STATE"], &rows);
    }
    text
}

fn verdict(pushed: &Pushed, wait: u64) -> anyhow::Result<()> {
    let of = |is: fn(&EngineState) -> bool| pushed.hosts.iter().filter(|host| is(&host.state)).count();
    let refused = of(|state| matches!(state, EngineState::Refused { .. }));
    if refused > 0 {
        return Err(Failure::Checks(format!("{} can't run it", count(refused, "host"))).into());
    }
    let late = of(|state| !is_settled(state));
    if wait > 0 && (late > 0 || pushed.hosts.is_empty()) {
        let who = if late > 0 { count(late, "host") } else { "no host".to_owned() };
        let is = if late > 0 { "not ready" } else { "has answered" };
        return Err(Failure::Unavailable(format!("{who} {is} within {wait} s; it goes on by itself")).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(hosts: &[(&str, EngineState)]) -> Pushed {
        let changed = EngineChanged {
            name: "keep".parse().expect("a name"),
            version: Some("1.2.0".to_owned()),
            digest: Some("0123456789abcdef".to_owned()),
            pinned: None,
            limits: Default::default(),
            domains: None,
            changed: true,
        };
        let hosts = hosts.iter().map(|(host, state)| EngineOnHost { host: host.parse().expect("a name"), state: state.clone() });
        Pushed { changed, hosts: hosts.collect() }
    }

    const READY: EngineState = EngineState::Ready { compile_ms: 130, from_cache: false };

    #[test]
    fn what_was_pushed_is_told_with_every_host() {
        let refused = EngineState::Refused { reason: "it imports `wasi:http`".to_owned() };
        let mut both = pushed(&[("ship-1", READY), ("ship-22", refused)]);
        assert_eq!(
            told(&both),
            "engine keep@1.2.0 (0123456789ab) pushed\n\
             HOST     STATE\n\
             ship-1   ready in 130 ms\n\
             ship-22  REFUSED: it imports `wasi:http`\n"
        );
        both.hosts.clear();
        both.changed.changed = false;
        both.changed.pinned = Some("1.0.0".to_owned());
        assert_eq!(
            told(&both),
            "engine keep@1.2.0 (0123456789ab) was there already\n\
             keep is pinned to 1.0.0: domains keep to that until `pilothouse engine unpin keep`\n"
        );
    }

    #[test]
    fn one_host_that_is_not_ready_is_a_failure() {
        let refused = EngineState::Refused { reason: "no".to_owned() };
        let fails = |hosts: &[(&str, EngineState)], wait| verdict(&pushed(hosts), wait).err().map(|error| error.to_string());
        assert_eq!(fails(&[("a", READY), ("b", EngineState::OnDemand)], 30), None);
        assert_eq!(fails(&[("a", READY), ("b", refused)], 30).as_deref(), Some("1 host can't run it"));
        assert_eq!(fails(&[("a", EngineState::Compiling)], 30).as_deref(), Some("1 host not ready within 30 s; it goes on by itself"));
        assert_eq!(fails(&[], 5).as_deref(), Some("no host has answered within 5 s; it goes on by itself"));
        assert_eq!(fails(&[("a", EngineState::Compiling)], 0), None, "nobody waits for it");
    }
}
