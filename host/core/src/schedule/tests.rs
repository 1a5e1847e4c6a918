use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::time::Millis;

fn window(name: &str, zone: &str, start: &str, end: &str, conf: Value) -> Value {
    json!({"name": name, "time_zone": zone, "start": start, "end": end, "engine_conf": conf})
}

fn config(windows: Vec<Value>) -> DomainConfig {
    DomainConfig::from_json(json!({"engine_conf": {"n": 1, "site": "a"}, "schedule": windows})).expect("a good configuration")
}

fn one(zone: &str, start: &str, end: &str) -> DomainConfig {
    config(vec![window("it", zone, start, end, json!({"n": 2}))])
}

/// A moment in UTC.
fn at(text: &str) -> Timestamp {
    let moment: jiff::Timestamp = text.parse().expect("a moment");
    Timestamp::from_millis(moment.as_millisecond() as u64)
}

fn text(at: Timestamp) -> String {
    timetable::local(at, "UTC")
}

/// The next `count` changes: when, in UTC, and whether the only window begins.
fn changes(config: &DomainConfig, from: &str, count: usize) -> Vec<(String, bool)> {
    config.coming(at(from), count).iter().map(|switch| (text(switch.at), !switch.turn.began.is_empty())).collect()
}

fn told(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
    expected.iter().map(|(at, on)| ((*at).to_owned() + "+00:00", *on)).collect()
}

#[test]
fn a_window_is_on_from_the_millisecond_of_its_start_to_that_of_its_end() {
    let day = one("Europe/Vienna", "0 8 * * mon-fri", "0 18 * * mon-fri");
    let on = |text: &str| !day.windows_on(at(text)).is_empty();
    for (moment, is_on) in [
        ("2026-11-23T06:59:59.999Z", false),
        ("2026-11-23T07:00:00.000Z", true),
        ("2026-11-23T16:59:59.999Z", true),
        ("2026-11-23T17:00:00.000Z", false),
        ("2026-11-21T12:00:00Z", false),
    ] {
        assert_eq!(on(moment), is_on, "{moment}");
    }
}

#[test]
fn a_window_may_cross_midnight_and_the_week_end() {
    let quiet = one("Europe/Vienna", "0 20 * * fri", "0 6 * * mon");
    let expected = [("2026-11-20T19:00:00", true), ("2026-11-23T05:00:00", false), ("2026-11-27T19:00:00", true)];
    assert_eq!(changes(&quiet, "2026-11-19T00:00:00Z", 3), told(&expected));
    assert_eq!(quiet.windows_on(at("2026-11-22T00:00:00Z")).len(), 1, "on Sunday it is still on");
    let night = one("UTC", "30 23 * * *", "15 0 * * *");
    assert_eq!(changes(&night, "2026-12-31T23:30:00Z", 2), told(&[("2027-01-01T00:15:00", false), ("2027-01-01T23:30:00", true)]));
}

#[test]
fn a_start_in_the_hour_that_is_skipped_happens_when_the_clocks_go_forward() {
    // On 29 March 2026 clocks in Vienna go from 02:00 to 03:00, at 01:00 UTC.
    let night = one("Europe/Vienna", "30 2 * * *", "0 5 * * *");
    let expected =
        [("2026-03-28T01:30:00", true), ("2026-03-28T04:00:00", false), ("2026-03-29T01:00:00", true), ("2026-03-29T03:00:00", false)];
    assert_eq!(changes(&night, "2026-03-28T00:00:00Z", 4), told(&expected));
    let on = |text: &str| !night.windows_on(at(text)).is_empty();
    assert!(!on("2026-03-29T00:59:59.999Z") && on("2026-03-29T01:00:00Z") && on("2026-03-29T02:59:59.999Z"));
}

#[test]
fn a_window_that_lies_within_the_hour_that_is_skipped_does_not_come_that_day() {
    let short = one("Europe/Vienna", "10 2 * * *", "40 2 * * *");
    let expected = [("2026-03-28T01:10:00", true), ("2026-03-28T01:40:00", false), ("2026-03-30T00:10:00", true)];
    assert_eq!(changes(&short, "2026-03-28T00:00:00Z", 3), told(&expected));
    assert!(short.windows_on(at("2026-03-29T12:00:00Z")).is_empty(), "an end in the same moment wins");
}

