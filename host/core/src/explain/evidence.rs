//! What a verdict of silence rests on.
//!
//! The monitor records its verdicts, not the heartbeats that led to them. But its rules are exact, so that a verdict, the moment it was
//! written and the windows in force tell what must have been: a bound that always holds, never a guess. Time during which the host could
//! not see does not count towards a window, so the silence may have been longer, never shorter.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::HealthConfig;
use crate::instance::Health;
use crate::record::{Change, Event, Record};
use crate::state::DomainState;
use crate::time::{Millis, Timestamp};

/// What a verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Evidence {
    /// Nothing was heard for a whole window.
    Silence {
        /// Which window.
        window: Window,
        /// Its length when the verdict was written, of time during which the host could see.
        length: Millis,
        /// Nothing was heard after this moment, perhaps not even before.
        since: Timestamp,
    },
    /// Its agent was asked for a sign of life and gave none for a whole *really missing* window.
    NoAnswer {
        /// When it was asked.
        asked: Timestamp,
        /// The length of the window.
        length: Millis,
    },
    /// Its agent was asked for a sign of life, and NATS knew of nobody who could have answered.
    NobodyThere {
        /// When it was asked.
        asked: Timestamp,
    },
    /// It was heard although it should have been gone for longer than this.
    StillHeard {
        /// The *zombie* window.
        length: Millis,
    },
}

/// A window of the health monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// From running to the first heartbeat.
    Boot,
    /// Between two heartbeats.
    Missing,
}

impl Window {
    /// The key of the configuration that holds it.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Boot => "health.boot_timeout",
            Self::Missing => "health.missing_timeout",
        }
    }
}

/// The windows in force at every record.
pub(super) struct Windows<'a> {
    /// From which sequence on which hold, oldest first. Before the first of them nothing is known.
    from: Vec<(u64, &'a HealthConfig)>,
}

impl<'a> Windows<'a> {
    /// Finds them in the newest records of a domain.
    pub(super) fn new(state: &'a DomainState, records: &'a [(u64, Record)]) -> Self {
        let mut from = Vec::new();
        for (sequence, record) in records {
            for event in &record.events {
                match event {
                    Event::Configured(configured) => match &configured.change {
                        Change::Added { config, .. } | Change::Reconfigured { config, .. } => from.push((*sequence, &config.health)),
                        _ => {}
                    },
                    Event::Snapshot(snapshot) => from.push((*sequence, &snapshot.config.health)),
                    Event::Restored(restored) => from.push((*sequence, &restored.state.config.health)),
                    _ => {}
                }
            }
        }
        if from.is_empty() {
            // Nobody changed them in all the time that is looked at.
            from.push((0, &state.config.health));
        }
        Self { from }
    }

    fn at(&self, sequence: u64) -> Option<&'a HealthConfig> {
        self.from.iter().rev().find(|(from, _)| *from <= sequence).map(|(_, windows)| *windows)
    }

    /// What a verdict rests on that was written at `sequence`. `before` is the health it had until then and since when, where known.
    pub(super) fn evidence(&self, sequence: u64, at: Timestamp, verdict: Health, before: Option<(Health, Timestamp)>) -> Option<Evidence> {
        let windows = self.at(sequence)?;
        let silence = |was: Health| {
            let window = if was == Health::Unknown { Window::Boot } else { Window::Missing };
            let length = if window == Window::Boot { windows.boot_timeout } else { windows.missing_timeout };
            Evidence::Silence { window, length, since: at - length }
        };
        match (verdict, before?) {
            (Health::OutOfContact, (Health::OutOfContact, _)) | (Health::Missing, (Health::Missing, _)) => None,
            (Health::Missing, (Health::OutOfContact, asked)) if at.since(asked) > windows.really_missing_timeout => {
                Some(Evidence::NoAnswer { asked, length: windows.really_missing_timeout })
            }
            // Sooner than the window allows: only the news that nobody is there does that.
            (Health::Missing, (Health::OutOfContact, asked)) => Some(Evidence::NobodyThere { asked }),
            (Health::OutOfContact | Health::Missing, (was, _)) => Some(silence(was)),
            (Health::Zombie, _) => Some(Evidence::StillHeard { length: windows.zombie_seconds }),
            _ => None,
        }
    }
}
