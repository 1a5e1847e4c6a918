//! A hold on one process.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::ProcessId;

/// A hold on one process, as its parent or as a stranger. Dropping it neither ends the process nor waits for it.
#[derive(Debug)]
pub struct Handle {
    id: ProcessId,
    /// Stays with this process, whoever has its number later; readable when it has ended.
    descriptor: AsyncFd<OwnedFd>,
    child: Option<Child>,
}

impl Handle {
    /// Starts a child. Must be called within the runtime.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        // Nobody else waits for our child, so the number is its own until `reap`.
        let held = ProcessId::of(child.id())
            .ok_or_else(|| io::Error::other("the system does not show the new process in /proc"))
            .and_then(|id| Ok((watch(&id)?, id)));
        match held {
            Ok((descriptor, id)) => Ok(Self { id, descriptor, child: Some(child) }),
            Err(error) => {
                // What can't be watched must not run. Both fail only when it has ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Takes hold of a process that is no child of ours. Nothing when it is gone. Must be called within the runtime.
    ///
    /// # Errors
    /// When the system refuses to let it be watched.
    pub fn adopt(id: &ProcessId) -> io::Result<Option<Self>> {
        let descriptor = match watch(id) {
            Ok(descriptor) => descriptor,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Compared only now: the descriptor is of whoever had the number when it was opened.
        Ok(id.is_alive().then(|| Self { id: id.clone(), descriptor, child: None }))
    }

    /// Who it is.
    pub fn id(&self) -> &ProcessId {
        &self.id
    }

    /// Returns when it has ended. It may be asked again.
    ///
    /// # Errors
    /// When the runtime is going down.
    pub async fn ended(&self) -> io::Result<()> {
        self.descriptor.ready(Interest::READABLE).await.map(drop)
    }

    /// Sends it a signal. Nothing happens when it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.descriptor.get_ref(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives back the number of a child that has ended, and tells how it did. Nothing for one that runs or is no child of ours.
    ///
    /// Until then nobody else gets the number, so that the group it leads can still be told from others.
    pub fn reap(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }
}

#[expect(deprecated, reason = "its successor is unsafe because a descriptor might be closed under it; an `OwnedFd` of ours is not")]
fn watch(id: &ProcessId) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(open(id)?, Interest::READABLE)
}

fn open(id: &ProcessId) -> io::Result<OwnedFd> {
    let pid = i32::try_from(id.pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn sleeper() -> Handle {
        Handle::spawn(Command::new("sleep").arg("1000")).expect("sleep starts")
    }

    #[tokio::test]
    async fn a_child_is_signalled_and_tells_how_it_ended() {
        let mut child = sleeper();
        assert_eq!(child.reap(), None, "it runs");
        child.signal(Signal::TERM).expect("signalled");
        child.ended().await.expect("ended");
        assert!(!child.id().is_alive() && child.id().has_its_number(), "ended, not yet waited for");
        assert_eq!(child.reap().and_then(|status| status.signal()), Some(15));
        assert!(!child.id().has_its_number());
        child.signal(Signal::KILL).expect("nothing happens to whoever has the number now");
    }

    #[tokio::test]
    async fn a_process_whose_number_was_given_to_another_is_not_adopted_and_not_hit() {
        let mut innocent = sleeper();
        let recycled = ProcessId { started: innocent.id().started - 1, ..innocent.id().clone() };
        assert!(Handle::adopt(&recycled).expect("looked").is_none());
        assert!(innocent.id().is_alive(), "the innocent lives");

        let stranger = Handle::adopt(innocent.id()).expect("looked").expect("it runs");
        stranger.signal(Signal::KILL).expect("signalled");
        stranger.ended().await.expect("ended");
        assert!(innocent.reap().is_some());
        assert!(Handle::adopt(innocent.id()).expect("looked").is_none());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error() {
        assert!(Handle::spawn(&mut Command::new("/no/such/program")).is_err());
    }
}
