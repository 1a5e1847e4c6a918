//! The host dies between a request and its effect, at every point where that makes a difference: whoever repeats the request with its id gets
//! one answer, and what was asked for is done once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result, ensure};
use pilothouse::api::Operation;
use pilothouse::store::{JetStreamJournal, Journal, JournalOptions};
use pilothouse_core::command::ApiError;
use pilothouse_core::instance::State;
use pilothouse_core::message::Known;
use pilothouse_core::name::DomainKey;
use pilothouse_core::record::{Change, Configured, Event, Record};
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::{Rig, SOON};
use pilothouse_tests::wait::eventually;
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::pair::{brisk, over, preserve};
use crate::played::{Played, SITE, times_asked};
use crate::user::{User, in_state};

/// One request, and how the domain is when it is done.
struct Case {
    /// The last part of the failpoint's name.
    kind: &'static str,
    /// The how-manieth time it is reached is meant.
    nth: u32,
    /// Asked for before, on a domain with one instance that runs. Nothing at all, not even the domain, if there is none.
    before: Option<Vec<(Operation, Value)>>,
    operation: Operation,
    /// Without the domain.
    request: Value,
    done: Done,
    /// Instances that are launched, and ended, in all.
    launched: usize,
    ended: usize,
}

enum Done {
    /// It looks like this.
    When(fn(&Value) -> bool),
    /// It is gone.
    Gone,
}

fn content_with(described: &Value, count: usize) -> bool {
    described["status"] == "stable" && in_state(described, &["RUNNING"]).len() == count && in_state(described, &["TERMINATING"]).is_empty()
}

/// Every change that somebody can ask of a domain. `domain` is the one it is asked of.
fn cases(domain: &str) -> Vec<Case> {
    use Operation as Op;
    let subscriber = || json!({"subscriber_name": "watcher", "subscriber_op": "told"});
    let instance = || json!({"instance": format!("{domain}/0")});
    let of = |kind, before, operation, request, done| Case {
        kind,
        nth: 1,
        before: Some(before),
        operation,
        request,
        done: Done::When(done),
        launched: 1,
        ended: 0,
    };
    vec![
        Case {
            kind: "add",
            nth: 1,
            before: None,
            operation: Op::DomainAdd,
            request: json!({"config": over(&brisk("simplest"), &preserve(1)), "subscriber_name": "watcher", "subscriber_op": "told"}),
            done: Done::When(|it| {
                content_with(it, 1) && it["config_revision"] == 1 && it["subscribers"].as_array().is_some_and(|all| all.len() == 1)
            }),
            launched: 1,
            ended: 0,
        },
        Case {
            launched: 2,
            ..of("reconfigure", vec![], Op::DomainReconfigure, json!({"config": preserve(2)}), |it| {
                content_with(it, 2) && it["config_revision"] == 2
            })
        },
        of("pause", vec![], Op::DomainPause, json!({}), |it| it["paused"] == true),
        of("resume", vec![(Op::DomainPause, json!({}))], Op::DomainResume, json!({}), |it| it["paused"] == false),
        of("dry-run", vec![], Op::DomainDryRun, json!({"on": true}), |it| it["dry_run"] == true),
        of("dry-run-off", vec![(Op::DomainDryRun, json!({"on": true}))], Op::DomainDryRun, json!({"on": false}), |it| {
            it["dry_run"] == false
        }),
        of("shadow", vec![], Op::DomainShadow, json!({"engine": "npreserving"}), |it| it["shadow"]["engine"]["name"] == "npreserving"),
        of("shadow-off", vec![(Op::DomainShadow, json!({"engine": "npreserving"}))], Op::DomainShadow, json!({}), |it| {
            it["shadow"].is_null()
        }),
        of("release-brake", vec![], Op::BrakeRelease, json!({}), |it| content_with(it, 1)),
        of("subscribe", vec![], Op::DomainSubscribe, subscriber(), |it| {
            it["subscribers"] == json!([{"name": "watcher", "operation": "told"}])
        }),
        of("unsubscribe", vec![(Op::DomainSubscribe, subscriber())], Op::DomainUnsubscribe, json!({"subscriber_name": "watcher"}), |it| {
            it["subscribers"] == json!([])
        }),
        of("protect", vec![], Op::InstanceProtect, instance(), |it| it["instances"][0]["protected"] == true),
        of("unprotect", vec![(Op::InstanceProtect, instance())], Op::InstanceUnprotect, instance(), |it| {
            it["instances"][0]["protected"].is_null()
        }),
        Case {
            launched: 2,
            ended: 1,
            ..of("kill", vec![], Op::InstanceKill, instance(), |it| content_with(it, 1) && in_state(it, &["TERMINATED"]).len() == 1)
        },
        Case { ended: 1, done: Done::Gone, ..of("remove", vec![], Op::DomainRemove, json!({}), |_| false) },
        Case { ended: 1, done: Done::Gone, ..of("removed", vec![], Op::DomainRemove, json!({}), |_| false) },
        Case { ended: 1, done: Done::Gone, ..of("abandon", vec![], Op::DomainRemove, json!({"abandon": true}), |_| false) },
        // What follows from a request, on its way to the provisioner.
        Case {
            launched: 2,
            nth: 2,
            ..of("launch", vec![], Op::DomainReconfigure, json!({"config": preserve(2)}), |it| content_with(it, 2))
        },
        Case { ended: 1, ..of("terminate", vec![], Op::DomainReconfigure, json!({"config": preserve(0)}), |it| content_with(it, 0)) },
    ]
}

