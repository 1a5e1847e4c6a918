//! A transcript that reads well.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pilothouse_core::cycle::Status;
use pilothouse_core::instance::{Health, Instance, Vars};
use pilothouse_core::problem::Problem;
use pilothouse_core::time::Timestamp;
use serde_json::Value;

use crate::messages::{Message, Messages};
use crate::tick::{EndLine, Instances, Line, Refusal, Tick};

/// Where what happens stands, behind the time.
const INDENT: &str = "            ";

/// Writes the lines of a scenario as text. How everything stands is written only when it has changed since the tick before.
#[derive(Debug, Default)]
pub struct Transcript {
    stood: Option<(Instances, BTreeMap<u64, Vec<Problem>>)>,
}

impl Transcript {
    /// The next line, with a line end; or several.
    pub fn text(&mut self, line: &Line) -> String {
        match line {
            Line::Scenario { title, engine, domain, seed } => {
                let title = if title.is_empty() { String::new() } else { format!("{title}\n") };
                let digest: String = engine.digest.chars().take(16).collect();
                format!("{title}domain {domain}, engine {} {} ({digest}), seed {seed}\n\n", engine.name, engine.version)
            }
            Line::Event { at, what } => format!("{}  {what}\n", time(*at)),
            Line::Tick(tick) => {
                let stands = (tick.instances.clone(), tick.errors.clone());
                let changed = self.stood.as_ref() != Some(&stands);
                self.stood = Some(stands);
                of_tick(tick, changed)
            }
            Line::End(end) => of_end(end),
        }
    }
}

fn time(at: f64) -> String {
    format!("{:>8} s", (at * 1000.0).round() / 1000.0)
}

fn of_tick(tick: &Tick, changed: bool) -> String {
    let mut text = format!("{}  {}", time(tick.at), tick.tick.name().to_uppercase());
    if let Some(said) = &tick.engine {
        let status = match said.status {
            Status::Pending => "pending",
            Status::Stable => "stable",
            Status::Failed => "failed",
        };
        let dry_run = if said.dry_run { " (dry run)" } else { "" };
        let quiet = if said.recorded { "" } else { " (nothing new)" };
        let _ = write!(text, "  {status}: {}{dry_run}{quiet}", said.reason);
    }
    text.push('\n');
    let mut add = |line: String| {
        let _ = writeln!(text, "{INDENT}{line}");
    };
    if let Some(said) = tick.engine.as_ref().filter(|said| !said.figures.is_empty() && said.recorded) {
        let figures: Vec<String> = said.figures.iter().map(|(name, value)| format!("{name}={value}")).collect();
        add(format!("figures {}", figures.join(" ")));
    }
    if let Some(settings) = tick.engine.as_ref().map(|said| &said.settings).filter(|settings| !settings.is_empty()) {
        let pulse = settings.pulse.map(|pulse| format!("pulse {pulse}"));
        let named = |vars: &Vars| vars.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
        let vars = settings.provisioner_vars.as_ref().map(|vars| format!("provisioner_vars{}", named(vars)));
        add(format!("set     {}", pulse.into_iter().chain(vars).collect::<Vec<_>>().join(", ")));
    }
    for line in tick.engine.iter().flat_map(|said| &said.log) {
        add(format!("log     {line}"));
    }
    for fault in &tick.faults {
        add(format!("FAULT   {fault}"));
    }
    for version in &tick.versions {
        add(format!("ENGINE  {version}"));
    }
    if let Some((beside, difference)) = tick.beside.as_ref().and_then(|beside| Some((beside, beside.difference.as_ref()?))) {
        add(format!("shadow  {} {}: {difference}", beside.engine.name, beside.engine.version));
    }
    for held in &tick.refusals {
        add(format!("held    {} by {}: {}", request(held), held.guard, held.because));
    }
    messages(&mut add, "launch ", &tick.provisions);
    messages(&mut add, "end    ", &tick.terminations);
    messages(&mut add, "dump   ", &tick.dumps);
    if !tick.probes.new.is_empty() {
        add(format!("probe   {}", order(&tick.probes.new)));
    }
    for told in &tick.notifications.new {
        let hostname = told.hostname.as_ref().map_or(String::new(), |name| format!(" ({name})"));
        let whom: Vec<String> = told.to.iter().map(|whom| format!("{}.{}", whom.name, whom.operation)).collect();
        let to = if whom.is_empty() { String::new() } else { format!(" to {}", whom.join(", ")) };
        add(format!("notify  #{} {}{hostname}{to}", told.instance, told.state));
    }
    if tick.gone {
        add("the domain is gone".to_owned());
    } else if changed && !tick.instances.is_empty() {
        add(format!("now     {}", standing(tick)));
    }
    for (nth, errors) in tick.errors.iter().filter(|_| changed) {
        add(format!("errors  #{nth} {}", serde_json::to_string(errors).unwrap_or_default()));
    }
    text
}

