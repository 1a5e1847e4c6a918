//! Everything works again: nobody interferes, launches succeed, agents are well. Then a domain has to come to rest as its engine promises.

use pilothouse_core::instance::State;
use pilothouse_sim::event::{AgentDoes, Beat, Of, Provisioner, Report, Works};
use pilothouse_sim::swarm::Failure;
use pilothouse_sim::tick::TickKind;
use pilothouse_sim::timeline::{Entry, Ticks};
use serde_json::{Map, json};

use crate::kind::Kind;
use crate::watch::Watched;

/// So long may it take, in steps of five seconds: one launch and one termination a minute, and five minutes of waiting at a site.
const STEPS: u64 = 12 * 40;

/// Rounds at rest, one after the other, before it is believed.
const AT_REST: u64 = 3;

/// Lets everything work from now on, and waits for the domain to come to rest.
///
/// # Errors
/// When it does not, or breaks a promise on the way.
pub(crate) fn settles<K: Kind>(watched: &mut Watched<'_, K>) -> Result<(), Failure> {
    let protected = each(watched, |it| it.protected);
    let at_work = json!({ "general": { "max_instances": 1000 }, "engine_conf": K::at_work() }).as_object().cloned();
    for entry in [
        Entry { see: Some(true), ..Entry::default() },
        Entry { provisioner: Some(Provisioner { provision: Some(Works::Works), terminate: Some(Works::Works) }), ..Entry::default() },
        Entry { agent: Some(AgentDoes::Answers), ..Entry::default() },
        Entry { dry_run: Some(false), ..Entry::default() },
        Entry { pause: Some(false), ..Entry::default() },
        Entry { unprotect: Some(protected), ..Entry::default() },
        Entry { reconfigure: at_work, ..Entry::default() },
    ] {
        watched.put(entry)?;
    }
    let mut at_rest = 0;
    for _ in 0..STEPS {
        watched.at += 5000;
        for entry in [
            report(each(watched, |it| it.state.is_starting()), State::Running),
            report(each(watched, |it| it.state == State::Terminating), State::Terminated),
            well(each(watched, |it| it.state == State::Running)),
            // Whoever is ill now is ill for good.
            Entry { release_brake: Some(true), ..Entry::default() },
            Entry { tick: Some(Ticks::Several(vec![TickKind::Health, TickKind::Decide])), ..Entry::default() },
        ] {
            watched.put(entry)?;
        }
        at_rest = if K::is_settled(watched.state(), &watched.account.own) { at_rest + 1 } else { 0 };
        if at_rest == AT_REST {
            return Ok(());
        }
    }
    let state = watched.state();
    let seen = format!("with {:?} there are, after {} quiet seconds, {:?}", state.engine_conf(), STEPS * 5, state.counts());
    Err(Failure::Unkept { promise: "what is wanted is there in the end", seen })
}

fn each<K: Kind>(watched: &Watched<'_, K>, wanted: fn(&pilothouse_core::instance::Instance) -> bool) -> Of {
    Of::Each(watched.state().instances().filter(|it| wanted(it)).map(|it| it.ordinal).collect())
}

fn report(of: Of, state: State) -> Entry {
    let report = Report { of, state: state.name().to_owned(), generate_address: false, fields: Map::new() };
    Entry { report: Some(report), ..Entry::default() }
}

fn well(of: Of) -> Entry {
    let beat = Beat { of, state: "OK".to_owned(), error: None, error_time: None, failed_processes: None };
    Entry { heartbeat: Some(beat), ..Entry::default() }
}
