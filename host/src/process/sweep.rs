//! What is left of an instance: its processes are found by the mark they carry, and ended.

use std::ffi::OsStr;
use std::io;
use std::time::Duration;

use procfs::process::{Process, all_processes};
use rustix::process::Signal;

use super::identity::runs;
use super::{Handle, ProcessId};

/// The environment variable that says to which instance a process belongs. Its workers and all that they start inherit it.
pub const INSTANCE_MARK: &str = "PILOTHOUSE_INSTANCE";

/// The environment variable that says for which instance a process is the agent. Agents take it out of their workers' environment.
pub const AGENT_MARK: &str = "PILOTHOUSE_AGENT";

/// Between two looks that must agree. A process that is just being replaced by another program shows no environment; that takes well
/// under a millisecond.
const SECOND_LOOK: Duration = Duration::from_millis(10);

/// How long one round waits for those it killed.
const ROUND: Duration = Duration::from_secs(1);

/// One process of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub id: ProcessId,
    /// It carries the mark of the agent.
    pub is_agent: bool,
}

/// Every living process of an instance but ourselves: those that carry its mark, and those of the group that its agent led.
///
/// The number of a group can be given to others once all its members are gone. So a group counts only while its `leader` still has its
/// number, or while somebody in it carries the mark.
///
/// # Errors
/// When `/proc` can't be read.
pub async fn members(instance: &str, leader: Option<&ProcessId>) -> io::Result<Vec<Member>> {
    let (instance, leader) = (instance.to_owned(), leader.cloned());
    tokio::task::spawn_blocking(move || look(&instance, leader.as_ref())).await.map_err(io::Error::other)?
}

/// As [`members`], but nobody is only said when two looks agree.
///
/// # Errors
/// When `/proc` can't be read.
pub async fn members_for_sure(instance: &str, leader: Option<&ProcessId>) -> io::Result<Vec<Member>> {
    let first = members(instance, leader).await?;
    if !first.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(SECOND_LOOK).await;
    members(instance, leader).await
}

/// Kills every process of an instance but ourselves and returns when none is left; says which it killed.
///
/// `leader` is the agent, if it is known: alive, or ended and not yet waited for, or long gone.
///
/// # Errors
/// When some of them are still there after a round of kills: they wait for a device, or belong to another user. Sweep again later.
pub async fn sweep(instance: &str, leader: Option<&ProcessId>) -> io::Result<Vec<ProcessId>> {
    let mut killed = Vec::new();
    let end = tokio::time::Instant::now() + ROUND;
    loop {
        let found = members_for_sure(instance, leader).await?;
        if found.is_empty() {
            return Ok(killed);
        }
        if tokio::time::Instant::now() >= end {
            let left: Vec<_> = found.iter().map(|member| member.id.to_string()).collect();
            return Err(io::Error::other(format!("processes that do not die: {}", left.join(", "))));
        }
        let mut dying = Vec::new();
        for member in found {
            let Some(handle) = Handle::adopt(&member.id)? else { continue };
            // A refusal shows in the next look: the process is still there.
            if handle.signal(Signal::KILL).is_ok() {
                dying.push(handle);
            }
        }
        for handle in dying {
            // Out of patience or ended: the next look decides.
            let _ = tokio::time::timeout_at(end, handle.ended()).await;
            if !killed.contains(handle.id()) {
                killed.push(handle.id().clone());
            }
        }
    }
}

fn look(instance: &str, leader: Option<&ProcessId>) -> io::Result<Vec<Member>> {
    let own = std::process::id();
    let group = leader.and_then(|leader| i32::try_from(leader.pid).ok());
    let mut marked = Vec::new();
    let mut in_group = Vec::new();
    let mut group_is_ours = leader.is_some_and(ProcessId::has_its_number);
    for process in all_processes().map_err(io::Error::other)?.flatten() {
        // One that ends while we look, or is another user's, is passed over.
        let Ok(stat) = process.stat() else { continue };
        let Some(id) = ProcessId::from_stat(&stat) else { continue };
        if id.pid == own || !runs(&stat) {
            continue;
        }
        let mark = mark_of(&process, instance);
        let is_in_group = Some(stat.pgrp) == group;
        if let Some(is_agent) = mark {
            group_is_ours |= is_in_group;
            marked.push(Member { id, is_agent });
        } else if is_in_group {
            in_group.push(Member { id, is_agent: false });
        }
    }
    if group_is_ours {
        marked.extend(in_group);
    }
    Ok(marked)
}

/// Whether a process carries the mark of the instance, and whether it is its agent.
fn mark_of(process: &Process, instance: &str) -> Option<bool> {
    let environment = process.environ().ok()?;
    let carries = |mark: &str| environment.get(OsStr::new(mark)).is_some_and(|value| value == instance);
    carries(INSTANCE_MARK).then(|| carries(AGENT_MARK))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    /// A mark that no other test uses.
    fn instance(name: &str) -> String {
        format!("sweep-{name}-{}", std::process::id())
    }

    fn start(instance: &str, program: &str, group: i32) -> Handle {
        let mut command = Command::new("sh");
        Handle::spawn(command.args(["-c", program]).env(INSTANCE_MARK, instance).process_group(group)).expect("sh starts")
    }

    #[tokio::test]
    async fn a_process_that_left_its_group_and_session_is_swept() {
        let instance = instance("setsid");
        let mut runaway = start(&instance, "setsid sh -c 'sleep 1000 & wait' & wait", 0);
        while members(&instance, None).await.expect("looked").len() < 3 {
            tokio::time::sleep(SECOND_LOOK).await;
        }
        let killed = sweep(&instance, None).await.expect("swept");
        assert!(killed.len() >= 3, "{killed:?}");
        assert!(killed.iter().all(|id| !id.is_alive()));
        assert!(runaway.reap().is_some());
    }

    #[tokio::test]
    async fn a_process_that_dropped_its_mark_is_swept_with_the_group_of_its_leader() {
        let instance = instance("group");
        let mut leader = start(&instance, "env -u PILOTHOUSE_INSTANCE sleep 1000 & wait", 0);
        while members(&instance, Some(leader.id())).await.expect("looked").len() < 2
            || members(&instance, None).await.expect("looked").len() > 1
        {
            tokio::time::sleep(SECOND_LOOK).await;
        }
        leader.signal(Signal::KILL).expect("signalled");
        leader.ended().await.expect("ended");
        let killed = sweep(&instance, Some(leader.id())).await.expect("swept");
        assert_eq!(killed.len(), 1, "the leader ended before, but its number still says whose the group is");
        assert!(leader.reap().is_some());
    }

    #[tokio::test]
    async fn a_group_whose_number_was_given_to_others_is_left_alone() {
        let mut innocent = start("somebody-else", "exec sleep 1000", 0);
        let gone = ProcessId { started: innocent.id().started - 1, ..innocent.id().clone() };
        assert_eq!(sweep(&instance("recycled"), Some(&gone)).await.expect("swept"), []);
        assert!(innocent.id().is_alive());
        innocent.signal(Signal::KILL).expect("signalled");
        innocent.ended().await.expect("ended");
        assert!(innocent.reap().is_some());
    }
}
