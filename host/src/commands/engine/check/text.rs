//! A report as text.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::conformance::{Check, Cost, Identity, Key, Outcome, Report};
use crate::output::{clean, count, table};

/// The longest note that is shown in the table; longer ones, and those of what did not pass, stand below it, whole.
const NOTE_CHARS: usize = 64;

/// All of it.
pub(super) fn report(file: &str, report: &Report) -> String {
    let Report { engine, configuration, limits, checks, .. } = report;
    let mut text = identity(file, engine);
    text += "\nConfiguration\n";
    text += &keys(&engine.keys);
    if let Some(configuration) = configuration {
        let value = Value::Object(configuration.value.clone());
        text += &format!("  examined with {} ({})\n", clean(&value.to_string()), configuration.source);
    }
    let (fuel, seconds, memory) = (figure(limits.fuel), limits.deadline_ms as f64 / 1e3, size(limits.memory_bytes));
    text += &format!("\nChecks, each with its dearest call (limits: {fuel} of fuel, {seconds} s, a memory of {memory})\n");
    text += &indented(&table(["", "CHECK", "FUEL", "TIME", "MEMORY", ""], &checks.iter().map(row).collect::<Vec<_>>()));
    for check in checks.iter().filter(|check| check.outcome != Outcome::Passed) {
        text += &format!("\n{} {}\n", word(check.outcome), check.name);
        for note in &check.notes {
            text += &format!("  {}\n", clean(note));
        }
    }
    text + "\n" + &verdict(report)
}

/// `12.3 KiB`, as a person would say it.
pub(in crate::commands::engine) fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

fn identity(file: &str, engine: &Identity) -> String {
    let mut text = clean(&format!("{} {}  {file}, {}", engine.name, engine.version, size(engine.bytes))) + "\n";
    text += &format!("  digest   {}\n", engine.digest);
    text += &format!("  imports  {}\n", interfaces(&engine.imports));
    text += &format!("  exports  {}\n", interfaces(&engine.exports));
    if !engine.documentation.is_empty() {
        text.push('\n');
    }
    for line in &engine.documentation {
        text += format!("  {}", clean(line)).trim_end();
        text.push('\n');
    }
    text
}

/// Names of interfaces, each package once: `control, log, state, types of pilothouse:engine@0.1.0`. Of WASI an interpreter imports dozens, in
/// several patches of one version, whatever its guest does: of it the packages are enough.
fn interfaces(names: &[String]) -> String {
    let mut packages: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut of_wasi = BTreeSet::new();
    for name in names {
        let (path, version) = name.split_once('@').unwrap_or((name, ""));
        let (package, interface) = path.split_once('/').unwrap_or(("", path));
        if let Some(package) = package.strip_prefix("wasi:") {
            of_wasi.insert(package);
            continue;
        }
        let package = if version.is_empty() { package.to_owned() } else { format!("{package}@{version}") };
        packages.entry(package).or_default().push(interface);
    }
    let told = packages.iter().map(|(package, interfaces)| match package.as_str() {
        "" => interfaces.join(", "),
        package => format!("{} of {package}", interfaces.join(", ")),
    });
    let wasi = (!of_wasi.is_empty()).then(|| format!("{} of WASI 0.2", of_wasi.into_iter().collect::<Vec<_>>().join(", ")));
    let told = told.chain(wasi).collect::<Vec<_>>().join("; ");
    if told.is_empty() { "nothing".to_owned() } else { clean(&told) }
}

/// The keys of a configuration, a line each.
pub(in crate::commands) fn keys(keys: &[Key]) -> String {
    if keys.is_empty() {
        return "  its schema names no keys\n".to_owned();
    }
    let row = |key: &Key| {
        let default = match (&key.default, key.required) {
            (Some(default), _) => default.to_string(),
            (None, true) => "required".to_owned(),
            (None, false) => String::new(),
        };
        let description = key.description.as_deref().unwrap_or_default();
        [&key.name, &key.kind, &default, description].map(|cell| shortened(&clean(cell)))
    };
    indented(&table(["KEY", "KIND", "DEFAULT", ""], &keys.iter().map(row).collect::<Vec<_>>()))
}

fn row(check: &Check) -> [String; 6] {
    let Cost { fuel, fuel_percent, time_ms, memory_bytes, .. } = &check.cost;
    let fuel = match (fuel, fuel_percent) {
        (Some(fuel), Some(percent)) => format!("{} ({})", figure(*fuel), share(*percent)),
        _ => String::new(),
    };
    let time = time_ms.map_or_else(String::new, |ms| if ms < 1000.0 { format!("{ms:.1} ms") } else { format!("{:.1} s", ms / 1e3) });
    // What did not pass is told in full below.
    let note = if check.outcome == Outcome::Passed { check.notes.join("; ") } else { String::new() };
    let memory = memory_bytes.map_or_else(String::new, size);
    [word(check.outcome).to_owned(), check.name.clone(), fuel, time, memory, shortened(&clean(&note))]
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "ok",
        Outcome::Warned => "WARN",
        Outcome::Failed => "FAIL",
    }
}

fn verdict(report: &Report) -> String {
    let warned = if report.warned == 0 { String::new() } else { format!(", {}", count(report.warned, "warning")) };
    if report.passed {
        format!("A host can rely on it: {} passed{warned}.\n", count(report.checks.len(), "check"))
    } else {
        format!("{} of {} failed{warned}.\n", report.failed, count(report.checks.len(), "check"))
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= NOTE_CHARS {
        return text.to_owned();
    }
    text.chars().take(NOTE_CHARS - 1).collect::<String>().trim_end().to_owned() + "…"
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n").collect()
}

fn share(percent: f64) -> String {
    if percent < 0.1 { "<0.1 %".to_owned() } else { format!("{percent:.1} %") }
}

/// `12 345 678`.
fn figure(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_grouped_and_sizes_are_in_the_unit_a_person_would_choose() {
        assert_eq!((figure(7), figure(1_000), figure(12_345_678)), ("7".to_owned(), "1 000".to_owned(), "12 345 678".to_owned()));
        assert_eq!((size(10), size(2000), size(19_000_000)), ("10 B".to_owned(), "2 KiB".to_owned(), "18.1 MiB".to_owned()));
    }

    #[test]
    fn interfaces_are_told_by_their_package() {
        let names = ["pilothouse:engine/state@0.1.0", "pilothouse:engine/log@0.1.0", "bell"].map(str::to_owned);
        assert_eq!(interfaces(&names), "bell; state, log of pilothouse:engine@0.1.0");
        assert_eq!(interfaces(&[]), "nothing");
        let names = ["wasi:io/poll@0.2.9", "wasi:io/error@0.2.0", "pilothouse:engine/log@0.1.0", "wasi:cli/exit@0.2.0"].map(str::to_owned);
        assert_eq!(interfaces(&names), "log of pilothouse:engine@0.1.0; cli, io of WASI 0.2");
    }

    #[test]
    fn what_others_wrote_can_not_command_the_terminal() {
        let key = Key {
            name: "n\u{1b}[2J".to_owned(),
            kind: "integer".to_owned(),
            required: true,
            default: None,
            description: Some("two\nlines".to_owned()),
        };
        let told = keys(&[key]);
        assert!(!told.contains('\u{1b}') && told.contains("two lines") && told.contains("required"), "{told}");
    }
}
