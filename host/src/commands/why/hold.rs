//! What holds a domain back, in words: what it is, what that means, and what a person can do about it.

use pilothouse_core::cycle::FaultKind;
use pilothouse_core::engine::HoldReason;
use pilothouse_core::explain::{FaultTold, Held, Hold, Requested};
use pilothouse_core::guard::Guard;
use pilothouse_core::name::Name;
use pilothouse_core::record::EngineInForce;
use pilothouse_core::time::{Millis, Timestamp};

use crate::output::{clean, count, length, moment_ago};

/// One hold, told.
pub(super) struct Told {
    /// What it is, to go on after *Domain web*.
    pub(super) headline: String,
    /// What it means.
    pub(super) meaning: String,
    /// What a person can do, if only to wait.
    pub(super) advice: String,
    /// What else there is to see, a line each.
    more: Vec<String>,
}

impl Told {
    /// What stands below the headline.
    pub(super) fn below(&self) -> String {
        let more: String = self.more.iter().map(|line| format!("  {line}\n")).collect();
        format!("  {}\n  what to do: {}\n{more}", self.meaning, self.advice)
    }
}

/// Tells a hold of a domain, as of `now`.
pub(super) fn tell(domain: &Name, hold: &Hold, now: Timestamp) -> Told {
    let told = |headline: String, meaning: String, advice: String| Told { headline, meaning, advice, more: Vec::new() };
    match hold {
        Hold::Removing { by, since, left, abandoned: true } => told(
            format!("is BEING REMOVED{}, abandoned", asked(by.as_ref(), *since, now)),
            format!("it goes at once, and nobody waits for its instances: {} not confirmed gone", instances(*left)),
            "look after what still runs by hand".to_owned(),
        ),
        Hold::Removing { by, since, left, abandoned: false } => told(
            format!("is BEING REMOVED{}", asked(by.as_ref(), *since, now)),
            format!("its engine is not asked any more; {} still to be confirmed gone", instances(*left)),
            "nothing; it is gone when every provisioner has confirmed".to_owned(),
        ),
        Hold::Disabled { host, by, since } => told(
            format!("gets NO DECISIONS: host {host} was disabled by {by} since {}", moment_ago(*since, now)),
            "its engine is not asked; what was promised is carried out, health is judged, and changes are taken in".to_owned(),
            format!("let it decide: pilothouse host enable {host}; or start another host, which takes the domains over"),
        ),
        Hold::EngineHeld { since, engine: held, why, fault } => {
            let (what, advice) = of_held(domain, held, why);
            Told {
                more: fault.as_ref().map_or_else(Vec::new, |fault| fault_lines(fault, now)),
                ..told(
                    format!("gets NO DECISIONS: its engine is HELD since {}: {what}", moment_ago(*since, now)),
                    "its engine is not asked any more until somebody changes something; what was promised is carried out, health is judged"
                        .to_owned(),
                    advice,
                )
            }
        }
        Hold::RolledBack { since, from, to, why, reference, fault } => {
            let [from, to] = [from, to].map(|it| clean(&format!("{} {}", it.name, it.version)));
            let (meaning, advice) = of_rejected(domain, &from, &to, reference.as_deref());
            Told {
                more: fault.as_ref().map_or_else(Vec::new, |fault| fault_lines(fault, now)),
                ..told(
                    format!("was ROLLED BACK {} from {from} to {to}: {}", moment_ago(*since, now), clean(why)),
                    meaning,
                    advice,
                )
            }
        }
        Hold::VersionRefused { engine, why } => {
            let version = clean(&format!("{} {}", engine.name, engine.version));
            told(
                format!("does NOT TAKE UP {version}: that would not take the configuration: {}", clean(why)),
                "the version in force goes on deciding; the configuration is held against the other one again when either changes".to_owned(),
                format!("give it a configuration that {version} takes: pilothouse domain reconfigure {domain}; or push another version: pilothouse engine push FILE"),
            )
        }
        Hold::VersionUnusable { engine, why } => {
            let version = clean(&format!("{} {}", engine.name, engine.version));
            told(
                format!("does NOT TAKE UP {version}: its host can't use that: {}", clean(why)),
                "the version in force goes on deciding".to_owned(),
                format!("see how it is on every host: pilothouse engine show {}; or push another version: pilothouse engine push FILE", clean(&engine.name)),
            )
        }
        Hold::Rests { took, until } => told(
            format!("is asked LESS OFTEN than its engine wants: the newest call took {}", length(*took)),
            format!("an engine that takes long is left alone for as long after each call, so that it never has a thread for more than half of the time; the next call may begin in {}", length(until.since(now))),
            format!("an engine that is quicker, for its author; or a longer pause between decisions: pilothouse domain reconfigure {domain} --set general.decide_interval=SECONDS"),
        ),
        Hold::WritesTooMuch { bytes_a_minute, until } => told(
            format!("gets NO DECISIONS for {}: what its engine decides takes too much of the journal", length(until.since(now))),
            format!("the decisions of a domain may add {} MiB a minute; the next one waits until there is room again", bytes_a_minute >> 20),
            format!("an engine that decides less at a time, and remembers less, for its author; or a longer pause between decisions: pilothouse domain reconfigure {domain} --set general.decide_interval=SECONDS"),
        ),
        Hold::Failing { since, in_a_row, kind, message, backtrace, fuel, log } => Told {
            more: details(backtrace, *fuel, log),
            ..told(
                format!("gets NO DECISIONS: its engine fails since {}, {in_a_row} in a row: {}", moment_ago(*since, now), clean(message)),
                "nothing is decided; what was promised is carried out, health is judged, and the engine is asked again in growing intervals"
                    .to_owned(),
                of_fault(domain, *kind),
            )
        },
        Hold::GaveUp { reason } => told(
            format!("is given up by its engine: \"{}\"", clean(reason)),
            "its engine says that it can't keep its policy as things are".to_owned(),
            format!("look at the reason, then at the configuration: pilothouse domain describe {domain}"),
        ),
        Hold::Paused { by, since, held } => told(
            format!("is PAUSED{}", asked(by.as_ref(), *since, now)),
            format!(
                "its engine may ask for nothing, also not to replace what fails; what was promised before is carried out{}",
                so_far(held, "refused")
            ),
            format!("let it go on: pilothouse domain resume {domain}"),
        ),
        Hold::DryRun { by, since, held } => told(
            format!("is in a DRY RUN{}", asked(by.as_ref(), *since, now)),
            format!("what its engine asks for is only recorded, not carried out{}", so_far(held, "only recorded")),
            format!("let it act: pilothouse domain dry-run {domain} off"),
        ),
        Hold::Blind { since, why, held } => told(
            format!("is looked after by a host that CAN'T SEE since {}: {}", moment_ago(*since, now), clean(why)),
            format!("nobody is held for silent or terminated for silence until it sees again; launches go on{}", so_far(held, "deferred")),
            "look at the link between the host and the NATS server; the rest follows by itself".to_owned(),
        ),
        Hold::Brake { site, unhealthy, of, since, until, surge, drips_from, drips_every, held } => {
            let at = site.as_ref().map_or_else(String::new, |site| format!(" at {}", clean(site)));
            let drips = if *drips_from > now {
                format!(
                    "from {} on, in {}, they go one at a time, every {}",
                    crate::output::time_of_day(*drips_from),
                    length(drips_from.since(now)),
                    length(*drips_every)
                )
            } else {
                format!("they go one at a time, every {}", length(*drips_every))
            };
            let when = match until.since(*since) {
                Millis::ZERO => "in the same moment".to_owned(),
                within => format!("within {}", length(within)),
            };
            let replaced = match surge {
                0 => "As many were launched as may replace them".to_owned(),
                n => format!("Up to {n} more may be launched to replace them"),
            };
            told(
                format!(
                    "is held back by the BRAKE: {unhealthy} of {of} instances{at} turned unhealthy {when}: too many at once to be believed"
                ),
                format!("terminations wait; {drips}. {replaced}{}", so_far(held, "deferred")),
                format!(
                    "look whether they are really broken (or only their network, or what they all depend on). If they are: pilothouse brake release {domain}"
                ),
            )
        }
        Hold::BackingOff { site, failures, until, reason, held } => {
            let why = reason.as_ref().map_or_else(String::new, |reason| format!(": {}", clean(reason)));
            told(
                format!("waits: {} at {} failed{why}", in_a_row(*failures), clean(site)),
                format!("the next launch there may go in {}{}", length(until.since(now)), so_far(held, "refused")),
                format!("find out why launches fail at {}: the reason above, and the log of its provisioner", clean(site)),
            )
        }
        Hold::Guard { guard, note, held, sequence, at } => told(
            format!("is held back by the guard {}: {} {}", guard.name(), held_in_words(held), waits(held)),
            format!("{}, by decision #{sequence}, {}", clean(note), moment_ago(*at, now)),
            of_guard(domain, *guard),
        ),
        Hold::Unanswered { site, requested, count: n, since } => {
            let (what, answer, key) = match requested {
                Requested::Launch => (count(*n as usize, "launch").replace("launchs", "launches"), "acknowledged", "launch"),
                Requested::Termination => (count(*n as usize, "termination"), "confirmed", "termination"),
            };
            let verb = if *n == 1 { "is" } else { "are" };
            told(
                format!(
                    "waits for the PROVISIONER of {}: {what} {verb} not {answer}, the oldest since {}",
                    clean(site),
                    moment_ago(*since, now)
                ),
                format!("each {key} is asked for again every few seconds until it is {answer}"),
                format!("look whether the provisioner of {} runs and reaches NATS", clean(site)),
            )
        }
        Hold::Refused { revision, at } => told(
            format!("works with an OLD CONFIGURATION: its engine would not take up revision {revision}, {}", moment_ago(*at, now)),
            "the engine goes on with what it knew before".to_owned(),
            format!("give it a configuration that it takes: pilothouse domain reconfigure {domain}"),
        ),
    }
}

