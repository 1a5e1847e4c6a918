//! What happened, for those who watch: people, programs, subscribers.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cycle::Status;
use crate::engine::{Compared, SwapReason};
use crate::id::InstanceId;
use crate::instance::{Health, Instance, State};
use crate::message::Notice;
use crate::name::{DomainKey, Name};
use crate::record::{Change, Configured, EngineInForce, Event, Record, Subscriber};
use crate::schedule::{Turn, key_changes};
use crate::state::{DomainState, Life};
use crate::time::Timestamp;

/// Something that happened in a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Happening {
    /// Which domain.
    pub domain: DomainKey,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A host took the domain.
    Taken {
        /// Which.
        host: Name,
        /// The how-manieth time it was taken.
        epoch: u64,
    },
    /// Somebody changed the domain.
    Configured {
        /// Who.
        by: Name,
        /// In words.
        change: String,
    },
    /// Windows of its schedule began or ended.
    Scheduled(Turn),
    /// An instance has come to another state or health.
    Instance {
        /// Its id.
        node_id: InstanceId,
        /// The how-manieth of its domain.
        ordinal: u64,
        /// Its state.
        state: State,
        /// Its health.
        health: Health,
        /// Why, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The engine decided something that is new.
    Decided {
        /// What it says of the domain.
        status: Status,
        /// In its words.
        reason: String,
        /// Instances that it launches.
        launches: usize,
        /// Instances that it terminates.
        terminations: usize,
        /// What the guards held back.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        held_back: Vec<String>,
    },
    /// An engine call failed.
    Faulted {
        /// In words.
        message: String,
        /// How many in a row.
        in_a_row: u32,
    },
    /// Another version of its engine is in force, although nobody changed the domain.
    Swapped {
        /// Which.
        engine: EngineInForce,
        /// Why, in words.
        why: String,
        /// The version before had failed.
        rolled_back: bool,
    },
    /// Its engine is not asked any more, until somebody changes something.
    Held {
        /// Which.
        engine: EngineInForce,
        /// Why, in words.
        why: String,
    },
    /// What runs beside wanted something else.
    Differed {
        /// Which.
        engine: EngineInForce,
        /// In what, in words.
        difference: String,
    },
    /// A snapshot was larger than the journal takes, and was left out: the domain goes on without.
    SnapshotLeftOut {
        /// How large it would have been, in bytes.
        bytes: u64,
        /// The largest that the journal takes.
        most: u64,
    },
    /// The domain is again what a backup says.
    Restored {
        /// Who restored it.
        by: Name,
        /// When the backup was made.
        backup_at: Timestamp,
    },
    /// The domain is gone.
    Removed,
}

/// What there is to tell of a record that was committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// For those who watch.
    pub happenings: Vec<Happening>,
    /// For subscribers: whom, and what.
    pub notices: Vec<(Subscriber, Notice)>,
}

impl Told {
    /// Folds a record in that the journal holds at `sequence`, and tells what that is worth.
    pub fn by_folding(state: &mut DomainState, sequence: u64, record: &Record) -> Self {
        let recorder = Recorder::new(state, record);
        let touched = state.apply(sequence, record);
        recorder.finish(state, &touched, record)
    }
}

/// Compares the instances that a record names before and after it is folded in.
pub(super) struct Recorder {
    before: BTreeMap<InstanceId, (State, Health)>,
    /// What was in effect, where other windows are on from then.
    scheduled: Option<InEffect>,
}

/// The windows that were on, and what the engine was given with them: the record may bring a configuration that knows nothing of either.
struct InEffect {
    windows: Vec<Name>,
    /// Nothing of a domain that only begins.
    engine_conf: Option<Map<String, Value>>,
}

