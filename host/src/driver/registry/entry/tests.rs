//! The changes of an entry, one wish after the other.

use proptest::prelude::*;

use super::*;

fn name() -> Name {
    "keep".parse().expect("a name")
}

fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

fn built_in(versions: &[&str]) -> BTreeMap<Version, String> {
    versions.iter().map(|text| (version(text), format!("own-{text}"))).collect()
}

fn push(text: &str, digest: &str) -> What {
    What::Push { version: version(text), digest: digest.to_owned(), bytes: 7, about: "Keeps so many.".to_owned() }
}

fn pin(text: &str) -> What {
    What::Pin { version: version(text), reason: None }
}

fn roll_back(to: Option<&str>) -> What {
    What::RollBack { to: to.map(version), reason: Some("it launches too much".to_owned()) }
}

fn remove(text: &str) -> What {
    What::Remove { version: version(text) }
}

/// One wish, at a moment of its own.
fn wish(entry: &Entry, what: What, own: &[&str]) -> Result<(Entry, EngineChanged), ApiError> {
    let at = Timestamp::from_secs(entry.versions.len() as u64 + 10 * entry.gone.len() as u64);
    entry.change(&name(), &Wish { what, by: "ann".parse().expect("a name"), at, built_in: built_in(own) })
}

/// What is left after wishes that must all come true.
fn after(whats: Vec<What>) -> Entry {
    whats.into_iter().fold(Entry::default(), |entry, what| wish(&entry, what, &[]).expect("it comes true").0)
}

fn refusal(entry: &Entry, what: What, own: &[&str]) -> (&'static str, String) {
    let error = wish(entry, what, own).expect_err("a refusal");
    (error.kind(), error.to_string())
}

#[test]
fn an_entry_names_the_components_of_its_versions_and_of_its_pin() {
    let entry = after(vec![push("1.0.0", "aa"), push("1.1.0", "bb"), remove("1.1.0")]);
    assert!(entry.digests().eq(["aa"]));
    let (pinned, _) = wish(&entry, pin("0.1.0"), &["0.1.0"]).expect("it comes with the hosts");
    assert!(pinned.digests().eq(["aa", "own-0.1.0"]));
    let mut unknown = pinned;
    unknown.pinned.iter_mut().for_each(|pinned| pinned.digest.clear());
    assert!(unknown.digests().eq(["aa"]), "one of before that was kept");
}

#[test]
fn the_same_bytes_may_be_pushed_again_and_others_may_not_take_the_place_of_a_version() {
    let entry = after(vec![push("1.0.0", "aa")]);
    let (again, changed) = wish(&entry, push("1.0.0", "aa"), &[]).expect("the same");
    assert!(!changed.changed && again == entry);

    let (kind, message) = refusal(&entry, push("1.0.0", "bb"), &[]);
    assert_eq!(kind, "conflict");
    assert!(message.contains("digest aa") && message.contains("has bb"), "{message}");

    let removed = after(vec![push("1.0.0", "aa"), remove("1.0.0")]);
    let (kind, message) = refusal(&removed, push("1.0.0", "bb"), &[]);
    assert_eq!(kind, "conflict", "not even after its removal");
    assert!(message.contains("digest aa") && message.contains("has bb"), "{message}");
    let (back, changed) = wish(&removed, push("1.0.0", "aa"), &[]).expect("the same bytes come back");
    assert!(changed.changed && back.gone.is_empty() && back.versions.len() == 1);

    let (kind, _) = refusal(&Entry::default(), push("0.1.0", "aa"), &["0.1.0"]);
    assert_eq!(kind, "conflict", "nor may they stand in for what comes with the hosts");
    assert!(wish(&Entry::default(), push("0.1.0", "own-0.1.0"), &["0.1.0"]).is_ok());
}

