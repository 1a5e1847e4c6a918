//! The life of one instance, from its agent's start to the moment when nothing is left of it.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use pilothouse_core::instance::State;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::instance::Instance;
use super::means::Means;
use crate::agent::{LOCK_FILE, READY_FILE};
use crate::failpoint;
use crate::process::{Handle, ProcessId, Signal, sweep};

/// How long an agent has to start its workers. It takes milliseconds; one that does not by then never will.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Between two looks for the file that says that an agent is ready.
const READY_LOOK: Duration = Duration::from_millis(25);

/// Between two attempts to end what does not die, growing up to the last.
const SWEEP_PAUSES: [Duration; 4] = [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10)];

/// How an instance comes to life here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It was just taken on.
    Fresh,
    /// It was taken on before this provisioner was started.
    Found,
}

/// How it comes to its end.
#[derive(Debug)]
enum Ending {
    Asked,
    AgentEnded,
    Failed(String),
}

/// Leads an instance through its life. Returns when it is gone and nothing of it is left.
pub(super) async fn lead(instance: &Instance, means: &Means, beginning: Beginning) {
    let (agent, ending) = match bring_up(instance, means, beginning).await {
        Ok(Some(agent)) => {
            let ending = watch(instance, means, &agent).await;
            (Some(agent), ending)
        }
        Ok(None) => (None, Ending::Asked),
        Err(reason) => (None, Ending::Failed(reason)),
    };
    let status = bury(instance, means, agent, &ending).await;
    let (state, reason) = match ending {
        // It was asked for meanwhile, or before.
        _ if instance.end.is_cancelled() => (State::Terminated, instance.record().await.reason),
        Ending::Asked => (State::Terminated, None),
        Ending::AgentEnded => (State::Failed, Some(words(status, instance, means))),
        Ending::Failed(reason) => (State::Failed, Some(reason)),
    };
    instance.reached(means, state, reason).await;
    means.tidy(&instance.id).await;
}

/// Ends whatever is left of an instance, its agent first if it is known. Returns when nothing is left.
pub(super) async fn clear(instance: &Instance, means: &Means, agent: Option<&ProcessId>) {
    let mut pauses = SWEEP_PAUSES.into_iter().chain(std::iter::repeat(SWEEP_PAUSES[SWEEP_PAUSES.len() - 1]));
    loop {
        let swept = {
            // Closed never.
            let _permit = means.sweeps.acquire().await;
            sweep::sweep(instance.id.as_str(), agent).await
        };
        match swept {
            Ok(killed) if killed.is_empty() => return,
            Ok(killed) => {
                tracing::warn!(instance = %instance.id, processes = killed.len(), "killed what was left of it");
                return;
            }
            Err(error) => tracing::error!(instance = %instance.id, %error, "can't be cleared; trying again"),
        }
        sleep(pauses.next().unwrap_or_default()).await;
    }
}

/// Starts the agent, or finds it again. Nothing when its end was asked for before it was started.
async fn bring_up(instance: &Instance, means: &Means, beginning: Beginning) -> Result<Option<Handle>, String> {
    if beginning == Beginning::Found {
        let record = instance.record().await;
        match record.agent {
            Some(agent) if !agent.is_of_this_boot() => return Err("the machine was started anew".to_owned()),
            Some(agent) => return adopt(&agent)?.map(Some).ok_or_else(|| GONE_MEANWHILE.to_owned()),
            None => {}
        }
        if let Some(agent) = find(instance, means).await? {
            instance.is_led_by(means, agent.id().clone()).await;
            return Ok(Some(agent));
        }
        if crate::clock::now() > record.promise.not_after {
            return Err("its provisioner was away until it was too late to start it".to_owned());
        }
    }
    let _permit = tokio::select! {
        () = instance.end.cancelled() => return Ok(None),
        permit = means.starts.acquire() => permit,
    };
    let intent = instance.promise(means, |record| record.advance(State::Pending, None, crate::clock::now())).await;
    intent.map_err(|error| format!("its start could not be recorded: {error}"))?;
    if instance.end.is_cancelled() {
        return Ok(None);
    }
    let has_credentials = instance.record().await.has_credentials;
    failpoint::reach("before-spawn", "agent");
    let agent = means.start_agent(&instance.id, has_credentials).map_err(|error| format!("{error:#}"))?;
    failpoint::reach("after-spawn", "agent");
    instance.is_led_by(means, agent.id().clone()).await;
    Ok(Some(agent))
}

