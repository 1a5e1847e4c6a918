//! A folder of engines that a real host watches: what is saved there decides, and what can't be used changes nothing.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream;
use pilothouse::api::{CallError, DomainDescription, EngineFile, EngineList, Operation};
use pilothouse::store::{JetStreamJournal, Journal, JournalOptions};
use pilothouse_core::engine::{SwapReason, Swapped};
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::{Event, Record};
use pilothouse_core::time::Timestamp;
use pilothouse_tests::guest::Guest;
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::{Rig, SOON, WEB};
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::{Value, json};

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// What takes half a second on an idle machine.
const SWAP: Duration = Duration::from_secs(10);

/// An engine that wants nothing, as it is after so many changes. Its version stays.
fn changed(times: u32) -> Guest {
    Guest::new("quiet").with("docs\\00", &format!("d{times:03}\\00"))
}

/// The same under another name or version.
fn called(guest: Guest, name: &str, version: &str) -> Guest {
    assert_eq!((name.len(), version.len()), (5, 5), "they are written over others");
    guest.with("guest\\00", &format!("{name}\\00")).with("1.0.0\\00", &format!("{version}\\00"))
}

fn asking(engine: &str) -> Value {
    json!({"general": {"engine": engine, "decide_interval": 0.2}, "health": {"monitor_health": false}})
}

/// A folder, and a host that watches it.
struct Fixture {
    rig: Rig,
    journal: JetStreamJournal,
}

impl Fixture {
    /// With these files in the folder. No host runs yet.
    async fn new(files: &[(&str, Guest)]) -> Result<Self> {
        let rig = Rig::new(PROGRAM).await?;
        let journal = JetStreamJournal::open(rig.nats.client().await?, rig.api.subjects().clone(), &JournalOptions::default()).await?;
        let this = Self { rig, journal };
        fs::create_dir(this.rig.path("engines"))?;
        for (name, guest) in files {
            this.save(name, &guest.component())?;
        }
        Ok(this)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.rig.path("engines").join(name)
    }

    /// Saves a file whole, as build tools do. When.
    fn save(&self, name: &str, bytes: &[u8]) -> Result<Timestamp> {
        let new = self.rig.path("new");
        fs::write(&new, bytes)?;
        fs::rename(new, self.file(name))?;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(Timestamp::from_millis(since.as_millis().try_into()?))
    }

    /// Starts a host that watches the folder.
    fn host(&self, name: &str) -> Result<Program> {
        let mut command = self.rig.host_command(name, &self.rig.nats.url());
        command.arg("--engines-dir").arg(self.rig.path("engines"));
        self.rig.start(name, command)
    }

    /// Adds a domain, once there is a host. What is said when it is refused.
    async fn refused(&self, domain: &str, engine: &str) -> Result<String> {
        let request = json!({"domain": domain, "config": asking(engine)});
        match self.rig.api.call::<Value>(Operation::DomainAdd, &request).await {
            Err(CallError::Api(error)) => Ok(error.to_string()),
            other => bail!("{domain} was answered with {other:?}"),
        }
    }

    /// Waits until the description of `web` says this.
    async fn sees(&self, what: &str, is_so: impl Fn(&DomainDescription) -> bool) -> Result<DomainDescription> {
        let seen = eventually_some(what, SOON, async || self.rig.describe().await.ok().filter(|it| is_so(it))).await;
        match seen {
            Ok(described) => Ok(described),
            Err(error) => Err(error.context(format!("{:#?}\n{}", self.rig.describe().await, self.rig.logs()))),
        }
    }

    /// Waits until `web` has been decided again, by the engine in force.
    async fn decides(&self) -> Result<DomainDescription> {
        let before = self.rig.describe().await.map(|it| it.asked.decisions).unwrap_or_default();
        self.sees("it decides", |it| it.asked.decisions > before + 1 && it.summary.fault.is_none()).await
    }

    /// Every swap of `web` that is in the journal, oldest first.
    async fn swaps(&self) -> Result<Vec<(Timestamp, Swapped)>> {
        let key = DomainKey { owner: "default".parse()?, name: WEB.parse()? };
        let mut swaps = Vec::new();
        for entry in self.journal.history(&key, None, 10_000).await?.into_iter().rev() {
            let Record { at, events, .. } = Record::from_bytes(&entry.bytes)?;
            swaps.extend(
                events.into_iter().filter_map(|event| if let Event::Swapped(swapped) = event { Some((at, swapped)) } else { None }),
            );
        }
        Ok(swaps)
    }