#[test]
fn of_the_hour_that_comes_twice_the_first_one_counts() {
    // On 25 October 2026 clocks in Vienna go from 03:00 back to 02:00, at 01:00 UTC.
    let short = one("Europe/Vienna", "10 2 * * *", "40 2 * * *");
    let expected = [("2026-10-25T00:10:00", true), ("2026-10-25T00:40:00", false), ("2026-10-26T01:10:00", true)];
    assert_eq!(changes(&short, "2026-10-24T12:00:00Z", 3), told(&expected));
    let on = |text: &str| !short.windows_on(at(text)).is_empty();
    assert!(on("2026-10-25T00:30:00Z") && !on("2026-10-25T01:00:00Z") && !on("2026-10-25T01:30:00Z"), "02:30 for the second time");
    // One that ends after that hour lasts an hour longer.
    let long = one("Europe/Vienna", "0 1 * * *", "0 4 * * *");
    assert_eq!(changes(&long, "2026-10-24T22:00:00Z", 2), told(&[("2026-10-24T23:00:00", true), ("2026-10-25T03:00:00", false)]));
}

#[test]
fn clocks_that_go_the_other_way_round_or_by_half_an_hour_are_followed() {
    // Lord Howe: on 5 April 2026 at 02:00 half an hour back (15:00 UTC the day before), on 4 October at 02:00 half an hour forward.
    let short = one("Australia/Lord_Howe", "45 1 * * *", "15 2 * * *");
    let autumn = [("2026-04-04T14:45:00", true), ("2026-04-04T15:45:00", false)];
    assert_eq!(changes(&short, "2026-04-04T12:00:00Z", 2), told(&autumn), "01:45 the first time, and 02:15 comes once");
    let spring = [("2026-10-03T15:15:00", true), ("2026-10-03T15:30:00", false)];
    assert_eq!(changes(&short, "2026-10-03T12:00:00Z", 2), told(&spring), "02:15 is skipped");
}

#[test]
fn a_day_that_comes_every_four_years_is_waited_for() {
    let leap = one("UTC", "0 0 29 2 *", "0 0 1 3 *");
    assert_eq!(changes(&leap, "2026-11-21T00:00:00Z", 2), told(&[("2028-02-29T00:00:00", true), ("2028-03-01T00:00:00", false)]));
    assert!(check(&leap, at("2026-11-21T00:00:00Z"), |_| Vec::new()).is_empty());
}

#[test]
fn of_windows_that_overlap_the_later_one_wins_key_by_key() {
    let both = config(vec![
        window("day", "UTC", "0 8 * * *", "0 18 * * *", json!({"n": 5, "site": "b"})),
        window("rush", "UTC", "0 12 * * *", "0 14 * * *", json!({"n": 9, "extra": true})),
    ]);
    let conf = |text: &str| Value::Object(both.engine_conf_while(&both.windows_on(at(text))).into_owned());
    assert_eq!(conf("2026-11-21T07:00:00Z"), json!({"n": 1, "site": "a"}));
    assert_eq!(conf("2026-11-21T08:00:00Z"), json!({"n": 5, "site": "b"}));
    assert_eq!(conf("2026-11-21T12:00:00Z"), json!({"n": 9, "site": "b", "extra": true}));
    let coming: Vec<String> = both.coming(at("2026-11-21T11:00:00Z"), 3).iter().map(|switch| switch.turn.in_words()).collect();
    let expected = [
        "window rush began: extra nothing -> true, n 5 -> 9",
        "window rush ended: extra true -> nothing, n 9 -> 5",
        "window day ended: n 5 -> 1, site \"b\" -> \"a\"",
    ];
    assert_eq!(coming, expected);
}

