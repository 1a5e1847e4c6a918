//! The local provisioner on real parts: a real nats-server, real agents and workers, and crashes.

mod bench;

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use pilothouse_core::instance::State::{Failed, Pending, Rejected, Requested, Running, Started, Terminated, Terminating};
use pilothouse_core::message::{Dump, DumpAnswer, Receipt, StateReport, ToDump};
use pilothouse_tests::processes::Program;
use pilothouse_tests::tape;
use pilothouse_tests::wait::eventually;
use serde_json::json;

use bench::{Bench, SOON};

#[tokio::test]
async fn an_instance_goes_through_its_states_in_order_and_leaves_nothing() -> Result<()> {
    let bench = Bench::new().await?;
    let site = bench.start().await?;
    let id = bench.id("a");
    assert_eq!(bench.provision(&id, 1, 5).await?, accepted(&id));
    bench.reaches(&id, Running).await?;
    let agent = bench.ledger.agent_of(&id).context("an agent runs")?;
    assert_eq!(bench.ledger.starts()[&id], 1);
    bench.hears(&id, "OK").await?;

    assert_eq!(bench.terminate(&id, 1, 6).await?, accepted(&id));
    bench.reaches(&id, Terminated).await?;
    assert_eq!(bench.ledger.of(&id), [], "nothing is left when it is reported");
    assert_eq!(bench.states(&id), [Requested, Pending, Started, Running, Terminating, Terminated]);
    let reports = bench.reports(&id);
    assert!(reports.is_sorted_by(|a, b| a.update_counter < b.update_counter), "{reports:?}");
    let last = &reports[reports.len() - 1].attributes;
    assert_eq!(last["pid"], agent.pid.to_string());
    assert!(fs::exists(format!("{}/main.out", last["directory"]))? && !last["hostname"].is_empty());
    assert!(site.stop().await?.success());
    Ok(())
}

#[tokio::test]
async fn an_agent_that_is_killed_fails_its_instance_and_takes_the_workers_with_it() -> Result<()> {
    let bench = Bench::new().await?;
    let _site = bench.start().await?;
    for kind in ["worker", "stubborn", "runaway"] {
        let id = bench.id(kind);
        bench.provision_a(kind, &id).await?;
        bench.ledger.agent_of(&id).context("an agent runs")?.signal(Signal::SIGKILL)?;
        let report = bench.reaches(&id, Failed).await?;
        assert_eq!(bench.ledger.of(&id), [], "{kind}: no worker is left when it is reported");
        assert!(report.reason.as_deref().is_some_and(|reason| reason.contains("signal: 9")), "{report:?}");
    }
    assert!(bench.ledger.starts().values().all(|starts| *starts == 1), "nothing is started again: {:?}", bench.ledger.starts());
    Ok(())
}