struct Place {
    rig: Rig,
    user: User,
    played: Played,
    journal: JetStreamJournal,
}

impl Place {
    async fn new() -> Result<Self> {
        let rig = Rig::new(PROGRAM).await?;
        let (user, played) = (User::of(&rig, "owner1"), Played::obliging(&rig).await?);
        let journal = JetStreamJournal::open(rig.nats.client().await?, rig.api.subjects().clone(), &JournalOptions::default()).await?;
        Ok(Self { rig, user, played, journal })
    }

    /// A host that serves; with a failpoint, one that will die there.
    async fn host(&self, point: Option<(&str, &str)>) -> Result<Program> {
        let environment: Vec<_> =
            point.into_iter().flat_map(|(point, mark)| [("PILOTHOUSE_FAILPOINT", point), ("PILOTHOUSE_FAILPOINT_MARK", mark)]).collect();
        let host = self.rig.host_with("ship", &environment)?;
        eventually("the host serves", SOON, async || self.user.domains().await.is_ok()).await.with_context(|| host.said())?;
        Ok(host)
    }

    /// The changes of a domain that its journal tells of, since it was last added.
    async fn changes(&self, domain: &str) -> Result<Vec<Configured>> {
        let key = DomainKey { owner: "owner1".parse()?, name: domain.parse()? };
        let mut changes = Vec::new();
        for entry in self.journal.history(&key, None, 10_000).await?.into_iter().rev() {
            let events = Record::from_bytes(&entry.bytes)?.events.into_iter();
            changes.extend(events.filter_map(|event| if let Event::Configured(configured) = event { Some(configured) } else { None }));
        }
        Ok(changes)
    }

