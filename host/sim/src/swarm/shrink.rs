//! Makes a scenario that fails smaller, for as long as it fails.
//!
//! Delta debugging: whole stretches of the timeline are left out, first halves, then quarters, then single entries; what repeats is cut short
//! or happens once; sections of the configuration go, then single keys, then numbers become smaller. All of that again until nothing can go.

use serde_json::{Map, Value, json};

use crate::event::Of;
use crate::scenario::{Guards, Scenario, Who};
use crate::timeline::{Entry, Ticks};

/// How often a scenario is tried at most: shrinking must come to an end although each try may be long.
const MOST_TRIES: usize = 3000;

/// Up to how many times something that repeats is written out, so that each can go by itself.
const WRITTEN_OUT: usize = 64;

/// How many other seeds are tried, to do with fewer events.
const OTHER_SEEDS: u64 = 16;

/// The smallest scenario found for which `fails` holds, as it does for `scenario`.
pub fn shrink(scenario: &Scenario, fails: impl FnMut(&Scenario) -> bool) -> Scenario {
    let mut shrinking = Shrinking { best: scenario.clone(), fails, tries: 0 };
    loop {
        let before = shrinking.best.clone();
        shrinking.end_earlier();
        shrinking.leave_out();
        shrinking.draw_again();
        shrinking.shorten();
        shrinking.simplify();
        shrinking.write_out();
        if shrinking.best == before || shrinking.tries >= MOST_TRIES {
            return shrinking.best;
        }
    }
}

struct Shrinking<F> {
    best: Scenario,
    fails: F,
    tries: usize,
}