    /// The swap to this digest.
    async fn swapped_to(&self, digest: &str) -> Result<(Timestamp, Swapped)> {
        let found = eventually_some("it is swapped", SWAP, async || {
            self.swaps().await.ok()?.into_iter().find(|(_, swapped)| swapped.engine.digest == digest)
        });
        found.await.with_context(|| self.rig.logs())
    }

    /// What the host says of a file.
    async fn told(&self, name: &str) -> Option<EngineFile> {
        let list: EngineList = self.rig.api.call(Operation::EngineList, &json!({})).await.ok()?;
        let path = self.file(name).display().to_string();
        list.files.into_iter().map(|it| it.file).find(|it| it.file == path)
    }

    /// Waits until the host says of a file that it can't be used, for this reason.
    async fn is_refused(&self, name: &str, reason: &str) -> Result<EngineFile> {
        let refused = async || self.told(name).await.filter(|it| it.refused.as_ref().is_some_and(|it| it.contains(reason)));
        let found = eventually_some(&format!("{name} is refused: {reason}"), SOON, refused).await;
        match found {
            Ok(file) => Ok(file),
            Err(error) => Err(error.context(format!("{:?}\n{}", self.told(name).await, self.rig.logs()))),
        }
    }

    /// Waits until the host offers what is in a file.
    async fn is_offered(&self, name: &str, guest: &Guest) -> Result<()> {
        let digest = digest(guest);
        let offered = async || {
            self.told(name).await.is_some_and(|it| it.refused.is_none() && it.engine.is_some_and(|engine| engine.digest == digest))
        };
        eventually(&format!("{name} is offered"), SOON, offered).await.with_context(|| self.rig.logs())
    }
}

fn digest(guest: &Guest) -> String {
    pilothouse::driver::registry::digest_of(&guest.component())
}

/// How often a file was reported.
fn reports(host: &Program, file: &str) -> usize {
    host.said().lines().filter(|line| line.contains("can't be used; nothing changes") && line.contains(file)).count()
}

#[tokio::test]
async fn what_is_saved_decides_at_once_and_its_time_is_told() -> Result<()> {
    let it = Fixture::new(&[("keep.wasm", changed(0))]).await?;
    let _host = it.host("ship")?;
    it.rig.add_web(asking("guest")).await?;
    ensure!(it.decides().await?.summary.engine.digest == digest(&changed(0)));

    let mut took = Vec::new();
    for times in 1..=5 {
        let guest = changed(times);
        let saved = it.save("keep.wasm", &guest.component())?;
        let (at, swapped) = it.swapped_to(&digest(&guest)).await?;
        ensure!(swapped.why == SwapReason::Reloaded, "{swapped:?}");
        took.push(at.since(saved));
        ensure!(it.decides().await?.summary.engine.digest == digest(&guest), "{}", it.rig.logs());
    }
    println!("from the rename to the swap on record: {}", took.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));

    let newer = called(changed(6), "guest", "1.1.0");
    it.save("keep.wasm", &newer.component())?;
    let (_, swapped) = it.swapped_to(&digest(&newer)).await?;
    ensure!(swapped.why == SwapReason::Followed && swapped.engine.version == "1.1.0", "{swapped:?}");
    let described = it.decides().await?;
    ensure!(described.asked.faults == 0 && it.swaps().await?.len() == 6, "{described:#?}");

    // What nobody needs any more does not fill the store; what decides, and what it would go back to, stays.
    let store = jetstream::new(it.rig.nats.client().await?).get_object_store("PH_ENGINES").await?;
    let is_there = async |guest: &Guest| store.info(digest(guest)).await.is_ok_and(|info| !info.deleted);
    let gone = async || !is_there(&changed(0)).await && !is_there(&changed(1)).await;
    eventually("the first of them are gone from the store", SOON, gone).await.with_context(|| it.rig.logs())?;
    ensure!(is_there(&newer).await && is_there(&changed(5)).await, "{}", it.rig.logs());
    // And may come again.
    it.save("keep.wasm", &called(changed(0), "guest", "1.2.0").component())?;
    it.save("old.wasm", &changed(0).component())?;
    it.is_offered("old.wasm", &changed(0)).await?;
    ensure!(is_there(&changed(0)).await);
    Ok(())
}