const GONE_MEANWHILE: &str = "its agent was gone when its provisioner came back";

/// Looks for the agent of an instance whose start was recorded as intended and nothing more. Nothing when it was never started.
async fn find(instance: &Instance, means: &Means) -> Result<Option<Handle>, String> {
    let look = |error: io::Error| format!("its processes could not be looked for: {error}");
    let members = sweep::members_for_sure(instance.id.as_str(), None).await.map_err(look)?;
    match members.iter().find(|member| member.is_agent) {
        Some(agent) => adopt(&agent.id)?.map(Some).ok_or_else(|| GONE_MEANWHILE.to_owned()),
        // Workers without an agent, or the trace of one.
        None if !members.is_empty() || means.records.directory(&instance.id).join(LOCK_FILE).exists() => Err(GONE_MEANWHILE.to_owned()),
        None => Ok(None),
    }
}

fn adopt(agent: &ProcessId) -> Result<Option<Handle>, String> {
    Handle::adopt(agent).map_err(|error| format!("its agent {agent} can't be watched: {error}"))
}

/// Watches over a running agent until it ends, or its end is asked for.
async fn watch(instance: &Instance, means: &Means, agent: &Handle) -> Ending {
    let life = async {
        if instance.record().await.state < State::Running {
            if timeout(READY_WITHIN, ready(instance, means)).await.is_err() {
                return Ending::Failed(format!("its agent was not ready within {READY_WITHIN:?}"));
            }
            instance.reached(means, State::Running, None).await;
        }
        std::future::pending().await
    };
    // Most telling first: an agent that ended while its end was asked for has ended as asked.
    tokio::select! {
        biased;
        () = instance.end.cancelled() => Ending::Asked,
        ended = agent.ended() => match ended {
            Ok(()) => Ending::AgentEnded,
            Err(error) => Ending::Failed(format!("its agent can't be watched: {error}")),
        },
        ending = life => ending,
    }
}

async fn ready(instance: &Instance, means: &Means) {
    let file = means.records.directory(&instance.id).join(READY_FILE);
    let mut look = interval(READY_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !file.exists() {
        look.tick().await;
    }
}

/// Ends an agent and everything of its instance; tells how the agent ended, if that can be known.
async fn bury(instance: &Instance, means: &Means, agent: Option<Handle>, ending: &Ending) -> Option<ExitStatus> {
    let Some(mut agent) = agent else {
        let known = instance.record().await.agent;
        clear(instance, means, known.as_ref()).await;
        return None;
    };
    if !matches!(ending, Ending::AgentEnded) {
        if let Err(error) = agent.signal(Signal::TERM) {
            tracing::warn!(instance = %instance.id, %error, "its agent can't be signalled");
        }
        if timeout(means.agents_grace(), agent.ended()).await.is_err() {
            tracing::warn!(instance = %instance.id, "its agent did not end when asked; killing it");
        }
    }
    // Before the number of the agent is given back: until then it says whose the process group is.
    clear(instance, means, Some(agent.id())).await;
    agent.reap()
}

/// How an agent ended, in words; with what it said last, if it gave up by itself.
fn words(status: Option<ExitStatus>, instance: &Instance, means: &Means) -> String {
    let Some(status) = status else {
        return "its agent ended by itself; how is not known, for it was started by an earlier run of its provisioner".to_owned();
    };
    let said = status.code().filter(|code| *code != 0).and_then(|_| means.last_words(&instance.id));
    let colon = if said.is_some() { ": " } else { "" };
    format!("its agent ended by itself ({status}){colon}{}", said.unwrap_or_default())
}