impl Recorder {
    pub(super) fn new(state: &DomainState, record: &Record) -> Self {
        let mut before = BTreeMap::new();
        let mut note = |id: &InstanceId| {
            if let Some(instance) = state.instance(id) {
                before.insert(id.clone(), (instance.state, instance.health));
            }
        };
        for event in &record.events {
            match event {
                Event::Reported(reported) => note(&reported.id),
                Event::Judged(judged) => note(&judged.id),
                Event::Configured(Configured { change: Change::Killed { id, .. } | Change::Protected { id, .. }, .. }) => note(id),
                Event::Decided(decision) => {
                    decision.terminations.iter().flat_map(|it| it.accepted.iter().chain(&it.again)).for_each(&mut note);
                }
                _ => {}
            }
        }
        let scheduled = record.events.iter().any(|event| matches!(event, Event::Scheduled(_)));
        let in_effect = || InEffect {
            windows: state.windows.clone(),
            engine_conf: (state.life == Life::Active).then(|| state.engine_conf().into_owned()),
        };
        Self { before, scheduled: scheduled.then(in_effect) }
    }

    pub(super) fn finish(self, state: &DomainState, touched: &[u64], record: &Record) -> Told {
        let happened = |what| Happening { domain: state.key.clone(), at: record.at, what };
        let mut happenings: Vec<Happening> = record.events.iter().filter_map(|event| of_event(event, record)).map(happened).collect();
        let turn = self.scheduled.and_then(|before| before.turn(state));
        happenings.extend(turn.map(What::Scheduled).map(happened));
        let (mut notices, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
        for instance in touched.iter().filter(|ordinal| seen.insert(**ordinal)).filter_map(|ordinal| state.instance_at(*ordinal)) {
            let before = self.before.get(&instance.id);
            if before == Some(&(instance.state, instance.health)) {
                continue;
            }
            happenings.push(happened(of_instance(instance)));
            let told_before = before.and_then(|(state, _)| Notice::state(*state));
            let notice = Notice::of(&state.key.name, instance).filter(|notice| Some(notice.state) != told_before);
            notices.extend(notice.iter().flat_map(|notice| state.subscribers.iter().map(|whom| (whom.clone(), notice.clone()))));
        }
        Told { happenings, notices }
    }
}

impl InEffect {
    /// What changed since; nothing, where no window began or ended.
    fn turn(self, state: &DomainState) -> Option<Turn> {
        let turn = state.config.turn(&self.windows, &state.windows)?;
        Some(match self.engine_conf {
            Some(before) => Turn { changes: key_changes(&before, &state.engine_conf()), ..turn },
            None => turn,
        })
    }
}

fn of_instance(instance: &Arc<Instance>) -> What {
    let ends = instance.state >= State::Terminating;
    let reason = if ends { instance.end_reason.clone() } else { instance.errors.list.first().map(|problem| problem.line()) };
    What::Instance { node_id: instance.id.clone(), ordinal: instance.ordinal, state: instance.state, health: instance.health, reason }
}

fn of_event(event: &Event, record: &Record) -> Option<What> {
    Some(match event {
        Event::Took { host } => What::Taken { host: host.clone(), epoch: record.epoch },
        Event::Configured(Configured { change: Change::Nothing, .. }) => return None,
        Event::Configured(configured) => What::Configured { by: configured.by.clone(), change: configured.change.in_words() },
        Event::Decided(decision) => What::Decided {
            status: decision.status,
            reason: decision.reason.clone(),
            launches: decision.launches.iter().map(|launch| launch.instances.len()).sum(),
            terminations: decision.terminations.iter().map(|termination| termination.accepted.len()).sum(),
            held_back: decision.held_back(),
        },
        Event::Faulted(faulted) => What::Faulted {
            message: format!("{} in {}: {}", faulted.kind.name(), faulted.call, faulted.message),
            in_a_row: faulted.in_a_row,
        },
        Event::Swapped(swapped) => What::Swapped {
            engine: swapped.engine.clone(),
            why: swapped.in_words(),
            rolled_back: matches!(swapped.why, SwapReason::RolledBack { .. }),
        },
        Event::Held(held) => What::Held { engine: held.engine.clone(), why: held.in_words() },
        Event::Compared(compared) => {
            let Compared { engine, tally, requested, .. } = &**compared;
            let last = tally.last.as_ref().filter(|last| requested.is_some() || last.at == record.at)?;
            What::Differed { engine: engine.clone(), difference: last.words.clone() }
        }
        Event::Removed => What::Removed,
        Event::Restored(restored) => What::Restored { by: restored.by.clone(), backup_at: restored.backup_at },
        Event::Reported(_) | Event::Judged(_) | Event::Scheduled(_) | Event::Snapshot(_) => return None,
    })
}
