//! What is promised is asked for until it is acknowledged.

use pilothouse_core::domain::Effect;
use pilothouse_core::instance::{Instance, State};
use pilothouse_core::intake::Input;
use pilothouse_core::message::{Provision, StateReport, Terminate};
use pilothouse_core::promise::{RETRY_AFTER, Request, VALID_FOR};
use pilothouse_core::time::{Millis, Timestamp};
use serde_json::json;

use crate::support::{Bench, Native, config, instance, launch, verdict};

fn bench(instances: impl IntoIterator<Item = Instance>) -> Bench {
    let vars = json!({"general": {"max_instances": 5000, "launches_per_minute": 5000, "provisioner_vars": {"a": "domain", "b": "domain"}}});
    let mut bench = Bench::with(config(vars), Timestamp::from_secs(1000), instances);
    bench.requests();
    bench
}

/// Launches so many in one request, with a variable of their own.
fn launching(count: u32) -> Native<'static> {
    Native::new(move |cycle, memory| {
        let mut request = launch("here", count);
        request.extra_vars = vec![("b".to_owned(), "launch".to_owned())];
        cycle.launch(request).expect("granted");
        Ok(verdict(memory))
    })
}

fn ending(ids: &'static [&'static str]) -> Native<'static> {
    Native::new(move |cycle, memory| {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        cycle.destroy(&ids, "enough".to_owned()).expect("granted");
        Ok(verdict(memory))
    })
}

fn provisions(bench: &mut Bench) -> Vec<Provision> {
    bench
        .requests()
        .into_iter()
        .filter_map(|request| if let Request::Provision(message) = request { Some(message) } else { None })
        .collect()
}

fn terminates(bench: &mut Bench) -> Vec<(String, Terminate)> {
    let requests = bench.requests().into_iter();
    requests.filter_map(|request| if let Request::Terminate { site, message } = request { Some((site, message)) } else { None }).collect()
}

fn running(id: &str, ordinal: u64) -> Instance {
    instance(id, ordinal, State::Running, Timestamp::ZERO)
}

fn report(id: &str, state: State) -> Input {
    Input::Report(id.parse().expect("an id"), StateReport::new(state))
}

#[test]
fn a_launch_is_asked_for_when_it_is_committed_and_not_before() {
    let mut bench = bench([]);
    let ran = bench.begin().expect("due").run(&launching(2));
    let (record, _) = bench.domain.finish(ran, bench.now);
    assert_eq!(provisions(&mut bench), [], "not committed");
    bench.commit(record.expect("launches"));
    let [request] = &provisions(&mut bench)[..] else { panic!("one request") };
    assert_eq!((request.epoch, request.not_after), (1, bench.now + VALID_FOR));
    assert_eq!((request.deployable_type.as_str(), request.site.as_str(), request.allocation.as_str()), ("worker", "here", "small"));
    assert_eq!(json!(request.vars), json!({"a": "domain", "b": "launch"}), "those of the launch are over those of the domain");
    assert_eq!(json!(request.extra_vars), json!({"b": "launch"}), "and can be told apart from those");
    assert_eq!(request.instances.iter().map(|it| (it.ordinal, it.sequence)).collect::<Vec<_>>(), [(0, 7), (1, 7)]);
    let id = &request.instances[0].node_id;
    assert_eq!(request.instances[0].heartbeat_subject, format!("ph.v1.heartbeat.42.{id}"));
    assert_eq!(id.slot().map(|slot| slot.0), Some(42));
}

#[test]
fn an_unanswered_request_is_made_again_after_five_seconds_with_the_same_ids() {
    let mut bench = bench([]);
    bench.decide(&launching(2));
    let ids = |requests: &[Provision]| requests.iter().flat_map(|it| &it.instances).map(|it| it.node_id.clone()).collect::<Vec<_>>();
    let first = ids(&provisions(&mut bench));
    assert_eq!(first.len(), 2);
    assert_eq!(bench.domain.next_look(bench.now), bench.now + RETRY_AFTER);
    bench.pass(Millis::new(4999));
    assert_eq!(provisions(&mut bench), []);
    bench.pass(Millis::new(1));
    let again = provisions(&mut bench);
    assert_eq!((ids(&again), again[0].not_after), (first.clone(), bench.now + VALID_FOR));
    bench.absorb([report(first[0].as_str(), State::Requested)]);
    bench.pass(RETRY_AFTER);
    assert_eq!(ids(&provisions(&mut bench)), first[1..], "the other was acknowledged");
    bench.absorb([report(first[1].as_str(), State::Running)]);
    bench.pass(RETRY_AFTER);
    assert_eq!(provisions(&mut bench), []);
}