    /// One case at one point, with a domain of its own.
    async fn goes_through(&self, point: &str, domain: &str, case: Case) -> Result<()> {
        let point = format!("{point}.{}", case.kind);
        let mark = self.rig.path(&format!("died-{domain}"));
        let (launched, ended) = (self.played.launched(), self.played.ended());
        let mut host = self.host(Some((&format!("{point}:{}", case.nth), &mark.display().to_string()))).await?;
        let on = |request: &Value| {
            let mut request = request.clone();
            if request["instance"].is_null() {
                request["domain"] = json!(domain);
            }
            request
        };
        if let Some(before) = &case.before {
            let request = on(&json!({"config": over(&brisk("simplest"), &preserve(1))}));
            self.user.ask(Operation::DomainAdd, request).await?;
            self.user.sees(domain, "one runs", |it| content_with(it, 1)).await?;
            for (operation, request) in before {
                self.user.ask(*operation, on(request)).await?;
            }
        }
        let mut request = on(&case.request);
        request["request_id"] = json!(format!("once-{domain}"));
        // Nobody waits for this answer: the host dies before it can give one, or just after.
        let nats = self.rig.api.nats();
        let subject = self.rig.api.subjects().api("owner1", case.operation.name());
        nats.publish_with_reply(subject, nats.new_inbox(), request.to_string().into()).await?;
        let status = host.ended().await.with_context(|| format!("it does not die at {point}\n{}", host.said()))?;
        ensure!(status.signal() == Some(9), "it ended with {status}: {}", host.said());
        ensure!(fs::read_to_string(&mark).context("the mark of the point")? == point);

        let host = self.host(None).await?;
        let answer = self.user.ask(case.operation, request.clone()).await?;
        match case.done {
            Done::When(is) => drop(self.user.sees(domain, "it is done", is).await?),
            Done::Gone => self.user.sees_it_go(domain).await?,
        }
        let again = self.user.ask(case.operation, request.clone()).await?;
        ensure!(again == answer, "{again} after {answer}");

        let changes = self.changes(domain).await?;
        let id = request["request_id"].as_str();
        let of_request: Vec<_> = changes.iter().filter(|it| it.request.as_ref().map(|wish| wish.id.as_str()) == id).collect();
        ensure!(of_request.len() == 1 && of_request[0].answer == answer, "recorded once, with its answer {answer}: {changes:#?}");
        let alike = |it: &&Configured| std::mem::discriminant(&it.change) == std::mem::discriminant(&of_request[0].change);
        let expected = case.before.iter().flatten().filter(|(operation, _)| *operation == case.operation).count() + 1;
        let undone = matches!(of_request[0].change, Change::Paused(false) | Change::Protected { on: false, .. }) as usize;
        ensure!(changes.iter().filter(alike).count() == expected + undone, "{changes:#?}");

        // Once, in the eyes of whoever was asked to do it.
        let new = |all: Vec<String>, old: &[String]| all.into_iter().filter(|id| !old.contains(id)).collect::<BTreeSet<_>>();
        let (new_launched, new_ended) = (new(self.played.launched(), &launched), new(self.played.ended(), &ended));
        ensure!(new_launched.len() == case.launched, "launched {new_launched:?}");
        ensure!(new_ended.len() == case.ended || matches!(case.kind, "abandon"), "ended {new_ended:?}");
        for (asked, ids) in [(self.played.launches(), new_launched), (self.played.ends(), new_ended)] {
            // A host that died after it had asked asks once more: it can't know.
            ensure!(ids.iter().all(|id| times_asked(&asked, id) <= 2), "{asked:?}");
        }
        host.crash().await
    }
}

impl Place {
    /// One change of a definition at one point.
    async fn changes_a_definition(&self, point: &str, name: &str, before: bool, operation: Operation) -> Result<()> {
        let mark = self.rig.path(&format!("died-{name}"));
        let mut host = self.host(Some((point, &mark.display().to_string()))).await?;
        let definition = |count: u32| over(&brisk("simplest"), &preserve(count));
        if before {
            self.user.ask(Operation::DefinitionAdd, json!({"name": name, "definition": definition(1)})).await?;
        }
        let mut request = json!({"name": name, "request_id": format!("once-{name}")});
        if operation != Operation::DefinitionRemove {
            request["definition"] = definition(2);
        }
        let nats = self.rig.api.nats();
        let subject = self.rig.api.subjects().api("owner1", operation.name());
        nats.publish_with_reply(subject, nats.new_inbox(), request.to_string().into()).await?;
        let status = host.ended().await.with_context(|| format!("it does not die at {point}\n{}", host.said()))?;
        ensure!(status.signal() == Some(9) && fs::read_to_string(&mark).context("the mark of the point")? == point, "{}", host.said());

        let host = self.host(None).await?;
        let answer = self.user.ask(operation, request.clone()).await?;
        let now = self.user.call(Operation::DefinitionDescribe, json!({"name": name})).await?;
        let again = self.user.ask(operation, request).await?;
        ensure!(again == answer, "{again} after {answer}");
        match (operation, now) {
            (Operation::DefinitionRemove, now) => ensure!(matches!(now, Err(ApiError::NotFound { .. })), "{now:?}"),
            (_, now) => {
                let now = now?;
                ensure!(now["definition"] == definition(2) && now["revision"] == answer["revision"], "{now:#} after {answer}");
            }
        }
        host.crash().await
    }
}