#[test]
fn windows_that_take_turns_change_in_one_moment() {
    let two = config(vec![
        window("day", "Europe/Vienna", "0 8 * * *", "0 20 * * *", json!({"n": 5})),
        window("night", "UTC", "0 19 * * *", "0 7 * * *", json!({"n": 5})),
    ]);
    let coming = two.coming(at("2026-11-21T12:00:00Z"), 1);
    assert_eq!(coming[0].turn.in_words(), "window day ended, window night began: nothing changes for the engine");
    assert_eq!((coming[0].local.as_str(), coming[0].time_zone.as_str()), ("2026-11-21T19:00:00+00:00", "UTC"));
}

fn problems(windows: Value) -> Vec<String> {
    let found = DomainConfig::from_json(json!({"schedule": windows}));
    found.expect_err("something is wrong").iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_wrong_with_a_window_is_told_with_its_place() {
    let good = window("day", "Europe/Vienna", "0 8 * * *", "0 18 * * *", json!({"n": 2}));
    let with = |key: &str, value: Value| {
        let mut window = good.clone();
        window[key] = value;
        problems(json!([window]))
    };
    for (key, value, expected) in [
        ("name", json!("a b"), "/schedule/0/name: \"a b\" is not a name"),
        ("name", json!(3), "/schedule/0/name: expected a text, got 3"),
        ("time_zone", json!("Europe/Vienne"), "/schedule/0/time_zone: \"Europe/Vienne\" is no time zone"),
        ("time_zone", json!("../etc/passwd"), "/schedule/0/time_zone: "),
        ("time_zone", json!("Etc/Unknown"), "/schedule/0/time_zone: "),
        ("time_zone", json!(""), "/schedule/0/time_zone: "),
        ("start", json!("0 8 * *"), "/schedule/0/start: expected a cron pattern of five fields"),
        ("start", json!("0 0 8 * * *"), "/schedule/0/start: expected a cron pattern of five fields"),
        ("start", json!("@daily"), "/schedule/0/start: expected a cron pattern of five fields"),
        ("start", json!("60 8 * * *"), "/schedule/0/start: expected a cron pattern"),
        ("start", json!("0 8 * * moo"), "/schedule/0/start: expected a cron pattern"),
        ("start", json!("0 ８ * * *"), "/schedule/0/start: expected a cron pattern"),
        ("start", json!("0 8 30 2 *"), "/schedule/0/start: \"0 8 30 2 *\" never comes"),
        ("start", json!("0,".repeat(120) + "0 8 * * *"), "/schedule/0/start: expected at most 200 bytes"),
        ("end", json!("0 18 31 4,6,9,11 *"), "/schedule/0/end: \"0 18 31 4,6,9,11 *\" never comes"),
        ("end", json!(null), "/schedule/0/end: expected a text, got null"),
        ("engine_conf", json!([]), "/schedule/0/engine_conf: expected an object"),
        ("engine_conf", json!({}), "/schedule/0/engine_conf: expected at least one key"),
        ("colour/1", json!(1), "/schedule/0/colour~11: unknown key; expected name, time_zone, start, end, engine_conf"),
    ] {
        let found = with(key, value);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?} instead of {expected}");
    }
    assert_eq!(problems(json!({}))[0], "/schedule: expected a list of windows");
    assert!(problems(json!([3]))[0].starts_with("/schedule/0: expected a window with name, "));
    assert_eq!(problems(json!([{}])).len(), 5, "every key that is missing");
    assert_eq!(problems(json!([good, good])), ["/schedule/1/name: there is a window day before"]);
    let many: Vec<Value> = (0..33).map(|_| good.clone()).collect();
    assert_eq!(problems(json!(many)), ["/schedule: expected at most 32 windows, got 33"]);
}

#[test]
fn a_change_replaces_the_list_whole() {
    let old = one("UTC", "0 8 * * *", "0 18 * * *");
    let new = old.changed_by(&json!({"schedule": [window("other", "UTC", "0 1 * * *", "0 2 * * *", json!({"n": 4}))]})).expect("good");
    assert_eq!(new.schedule.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["other"]);
    assert!(new.changed_by(&json!({"schedule": []})).expect("good").schedule.is_empty());
    assert_eq!(old.changed_by(&json!({"engine_conf": {"n": 7}})).expect("good").schedule, old.schedule);
    assert_eq!(DomainConfig::from_json(old.to_json()), Ok(old));
}