#[tokio::test]
async fn what_is_broken_is_told_once_and_changes_nothing() -> Result<()> {
    let it = Fixture::new(&[("keep.wasm", changed(0))]).await?;
    let host = it.host("ship")?;
    it.rig.add_web(asking("guest")).await?;
    it.decides().await?;

    // Half a file, as a tool leaves it that is stopped midway.
    let next = changed(1).component();
    fs::write(it.file("keep.wasm"), &next[..next.len() / 2])?;
    let told = it.is_refused("keep.wasm", "it is damaged").await?;
    ensure!(told.engine.is_some_and(|engine| engine.digest == digest(&changed(0))), "it offers what it offered before");
    it.save("keep.wasm", b"text")?;
    it.is_refused("keep.wasm", "it is no WebAssembly component").await?;
    // By the time another file is known, this one was looked at many times.
    for times in 0..3 {
        let other = called(changed(times), "other", "1.0.0");
        it.save("other.wasm", &other.component())?;
        it.is_offered("other.wasm", &other).await?;
    }
    ensure!(reports(&host, "keep.wasm") == 2, "once for each time that it was saved:\n{}", host.said());
    ensure!(it.decides().await?.summary.engine.digest == digest(&changed(0)) && it.swaps().await?.is_empty(), "nothing changed");

    it.save("keep.wasm", &next)?;
    it.swapped_to(&digest(&changed(1))).await?;
    ensure!(it.told("keep.wasm").await.is_some_and(|told| told.refused.is_none()));
    Ok(())
}

#[tokio::test]
async fn an_engine_that_fails_is_gone_back_from_and_what_is_saved_then_is_tried() -> Result<()> {
    let it = Fixture::new(&[("keep.wasm", changed(0))]).await?;
    let _host = it.host("ship")?;
    it.rig.add_web(asking("guest")).await?;
    it.decides().await?;
    let bad = changed(1).with("(call $done (local.get $domain) (local.get $control)))", "unreachable)");
    it.save("keep.wasm", &bad.component())?;
    it.swapped_to(&digest(&bad)).await?;
    let back = it.sees("it goes back", |told| told.summary.engine.digest == digest(&changed(0))).await?;
    ensure!(back.rejected.len() == 1 && back.rejected[0].engine.digest == digest(&bad), "{back:#?}");
    it.save("keep.wasm", &changed(2).component())?;
    it.swapped_to(&digest(&changed(2))).await?;
    ensure!(it.decides().await?.summary.engine.digest == digest(&changed(2)));
    Ok(())
}

#[tokio::test]
async fn a_file_that_goes_is_offered_no_more_and_decides_on_where_it_did_also_after_a_restart() -> Result<()> {
    let it = Fixture::new(&[("keep.wasm", changed(0))]).await?;
    let host = it.host("ship")?;
    it.rig.add_web(asking("guest")).await?;
    it.decides().await?;
    fs::remove_file(it.file("keep.wasm"))?;
    eventually("it is known to be gone", SOON, async || host.said().contains("is gone: its engine is offered no more")).await?;
    ensure!(it.refused("new", "guest").await?.contains("no engine \"guest\""));
    let gone = it.decides().await?;
    ensure!(gone.summary.engine.digest == digest(&changed(0)));

    // What decides is in the store, for this host and for others.
    host.crash().await?;
    let host = it.host("ship")?;
    it.sees("it was taken", |told| told.epoch > gone.epoch).await?;
    ensure!(it.decides().await?.summary.engine.digest == digest(&changed(0)), "{}", host.said());
    host.crash().await?;
    it.save("keep.wasm", b"text")?;
    let other = it.host("boat")?;
    it.sees("another host has it", |told| told.host.as_str() == "boat").await?;
    ensure!(it.decides().await?.summary.engine.digest == digest(&changed(0)), "{}", other.said());
    ensure!(reports(&other, "keep.wasm") == 1 && it.swaps().await?.is_empty(), "{}", other.said());

    // And when it is there again, it counts again.
    it.save("keep.wasm", &changed(1).component())?;
    it.swapped_to(&digest(&changed(1))).await?;
    it.rig.add("new", asking("guest")).await?;
    Ok(())
}

