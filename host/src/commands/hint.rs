//! What somebody perhaps meant who named something that is not there.

use crate::api::{ApiClient, DefinitionList, DomainList, EngineList, ListDefinitions, ListDomains, ListEngines, Operation};

/// From which likeness on a name is taken for a misspelt one, between 0 and 1: `wbe` may be meant as `web`, `api` is not.
const ALIKE: f64 = 0.6;

/// A hint for what a host calls not found: `domain wbe`, `definition pool`, `engine keep@1.2.0`, `instance "web/9"`. Nothing when there is nothing to say.
pub(super) async fn for_missing(api: &ApiClient, what: &str) -> Option<String> {
    let (kind, name) = what.split_once(' ')?;
    let names: Vec<String> = match kind {
        "domain" => {
            let list: DomainList = api.call(Operation::DomainList, &ListDomains {}).await.ok()?;
            list.domains.into_iter().map(|domain| domain.name.to_string()).chain(list.unanswered.iter().map(ToString::to_string)).collect()
        }
        "definition" => {
            let list: DefinitionList = api.call(Operation::DefinitionList, &ListDefinitions {}).await.ok()?;
            list.definitions.into_iter().map(|definition| definition.name.to_string()).collect()
        }
        "engine" => {
            let list: EngineList = api.call(Operation::EngineList, &ListEngines {}).await.ok()?;
            let engine = name.split_once('@').map_or(name, |(engine, _)| engine);
            let names: Vec<String> = list.engines.into_iter().map(|engine| engine.name.to_string()).collect();
            return Some(if names.iter().any(|name| name == engine) {
                format!("`pilothouse engine show {engine}` shows the versions that there are")
            } else {
                among(kind, engine, &names)
            });
        }
        "instance" => return Some("`pilothouse instance list` shows those that there are".to_owned()),
        _ => return None,
    };
    Some(among(kind, name, &names))
}

/// The hint, when these are there.
fn among(kind: &str, name: &str, names: &[String]) -> String {
    let likeness = |other: &String| strsim::normalized_damerau_levenshtein(name, other);
    let closest = names.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match closest {
        None => format!("there is no {kind} at all"),
        Some(closest) if likeness(closest) >= ALIKE => format!("did you mean {closest}?"),
        Some(_) => format!("`pilothouse {kind} list` shows those that there are"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_answered_with_the_one_that_was_meant() {
        let names = ["web", "jobs", "web-2"].map(str::to_owned);
        for (given, meant) in [("wbe", "web"), ("Web-2", "web-2"), ("job", "jobs"), ("web2", "web-2")] {
            assert_eq!(among("domain", given, &names), format!("did you mean {meant}?"), "{given}");
        }
        assert_eq!(among("domain", "database", &names), "`pilothouse domain list` shows those that there are");
        assert_eq!(among("definition", "web", &[]), "there is no definition at all");
    }
}
