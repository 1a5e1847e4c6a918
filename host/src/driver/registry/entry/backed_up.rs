//! What a backup says of an engine, beside what is said of it now.

use super::{Entry, MAX_VERSIONS};

impl Entry {
    /// Whether nothing is said of the engine.
    pub(in crate::driver::registry) fn says_nothing(&self) -> bool {
        self.versions.is_empty() && self.gone.is_empty() && self.pinned.is_none() && self.limits == Default::default()
    }

    /// This, and what a backup knew: its versions, also those that were removed since; its pin and its limits. What was pushed since stays.
    ///
    /// # Errors
    /// Why not: a version has other bytes here, or there is no room for all.
    pub fn with_backup(&self, backup: &Self) -> Result<Self, String> {
        if self.says_nothing() {
            return Ok(backup.clone());
        }
        let known = |entry: &Self| -> Vec<_> {
            let gone = entry.gone.iter().map(|(version, gone)| (version.clone(), gone.pushed.digest.clone()));
            entry.versions.iter().map(|(version, pushed)| (version.clone(), pushed.digest.clone())).chain(gone).collect()
        };
        let here: std::collections::BTreeMap<_, _> = known(self).into_iter().collect();
        for (version, digest) in known(backup) {
            if here.get(&version).is_some_and(|here| *here != digest) {
                return Err(format!("version {version} is here with other bytes than in the backup, and a version never changes"));
            }
        }
        let mut next = self.clone();
        for (version, pushed) in &backup.versions {
            next.gone.remove(version);
            next.versions.entry(version.clone()).or_insert_with(|| pushed.clone());
        }
        if next.versions.len() > MAX_VERSIONS {
            return Err(format!("with those of the backup there would be {} versions; at most {MAX_VERSIONS} fit", next.versions.len()));
        }
        for (version, gone) in &backup.gone {
            if !next.versions.contains_key(version) {
                next.gone.entry(version.clone()).or_insert_with(|| gone.clone());
            }
        }
        next.forget_the_oldest();
        let pin = |entry: &Self| entry.pinned.as_ref().map(|pinned| pinned.version.clone());
        if pin(self) != pin(backup) {
            next.pinned.clone_from(&backup.pinned);
        }
        next.limits = backup.limits;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pilothouse_core::name::Name;
    use pilothouse_core::time::Timestamp;

    use super::super::{What, Wish};
    use super::*;

    fn name() -> Name {
        "keeper".parse().expect("a name")
    }

    fn after(entry: &Entry, what: What) -> Entry {
        let wish = Wish { what, by: name(), at: Timestamp::from_secs(7), built_in: BTreeMap::new() };
        entry.change(&name(), &wish).expect("it is changed").0
    }

    fn pushed(entry: &Entry, version: &str, digest: &str) -> Entry {
        let version = version.parse().expect("a version");
        after(entry, What::Push { version, digest: digest.to_owned(), bytes: 3, about: String::new() })
    }

    fn pinned(entry: &Entry, version: &str) -> Entry {
        after(entry, What::Pin { version: version.parse().expect("a version"), reason: None })
    }

    fn removed(entry: &Entry, version: &str) -> Entry {
        after(entry, What::Remove { version: version.parse().expect("a version") })
    }

    fn two() -> Entry {
        pushed(&pushed(&Entry::default(), "1.0.0", "aa"), "1.1.0", "bb")
    }

    #[test]
    fn where_nothing_is_said_the_backup_is_believed_to_the_letter() {
        let backup = pinned(&two(), "1.0.0");
        assert_eq!(Entry::default().with_backup(&backup), Ok(backup.clone()));
        assert_eq!(backup.with_backup(&backup), Ok(backup));
    }

    #[test]
    fn what_was_pushed_since_stays_and_what_was_removed_since_comes_back() {
        let backup = pinned(&two(), "1.0.0");
        let here = removed(&pushed(&two(), "1.2.0", "cc"), "1.1.0");
        let both = here.with_backup(&backup).expect("they fit");
        assert_eq!(both.versions.keys().map(ToString::to_string).collect::<Vec<_>>(), ["1.0.0", "1.1.0", "1.2.0"]);
        assert!(both.gone.is_empty() && both.pinned == backup.pinned, "{both:?}");
        assert_eq!(both.with_backup(&backup), Ok(both.clone()), "once more changes nothing");
        let newer = pushed(&backup, "1.2.0", "cc");
        assert_eq!(newer.with_backup(&backup), Ok(newer.clone()), "all of it is here");
    }

    #[test]
    fn what_the_backup_knows_to_be_gone_is_remembered_and_takes_nothing_away() {
        let backup = removed(&two(), "1.1.0");
        let here = pushed(&Entry::default(), "1.0.0", "aa");
        assert!(here.with_backup(&backup).expect("they fit").gone.keys().map(ToString::to_string).eq(["1.1.0"]));
        assert_eq!(two().with_backup(&backup), Ok(two()), "somebody pushed it again");
    }

    #[test]
    fn a_version_never_gets_other_bytes() {
        for here in [pushed(&Entry::default(), "1.1.0", "xx"), removed(&pushed(&two(), "1.2.0", "cc"), "1.2.0")] {
            let backup = pushed(&two(), "1.2.0", "dd");
            let refused = here.with_backup(&backup).expect_err("other bytes");
            assert!(refused.contains("never changes"), "{refused}");
        }
        let gone = removed(&two(), "1.1.0");
        assert!(pushed(&Entry::default(), "1.1.0", "xx").with_backup(&gone).is_err(), "also where the backup knows it as gone");
    }

    #[test]
    fn there_are_never_more_versions_than_may_be() {
        let many =
            |from: usize| (from..from + 200).fold(Entry::default(), |entry, n| pushed(&entry, &format!("1.0.{n}"), &format!("d{n}")));
        let refused = many(0).with_backup(&many(200)).expect_err("too many");
        assert!(refused.contains("400 versions; at most 256"), "{refused}");
    }
}