#[test]
fn terminations_go_together_by_site_and_again_until_they_are_confirmed() {
    let there = Instance { site: "there".to_owned(), ..running("c", 2) };
    let mut bench = bench([running("a", 0), running("b", 1), there]);
    bench.decide(&ending(&["a", "b", "c"]));
    let ends = |bench: &mut Bench| {
        let of = |message: &Terminate| message.instances.iter().map(|it| it.node_id.to_string()).collect::<Vec<_>>().join(" ");
        terminates(bench).iter().map(|(site, message)| (site.clone(), of(message))).collect::<Vec<_>>()
    };
    let sequence = bench.state().sequence;
    let requests = terminates(&mut bench);
    assert!(requests.iter().all(|(_, it)| it.epoch == 1 && it.not_after == bench.now + VALID_FOR));
    assert!(requests.iter().flat_map(|(_, it)| &it.instances).all(|it| it.sequence == sequence && it.state_subject.contains(".state.42.")));
    bench.pass(RETRY_AFTER);
    assert_eq!(ends(&mut bench), [("here".to_owned(), "a b".to_owned()), ("there".to_owned(), "c".to_owned())]);
    bench.absorb([report("a", State::Terminating), report("b", State::Terminated), report("c", State::Failed)]);
    bench.pass(RETRY_AFTER);
    assert_eq!(ends(&mut bench), [("here".to_owned(), "a".to_owned())], "under way is not confirmed");
}

#[test]
fn a_launch_that_is_to_end_is_not_asked_for_any_more_and_its_end_at_once() {
    let mut bench = bench([]);
    bench.decide(&launching(1));
    let id = provisions(&mut bench)[0].instances[0].node_id.to_string();
    bench.pass(Millis::from_secs(5));
    let ends = Native::new(|cycle, memory| {
        cycle.destroy(std::slice::from_ref(&id), "enough".to_owned()).expect("granted");
        Ok(verdict(memory))
    });
    bench.decide(&ends);
    bench.pass(Millis::new(1));
    let requests = bench.requests();
    let [Request::Terminate { message, .. }] = &requests[..] else { panic!("{requests:?}") };
    assert!(message.instances[0].sequence > 7, "its end is another promise");
}

#[test]
fn requests_name_a_hundred_instances_at_most() {
    let mut bench = bench([]);
    bench.decide(&launching(250));
    assert_eq!(provisions(&mut bench).iter().map(|it| it.instances.len()).collect::<Vec<_>>(), [100, 100, 50]);
}

#[test]
fn what_is_promised_is_asked_for_also_while_nothing_can_be_seen() {
    let mut bench = bench([]);
    bench.decide(&launching(1));
    bench.domain.lose_sight(bench.now, "messages were dropped");
    assert_eq!(provisions(&mut bench).len(), 1);
    bench.pass(RETRY_AFTER);
    assert_eq!(provisions(&mut bench).len(), 1, "and again");
}

#[test]
fn a_question_for_the_state_of_everything_that_nobody_answered_is_asked_again_soon() {
    // The first time it is asked at once.
    let mut bench = bench([running("a", 0)]);
    bench.domain.dump_unanswered(bench.now);
    bench.pass(Millis::new(RETRY_AFTER.get() - 1));
    assert_eq!(bench.effects(), []);
    bench.pass(Millis::new(1));
    assert!(matches!(bench.requests()[..], [Request::Dump { .. }]));
}