#[test]
fn a_pinned_version_stays_until_it_is_unpinned() {
    let entry = after(vec![push("1.0.0", "aa"), push("1.1.0", "bb"), pin("1.0.0")]);
    assert_eq!(entry.in_effect(&BTreeMap::new()), Some(&version("1.0.0")));
    assert_eq!(refusal(&entry, remove("1.0.0"), &[]).0, "conflict");
    let (same, changed) = wish(&entry, pin("1.0.0"), &[]).expect("the same again");
    assert!(!changed.changed && same == entry, "who was first stays");
    let (entry, changed) = wish(&entry, What::Unpin, &[]).expect("unpinned");
    assert_eq!((changed.version.as_deref(), changed.pinned, changed.changed), (Some("1.0.0"), None, true));
    assert_eq!(entry.in_effect(&BTreeMap::new()), Some(&version("1.1.0")));
    assert!(!wish(&entry, What::Unpin, &[]).expect("nothing was pinned").1.changed);
    assert!(wish(&entry, remove("1.0.0"), &[]).is_ok());
}

#[test]
fn a_roll_back_pins_the_newest_release_below_the_one_in_effect() {
    let entry = after(vec![push("1.0.0", "aa"), push("1.1.0-rc.1", "bb"), push("1.1.0", "cc"), push("2.0.0-rc.1", "dd")]);
    assert_eq!(entry.in_effect(&BTreeMap::new()), Some(&version("1.1.0")), "a pre-release is for whoever names it");
    let (entry, changed) = wish(&entry, roll_back(None), &[]).expect("an older one");
    assert_eq!(changed.pinned.as_deref(), Some("1.0.0"));
    assert_eq!(entry.pinned.as_ref().and_then(|it| it.reason.as_deref()), Some("it launches too much"));
    assert_eq!(refusal(&entry, roll_back(None), &[]).0, "conflict", "there is none below that");
    let (entry, changed) = wish(&entry, roll_back(None), &["0.1.0"]).expect("but for what comes with the hosts");
    assert_eq!((changed.pinned.as_deref(), changed.digest.as_deref()), (Some("0.1.0"), Some("own-0.1.0")));
    assert_eq!(refusal(&entry, roll_back(Some("1.0.0")), &["0.1.0"]).0, "conflict", "that is not back");
    assert!(!wish(&entry, roll_back(Some("0.1.0")), &["0.1.0"]).expect("it is there").1.changed);

    let entry = after(vec![push("1.0.0", "aa"), push("1.1.0-rc.1", "bb"), push("1.1.0", "cc")]);
    let (_, changed) = wish(&entry, roll_back(Some("1.1.0-rc.1")), &[]).expect("whoever names it");
    assert_eq!(changed.pinned.as_deref(), Some("1.1.0-rc.1"));
    let only_previews = after(vec![push("1.0.0-rc.1", "aa")]);
    assert_eq!(refusal(&only_previews, roll_back(None), &[]).0, "conflict");
    assert!(wish(&only_previews, roll_back(Some("1.0.0-rc.1")), &[]).is_ok());
}

#[test]
fn a_removal_that_comes_again_is_answered_the_same_unless_it_was_taken_back() {
    let entry = after(vec![push("1.0.0", "aa"), push("1.1.0", "bb")]);
    let (removed, changed) = wish(&entry, remove("1.0.0"), &[]).expect("it goes");
    let removed = removed.with_answer("once", &remove("1.0.0"), &changed);
    let (pushed, _) = wish(&removed, push("1.0.0", "aa"), &[]).expect("it comes back");
    assert_eq!(pushed.answer_to(Some("once"), &remove("1.0.0")), Ok(Some(&changed)), "and stays");
    assert_eq!(pushed.answer_to(Some("once"), &remove("1.1.0")).expect_err("another wish").kind(), "conflict");

    let (restored, _) = wish(&removed, What::Restore { version: version("1.0.0") }, &[]).expect("somebody needs it");
    assert_eq!(restored.answer_to(Some("once"), &remove("1.0.0")), Ok(None), "it was refused, and may be asked for once more");
    let (again, changed) = wish(&removed, remove("1.0.0"), &[]).expect("it is gone already");
    assert!(!changed.changed && changed.digest.as_deref() == Some("aa") && again == removed);
}

