//! The engine `multi-site`: as many instances as a sensor asks for, at several sites: the best one first, the next when it is full.

use pilothouse_engine::config::{Count, Seconds, defaults, json, problem};
use pilothouse_engine::*;
use std::{collections::BTreeSet, time::Duration};
use {schemars::JsonSchema, serde::Deserialize, serde::Serialize};

/// A site where so many launches in a row failed is not waited for while the host lets it rest: the others take what it lacks.
const KEEPS_FAILING: u32 = 3;

/// What the engine is told.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of the engine multi-site", example = json!({
    "clouds": [{ "site_name": "own", "size": 20, "rank": 1 }, { "site_name": "rented", "size": -1, "rank": 2 }],
    "minimum_vms": 2, "maximum_vms": 50, "deployable_type": "worker", "metric": "queue", "cooldown_period": 60,
    "scale_up_threshold": 100, "scale_up_n_vms": 5, "scale_down_threshold": 10, "scale_down_n_vms": 1,
}))]
pub struct Config {
    /// The sites. Their ranks are 1, 2, 3 and so on, each once.
    #[schemars(length(min = 1, max = 32))]
    clouds: Vec<Cloud>,
    /// Never fewer than that, at all sites together.
    minimum_vms: Count,
    /// Never more than that, nor more than the sites have room for.
    maximum_vms: Count,
    /// The deployable type to launch.
    #[schemars(length(min = 1))]
    deployable_type: String,
    /// The size to launch.
    #[serde(default = "defaults::allocation")]
    iaas_allocation: String,
    /// The sensor of the domain to follow: the average of what it read in the last 90 seconds.
    metric: Option<String>,
    /// How long the wanted size is left alone after it moved, in seconds.
    cooldown_period: Option<Seconds>,
    /// Above it the size grows. Equal to it nothing happens.
    scale_up_threshold: Option<f64>,
    /// By how many it grows.
    scale_up_n_vms: Option<Count>,
    /// Below it the size shrinks. Equal to it nothing happens.
    scale_down_threshold: Option<f64>,
    /// By how many it shrinks.
    scale_down_n_vms: Option<Count>,
}

/// A site to launch at.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Cloud {
    /// Its name: 1 to 63 letters, digits, `_` and `-`, a letter or digit first.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"))]
    site_name: String,
    /// How many it has room for; -1: any number.
    #[schemars(range(min = -1))]
    size: i32,
    /// 1 is filled first and emptied last.
    rank: u32,
}

impl Config {
    /// The most that there can be.
    fn most(&self) -> u32 {
        self.clouds.iter().map(|it| u32::try_from(it.size).unwrap_or(u32::MAX)).fold(0, u32::saturating_add).min(self.maximum_vms.get())
    }

    /// The wanted size before and after looking at the reading, and why. It stays while it rests, and without a reading.
    fn wanted(&self, memory: &MultiSite, domain: &Domain<'_>) -> (u32, u32, String) {
        let bounded = |size: u32| size.min(self.most()).max(self.minimum_vms.get());
        let from = bounded(memory.wanted.unwrap_or_else(|| domain.counts().valid));
        let Some(metric) = &self.metric else { return (from, from, String::new()) };
        let rest = memory.moved_at.zip(self.cooldown_period).map(|(at, length)| domain.now().until(at + length.duration()));
        if let Some(left) = rest.filter(|left| !left.is_zero()) {
            return (from, from, format!(", the size is held for {} s more", left.as_millis().div_ceil(1000)));
        }
        let Some(value) = domain.sensor(metric, &Scope::Domain, Statistic::Average, Duration::from_secs(90)).value() else {
            return (from, from, format!(", no readings of {metric}: the size is held"));
        };
        let (step, words) = match (self.scale_up_threshold, self.scale_down_threshold) {
            (Some(up), _) if value > up => (i64::from(self.scale_up_n_vms.map_or(0, Count::get)), format!(", above {up}")),
            (_, Some(down)) if value < down => (-i64::from(self.scale_down_n_vms.map_or(0, Count::get)), format!(", below {down}")),
            _ => (0, String::new()),
        };
        let to = bounded(u32::try_from((i64::from(from) + step).max(0)).unwrap_or(u32::MAX));
        let size = if to == from { String::new() } else { format!(": from {from} to {to}") };
        (from, to, format!(", {metric} is {value:.3}{words}{size}"))
    }

