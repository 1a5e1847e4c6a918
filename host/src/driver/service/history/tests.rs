use pilothouse_core::config::DomainConfig;
use pilothouse_core::cycle::FaultKind;
use pilothouse_core::engine::{Compared, Difference, EngineHeld, HoldReason, Requested, SwapReason, Swapped, Tally, Where};
use pilothouse_core::instance::State;
use pilothouse_core::record::{Decision, EngineInForce, Reported};

use super::*;
use crate::driver::service::why::MAX_RECORDS;
use crate::driver::service::writer::Writer;

impl Writer {
    async fn report(&mut self, id: &str, state: State) {
        let id = id.parse().expect("an id");
        let state = Some(state);
        self.write(Event::Reported(Reported {
            id,
            state,
            update_counter: None,
            attributes: Default::default(),
            reason: None,
            undead: None,
        }))
        .await;
    }

    async fn ask_history(&self, request: HistoryOf) -> Result<History, ApiError> {
        let request = HistoryOf { domain: "web".to_owned(), ..request };
        tell(&self.journal, &self.state.key, Asked::parse(&request)?).await
    }

    async fn told(&self, request: HistoryOf) -> (Vec<String>, bool) {
        let history = self.ask_history(request).await.expect("a history");
        let line = |it: &Happening| match &it.what {
            Happened::Configured { change, .. } => change.clone(),
            Happened::Instance { ordinal, state, .. } => format!("{ordinal} {state}"),
            Happened::Decided { reason, launches: 0, .. } => reason.clone(),
            Happened::Decided { launches, .. } => format!("launching {launches}"),
            other => format!("{other:?}").split(' ').next().unwrap_or_default().to_owned(),
        };
        (history.happenings.iter().map(line).collect(), history.more)
    }
}

fn span(since: impl Into<Option<u64>>, until: impl Into<Option<u64>>) -> HistoryOf {
    HistoryOf { since: since.into().map(Timestamp::from_secs), until: until.into().map(Timestamp::from_secs), ..HistoryOf::default() }
}

fn last(limit: u32) -> HistoryOf {
    HistoryOf { limit: Some(limit), ..HistoryOf::default() }
}

fn of(instance: &str) -> HistoryOf {
    HistoryOf { instance: Some(instance.to_owned()), ..HistoryOf::default() }
}

#[tokio::test]
async fn what_happened_is_told_oldest_first_and_the_newest_of_too_much() {
    let mut writer = Writer::new().await;
    writer.change(Change::Paused(true)).await;
    writer.change(Change::Paused(false)).await;
    let added = "added, decided by simplest 0.1.0".to_owned();
    assert_eq!(writer.told(last(9)).await, (vec![added.clone(), "paused".to_owned(), "resumed".to_owned()], false));
    assert_eq!(writer.told(last(3)).await, (vec![added, "paused".to_owned(), "resumed".to_owned()], false));
    assert_eq!(writer.told(last(2)).await, (vec!["paused".to_owned(), "resumed".to_owned()], true));
}

#[tokio::test]
async fn a_span_of_time_is_told_with_both_its_ends_however_far_back() {
    let mut writer = Writer::new().await;
    // From 1002 on a decision a second; 1502, 2003 and so on are snapshots, of which nothing is told.
    writer.decide(3200).await;
    let decisions = |seconds: &[u64]| seconds.iter().map(|at| format!("decision at {at}")).collect::<Vec<_>>();
    assert_eq!(writer.told(span(1500, 1504)).await, (decisions(&[1500, 1501, 1503, 1504]), false));
    assert_eq!(writer.told(span(None, 1003)).await.0[1..], decisions(&[1002, 1003]));
    assert_eq!(writer.told(span(4205, None)).await, (decisions(&[4205, 4206, 4207]), false), "to the end");
    assert_eq!(writer.told(span(9000, None)).await, (vec![], false), "nothing yet");
    let (told, more) = writer.told(HistoryOf { limit: Some(2), ..span(1500, 1504) }).await;
    assert_eq!((told, more), (decisions(&[1503, 1504]), true));
}

#[tokio::test]
async fn an_answer_of_a_thousand_spans_pieces_and_pages_without_a_gap() {
    let mut writer = Writer::new().await;
    writer.decide(2600).await;
    let history = writer.ask_history(last(1000)).await.expect("a history");
    assert!(history.more && history.happenings.len() == 1000);
    let snapshots = history.happenings.windows(2).filter(|two| two[1].at.since(two[0].at).get() == 2000).count();
    let in_step = history.happenings.windows(2).filter(|two| two[1].at.since(two[0].at).get() == 1000).count();
    assert_eq!((snapshots + in_step, snapshots >= 1), (999, true), "a record a second, but for the snapshots");
    assert_eq!(history.happenings[999].at, writer.state.now);
}

#[tokio::test]
async fn only_what_concerns_one_instance_is_told_by_id_and_by_number() {
    let mut writer = Writer::new().await;
    writer.launch("l1", &["i-a", "i-b"]).await;
    writer.report("i-a", State::Running).await;
    writer.report("i-b", State::Failed).await;
    writer.change(Change::Paused(true)).await;
    let killed = Change::Killed { id: "i-a".parse().expect("an id"), reason: "tired".to_owned() };
    let protected = Change::Protected { id: "i-b".parse().expect("an id"), on: true };
    writer.change(killed.clone()).await;
    writer.change(protected.clone()).await;
    let expected = ["0 REQUESTING", "0 RUNNING", &killed.in_words(), "0 TERMINATING"].map(str::to_owned).to_vec();
    for instance in ["i-a", "0", "web/0"] {
        assert_eq!(writer.told(of(instance)).await, (expected.clone(), false), "{instance}");
    }
    assert_eq!(writer.told(of("1")).await.0, ["1 REQUESTING", "1 FAILED", &protected.in_words()]);
    assert_eq!(writer.told(of("7")).await, (vec![], false));
    for wrong in ["", "web/x", "a.b", "other/0"] {
        let refused = writer.ask_history(of(wrong)).await.expect_err("it names nothing");
        assert!(matches!(&refused, ApiError::Invalid { problems } if problems[0].at == "/instance"), "{wrong}: {refused}");
    }
}