#[test]
fn what_is_not_there_is_not_found() {
    let nothing = Entry::default();
    for what in [remove("1.0.0"), What::Restore { version: version("1.0.0") }, pin("1.0.0"), What::Unpin, roll_back(None)] {
        assert_eq!(refusal(&nothing, what.clone(), &[]).0, "not_found", "{what:?}");
    }
    assert_eq!(refusal(&nothing, What::Limit(BTreeMap::new()), &[]).0, "not_found");
    assert!(wish(&nothing, What::Limit([("fuel".to_owned(), Some(5))].into()), &["0.1.0"]).is_ok(), "the hosts bring it");
}

#[test]
fn a_removal_is_taken_back_whole() {
    let before = after(vec![push("1.0.0", "aa"), push("1.1.0", "bb")]);
    let (removed, changed) = wish(&before, remove("1.0.0"), &[]).expect("nobody needs it");
    assert_eq!((changed.digest.as_deref(), removed.versions.len()), (Some("aa"), 1));
    let (restored, changed) = wish(&removed, What::Restore { version: version("1.0.0") }, &[]).expect("somebody does");
    assert!(changed.changed && restored == before);
    assert!(!wish(&restored, What::Restore { version: version("1.0.0") }, &[]).expect("it is there").1.changed);
}

#[test]
fn limits_are_changed_one_by_one_and_taken_back() {
    let limits = |changes: &[(&str, Option<u64>)]| What::Limit(changes.iter().map(|(name, to)| ((*name).to_owned(), *to)).collect());
    let entry = after(vec![push("1.0.0", "aa"), limits(&[("fuel", Some(1000)), ("requests", Some(5))]), limits(&[("fuel", None)])]);
    assert_eq!((entry.limits.fuel, entry.limits.requests), (None, Some(5)));
    for wrong in [limits(&[("fule", Some(1))]), limits(&[("fule", None)])] {
        let (kind, message) = refusal(&entry, wrong, &[]);
        assert!(kind == "invalid" && message.contains("fule"), "{kind}: {message}");
    }
}

#[test]
fn a_request_is_answered_the_same_and_its_id_stands_for_nothing_else() {
    let entry = Entry::default();
    let (what, other) = (push("1.0.0", "aa"), push("1.1.0", "bb"));
    let (next, changed) = wish(&entry, what.clone(), &[]).expect("pushed");
    let entry = next.with_answer("r1", &what, &changed);
    assert_eq!(entry.answer_to(Some("r1"), &what), Ok(Some(&changed)));
    assert_eq!(entry.answer_to(Some("r2"), &what), Ok(None));
    assert_eq!(entry.answer_to(None, &what), Ok(None));
    assert_eq!(entry.answer_to(Some("r1"), &other).expect_err("another wish").kind(), "conflict");
    let later = (0..MAX_ANSWERS).fold(entry, |entry, n| entry.with_answer(&format!("later{n}"), &other, &changed));
    assert_eq!((later.answers.len(), later.answer_to(Some("r1"), &what)), (MAX_ANSWERS, Ok(None)));
}

