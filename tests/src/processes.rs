//! Programs that a test starts, and an independent ledger of the processes that come of them.
//!
//! The ledger believes nobody: it reads `/proc` itself, and counts how often a worker was started by what the worker writes down. So it
//! sees a worker that was started twice also when one of the two has ended long ago.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::wait::eventually_some;

/// In the environment of everything a test starts, and of all that comes of it.
const RUN_MARK: &str = "PILOTHOUSE_TEST_RUN";

/// In the environment of the processes of an instance. Written out here, so that the ledger does not believe the code under test.
const INSTANCE_MARK: &str = "PILOTHOUSE_INSTANCE";

/// In the environment of an agent, but not of its workers.
const AGENT_MARK: &str = "PILOTHOUSE_AGENT";

/// A program that does not end by then will not.
const END: Duration = Duration::from_secs(30);

/// One living process of an instance. The same process is equal also when it runs another program by now.
#[derive(Clone, Debug)]
pub struct Living {
    /// Its number.
    pub pid: u32,
    /// When it was started, in ticks since the machine was.
    pub started: u64,
    /// It is the agent, and not a worker or a child of one.
    pub is_agent: bool,
    /// Its arguments, for messages.
    pub command: String,
}

impl Living {
    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid.try_into()?), signal).with_context(|| format!("{signal} to {}", self.command))
    }
}

impl PartialEq for Living {
    fn eq(&self, other: &Self) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }
}

impl Eq for Living {}

/// The processes of one test. At its end all of them are killed.
#[derive(Debug)]
pub struct Ledger {
    run: String,
    dir: TempDir,
}

impl Ledger {
    /// A ledger of a run that nobody else has.
    ///
    /// # Errors
    /// When there is no room for its file.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = TempDir::with_prefix("pilothouse-ledger-").context("making a directory for the ledger")?;
        let unique = dir.path().file_name().and_then(OsStr::to_str).unwrap_or_default().rsplit('-').next().unwrap_or_default();
        let run = format!("{}-{}-{unique}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(Self { run, dir })
    }

    /// An instance id that no other run has.
    pub fn id(&self, name: &str) -> String {
        format!("i000-{name}-{}", self.run)
    }

    /// A command line that writes its start into the ledger, and then does what the shell is told: `exec sleep 1000`.
    pub fn worker(&self, then: &str) -> Vec<String> {
        let script = format!("echo \"${INSTANCE_MARK} $$\" >> '{}'; {then}", self.starts_file().display());
        ["sh", "-c", &script].map(str::to_owned).to_vec()
    }

    /// How often a worker was started, for each instance.
    pub fn starts(&self) -> BTreeMap<String, usize> {
        let mut starts = BTreeMap::new();
        for line in fs::read_to_string(self.starts_file()).unwrap_or_default().lines() {
            *starts.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        starts
    }

    /// Every living process of this run that belongs to an instance, for each instance.
    pub fn alive(&self) -> BTreeMap<String, Vec<Living>> {
        let mut alive: BTreeMap<String, Vec<Living>> = BTreeMap::new();
        self.each(|environment, living| {
            if let Some(instance) = environment.get(OsStr::new(INSTANCE_MARK)) {
                alive.entry(instance.to_string_lossy().into_owned()).or_default().push(living);
            }
        });
        alive.values_mut().for_each(|processes| processes.sort_by_key(|process| (process.started, process.pid)));
        alive
    }

    /// The living processes of one instance.
    pub fn of(&self, instance: &str) -> Vec<Living> {
        self.alive().remove(instance).unwrap_or_default()
    }

    /// The agent of an instance, if it lives.
    pub fn agent_of(&self, instance: &str) -> Option<Living> {
        self.of(instance).into_iter().find(|process| process.is_agent)
    }

    /// The living processes of an instance but its agent.
    pub fn workers_of(&self, instance: &str) -> Vec<Living> {
        self.of(instance).into_iter().filter(|process| !process.is_agent).collect()
    }

    /// A program of this run, to be given arguments and started with [`Program::start`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        // What a person has set for their own work must not reach a test.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PILOTHOUSE_")) {
            command.env_remove(name);
        }
        command.env(RUN_MARK, &self.run);
        command
    }

    fn starts_file(&self) -> PathBuf {
        self.dir.path().join("starts")
    }

    fn each(&self, mut found: impl FnMut(&std::collections::HashMap<std::ffi::OsString, std::ffi::OsString>, Living)) {
        for process in procfs::process::all_processes().into_iter().flatten().flatten() {
            let (Ok(stat), Ok(environment)) = (process.stat(), process.environ()) else { continue };
            let is_ours = environment.get(OsStr::new(RUN_MARK)).is_some_and(|run| run == OsStr::new(&self.run));
            if !is_ours || matches!(stat.state, 'Z' | 'X') {
                continue;
            }
            let Ok(pid) = stat.pid.try_into() else { continue };
            let is_agent = environment.contains_key(OsStr::new(AGENT_MARK));
            let command = process.cmdline().unwrap_or_default().join(" ");
            found(&environment, Living { pid, started: stat.starttime, is_agent, command });
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Some start others while they are being killed.
        for _ in 0..100 {
            let mut left = 0;
            self.each(|_, living| {
                left += 1;
                // Fails only for one that has ended meanwhile.
                let _ = living.signal(Signal::SIGKILL);
            });
            if left == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A program that runs beside a test. Killed when it is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it; what it says goes into `log`, which is added to.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log).with_context(|| format!("opening {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid().try_into()?), signal).with_context(|| format!("{signal} to {}", self.pid()))
    }

    /// Kills it as a crash would, and returns when it is gone.
    ///
    /// # Errors
    /// When it had ended before, in another way.
    pub async fn crash(mut self) -> Result<()> {
        self.child.kill().context("killing it")?;
        let status = self.ended().await?;
        anyhow::ensure!(status.signal() == Some(9), "it had ended before: {status}\n{}", self.said());
        Ok(())
    }

    /// Asks it to stop, and returns how it ended.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.ended().await
    }

    /// Returns how it ended, when it does.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        eventually_some("the program ends", END, async || self.child.try_wait().ok().flatten()).await
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only for one that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
