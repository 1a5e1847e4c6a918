//! Stories as they are told, word for word.
//!
//! The stories are those of the core's own tests (`host/core/tests/why/NAME.json`); `cases/NAME.txt` is how each reads.
//! `UPDATE_GOLDEN=1 cargo test -p pilothouse --lib commands::why` writes them anew, to be read before they are kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pilothouse_core::explain::{Hold, Mention};
use pilothouse_core::guard::Guard;
use pilothouse_core::time::Millis;

use super::*;

fn folder(within: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(within)
}

fn names(folder: &Path, extension: &str) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path());
    let fits = |path: &PathBuf| path.extension().is_some_and(|it| it == extension);
    files.filter(fits).filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect()
}

fn stories() -> Vec<(String, Explanation)> {
    let folder = folder("core/tests/why");
    let read = |name: String| {
        let json = std::fs::read(folder.join(format!("{name}.json"))).expect("readable");
        let story = serde_json::from_slice(&json).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, story)
    };
    let all: Vec<_> = names(&folder, "json").into_iter().map(read).collect();
    assert!(all.len() >= 30, "{} stories in {}", all.len(), folder.display());
    all
}

fn story(name: &str) -> Explanation {
    stories().into_iter().find_map(|(known, story)| (known == name).then_some(story)).unwrap_or_else(|| panic!("no story {name}"))
}

/// When a story is read: a little after it was told.
fn read_at(story: &Explanation) -> Timestamp {
    let told = match story {
        Explanation::Domain(it) if it.past => it.told_at + Millis::from_secs(600),
        Explanation::Domain(it) => it.told_at,
        Explanation::Decisions(it) => it.told_at,
        Explanation::Instance(it) => it.told_at,
    };
    told + Millis::from_secs(1)
}

