//! What an engine can ask for: checked and answered at once, carried out only if its decision is committed.

use super::{Cycle, Settings, limits};
use crate::guard::{LaunchRuling, Refusal, Scene};
use crate::id::{InstanceId, LaunchId};
use crate::instance::{Instance, Vars, bytes, bytes_written};
use crate::name::Name;
use crate::record::{DecidedLaunch, DecidedTermination};
use crate::time::{Millis, Timestamp};

/// The shortest pulse that an engine may ask for: the domain's own task must get to other work.
const MIN_PULSE: Millis = Millis::new(100);
/// The longest: a domain that is asked less than once a day is not kept.
const MAX_PULSE: Millis = Millis::from_secs(24 * 60 * 60);

/// Why an instance ends whose engine does not say why.
const NO_REASON: &str = "its engine gave no reason";

/// A request to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchRequest {
    /// What to start.
    pub deployable_type: String,
    /// Where.
    pub site: String,
    /// How large.
    pub allocation: String,
    /// How many.
    pub count: u32,
    /// Over the domain's own variables.
    pub extra_vars: Vars,
    /// Only together with the end of this instance.
    pub replaces: Option<String>,
    /// For what later versions may offer.
    pub options: Vars,
}

/// What a launch was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launched {
    /// Its id.
    pub launch: LaunchId,
    /// Its instances.
    pub instances: Vec<InstanceId>,
    /// How many must wait.
    pub deferred: u32,
}

/// What a termination was granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// Those that will go.
    pub accepted: Vec<InstanceId>,
    /// Those that must wait.
    pub deferred: Vec<InstanceId>,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is broken.
    Error,
    /// Something may break.
    Warn,
    /// Worth knowing.
    Info,
    /// For the author.
    Debug,
    /// For the author, at length.
    Trace,
}

impl Level {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Cycle {
    /// Asks for a launch.
    ///
    /// # Errors
    /// The refusal that the engine is answered, when nothing was granted.
    pub fn launch(&mut self, request: LaunchRequest) -> Result<Launched, Refusal> {
        let answer = self.rule_on_launch(request);
        self.note_invalid("launch", answer)
    }

    fn rule_on_launch(&mut self, request: LaunchRequest) -> Result<Launched, Refusal> {
        self.may_ask()?;
        check_launch(&request)?;
        if self.launched.saturating_add(request.count) > limits::LAUNCHES {
            return Err(Refusal::Invalid(format!("count: a decision may launch {} instances in all", limits::LAUNCHES)));
        }
        let replaces = self.may_replace(request.replaces.as_deref(), request.count)?;
        let texts = [&request.deployable_type, &request.site, &request.allocation].into_iter().chain(&request.replaces);
        self.carry(bytes(&request.extra_vars) + texts.map(String::len).sum::<usize>())?;
        let each = bytes_written(&request.extra_vars);
        let ruling = self.as_far_as_there_is_room_for_variables(self.scene().rule_on_launch(&request.site, request.count), each);
        self.vars_granted += each * ruling.granted as usize;
        let slot = self.state.slot;
        let launch = LaunchId::mint(slot, &mut self.ids);
        let instances: Vec<_> = (0..ruling.granted).map(|_| InstanceId::mint(slot, &mut self.ids)).collect();
        self.launched += ruling.granted;
        self.launches.push(DecidedLaunch {
            launch: launch.clone(),
            deployable_type: request.deployable_type,
            site: request.site,
            allocation: request.allocation,
            extra_vars: request.extra_vars,
            replaces,
            asked: request.count,
            instances: instances.clone(),
            refused: ruling.refusal.as_ref().map(ToString::to_string),
            rulings: ruling.rulings,
        });
        match ruling.refusal {
            Some(refusal) => Err(refusal),
            None => Ok(Launched { launch, instances, deferred: request.count - ruling.granted }),
        }
    }

