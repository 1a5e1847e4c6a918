//! What many domains hold in memory: as a process of its own, so that nothing else is in the figure.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use pilothouse_core::record::EngineInForce;
use procfs::process::Process;
use serde::{Deserialize, Serialize};

use crate::Settings;
use crate::fixture;
use crate::measure::Samples;
use crate::report::{Figure, Outcome, Target, Unit};

const FOR_EACH_DOMAIN: usize = 10;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
/// The whole of what is promised.
const DOMAINS: usize = 100_000;

/// The argument with which this program is that process.
pub(crate) const CHILD: &str = "--hold-domains";

/// What the process says: bytes of its resident set before and after.
#[derive(Debug, Serialize, Deserialize)]
struct Held {
    before: u64,
    after: u64,
}

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let domains = if settings.full { DOMAINS } else { DOMAINS / 10 };
    let share = domains as f64 / DOMAINS as f64;
    let mut held = Vec::new();
    for _ in 0..if settings.full { 1 } else { settings.rounds(3).min(3) } {
        held.push(hold_in_child(domains)?);
    }
    let total = Samples::of(held.iter().map(|held| (held.after - held.before) as f64));
    let each = total.scaled(1.0 / (domains * FOR_EACH_DOMAIN) as f64);
    let what = format!("{} instances in {domains} domains", domains * FOR_EACH_DOMAIN);
    let mut notes = vec!["the resident set of a process that holds them, less what it was before it made them".to_owned()];
    if share < 1.0 {
        notes.push("a tenth of what is promised, with a tenth of the target; the whole with --full".to_owned());
    }
    Ok(Outcome {
        figures: vec![
            Figure::new(what, Unit::Bytes, &total).target(Target::AtMost(GIB * share)),
            Figure::new("for each instance", Unit::Bytes, &each),
        ],
        notes,
    })
}

fn hold_in_child(domains: usize) -> Result<Held> {
    let exe = std::env::current_exe().context("finding this program")?;
    let output = Command::new(exe).args([CHILD, &domains.to_string()]).output().context("starting a process to hold domains")?;
    ensure!(output.status.success(), "the process that holds domains failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("reading what the process that holds domains says")
}

/// Is that process: makes the domains, and says what they take.
pub(crate) fn hold(domains: usize) -> Result<()> {
    let engine = EngineInForce { name: "simplest".to_owned(), version: "0.1.0".to_owned(), digest: "0".repeat(64) };
    // What the first of them sets up once for all is not to be counted.
    drop(fixture::domain(fixture::state(0, FOR_EACH_DOMAIN, FOR_EACH_DOMAIN, &engine)));
    let before = resident()?;
    let held: Vec<_> =
        (0..domains).map(|number| fixture::domain(fixture::state(number, FOR_EACH_DOMAIN, FOR_EACH_DOMAIN, &engine))).collect();
    let after = resident()?;
    let instances: usize = held.iter().map(|domain| domain.state().instances().count()).sum();
    ensure!(instances == domains * FOR_EACH_DOMAIN, "they are all there");
    println!("{}", serde_json::to_string(&Held { before, after })?);
    Ok(())
}

fn resident() -> Result<u64> {
    let status = Process::myself()?.status()?;
    Ok(status.vmrss.context("the kernel tells the resident set")? * 1024)
}