#[test]
fn every_story_reads_as_it_should() {
    let cases = folder("src/commands/why/cases");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let mut left = names(&cases, "txt");
    for (name, story) in stories() {
        let got = text(&story, read_at(&story));
        let path = cases.join(format!("{name}.txt"));
        if update {
            std::fs::write(&path, &got).expect("written");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if expected != got {
            let first = expected.lines().zip(got.lines()).find(|(old, new)| old != new);
            wrong.push(format!("{name}.txt: {first:#?}"));
        }
        left.remove(&name);
    }
    assert!(wrong.is_empty(), "read otherwise now (if that is right, run this with UPDATE_GOLDEN=1):\n{}", wrong.join("\n"));
    assert!(left.is_empty(), "nobody tells these stories any more: {left:?}");
}

#[test]
fn no_story_can_command_the_terminal() {
    for (name, story) in stories() {
        let told = text(&story, read_at(&story));
        assert!(!told.chars().any(|c| c.is_control() && c != '\n'), "{name}: {told:?}");
    }
}

#[test]
fn whatever_holds_a_domain_back_is_said_first_and_with_what_to_do() {
    let mut kinds = BTreeSet::new();
    for (name, story) in stories() {
        let Explanation::Domain(it) = &story else { continue };
        let Some(first) = it.holds.first() else { continue };
        let told = hold::tell(&it.domain.name, first, if it.past { it.told_at } else { read_at(&story) });
        let text = text(&story, read_at(&story));
        let mut lines = text.lines();
        assert!(lines.next().is_some_and(|line| line.ends_with(&told.headline)), "{name}: {text}");
        assert!(!told.advice.is_empty() && lines.nth(1).is_some_and(|line| line.ends_with(&told.advice)), "{name}: {text}");
        kinds.extend(it.holds.iter().map(|hold| serde_json::to_value(hold).expect("JSON")["hold"].to_string()));
    }
    // One that is added needs a story.
    assert_eq!(kinds.len(), 13, "every kind of hold has a story: {kinds:?}");
}

#[test]
fn every_guard_is_told_in_order_when_one_objects() {
    let ruling = |guard, passed, note: Option<&str>| Ruling { guard, passed, note: note.map(str::to_owned) };
    let all = [ruling(Guard::Pause, 2, None), ruling(Guard::DryRun, 2, None), ruling(Guard::Budget, 1, Some("used up"))];
    assert_eq!(rulings(&all, "  "), "  guard pause    let 2 pass\n  guard dry run  let 2 pass\n  guard budget   let 1 pass: used up\n");
    assert_eq!(rulings(&all[..2], "  "), "  every guard let it pass (pause, dry run)\n");
    assert_eq!(rulings(&[], "  "), "");
}

#[test]
fn a_decision_of_many_instances_stays_readable() {
    let Explanation::Domain(mut it) = story("domain_replaced_one") else { panic!("of a domain") };
    let decision = it.decisions.iter_mut().find(|told| !told.decision.launches.is_empty()).expect("it launched");
    let ids: Vec<_> = (0..400).map(|n| format!("i002-{n}").parse::<pilothouse_core::id::InstanceId>().expect("an id")).collect();
    decision.decision.launches[0].instances.clone_from(&ids);
    it.instances.extend(ids.into_iter().enumerate().map(|(n, id)| (id, Mention { ordinal: Some(n as u64), ..Mention::default() })));
    let told = text(&Explanation::Domain(it), Timestamp::from_secs(1_795_241_000));
    assert!(told.contains("web/11 and 388 more\n") && told.lines().all(|line| line.chars().count() < 300), "{told}");
}

#[test]
fn what_a_person_typed_is_one_question() {
    use clap::Parser;
    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        why: WhyArgs,
    }
    let parse = |args: &[&str]| Cli::try_parse_from([&["why"], args].concat()).map(|cli| cli.why);
    assert_eq!(parse(&["web", "--at", "-10m"]).expect("valid").at.as_deref(), Some("-10m"));
    assert_eq!(parse(&["web", "--at=-10m", "--last", "3"]).expect("valid").last, Some(3));
    for bad in [&["web", "0", "--last", "3"][..], &["web", "0", "--at", "-1m"], &["web", "--last", "0"], &["web", "--last", "501"], &[]] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_hold_without_a_known_author_is_told_all_the_same() {
    let domain: Name = "web".parse().expect("a name");
    let hold = Hold::Paused { by: None, since: None, held: Default::default() };
    assert_eq!(hold::tell(&domain, &hold, Timestamp::ZERO).headline, "is PAUSED");
}

#[test]
fn a_host_that_was_disabled_is_told_with_who_did_it_and_what_to_do() {
    let [domain, host, by] = ["web", "ship-1", "ann"].map(|name| name.parse::<Name>().expect("a name"));
    let told = hold::tell(&domain, &Hold::Disabled { host, by, since: Timestamp::ZERO }, Timestamp::from_secs(12));
    assert_eq!(told.headline, "gets NO DECISIONS: host ship-1 was disabled by ann since 1970-01-01 00:00:00Z (12 s ago)");
    assert!(told.advice.contains("pilothouse host enable ship-1"), "{}", told.advice);
}

#[test]
fn a_version_that_is_not_taken_up_is_told_with_its_words_and_what_to_do() {
    let domain: Name = "web".parse().expect("a name");
    let engine = EngineInForce { name: "keep".to_owned(), version: "2.0.0".to_owned(), digest: "ab".to_owned() };
    let hold = Hold::VersionRefused { engine, why: "/engine_conf: \"x\" is\u{1b} missing".to_owned() };
    let told = hold::tell(&domain, &hold, Timestamp::ZERO);
    assert_eq!(told.headline, "does NOT TAKE UP keep 2.0.0: that would not take the configuration: /engine_conf: \"x\" is\u{fffd} missing");
    assert!(told.advice.contains("pilothouse domain reconfigure web"), "{}", told.advice);
}

#[test]
fn a_version_that_the_host_can_not_use_and_an_engine_that_has_to_wait_are_told_with_what_to_do() {
    let domain: Name = "web".parse().expect("a name");
    let engine = EngineInForce { name: "keep".to_owned(), version: "2.0.0".to_owned(), digest: "ab".to_owned() };
    let unusable = Hold::VersionUnusable { engine, why: "it wants\u{1b} a clock".to_owned() };
    let until = Timestamp::from_secs(3);
    let rests = Hold::Rests { took: Millis::new(2900), until };
    let writes = Hold::WritesTooMuch { bytes_a_minute: 8 << 20, until };
    for (hold, headline, meaning, advice) in [
        (
            unusable,
            "does NOT TAKE UP keep 2.0.0: its host can't use that: it wants\u{fffd} a clock",
            "goes on",
            "pilothouse engine show keep",
        ),
        (rests, "is asked LESS OFTEN than its engine wants: the newest call took 2.9 s", "may begin in 3 s", "general.decide_interval"),
        (writes, "gets NO DECISIONS for 3 s: what its engine decides takes too much of the journal", "8 MiB a minute", "reconfigure web"),
    ] {
        let told = hold::tell(&domain, &hold, Timestamp::ZERO);
        assert_eq!(told.headline, headline);
        assert!(told.meaning.contains(meaning) && told.advice.contains(advice), "{}; {}", told.meaning, told.advice);
    }
}