    /// The sites, best first, each with how many it has room for. One that is not configured comes last and has no room.
    fn sites(&self, domain: &Domain<'_>) -> Vec<(u32, SiteReport)> {
        let unused = |it: &Cloud| SiteReport { site: it.site_name.clone(), instances: 0, failures: 0, backing_off_until: None };
        let (mut reports, cloud) = (domain.sites(), |it: &SiteReport| self.clouds.iter().find(|cloud| cloud.site_name == it.site));
        let known: BTreeSet<_> = reports.iter().map(|it| it.site.clone()).collect();
        reports.extend(self.clouds.iter().filter(|it| !known.contains(&it.site_name)).map(unused));
        reports.sort_by_key(|it| cloud(it).map_or(u32::MAX, |cloud| cloud.rank));
        let room = |it: &SiteReport| cloud(it).map_or(0, |cloud| u32::try_from(cloud.size).unwrap_or(u32::MAX));
        reports.into_iter().map(|it| (room(&it), it)).collect()
    }
}

/// What the engine remembers: the wanted size, and when a reading moved it. At first that is as many as there are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MultiSite {
    wanted: Option<u32>,
    moved_at: Option<Timestamp>,
}

impl Engine for MultiSite {
    type Config = Config;
    const ABOUT: About = About { name: "multi-site", version: env!("CARGO_PKG_VERSION"), documentation: include_str!("../README.md") };

    fn check_config(config: &Config) -> Vec<Problem> {
        let (ranked, ranks) = (config.clouds.len(), config.clouds.iter().map(|cloud| cloud.rank).collect::<BTreeSet<_>>());
        let (up, down) = (config.scale_up_threshold, config.scale_down_threshold);
        let names: BTreeSet<&str> = config.clouds.iter().map(|cloud| &*cloud.site_name).collect();
        let odd = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '-';
        let is_odd = |name: &&str| !(1..64).contains(&name.len()) || name.starts_with(['_', '-']) || name.contains(odd);
        let rules = [
            (!ranks.into_iter().eq(1..=ranked as u32), "clouds", "expected the ranks 1, 2, 3 and so on, each once"),
            (names.len() < ranked, "clouds", "expected each site once"),
            (names.iter().any(is_odd), "clouds", "expected names of 1 to 63 letters, digits, `_` and `-`, a letter or digit first"),
            (config.minimum_vms.get() > config.most(), "minimum_vms", "expected at most maximum_vms, and what the sites have room for"),
            (up.zip(down).is_some_and(|(up, down)| down > up), "scale_down_threshold", "expected at most scale_up_threshold"),
            (up.is_some() && config.metric.is_none(), "scale_up_threshold", "expected a metric beside it"),
            (down.is_some() && config.metric.is_none(), "scale_down_threshold", "expected a metric beside it"),
        ];
        rules.into_iter().filter(|(broken, ..)| *broken).map(|(_, key, expected)| problem(key, expected)).collect()
    }

