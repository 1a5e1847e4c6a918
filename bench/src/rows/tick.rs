//! The health of many instances.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use pilothouse_core::cycle::Engine;
use pilothouse_core::domain::Domain;
use pilothouse_core::id::InstanceId;
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Heartbeat, Verdict};
use pilothouse_core::record::Record;
use pilothouse_core::time::{Millis, Timestamp};

use crate::Settings;
use crate::fixture::{self, NOW};
use crate::measure::{Samples, Subject, by_turns, repeat};
use crate::report::{Figure, Outcome, Target, Unit};

const INSTANCES: usize = 100_000;

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let (_sandbox, engine) = fixture::simplest()?;
    let mut domain = fixture::domain(fixture::state(0, INSTANCES, INSTANCES, &engine.identity()));
    let ids: Vec<InstanceId> = domain.state().instances().map(|instance| instance.id.clone()).collect();
    // A look at the records of those that are gone comes every half minute: that one is over.
    let mut now = NOW + Millis::from_secs(200);
    ensure!(absorb(&mut domain, Vec::new(), now).is_none(), "nobody has been silent for long");

    let quiet: Vec<Subject<'_>> = vec![Box::new(|| {
        ensure_quiet(black_box(absorb(&mut domain, Vec::new(), now)));
    })];
    let quiet = by_turns(settings.effort(), quiet).remove(0);

    let (mut storms, mut after, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    let windows = domain.state().config.health.clone();
    // Nobody was heard yet: the first limit is that for booting, and the same for all.
    let mut limit = NOW + windows.boot_timeout + Millis::new(1);
    for _ in 0..settings.rounds(20) {
        // All of them are heard; then the health is looked at.
        now = now + Millis::from_secs(1);
        storms.push(hear(&mut domain, &ids, now) / INSTANCES as f64);
        after.push(look(&mut domain, now));
        let heard = now;
        // The worst that can be: the limits of all come up in the same millisecond, and everybody was heard since.
        now = limit;
        limits.push(look(&mut domain, now));
        limit = heard + windows.missing_timeout + Millis::new(1);
        ensure!(limit > now, "so that they come up once a round");
        now = heard.max(now);
    }
    let about = |what: &str, samples: Vec<f64>| Figure::new(what, Unit::Seconds, &Samples::of(samples));
    Ok(Outcome {
        figures: vec![
            Figure::new("a look, nothing due", Unit::Seconds, &quiet).target(Target::AtMost(100e-6)),
            about("a look just after all were heard", after).target(Target::AtMost(100e-6)),
            about("hearing one of them", storms),
            about("the look at which the limits of all come up at once", limits),
        ],
        notes: vec!["the last one comes once in a missing window (120 s), and only if all began in the same millisecond".to_owned()],
    })
}

/// Seconds for a heartbeat of everybody.
fn hear(domain: &mut Domain, ids: &[InstanceId], now: Timestamp) -> f64 {
    let inputs: Vec<Input> = ids.iter().map(|id| Input::Heartbeat(id.clone(), Heartbeat { verdict: Verdict::Ok })).collect();
    let began = Instant::now();
    ensure_quiet(domain.absorb(inputs, false, now, |_| {}));
    began.elapsed().as_secs_f64()
}

/// Seconds for a look at the health of all.
fn look(domain: &mut Domain, now: Timestamp) -> f64 {
    let began = Instant::now();
    ensure_quiet(absorb(domain, Vec::new(), now));
    began.elapsed().as_secs_f64()
}

fn absorb(domain: &mut Domain, inputs: Vec<Input>, now: Timestamp) -> Option<Record> {
    domain.absorb(inputs, true, now, |_| {})
}

fn ensure_quiet(record: Option<Record>) {
    assert!(record.is_none(), "all are well: {record:?}");
}

/// Hearing one instance after the other, for a profiler.
pub(crate) fn profile(calls: u32) -> Result<f64> {
    let (_sandbox, engine) = fixture::simplest()?;
    let mut domain = fixture::domain(fixture::state(0, INSTANCES, INSTANCES, &engine.identity()));
    let ids: Vec<InstanceId> = domain.state().instances().map(|instance| instance.id.clone()).collect();
    let mut next = ids.iter().cycle();
    Ok(repeat(calls, || {
        let heard = next.by_ref().take(1).map(|id| Input::Heartbeat(id.clone(), Heartbeat { verdict: Verdict::Ok })).collect();
        ensure_quiet(absorb(&mut domain, heard, NOW + Millis::from_secs(31)));
    }))
}