#[tokio::test]
async fn of_two_files_with_one_version_the_one_that_was_saved_later_counts() -> Result<()> {
    let it = Fixture::new(&[]).await?;
    let at = |name: &str, seconds: u64| -> Result<()> {
        let file = File::options().write(true).open(it.file(name))?;
        Ok(file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))?)
    };
    it.save("a.wasm", &changed(1).component())?;
    at("a.wasm", 2_000)?;
    it.save("b.wasm", &changed(2).component())?;
    at("b.wasm", 1_000)?;
    let host = it.host("ship")?;
    it.rig.add_web(asking("guest")).await?;
    ensure!(it.decides().await?.summary.engine.digest == digest(&changed(1)));
    it.is_refused("b.wasm", "guest@1.0.0 is in ").await?;
    ensure!(host.said().contains("a.wasm as well, which was saved later: that one counts"), "{}", host.said());

    at("b.wasm", 3_000)?;
    it.swapped_to(&digest(&changed(2))).await?;
    it.is_refused("a.wasm", "b.wasm as well").await?;
    fs::remove_file(it.file("b.wasm"))?;
    eventually("the other one counts again", SWAP, async || it.swaps().await.is_ok_and(|swaps| swaps.len() == 2)).await?;
    ensure!(it.decides().await?.summary.engine.digest == digest(&changed(1)));
    Ok(())
}

#[tokio::test]
async fn whatever_else_lies_in_the_folder_is_told_and_harms_nothing() -> Result<()> {
    let it = Fixture::new(&[("keep.wasm", changed(0))]).await?;
    fs::create_dir(it.file("folder.wasm"))?;
    symlink("nowhere.wasm", it.file("link.wasm"))?;
    symlink("round.wasm", it.file("round.wasm"))?;
    // A pipe that nobody writes to would be waited for, for ever.
    ensure!(Command::new("mkfifo").arg(it.file("pipe.wasm")).status()?.success());
    File::create(it.file("huge.wasm"))?.set_len(8 << 30)?;
    fs::write(it.file("empty.wasm"), b"")?;
    fs::write(it.file("module.wasm"), changed(0).module())?;
    fs::write(it.file("notes.txt"), b"text")?;
    let host = it.host("ship")?;
    it.rig.add_web(asking("guest")).await?;
    let odd = [
        ("folder.wasm", "it is a directory"),
        ("link.wasm", "it is a link to nowhere.wasm, which is not there"),
        ("round.wasm", "it can't be looked at: "),
        ("pipe.wasm", "it is no regular file"),
        ("huge.wasm", "it has 8589934592 bytes; at most "),
        ("empty.wasm", "it is no WebAssembly component"),
        ("module.wasm", "it is a core module and no component"),
    ];
    for (name, reason) in odd {
        it.is_refused(name, reason).await?;
    }
    ensure!(it.told("notes.txt").await.is_none());

    // A link is followed to what it leads to.
    let (elsewhere, linked) = (it.rig.path("elsewhere"), |times| called(changed(times), "other", "1.0.0"));
    fs::write(&elsewhere, linked(1).component())?;
    fs::remove_file(it.file("link.wasm"))?;
    symlink(&elsewhere, it.file("link.wasm"))?;
    it.is_offered("link.wasm", &linked(1)).await?;
    fs::write(&elsewhere, linked(2).component())?;
    it.is_offered("link.wasm", &linked(2)).await?;
    for (name, _) in odd {
        ensure!(reports(&host, name) == 1, "{name} is reported once:\n{}", host.said());
    }

    // The folder itself may go for a while.
    fs::rename(it.rig.path("engines"), it.rig.path("away"))?;
    let says = async |what: &str| eventually(what, SOON, async || host.said().contains(what)).await;
    says("the folder of engines can't be read; nothing changes").await?;
    ensure!(it.decides().await?.summary.engine.digest == digest(&changed(0)));
    fs::rename(it.rig.path("away"), it.rig.path("engines"))?;
    says("the folder of engines can be read again").await?;
    it.save("keep.wasm", &changed(1).component())?;
    it.swapped_to(&digest(&changed(1))).await?;
    Ok(())
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told_before_anything_is_started() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let mut command = rig.host_command("ship", &rig.nats.url());
    command.args(["--engines-dir", "/no/such/folder"]);
    let mut host = rig.start("ship", command)?;
    let status = host.ended().await?;
    ensure!(status.code() == Some(2) && host.said().contains("--engines-dir /no/such/folder: there is no such folder"), "{}", host.said());
    Ok(())
}
