//! Faults in an order that no real server produces on demand, against the protocol that settles appends.

use anyhow::{Result, ensure};
use pilothouse::store::{Appended, Fault, Journal, MemoryJournal, Tip};

use crate::pen::{Pen, words};

/// One append, with these faults befalling its messages: what became of it, and what is in the journal then.
async fn append_through(faults: impl IntoIterator<Item = Fault>) -> Result<(Appended, Vec<String>, u64)> {
    let journal = MemoryJournal::default();
    journal.inject(faults);
    let mut pen = Pen::fresh(&journal, "ann/web");
    let appended = pen.attempt("mine").await?;
    let counts = journal.health().counts();
    ensure!(counts.unsettled == 0, "it is settled");
    Ok((appended, words(&pen.load().await?), counts.repeats))
}

fn is_first(appended: &Appended) -> bool {
    *appended == Appended::Committed { tip: Tip { sequence: 1, snapshot: 0 } }
}

fn took() -> Fault {
    Fault::Overtaken("took".into())
}

#[tokio::test]
async fn a_message_that_is_lost_is_sent_again() -> Result<()> {
    let (appended, records, repeats) = append_through(vec![Fault::MessageLost; 5]).await?;
    ensure!(is_first(&appended) && records == ["mine"] && repeats == 5);
    Ok(())
}

#[tokio::test]
async fn an_append_that_landed_stays_committed_when_somebody_follows() -> Result<()> {
    let (appended, records, _) = append_through([Fault::AckLost, took()]).await?;
    ensure!(is_first(&appended) && records == ["mine", "took"]);
    Ok(())
}

#[tokio::test]
async fn an_append_that_was_lost_is_fenced_when_somebody_comes_first() -> Result<()> {
    let (appended, records, _) = append_through([Fault::MessageLost, took()]).await?;
    ensure!(matches!(appended, Appended::Fenced { by } if by.sequence == 1) && records == ["took"]);
    Ok(())
}

#[tokio::test]
async fn a_refusal_without_a_record_that_explains_it_is_no_answer() -> Result<()> {
    let (appended, records, _) = append_through([Fault::RefusedForNow, Fault::RefusedForNow]).await?;
    ensure!(is_first(&appended) && records == ["mine"]);
    let (appended, records, _) = append_through([Fault::RefusedForNow, took()]).await?;
    ensure!(matches!(appended, Appended::Fenced { .. }) && records == ["took"]);
    let (appended, ..) = append_through([Fault::RefusedForNow, Fault::Full]).await?;
    ensure!(matches!(appended, Appended::Full { .. }), "what was answered is not on its way");
    Ok(())
}

#[tokio::test]
async fn a_full_journal_is_a_plain_answer_to_the_first_message() -> Result<()> {
    let (appended, records, repeats) = append_through([Fault::Full]).await?;
    ensure!(matches!(appended, Appended::Full { .. }) && records.is_empty() && repeats == 0);
    Ok(())
}

#[tokio::test]
async fn a_full_journal_says_nothing_about_an_earlier_message() -> Result<()> {
    let (appended, records, _) = append_through([Fault::AckLost, Fault::Full]).await?;
    ensure!(is_first(&appended) && records == ["mine"], "it had landed");
    let (appended, records, repeats) = append_through([Fault::MessageLost, Fault::Full, Fault::Full]).await?;
    ensure!(is_first(&appended) && records == ["mine"] && repeats == 3, "it might have landed still");
    let (appended, records, _) = append_through([Fault::MessageLost, Fault::Full, took()]).await?;
    ensure!(matches!(appended, Appended::Fenced { .. }) && records == ["took"]);
    Ok(())
}
