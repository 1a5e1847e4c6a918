//! The brake: when much turns unhealthy at once, the likelier truth is that the watcher is wrong, or that replacing everything would make
//! it worse.
//!
//! The brake is not a switch that somebody must reset. It follows from the records: it is on for as long as enough instances are
//! unhealthy that became so close together, and off when they have recovered or gone, or when an operator says that they are believed.

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
        let within = self.until.since(self.since);
        write!(f, "{unhealthy} of {of} instances{where_} turned unhealthy within {within}: too many at once to be believed")
    }
}

impl Brake {
    /// The brake that holds requests for `site`, if one is on: that of the domain, else that of the site.
    pub fn on(state: &DomainState, now: Timestamp, site: Option<&str>) -> Option<Self> {
        if !state.config.general.brake.enabled || state.counts().unhealthy < state.config.general.brake.floor {
            return None;
        }
        Self::over(state, now, None).or_else(|| Self::over(state, now, Some(site?)))
    }

    fn over(state: &DomainState, now: Timestamp, site: Option<&str>) -> Option<Self> {
        let config = &state.config.general.brake;
        let here = |instance: &&Instance| site.is_none_or(|site| instance.site == site);
        let mut turned: Vec<Timestamp> = state
            .unhealthy()
            .map(|instance| &**instance)
            .filter(here)
            .filter(|instance| instance.state.is_valid())
            .filter_map(Instance::unhealthy_since)
            .filter(|since| state.brake_released.is_none_or(|released| *since > released))
            .collect();
        turned.sort_unstable();
        let (first, last) = densest(&turned, config.window)?;
        let (since, until) = (turned[first], turned[last]);
        let unhealthy = (last - first + 1) as u32;
        let (mut of, mut newer) = (0, 0);
        for instance in state.instances().map(|instance| &**instance).filter(here).filter(|instance| instance.state.is_valid()) {
            // What was launched since replaces the unhealthy; it does not make them fewer.
            if instance.launched_at <= since { of += 1 } else { newer += 1 }
        }
        let too_many = unhealthy >= config.floor && f64::from(unhealthy) >= config.share * f64::from(of);
        // Never in the future of the decision: clocks of records only go forward.
        debug_assert!(until <= now, "an instance turned unhealthy after now");
        too_many.then(|| Self { site: site.map(str::to_owned), unhealthy, of, since, until, surge: unhealthy.saturating_sub(newer) })
    }
}

/// The stretch of at most `window` that holds the most of these moments, as first and last position; the latest of equals.
fn densest(turned: &[Timestamp], window: Millis) -> Option<(usize, usize)> {
    let mut first = 0;
    let mut best: Option<(usize, usize)> = None;
    for last in 0..turned.len() {
        while turned[last].since(turned[first]) > window {
            first += 1;
        }
        if best.is_none_or(|(a, b)| last - first >= b - a) {
            best = Some((first, last));
        }
    }
    best
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