/// `1 launch`, `3 terminations`.
fn request(held: &Refusal) -> String {
    let noun = match (held.request, held.held_back) {
        ("launch", 1) => "launch",
        ("launch", _) => "launches",
        (_, 1) => "termination",
        _ => "terminations",
    };
    format!("{} {noun}", held.held_back)
}

fn messages(add: &mut impl FnMut(String), what: &str, messages: &Messages) {
    for Message { site, instances, lost, .. } in &messages.new {
        let lost = if *lost { " (lost: the provisioner fails)" } else { "" };
        add(format!("{what} {} at {site}{lost}", order(instances)));
    }
}

fn order(instances: &[u64]) -> String {
    instances.iter().map(|nth| format!("#{nth}")).collect::<Vec<_>>().join(" ")
}

/// Neighbours that stand alike are told together.
fn standing(tick: &Tick) -> String {
    let word = |at: usize| match tick.instances[at] {
        None => "reaped".to_owned(),
        Some((state, Health::Unknown)) => state.to_string(),
        Some((state, health)) => format!("{state} {health}"),
    };
    let mut parts = Vec::new();
    let mut from = 0;
    while from < tick.instances.len() {
        let same = word(from);
        let mut to = from;
        while to + 1 < tick.instances.len() && word(to + 1) == same {
            to += 1;
        }
        parts.push(if from == to { format!("#{from} {same}") } else { format!("#{from}-#{to} {same}") });
        from = to + 1;
    }
    parts.join(", ")
}

fn of_end(end: &EndLine) -> String {
    let mut text = format!(
        "\n{}  END  {} decisions, {} faults, {} records in the journal{}\n",
        time(end.at),
        end.decisions,
        end.faults,
        end.journal_records,
        if end.gone { ", the domain is gone" } else { "" }
    );
    for (name, count) in [("messages refused", end.rejected), ("instances written of that are not there", end.skipped)] {
        if count > 0 {
            let _ = writeln!(text, "{INDENT}{name}: {count}");
        }
    }
    for launch in &end.launches {
        let word = |key: &str| launch[key].as_str().unwrap_or_default().to_owned();
        let instances: Vec<u64> = launch["instances"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let vars = launch["vars"].as_object().filter(|vars| !vars.is_empty());
        let vars = vars.map_or(String::new(), |vars| {
            vars.iter().map(|(name, value)| format!(" {name}={}", value.as_str().unwrap_or_default())).collect()
        });
        let _ = writeln!(
            text,
            "{INDENT}launched {}: {} at {}, {}, for {}{vars}",
            order(&instances),
            word("deployable_type"),
            word("site"),
            word("allocation"),
            word("owner")
        );
    }
    for (nth, record) in end.records.iter().enumerate() {
        let shown = record.as_ref().map_or_else(|| "reaped".to_owned(), |it| of_record(it, end.start));
        let _ = writeln!(text, "{INDENT}#{nth} {shown}");
    }
    text
}

fn of_record(it: &Instance, start: Timestamp) -> String {
    let mut text = format!("{} {} since {} s", it.state, it.health, it.state_since.since(start).as_secs_f64());
    if let Some(reason) = &it.end_reason {
        let _ = write!(text, ", {reason}");
    }
    for (name, value) in &it.attributes {
        let _ = write!(text, ", {name}={value}");
    }
    text
}
