//! An engine that asks every question and makes every request of `pilothouse:engine@0.1.0`, and tells the answers.
//!
//! Its policy: at least one instance; one of the unhealthy is replaced, and of more than three the oldest launch goes. Its memory is a
//! version and a count of decisions.

wit_bindgen::generate!({
    world: "decision-engine",
    path: "../../../wit/released/engine-0.1.0",
    generate_all,
});

use exports::pilothouse::engine::engine::{Description, Failure, Guest, Problem, Status, Verdict, Wake};
use pilothouse::engine::control::{Control, LaunchRequest, Refusal, Settings, Setup};
use pilothouse::engine::log::{Level, log};
use pilothouse::engine::state::{Domain, Filter, Scope, Statistic};
use pilothouse::engine::types::{Health, InstanceState, Sample};

/// What a memory begins with.
const VERSION: u8 = 1;
/// Of every sensor that is read.
const WINDOW: u64 = 60_000;

struct Frozen;

impl Guest for Frozen {
    fn describe() -> Description {
        Description {
            name: "frozen".to_owned(),
            version: "1.0.0".to_owned(),
            documentation: "Asks everything and tells the answers.".to_owned(),
            config_schema: r#"{"type": "object"}"#.to_owned(),
        }
    }

    fn check_config(config: String) -> Vec<Problem> {
        if config.contains("wrong") { problems() } else { Vec::new() }
    }

    fn initialize(domain: &Domain, setup: &Setup) -> Result<Vec<u8>, Failure> {
        if domain.config().contains("wrong") {
            return Err(Failure::Config(problems()));
        }
        let vars = vec![("set-by".to_owned(), "initialize".to_owned())];
        setup.configure(&Settings { pulse: None, provisioner_vars: Some(vars) }).map_err(other)?;
        Ok(vec![VERSION, 0])
    }

    fn reconfigure(memory: Vec<u8>, domain: &Domain, setup: &Setup) -> Result<Vec<u8>, Failure> {
        let config = domain.config();
        if config.contains("afresh") {
            return Err(Failure::NotSupported);
        }
        if config.contains("wrong") {
            return Err(Failure::Config(problems()));
        }
        setup.configure(&Settings { pulse: Some(9000), provisioner_vars: None }).map_err(other)?;
        count(&memory).map(|count| vec![VERSION, count])
    }

    fn decide(memory: Vec<u8>, domain: &Domain, control: &Control) -> Result<Verdict, Failure> {
        let count = count(&memory)?;
        let mut figures = Vec::new();
        let mut told = vec![about(domain)];
        told.push(population(domain, &mut figures));
        told.push(sensors(domain, &mut figures));
        told.push(requests(domain, control, &mut figures)?);
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        levels.into_iter().for_each(|level| log(level, &format!("at level {level:?}")));
        Ok(Verdict {
            memory: vec![VERSION, count.wrapping_add(1)],
            status: Status::Pending,
            reason: told.join("; "),
            figures: figures.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect(),
            wake: Some(if count == 0 { Wake::After(2500) } else { Wake::OnChange }),
            options: vec![("later".to_owned(), "ignored".to_owned())],
        })
    }

    fn retire(memory: Vec<u8>) {
        log(Level::Info, &format!("retired with {} bytes", memory.len()));
    }
}

fn problems() -> Vec<Problem> {
    vec![Problem { at: "/wrong".to_owned(), message: "expected anything else".to_owned() }]
}

fn other(refusal: Refusal) -> Failure {
    Failure::Other(format!("{refusal:?}"))
}

fn count(memory: &[u8]) -> Result<u8, Failure> {
    match memory {
        [VERSION, count] => Ok(*count),
        _ => Err(Failure::Memory("not one of mine".to_owned())),
    }
}

/// Who the domain is, when, and why.
fn about(domain: &Domain) -> String {
    let (first, second) = (domain.random(), domain.random());
    format!(
        "{}/{} at {} because {:?}, configured with {} (revision {}) and {:?}, health monitored {}, chance {}",
        domain.owner(),
        domain.name(),
        domain.now(),
        domain.cause(),
        domain.config(),
        domain.config_revision(),
        domain.provisioner_vars(),
        domain.health_monitored(),
        first != second,
    )
}