#[test]
fn the_largest_entry_fits_into_a_message() {
    let long = |n: usize| format!("{n}.0.0-{}", "x".repeat(MAX_VERSION_BYTES - 10));
    let huge = |n: usize| What::Push { version: version(&long(n)), digest: "d".repeat(64), bytes: u64::MAX, about: "\u{1}".repeat(999) };
    let mut entry = Entry::default();
    for n in 1000..1000 + MAX_GONE + 5 {
        entry = wish(&entry, huge(n), &[]).expect("pushed").0;
        entry = wish(&entry, remove(&long(n)), &[]).expect("removed").0;
    }
    assert_eq!(entry.gone.len(), MAX_GONE);
    assert!(entry.gone.contains_key(&version(&long(1000 + MAX_GONE + 4))), "the newest removal is remembered");
    for n in 2000..2000 + MAX_VERSIONS {
        entry = wish(&entry, huge(n), &[]).expect("pushed").0;
    }
    let (kind, message) = refusal(&entry, huge(9999), &[]);
    assert!(kind == "conflict" && message.contains("remove some"), "{message}");
    let reason = Some("\u{1}".repeat(DomainState::MAX_REASON_BYTES));
    entry = wish(&entry, What::Pin { version: version(&long(2000)), reason }, &[]).expect("pinned").0;
    let changed = wish(&entry, What::Unpin, &[]).expect("an answer").1;
    for n in 0..MAX_ANSWERS {
        entry = entry.with_answer(&format!("{n}{}", "\u{1}".repeat(DomainState::MAX_REQUEST_ID_BYTES - 2)), &What::Unpin, &changed);
    }
    let value = entry.write().expect("JSON");
    assert!(value.len() < 900 << 10, "{} bytes", value.len());
    assert_eq!(Entry::read(&value), Ok(entry));

    let too_long =
        What::Push { version: version(&format!("1.0.0-{}", "x".repeat(80))), digest: "d".to_owned(), bytes: 1, about: String::new() };
    assert_eq!(refusal(&Entry::default(), too_long, &[]).0, "invalid");
}

#[test]
fn a_value_of_another_format_is_left_to_whoever_wrote_it() {
    let value = Entry::default().write().expect("JSON");
    assert_eq!(Entry::read(&value), Ok(Entry::default()));
    for (value, says) in [(&br#"{"v": 2, "versions": []}"#[..], "format 2"), (b"{}", "missing field `v`"), (b"nonsense", "expected")] {
        let error = Entry::read(value).expect_err("not this one");
        assert!(error.contains(says), "{error}");
    }
}

fn any_what() -> impl Strategy<Value = What> {
    let text = prop::sample::select(vec!["1.0.0", "1.1.0", "2.0.0-rc.1", "2.0.0"]);
    let digest = prop::sample::select(vec!["aa", "bb"]);
    (0..7, text, digest).prop_map(|(kind, text, digest)| match kind {
        0 | 1 => push(text, digest),
        2 => remove(text),
        3 => What::Restore { version: version(text) },
        4 => pin(text),
        5 => What::Unpin,
        _ => roll_back(None),
    })
}

proptest! {
    #[test]
    fn whatever_is_wished_a_version_never_has_two_digests_and_what_is_pinned_is_there(whats in prop::collection::vec(any_what(), 0..40)) {
        let (mut entry, mut digests) = (Entry::default(), BTreeMap::<Version, String>::new());
        for what in whats {
            let Ok((next, changed)) = wish(&entry, what, &[]) else { continue };
            prop_assert_eq!(changed.changed, next != entry);
            entry = next;
            for (version, pushed) in entry.versions.iter().chain(entry.gone.iter().map(|(version, gone)| (version, &gone.pushed))) {
                let first = digests.entry(version.clone()).or_insert_with(|| pushed.digest.clone());
                prop_assert_eq!(&*first, &pushed.digest);
            }
            prop_assert!(entry.pinned.iter().all(|pinned| entry.versions.contains_key(&pinned.version)));
            prop_assert!(entry.versions.keys().all(|version| !entry.gone.contains_key(version)));
            prop_assert_eq!(Entry::read(&entry.write().expect("JSON")), Ok(entry.clone()));
        }
    }

    #[test]
    fn whatever_is_in_the_bucket_is_read_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..200), json in ".{0,80}") {
        let _ = Entry::read(&value);
        let _ = Entry::read(format!("{{\"v\": 1,{json}}}").as_bytes());
    }
}
