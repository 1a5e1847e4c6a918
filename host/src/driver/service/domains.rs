//! Operations on domains.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use pilothouse_core::command::{ApiError, Command, What};
use pilothouse_core::config::{ConfigProblem, DomainConfig};
use pilothouse_core::explain::Ask;
use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::record::{EngineInForce, Subscriber};
use pilothouse_core::schedule::key_changes;
use pilothouse_core::state::Life;
use pilothouse_engine_host::LoadedEngine;
use serde_json::{Value, json};

use super::choice::Decides;
use super::diff::{Difference, difference};
use super::fitting::fitting;
use super::{MAX_ANSWER, bytes, instances, name, unavailable, why};
use crate::api::{
    AddDomain, AskSchedule, DiffDomain, DomainDiff, DomainSchedule, DryRun, ListDomains, OnDomain, ReconfigureDomain, RemoveDomain,
    SubscribeDomain, UnsubscribeDomain,
};
use crate::driver::engines;
use crate::driver::host::Domains;
use crate::driver::judging::judge_until;
use crate::driver::router::{Configuration, Handle, Question};
use crate::store::Journal;

/// How many changes of a schedule are told unless somebody wants more, or fewer.
const NEXT_SWITCHES: usize = 5;

/// How many are told at most: each may name every window, and every key.
const MAX_SWITCHES: usize = 100;

/// How long one domain may take to say how it is, for a list of all.
const LIST_EACH: Duration = Duration::from_secs(1);

/// Domains that are asked at the same time: some that say nothing then hardly hold up the list.
const ASKED_AT_ONCE: usize = 32;

/// How long one reconfiguration waits for those before it: not much longer than whoever asks.
const TURN: Duration = Duration::from_secs(10);

/// How often a reconfiguration is tried that others are faster with. They take turns, so that there are others only if the domain was
/// loaded anew meanwhile.
const ATTEMPTS: u32 = 5;

impl<J: Journal> Domains<J> {
    pub(super) async fn add_domain(self: &Arc<Self>, user: Name, request: AddDomain) -> Result<Bytes, ApiError> {
        let AddDomain { domain, definition, config, subscriber_name, subscriber_op, request_id } = request;
        let domain = name("/domain", &domain)?;
        let subscriber = match (subscriber_name, subscriber_op) {
            (None, None) => None,
            (Some(name), Some(operation)) => Some(subscriber(&name, &operation)?),
            (Some(_), None) => return Err(ApiError::invalid("/subscriber_op", "expected with subscriber_name")),
            (None, Some(_)) => return Err(ApiError::invalid("/subscriber_name", "expected with subscriber_op")),
        };
        let key = DomainKey { owner: user.clone(), name: domain };
        let _chooses = self.places.chooses().await?;
        let (config, engine) = match self.configured(&key.owner, definition.as_deref(), config).await {
            Ok(configured) => configured,
            // A repetition is not judged again: its definition may have gone since.
            Err(error) => match self.answered(&key, request_id.as_deref()).await {
                Some(answer) => return bytes(&answer),
                None => return Err(error),
            },
        };
        let handle = self.open(&key).await?;
        bytes(&handle.command(Command { by: user, request: request_id, what: What::Add { config, engine, subscriber } }).await?)
    }

    /// The configuration of a new domain, judged by the host and by its engine.
    async fn configured(&self, owner: &Name, definition: Option<&str>, config: Value) -> Result<(DomainConfig, EngineInForce), ApiError> {
        let config = self.made_from(definition, config).await?;
        let (config, problems) = DomainConfig::judged(config);
        let engine = self.check(owner, &config, problems, None).await?;
        Ok((config, engine))
    }

    pub(super) async fn list_domains(&self, user: Name, ListDomains {}: ListDomains) -> Result<Bytes, ApiError> {
        let (mut domains, mut unanswered) = (Vec::new(), Vec::new());
        let mut asked = self.ask_each(&user, &Question::Summary);
        while let Some((domain, answer)) = asked.next().await {
            match answer {
                Some(line) => domains.push(line),
                None => unanswered.push(domain),
            }
        }
        let (domains, left_out) = fitting(domains, MAX_ANSWER, |_| 0);
        bytes(&json!({ "domains": domains, "unanswered": unanswered, "left_out": left_out }))
    }

