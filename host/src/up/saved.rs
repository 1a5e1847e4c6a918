//! What becomes of the components that a host follows, told in lines: whenever one is saved, and whenever one can't be used.

use std::collections::{BTreeMap, BTreeSet};

use pilothouse_core::record::EngineInForce;
use pilothouse_core::time::Timestamp;

use crate::api::{DomainList, EngineFile};
use crate::output::{clean, count};

/// Looks after which it is told that a domain has not taken an engine up.
const PATIENCE: u32 = 8;

/// What is known of the files.
#[derive(Debug)]
pub(super) struct Saved {
    /// What people call them, by their paths on the host.
    names: BTreeMap<String, String>,
    files: BTreeMap<String, Known>,
    /// What was saved, until it is told who took it up: by paths.
    taken_up: BTreeMap<String, TakenUp>,
}

#[derive(Debug, Default)]
struct Known {
    engine: Option<EngineInForce>,
    refused: Option<(Timestamp, String)>,
}

#[derive(Debug)]
struct TakenUp {
    engine: EngineInForce,
    before: Option<EngineInForce>,
    looks: u32,
}

impl Saved {
    /// Nothing is known of these files, except that people were told of some that can't be used.
    pub(super) fn new(names: BTreeMap<String, String>, told: BTreeSet<String>) -> Self {
        let files = names.keys().filter(|path| told.contains(*path)).map(|path| (path.clone(), Known::default())).collect();
        Self { names, files, taken_up: BTreeMap::new() }
    }

    /// Takes in how the files are, and then what decides the domains. Returns what is new.
    pub(super) fn look(&mut self, files: &[EngineFile], list: &DomainList) -> Vec<String> {
        let mut lines = Vec::new();
        let paths: BTreeSet<&str> = files.iter().map(|file| file.file.as_str()).collect();
        self.files.retain(|path, _| paths.contains(path.as_str()));
        for file in files {
            lines.extend(self.file(file));
        }
        self.taken_up.retain(|_, it| {
            let line = it.look(list);
            let waits = line.is_none();
            lines.extend(line);
            waits
        });
        lines
    }

    fn file(&mut self, file: &EngineFile) -> Option<String> {
        let name = self.names.get(&file.file).unwrap_or(&file.file);
        let refused = file.refused.as_ref().map(|reason| (file.saved, reason.clone()));
        let now = Known { engine: file.engine.clone(), refused };
        let Some(before) = self.files.get_mut(&file.file) else {
            let line = now.refused.as_ref().map(|(_, reason)| cannot_be_used(name, reason));
            self.files.insert(file.file.clone(), now);
            return line;
        };
        let before = std::mem::replace(before, now);
        let now = &self.files[&file.file];
        match (&now.refused, &now.engine) {
            // Told already: by whoever looked before anything was started.
            (Some(_), None) if before.refused.is_none() && before.engine.is_none() => None,
            (Some(refused), _) if before.refused.as_ref() != Some(refused) => Some(cannot_be_used(name, &refused.1)),
            (Some(_), _) | (None, None) => None,
            (None, Some(engine)) if before.engine.as_ref() != Some(engine) => {
                self.taken_up.insert(file.file.clone(), TakenUp { engine: engine.clone(), before: before.engine, looks: 0 });
                None
            }
            (None, Some(engine)) => {
                before.refused.map(|_| format!("engine {} {} is in {name} as before", clean(&engine.name), clean(&engine.version)))
            }
        }
    }
}

impl TakenUp {
    /// Who has taken it up, as soon as nobody else is to be waited for.
    fn look(&mut self, list: &DomainList) -> Option<String> {
        let decided_by = |digest: &str| list.domains.iter().filter(|domain| domain.engine.digest == digest).count();
        let (taken, left) = (decided_by(&self.engine.digest), self.before.as_ref().map_or(0, |before| decided_by(&before.digest)));
        self.looks += 1;
        if left > 0 && self.looks < PATIENCE {
            return None;
        }
        let (name, version) = (clean(&self.engine.name), clean(&self.engine.version));
        let rest = match left {
            0 => String::new(),
            left => format!("; {} with the one before, and the log of the host may say why", goes_on(left)),
        };
        Some(format!("engine {name} {version} saved anew: {}{rest}", count(taken, "domain")))
    }
}

fn goes_on(domains: usize) -> String {
    if domains == 1 { "1 goes on".to_owned() } else { format!("{domains} go on") }
}

/// A line about a file that can't be used.
pub(super) fn cannot_be_used(file: &str, reason: &str) -> String {
    format!("engine file {file} can't be used: {}; nothing changes", clean(reason))
}