#[tokio::test]
async fn a_host_that_dies_while_a_definition_changes_changes_it_once() -> Result<()> {
    let place = Place::new().await?;
    let changes = [
        ("add-definition", false, Operation::DefinitionAdd),
        ("update-definition", true, Operation::DefinitionUpdate),
        ("remove-definition", true, Operation::DefinitionRemove),
    ];
    for moment in ["before-append", "after-append"] {
        for (kind, before, operation) in changes {
            let point = format!("{moment}.{kind}");
            place.changes_a_definition(&point, &point.replace('.', "-"), before, operation).await.with_context(|| point)?;
        }
    }
    Ok(())
}

impl Place {
    /// An orphan that is adopted at one point.
    async fn adopts(&self, point: &str, domain: &str) -> Result<()> {
        let mark = self.rig.path(&format!("died-{domain}"));
        let mut host = self.host(Some((point, &mark.display().to_string()))).await?;
        let config = over(&brisk("simplest"), &preserve(1));
        self.user.ask(Operation::DomainAdd, json!({"domain": domain, "config": config})).await?;
        self.user.sees(domain, "one runs", |it| content_with(it, 1)).await?;
        self.user.ask(Operation::DomainPause, json!({"domain": domain})).await?;
        let id = format!("i000-adopted-{domain}");
        self.played.runs(Known {
            node_id: id.parse()?,
            domain: DomainKey { owner: "owner1".parse()?, name: domain.parse()? },
            launch_id: format!("l000-{domain}").parse()?,
            deployable_type: "worker".to_owned(),
            allocation: "small".to_owned(),
            extra_vars: Default::default(),
            state: State::Running,
            epoch: 1,
            sequence: 1,
        });
        let request = json!({"sites": [SITE], "instances": [id], "request_id": format!("once-{domain}")});
        let nats = self.rig.api.nats();
        let subject = self.rig.api.subjects().api("owner1", Operation::OrphanAdopt.name());
        nats.publish_with_reply(subject, nats.new_inbox(), request.to_string().into()).await?;
        let status = host.ended().await.with_context(|| format!("it does not die at {point}\n{}", host.said()))?;
        ensure!(status.signal() == Some(9) && fs::read_to_string(&mark).context("the mark of the point")? == point, "{}", host.said());

        let host = self.host(None).await?;
        for _ in 0..2 {
            let answer = self.user.ask(Operation::OrphanAdopt, request.clone()).await?;
            ensure!(answer["done"] == json!([id]) && answer["failed"] == json!([]), "{answer:#}");
        }
        let described = self.user.sees(domain, "it belongs to the domain", |it| in_state(it, &["RUNNING"]).len() == 2).await?;
        ensure!(in_state(&described, &["RUNNING"]).contains(&id), "{described:#}");
        let changes = self.changes(domain).await?;
        let adopted = changes.iter().filter(|it| matches!(it.change, Change::Adopted(_))).count();
        ensure!(adopted == 1, "adopted {adopted} times: {changes:#?}");
        host.crash().await
    }
}

#[tokio::test]
async fn a_host_that_dies_while_an_orphan_is_adopted_adopts_it_once() -> Result<()> {
    let place = Place::new().await?;
    for (point, domain) in [("before-append.adopt", "before"), ("after-append.adopt", "after")] {
        place.adopts(point, domain).await.with_context(|| point)?;
    }
    Ok(())
}

async fn at(point: &str) -> Result<()> {
    let place = Place::new().await?;
    for n in 0..cases("").len() {
        let domain = format!("d{n}");
        let case = cases(&domain).swap_remove(n);
        let what = format!("{point}.{} of {domain}", case.kind);
        place.goes_through(point, &domain, case).await.with_context(|| what)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_host_that_dies_before_it_has_recorded_a_request_does_it_once() -> Result<()> {
    at("before-append").await
}

#[tokio::test]
async fn a_host_that_dies_after_it_has_recorded_a_request_does_it_once() -> Result<()> {
    at("after-append").await
}