/// Asks an engine that wants `n` at most 5, and an `n` of 4 only at site b.
fn judge(conf: &Map<String, Value>) -> Vec<ConfigProblem> {
    let n = conf["n"].as_u64().unwrap_or(0);
    let too_many = (n > 5).then(|| ConfigProblem::new("/engine_conf/n", "at most 5"));
    let elsewhere = (n == 4 && conf["site"] != "b").then(|| ConfigProblem::new("/engine_conf", "4 are for b only"));
    too_many.into_iter().chain(elsewhere).collect()
}

#[test]
fn the_engine_is_asked_about_every_set_of_windows_that_really_comes() {
    let now = at("2026-11-21T12:00:00Z");
    let three = config(vec![
        window("late", "UTC", "0 20 * * *", "0 22 * * *", json!({"n": 4, "site": "b"})),
        window("sunday", "Europe/Vienna", "0 0 * * sun", "0 0 * * mon", json!({"site": "c"})),
        window("many", "UTC", "0 1 * * *", "0 2 * * *", json!({"n": 7})),
    ]);
    let mut asked = Vec::new();
    let found = check(&three, now, |conf| {
        asked.push(Value::Object(conf.clone()));
        judge(conf)
    });
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    let expected = [
        "/schedule/2/engine_conf/n: at most 5 (while many is on, as at 2026-11-23T01:00:00+00:00)",
        "/schedule/1/engine_conf: 4 are for b only (while late and sunday are on, as at 2026-11-22T20:00:00+00:00)",
    ];
    let told_at_once = |whole: &str| told.iter().any(|it| it == whole);
    assert!(told.len() == 2 && expected.iter().all(|it| told_at_once(it)), "{told:#?}");
    assert_eq!(asked.len(), 6, "nothing, late, many, sunday, sunday with late, sunday with many: {asked:#?}");
}

#[test]
fn what_is_wrong_without_a_window_is_told_once_and_where_it_is() {
    let bad = DomainConfig::from_json(json!({
        "engine_conf": {"n": 9, "site": "a"},
        "schedule": [window("it", "UTC", "0 1 * * *", "0 2 * * *", json!({"site": "b"}))],
    }));
    let found = check(&bad.expect("the host finds nothing"), at("2026-11-21T12:00:00Z"), judge);
    assert_eq!(found, [ConfigProblem::new("/engine_conf/n", "at most 5")]);
}

#[test]
fn an_engine_that_cannot_judge_is_not_asked_about_every_set_of_windows() {
    let three = |n: u64| {
        let one =
            |name: &str, hour: u64| window(name, "UTC", &format!("0 {hour} * * *"), &format!("30 {hour} * * *"), json!({"n": n + hour}));
        config(vec![one("a", 1), one("b", 2), one("c", 3)])
    };
    for (place, from, expected) in [
        ("/general/engine", 1, "/general/engine: 1 is too much"),
        ("/general/engine", 2, "/general/engine: 2 is too much (while a is on, as at 2026-11-22T01:00:00+00:00)"),
        ("/schedule", 2, "/schedule: 2 is too much"),
    ] {
        let mut asked = Vec::new();
        let found = check(&three(1), at("2026-11-21T12:00:00Z"), |conf| {
            let n = conf["n"].as_u64().expect("a number");
            asked.push(n);
            (n >= from).then(|| ConfigProblem::new(place, format!("{n} is too much"))).into_iter().collect()
        });
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        assert_eq!(asked, (1..=from).collect::<Vec<_>>());
    }
}

#[test]
fn what_comes_once_in_28_years_is_not_taken_for_what_never_comes() {
    for day in ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] {
        let rare = one("UTC", &format!("0 0 29 2 +{day}"), "0 0 * * *");
        assert_eq!(rare.schedule.len(), 1, "29 February on {day}");
    }
}