/// Who is there, asked for in every way, which must come to the same.
fn population(domain: &Domain, figures: &mut Vec<(&'static str, f64)>) -> String {
    let counts = domain.counts();
    for (name, figure) in [
        ("total", counts.total),
        ("valid", counts.valid),
        ("starting", counts.starting),
        ("running", counts.running),
        ("unhealthy", counts.unhealthy),
        ("launching", counts.launching),
        ("terminating", counts.terminating),
        ("unconfirmed", counts.unconfirmed),
    ] {
        figures.push((name, f64::from(figure)));
    }
    let all = Filter { states: vec![], healths: vec![], site: None, valid: false };
    let valid = Filter { valid: true, ..all.clone() };
    let narrow = Filter { states: vec![InstanceState::Running], healths: vec![Health::Ok], site: Some("local".to_owned()), valid: true };
    figures.push(("listed", domain.instances(&all, None).len() as f64));
    figures.push(("listed-valid", domain.instances(&valid, None).len() as f64));
    figures.push(("listed-first", domain.instances(&all, Some(1)).len() as f64));
    figures.push(("listed-narrow", domain.instances(&narrow, None).len() as f64));
    figures.push(("unhealthy-first", domain.unhealthy(Some(1)).len() as f64));
    figures.push(("changed", domain.changed(None).len() as f64));
    let columns = domain.columns(&valid);
    figures.push(("rows", columns.rows.len() as f64));
    let same = columns.rows.iter().enumerate().all(|(at, row)| {
        let by_row = domain.instance_at(*row);
        by_row.is_some_and(|by_row| {
            let by_id = domain.instance(&by_row.id);
            by_id.is_some_and(|by_id| {
                (by_id.state, by_id.health, by_id.state_since) == (columns.states[at], columns.healths[at], columns.state_since[at])
            })
        })
    });
    let listed = |site: &pilothouse::engine::state::SiteReport| {
        format!("{} has {} with {} failures, backing off until {:?}", site.site, site.instances, site.failures, site.backing_off_until)
    };
    let sites: Vec<String> = domain.sites().iter().map(listed).collect();
    let first = domain.instances(&all, Some(1)).into_iter().next();
    let first = first.map_or_else(String::new, |it| {
        format!(
            ", first {} of {}: {} {} {} {:?} since {} {:?} {:?} {:?} {:?} protected {}",
            it.id,
            it.launch,
            it.deployable_type,
            it.site,
            it.allocation,
            it.state,
            it.state_since,
            it.health,
            it.errors,
            it.extra_vars,
            it.attributes,
            it.protected
        )
    });
    format!("the same by row and by id {same}, sites {sites:?}{first}")
}

fn sensors(domain: &Domain, figures: &mut Vec<(&'static str, f64)>) -> String {
    for (name, statistic) in [
        ("last", Statistic::Last),
        ("average", Statistic::Average),
        ("sum", Statistic::Sum),
        ("minimum", Statistic::Minimum),
        ("maximum", Statistic::Maximum),
        ("sample-count", Statistic::SampleCount),
        ("p50", Statistic::P50),
        ("p90", Statistic::P90),
        ("p95", Statistic::P95),
        ("p99", Statistic::P99),
    ] {
        if let Sample::Value(value) = domain.sensor("queue", &Scope::Domain, statistic, WINDOW) {
            figures.push((name, value));
        }
    }
    let stale = domain.sensor("queue", &Scope::Domain, Statistic::Last, 0);
    let absent = domain.sensor("nothing", &Scope::Domain, Statistic::Last, WINDOW);
    let of_all = domain.sensor_of_all("load", Statistic::Average, WINDOW);
    let first = of_all.first().map(|(id, _)| domain.sensor("load", &Scope::Instance(id.clone()), Statistic::Average, WINDOW));
    let series = domain.series("queue", &Scope::Domain, WINDOW, 2);
    format!("queue {stale:?}, nothing {absent:?}, load of {} and the first {first:?}, series {series:?}", of_all.len())
}

fn requests(domain: &Domain, control: &Control, figures: &mut Vec<(&'static str, f64)>) -> Result<String, Failure> {
    let vars = vec![("set-by".to_owned(), "decide".to_owned())];
    control.configure(&Settings { pulse: Some(7000), provisioner_vars: Some(vars) }).map_err(other)?;
    let mut told = Vec::new();
    let request = |count, replaces| LaunchRequest {
        deployable_type: "worker".to_owned(),
        site: "local".to_owned(),
        allocation: "small".to_owned(),
        count,
        extra_vars: vec![("launched-by".to_owned(), "frozen".to_owned())],
        replaces,
        options: vec![],
    };
    let counts = domain.counts();
    if counts.valid == 0 {
        let launched = control.launch(&request(2, None)).map_err(other)?;
        told.push(format!("launched {} and {} wait", launched.instances.len(), launched.deferred));
    }
    if let Some(ill) = domain.unhealthy(Some(1)).into_iter().next() {
        let early = control.launch(&request(1, Some(ill.id.clone())));
        told.push(format!("too early {early:?}"));
        let destroyed = control.destroy_instances(std::slice::from_ref(&ill.id), "it is ill").map_err(other)?;
        let launched = control.launch(&request(1, Some(ill.id.clone()))).map_err(other)?;
        told.push(format!("replaced {:?} by {}, {:?} stay", destroyed.accepted, launched.instances.len(), destroyed.deferred));
    }
    if counts.valid > 3 {
        let all = Filter { states: vec![], healths: vec![], site: None, valid: true };
        let oldest = domain.instances(&all, Some(1)).into_iter().next();
        if let Some(oldest) = oldest {
            let destroyed = control.destroy_launch(&oldest.launch, "there are too many").map_err(other)?;
            told.push(format!("ended launch {}: {:?}", oldest.launch, destroyed.accepted));
        }
    }
    let budget = control.budget();
    figures.push(("launches-left", f64::from(budget.launches)));
    figures.push(("terminations-left", f64::from(budget.terminations)));
    told.push(format!("budget full in {}", budget.full_at - domain.now()));
    Ok(told.join(", "))
}

export!(Frozen);
