//! One domain, whole, for a tired person: what it is, how it stands, what it runs, how it is configured.

use std::fmt::Write as _;

use pilothouse_core::engine::{Shadow, Tally};
use pilothouse_core::explain::ShadowTold;
use pilothouse_core::record::EngineInForce;
use pilothouse_core::time::Timestamp;

use super::config::values;
use super::list::status;
use crate::api::DomainDescription;
use crate::commands::instance;
use crate::output::{clean, count, moment_ago, readings, table};

/// How many gone instances are shown; all are in the JSON.
const GONE: usize = 5;

/// All about a domain.
pub(super) fn text(it: &DomainDescription, now: Timestamp) -> String {
    let summary = &it.summary;
    let mut lines = vec![
        ("domain", format!("{}/{}", it.owner, summary.name)),
        ("status", format!("{} (\"{}\")", status(summary), clean(&summary.reason))),
        ("engine", engine(&summary.engine)),
        ("instances", counts(it)),
        ("host", format!("{} (epoch {})", it.host, it.epoch)),
    ];
    lines.extend(of_engine(it, now));
    if let Some(fault) = &summary.fault {
        lines.push(("fault", format!("{}, {} in a row since {}", clean(&fault.message), fault.in_a_row, moment_ago(fault.since, now))));
    }
    if let Some(brake) = &it.brake {
        lines.push(("brake", clean(brake)));
    }
    if let Some((since, why)) = &it.blind {
        lines.push(("blind", format!("the host can't see since {}: {}", moment_ago(*since, now), clean(why))));
    }
    if !it.deciding {
        let what = "off: its host is disabled and asks no engine (`pilothouse host list`)";
        lines.push(("deciding", what.to_owned()));
    }
    let subscribers: Vec<_> = it.subscribers.iter().map(|who| format!("{}:{}", who.name, who.operation)).collect();
    if !subscribers.is_empty() {
        lines.push(("told to", subscribers.join(", ")));
    }
    lines.push(("readings", format!("of the domain as a whole go to {}", it.subjects.sensor)));
    lines.push(("events", format!("are published on {}", it.subjects.events)));
    if !it.windows.is_empty() {
        let on: Vec<_> = it.windows.iter().map(ToString::to_string).collect();
        lines.push(("schedule", format!("{} on (`pilothouse domain schedule {}`)", on.join(", "), summary.name)));
    }
    let mut text = String::new();
    for (name, value) in lines {
        // Writing to a `String` never fails.
        let _ = writeln!(text, "{name:<10} {value}");
    }
    text.push('\n');
    text.push_str(&instances(it, now));
    if !it.sensor_data.is_empty() {
        let _ = write!(text, "\nreadings of the domain as a whole\n{}", readings::text(&it.sensor_data, now));
    }
    if !it.pulled.is_empty() {
        let _ = write!(text, "\npulled from Prometheus\n{}", readings::pulled(&it.pulled, now));
    }
    if it.series_left_out > 0 {
        let _ = writeln!(text, "and {} of readings that did not fit", count(it.series_left_out, "sensor"));
    }
    let _ = write!(text, "\nconfiguration, revision {}\n{}", it.config_revision, values(&it.config));
    text
}

