//! One instance, whole.

use pilothouse_core::time::Timestamp;

use super::health;
use crate::api::InstanceOf;
use crate::output::{clean, moment_ago, readings};

/// All about it.
pub(super) fn text(shown: &InstanceOf, now: Timestamp) -> String {
    let InstanceOf { owner, domain, instance: it } = shown;
    let mut lines = vec![
        ("instance", format!("{domain}/{} of {owner}", it.ordinal)),
        ("id", it.instance_id.to_string()),
        ("state", format!("{} since {}", it.state, moment_ago(it.state_time, now))),
        ("health", health(it.health)),
        ("launch", it.launch_id.to_string()),
        ("type", it.deployable_type.clone()),
        ("site", it.site.clone()),
        ("allocation", it.allocation.clone()),
    ];
    if it.protected {
        lines.push(("protected", "yes: nobody may end it (`pilothouse instance unprotect`)".to_owned()));
    }
    if let Some(reason) = &it.end_reason {
        lines.push(("end", reason.clone()));
    }
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:<10}  {}", clean(value)).trim_end().to_owned() + "\n").collect();
    if !it.attributes.is_empty() {
        text += "\nits provisioner tells\n";
        text.extend(it.attributes.iter().map(|(name, value)| clean(&format!("  {name} = {value}")) + "\n"));
    }
    if !it.errors.is_empty() {
        text += "\nwhat went wrong on it, newest first\n";
        text.extend(it.errors.iter().map(|problem| format!("  {}\n", clean(&problem.line()))));
    }
    if !it.sensor_data.is_empty() {
        text += &format!("\nreadings\n{}", readings::text(&it.sensor_data, now));
    }
    text
}

#[cfg(test)]
mod tests {
    use pilothouse_core::instance::State;
    use pilothouse_core::problem::Problem;

    use super::super::tests::{instance, of};
    use super::*;
    use crate::api::{InstanceDescription, SensorData};

    #[test]
    fn everything_that_is_known_is_told() {
        let now = Timestamp::from_secs(1_010);
        let plain = of("web", instance(2, State::Running));
        let expected = "instance    web/2 of ann\nid          i001-2\nstate       RUNNING since 1970-01-01 00:16:42Z (8 s ago)\n\
                        health      -\nlaunch      l001-x\ntype        worker\nsite        local\nallocation  small\n";
        assert_eq!(text(&plain, now), expected);
        let more = InstanceDescription {
            protected: true,
            end_reason: Some("missing".to_owned()),
            attributes: [("hostname".to_owned(), "a\u{1b}b".to_owned())].into(),
            errors: vec![Problem::Text("disk full".to_owned())],
            sensor_data: [("load".to_owned(), SensorData { sample_count: 1, ..SensorData::default() })].into(),
            ..plain.instance
        };
        let told = text(&of("web", more), now);
        for part in ["protected   yes", "end         missing\n", "  hostname = a\u{fffd}b\n", "  disk full\n", "\nload "] {
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
    }
}
