//! One child: started, started again when it ends, and stopped in the end.
//!
//! A child has a process group of its own, so that Ctrl-C reaches only `pilothouse up`, which stops the children in order. Who it is
//! stands in a file while it runs, for the next start after a `pilothouse up` that was killed.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::folder::Folder;
use super::say;
use crate::process::{Handle, Signal};

/// A child that ended so often in a row, before anything worked, will not come up.
const IN_VAIN: u32 = 3;

/// How often one that must end well is tried to be stopped.
const STOP_ATTEMPTS: u32 = 3;

/// Between two looks whether a child that has just been started can be told to stop.
const CATCHES_LOOK: Duration = Duration::from_millis(20);

/// Variables of clients, which say nothing to our children: they are told everything on their command lines.
const OF_CLIENTS: [&str; 4] = ["PILOTHOUSE_NATS", "PILOTHOUSE_NATS_CREDS", "PILOTHOUSE_DATA", "PILOTHOUSE_USER"];

/// What a child runs.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// What it is called in lines, and in the names of its files.
    pub(super) name: &'static str,
    /// The program.
    pub(super) path: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<OsString>,
    /// It has work to do when it is told to stop. If it does not run then, it is started once more.
    pub(super) must_end_well: bool,
}

/// A child that is being kept up.
#[derive(Debug)]
pub(super) struct Child {
    program: Program,
    folder: Folder,
    stop: CancellationToken,
    /// How often in a row it ended soon after its start.
    soon: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Child {
    /// Keeps a program running, until it is stopped; then it has `patience` to end by itself.
    pub(super) fn keep(program: Program, folder: &Folder, patience: Duration) -> Self {
        let stop = CancellationToken::new();
        let (tell, soon) = watch::channel(0);
        let keeper = Keeper { program: program.clone(), folder: folder.clone(), stop: stop.clone(), patience, soon: tell };
        Self { program, folder: folder.clone(), stop, soon, task: tokio::spawn(keeper.run()) }
    }

    /// Waits for something that this child makes happen; an error when it keeps ending instead.
    pub(super) async fn unless_in_vain<T>(&self, something: impl Future<Output = T>) -> anyhow::Result<T> {
        let mut soon = self.soon.clone();
        tokio::select! {
            outcome = something => Ok(outcome),
            // The sender lives as long as the task, and that until it is told to stop.
            Ok(_) = soon.wait_for(|ends| *ends >= IN_VAIN) => {
                let (name, log) = (self.program.name, self.folder.log(self.program.name));
                Err(anyhow!("{name} ends as soon as it is started; the end of {}:\n{}", log.display(), tail(&log)))
            }
        }
    }

    /// Stops it. Returns when it has ended.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, child = self.program.name, "its keeper failed");
        }
    }
}

struct Keeper {
    program: Program,
    folder: Folder,
    stop: CancellationToken,
    patience: Duration,
    soon: watch::Sender<u32>,
}

impl Keeper {
    async fn run(self) {
        let name = self.program.name;
        let mut backoff = Backoff::default();
        let mut stops = 0;
        loop {
            let begun = Instant::now();
            let how = match self.spawn() {
                Err(error) => format!("can't be started: {error}"),
                Ok(mut child) => {
                    if backoff.in_a_row() > 0 && !self.stop.is_cancelled() {
                        say(&format!("{name} is started again (process {})", child.id()));
                    }
                    tokio::select! {
                        // An error comes only when the runtime goes down.
                        _ = child.ended() => {}
                        () = self.stop.cancelled() => self.end(&child).await,
                    }
                    let status = child.reap();
                    self.folder.forget(name);
                    if self.stop.is_cancelled() && status.is_some_and(|status| status.success()) {
                        break;
                    }
                    status.map_or_else(|| "ended".to_owned(), in_words)
                }
            };
            if self.stop.is_cancelled() {
                stops += 1;
                if !self.program.must_end_well {
                    break;
                }
                if stops >= STOP_ATTEMPTS {
                    say(&format!("{name} {how} while it was being stopped; instances may still run"));
                    break;
                }
                continue;
            }
            let pause = backoff.after(begun.elapsed());
            self.soon.send_replace(backoff.in_a_row());
            say(&format!("{name} {how}; it is started again in {} s", pause.as_secs_f32()));
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stop.cancelled() => if !self.program.must_end_well { break },
            }
        }
    }

    fn spawn(&self) -> io::Result<Handle> {
        let log = self.folder.open_log(self.program.name)?;
        let mut command = Command::new(&self.program.path);
        command.args(&self.program.args).process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        for variable in OF_CLIENTS {
            command.env_remove(variable);
        }
        let child = Handle::spawn(&mut command)?;
        // Without the record it would be left alone if we were killed.
        if let Err(error) = self.folder.remember(self.program.name, child.id()) {
            let _ = child.signal(Signal::KILL);
            return Err(error);
        }
        Ok(child)
    }

    /// Tells it to stop, and kills it when it does not.
    async fn end(&self, child: &Handle) {
        let ending = async {
            // One that was just started would be killed by a signal that it does not catch yet, with its work undone.
            while self.program.must_end_well && child.id().is_alive() && !catches_term(child.id().pid) {
                sleep(CATCHES_LOOK).await;
            }
            let _ = child.signal(Signal::TERM);
            child.ended().await
        };
        if timeout(self.patience, ending).await.is_err() {
            say(&format!("{} does not stop and is killed", self.program.name));
            let _ = child.signal(Signal::KILL);
            let _ = child.ended().await;
        }
    }
}

/// Whether a process has something to do with SIGTERM by itself.
fn catches_term(pid: u32) -> bool {
    let status = i32::try_from(pid).ok().and_then(|pid| procfs::process::Process::new(pid).ok()?.status().ok());
    status.is_none_or(|status| status.sigcgt & (1 << (Signal::TERM.as_raw() - 1)) != 0)
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The last lines of a log.
fn tail(log: &std::path::Path) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    const BYTES: u64 = 4096;
    const LINES: usize = 8;
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
        let mut end = Vec::new();
        file.take(BYTES).read_to_end(&mut end)?;
        io::Result::Ok(end)
    };
    let end = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&end);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("  {}\n", crate::output::clean(line))).collect()
}