    /// Cuts a launch down to what the variables of all instances leave room for: each has its own, however short the request was.
    fn as_far_as_there_is_room_for_variables(&self, mut ruling: LaunchRuling, each: usize) -> LaunchRuling {
        let room = limits::DOMAIN_VARS_BYTES.saturating_sub(self.state.vars_bytes() + self.vars_granted).checked_div(each);
        let Some(room) = room.filter(|room| *room < ruling.granted as usize) else { return ruling };
        let most = limits::DOMAIN_VARS_BYTES >> 20;
        let because = Refusal::Quota(format!("the variables of all instances of a domain may have {most} MiB together"));
        ruling.granted = room as u32;
        // The quota is the last guard that was asked.
        if let Some(quota) = ruling.rulings.last_mut() {
            (quota.passed, quota.note) = (ruling.granted, Some(because.to_string()));
        }
        if ruling.granted == 0 {
            ruling.refusal = Some(because);
        }
        ruling
    }

    /// Whether the instance that is to be replaced leaves.
    fn may_replace(&mut self, id: Option<&str>, count: u32) -> Result<Option<InstanceId>, Refusal> {
        let Some(text) = id else { return Ok(None) };
        let invalid = |why: &str| Err(Refusal::Invalid(format!("replaces: {:?} {why}", text.chars().take(80).collect::<String>())));
        let Ok(id) = text.parse::<InstanceId>() else {
            return invalid("is no instance id");
        };
        let leaves = self.state.instance(&id).is_none_or(|it| !it.state.is_valid()) || self.leaving().contains(&id);
        if !leaves {
            return invalid("stays: its end was not granted before in this decision");
        }
        if count != 1 {
            return invalid("is one instance: expected a count of 1");
        }
        if self.launches.iter().any(|launch| launch.replaces.as_ref() == Some(&id) && !launch.instances.is_empty()) {
            return invalid("is replaced already in this decision");
        }
        Ok(Some(id))
    }

    /// Those whose end was granted so far in this decision.
    fn leaving(&mut self) -> &std::collections::BTreeSet<InstanceId> {
        let (leaving, seen) = &mut self.leaving;
        leaving.extend(self.terminations[*seen..].iter().flat_map(|termination| termination.accepted.iter().cloned()));
        *seen = self.terminations.len();
        leaving
    }

    /// Asks for the end of some instances, each named by its id.
    ///
    /// # Errors
    /// The refusal that the engine is answered, when nothing was granted.
    pub fn destroy(&mut self, ids: &[String], reason: String) -> Result<Destroyed, Refusal> {
        let answer = self.rule_on_destroy(ids, reason);
        self.note_invalid("destroy-instances", answer)
    }

    fn rule_on_destroy(&mut self, ids: &[String], reason: String) -> Result<Destroyed, Refusal> {
        self.may_ask()?;
        self.named = self.named.saturating_add(ids.len());
        if self.named > limits::VICTIMS {
            return Err(Refusal::Invalid(format!("ids: a decision may name {} instances in all", limits::VICTIMS)));
        }
        let state = std::sync::Arc::clone(&self.state);
        let mut victims: Vec<&Instance> = Vec::with_capacity(ids.len());
        let mut seen = std::collections::BTreeSet::new();
        for id in ids {
            let known = id.parse().ok().and_then(|id: InstanceId| state.instance(&id));
            let Some(instance) = known else {
                let id: String = id.chars().take(80).collect();
                return Err(Refusal::Invalid(format!("ids: no instance {id:?} in this domain")));
            };
            if seen.insert(instance.ordinal) {
                victims.push(instance);
            }
        }
        self.destroy_these(victims, reason)
    }

    /// Asks for the end of all instances of a launch that are not gone.
    ///
    /// # Errors
    /// The refusal that the engine is answered, when nothing was granted.
    pub fn destroy_launch(&mut self, launch: &str, reason: String) -> Result<Destroyed, Refusal> {
        let answer = self.rule_on_destroy_launch(launch, reason);
        self.note_invalid("destroy-launch", answer)
    }

