//! Whether the same leads to the same. A guest has no clock and no chance of its own, so a difference can only come from the sandbox or the
//! compiler; it is looked for all the same, because everything that is recorded and run again rests on it.

use pilothouse_core::cycle::FaultKind;
use serde_json::{Value, json};

use super::ExamineError;
use super::report::Check;
use super::script::{Step, Transcript};

/// Runs the script again and compares.
pub(super) fn check(
    name: &str,
    first: &Transcript,
    again: impl FnOnce() -> Result<Transcript, ExamineError>,
) -> Result<Check, ExamineError> {
    let mut check = Check::new(name);
    match again() {
        Ok(again) => {
            if let Some(difference) = difference(first, &again) {
                check.fail(format!("the same inputs led to something else: {difference}"));
            } else if let Some((step, _)) = pairs(first, &again).find(by_the_clock) {
                check.note(format!("compared up to \"{}\", which ran out of time: this machine may be slow or busy", step.name));
            }
        }
        Err(ExamineError::Load(error)) => check.fail(format!("loaded once more, it was refused: {error}")),
        Err(error) => return Err(error),
    }
    Ok(check)
}

/// What was asked twice.
fn pairs<'t>(one: &'t Transcript, other: &'t Transcript) -> impl Iterator<Item = (&'t Step, &'t Step)> {
    one.steps.iter().zip(&other.steps)
}

/// Whether the clock on the wall ended either. How far it came by then says how fast the machine is, and nothing of the engine; nor does
/// what follows, which may rest on what it returned.
fn by_the_clock((one, other): &(&Step, &Step)) -> bool {
    let faults = [one, other].into_iter().filter_map(|step| step.call.fault.as_ref());
    faults.map(|fault| fault.kind).any(|kind| matches!(kind, FaultKind::Deadline | FaultKind::Processor | FaultKind::Abandoned))
}

/// The first thing that differs, in words.
fn difference(one: &Transcript, other: &Transcript) -> Option<String> {
    if one.description != other.description {
        return Some("it describes itself otherwise".to_owned());
    }
    let mut comparable = pairs(one, other).take_while(|pair| !by_the_clock(pair));
    comparable.find_map(|(one, other)| Some(format!("{}: {}", one.name, of_steps(one, other)?)))
}

fn of_steps(one: &Step, other: &Step) -> Option<String> {
    let (a, b) = (seen(one), seen(other));
    let keys = a.as_object().into_iter().flatten();
    let (key, a, b) = keys.map(|(key, value)| (key, value, &b[key])).find(|(_, a, b)| a != b)?;
    Some(format!("{key} was {} and then {}", short(a), short(b)))
}

/// Everything of a step that must be the same: all but the time.
fn seen(step: &Step) -> Value {
    let call = json!({
        "fault": step.call.fault.as_ref().map(ToString::to_string),
        "fuel": step.call.fuel,
        "memory": step.memory,
        "settings": step.settings,
    });
    // Key by key, so that what is told is small. What the call itself gave wins over what the decision made of it.
    let mut seen = json!(step.decision);
    match (&mut seen, call) {
        (Value::Object(seen), Value::Object(call)) => seen.extend(call),
        (seen, call) => *seen = call,
    }
    seen
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    let head: String = text.chars().take(60).collect();
    if head.len() < text.len() { format!("{head}…") } else { head }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pilothouse_core::cycle::Fault;
    use pilothouse_core::record::Decision;

    use super::super::script::Step;
    use super::*;

    fn transcript(change: impl FnOnce(&mut Step)) -> Transcript {
        let mut step = Step::example("decide: 10 instances");
        step.memory = Some(vec![1, 2, 3]);
        step.decision = Some(Decision { reason: "as it is".to_owned(), ..Decision::default() });
        change(&mut step);
        Transcript { description: "an engine".to_owned(), steps: vec![Step::example("initialize: no instances"), step], cut_short: false }
    }

    fn between(change: impl FnOnce(&mut Step)) -> Option<String> {
        difference(&transcript(|_| ()), &transcript(change))
    }

    #[test]
    fn time_alone_is_no_difference() {
        assert_eq!(between(|step| step.call.time = Duration::from_secs(9)), None);
    }

    #[test]
    fn whatever_else_differs_is_told_with_where_and_what() {
        let told = |what: &str| Some(format!("decide: 10 instances: {what}"));
        assert_eq!(between(|step| step.call.fuel = 8), told("fuel was 7 and then 8"));
        assert_eq!(between(|step| step.memory = Some(vec![1, 2, 4])), told("memory was [1,2,3] and then [1,2,4]"));
        let fault = Fault::new(FaultKind::Trap, "unreachable");
        assert_eq!(between(|step| step.call.fault = Some(fault)), told("fault was null and then \"trap: unreachable\""));
        let reason = |step: &mut Step| step.decision.as_mut().expect("decided").reason = "otherwise".to_owned();
        assert_eq!(between(reason), told("reason was \"as it is\" and then \"otherwise\""));
    }

    #[test]
    fn a_difference_fails_the_check() {
        let check = check("again", &transcript(|_| ()), || Ok(transcript(|step| step.call.fuel += 1))).expect("compared");
        assert_eq!(check.outcome, super::super::Outcome::Failed);
    }

    #[test]
    fn a_step_that_the_clock_ended_is_no_difference_and_ends_the_comparison() {
        for kind in [FaultKind::Deadline, FaultKind::Processor, FaultKind::Abandoned] {
            let slow = || {
                let mut slow = transcript(|step| {
                    step.call.fault = Some(Fault::new(kind, "3 s"));
                    step.call.fuel = 1;
                });
                slow.steps.push(Step::example("decide: 1000 instances"));
                slow
            };
            let whole = || {
                let mut whole = transcript(|_| ());
                let mut last = Step::example("decide: 1000 instances");
                last.call.fuel = 8;
                whole.steps.push(last);
                whole
            };
            for (one, other) in [(slow(), whole()), (whole(), slow())] {
                let check = check("again", &one, || Ok(other)).expect("compared");
                assert_eq!(check.outcome, super::super::Outcome::Passed, "{check:?}");
                assert!(check.notes[0].starts_with("compared up to \"decide: 10 instances\""), "{check:?}");
            }
        }
    }

    #[test]
    fn a_difference_before_the_clock_ended_a_step_is_one() {
        let mut other = transcript(|step| step.call.fault = Some(Fault::new(FaultKind::Deadline, "3 s")));
        other.steps[0].call.fuel += 1;
        assert!(difference(&transcript(|_| ()), &other).is_some_and(|told| told.starts_with("initialize: no instances: fuel")));
    }

    #[test]
    fn another_description_is_a_difference() {
        let mut other = transcript(|_| ());
        other.description = "another engine".to_owned();
        assert_eq!(difference(&transcript(|_| ()), &other), Some("it describes itself otherwise".to_owned()));
    }
}