#[tokio::test]
async fn a_termination_leaves_no_orphan() -> Result<()> {
    let bench = Bench::new().await?;
    let _site = bench.start().await?;
    for kind in ["worker", "stubborn", "runaway"] {
        let id = bench.id(kind);
        bench.provision_a(kind, &id).await?;
        bench.terminate(&id, 1, 6).await?;
        bench.reaches(&id, Terminated).await?;
        assert_eq!(bench.ledger.of(&id), [], "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_that_hangs_is_killed() -> Result<()> {
    let bench = Bench::new().await?;
    let _site = bench.start().await?;
    let id = bench.id("hangs");
    bench.provision_a("worker", &id).await?;
    bench.ledger.agent_of(&id).context("an agent runs")?.signal(Signal::SIGSTOP)?;
    bench.terminate(&id, 1, 6).await?;
    bench.reaches(&id, Terminated).await?;
    assert_eq!(bench.ledger.of(&id), []);
    Ok(())
}

#[tokio::test]
async fn a_slow_termination_holds_up_nobody_else() -> Result<()> {
    let bench = Bench::new().await?;
    let _site = bench.start_with(&["--grace", "600"]).await?;
    let (slow, other) = (bench.id("slow"), bench.id("other"));
    bench.provision_a("stubborn", &slow).await?;
    bench.terminate(&slow, 1, 6).await?;
    bench.provision_a("worker", &other).await?;
    assert_eq!(bench.terminate(&slow, 1, 6).await?, accepted(&slow), "asked again meanwhile");
    assert_eq!(bench.last(&slow), Some(Terminating));
    Ok(())
}

#[tokio::test]
async fn requests_that_are_stale_or_late_are_refused_and_change_nothing() -> Result<()> {
    let bench = Bench::new().await?;
    let _site = bench.start().await?;
    let id = bench.id("known");
    assert_eq!(bench.provision(&id, 3, 10).await?, accepted(&id));
    bench.reaches(&id, Running).await?;
    let before = bench.ledger.of(&id);

    assert_eq!(kind(&bench.provision(&id, 2, 10).await?), "stale_epoch");
    assert_eq!(kind(&bench.terminate(&id, 2, 11).await?), "stale_epoch");
    assert_eq!(kind(&bench.provision(&id, 3, 9).await?), "stale_sequence");
    assert_eq!(kind(&bench.terminate(&id, 3, 9).await?), "stale_sequence");
    assert_eq!(kind(&bench.late_terminate(&id, 3, 11).await?), "too_late");
    let unknown = bench.id("unknown");
    assert_eq!(kind(&bench.late_provision(&unknown, 3, 11).await?), "too_late");
    assert_eq!(kind(&bench.late_terminate(&unknown, 3, 12).await?), "too_late");

    assert_eq!(bench.ledger.of(&id), before);
    assert_eq!(bench.last(&id), Some(Running));
    assert_eq!(bench.dump(&[&unknown]).await?.unknown.len(), 1, "what was refused is not even known");
    assert_eq!(bench.ledger.starts().len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_was_ended_stays_ended_also_if_it_was_never_begun_and_over_a_restart() -> Result<()> {
    let bench = Bench::new().await?;
    let site = bench.start().await?;
    let (lived, never) = (bench.id("lived"), bench.id("never"));
    bench.provision_a("worker", &lived).await?;
    bench.terminate(&lived, 1, 6).await?;
    bench.reaches(&lived, Terminated).await?;
    assert_eq!(bench.terminate(&never, 1, 6).await?, accepted(&never));
    let report = bench.reaches(&never, Terminated).await?;
    assert!(report.reason.as_deref().is_some_and(|reason| reason.contains("unknown to its provisioner")), "{report:?}");

    for _ in 0..2 {
        assert_eq!(kind(&bench.provision(&never, 1, 5).await?), "terminated", "the launch comes after its termination");
        assert_eq!(kind(&bench.provision(&never, 9, 9).await?), "terminated");
        assert_eq!(kind(&bench.provision(&lived, 1, 5).await?), "terminated");
        assert_eq!(bench.terminate(&never, 1, 6).await?, accepted(&never), "the same again");
    }
    site.crash().await?;
    let _site = bench.start().await?;
    assert_eq!(kind(&bench.provision(&never, 1, 5).await?), "terminated");
    assert_eq!(bench.ledger.starts().into_values().sum::<usize>(), 1);
    assert!(bench.ledger.alive().is_empty());
    Ok(())
}

#[tokio::test]
async fn the_same_request_again_starts_nothing_twice_and_is_told_the_state() -> Result<()> {
    let bench = Bench::new().await?;
    let _site = bench.start().await?;
    let id = bench.id("again");
    for _ in 0..5 {
        assert_eq!(bench.provision(&id, 1, 5).await?, accepted(&id));
    }
    bench.reaches(&id, Running).await?;
    let reports = bench.reports(&id).len();
    assert_eq!(bench.provision(&id, 2, 5).await?, accepted(&id), "by the host that took over");
    eventually("it is told again", SOON, async || bench.reports(&id).len() > reports).await?;
    assert_eq!(bench.last(&id), Some(Running));
    assert_eq!(bench.ledger.starts()[&id], 1);
    assert_eq!(bench.ledger.of(&id).len(), 2, "one agent and one worker");
    Ok(())
}

#[tokio::test]
async fn a_provisioner_that_was_killed_finds_its_instances_again() -> Result<()> {
    let bench = Bench::new().await?;
    let site = bench.start().await?;
    let ids = [bench.id("a"), bench.id("b"), bench.id("c"), bench.id("d")];
    for id in &ids {
        bench.provision_a("worker", id).await?;
    }
    let before = bench.ledger.alive();
    site.crash().await?;
    // What happens while it is away is found out when it is back.
    bench.ledger.agent_of(&ids[3]).context("an agent runs")?.signal(Signal::SIGKILL)?;
    let _site = bench.start().await?;
    bench.reaches(&ids[3], Failed).await?;
    assert_eq!(bench.ledger.of(&ids[3]), []);

    for id in &ids[..3] {
        assert_eq!(bench.ledger.of(id), before[id], "the same processes");
        assert_eq!(bench.provision(id, 1, 5).await?, accepted(id));
    }
    bench.ledger.agent_of(&ids[0]).context("an agent runs")?.signal(Signal::SIGKILL)?;
    bench.reaches(&ids[0], Failed).await?;
    bench.terminate(&ids[1], 1, 6).await?;
    bench.reaches(&ids[1], Terminated).await?;
    assert_eq!(bench.last(&ids[2]), Some(Running));
    assert_eq!(bench.ledger.alive().into_keys().collect::<Vec<_>>(), [ids[2].clone()]);
    assert!(bench.ledger.starts().values().all(|starts| *starts == 1), "{:?}", bench.ledger.starts());
    Ok(())
}

#[tokio::test]
async fn a_process_that_was_given_the_number_of_an_agent_is_never_killed() -> Result<()> {
    let bench = Bench::new().await?;
    let site = bench.start().await?;
    let (failed, ended) = (bench.id("failed"), bench.id("ended"));
    for id in [&failed, &ended] {
        bench.provision_a("worker", id).await?;
    }
    site.crash().await?;
    let mut innocents = Vec::new();
    for id in [&failed, &ended] {
        bench.ledger.agent_of(id).context("an agent runs")?.signal(Signal::SIGKILL)?;
        // It leads a group of its own, as an agent does.
        let mut innocent = bench.ledger.command("sleep");
        innocent.arg("100000").process_group(0);
        let innocent = Program::start(innocent, &bench.path("innocent.log"))?;
        bench.edit(id, |record| record["agent"]["pid"] = json!(innocent.pid()))?;
        innocents.push(innocent);
    }
    bench.edit(&ended, |record| record["state"] = json!("TERMINATING"))?;
    let _site = bench.start().await?;
    bench.reaches(&failed, Failed).await?;
    bench.reaches(&ended, Terminated).await?;
    assert!(bench.ledger.alive().is_empty(), "its own workers are gone: {:?}", bench.ledger.alive());
    for innocent in innocents {
        innocent.crash().await.context("it was alive until now")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_crash_between_the_intent_and_the_start_starts_once() -> Result<()> {
    let bench = Bench::new().await?;
    let site = bench.start().await?;
    let ids = [bench.id("started"), bench.id("not-started"), bench.id("too-late"), bench.id("begun-and-gone"), bench.id("ended")];
    let [started, not_started, too_late, begun_and_gone, ended] = &ids;
    for id in &ids {
        bench.provision_a("worker", id).await?;
    }
    let adopted = bench.ledger.of(started);
    site.crash().await?;
    // As the disk is when it crashed after the intent: in `started` and `ended` after the agent was started, in the others before.
    for id in &ids {
        bench.edit(id, |record| {
            record["state"] = json!("PENDING");
            record.as_object_mut().map(|record| record.remove("agent"));
        })?;
    }
    bench.edit(ended, |record| record["state"] = json!("TERMINATING"))?;
    bench.edit(too_late, |record| record["promise"]["not_after"] = json!(1))?;
    for id in [not_started, too_late, begun_and_gone] {
        bench.ledger.of(id).iter().try_for_each(|process| process.signal(Signal::SIGKILL))?;
        let traces: &[&str] = if id == begun_and_gone { &["agent.ready"] } else { &["agent.ready", "agent.lock"] };
        eventually("they are gone", SOON, async || bench.ledger.of(id).is_empty()).await?;
        traces.iter().try_for_each(|trace| fs::remove_file(bench.path(&format!("data/instances/{id}/{trace}"))))?;
    }
    bench.forget_reports();
    let _site = bench.start().await?;
    for id in [started, not_started] {
        bench.reaches(id, Running).await?;
        bench.runs(id).await?;
    }
    assert_eq!(bench.ledger.of(started), adopted, "the one that was started is found");
    for id in [too_late, begun_and_gone] {
        bench.reaches(id, Failed).await?;
    }
    bench.reaches(ended, Terminated).await?;
    let starts = bench.ledger.starts();
    assert_eq!(ids.each_ref().map(|id| starts[id]), [1, 2, 1, 1, 1], "only the one that surely was not started was started");
    assert_eq!(bench.ledger.alive().len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_provisioner_that_dies_beside_the_start_of_an_agent_has_it_started_once() -> Result<()> {
    for (point, came_to_life) in [("before-spawn.agent", 0), ("after-spawn.agent", 1)] {
        let bench = Bench::new().await?;
        let id = bench.id("a");
        let mark = bench.path("died");
        let mut site = bench.start_to_die_at(point, &mark).await?;
        bench.send_provision(&id, 1, 5).await?;
        assert_eq!(site.ended().await?.signal(), Some(9));
        assert_eq!(fs::read_to_string(&mark)?, point, "it died there and nowhere else");
        let record = bench.record(&id)?;
        assert_eq!((record["state"].as_str(), record.get("agent")), (Some("PENDING"), None), "the intent and no more");
        eventually("what was started is there", SOON, async || bench.ledger.workers_of(&id).len() == came_to_life).await?;
        let before = bench.ledger.of(&id);
        let _site = bench.start().await?;
        bench.reaches(&id, Running).await?;
        bench.runs(&id).await?;
        if came_to_life > 0 {
            assert_eq!(bench.ledger.of(&id), before);
        }
        assert_eq!((bench.ledger.starts()[&id], bench.ledger.of(&id).len()), (1, 2), "{point}");
    }
    Ok(())
}

#[tokio::test]
async fn a_provisioner_killed_at_any_moment_neither_loses_nor_doubles() -> Result<()> {
    let bench = Bench::new().await?;
    let ids: Vec<_> = (0..8).map(|i| bench.id(&format!("n{i}"))).collect();
    let mut site = bench.start().await?;
    for round in 0..6 {
        let ids: Vec<_> = ids.iter().map(|id| format!("{id}-{round}")).collect();
        for id in &ids {
            bench.send_provision(id, 1, 5).await?;
        }
        // The later the round, the further it has come.
        let reports = round * 6;
        eventually("it has come so far", SOON, async || ids.iter().map(|id| bench.reports(id).len()).sum::<usize>() >= reports).await?;
        site.crash().await?;
        site = bench.start().await?;
        for id in &ids {
            // Lost or known: the host repeats what was not acknowledged.
            assert_eq!(bench.provision(id, 1, 5).await?, accepted(id));
            bench.reaches(id, Running).await?;
            bench.runs(id).await?;
            assert_eq!((bench.ledger.starts()[id], bench.ledger.of(id).len()), (1, 2), "round {round}, {id}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_data_directory_has_one_provisioner() -> Result<()> {
    let bench = Bench::new().await?;
    let _site = bench.start().await?;
    let mut second = bench.spawn(&["--site", "other"])?;
    assert!(!second.ended().await?.success());
    assert!(second.said().contains("another provisioner uses"), "{}", second.said());
    Ok(())
}

#[tokio::test]
async fn a_provisioner_waits_for_what_a_killed_one_was_just_starting() -> Result<()> {
    let bench = Bench::new().await?;
    bench.start().await?.crash().await?;
    // As a child does that is not yet another program.
    let lock = fs::File::open(bench.path("data/provisioner.lock"))?;
    lock.lock()?;
    let site = bench.spawn(&[])?;
    eventually("it waits", SOON, async || site.said().contains("waiting a moment")).await?;
    drop(lock);
    eventually("it answers", SOON, async || bench.dump(&[]).await.is_ok()).await.with_context(|| site.said())?;
    site.crash().await
}

#[tokio::test]
async fn malformed_requests_are_refused_by_name_where_they_have_one_and_harm_nobody() -> Result<()> {
    let bench = Bench::new().await?;
    let site = bench.start().await?;
    let id = bench.id("known");
    bench.provision_a("worker", &id).await?;
    let before = bench.ledger.of(&id);
    let good = bench.provision_request(&[&id], "worker", 1, 5);
    let mut without_epoch = serde_json::to_value(&good)?;
    without_epoch.as_object_mut().context("an object")?.remove("epoch");
    for payload in ["", "{", "[]", "null", "{\"instances\": 7}", &"[".repeat(100_000), &"x".repeat(950_000), &without_epoch.to_string()] {
        for operation in ["provision", "terminate", "dump", "explode"] {
            let (receipt, error) = bench.ask_raw(operation, payload.as_bytes().to_vec()).await?;
            assert!(receipt.accepted.is_empty() && error.is_some(), "{operation} {payload:.40}: {receipt:?} {error:?}");
            if payload.contains("node_id") {
                assert_eq!((kind(&receipt), receipt.refused[0].node_id.as_str()), ("invalid", id.as_str()));
            }
        }
    }
    let mut elsewhere = good.clone();
    elsewhere.site = "moon".to_owned();
    let mut twice = good.clone();
    twice.instances.push(twice.instances[0].clone());
    let mut wild = good.clone();
    wild.instances[0].state_subject = "ph.>".to_owned();
    let many: Vec<_> = (0..101).map(|i| bench.id(&i.to_string())).collect();
    let many = bench.provision_request(&many.iter().map(String::as_str).collect::<Vec<_>>(), "worker", 1, 5);
    let mut for_ever = good.clone();
    for_ever.not_after = pilothouse_core::time::Timestamp::from_millis(u64::MAX);
    for request in [elsewhere, twice, wild, many, for_ever] {
        let (receipt, _) = bench.ask_raw("provision", request.to_json()).await?;
        assert_eq!((receipt.accepted.len(), kind(&receipt)), (0, "invalid"));
    }
    assert_eq!(bench.ledger.of(&id), before);
    assert_eq!(bench.ledger.starts().len(), 1);
    let reports = site.said().matches("message refused").count();
    assert!((1..10).contains(&reports), "the log is not flooded: {reports}");
    assert!(!site.said().contains("panicked"), "{}", site.said());
    Ok(())
}

#[tokio::test]
async fn what_can_never_be_started_is_rejected_with_the_reason() -> Result<()> {
    let bench = Bench::new().await?;
    let _site = bench.start_with(&["--max-instances", "1"]).await?;
    let (unknown, first, second) = (bench.id("unknown"), bench.id("first"), bench.id("second"));
    let request = bench.provision_request(&[&unknown], "wroker", 1, 5);
    assert_eq!(bench.ask("provision", request.to_json()).await?, accepted(&unknown));
    let report = bench.reaches(&unknown, Rejected).await?;
    assert!(report.reason.as_deref().is_some_and(|reason| reason.contains("\"wroker\" is not known here")), "{report:?}");

    bench.provision_a("worker", &first).await?;
    bench.provision(&second, 1, 5).await?;
    let report = bench.reaches(&second, Rejected).await?;
    assert!(report.reason.as_deref().is_some_and(|reason| reason.contains("is full")), "{report:?}");
    bench.terminate(&first, 1, 6).await?;
    bench.reaches(&first, Terminated).await?;
    bench.provision_a("worker", &bench.id("third")).await.context("there is room again")?;
    Ok(())
}

#[tokio::test]
async fn an_agent_that_can_not_be_started_fails_its_instance() -> Result<()> {
    let bench = Bench::new().await?;
    let _site = bench.start_with(&["--agent-binary", "/no/such/program"]).await?;
    let id = bench.id("a");
    bench.provision(&id, 1, 5).await?;
    let report = bench.reaches(&id, Failed).await?;
    assert!(report.reason.as_deref().is_some_and(|reason| reason.contains("/no/such/program")), "{report:?}");
    Ok(())
}

#[tokio::test]
async fn a_dump_tells_the_states_and_names_the_unknown() -> Result<()> {
    let bench = Bench::new().await?;
    let _site = bench.start().await?;
    let (running, ended, unknown) = (bench.id("running"), bench.id("ended"), bench.id("unknown"));
    for id in [&running, &ended] {
        bench.provision_a("worker", id).await?;
    }
    bench.terminate(&ended, 1, 6).await?;
    bench.reaches(&ended, Terminated).await?;
    bench.forget_reports();
    let answer = bench.dump(&[&running, &ended, &unknown]).await?;
    assert_eq!(answer, DumpAnswer { known: vec![running.parse()?, ended.parse()?], unknown: vec![unknown.parse()?] });
    bench.reaches(&running, Running).await?;
    bench.reaches(&ended, Terminated).await?;
    assert_eq!((bench.states(&running), bench.states(&ended), bench.states(&unknown)), (vec![Running], vec![Terminated], vec![]));
    Ok(())
}

#[tokio::test]
async fn what_happened_while_nats_was_away_is_told_when_it_is_back() -> Result<()> {
    let mut bench = Bench::new().await?;
    let _site = bench.start().await?;
    let (stays, dies) = (bench.id("stays"), bench.id("dies"));
    for id in [&stays, &dies] {
        bench.provision_a("worker", id).await?;
    }
    tape::record(&bench.nats, &["t.state.*"]).await?;
    bench.nats.kill();
    bench.ledger.agent_of(&dies).context("an agent runs")?.signal(Signal::SIGKILL)?;
    eventually("nothing of it is left", SOON, async || bench.ledger.of(&dies).is_empty()).await?;
    bench.nats.restart().await?;
    eventually("both are told of", SOON, async || {
        let told = tape::recorded(&bench.nats).await.unwrap_or_default();
        [(&dies, Failed), (&stays, Running)].iter().all(|(id, state)| {
            let is_it =
                |payload: &[u8]| StateReport::parse(id, payload, pilothouse::clock::now()).is_ok_and(|report| report.state == *state);
            told.iter().any(|(_, payload)| is_it(payload))
        })
    })
    .await?;
    assert_eq!(bench.ledger.of(&stays).len(), 2, "nobody was ended for it");
    Ok(())
}

#[tokio::test]
async fn a_provisioner_that_is_stopped_leaves_its_instances_unless_it_is_told_otherwise() -> Result<()> {
    let bench = Bench::new().await?;
    let ids = [bench.id("worker"), bench.id("stubborn")];
    let site = bench.start().await?;
    for (id, kind) in ids.iter().zip(["worker", "stubborn"]) {
        bench.provision_a(kind, id).await?;
    }
    let before = bench.ledger.alive();
    assert!(site.stop().await?.success());
    assert_eq!(bench.ledger.alive(), before);

    let site = bench.start_with(&["--stop-instances-on-exit"]).await?;
    bench.dump(&[&ids[0]]).await?;
    assert!(site.stop().await?.success());
    assert!(bench.ledger.alive().is_empty());
    for id in &ids {
        let report = bench.reaches(id, Terminated).await?;
        assert_eq!(report.reason.as_deref(), Some("stopped with its provisioner"));
    }
    let _site = bench.start().await?;
    assert_eq!(kind(&bench.provision(&ids[0], 1, 5).await?), "terminated", "it stays ended");
    let dumped =
        Dump { domain: bench::domain(), epoch: 1, instances: vec![ToDump { node_id: ids[0].parse()?, state_subject: "t.x".into() }] };
    assert_eq!(DumpAnswer::parse(&bench.answer("dump", dumped.to_json()).await?.payload).map(|answer| answer.known.len()), Ok(1));
    Ok(())
}

fn accepted(id: &str) -> Receipt {
    Receipt { accepted: vec![id.parse().expect("an id")], refused: vec![] }
}

/// Why the only instance of a request was refused.
fn kind(receipt: &Receipt) -> &str {
    receipt.refused.first().map_or("accepted", |refused| &refused.kind)
}