#[test]
fn changes_are_not_looked_for_without_end() {
    let never_on = |place: usize| window(&format!("w{place}"), "UTC", "0 * * * *", "0 * * * *", json!({"n": 2}));
    let with = |day: &str| {
        let mut windows: Vec<Value> = (1..MAX_WINDOWS).map(never_on).collect();
        windows.push(window("it", "UTC", &format!("0 0 {day} *"), "30 4 31 12 *", json!({"n": 3})));
        config(windows).coming(at("2026-11-21T12:00:00Z"), 1).len()
    };
    assert_eq!((with("10 12"), with("24 1")), (1, 0), "some 800 hours, in each of which 31 windows are looked at");
}

#[test]
fn a_schedule_without_end_is_refused_before_it_is_followed() {
    let now = at("2026-11-21T12:00:00Z");
    let told = |config: &DomainConfig| check(config, now, |_| Vec::new()).iter().map(ToString::to_string).collect::<Vec<_>>();
    let restless = one("UTC", "*/2 * * * *", "1-59/2 * * * *");
    assert_eq!(told(&restless), ["/schedule: windows begin and end more than 25000 times within a year: more than any calendar needs"]);
    // Windows count each for itself, also where all of them begin in one moment: one every hour may be, two may not.
    let hourly = |name: &str| window(name, "UTC", "0 * * * *", "30 * * * *", json!({"n": 2}));
    assert_eq!(told(&config(vec![hourly("one")])), Vec::<String>::new());
    assert_eq!(told(&config(vec![hourly("one"), hourly("two")])), told(&restless));
    let daily = |place: usize| window(&format!("w{place}"), "UTC", &format!("0 {} * * *", place % 24), "30 23 * * *", json!({"n": 2}));
    assert_eq!(told(&config((0..MAX_WINDOWS).map(daily).collect())), Vec::<String>::new(), "as many windows as there may be, every day");
    let never = one("UTC", "0 8 * * mon", "0 8 * * *");
    assert_eq!(told(&never), ["/schedule/0/end: comes whenever start does, so the window is never on"]);
    // One window for each bit of the hour, and of the day of the week: every hour of a week has another set.
    let bit_of = |name: &str, bits: usize, values: usize, write: &dyn Fn(String) -> String| {
        let list = |bit: usize, rises: bool| {
            let is = |value: usize| (value % values) >> bit & 1 == 1;
            let turns = (0..values).filter(|value| is(*value) == rises && is(value + values - 1) != rises);
            write(turns.map(|value| value.to_string()).collect::<Vec<_>>().join(","))
        };
        let one = |bit| window(&format!("{name}{bit}"), "UTC", &list(bit, true), &list(bit, false), json!({"n": 2}));
        (0..bits).map(one).collect::<Vec<_>>()
    };
    let mut bits = bit_of("hour", 5, 24, &|hours| format!("0 {hours} * * *"));
    assert_eq!(told(&config(bits.clone())), Vec::<String>::new(), "24 sets");
    bits.extend(bit_of("day", 3, 7, &|days| format!("0 0 * * {days}")));
    assert_eq!(told(&config(bits)), ["/schedule: more than 64 different sets of windows are on within a year: let fewer of them overlap"]);
}

fn pattern() -> impl Strategy<Value = String> {
    let minute = prop_oneof![Just("0".to_owned()), (0..60_u8).prop_map(|n| n.to_string()), Just("*/20".to_owned())];
    let hour = prop_oneof![Just("*".to_owned()), (0..24_u8).prop_map(|n| n.to_string()), Just("1-3".to_owned())];
    let day = prop_oneof![3 => Just("* * *".to_owned()), 1 => Just("* * mon-fri".to_owned()), 1 => Just("L * *".to_owned()), 1 => Just("29 2,3,10 *".to_owned())];
    (minute, hour, day).prop_map(|(minute, hour, day)| format!("{minute} {hour} {day}"))
}

