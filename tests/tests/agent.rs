//! The agent on real parts: a real nats-server that comes and goes, real processes that fail.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::{Client, Subscriber};
use futures::{FutureExt, StreamExt};
use nix::sys::signal::Signal;
use pilothouse_core::instance::Health;
use pilothouse_core::message::{Heartbeat, Reading, Verdict};
use pilothouse_core::problem::{FailedProcess, Problem};
use pilothouse_core::time::Timestamp;
use pilothouse_tests::nats::NatsServer;
use pilothouse_tests::processes::{Ledger, Living, Program};
use pilothouse_tests::tape;
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

/// The program that has `agent` as its first argument.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// Far more than anything here takes, for crowded machines.
const SOON: Duration = Duration::from_secs(20);

/// Longer than a test: what is heard within it was not said because an interval was over.
const NEVER_SECONDS: f64 = 3000.0;

/// One agent and what it needs.
struct Bench {
    ledger: Ledger,
    dir: TempDir,
    id: String,
}

impl Bench {
    fn new() -> Result<Self> {
        let ledger = Ledger::new()?;
        let id = ledger.id("agent");
        Ok(Self { ledger, dir: TempDir::new()?, id })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn spec(&self, heartbeat_seconds: f64, commands: &[(&str, Vec<String>)]) -> Value {
        let commands: Vec<_> = commands.iter().map(|(name, argv)| json!({"name": name, "argv": argv})).collect();
        json!({
            "node_id": self.id, "heartbeat_subject": "t.heartbeat", "sensor_subject": "t.sensor", "probe_subject": "t.probe",
            "heartbeat_seconds": heartbeat_seconds, "grace_seconds": 0.3, "commands": commands,
        })
    }

    fn start(&self, url: &str, spec: &Value) -> Result<Program> {
        fs::write(self.path("spec.json"), spec.to_string())?;
        let mut command = self.ledger.command(PROGRAM);
        command.arg("agent").arg(self.path("spec.json")).arg("--directory").arg(self.dir.path()).args(["--nats", url]);
        // As whoever starts an agent marks it.
        command.env("PILOTHOUSE_INSTANCE", &self.id).env("PILOTHOUSE_AGENT", &self.id);
        Program::start(command, &self.path("agent.log"))
    }

    fn forever(&self) -> Vec<String> {
        self.ledger.worker("exec sleep 100000")
    }

    async fn workers(&self, count: usize) -> Result<Vec<Living>> {
        eventually(&format!("{count} workers run"), SOON, async || self.ledger.workers_of(&self.id).len() == count).await?;
        Ok(self.ledger.workers_of(&self.id))
    }

    /// The next heartbeat, judged as a host does.
    async fn heard(&self, heartbeats: &mut Subscriber) -> Result<Verdict> {
        let message = timeout(SOON, heartbeats.next()).await.context("no heartbeat")?.context("the subscription ended")?;
        Ok(Heartbeat::parse(&self.id, &message.payload, now()).map_err(anyhow::Error::from)?.verdict)
    }

    /// The heartbeat of that number that was ever published.
    async fn recorded(&self, nats: &NatsServer, number: usize) -> Result<Verdict> {
        let recorded =
            eventually_some("the heartbeat is recorded", SOON, async || tape::recorded(nats).await.ok()?.get(number - 1).cloned());
        Ok(Heartbeat::parse(&self.id, &recorded.await?.1, now()).map_err(anyhow::Error::from)?.verdict)
    }

    /// The next heartbeat that says what is looked for.
    async fn heard_that(&self, heartbeats: &mut Subscriber, wanted: impl Fn(&Verdict) -> bool) -> Result<Verdict> {
        let end = Instant::now() + SOON;
        loop {
            let verdict = self.heard(heartbeats).await?;
            if wanted(&verdict) {
                return Ok(verdict);
            }
            ensure!(Instant::now() < end, "last heard: {verdict:?}");
        }
    }
}

async fn listen(client: &Client, subject: &'static str) -> Result<Subscriber> {
    let subscriber = client.subscribe(subject).await?;
    client.flush().await?;
    Ok(subscriber)
}

fn now() -> Timestamp {
    pilothouse::clock::now()
}

fn failed(verdict: &Verdict) -> Vec<FailedProcess> {
    let Verdict::Error { problems, .. } = verdict else { return Vec::new() };
    let process = |problem: &Problem| match problem {
        Problem::Process(process) => Some(process.clone()),
        Problem::Text(_) => None,
    };
    problems.iter().filter_map(process).collect()
}

#[tokio::test]
async fn workers_run_on_while_nats_is_away_and_the_agent_speaks_again_at_once() -> Result<()> {
    let mut nats = NatsServer::start().await?;
    tape::record(&nats, &["t.heartbeat"]).await?;
    nats.kill();
    let bench = Bench::new()?;
    let _agent = bench.start(&nats.url(), &bench.spec(NEVER_SECONDS, &[("main", bench.forever()), ("side", bench.forever())]))?;
    let before = bench.workers(2).await?;
    nats.restart().await?;
    assert_eq!(bench.recorded(&nats, 1).await?, Verdict::Ok, "the first time NATS is there");

    nats.kill();
    before[0].signal(Signal::SIGKILL)?;
    bench.workers(1).await?;
    nats.restart().await?;
    let verdict = bench.recorded(&nats, 2).await?;
    assert_eq!(failed(&verdict).len(), 1, "what happened meanwhile is told: {verdict:?}");
    assert_eq!(bench.ledger.workers_of(&bench.id), before[1..], "the other one was never touched");
    assert_eq!(bench.ledger.starts()[&bench.id], 2, "and none was started again");
    Ok(())
}

#[tokio::test]
async fn a_failed_process_is_reported_with_all_that_is_known_of_it_for_as_long_as_it_is_failed() -> Result<()> {
    let nats = NatsServer::start().await?;
    let mut heartbeats = listen(&nats.client().await?, "t.heartbeat").await?;
    let bench = Bench::new()?;
    let noisy = bench.ledger.worker("i=0; while [ $i -lt 500 ]; do echo line $i >&2; i=$((i+1)); done; echo the end >&2; exit 7");
    let before = now();
    let _agent = bench.start(&nats.url(), &bench.spec(0.2, &[("main", bench.forever()), ("noisy", noisy)]))?;
    for _ in 0..3 {
        let verdict = bench.heard_that(&mut heartbeats, |verdict| !failed(verdict).is_empty()).await?;
        let Verdict::Error { health, time, .. } = &verdict else { unreachable!("a process failed") };
        assert_eq!(*health, Health::ProcessError);
        let [noisy] = &failed(&verdict)[..] else { panic!("one failed: {verdict:?}") };
        assert_eq!((noisy.name.as_str(), noisy.exitcode), ("noisy", Some(7)));
        let stopped = Timestamp::from_secs_f64(noisy.stop_timestamp.context("a stop time")?).context("a moment")?;
        assert!(before <= stopped && stopped <= now());
        assert_eq!(*time, Some(stopped));
        let stderr = noisy.stderr.as_deref().context("what it wrote")?;
        assert!(stderr.ends_with("line 499\nthe end\n") && stderr.len() <= 2048 && stderr.len() > 1900, "{stderr}");
    }
    assert_eq!(bench.ledger.workers_of(&bench.id).len(), 1, "nothing was started again");
    Ok(())
}

#[tokio::test]
async fn a_process_that_was_killed_or_just_ended_has_failed_too() -> Result<()> {
    let nats = NatsServer::start().await?;
    let mut heartbeats = listen(&nats.client().await?, "t.heartbeat").await?;
    let bench = Bench::new()?;
    let _agent =
        bench.start(&nats.url(), &bench.spec(NEVER_SECONDS, &[("main", bench.forever()), ("done", bench.ledger.worker("exit 0"))]))?;
    let done = bench.heard_that(&mut heartbeats, |verdict| !failed(verdict).is_empty()).await?;
    assert_eq!((failed(&done)[0].name.as_str(), failed(&done)[0].exitcode), ("done", Some(0)));
    bench.workers(1).await?[0].signal(Signal::SIGKILL)?;
    let both = bench.heard_that(&mut heartbeats, |verdict| failed(verdict).len() == 2).await?;
    assert_eq!((failed(&both)[0].name.as_str(), failed(&both)[0].exitcode), ("main", Some(-9)), "the newest first");
    Ok(())
}

#[tokio::test]
async fn a_command_that_can_not_be_started_is_an_error_of_the_monitor() -> Result<()> {
    let nats = NatsServer::start().await?;
    let mut heartbeats = listen(&nats.client().await?, "t.heartbeat").await?;
    let bench = Bench::new()?;
    let nonsense = vec!["/no/such/program".to_owned()];
    let _agent = bench.start(&nats.url(), &bench.spec(NEVER_SECONDS, &[("main", bench.forever()), ("nonsense", nonsense)]))?;
    let Verdict::Error { health, problems, .. } = bench.heard(&mut heartbeats).await? else { panic!("an error") };
    assert_eq!(health, Health::MonitorError);
    assert!(problems[0].line().contains("nonsense: can't start \"/no/such/program\""), "{problems:?}");
    bench.workers(1).await.context("the other one runs")?;
    Ok(())
}

#[tokio::test]
async fn a_probe_is_answered_at_once() -> Result<()> {
    let nats = NatsServer::start().await?;
    let client = nats.client().await?;
    let mut heartbeats = listen(&client, "t.heartbeat").await?;
    let bench = Bench::new()?;
    let _agent = bench.start(&nats.url(), &bench.spec(NEVER_SECONDS, &[("main", bench.forever())]))?;
    bench.heard(&mut heartbeats).await?;

    let answer = timeout(SOON, client.request("t.probe", "".into())).await??;
    assert_eq!(Heartbeat::parse(&bench.id, &answer.payload, now()).map(|heartbeat| heartbeat.verdict), Ok(Verdict::Ok));
    assert_eq!(bench.heard(&mut heartbeats).await?, Verdict::Ok, "and it is published");

    let flood = Instant::now();
    for _ in 0..500 {
        client.publish_with_reply("t.probe", "t.answers", "".into()).await?;
    }
    timeout(SOON, client.request("t.probe", "".into())).await?.context("after a flood of probes")?;
    client.flush().await?;
    let published = std::iter::from_fn(|| heartbeats.next().now_or_never().flatten()).count();
    assert!(published as u128 <= 2 + flood.elapsed().as_millis() / 100, "{published} heartbeats for a flood of probes");
    Ok(())
}

#[tokio::test]
async fn the_number_of_running_workers_is_a_reading() -> Result<()> {
    let nats = NatsServer::start().await?;
    let mut readings = listen(&nats.client().await?, "t.sensor").await?;
    let bench = Bench::new()?;
    let _agent = bench.start(&nats.url(), &bench.spec(0.1, &[("main", bench.forever()), ("side", bench.forever())]))?;
    let mut wanted = 2.0;
    while wanted > 0.0 {
        let message = timeout(SOON, readings.next()).await?.context("the subscription ended")?;
        let reading = Reading::parse(Some(&bench.id), &message.payload, now()).map_err(anyhow::Error::from)?;
        assert_eq!(reading.metric, "process_count");
        if reading.value == wanted {
            bench.ledger.workers_of(&bench.id)[0].signal(Signal::SIGKILL)?;
            wanted -= 1.0;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_stopped_leaves_nothing_behind() -> Result<()> {
    let bench = Bench::new()?;
    let polite = bench.ledger.worker("trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done");
    let stubborn = bench.ledger.worker("trap '' TERM; while :; do sleep 0.05; done");
    let runaway = bench.ledger.worker("setsid sh -c 'exec sleep 100000' & exec sleep 100000");
    // Nobody listens at that address: it works without NATS.
    let spec = bench.spec(NEVER_SECONDS, &[("polite", polite), ("stubborn", stubborn), ("runaway", runaway)]);
    let agent = bench.start("nats://127.0.0.1:9", &spec)?;
    eventually("the workers run", SOON, async || {
        bench.ledger.starts().get(&bench.id) == Some(&3)
            && bench.ledger.workers_of(&bench.id).iter().any(|p| p.command.starts_with("sleep 1"))
    })
    .await?;
    assert!(agent.stop().await?.success());
    assert_eq!(bench.ledger.of(&bench.id), [], "nothing is left, also of one that ignores SIGTERM and of one that left its session");
    assert_eq!(fs::read_to_string(bench.path("polite.out"))?, "bye\n", "they were asked first");
    Ok(())
}

#[tokio::test]
async fn a_directory_has_one_agent() -> Result<()> {
    let bench = Bench::new()?;
    let spec = bench.spec(NEVER_SECONDS, &[("main", bench.forever())]);
    let _agent = bench.start("nats://127.0.0.1:9", &spec)?;
    bench.workers(1).await?;
    let mut second = bench.start("nats://127.0.0.1:9", &spec)?;
    assert!(!second.ended().await?.success());
    assert!(second.said().contains("another agent runs in"), "{}", second.said());
    assert_eq!(bench.ledger.starts()[&bench.id], 1);
    Ok(())
}

#[tokio::test]
async fn a_spec_that_is_wrong_is_refused_by_key_and_nothing_is_started() -> Result<()> {
    let bench = Bench::new()?;
    let mut spec = bench.spec(NEVER_SECONDS, &[("main", bench.forever())]);
    spec["commands"][0]["restart"] = json!(true);
    let mut agent = bench.start("nats://127.0.0.1:9", &spec)?;
    assert!(!agent.ended().await?.success());
    assert!(agent.said().contains("commands[0].restart"), "{}", agent.said());
    assert!(bench.ledger.starts().is_empty());
    Ok(())
}