impl<F: FnMut(&Scenario) -> bool> Shrinking<F> {
    /// Takes a candidate if it still fails.
    fn try_with(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        if candidate == self.best || self.tries >= MOST_TRIES {
            return false;
        }
        self.tries += 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    /// Nothing happens after a moment.
    fn end_earlier(&mut self) {
        let end = |it: &Scenario| it.events.iter().map(|entry| entry.until.unwrap_or(entry.at)).fold(0.0, f64::max);
        let mut cut = end(&self.best) / 2.0;
        while cut >= 1.0 {
            let until = (end(&self.best) - cut).floor();
            let earlier = |it: &mut Scenario| {
                it.events.retain(|entry| entry.at <= until);
                it.events.iter_mut().for_each(|entry| entry.until = entry.until.map(|known| known.min(until)));
            };
            if !self.try_with(earlier) {
                cut /= 2.0;
            }
        }
    }

    /// Stretches of the timeline, ever shorter ones.
    fn leave_out(&mut self) {
        let mut stretch = self.best.events.len().div_ceil(2);
        while stretch > 0 {
            let mut from = 0;
            while from < self.best.events.len() {
                let to = (from + stretch).min(self.best.events.len());
                if !self.try_with(|it| drop(it.events.drain(from..to))) {
                    from = to;
                }
            }
            stretch = if stretch == 1 { 0 } else { stretch.div_ceil(2) };
        }
    }

    /// An engine that draws may do with other numbers in few steps what it did in many.
    fn draw_again(&mut self) {
        self.try_with(|it| it.events.sort_by(|one, other| one.at.total_cmp(&other.at)));
        for fewer in [|all: usize| all / 2, |all: usize| all.saturating_sub(1)] as [fn(usize) -> usize; 2] {
            loop {
                let left = fewer(self.best.events.len());
                let draw = |seed: u64| {
                    move |it: &mut Scenario| {
                        it.seed = seed;
                        it.events.truncate(left);
                    }
                };
                if left == self.best.events.len() || !(0..OTHER_SEEDS).any(|seed| self.try_with(draw(seed))) {
                    break;
                }
            }
        }
    }

    /// What repeats happens once or less often; of several ticks and several instances one is enough.
    fn shorten(&mut self) {
        for nth in 0..self.best.events.len() {
            let first = |entry: &mut Entry| (entry.every, entry.until) = (None, None);
            if !self.try_with(|it| first(&mut it.events[nth])) {
                // Only the last time; else half as often, or half as long.
                let last = |entry: &mut Entry| {
                    if let (Some(every), Some(until)) = (entry.every, entry.until) {
                        entry.at += every * ((until - entry.at) / every).floor().max(0.0);
                        (entry.every, entry.until) = (None, None);
                    }
                };
                self.try_with(|it| last(&mut it.events[nth]));
                while self.try_with(|it| {
                    let entry = &mut it.events[nth];
                    entry.until = entry.until.map(|until| (entry.at + (until - entry.at) / 2.0).floor().max(entry.at));
                }) {}
            }
            let ticks = match &self.best.events[nth].tick {
                Some(Ticks::Several(ticks)) => ticks.clone(),
                _ => Vec::new(),
            };
            for tick in ticks {
                if self.try_with(|it| it.events[nth].tick = Some(Ticks::One(tick))) {
                    break;
                }
            }
            while self.fewer_instances(nth) {}
            self.plainer_message(nth);
            self.try_with(|it| it.events[nth].at = it.events[nth].at.floor());
        }
    }

    fn fewer_instances(&mut self, nth: usize) -> bool {
        let Some(Of::Each(all)) = of(&mut self.best.events[nth]).cloned() else { return false };
        let fewer =
            |nth: usize, without: Vec<u64>| move |it: &mut Scenario| *of(&mut it.events[nth]).expect("it named some") = Of::Each(without);
        let half = all.len().div_ceil(2);
        self.try_with(fewer(nth, all[..half].to_vec()))
            || self.try_with(fewer(nth, all[half..].to_vec()))
            || (0..all.len()).any(|gone| {
                let without = all.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, id)| *id).collect();
                self.try_with(fewer(nth, without))
            })
    }

    fn plainer_message(&mut self, nth: usize) {
        self.try_with(|it| {
            if let Some(report) = &mut it.events[nth].report {
                (report.fields, report.generate_address) = (Map::new(), false);
            }
        });
        self.try_with(|it| {
            if let Some(beat) = &mut it.events[nth].heartbeat {
                (beat.error, beat.error_time, beat.failed_processes) = (None, None, None);
            }
        });
    }

    /// What is configured: whole sections, then keys, then smaller numbers.
    fn simplify(&mut self) {
        self.try_with(|it| it.title.clear());
        self.try_with(|it| it.start = None);
        self.try_with(|it| it.seed = 0);
        self.try_with(|it| it.domain = Who::default());
        self.try_with(|it| it.agent = Default::default());
        self.try_with(|it| it.guards = Guards::default());
        for guard in [
            (|it| it.pause = false) as fn(&mut Guards),
            |it| it.dry_run = false,
            |it| it.blind = true,
            |it| it.brake = true,
            |it| it.budget = true,
            |it| it.quota = true,
            |it| it.back_off = true,
        ] {
            self.try_with(|it| guard(&mut it.guards));
        }
        self.try_with(|it| it.events.sort_by(|one, other| one.at.total_cmp(&other.at)));
        for section in
            [|it| &mut it.general, |it| &mut it.health, |it| &mut it.engine_conf] as [fn(&mut Scenario) -> &mut Map<String, Value>; 3]
        {
            self.try_with(|it| section(it).clear());
            let keys: Vec<String> = section(&mut self.best).keys().cloned().collect();
            for key in keys {
                if self.try_with(|it| drop(section(it).remove(&key))) {
                    continue;
                }
                let number = |it: &mut Scenario| section(it).get(&key).and_then(Value::as_u64);
                for smaller in [0, 1, 2] {
                    if number(&mut self.best).is_some_and(|known| known > smaller)
                        && self.try_with(|it| drop(section(it).insert(key.clone(), json!(smaller))))
                    {
                        break;
                    }
                }
                while let Some(known) = number(&mut self.best).filter(|known| *known > 1) {
                    if !self.try_with(|it| drop(section(it).insert(key.clone(), json!(known / 2)))) {
                        break;
                    }
                }
            }
        }
    }

    /// What repeats a few times is written out: the next round can leave each out.
    fn write_out(&mut self) {
        for nth in (0..self.best.events.len()).rev() {
            let entry = &self.best.events[nth];
            let (Some(every), Some(until)) = (entry.every, entry.until) else { continue };
            let times = ((until - entry.at) / every).max(0.0) as usize + 1;
            if times <= WRITTEN_OUT {
                let each: Vec<Entry> = (0..times)
                    .map(|time| Entry { at: entry.at + every * time as f64, every: None, until: None, ..entry.clone() })
                    .collect();
                self.try_with(|it| drop(it.events.splice(nth..=nth, each)));
            }
        }
    }
}

fn of(entry: &mut Entry) -> Option<&mut Of> {
    let Entry { report, heartbeat, reading, unknown, .. } = entry;
    let report = report.as_mut().map(|it| &mut it.of);
    let heartbeat = heartbeat.as_mut().map(|it| &mut it.of);
    let reading = reading.as_mut().and_then(|it| it.of.as_mut());
    report.or(heartbeat).or(reading).or(unknown.as_mut())
}
