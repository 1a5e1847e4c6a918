//! *Why*, on real parts: the journal is read back in stretches, and a host tells of now and of the past.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pilothouse::store::{Append, Appended, JetStreamJournal, Journal, JournalOptions, Tip};
use pilothouse_core::explain::Explanation;
use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::subject::Subjects;
use pilothouse_tests::nats::NatsServer;
use pilothouse_tests::processes::{Ledger, Program};
use pilothouse_tests::wait::eventually;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// What takes a second on an idle machine.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_the_same_however_much_of_it_is_read_at_once() -> Result<()> {
    let server = NatsServer::start().await?;
    let client = async_nats::connect(server.url()).await?;
    let journal = JetStreamJournal::open(client, Subjects::new(&"ph".parse::<Name>()?), &JournalOptions::default()).await?;
    let key = |name: &str| Ok::<_, anyhow::Error>(DomainKey { owner: "ann".parse()?, name: name.parse()? });
    let (web, other) = (key("web")?, key("other")?);

    // A snapshot every fiftieth record, and another domain's records between them.
    let mut written = Vec::new();
    let (mut tip, mut other_tip) = (Tip::default(), Tip::default());
    for n in 0..220_u32 {
        for (key, tip, is_snapshot) in [(&web, &mut tip, n % 50 == 20), (&other, &mut other_tip, false)] {
            let append = Append { after: *tip, is_snapshot, bytes: format!("{key} {n}").into() };
            let Appended::Committed { tip: new } = journal.append(key, append).await? else { anyhow::bail!("record {n} is not committed") };
            *tip = new;
        }
        written.push((tip.sequence, format!("{web} {n}")));
    }
    written.reverse();
    for (before, limit) in
        [(None, 1000), (None, 220), (None, 219), (None, 60), (None, 17), (None, 3), (Some(0), 1000), (Some(99), 40), (Some(218), 50)]
    {
        let from = before.map_or(0, |index: usize| index + 1);
        let expected: Vec<_> = written.iter().skip(from).take(limit).cloned().collect();
        let read = journal.history(&web, before.map(|index| written[index].0), limit).await?;
        let read: Vec<_> = read.into_iter().map(|entry| (entry.sequence, String::from_utf8_lossy(&entry.bytes).into_owned())).collect();
        ensure!(read == expected, "before {before:?}, at most {limit}: {} records instead of {}", read.len(), expected.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_host_tells_of_now_and_of_the_past() -> Result<()> {
    let (ledger, dir, nats) = (Ledger::new()?, TempDir::with_prefix("pilothouse-why-")?, NatsServer::start().await?);
    let mut serve = ledger.command(PROGRAM);
    serve.args(["serve", "--name", "ship", "--default-user", "default", "--nats", &nats.url()]);
    let log = dir.path().join("serve.log");
    let _serve = Program::start(serve, &log)?;
    let ask = |args: &[&str]| {
        let output = ledger.command(PROGRAM).current_dir(dir.path()).args(args).args(["--nats", &nats.url()]).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok::<_, anyhow::Error>((output.status.code(), text(&output.stdout), text(&output.stderr)))
    };
    let add = ["domain", "add", "web", "--engine", "simplest", "--set", "engine_conf.preserve_n=0", "--set", "general.decide_interval=0.2"];
    eventually("the domain is added", SOON, async || ask(&add).is_ok_and(|(code, ..)| code == Some(0) || code == Some(4))).await?;
    let stable = async || ask(&["why", "web"]).is_ok_and(|(_, told, _)| told.starts_with("Domain web is stable"));
    eventually("it is stable", SOON, stable).await.with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;

    ask(&["domain", "pause", "web"])?;
    let (_, told, _) = ask(&["why", "web"])?;
    ensure!(told.starts_with("Domain web is PAUSED by default since ") && told.contains("pilothouse domain resume web"), "{told}");
    let (_, json, _) = ask(&["why", "web", "--output", "json"])?;
    let Explanation::Domain(paused) = serde_json::from_str(&json)? else { anyhow::bail!("{json}") };
    // The very moment at which it was paused, as people would type it.
    let millis = paused.changes[0].at.as_millis();
    ask(&["domain", "resume", "web"])?;

    let at = time(millis)?.to_string();
    let (code, told, error) = ask(&["why", "web", "--at", &at])?;
    ensure!(code == Some(0), "{error}");
    ensure!(told.starts_with("As of ") && told.contains("Domain web is PAUSED by default"), "--at {at}: {told}");
    ensure!(ask(&["why", "web"])?.1.starts_with("Domain web is stable"));

    let (_, told, _) = ask(&["why", "web", "--last", "1"])?;
    ensure!(told.contains("decision of domain web on record, newest first\n") && told.contains("asked for nothing"), "{told}");
    for (args, code, says) in [
        (&["why", "web", "--at", "2020-01-01T00:00:00Z"][..], 2, "the journal begins at "),
        (&["why", "web", "--at", "tomorrow"], 2, "expected a time such as"),
        (&["why", "web", "7"], 3, "instance 7 of domain web, which has launched none so far: not found"),
        (&["why", "nosuch", "--last", "1"], 3, "domain nosuch not found"),
    ] {
        let (got, _, error) = ask(args)?;
        ensure!(got == Some(code) && error.contains(says), "{args:?}: {got:?} {error}");
    }
    Ok(())
}

/// RFC 3339, to the millisecond.
fn time(millis: u64) -> Result<String> {
    let output = std::process::Command::new("date")
        .args(["--utc", "--date", &format!("@{}.{:03}", millis / 1000, millis % 1000), "+%Y-%m-%dT%H:%M:%S.%3NZ"])
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