#[tokio::test]
async fn a_domain_that_is_gone_and_the_one_after_it_are_both_told() {
    let mut writer = Writer::new().await;
    writer.launch("l1", &["i-a"]).await;
    writer.write(Event::Removed).await;
    writer.write(Event::Took { host: "a".parse().expect("a name") }).await;
    assert_eq!(writer.told(last(9)).await.0.last().map(String::as_str), Some("Removed"), "a name that is only taken is nothing new");
    writer.change(Change::Added { config: DomainConfig::default(), engine: EngineInForce::default() }).await;
    writer.launch("l2", &["i-b"]).await;
    assert_eq!(writer.told(of("0")).await.0, ["0 REQUESTING", "0 REQUESTING"], "both had a first one");
    let all = writer.told(last(9)).await.0;
    assert_eq!(all.iter().filter(|it| it.starts_with("added")).count(), 2, "{all:?}");
}

#[tokio::test]
async fn a_domain_that_never_was_is_not_found() {
    let writer = Writer::new().await;
    let ask = || Asked::parse(&last(5)).expect("good");
    let key = |name: &str| DomainKey { owner: "ann".parse().expect("a name"), name: name.parse().expect("a name") };
    assert_eq!(tell(&writer.journal, &key("other"), ask()).await.expect_err("there is none").kind(), "not_found");
    assert!(tell(&writer.journal, &DomainKey { owner: "bob".parse().expect("a name"), ..key("web") }, ask()).await.is_err(), "hers alone");
    assert!(tell(&writer.journal, &key("web"), ask()).await.is_ok());
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused_with_the_key() {
    let writer = Writer::new().await;
    for (request, at) in [(last(0), "/limit"), (last(MAX_LIMIT + 1), "/limit"), (span(5, 4), "/since")] {
        let refused = writer.ask_history(request).await.expect_err("no sense");
        assert!(matches!(&refused, ApiError::Invalid { problems } if problems[0].at == at), "{refused}");
    }
}

#[tokio::test]
async fn only_so_much_of_the_journal_is_looked_through_and_that_is_said() {
    let mut writer = Writer::new().await;
    writer.decide(MAX_RECORDS as u32 + 600).await;
    let refused = writer.ask_history(span(None, 1003)).await.expect_err("too far back");
    assert!(matches!(&refused, ApiError::Invalid { problems } if problems[0].at == "/until"), "{refused}");
    let told = writer.ask_history(HistoryOf { instance: Some("0".to_owned()), ..HistoryOf::default() }).await.expect("what there is");
    assert!(told.happenings.is_empty() && told.more, "perhaps there was something before");
}

#[tokio::test]
async fn an_answer_fits_a_message_and_the_newest_count_most() {
    let mut writer = Writer::new().await;
    for n in 0..900 {
        let reason = format!("{n}{}", "x".repeat(2000));
        writer.write(Event::Decided(Box::new(Decision { reason, ..Decision::default() }))).await;
    }
    let history = writer.ask_history(last(900)).await.expect("a history");
    let length = serde_json::to_vec(&history).expect("JSON").len();
    assert!(history.more && length < 1 << 20 && length > 800 * 1024, "{length}");
    assert!(matches!(&history.happenings.last().expect("some").what, Happened::Decided { reason, .. } if reason.starts_with("899x")));
}

#[tokio::test]
async fn what_became_of_the_engine_is_told_with_its_time() {
    let mut writer = Writer::new().await;
    let engine = |version: &str| EngineInForce { name: "simplest".to_owned(), version: version.to_owned(), digest: version.to_owned() };
    writer.write(Event::Swapped(Swapped { engine: engine("0.2.0"), why: SwapReason::Followed, reference: None })).await;
    let why = HoldReason::Failed { kind: FaultKind::Trap, faults: 3 };
    writer.write(Event::Held(EngineHeld { engine: engine("0.2.0"), why })).await;
    let compared = |writer: &Writer, differs: bool| {
        let at = Timestamp::from_secs(writer.at + 1);
        let last = Difference { at, places: vec![Where::Launches], words: "it would launch 3, the engine in force 0".to_owned() };
        let tally = Tally { compared: 9, differed: 1, failed: 0, last: differs.then_some(last) };
        let requested = differs.then(Requested::default);
        Event::Compared(Box::new(Compared { engine: engine("0.3.0"), based_on: 1, tally, requested }))
    };
    let differs = compared(&writer, true);
    writer.write(differs).await;
    // How often they agreed is no news.
    let agrees = compared(&writer, false);
    writer.write(agrees).await;
    let history = writer.ask_history(last(9)).await.expect("a history");
    let told: Vec<_> = history.happenings.iter().map(|it| (it.at, crate::output::happening::line(it))).collect();
    let line = |secs, text: &str| (Timestamp::from_secs(secs), format!("web: {text}"));
    assert_eq!(
        told[1..],
        [
            line(1002, "decided by simplest 0.2.0 from now on, which is newer"),
            line(1003, "HELD: simplest 0.2.0 failed 3 times in a row, last with trap, and there is no version to go back to"),
            line(1004, "its shadow simplest 0.3.0 differs: it would launch 3, the engine in force 0"),
        ]
    );
}