    fn rule_on_destroy_launch(&mut self, launch: &str, reason: String) -> Result<Destroyed, Refusal> {
        self.may_ask()?;
        let state = std::sync::Arc::clone(&self.state);
        let of_launch: Vec<&Instance> = state.instances().map(|instance| &**instance).filter(|it| it.launch.as_str() == launch).collect();
        if of_launch.is_empty() {
            let launch: String = launch.chars().take(80).collect();
            return Err(Refusal::Invalid(format!("launch: no launch {launch:?} in this domain")));
        }
        let victims: Vec<&Instance> = of_launch.into_iter().filter(|instance| !instance.state.is_gone()).collect();
        // A record names each of them, however short the request was.
        self.of_launches = self.of_launches.saturating_add(victims.len());
        if self.of_launches > limits::VICTIMS {
            return Err(Refusal::Invalid(format!("launch: a decision may end {} instances by their launches", limits::VICTIMS)));
        }
        self.destroy_these(victims, reason)
    }

    fn destroy_these(&mut self, victims: Vec<&Instance>, mut reason: String) -> Result<Destroyed, Refusal> {
        truncate(&mut reason, limits::REASON_BYTES);
        if reason.trim().is_empty() {
            // Nobody goes without a word on record, and people should see that it is not a word of the engine.
            reason = NO_REASON.to_owned();
        }
        self.carry(reason.len())?;
        // What an earlier request of this call was granted is on its way out, too.
        let promised: std::collections::BTreeSet<&InstanceId> =
            self.terminations.iter().flat_map(|termination| &termination.accepted).collect();
        let (out_already, alive): (Vec<_>, Vec<_>) =
            victims.into_iter().partition(|instance| !instance.state.is_valid() || promised.contains(&instance.id));
        let ids = |instances: &[&Instance]| instances.iter().map(|instance| instance.id.clone()).collect::<Vec<_>>();
        let again = ids(&out_already);
        if alive.is_empty() {
            let destroyed = Destroyed { accepted: again.clone(), deferred: Vec::new() };
            self.terminations.push(DecidedTermination {
                reason,
                accepted: Vec::new(),
                again,
                deferred: Vec::new(),
                dropped: Vec::new(),
                refused: None,
                dripped: false,
                rulings: Vec::new(),
            });
            return Ok(destroyed);
        }
        let ruling = self.scene().rule_on_termination(alive);
        let (accepted, deferred) = (ids(&ruling.granted), ids(&ruling.deferred));
        self.terminated += accepted.len() as u32;
        self.terminations.push(DecidedTermination {
            reason,
            accepted: accepted.clone(),
            again: again.clone(),
            deferred: deferred.clone(),
            dropped: Vec::new(),
            refused: ruling.refusal.as_ref().map(ToString::to_string),
            dripped: ruling.dripped,
            rulings: ruling.rulings,
        });
        match ruling.refusal {
            Some(refusal) if again.is_empty() => Err(refusal),
            _ => Ok(Destroyed { accepted: again.into_iter().chain(accepted).collect(), deferred }),
        }
    }

    /// What is left of the rate budget: launches, terminations, and when it is full again.
    pub fn budget(&self) -> (u32, u32, Timestamp) {
        let (general, budget) = (&self.state.config.general, &self.state.budget);
        let launches = budget.launches_left(general, self.now, self.launched).0;
        let terminations = budget.terminations_left(general, self.now, self.terminated).0;
        (launches, terminations, budget.full_at(general, self.now))
    }

    /// Asks the host for another pace or other variables.
    ///
    /// # Errors
    /// When the variables are none.
    pub fn configure(&mut self, settings: Settings) -> Result<(), Refusal> {
        if let Some(vars) = &settings.provisioner_vars {
            let checked = check_vars("provisioner-vars", vars);
            self.note_invalid("configure", checked)?;
        }
        if let Some(pulse) = settings.pulse {
            self.settings.pulse = Some(pulse.clamp(MIN_PULSE, MAX_PULSE));
        }
        if settings.provisioner_vars.is_some() {
            self.settings.provisioner_vars = settings.provisioner_vars;
        }
        Ok(())
    }