/// What it means that a domain went back from a version, and what a person can do about it. `reference`: the configuration asks for that no
/// more, and the version fits nothing else.
fn of_rejected(domain: &Name, from: &str, to: &str, reference: Option<&str>) -> (String, String) {
    let Some(reference) = reference.map(clean) else {
        return (
            format!("{to} decides; {from} is not taken up again by itself, a newer version is"),
            format!(
                "mend it and push a newer version: pilothouse engine push FILE; to give {from} another chance: pilothouse domain retry {domain}"
            ),
        );
    };
    (
        format!("{to} decides, and the configuration asks again for what it did before {from} was promoted, which {from} does not fit"),
        format!(
            "to try {from} beside {to} once more: pilothouse domain shadow {domain} --engine '{reference}'; to have it decide again: pilothouse domain reconfigure {domain} --engine '{reference}'; a mended version, once it is pushed (pilothouse engine push FILE), in the same ways"
        ),
    )
}

/// Why an engine is held, and what a person can do about it.
fn of_held(domain: &Name, held: &EngineInForce, why: &HoldReason) -> (String, String) {
    let engine = clean(&format!("{} {}", held.name, held.version));
    let mended = "push a mended version, which is taken up by itself if the configuration follows versions and nothing runs beside it: pilothouse engine push FILE";
    let retry = format!("have it asked again: pilothouse domain retry {domain}");
    match why {
        HoldReason::Failed { kind, faults } => (
            format!("{engine} failed {}, last with {}, and there is no version to go back to", times_in_a_row(*faults), kind.name()),
            format!("{retry}; or {mended}; or take another one: pilothouse domain reconfigure {domain} --engine NAME@VERSION"),
        ),
        HoldReason::MemoryRefused { message } => (
            format!("{engine} does not understand the memory of the version before: {}", clean(message)),
            format!(
                "let it begin anew on the running instances: pilothouse domain reconfigure {domain} --set general.memory_refused=initialize; or {mended}; or {retry}"
            ),
        ),
    }
}