fn schedule() -> impl Strategy<Value = DomainConfig> {
    let zone = prop_oneof![Just("UTC"), Just("Europe/Vienna"), Just("America/New_York"), Just("Australia/Lord_Howe"), Just("Pacific/Apia")];
    let windows = prop::collection::vec((zone, pattern(), pattern(), 0..9_u8), 1..5);
    windows.prop_map(|windows| {
        let window = |(place, (zone, start, end, n)): (usize, (&str, String, String, u8))| {
            window(&format!("w{place}"), zone, &start, &end, json!({"n": n, format!("k{place}"): n}))
        };
        config(windows.into_iter().enumerate().map(window).collect())
    })
}

/// Around both changes of clocks of 2026, and in between.
fn moment() -> impl Strategy<Value = Timestamp> {
    let near = |text: &str| {
        let middle = at(text).as_millis();
        (middle - 2 * 86_400_000..middle + 2 * 86_400_000).prop_map(Timestamp::from_millis)
    };
    prop_oneof![near("2026-03-29T01:00:00Z"), near("2026-10-25T01:00:00Z"), near("2026-04-04T15:00:00Z"), near("2028-02-29T00:00:00Z")]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// The moments that are foretold are exactly those at which another set of windows is on.
    #[test]
    fn between_two_changes_that_are_foretold_nothing_changes(config in schedule(), from in moment()) {
        let mut on = config.windows_on(from);
        let mut since = from;
        for switch in config.coming(from, 12) {
            prop_assert!(switch.at > since);
            for length in [1, switch.at.since(since).get() / 2, switch.at.since(since).get() - 1] {
                prop_assert_eq!(&config.windows_on(since + Millis::new(length.min(switch.at.since(since).get() - 1))), &on);
            }
            let after = config.windows_on(switch.at);
            let began: Vec<_> = after.iter().filter(|name| !on.contains(name)).cloned().collect();
            prop_assert_eq!(&switch.turn.began, &began);
            prop_assert_ne!(&after, &on);
            (on, since) = (after, switch.at);
        }
    }

    #[test]
    fn the_next_moment_lies_ahead_and_nothing_changes_before(config in schedule(), from in moment(), share in 0.0..1.0) {
        let timetable = Timetable::of(&config.schedule);
        let next = timetable.next(from);
        if let Some(next) = next {
            prop_assert!(next > from);
            let between = from + Millis::new((next.since(from).get() as f64 * share) as u64);
            if between < next {
                prop_assert_eq!(timetable.on(between), timetable.on(from));
                prop_assert_eq!(timetable.next(between), Some(next));
            }
        }
    }

    #[test]
    fn what_is_in_effect_is_the_fold_of_the_windows_that_are_on(config in schedule(), now in moment()) {
        let on = config.windows_on(now);
        let effective = config.engine_conf_while(&on);
        let mut keys: BTreeSet<&String> = config.engine_conf.keys().collect();
        keys.extend(config.schedule.iter().flat_map(|window| window.engine_conf.keys()));
        for key in keys {
            let brings = |window: &&Window| on.contains(&window.name) && window.engine_conf.contains_key(key);
            let last = config.schedule.iter().rfind(brings);
            prop_assert_eq!(effective.get(key), last.map_or_else(|| config.engine_conf.get(key), |window| window.engine_conf.get(key)));
        }
    }

    /// Whatever somebody writes, it is refused in words or can be followed.
    #[test]
    fn nothing_that_is_written_as_a_pattern_makes_it_panic(start in "[0-9a-zA-Z*,/#?+ -]{0,30}|([0-9*/,L#W?+-]{1,4} ){4}[0-9*/,L#W?+a-z-]{1,5}", zone in "[A-Za-z/_+0-9-]{0,20}|Europe/Vienna", now in any::<u64>()) {
        let text = json!({"schedule": [window("it", &zone, &start, "0 0 * * *", json!({"n": 1}))]});
        if let Ok(config) = DomainConfig::from_json(text) {
            for moment in [Timestamp::from_millis(now), at("2026-10-25T00:30:00Z")] {
                let _ = (config.windows_on(moment), config.coming(moment, 2));
            }
        }
    }
}
