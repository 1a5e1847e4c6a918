//! What this host can see.
//!
//! Three things make it blind: the link to NATS is down, no echo of its own comes back over a link that pretends to be up, or messages were
//! dropped because they were not taken out fast enough. And it can find out late that it *was* blind: a ticker that comes late shows that
//! the process was stopped or starved. Domains learn both and leave that time out of what they hold against their instances.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use futures::StreamExt;
use pilothouse_core::time::{Millis, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use crate::nats::client::LinkEvent;

/// How often the host looks at itself.
const TICK: Duration = Duration::from_millis(250);
/// A tick that comes later than that shows that nothing was seen meanwhile. Well above what a loaded machine does to a timer.
const LATE: Millis = Millis::from_secs(1);
/// How long an echo may take before the link counts as dead.
const ECHO: Millis = Millis::from_secs(2);
/// How long eyes stay closed after messages were dropped: there are probably more.
const AFTER_DROPS: Millis = Millis::from_secs(2);
/// How far the wall clock may jump between two ticks before it is worth a word.
const JUMP: i64 = 1000;

/// What can be seen now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Since when nothing can be seen, and why.
    pub(crate) blind: Option<(Timestamp, String)>,
    /// Whether what is sent arrives.
    pub(crate) link: bool,
    /// Milliseconds of blindness that are over, all together: who looks seldom must not miss one that came and went.
    pub(crate) lost: u64,
}

/// The watch of one host, shared by its domains.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    view: watch::Receiver<View>,
    ticks: Arc<Mutex<Ticks>>,
}

#[derive(Debug)]
struct Ticks {
    last: Timestamp,
    /// Milliseconds in which the process did not run, all together.
    lost: u64,
}

impl Ticks {
    /// What is lost by `now`, counting a tick that is overdue.
    fn lost_by(&self, now: Timestamp) -> u64 {
        let gap = now.since(self.last);
        self.lost + if gap > LATE { gap.get() } else { 0 }
    }
}

impl Watch {
    /// Begins to watch. `lease` tells since when the ownership of this host is in doubt, if it is.
    pub(crate) fn start(
        client: Client,
        echo_subject: String,
        clock: Clock,
        events: mpsc::UnboundedReceiver<LinkEvent>,
        lease: watch::Receiver<Option<Timestamp>>,
        stop: CancellationToken,
    ) -> Self {
        let now = clock.now();
        let (sender, view) = watch::channel(View { blind: Some((now, "the link to NATS is not up yet".to_owned())), link: false, lost: 0 });
        let ticks = Arc::new(Mutex::new(Ticks { last: now, lost: 0 }));
        let watcher = Watcher { client, echo_subject, clock, events, lease, sender, ticks: Arc::clone(&ticks) };
        tokio::spawn(async move {
            tokio::select! {
                () = watcher.run() => {}
                () = stop.cancelled() => {}
            }
        });
        Self { view, ticks }
    }

    /// What can be seen, and changes of it.
    pub(crate) fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// How many milliseconds this process was stopped or starved, all together.
    pub(crate) fn lost_by(&self, now: Timestamp) -> u64 {
        self.ticks.lock().unwrap_or_else(PoisonError::into_inner).lost_by(now)
    }
}

struct Watcher {
    client: Client,
    echo_subject: String,
    clock: Clock,
    events: mpsc::UnboundedReceiver<LinkEvent>,
    lease: watch::Receiver<Option<Timestamp>>,
    sender: watch::Sender<View>,
    ticks: Arc<Mutex<Ticks>>,
}

impl Watcher {
    async fn run(mut self) {
        let mut echoes = loop {
            match self.client.subscribe(self.echo_subject.clone()).await {
                Ok(subscription) => break subscription,
                Err(error) => {
                    tracing::error!(%error, "can't subscribe to this host's own echo");
                    tokio::time::sleep(TICK).await;
                }
            }
        };
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut echoed = self.clock.now();
        let mut down: Option<Timestamp> = None;
        let mut dropped: Option<Timestamp> = None;
        let mut drift = self.clock.drift();
        loop {
            tokio::select! {
                // Events first: a link that went down explains an echo that is missing.
                biased;
                Some(event) = self.events.recv() => match event {
                    LinkEvent::Up => down = None,
                    LinkEvent::Down => { down.get_or_insert_with(|| self.clock.now()); }
                    LinkEvent::SlowConsumer => dropped = Some(self.clock.now()),
                    LinkEvent::Complaint(_) => {}
                },
                Some(_) = echoes.next() => echoed = self.clock.now(),
                _ = ticker.tick() => {
                    let now = self.clock.now();
                    let late = self.tick(now);
                    if late {
                        // What comes next is what piled up meanwhile.
                        echoed = now;
                    }
                    let moved = self.clock.drift() - drift;
                    if moved.abs() > JUMP {
                        tracing::warn!(milliseconds = moved, "the wall clock of this machine jumped; timers go on undisturbed");
                        drift += moved;
                    }
                    if down.is_some() && self.client.connection_state() == State::Connected {
                        // The word that it is up again may be lost among others.
                        down = None;
                        echoed = now;
                    }
                    if down.is_none() {
                        // Fails only when the link is down, and then the event says so.
                        let _ = timeout(TICK, self.client.publish(self.echo_subject.clone(), "".into())).await;
                    }
                }
            }
            let now = self.clock.now();
            dropped = dropped.filter(|since| now.since(*since) <= AFTER_DROPS);
            let blind = if let Some(since) = down {
                Some((since, "the link to NATS is down"))
            } else if now.since(echoed) > ECHO {
                Some((echoed, "NATS does not answer"))
            } else if let Some(since) = dropped {
                Some((since, "messages were dropped, because they came faster than they were taken"))
            } else {
                self.lease.borrow().map(|since| (since, "the lease of this host has run out"))
            };
            let link = down.is_none() && now.since(echoed) <= ECHO;
            self.tell(blind, link, now);
        }
    }

    /// Whether this tick came late, so that the process did not run meanwhile.
    fn tick(&self, now: Timestamp) -> bool {
        let mut ticks = self.ticks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ticks.lost;
        ticks.lost = ticks.lost_by(now);
        let gap = Millis::new(ticks.lost - before);
        ticks.last = now;
        if gap > Millis::ZERO {
            tracing::warn!("this process did not run for {gap}; what it could not hear is not held against anybody");
        }
        gap > Millis::ZERO
    }

    fn tell(&self, blind: Option<(Timestamp, &str)>, link: bool, now: Timestamp) {
        self.sender.send_if_modified(|view| match (&view.blind, blind) {
            (None, None) if view.link == link => false,
            (Some((_, was)), Some((_, is))) if was == is && view.link == link => false,
            (before, after) => {
                match (before, after) {
                    (Some((_, was)), Some((_, is))) if was == is => {}
                    (_, Some((_, why))) => tracing::warn!("blind: {why}"),
                    (_, None) => tracing::info!("seeing again"),
                }
                view.link = link;
                // A second reason continues the first: the time since the first is lost.
                let since = before.as_ref().map(|(since, _)| *since);
                if let (Some(since), None) = (since, after) {
                    view.lost += now.since(since).get();
                }
                view.blind = after.map(|(at, why)| (since.unwrap_or(at).min(at), why.to_owned()));
                true
            }
        });
    }
}