/// `3 times in a row`.
fn times_in_a_row(faults: u32) -> String {
    if faults == 1 { "once".to_owned() } else { format!("{faults} times in a row") }
}

/// The newest fault of an engine that is asked no more.
fn fault_lines(fault: &FaultTold, now: Timestamp) -> Vec<String> {
    let FaultTold { sequence, at, call, kind, message, backtrace, fuel, log } = fault;
    let newest = format!("the newest fault, {}, record #{sequence}: {} in {call}: {}", moment_ago(*at, now), kind.name(), clean(message));
    [newest].into_iter().chain(details(backtrace, Some(*fuel), log)).collect()
}

/// Where an engine failed, what it had used up, and what it logged, as far as that is known.
fn details(backtrace: &[String], fuel: Option<u64>, log: &[String]) -> Vec<String> {
    let place = (!backtrace.is_empty()).then(|| format!("it failed in {}", clean(&backtrace.join(", called by "))));
    let fuel = fuel.map(|fuel| format!("the call had used up {fuel} units of fuel"));
    let log = log.iter().map(|line| format!("it logged {}", clean(line)));
    place.into_iter().chain(fuel).chain(log).collect()
}

fn of_fault(domain: &Name, kind: Option<FaultKind>) -> String {
    let another = format!("another engine, or another version: pilothouse domain reconfigure {domain} --engine NAME@VERSION");
    match kind {
        Some(FaultKind::Deadline | FaultKind::Abandoned) => format!("look whether the host has too much to do; if not, {another}"),
        Some(FaultKind::Processor) => {
            format!(
                "an engine that is slower than its fuel tells, for its author; if this machine is slow, raise deadline_ms; until then {another}"
            )
        }
        Some(FaultKind::Load) => format!(
            "if the engine store does not answer, look at NATS: the engine is asked again by itself as soon as it can be had; if the component can't be used on this host, {another}"
        ),
        Some(FaultKind::Crowded) => {
            "engines together use up what they may: give the host more memory or threads, or let fewer domains decide at once".to_owned()
        }
        Some(FaultKind::Returned) => "the engine means this error: look at its words, and at the configuration".to_owned(),
        _ => format!("a fault of the engine, for its author; until then {another}"),
    }
}

