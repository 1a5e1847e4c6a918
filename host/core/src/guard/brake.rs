//! The brake: when much turns unhealthy at once, the likelier truth is that the watcher is wrong, or that replacing everything would make
//! it worse.
//!
//! The brake is not a switch that somebody must reset. It follows from the records: it is on for as long as enough instances are
//! unhealthy that became so close together, and off when they have recovered, or when an operator says that they are believed. Those that
//! it let go, or that failed by themselves, count on for a window's length: else a fleet that turns one by one would be let go one by one.

use std::collections::BTreeMap;
use std::fmt;

use super::{Refusal, Scene};
use crate::instance::Instance;
use crate::state::DomainState;
use crate::time::{Millis, Timestamp};

/// A brake that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brake {
    /// The site, or the domain as a whole.
    pub site: Option<String>,
    /// How many turned unhealthy close together.
    pub unhealthy: u32,
    /// Of how many that there were then.
    pub of: u32,
    /// When the first of them did.
    pub since: Timestamp,
    /// When the last of them did.
    pub until: Timestamp,
    /// How many launches are still allowed, to replace the unhealthy.
    pub surge: u32,
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unhealthy, of, .. } = self;
        let where_ = self.site.as_ref().map_or_else(String::new, |site| format!(" at {site}"));
        let within = match self.until.since(self.since) {
            Millis::ZERO => "in the same moment".to_owned(),
            within => format!("within {within}"),
        };
        write!(f, "{unhealthy} of {of} instances{where_} turned unhealthy {within}: too many at once to be believed")
    }
}

impl Brake {
    /// The brake that holds requests for `site`, if one is on: that of the domain, else that of the site.
    pub fn on(state: &DomainState, now: Timestamp, site: Option<&str>) -> Option<Self> {
        if !state.config.general.brake.enabled {
            return None;
        }
        Self::over(state, now, None).or_else(|| Self::over(state, now, Some(site?)))
    }

    fn over(state: &DomainState, now: Timestamp, site: Option<&str>) -> Option<Self> {
        let config = &state.config.general.brake;
        let here = |instance: &&Instance| site.is_none_or(|site| instance.site == site);
        let believed = |since: Timestamp| state.brake_released.is_some_and(|released| since <= released);
        let still_there = state.unhealthy().map(|instance| &**instance).filter(|instance| instance.state.is_valid());
        let still_there = still_there.filter(here).filter_map(|it| Some((it.launched_at, it.unhealthy_since()?)));
        let let_go = state.let_go().map(|instance| &**instance).filter(here);
        // By the window they leave: what was let go long ago must not hold anybody.
        let let_go =
            let_go.filter_map(|it| Some((it.launched_at, it.unhealthy_at_end.filter(|since| now.since(*since) <= config.window)?)));
        let let_go = Turned::new(let_go.filter(|(_, since)| !believed(*since)), config.window);
        let all = Turned::new(still_there.filter(|(_, since)| !believed(*since)).chain(let_go.all.iter().copied()), config.window);
        if all.at.len() < config.floor as usize {
            return None;
        }
        let valid = state.instances().filter(|instance| instance.state.is_valid()).map(|instance| &**instance).filter(here);
        let mut launched: Vec<Timestamp> = valid.map(|instance| instance.launched_at).collect();
        launched.sort_unstable();
        let brake_since = |since: Timestamp| {
            let unhealthy = all.within(since);
            // What was launched since replaces the unhealthy; it does not make them fewer. Also not in the same millisecond: a decision that
            // follows a verdict at once is as fast as that.
            let there = launched.partition_point(|at| *at < since);
            let of = (there as u32 + let_go.within(since)).max(unhealthy);
            let until = all.at[..all.at.partition_point(|at| at.since(since) <= config.window)].last().copied().unwrap_or(since);
            let surge = unhealthy.saturating_sub((launched.len() - there) as u32);
            Self { site: None, unhealthy, of, since, until, surge }
        };
        let is_too_much =
            |brake: &Self| brake.unhealthy >= config.floor && f64::from(brake.unhealthy) >= config.share * f64::from(brake.of);
        let worst = all.at.iter().map(|since| brake_since(*since)).filter(is_too_much).max_by_key(|brake| brake.unhealthy)?;
        Some(Self { site: site.map(str::to_owned), ..worst })
    }
}

/// Instances that turned unhealthy, to be counted over any stretch of a window's length.
struct Turned {
    /// When each was launched, and when it turned.
    all: Vec<(Timestamp, Timestamp)>,
    /// When each turned, in order.
    at: Vec<Timestamp>,
    /// From when on a stretch holds each, in order: it ends late enough, and the instance was there when it began.
    held_from: Vec<Timestamp>,
}

impl Turned {
    fn new(turned: impl Iterator<Item = (Timestamp, Timestamp)>, window: Millis) -> Self {
        let all: Vec<_> = turned.collect();
        let mut at: Vec<Timestamp> = all.iter().map(|(_, at)| *at).collect();
        let mut held_from: Vec<Timestamp> = all.iter().map(|(launched, at)| (*at - window).max(*launched).min(*at)).collect();
        at.sort_unstable();
        held_from.sort_unstable();
        Self { all, at, held_from }
    }

    /// How many turned within the window that begins at `since`, of those that were there by then.
    fn within(&self, since: Timestamp) -> u32 {
        let begun = self.held_from.partition_point(|from| *from <= since);
        let over = self.at.partition_point(|at| *at < since);
        begun.saturating_sub(over) as u32
    }
}

/// What the brake says to terminations.
pub(super) struct Braked<'i> {
    pub(super) passed: Vec<&'i Instance>,
    pub(super) held: Vec<&'i Instance>,
    pub(super) because: Option<Refusal>,
    /// One of `passed` goes although the brake is on.
    pub(super) dripped: bool,
}

/// Which terminations the brake lets pass: all that it does not concern; after a long wait one at a time; else none.
pub(super) fn terminations<'i>(scene: &Scene<'_>, asked: Vec<&'i Instance>) -> Braked<'i> {
    let config = &scene.state.config.general.brake;
    let mut braked = Braked { passed: Vec::new(), held: Vec::new(), because: None, dripped: false };
    let by_domain = Brake::on(scene.state, scene.now, None);
    let mut by_site = BTreeMap::new();
    for instance in asked {
        let at_site = || Brake::on(scene.state, scene.now, Some(&instance.site));
        let Some(brake) = by_domain.as_ref().or_else(|| by_site.entry(&instance.site).or_insert_with(at_site).as_ref()) else {
            braked.passed.push(instance);
            continue;
        };
        let waited = scene.now.since(brake.until) > config.drip_after;
        let last_is_over = scene.state.brake_dripped.is_none_or(|last| scene.now.since(last) >= config.drip_every);
        if waited && last_is_over && scene.terminated == 0 && !braked.dripped {
            braked.dripped = true;
            braked.passed.push(instance);
        } else {
            braked.held.push(instance);
            braked.because.get_or_insert_with(|| Refusal::Brake(brake.to_string()));
        }
    }
    braked
}
