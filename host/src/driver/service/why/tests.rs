use pilothouse_core::config::DomainConfig;
use pilothouse_core::explain::{DecisionList, DomainStory, Explanation, Hold};
use pilothouse_core::record::{Change, Decision, EngineInForce};

use super::*;
use crate::driver::service::writer::Writer;

impl Writer {
    async fn ask(&self, at: Option<u64>, last: Option<u32>) -> Result<Explanation, ApiError> {
        let ask = Ask { domain: "web".to_owned(), instance: None, at: at.map(Timestamp::from_secs), last };
        explain_past(&self.journal, self.state.clone(), ask).await.map(|answer| serde_json::from_value(answer).expect("a story"))
    }

    async fn at(&self, at: u64) -> DomainStory {
        match self.ask(Some(at), None).await {
            Ok(Explanation::Domain(story)) => *story,
            other => panic!("no story: {other:?}"),
        }
    }

    async fn last(&self, at: Option<u64>, last: u32) -> DecisionList {
        match self.ask(at, Some(last)).await {
            Ok(Explanation::Decisions(list)) => *list,
            other => panic!("no list: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_moment_is_told_as_it_was_then_however_far_back() {
    let mut writer = Writer::new().await;
    writer.change(Change::Paused(true)).await;
    writer.change(Change::Paused(false)).await;
    writer.decide(3200).await;
    // Paused at 1002, resumed at 1003; from 1004 on a decision a second, and five hundred records later a snapshot.
    let story = writer.at(1002).await;
    assert!(story.past && story.paused && matches!(story.holds[..], [Hold::Paused { .. }]), "{story:?}");
    assert_eq!(story.next.map(|next| next.at), Some(Timestamp::from_secs(1004)));
    for at in [1004, 1500, 1504, 1505, 2700, 4100] {
        let story = writer.at(at).await;
        // There is no decision in the second of a snapshot.
        let newest = story.decisions[0].at;
        assert!(!story.paused && newest <= Timestamp::from_secs(at) && newest.as_secs_f64() >= at as f64 - 1.0, "{at}: {newest:?}");
        assert_eq!(story.reason, format!("decision at {}", newest.as_secs_f64()), "the state is of that moment, too");
    }
}

#[tokio::test]
async fn the_newest_decisions_are_listed_over_as_many_pages_as_it_takes() {
    let mut writer = Writer::new().await;
    assert!(writer.last(None, 3).await.decisions.is_empty());
    writer.decide(5).await;
    for _ in 0..1200 {
        writer.change(Change::BrakeReleased).await;
    }
    let list = writer.last(None, 3).await;
    assert_eq!(list.decisions.iter().map(|line| line.at.as_secs_f64()).collect::<Vec<_>>(), [1006.0, 1005.0, 1004.0]);
    assert!(!list.is_all && writer.last(None, 5).await.is_all);
    let then = writer.last(Some(1004), 9).await;
    assert_eq!((then.decisions.len(), then.is_all), (3, true), "those by then");
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused_with_what_would() {
    let mut writer = Writer::new().await;
    writer.decide(3).await;
    let refused = writer.ask(Some(1000), None).await.expect_err("before the beginning");
    assert!(refused.to_string().contains("the journal begins at 1970-01-01 00:16:41Z"), "{refused}");
    for last in [0, Ask::MAX_LAST + 1, u32::MAX] {
        assert_eq!(writer.ask(None, Some(last)).await.expect_err("out of range").kind(), "invalid");
    }
    let both = Ask { domain: "web".to_owned(), instance: Some("0".to_owned()), at: None, last: Some(1) };
    assert_eq!(explain_past(&writer.journal, writer.state.clone(), both).await.expect_err("both").kind(), "invalid");
}

#[tokio::test]
async fn a_domain_that_was_not_there_then_is_not_found() {
    let mut writer = Writer::new().await;
    writer.write(Event::Removed).await;
    writer.change(Change::BrakeReleased).await;
    writer.change(Change::Added { config: DomainConfig::default(), engine: EngineInForce::default() }).await;
    let gone = writer.ask(Some(1003), None).await.expect_err("it was removed");
    assert!(gone.kind() == "not_found" && gone.to_string().contains("as of 1970-01-01 00:16:43Z"), "{gone}");
    assert_eq!(writer.at(1004).await.changes.len(), 1, "what was before is another domain's story");
}

#[tokio::test]
async fn an_unknown_instance_is_answered_with_those_that_are_known() {
    let mut writer = Writer::new().await;
    let ask = async |writer: &Writer, which: &str| {
        let (now, eyes) = (Timestamp::from_secs(writer.at), Eyes::default());
        let asked =
            explain_now(&writer.journal, Arc::new(writer.state.clone()), Beside { eyes, ..Beside::default() }, now, Some(which.to_owned()));
        asked.await.expect_err("nobody knows it").to_string()
    };
    assert_eq!(ask(&writer, "0").await, "instance 0 of domain web, which has launched none so far: not found");
    let launch = pilothouse_core::record::DecidedLaunch {
        launch: "l1".parse().expect("an id"),
        deployable_type: "worker".to_owned(),
        site: "local".to_owned(),
        allocation: "small".to_owned(),
        extra_vars: vec![],
        replaces: None,
        asked: 2,
        instances: ["i1", "i2"].map(|id| id.parse().expect("an id")).to_vec(),
        refused: None,
        rulings: vec![],
    };
    writer.write(Event::Decided(Box::new(Decision { launches: vec![launch], ..Decision::default() }))).await;
    assert_eq!(ask(&writer, "web/9").await, "instance web/9 of domain web, which has launched web/0 to web/1 so far: not found");
    assert!(ask(&writer, &"x".repeat(5000)).await.len() < 200, "whatever is asked, the answer fits its headers");
}

#[tokio::test]
async fn no_answer_takes_more_of_the_journal_than_there_is_room_for() {
    let mut writer = Writer::new().await;
    writer.decide(1200).await;
    let read = async |records: usize, bytes: usize| {
        let mut back = Back { bytes_left: bytes, ..Back::new(&writer.journal, &writer.state.key, records) };
        let mut sequences = Vec::new();
        while let Some(piece) = back.piece().await.expect("a journal") {
            sequences.extend(piece.into_iter().map(|(sequence, _)| sequence));
        }
        assert!(sequences.is_sorted_by(|a, b| a > b) && sequences[0] == writer.state.sequence, "newest first");
        (sequences.len(), back.is_all)
    };
    // One was added, and there are two snapshots.
    assert_eq!(read(MAX_RECORDS, MAX_BYTES).await, (1203, true));
    assert_eq!(read(1202, MAX_BYTES).await, (1202, false));
    assert_eq!(read(501, MAX_BYTES).await, (501, false), "over two pieces");
    assert_eq!(read(MAX_RECORDS, 1).await, (1, false), "one must be read to know its size");
    let (some, is_all) = read(MAX_RECORDS, 60_000).await;
    assert!((100..1000).contains(&some) && !is_all, "{some}");
}