#[cfg(test)]
mod tests {
    use pilothouse_core::cycle::Status;
    use pilothouse_core::state::{Counts, Life};

    use super::*;
    use crate::api::DomainSummary;

    fn engine(version: &str, digest: &str) -> EngineInForce {
        EngineInForce { name: "keep".to_owned(), version: version.to_owned(), digest: digest.to_owned() }
    }

    fn file(saved: u64, digest: Option<&str>, refused: Option<&str>) -> EngineFile {
        EngineFile {
            file: "/data/watched/keep.wasm".to_owned(),
            engine: digest.map(|digest| engine("0.3.0", digest)),
            saved: Timestamp::from_secs(saved),
            refused: refused.map(str::to_owned),
        }
    }

    fn domains(digests: &[&str]) -> DomainList {
        let domain = |(n, digest): (usize, &&str)| DomainSummary {
            name: format!("web-{n}").parse().expect("a name"),
            life: Life::Active,
            engine: engine("0.3.0", digest),
            status: Status::Stable,
            reason: String::new(),
            paused: false,
            dry_run: false,
            counts: Counts::default(),
            fault: None,
            held: None,
            rolled_back: None,
        };
        DomainList { domains: digests.iter().enumerate().map(domain).collect(), ..DomainList::default() }
    }

    fn saved(told: bool) -> Saved {
        let path = "/data/watched/keep.wasm".to_owned();
        let told = if told { BTreeSet::from([path.clone()]) } else { BTreeSet::new() };
        Saved::new(BTreeMap::from([(path, "keep.wasm".to_owned())]), told)
    }

    #[test]
    fn what_is_saved_is_told_when_all_have_taken_it_up() {
        let mut it = saved(false);
        assert!(it.look(&[file(1, Some("a"), None)], &domains(&["a", "a"])).is_empty(), "it is as it was");
        assert!(it.look(&[file(2, Some("b"), None)], &domains(&["a", "b"])).is_empty(), "one is yet to follow");
        assert_eq!(it.look(&[file(2, Some("b"), None)], &domains(&["b", "b"])), ["engine keep 0.3.0 saved anew: 2 domains"]);
        assert!(it.look(&[file(2, Some("b"), None)], &domains(&["b", "b"])).is_empty());
        assert_eq!(it.look(&[file(3, Some("c"), None)], &domains(&["x"])), ["engine keep 0.3.0 saved anew: 0 domains"]);
    }

    #[test]
    fn who_does_not_follow_is_not_waited_for_for_ever() {
        let mut it = saved(false);
        it.look(&[file(1, Some("a"), None)], &domains(&["a", "a"]));
        let mut looks = (0..PATIENCE).map(|_| it.look(&[file(2, Some("b"), None)], &domains(&["a", "b"])));
        let said = looks.find(|lines| !lines.is_empty()).expect("something is said");
        assert_eq!(said, ["engine keep 0.3.0 saved anew: 1 domain; 1 goes on with the one before, and the log of the host may say why"]);
    }

    #[test]
    fn what_can_not_be_used_is_told_once_for_each_time_it_was_saved() {
        let mut it = saved(false);
        let no = Some("no\u{1b} component");
        it.look(&[file(1, Some("a"), None)], &domains(&["a"]));
        let line = ["engine file keep.wasm can't be used: no\u{fffd} component; nothing changes"];
        assert_eq!(it.look(&[file(2, Some("a"), no)], &domains(&["a"])), line);
        assert!(it.look(&[file(2, Some("a"), no)], &domains(&["a"])).is_empty());
        assert_eq!(it.look(&[file(3, Some("a"), no)], &domains(&["a"])), line);
        assert_eq!(it.look(&[file(4, Some("a"), None)], &domains(&["a"])), ["engine keep 0.3.0 is in keep.wasm as before"]);
    }

    #[test]
    fn what_was_told_before_anything_was_started_is_not_told_again() {
        let mut it = saved(true);
        assert!(it.look(&[file(1, None, Some("no"))], &domains(&["a"])).is_empty());
        assert!(it.look(&[file(1, None, Some("no"))], &domains(&["a"])).is_empty());
        assert_eq!(it.look(&[file(2, None, Some("no"))], &domains(&["a"])).len(), 1);
        assert_eq!(it.look(&[file(3, Some("b"), None)], &domains(&["b"])), ["engine keep 0.3.0 saved anew: 1 domain"]);
    }

    #[test]
    fn what_can_not_be_used_from_the_beginning_is_told() {
        assert_eq!(saved(false).look(&[file(1, None, Some("no"))], &domains(&[])).len(), 1);
    }
}
