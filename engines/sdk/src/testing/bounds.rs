//! What any host finds wrong with a request, whatever its guards say.
//!
//! These are the bounds of the real host. An engine that goes beyond one in production should do so in its author's tests first.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::{LAUNCHES_PER_DECISION, LaunchRequest, Refusal, VARS, VARS_BYTES, Vars};

/// Requests of one decision, launches and terminations together.
const REQUESTS: usize = 2000;
/// Ids named in one decision's terminations.
const VICTIMS: usize = 20_000;
/// Bytes that all requests of one decision carry together.
const REQUESTED_BYTES: usize = 256 * 1024;
/// Of a reason for a termination, in bytes; a longer one is cut off.
const REASON_BYTES: usize = 4096;
/// Of a reason that the host puts in the place of an empty one.
const NO_REASON_BYTES: usize = 25;
/// Of a name, in bytes.
const NAME_BYTES: usize = 63;
/// Of what else is launched by, in bytes.
const TEXT_BYTES: usize = 256;
/// The shortest pulse.
const MIN_PULSE: Duration = Duration::from_millis(100);
/// The longest.
const MAX_PULSE: Duration = Duration::from_secs(24 * 60 * 60);

/// What the requests of one decision come to so far. A request that is invalid counts for nothing but the ids that it named, and
/// those of launches.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: Cell<usize>,
    named: Cell<usize>,
    of_launches: Cell<usize>,
    bytes: Cell<usize>,
}

impl Tally {
    /// Whether there may be one more request.
    pub(super) fn may_ask(&self) -> Result<(), Refusal> {
        if self.requests.get() >= REQUESTS { invalid(format!("a decision may make {REQUESTS} requests")) } else { Ok(()) }
    }

    /// A request names so many ids.
    pub(super) fn name(&self, ids: usize) -> Result<(), Refusal> {
        self.named.set(self.named.get().saturating_add(ids));
        if self.named.get() > VICTIMS { invalid(format!("ids: a decision may name {VICTIMS} instances in all")) } else { Ok(()) }
    }

    /// The end of a launch is asked for, which has so many instances.
    pub(super) fn name_launch(&self, instances: usize) -> Result<(), Refusal> {
        self.of_launches.set(self.of_launches.get().saturating_add(instances));
        let too_many = self.of_launches.get() > VICTIMS;
        if too_many { invalid(format!("launch: a decision may end {VICTIMS} instances by their launches")) } else { Ok(()) }
    }

    /// A launch is asked for, with which nothing is wrong so far.
    pub(super) fn launch(&self, request: &LaunchRequest) -> Result<(), Refusal> {
        let texts = [&request.deployable_type, &request.site, &request.allocation].into_iter().chain(&request.replaces);
        self.carry(bytes(&request.extra_vars) + texts.map(String::len).sum::<usize>())
    }

    /// A termination is asked for, with which nothing is wrong so far.
    pub(super) fn destroy(&self, reason: &str) -> Result<(), Refusal> {
        let kept = &reason[..reason.floor_char_boundary(REASON_BYTES)];
        self.carry(if kept.trim().is_empty() { NO_REASON_BYTES } else { kept.len() })
    }

    fn carry(&self, more: usize) -> Result<(), Refusal> {
        let bytes = self.bytes.get() + more;
        if bytes > REQUESTED_BYTES {
            return invalid(format!("the requests of a decision may carry {REQUESTED_BYTES} bytes in all"));
        }
        self.bytes.set(bytes);
        self.requests.set(self.requests.get() + 1);
        Ok(())
    }
}

/// What is wrong with a launch, when `before` instances were granted in the same decision.
pub(super) fn check_launch(request: &LaunchRequest, before: u32) -> Result<(), Refusal> {
    if request.count == 0 {
        return invalid("count: expected at least 1".to_owned());
    }
    if !is_name(&request.site) {
        return invalid(format!(
            "site: {:?} is not a name: use 1 to {NAME_BYTES} letters, digits, `_` or `-`, a letter or digit first",
            request.site
        ));
    }
    for (field, text) in [("deployable-type", &request.deployable_type), ("allocation", &request.allocation)] {
        if text.len() > TEXT_BYTES || text.chars().any(char::is_control) {
            return invalid(format!("{field}: expected at most {TEXT_BYTES} bytes without control characters"));
        }
    }
    if request.deployable_type.is_empty() {
        return invalid("deployable-type: expected a name".to_owned());
    }
    if let Some((name, _)) = request.options.first() {
        return invalid(format!("options: {name:?} is not known"));
    }
    check_vars("extra-vars", &request.extra_vars)?;
    if before.saturating_add(request.count) > LAUNCHES_PER_DECISION {
        return invalid(format!("count: a decision may launch {LAUNCHES_PER_DECISION} instances in all"));
    }
    Ok(())
}

/// What is wrong with the id of an instance in this field.
pub(super) fn check_id(field: &str, id: &str) -> Result<(), Refusal> {
    let is_id = (1..=NAME_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_id { Ok(()) } else { invalid(format!("{field}: {id:?} is no instance id")) }
}

/// What is wrong with the variables in this field.
pub(super) fn check_vars(field: &str, vars: &Vars) -> Result<(), Refusal> {
    if vars.len() > VARS || bytes(vars) > VARS_BYTES {
        return invalid(format!("{field}: expected at most {VARS} variables and {VARS_BYTES} bytes"));
    }
    let mut names = BTreeSet::new();
    match vars.iter().find(|(name, _)| name.is_empty() || !names.insert(name)) {
        Some((name, _)) => invalid(format!("{field}: expected each name once and none empty, not {name:?}")),
        None => Ok(()),
    }
}

/// The pulse that an engine gets which asks for this one: in whole milliseconds, as the interface carries it, and within bounds.
pub(super) fn pulse(asked: Duration) -> Duration {
    Duration::from_millis(crate::time::millis(asked)).clamp(MIN_PULSE, MAX_PULSE)
}

fn invalid(text: String) -> Result<(), Refusal> {
    Err(Refusal::Invalid(text))
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn bytes(vars: &Vars) -> usize {
    vars.iter().map(|(name, value)| name.len() + value.len()).sum()
}