/// How the domain came to its engine, whether that is asked, and what runs beside.
fn of_engine(it: &DomainDescription, now: Timestamp) -> Vec<(&'static str, String)> {
    let (mut lines, name) = (Vec::new(), &it.summary.name);
    if let Some(held) = &it.summary.held {
        let words = clean(held.words.trim_start_matches("HELD: "));
        lines.push(("HELD", format!("since {}: {words} (`pilothouse domain retry {name}`)", moment_ago(held.since, now))));
    }
    if let Some(before) = &it.engine_before {
        lines.push(("before", format!("{}: faults lead back to it", engine(before))));
    }
    for rejected in &it.rejected {
        let why = format!("{}, {}: {}", engine(&rejected.engine), moment_ago(rejected.at, now), clean(&rejected.why));
        lines.push(("went back", format!("from {why}")));
    }
    if !it.rejected.is_empty() {
        lines.push(("", format!("not taken up again by itself (`pilothouse domain retry {name}`)")));
    }
    if let Some(ShadowTold { shadow, .. }) = &it.shadow {
        let Shadow { engine: which, by, since, tally, .. } = shadow;
        let told = format!("{}, as {by} asked, since {}: {}", engine(which), moment_ago(*since, now), compared(tally));
        lines.push(("shadow", format!("{told} (`pilothouse why {name}`)")));
    }
    let asked = &it.asked;
    if asked.decisions + asked.faults > 0 {
        let faults = if asked.faults > 0 { format!(", {} failed", asked.faults) } else { String::new() };
        lines.push((
            "asked",
            format!(
                "{} since its host took it{faults}; the last {} ms late with {} units of fuel, the worst {} ms late",
                count(asked.decisions as usize, "time"),
                asked.lateness_last_ms,
                asked.fuel_last,
                asked.lateness_worst_ms
            ),
        ));
    }
    lines
}

fn engine(engine: &EngineInForce) -> String {
    clean(&format!("{} {} ({:.12})", engine.name, engine.version, engine.digest))
}

/// How a shadow has compared: `120 decisions compared, 3 differed, 1 call failed`.
pub(in super::super) fn compared(tally: &Tally) -> String {
    let Tally { compared, differed, failed, .. } = tally;
    let differed = if *differed == 0 { "none differed".to_owned() } else { format!("{differed} DIFFERED") };
    let compared = match compared {
        0 => "no decision compared yet".to_owned(),
        compared => format!("{} compared, {differed}", count(*compared as usize, "decision")),
    };
    match failed {
        0 => compared,
        failed => format!("{compared}, {} of it FAILED", count(*failed as usize, "call")),
    }
}

fn counts(it: &DomainDescription) -> String {
    let counts = &it.summary.counts;
    let mut text = format!("{} running of {}", counts.running, counts.valid);
    for (n, what) in [(counts.unhealthy, "unhealthy"), (counts.launching, "not acknowledged"), (counts.terminating, "terminating")] {
        if n > 0 {
            let _ = write!(text, ", {n} {what}");
        }
    }
    text
}

fn instances(it: &DomainDescription, now: Timestamp) -> String {
    let (gone, there): (Vec<_>, Vec<_>) = it.instances.iter().partition(|instance| instance.state.is_gone());
    let hidden = gone.len().saturating_sub(GONE);
    let shown = gone.into_iter().skip(hidden).chain(there);
    let rows: Vec<_> = shown.map(|instance| instance::row(&it.summary.name, instance, now)).collect();
    if rows.is_empty() {
        return "no instances\n".to_owned();
    }
    let mut text = table(instance::HEADINGS, &rows);
    if it.instances_left_out > 0 {
        let _ = writeln!(text, "and {} that did not fit", count(it.instances_left_out, "instance"));
    }
    if hidden > 0 {
        let _ = writeln!(text, "and {} before, gone", count(hidden, "instance"));
    }
    text
}

#[cfg(test)]
mod tests {
    use pilothouse_core::instance::{Health, State};
    use pilothouse_core::problem::Problem;
    use pilothouse_core::record::Subscriber;
    use serde_json::json;

    use super::super::list::tests::{engine, held, rejected, summary};
    use super::*;
    use crate::api::{Asked, DomainSubjects, DomainSummary, SensorData};
    use crate::commands::instance::tests::instance;
    use crate::output::readings::tests::pull;

