//! What a change of a configuration would change, a line for each value before and after.

use std::fmt::Write as _;

use crate::api::DomainDiff;
use crate::output::clean;

/// The difference; problems stand last, where they are seen.
pub(super) fn text(diff: &DomainDiff) -> String {
    let DomainDiff { domain, config_revision, changes, engine, new_engine, problems } = diff;
    let mut text = String::new();
    // Writing to a `String` never fails.
    for change in changes {
        for (sign, value) in [('-', &change.from), ('+', &change.to)] {
            if let Some(value) = value {
                let _ = writeln!(text, "{sign} {}: {}", clean(&change.at), clean(&value.to_string()));
            }
        }
    }
    if let Some(new) = new_engine {
        let told = |name: &str, version: &str, digest: &str| clean(&format!("{name} {version} ({digest:.12})"));
        let _ = writeln!(text, "- engine {}", told(&engine.name, &engine.version, &engine.digest));
        let _ = writeln!(text, "+ engine {}", told(&new.name, &new.version, &new.digest));
    }
    for problem in problems {
        let _ = writeln!(text, "! {}", clean(&problem.to_string()));
    }
    if text.is_empty() {
        return format!("nothing would change: domain {domain} is so at revision {config_revision} already");
    }
    // With problems the command fails, and says so.
    if problems.is_empty() {
        let _ = writeln!(text, "domain {domain} is at revision {config_revision}; it would take this");
    }
    text
}

#[cfg(test)]
mod tests {
    use pilothouse_core::config::ConfigProblem;
    use pilothouse_core::record::EngineInForce;
    use serde_json::json;

    use super::*;
    use crate::api::ConfigChange;

    fn diff() -> DomainDiff {
        DomainDiff {
            domain: "web".parse().expect("a name"),
            config_revision: 3,
            changes: Vec::new(),
            engine: EngineInForce { name: "simplest".to_owned(), version: "0.1.0".to_owned(), digest: "0123456789abcdef".to_owned() },
            new_engine: None,
            problems: Vec::new(),
        }
    }

    #[test]
    fn values_are_shown_before_and_after() {
        let changes = vec![
            ConfigChange { at: "/engine_conf/preserve_n".to_owned(), from: Some(json!(3)), to: Some(json!(5)) },
            ConfigChange { at: "/engine_conf/note".to_owned(), from: None, to: Some(json!("two\nlines")) },
            ConfigChange { at: "/general/vars".to_owned(), from: Some(json!({"a": "b"})), to: None },
        ];
        assert_eq!(
            text(&DomainDiff { changes, ..diff() }),
            "- /engine_conf/preserve_n: 3\n\
             + /engine_conf/preserve_n: 5\n\
             + /engine_conf/note: \"two\\nlines\"\n\
             - /general/vars: {\"a\":\"b\"}\n\
             domain web is at revision 3; it would take this\n"
        );
        assert_eq!(text(&diff()), "nothing would change: domain web is so at revision 3 already");
    }

    #[test]
    fn another_engine_and_problems_are_told() {
        let new_engine = Some(EngineInForce { version: "0.2.0".to_owned(), digest: "ff".to_owned(), ..diff().engine });
        let problems = vec![ConfigProblem::new("/engine_conf/preserve_m", "unknown")];
        assert_eq!(
            text(&DomainDiff { new_engine, problems, ..diff() }),
            "- engine simplest 0.1.0 (0123456789ab)\n\
             + engine simplest 0.2.0 (ff)\n\
             ! /engine_conf/preserve_m: unknown\n"
        );
    }
}