fn of_guard(domain: &Name, guard: Guard) -> String {
    match guard {
        Guard::Budget => {
            "wait, it passes by itself; if that is too slow, raise general.launches_per_minute or general.terminations_per_minute"
                .to_owned()
        }
        Guard::Protection => format!("if they may go: pilothouse instance unprotect {domain}/NUMBER"),
        Guard::Quota => format!("if so many are wanted: pilothouse domain reconfigure {domain} --set general.max_instances=N"),
        Guard::Blind => "wait, it passes by itself when the host has seen for long enough".to_owned(),
        Guard::Pause | Guard::DryRun | Guard::Brake => "wait, it passes by itself".to_owned(),
    }
}

/// ` by ann since … (3 min ago)`, as far as that is known.
fn asked(by: Option<&Name>, since: Option<Timestamp>, now: Timestamp) -> String {
    let by = by.map_or_else(String::new, |by| format!(" by {by}"));
    by + &since.map_or_else(String::new, |since| format!(" since {}", moment_ago(since, now)))
}

fn instances(n: u32) -> String {
    format!("{} {}", count(n as usize, "instance"), if n == 1 { "is" } else { "are" })
}

/// `the last 3 launches`.
pub(super) fn in_a_row(failures: u32) -> String {
    if failures == 1 { "the newest launch".to_owned() } else { format!("the last {failures} launches") }
}

/// `; of the newest decision 2 launches were refused`, when any were.
fn so_far(held: &Held, what: &str) -> String {
    if *held == Held::default() {
        return String::new();
    }
    let were = if held.launches + held.terminations == 1 { "was" } else { "were" };
    format!("; of the newest decision on record {} {were} {what}", held_in_words(held))
}

fn held_in_words(held: &Held) -> String {
    let launches = count(held.launches as usize, "launch").replace("launchs", "launches");
    let terminations = count(held.terminations as usize, "termination");
    match (held.launches, held.terminations) {
        (_, 0) => launches,
        (0, _) => terminations,
        (_, _) => format!("{launches} and {terminations}"),
    }
}

fn waits(held: &Held) -> &'static str {
    if held.launches + held.terminations == 1 { "waits" } else { "wait" }
}