    /// Takes a line for the engine's author.
    pub fn log(&mut self, level: Level, mut message: String) {
        if self.log.len() >= self.bounds.log_lines {
            self.log_dropped = self.log_dropped.saturating_add(1);
            return;
        }
        truncate(&mut message, self.bounds.log_bytes);
        self.log.push((level, message));
    }

    /// The lines that the engine logged.
    pub fn lines(&self) -> impl Iterator<Item = (Level, &str)> {
        self.log.iter().map(|(level, line)| (*level, line.as_str()))
    }

    /// What the engine wants of the host so far.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the engine asked for that makes no sense, in words; the first few. Such a request is a mistake of the engine's author: the
    /// engine is told and the decision goes on, so whoever looks for mistakes asks here.
    pub fn invalid_requests(&self) -> &[String] {
        &self.invalid
    }

    fn note_invalid<T>(&mut self, request: &str, answer: Result<T, Refusal>) -> Result<T, Refusal> {
        /// Enough to see what is wrong.
        const NOTED: usize = 8;
        if let Err(Refusal::Invalid(why)) = &answer
            && self.invalid.len() < NOTED
        {
            self.invalid.push(format!("{request}: {why}"));
        }
        answer
    }

    fn may_ask(&self) -> Result<(), Refusal> {
        if !self.may_request {
            return Err(Refusal::Invalid("nothing can be asked for in this call".to_owned()));
        }
        if self.launches.len() + self.terminations.len() >= self.bounds.requests {
            return Err(Refusal::Invalid(format!("a decision may make {} requests", self.bounds.requests)));
        }
        Ok(())
    }

    fn carry(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.carried + bytes > limits::REQUESTED_BYTES {
            return Err(Refusal::Invalid(format!("the requests of a decision may carry {} bytes in all", limits::REQUESTED_BYTES)));
        }
        self.carried += bytes;
        Ok(())
    }

    fn scene(&self) -> Scene<'_> {
        Scene { state: &self.state, eyes: &self.eyes, now: self.now, launched: self.launched, terminated: self.terminated }
    }
}

fn check_launch(request: &LaunchRequest) -> Result<(), Refusal> {
    let invalid = |text: String| Err(Refusal::Invalid(text));
    if request.count == 0 {
        return invalid("count: expected at least 1".to_owned());
    }
    if let Err(error) = request.site.parse::<Name>() {
        return invalid(format!("site: {error}"));
    }
    for (field, text) in [("deployable-type", &request.deployable_type), ("allocation", &request.allocation)] {
        if text.len() > 256 || text.chars().any(char::is_control) {
            return invalid(format!("{field}: expected at most 256 bytes without control characters"));
        }
    }
    if request.deployable_type.is_empty() {
        return invalid("deployable-type: expected a name".to_owned());
    }
    if let Some((name, _)) = request.options.first() {
        // An option has no bound of its own.
        let name: String = name.chars().take(80).collect();
        return invalid(format!("options: {name:?} is not known"));
    }
    check_vars("extra-vars", &request.extra_vars)
}

fn check_vars(field: &str, vars: &Vars) -> Result<(), Refusal> {
    let invalid = |text: String| Err(Refusal::Invalid(format!("{field}: {text}")));
    if vars.len() > limits::VARS || bytes(vars) > limits::VARS_BYTES {
        return invalid(format!("expected at most {} variables and {} bytes", limits::VARS, limits::VARS_BYTES));
    }
    let mut names: Vec<&str> = vars.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if names.iter().any(|name| name.is_empty()) {
        return invalid("a variable without a name".to_owned());
    }
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => invalid(format!("{:?} is there twice", pair[0])),
        None => Ok(()),
    }
}

pub(super) fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}