    fn decide(&mut self, domain: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
        let (survey, sites, (from, to, why)) = (Survey::of(domain), config.sites(domain), config.wanted(self, domain));
        let waits = |it: &SiteReport| it.backing_off_until > Some(domain.now());
        let rests = |it: &SiteReport| it.failures >= KEEPS_FAILING && waits(it);
        let ill: BTreeSet<&str> = survey.to_replace().map(|ill| ill.id.as_str()).collect();
        let ill_at = |site: &str| survey.to_replace().filter(|ill| ill.is_valid() && ill.site == site).count() as u32;
        let well = |it: &SiteReport| it.instances.saturating_sub(ill_at(&it.site));
        let mut plan = Plan { lacking: 0, ..Plan::of(&survey, to) };
        plan.seen += &why;
        sites.iter().filter(|(_, it)| rests(it)).for_each(|(_, it)| plan.seen += &format!(", launches at {} keep failing", it.site));
        // Who goes besides the ill: what is over the size of a site, and what is more than wanted, from the worst on, unless protected.
        // Nobody goes whom the others don't do without and in whose place nobody can be launched elsewhere now.
        let over = |room: u32, it: &SiteReport| well(it).saturating_sub(room);
        let mut surplus = survey.surplus(to).saturating_sub(sites.iter().map(|(room, it)| over(*room, it)).sum());
        let free = sites.iter().filter(|(_, it)| !waits(it)).map(|(room, it)| room.saturating_sub(it.instances));
        let elsewhere = free.fold(0, u32::saturating_add).min(control.budget().launches).saturating_sub(survey.missing(to));
        let mut may_go = survey.surplus(to).saturating_add(elsewhere);
        let mut going = (survey.terminating + survey.valid).saturating_sub(survey.taken());
        for (room, it) in sites.iter().rev() {
            let (over, site) = (over(*room, it), &it.site);
            let count = (over + surplus.min(well(it) - over)).min(may_go);
            let stays = |id: &str| ill.contains(id) || domain.instance(id).is_none_or(|it| it.site != *site);
            let ids = victims::choose(domain, Victims::Newest, count, stays);
            let chosen = ids.len() as u32;
            (surplus, may_go, going) = (surplus - chosen.saturating_sub(over), may_go - chosen, going + chosen);
            plan.settled &= chosen >= over;
            plan.seen.extend((over > count).then(|| format!(", {} over the size of {site} until others can come", over - count)));
            plan.seen.extend((count > chosen).then(|| format!(", {} more than wanted at {site}, but protected", count - chosen)));
            plan.terminations.extend((chosen > 0).then(|| Termination { ids, reason: format!("{chosen} more than wanted at {site}") }));
        }
        let template = Template { deployable_type: &config.deployable_type, site: "", allocation: &config.iaas_allocation };
        let (seen, mut done) = (plan.seen.len(), plan.carry_out(domain, control, &template));
        // Only who really goes makes room: nobody is launched for who is held back.
        let gone: Vec<_> = done.destroyed.iter().filter_map(|id| domain.instance(id)).filter(Instance::is_valid).collect();
        let stay = survey.valid.saturating_sub(gone.len() as u32);
        let (mut missing, mut parts) = (to.saturating_sub(stay).min(LAUNCHES_PER_DECISION), Vec::new());
        for (room, it) in &sites {
            let has = it.instances.saturating_sub(gone.iter().filter(|gone| gone.site == it.site).count() as u32);
            let count = if rests(it) { 0 } else { missing.min(room.saturating_sub(has)) };
            missing -= count;
            // A site is short as long as launches there are wanted, under way, or put off because they keep failing.
            let runs = || domain.columns(&Filter { site: Some(it.site.clone()), ..Filter::running() }).rows.len();
            let lacking = u32::from(survey.running < to && *room > 0 && (count > 0 || rests(it) || has as usize > runs()));
            let part = Plan { lacking, leaving: going, launches: vec![Launch { count, ..Launch::default() }], ..Plan::default() };
            let part = part.carry_out(domain, control, &Template { site: &it.site, ..template });
            done.asked |= part.asked;
            done.launched.extend(part.launched.clone());
            parts.push((&it.site, part.verdict()));
        }
        let notes = parts.iter().filter(|(_, part)| !part.reason.is_empty()).map(|(site, part)| format!("at {site}{}", part.reason));
        let notes = notes.chain((missing > 0).then(|| format!("no site has room for {missing}")));
        let failures = parts.iter().flat_map(|(_, it)| &it.figures).filter(|it| it.0 == "site-failures").max_by(|a, b| a.1.total_cmp(&b.1));
        let failed = missing > 0 || parts.iter().any(|(_, part)| part.status == Status::Failed);
        // A move of which nothing was granted has not happened, and starts no rest.
        let after = stay + done.launched_count() as u32;
        let moved = if to > from { after > from } else { after < from && to < from };
        (self.wanted, self.moved_at) = if moved { (Some(to), Some(domain.now())) } else { (Some(from), self.moved_at) };
        let mut verdict = done.verdict();
        notes.for_each(|it| verdict.reason += &format!("{} {it}", if verdict.reason.len() == seen { ":" } else { ";" }));
        verdict.reason.truncate(verdict.reason.floor_char_boundary(REASON_BYTES));
        verdict.figures.extend(failures.cloned());
        verdict.status = if failed { Status::Failed } else { verdict.status };
        Ok(verdict)
    }
}

pilothouse_engine::export!(MultiSite);

#[cfg(test)]
mod tests;