#[test]
fn after_a_restart_everything_promised_is_asked_for_once_more_under_the_new_epoch() {
    let mut bench = bench([running("a", 0)]);
    bench.decide(&Native::new(|cycle, memory| {
        cycle.launch(launch("here", 1)).expect("granted");
        cycle.destroy(&["a".to_owned()], "enough".to_owned()).expect("granted");
        Ok(verdict(memory))
    }));
    let before = bench.requests();
    assert_eq!(before.len(), 2);
    let now = bench.now + Millis::new(1);
    let mut bench = bench.restart(now);
    let mut after = bench.requests();
    let last = after.pop();
    assert!(matches!(&last, Some(Request::Dump { message, .. }) if message.epoch == 2 && message.instances.len() == 1), "{last:?}");
    let seen = |requests: &[Request]| {
        let of = |request: &Request| match request {
            Request::Provision(it) => (it.epoch, it.instances[0].node_id.clone(), it.instances[0].sequence),
            Request::Terminate { message, .. } => (message.epoch, message.instances[0].node_id.clone(), message.instances[0].sequence),
            Request::Dump { .. } => panic!("no more dumps"),
        };
        requests.iter().map(of).collect::<Vec<_>>()
    };
    let expected: Vec<_> = seen(&before).into_iter().map(|(_, id, sequence)| (2, id, sequence)).collect();
    assert_eq!(seen(&after), expected);
    assert_eq!(bench.effects(), []);
}

#[test]
fn a_launch_that_stalled_is_asked_for_again() {
    let mut bench = bench([]);
    bench.decide(&launching(1));
    let id = provisions(&mut bench)[0].instances[0].node_id.to_string();
    bench.absorb([report(&id, State::Requested)]);
    bench.pass(Millis::from_secs(600));
    bench.tick();
    assert_eq!(provisions(&mut bench), []);
    bench.pass(Millis::new(1));
    bench.tick();
    assert_eq!(provisions(&mut bench)[0].instances[0].node_id.as_str(), id);
    bench.absorb([report(&id, State::Pending)]);
    bench.pass(RETRY_AFTER);
    assert_eq!(provisions(&mut bench), [], "it moves");
}

#[test]
fn everything_alive_is_asked_after_at_once_after_a_gap_and_every_five_minutes() {
    let dumped = |bench: &mut Bench| {
        let of = |request| if let Request::Dump { message, .. } = request { Some(message.instances.len()) } else { None };
        bench.requests().into_iter().filter_map(of).collect::<Vec<_>>()
    };
    let gone = instance("c", 2, State::Terminated, Timestamp::ZERO);
    let instances = [running("a", 0), instance("b", 1, State::Terminating, Timestamp::ZERO), gone];
    let mut bench = Bench::with(config(json!({})), Timestamp::from_secs(1000), instances);
    assert_eq!(dumped(&mut bench), [2], "when it is taken");
    assert!(dumped(&mut bench).is_empty());
    let mut moments = Vec::new();
    for _ in 0..1000 {
        bench.pass(Millis::from_secs(1));
        if !dumped(&mut bench).is_empty() {
            moments.push(bench.now);
        }
    }
    assert!(moments.windows(2).all(|pair| pair[1].since(pair[0]) == Millis::from_secs(300)) && moments.len() >= 3, "{moments:?}");
    bench.domain.missed(Millis::from_secs(10), bench.now);
    assert_eq!(dumped(&mut bench), [2], "after a gap");
    bench.domain.lose_sight(bench.now, "the link is down");
    bench.pass(Millis::from_secs(1));
    bench.domain.regain_sight(bench.now);
    assert_eq!(dumped(&mut bench), [2], "after another");
}

#[test]
fn domains_of_different_slots_do_not_ask_at_the_same_moment() {
    use pilothouse_core::domain::Domain;
    use pilothouse_core::name::{DomainKey, Slot};
    use pilothouse_core::state::DomainState;
    let second_dump = |slot: u16| {
        let key = DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") };
        let mut state = DomainState::absent(key, Slot(slot));
        bench([]).records().for_each(|(sequence, record)| drop(state.apply(sequence, record)));
        let running = Timestamp::from_secs(1000);
        state.set(self::running("a", 0));
        let mut domain = Domain::taken(state, running);
        let subjects = bench([]).subjects;
        let mut dumps_at = |secs: u64| {
            let effects = domain.effects(&subjects, running + Millis::from_secs(secs));
            effects.iter().any(|effect| matches!(effect, Effect::Request(Request::Dump { .. })))
        };
        assert!(dumps_at(0));
        (1..=300).find(|secs| dumps_at(*secs))
    };
    let moments: std::collections::BTreeSet<_> = (0..16).map(second_dump).collect();
    assert!(moments.len() > 8 && !moments.contains(&None), "{moments:?}");
}
