//! A journal for tests of what is told from it.

use bytes::Bytes;
use pilothouse_core::config::DomainConfig;
use pilothouse_core::name::{DomainKey, Slot};
use pilothouse_core::record::{Change, Configured, DecidedLaunch, Decision, EngineInForce, Event, Record};
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;
use serde_json::Value;

use crate::store::{Append, Appended, Journal, MemoryJournal, Tip};

/// A domain whose journal grows by a record a second.
pub(super) struct Writer {
    pub(super) journal: MemoryJournal,
    pub(super) state: DomainState,
    tip: Tip,
    /// The moment of the newest record, in seconds.
    pub(super) at: u64,
}

impl Writer {
    pub(super) async fn new() -> Self {
        let key = DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") };
        let state = DomainState::absent(key, Slot(7));
        let mut writer = Self { journal: MemoryJournal::default(), state, tip: Tip::default(), at: 1000 };
        let engine = EngineInForce { name: "simplest".to_owned(), version: "0.1.0".to_owned(), digest: "00".to_owned() };
        writer.change(Change::Added { config: DomainConfig::default(), engine }).await;
        writer
    }

    pub(super) async fn write(&mut self, event: Event) {
        self.at += 1;
        let record = Record::new(Timestamp::from_secs(self.at), 1, vec![event]);
        let append = Append { after: self.tip, is_snapshot: record.is_snapshot(), bytes: Bytes::from(record.to_bytes()) };
        let Ok(Appended::Committed { tip }) = self.journal.append(&self.state.key, append).await else { panic!("not committed") };
        self.tip = tip;
        self.state.apply(tip.sequence, &record);
    }

    pub(super) async fn change(&mut self, change: Change) {
        let by = "ann".parse().expect("a name");
        self.write(Event::Configured(Configured { by, request: None, answer: Value::Null, change })).await;
    }

    /// So many decisions, with a snapshot before every five hundredth.
    pub(super) async fn decide(&mut self, count: u32) {
        for n in 0..count {
            if n > 0 && n % 500 == 0 {
                let snapshot = Event::Snapshot(Box::new(self.state.clone()));
                self.write(snapshot).await;
            }
            let reason = format!("decision at {}", self.at + 1);
            self.write(Event::Decided(Box::new(Decision { reason, ..Decision::default() }))).await;
        }
    }

    /// A launch of instances with these ids, numbered from the next number of the domain on.
    pub(super) async fn launch(&mut self, launch: &str, ids: &[&str]) {
        let launch = DecidedLaunch {
            launch: launch.parse().expect("an id"),
            deployable_type: "worker".to_owned(),
            site: "local".to_owned(),
            allocation: "small".to_owned(),
            extra_vars: vec![],
            replaces: None,
            asked: ids.len() as u32,
            instances: ids.iter().map(|id| id.parse().expect("an id")).collect(),
            refused: None,
            rulings: vec![],
        };
        self.write(Event::Decided(Box::new(Decision { launches: vec![launch], ..Decision::default() }))).await;
    }
}