    /// Asks every domain of a user, in the order of their names. One that does not answer within a moment, or that nobody looks after at
    /// the moment, answers nothing; one that has just gone is not told of.
    pub(super) fn ask_each(&self, user: &Name, question: &Question) -> BoxStream<'static, (Name, Option<Value>)> {
        let asked: Vec<_> = self
            .all_of(user)
            .into_iter()
            .map(|(name, handle)| {
                let question = question.clone();
                async move {
                    match handle {
                        Some(handle) => ask_in_time(handle, question).await,
                        None => Some((name, None)),
                    }
                }
            })
            .collect();
        futures::stream::iter(asked).buffered(ASKED_AT_ONCE).filter_map(std::future::ready).boxed()
    }

    /// Every domain of a user, with the way to those that somebody looks after.
    fn all_of(&self, user: &Name) -> BTreeMap<Name, Option<Handle>> {
        let away = &self.away;
        let before = away.of(user);
        let here = self.shared.router.domains_of(user);
        let mut all: BTreeMap<_, _> = before.into_iter().chain(away.of(user)).map(|name| (name, None)).collect();
        all.extend(here.into_iter().map(|handle| (handle.key.name.clone(), Some(handle))));
        all
    }

    /// Who is known to none of a user's domains that are here may be known to one that is not.
    pub(super) fn all_are_here(&self, user: &Name) -> Result<(), ApiError> {
        let away: Vec<_> = self.away.of(user).iter().map(ToString::to_string).collect();
        if away.is_empty() {
            return Ok(());
        }
        let message = format!("not in the domains that answer; {} can't be asked at the moment; try again", away.join(", "));
        Err(ApiError::Unavailable { message })
    }

    pub(super) async fn describe_domain(&self, user: Name, request: OnDomain) -> Result<Bytes, ApiError> {
        let description = self.find(&user, &request.domain)?.ask(Question::Describe).await?;
        bytes(&instances::fitted_description(serde_json::from_value(description).map_err(unavailable)?))
    }

    pub(super) async fn tell_schedule(&self, user: Name, request: AskSchedule) -> Result<Bytes, ApiError> {
        let next = request.next.map_or(NEXT_SWITCHES, |next| next as usize);
        if next > MAX_SWITCHES {
            return Err(ApiError::invalid("/next", format!("expected at most {MAX_SWITCHES}")));
        }
        let handle = self.find(&user, &request.domain)?;
        let Configuration { config, windows, life, .. } = configuration(&handle).await?;
        let at = self.shared.clock.now();
        let tell = move || {
            let engine_conf = config.engine_conf_while(&windows).into_owned();
            bytes(&DomainSchedule {
                domain: handle.key.name,
                at,
                changes: key_changes(&config.engine_conf, &engine_conf),
                engine_conf,
                // Nothing begins any more in a domain that goes.
                next: if life == Life::Active { config.coming(at, next) } else { Vec::new() },
                on: windows,
                windows: config.schedule,
            })
        };
        why::aside(tell).await?
    }

    pub(super) async fn diff_domain(&self, user: Name, request: DiffDomain) -> Result<Bytes, ApiError> {
        let DiffDomain { domain, config } = request;
        let handle = self.find(&user, &domain)?;
        let before = configuration(&handle).await?;
        let Difference { changes, result } = difference(&before.config, &config);
        let checked = self.check(&handle.key.owner, &result.0, result.1, Some(&before)).await;
        let Configuration { revision, engine, .. } = before;
        let (new_engine, problems) = match checked {
            Ok(new) => ((new != engine).then_some(new), Vec::new()),
            Err(ApiError::Invalid { problems }) => (None, problems),
            Err(error) => return Err(error),
        };
        bytes(&DomainDiff { domain: handle.key.name, config_revision: revision, changes, engine, new_engine, problems })
    }

    pub(super) async fn reconfigure_domain(&self, user: Name, request: ReconfigureDomain) -> Result<Bytes, ApiError> {
        let ReconfigureDomain { domain, config: changes, request_id } = request;
        bytes(&self.reconfigured(user, &domain, changes, request_id).await?)
    }

    pub(super) async fn remove_domain(&self, user: Name, request: RemoveDomain) -> Result<Bytes, ApiError> {
        let RemoveDomain { domain, abandon, request_id } = request;
        self.on_domain(user, OnDomain { domain, request_id }, What::Remove { abandon }).await
    }

    pub(super) async fn dry_run_domain(&self, user: Name, request: DryRun) -> Result<Bytes, ApiError> {
        let DryRun { domain, on, request_id } = request;
        self.on_domain(user, OnDomain { domain, request_id }, What::DryRun(on)).await
    }

    pub(super) async fn subscribe_domain(&self, user: Name, request: SubscribeDomain) -> Result<Bytes, ApiError> {
        let SubscribeDomain { domain, subscriber_name, subscriber_op, request_id } = request;
        let subscriber = subscriber(&subscriber_name, &subscriber_op)?;
        self.on_domain(user, OnDomain { domain, request_id }, What::Subscribe(subscriber)).await
    }

    pub(super) async fn unsubscribe_domain(&self, user: Name, request: UnsubscribeDomain) -> Result<Bytes, ApiError> {
        let UnsubscribeDomain { domain, subscriber_name, subscriber_op, request_id } = request;
        let operation = subscriber_op.map(|operation| name("/subscriber_op", &operation)).transpose()?;
        let what = What::Unsubscribe { name: name("/subscriber_name", &subscriber_name)?, operation };
        self.on_domain(user, OnDomain { domain, request_id }, what).await
    }

    pub(super) async fn tell_why(&self, user: Name, ask: Ask) -> Result<Bytes, ApiError> {
        let handle = self.find(&user, &ask.domain)?;
        // A domain that does not answer at all must not keep a place from those of others.
        handle.ask(Question::Summary).await?;
        let _place = self.places.reading().await?;
        if ask.at.is_none() && ask.last.is_none() {
            return bytes(&handle.why(ask.instance).await?);
        }
        let newest = self.load(&handle.key).await.map_err(|message| ApiError::Unavailable { message })?;
        bytes(&why::explain_past(&self.shared.journal, newest, ask).await?)
    }

    pub(super) async fn on_domain(&self, user: Name, on: OnDomain, what: What) -> Result<Bytes, ApiError> {
        self.on_domain_as("/domain", user, on, what).await
    }

    /// The same, where another key of the request names the domain.
    pub(super) async fn on_domain_as(&self, at: &str, user: Name, on: OnDomain, what: What) -> Result<Bytes, ApiError> {
        let OnDomain { domain, request_id } = on;
        match self.find_as(at, &user, &domain) {
            Ok(handle) => bytes(&handle.command(Command { by: user, request: request_id, what }).await?),
            Err(error) => bytes(&self.answered_before(error, user, &domain, request_id.as_deref()).await?),
        }
    }

    /// What was answered to a request whose domain is not found: a repetition may come when what it asked for is done and the domain gone.
    async fn answered_before(&self, error: ApiError, user: Name, domain: &str, request: Option<&str>) -> Result<Value, ApiError> {
        match (&error, domain.parse()) {
            (ApiError::NotFound { .. }, Ok(name)) => self.answered(&DomainKey { owner: user, name }, request).await.ok_or(error),
            _ => Err(error),
        }
    }

    /// What was answered to a request on a domain, whether somebody looks after it or it is gone.
    async fn answered(&self, key: &DomainKey, request: Option<&str>) -> Option<Value> {
        let request = request?;
        self.load(key).await.ok()?.answer_to(request).cloned()
    }

    /// The same, where the name of the domain may be none.
    pub(super) async fn answered_already(&self, user: &Name, domain: &str, request: Option<&str>) -> Option<Value> {
        self.answered(&DomainKey { owner: user.clone(), name: domain.parse().ok()? }, request).await
    }

    async fn reconfigured(&self, user: Name, domain: &str, changes: Value, request: Option<String>) -> Result<Value, ApiError> {
        let handle = match self.find(&user, domain) {
            Ok(handle) => handle,
            Err(error) => return self.answered_before(error, user, domain, request.as_deref()).await,
        };
        // In turn: of many that judge the same configuration at the same time only one would get through, and the others begin again.
        let turn = tokio::time::timeout(TURN, handle.reconfiguring.lock()).await;
        let _turn = turn.map_err(|_| ApiError::Unavailable {
            message: format!("domain {domain} is being reconfigured by too many at once; try again"),
        })?;
        // A repetition is not judged again: what it changed then may not be possible now.
        if let Some(id) = &request {
            let answer = handle.ask(Question::Reconfigured(id.clone())).await?;
            if !answer.is_null() {
                return Ok(answer);
            }
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let _chooses = self.places.chooses().await?;
            let before = configuration(&handle).await?;
            let (config, problems) = before.config.changed(&changes);
            let engine = self.check(&handle.key.owner, &config, problems, Some(&before)).await?;
            let revision = before.revision;
            let what = What::Reconfigure { config, engine, from_revision: revision };
            match handle.command(Command { by: user.clone(), request: request.clone(), what }).await {
                // Somebody else changed it between the question and the command: fold the changes into theirs.
                Err(ApiError::Conflict { .. }) if attempts < ATTEMPTS && configuration(&handle).await?.revision > revision => {}
                answer => return answer,
            }
        }
    }

    /// Another user's domain is not found, like one that is not there.
    pub(super) fn find(&self, user: &Name, domain: &str) -> Result<Handle, ApiError> {
        self.find_as("/domain", user, domain)
    }

    /// The same, where another key of the request names the domain.
    pub(super) fn find_as(&self, at: &str, user: &Name, domain: &str) -> Result<Handle, ApiError> {
        let key = DomainKey { owner: user.clone(), name: name(at, domain)? };
        let away = self.away.error(&key);
        let here = self.shared.router.domain(&key);
        here.ok_or_else(|| {
            away.or_else(|| self.away.error(&key)).unwrap_or_else(|| ApiError::NotFound { what: format!("domain {}", key.name) })
        })
    }

    /// The engine of a configuration, which has checked its section. What the configuration refers to must be there, too.
    /// `problems` are those that the host has found already: whoever asks is told of all in one answer. `before` is what a domain has
    /// already: references of that are not judged again, or a secret that is away for a moment would be in the way of any other change.
    async fn check(
        &self,
        owner: &Name,
        config: &DomainConfig,
        mut problems: Vec<ConfigProblem>,
        before: Option<&Configuration>,
    ) -> Result<EngineInForce, ApiError> {
        let decides = before.map(|it| Decides { engine: &it.engine, reference: &it.config.general.engine, rejected: &it.rejected });
        let engine = match self.engine_for("/general/engine", &config.general.engine, decides).await {
            Ok(engine) => engine,
            Err(ApiError::Invalid { problems: unknown }) => {
                problems.extend(unknown);
                return Err(ApiError::Invalid { problems });
            }
            Err(error) => return Err(error),
        };
        if problems.iter().any(|problem| ["", "/general/engine", "/engine_conf"].contains(&problem.at.as_str())) {
            // Nothing to judge, or nobody to judge it.
            return Err(ApiError::Invalid { problems });
        }
        let mut engine = engine;
        let mut found = self.judged_by(&engine, config).await?;
        if let Some(before) = before
            .filter(|it| !found.is_empty() && it.engine.digest != engine.digest() && it.config.general.engine == config.general.engine)
        {
            // A newer version is only followed: it waits for a configuration that it takes, and is not in the way of one that it does not.
            let decides = self.engine_in_force(&before.engine).await?;
            if self.judged_by(&decides, config).await?.is_empty() {
                (engine, found) = (decides, Vec::new());
            }
        }
        problems.extend(found);
        problems.extend(self.shared.equipment.problems(owner, config, before.map(|it| &it.config)).await);
        if problems.is_empty() { Ok(engines::in_force(&engine)) } else { Err(ApiError::Invalid { problems }) }
    }

    /// What an engine says of its section of a configuration, with and without the windows of the schedule.
    pub(super) async fn judged_by(&self, engine: &LoadedEngine, config: &DomainConfig) -> Result<Vec<ConfigProblem>, ApiError> {
        let (whole, now) = (config.clone(), self.shared.clock.now());
        let busy = |message: String| ApiError::Unavailable { message };
        // Decisions take the same threads. The place goes with the job, which keeps its thread even if nobody waits for it any more.
        let place = self.places.check().await?;
        // The last call that begins in time must end in time, too.
        let deadline = Instant::now() + self.shared.engine_time_out / 2;
        let judge = move |engine: &LoadedEngine| {
            let _place = place;
            judge_until(deadline, &whole, now, |conf| engines::judge(engine, conf))
        };
        let judged = self.shared.call(engine.clone(), None, judge).await.and_then(|judged| judged);
        let judged = judged.map_err(|fault| busy(format!("the engine could not judge the configuration: {fault}; try again")))?;
        Ok(judged.told())
    }
}

/// The domain and its answer, if it answers within a moment; nothing of one that has gone.
async fn ask_in_time(handle: Handle, question: Question) -> Option<(Name, Option<Value>)> {
    match tokio::time::timeout(LIST_EACH, handle.ask(question)).await {
        Ok(Err(ApiError::NotFound { .. })) => None,
        answer => Some((handle.key.name, answer.ok().and_then(Result::ok))),
    }
}

pub(super) async fn configuration(handle: &Handle) -> Result<Configuration, ApiError> {
    let answer = handle.ask(Question::Configuration).await?;
    serde_json::from_value(answer).map_err(|error| ApiError::Unavailable { message: error.to_string() })
}

fn subscriber(subscriber_name: &str, operation: &str) -> Result<Subscriber, ApiError> {
    Ok(Subscriber { name: name("/subscriber_name", subscriber_name)?, operation: name("/subscriber_op", operation)? })
}