    #[test]
    fn a_domain_is_told_so_that_a_tired_person_understands() {
        let mut instances: Vec<_> = (0..7).map(|n| instance(n, State::Terminated)).collect();
        instances[6].end_reason = Some("missing".to_owned());
        let mut ill = instance(7, State::Running);
        (ill.health, ill.errors) = (Health::ProcessError, vec![Problem::Text("disk full".to_owned())]);
        instances.push(ill);
        let pulled = pull("sum(queue_length)", Timestamp::from_secs(1_008));
        let tally = Tally { compared: 120, differed: 3, failed: 1, last: None };
        let (which, by, since) = (engine("0.3.0"), "ann".parse().expect("a name"), Timestamp::from_secs(1_000));
        let shadow = Shadow { engine: which, reference: "simplest@0.3".to_owned(), by, since, promote_after: None, tally };
        let shadow = ShadowTold { shadow, said: None, quiet_since: None, promoted_at: None };
        let description = DomainDescription {
            summary: DomainSummary { held: Some(held()), ..summary("web") },
            owner: "ann".parse().expect("a name"),
            config: json!({"general": {"engine": "simplest"}, "engine_conf": {"preserve_n": 3}}),
            windows: vec!["day".parse().expect("a name")],
            config_revision: 2,
            host: "h1".parse().expect("a name"),
            epoch: 4,
            blind: Some((Timestamp::from_secs(1_010), "the link to NATS is down".to_owned())),
            brake: None,
            deciding: false,
            asked: Asked { decisions: 12, faults: 1, fuel_last: 4711, lateness_last_ms: 2, lateness_worst_ms: 40 },
            engine_before: Some(engine("0.0.9")),
            rejected: vec![rejected()],
            shadow: Some(shadow),
            subjects: DomainSubjects { sensor: "ph.v1.domain-sensor.7.ann.web".to_owned(), events: "ph.v1.events.7.ann.web".to_owned() },
            subscribers: vec![Subscriber { name: "desk".parse().expect("a name"), operation: "told".parse().expect("a name") }],
            sensor_data: [("queue".to_owned(), SensorData { sample_count: 3, ..SensorData::default() })].into(),
            pulled: [("queue".to_owned(), pulled)].into(),
            instances_left_out: 0,
            series_left_out: 0,
            instances,
        };
        let text = text(&description, Timestamp::from_secs(1_020));
        for part in [
            "domain     ann/web\n",
            "status     HELD (\"3 of 3 healthy\")\n",
            "engine     simplest 0.1.0 (0123456789ab)\n",
            "HELD       since 1970-01-01 00:16:40Z (20 s ago): simplest 0.1.0 failed 3 times in a row, last with trap, and there is no version",
            " to go back to (`pilothouse domain retry web`)\n",
            "before     simplest 0.0.9 (0123456789ab): faults lead back to it\n",
            "went back  from simplest 0.2.0 (0123456789ab), 1970-01-01 00:15:00Z (2 min ago): trap in decide: boom\n",
            "           not taken up again by itself (`pilothouse domain retry web`)\n",
            "shadow     simplest 0.3.0 (0123456789ab), as ann asked, since 1970-01-01 00:16:40Z (20 s ago): 120 decisions compared, 3 DIFFERED, ",
            "1 call of it FAILED (`pilothouse why web`)\n",
            "asked      12 times since its host took it, 1 failed; the last 2 ms late with 4711 units of fuel, the worst 40 ms late\n",
            "blind      the host can't see since 1970-01-01 00:16:50Z (10 s ago): the link to NATS is down\n",
            "deciding   off: its host is disabled",
            "told to    desk:told\n",
            "schedule   day on (`pilothouse domain schedule web`)\n",
            "events     are published on ph.v1.events.7.ann.web\n",
            "\nreadings of the domain as a whole\nSENSOR  NEWEST  AGE  OVER  AVERAGE  MINIMUM  MAXIMUM  READINGS  ITS ENGINE READS\nqueue ",
            "\npulled from Prometheus\nSENSOR  SOURCE  EVERY  ANSWERED  READINGS  QUERY\nqueue   main    15 s   12 s ago  1         sum(queue_length)\n",
            "INSTANCE  STATE       SINCE  HEALTH         SITE   TYPE    ID      NOTE\n",
            "web/6     TERMINATED  14 s   -              local  worker  i001-6  missing\n",
            "web/7     RUNNING     13 s   PROCESS_ERROR  local  worker  i001-7  disk full\n",
            "and 2 instances before, gone\n",
            "configuration, revision 2\n  engine_conf.preserve_n = 3\n  general.engine = \"simplest\"\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("web/1 "), "{text}");
    }
}
