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
    /// Its name.
    site_name: String,
    /// How many it has room for; -1: any number.
    #[schemars(range(min = -1))]
    size: i32,
    /// 1 is filled first and emptied last.
    rank: u32,
}

/// A site: how many it has room for, how many are there, how many of these are ill, and whether it rests because launches keep failing.
struct Site {
    name: String,
    room: u32,
    has: u32,
    ill: u32,
    rests: bool,
}

impl Config {
    /// The most that there can be.
    fn most(&self) -> u32 {
        let room = |cloud: &Cloud| u32::try_from(cloud.size).unwrap_or(u32::MAX);
        self.clouds.iter().map(room).fold(0, u32::saturating_add).min(self.maximum_vms.get())
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

    /// The sites, best first. One that is not configured comes last and has no room; one that keeps failing has room for those it has.
    fn sites(&self, domain: &Domain<'_>, survey: &Survey) -> Vec<Site> {
        let reports = domain.sites();
        let room = |size: i32| u32::try_from(size).unwrap_or(u32::MAX);
        let mut clouds: Vec<_> = self.clouds.iter().map(|cloud| (cloud.rank, &*cloud.site_name, room(cloud.size))).collect();
        let strange = reports.iter().filter(|report| self.clouds.iter().all(|cloud| cloud.site_name != report.site));
        clouds.extend(strange.map(|report| (u32::MAX, report.site.as_str(), 0)));
        clouds.sort_unstable();
        let stand = |(_, name, room): (u32, &str, u32)| {
            let report = reports.iter().find(|report| report.site == name);
            let has = report.map_or(0, |report| report.instances);
            let rests = report.is_some_and(|it| it.failures >= KEEPS_FAILING && it.backing_off_until > Some(domain.now()));
            let ill = survey.to_replace().filter(|ill| ill.is_valid() && ill.site == name).count() as u32;
            Site { name: name.to_owned(), room: if rests { room.min(has - ill) } else { room }, has, ill, rests }
        };
        clouds.into_iter().map(stand).collect()
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
        let crossed = config.scale_up_threshold.zip(config.scale_down_threshold).is_some_and(|(up, down)| down > up);
        let rules = [
            (!ranks.into_iter().eq(1..=ranked as u32), "clouds", "expected the ranks 1, 2, 3 and so on, each once"),
            (config.clouds.iter().map(|it| &it.site_name).collect::<BTreeSet<_>>().len() < ranked, "clouds", "expected each site once"),
            (config.minimum_vms.get() > config.most(), "minimum_vms", "expected at most maximum_vms, and what the sites have room for"),
            (crossed, "scale_down_threshold", "expected at most scale_up_threshold"),
        ];
        rules.into_iter().filter(|(broken, ..)| *broken).map(|(_, key, expected)| problem(key, expected)).collect()
    }

    fn decide(&mut self, domain: &Domain<'_>, config: &Config, control: &Control<'_>) -> Result<Verdict, Error> {
        let (survey, (from, to, why)) = (Survey::of(domain), config.wanted(self, domain));
        let mut sites = config.sites(domain, &survey);
        // Who goes besides the ill: what is over the size of a site, and what is more than wanted, from the worst on; who is protected stays.
        let mut plan = Plan { lacking: 0, ..Plan::of(&survey, to) };
        plan.seen += &why;
        sites.iter().filter(|site| site.rests).for_each(|site| plan.seen += &format!(", launches at {} keep failing", site.name));
        let ill: BTreeSet<&str> = survey.to_replace().map(|ill| ill.id.as_str()).collect();
        let mut surplus = sites.iter().map(|it| (it.has - it.ill).min(it.room)).sum::<u32>().saturating_sub(to.saturating_add(survey.kept));
        for site in sites.iter().rev() {
            let over = (site.has - site.ill).saturating_sub(site.room);
            let count = over + surplus.min(site.has - site.ill - over);
            let stays = |id: &str| ill.contains(id) || domain.instance(id).is_none_or(|it| it.site != site.name);
            let ids = victims::choose(domain, Victims::Newest, count, stays);
            let (chosen, site) = (ids.len() as u32, &site.name);
            surplus -= chosen.saturating_sub(over);
            plan.settled &= chosen >= over;
            plan.seen.extend((count > chosen).then(|| format!(", {} more than wanted at {site}, but protected", count - chosen)));
            plan.terminations.extend((chosen > 0).then(|| Termination { ids, reason: format!("{chosen} more than wanted at {site}") }));
        }
        let seen = plan.seen.len();
        let mut done = plan.carry_out(domain, control, &Template { deployable_type: "", site: "", allocation: "" });
        // Only who really goes makes room: nobody is launched for who is held back.
        let gone: Vec<_> = done.destroyed.iter().filter_map(|id| domain.instance(id)).filter(Instance::is_valid).collect();
        sites.iter_mut().for_each(|site| site.has -= gone.iter().filter(|gone| gone.site == site.name).count() as u32);
        let stay: u32 = sites.iter().map(|site| site.has).sum();
        let (mut missing, mut notes) = (to.saturating_sub(stay).min(LAUNCHES_PER_DECISION), Vec::new());
        for site in sites.iter().filter(|site| site.room > site.has) {
            let count = missing.min(site.room - site.has);
            missing -= count;
            if count > 0 {
                let answer = control.launch(LaunchRequest::new(&config.deployable_type, &site.name, &config.iaas_allocation).count(count));
                notes.push(match &answer {
                    Ok(part) if part.deferred > 0 => format!("launching {} of {count} at {}", part.instances.len(), site.name),
                    Ok(_) => format!("launching {count} at {}", site.name),
                    Err(refusal) => format!("not launching {count} at {}: {refusal}", site.name),
                });
                done.asked = true;
                done.launched.extend(answer.map(|launched| launched.instances));
            }
        }
        notes.extend((missing > 0).then(|| format!("no site has room for {missing}")));
        // A move of which nothing was granted has not happened, and starts no rest.
        let after = stay + done.launched_count() as u32;
        let moved = if to > from { after > from } else { after < from && to < from };
        (self.wanted, self.moved_at) = if moved { (Some(to), Some(domain.now())) } else { (Some(from), self.moved_at) };
        let mut verdict = done.verdict();
        for note in notes {
            verdict.reason += &format!("{} {note}", if verdict.reason.len() == seen { ":" } else { ";" });
        }
        verdict.reason.truncate(verdict.reason.floor_char_boundary(REASON_BYTES));
        verdict.status = if missing > 0 { Status::Failed } else { verdict.status };
        Ok(verdict)
    }
}

pilothouse_engine::export!(MultiSite);

#[cfg(test)]
mod tests;
