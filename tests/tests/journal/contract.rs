//! The contract, rule by rule. It knows nothing of servers.

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use pilothouse::store::{Appended, Journal, JournalError, MAX_RECORD, Scope, Tip};

use crate::fixture::Fixture;
use crate::pen::{Pen, key, words};

pub(crate) async fn a_domain_that_was_never_written_expects_nothing(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer().await?;
    let mut pen = Pen::fresh(&journal, "ann/web");
    ensure!(journal.last(&pen.key).await?.is_none());
    ensure!(pen.load().await?.is_empty());
    ensure!(journal.load(&Scope::All).await?.domains.is_empty());
    ensure!(journal.history(&pen.key, None, 10).await?.is_empty());
    ensure!(journal.purge_below(&pen.key, 0).await? == 0);

    let first = pen.write("first").await?;
    let second = pen.write("second").await?;
    ensure!(second > first);
    let entries = pen.load().await?;
    ensure!(words(&entries) == ["first", "second"]);
    ensure!(entries.iter().map(|entry| entry.sequence).eq([first, second]));
    ensure!(entries[0].id != entries[1].id);
    ensure!(entries[0].time <= entries[1].time && entries[0].time.as_millis() > 0);
    ensure!(journal.last(&pen.key).await?.as_ref() == entries.last());
    ensure!(journal.health().counts().committed == 2);
    Ok(())
}

pub(crate) async fn an_append_that_does_not_follow_the_newest_record_is_fenced(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer().await?;
    let mut pen = Pen::fresh(&journal, "ann/web");
    let first = pen.write("first").await?;
    let second = pen.write("second").await?;
    for (stale, next) in [(0, first), (first, second)] {
        pen.tip.sequence = stale;
        ensure!(pen.is_fenced("stale").await?.sequence == next, "the one who came first is named");
    }
    ensure!(words(&pen.load().await?) == ["first", "second"]);
    ensure!(journal.health().counts().fenced == 2);
    Ok(())
}

pub(crate) async fn an_append_whose_acknowledgement_is_lost_is_committed_once(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer_that_loses_an_acknowledgement().await?;
    let mut unsettled = journal.health().unsettled();
    let mut pen = Pen::fresh(&journal, "ann/web");
    let first = pen.write("first").await?;
    ensure!(journal.health().counts().repeats > 0, "nothing was lost");
    ensure!(unsettled.has_changed()? && *unsettled.borrow_and_update() == 0, "the doubt was shown, and is over");
    let second = pen.write("second").await?;

    let entries = pen.load().await?;
    ensure!(words(&entries) == ["first", "second"]);
    ensure!(entries.iter().map(|entry| entry.sequence).eq([first, second]), "committed where it is");
    Ok(())
}

pub(crate) async fn a_foreign_record_fences_the_writer_that_wrote_before(fixture: &impl Fixture) -> Result<()> {
    let (old, new) = (fixture.writer().await?, fixture.writer().await?);
    let mut before = Pen::fresh(&old, "ann/web");
    before.write("one").await?;
    let mut after = Pen::loaded(&new, "ann/web").await?;
    let took = after.write("took").await?;

    let by = before.is_fenced("two").await?;
    ensure!(by.sequence == took);
    ensure!(old.last(&before.key).await?.is_some_and(|last| last.id == by.id));
    ensure!(before.is_fenced("two, again").await? == by, "a fence stays");
    after.write("three").await?;
    ensure!(words(&after.load().await?) == ["one", "took", "three"]);
    Ok(())
}

pub(crate) async fn a_foreign_record_fences_a_writer_that_never_wrote(fixture: &impl Fixture) -> Result<()> {
    let (idle, new) = (fixture.writer().await?, fixture.writer().await?);
    let mut fresh = Pen::fresh(&idle, "ann/web");
    let mut owner = Pen::fresh(&new, "ann/web");
    let took = owner.write("took").await?;
    ensure!(fresh.is_fenced("mine").await?.sequence == took);

    // One that loaded, and was idle since.
    let mut loaded = Pen::loaded(&idle, "ann/web").await?;
    let next = owner.write("next").await?;
    ensure!(loaded.is_fenced("mine").await?.sequence == next);
    ensure!(words(&owner.load().await?) == ["took", "next"]);
    Ok(())
}

pub(crate) async fn of_two_racing_writers_one_wins_every_round(fixture: &impl Fixture) -> Result<()> {
    const ROUNDS: usize = 50;
    let (one, two) = (fixture.writer().await?, fixture.writer().await?);
    let mut pens = [Pen::fresh(&one, "ann/web"), Pen::fresh(&two, "ann/web")];
    for round in 0..ROUNDS {
        let [left, right] = &mut pens;
        let results = tokio::try_join!(left.attempt(format!("left {round}")), right.attempt(format!("right {round}")))?;
        let won = match results {
            (Appended::Committed { tip }, Appended::Fenced { by }) | (Appended::Fenced { by }, Appended::Committed { tip }) => {
                ensure!(by.sequence == tip.sequence);
                tip
            }
            other => anyhow::bail!("round {round}: {other:?}"),
        };
        pens.iter_mut().for_each(|pen| pen.tip = won);
    }
    ensure!(pens[0].load().await?.len() == ROUNDS);
    Ok(())
}

pub(crate) async fn one_domain_has_one_append_in_flight(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer_that_loses_an_acknowledgement().await?;
    let (mut pen, mut hasty) = (Pen::fresh(&journal, "ann/web"), Pen::fresh(&journal, "ann/web"));
    let (written, refused) = tokio::join!(pen.write("one"), hasty.attempt("two"));
    written?;
    ensure!(refused.is_err_and(|error| matches!(error.downcast_ref(), Some(JournalError::Busy { .. }))));
    pen.write("two").await?;
    Ok(())
}

pub(crate) async fn a_journal_that_lost_its_end_is_not_mistaken_for_a_fence(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer().await?;
    let mut pen = Pen::fresh(&journal, "ann/web");
    pen.tip.sequence = pen.write("one").await? + 7;
    let lost = pen.attempt("two").await;
    ensure!(lost.is_err_and(|error| matches!(error.downcast_ref(), Some(JournalError::Lost { .. }))));
    ensure!(words(&pen.load().await?) == ["one"]);
    Ok(())
}

pub(crate) async fn a_load_begins_at_the_newest_snapshot(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer().await?;
    let (mut pen, mut other) = (Pen::fresh(&journal, "ann/web"), Pen::fresh(&journal, "bob/web"));
    for word in ["one", "two"] {
        pen.write(word).await?;
        other.write(word).await?;
    }
    pen.write_snapshot("first snapshot").await?;
    ensure!(words(&pen.load().await?) == ["first snapshot"]);
    pen.write("three").await?;
    let snapshot = pen.write_snapshot("second snapshot").await?;
    let four = pen.write("four").await?;

    let entries = pen.load().await?;
    ensure!(words(&entries) == ["second snapshot", "four"]);
    ensure!(entries[0].is_snapshot() && !entries[1].is_snapshot());
    ensure!(entries[1].tip() == Tip { sequence: four, snapshot } && pen.tip == entries[1].tip());

    // Together with others, it is the same.
    for scope in [Scope::All, Scope::Slot(pen.key.slot(256))] {
        let mut loaded = journal.load(&scope).await?;
        ensure!(loaded.damaged.is_empty());
        ensure!(loaded.take(&pen.key)? == entries);
        ensure!(scope != Scope::All || words(&loaded.take(&other.key)?) == ["one", "two"]);
    }
    Ok(())
}

pub(crate) async fn a_purge_keeps_the_fence(fixture: &impl Fixture) -> Result<()> {
    let (journal, stale) = (fixture.writer().await?, fixture.writer().await?);
    let mut pen = Pen::fresh(&journal, "ann/web");
    let first = pen.write("one").await?;
    pen.write("two").await?;
    let mut other = Pen::fresh(&journal, "ann/other");
    other.write("untouched").await?;
    let snapshot = pen.write_snapshot("snapshot").await?;
    ensure!(journal.purge_below(&pen.key, snapshot).await? == 2);
    ensure!(journal.purge_below(&pen.key, snapshot).await? == 0, "done before");

    // Only the snapshot is left, and what is expected is still its sequence.
    ensure!(words(&journal.history(&pen.key, None, 10).await?) == ["snapshot"]);
    let mut never_wrote = Pen::fresh(&stale, "ann/web");
    ensure!(never_wrote.is_fenced("mine").await?.sequence == snapshot);
    let mut wrote_before = Pen::fresh(&stale, "ann/web");
    wrote_before.tip.sequence = first;
    ensure!(wrote_before.is_fenced("mine").await?.sequence == snapshot);
    pen.write("three").await?;
    ensure!(words(&pen.load().await?) == ["snapshot", "three"]);
    ensure!(words(&other.load().await?) == ["untouched"]);
    Ok(())
}

pub(crate) async fn a_purge_leaves_the_newest_snapshot_whatever_is_asked(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer().await?;
    let mut pen = Pen::fresh(&journal, "ann/web");
    let web = pen.key.clone();
    let refused = async |below: u64, snapshot: u64| match journal.purge_below(&web, below).await {
        Err(JournalError::PurgeTooFar { sequence, newest, .. }) => sequence == below && newest == snapshot,
        _ => false,
    };
    let one = pen.write("one").await?;
    ensure!(refused(one, 0).await, "there is no snapshot yet");
    let older = pen.write_snapshot("older").await?;
    let newer = pen.write_snapshot("newer").await?;
    ensure!(refused(newer + 1, newer).await);
    ensure!(refused(u64::MAX, newer).await);
    let last = pen.write("two").await?;
    ensure!(refused(last, newer).await);

    // An older snapshot may be kept for longer.
    ensure!(journal.purge_below(&pen.key, older).await? == 1);
    ensure!(words(&journal.history(&pen.key, None, 10).await?) == ["two", "newer", "older"]);
    ensure!(journal.purge_below(&pen.key, newer).await? == 1);
    ensure!(words(&pen.load().await?) == ["newer", "two"]);
    Ok(())
}

pub(crate) async fn a_name_that_is_added_again_continues_the_sequence(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer().await?;
    let mut pen = Pen::fresh(&journal, "ann/web");
    pen.write("added").await?;
    pen.write("decided").await?;
    // Removing a domain is a snapshot of nothing; all before it may go.
    let tombstone = pen.write_snapshot("removed").await?;
    journal.purge_below(&pen.key, tombstone).await?;
    let loaded = journal.load(&Scope::All).await?.take(&pen.key)?;
    ensure!(words(&loaded) == ["removed"], "a removed domain is still found");

    let mut again = Pen::loaded(&journal, "ann/web").await?;
    ensure!(again.tip.sequence == tombstone);
    ensure!(again.write("added again").await? > tombstone);
    ensure!(words(&again.load().await?) == ["removed", "added again"]);
    let mut from_the_first_life = Pen::fresh(&journal, "ann/web");
    ensure!(from_the_first_life.is_fenced("added").await?.sequence == tombstone);
    Ok(())
}

pub(crate) async fn history_is_read_newest_first_and_ends_where_it_was_purged(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer().await?;
    let (mut pen, mut other) = (Pen::fresh(&journal, "ann/web"), Pen::fresh(&journal, "ann/other"));
    pen.write("one").await?;
    other.write("between").await?;
    pen.write("two").await?;
    let snapshot = pen.write_snapshot("snapshot").await?;
    other.write("between").await?;
    pen.write("three").await?;
    pen.write("four").await?;

    let all = journal.history(&pen.key, None, 100).await?;
    ensure!(words(&all) == ["four", "three", "snapshot", "two", "one"], "beyond the snapshot too");
    ensure!(words(&journal.history(&pen.key, None, 2).await?) == ["four", "three"]);
    ensure!(journal.history(&pen.key, None, 0).await?.is_empty());
    let page = journal.history(&pen.key, Some(all[1].sequence), 2).await?;
    ensure!(words(&page) == ["snapshot", "two"], "the next page");
    let oldest = all[4].sequence;
    ensure!(journal.history(&pen.key, Some(oldest), 2).await?.is_empty());

    journal.purge_below(&pen.key, snapshot).await?;
    ensure!(words(&journal.history(&pen.key, None, 100).await?) == ["four", "three", "snapshot"]);
    ensure!(journal.history(&pen.key, Some(snapshot), 100).await?.is_empty());
    ensure!(journal.history(&pen.key, Some(oldest), 100).await?.is_empty(), "gone itself");
    ensure!(words(&pen.load().await?) == ["snapshot", "three", "four"]);
    Ok(())
}

pub(crate) async fn a_record_too_large_for_one_message_comes_back_whole(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer().await?;
    let mut pen = Pen::fresh(&journal, "ann/web");
    let large = |seed: usize, size: usize| (0..size).map(|at| ((at + seed) * 31 % 251) as u8).collect::<Vec<_>>();
    // Beside the limit for one message, and beyond what any server takes.
    let records = [large(1, 512 << 10), large(2, (512 << 10) + 1), large(3, 3 << 20)];
    for record in &records {
        pen.write(record.clone()).await?;
    }
    let entries = pen.load().await?;
    ensure!(entries.iter().map(|entry| &entry.bytes).eq(&records));
    ensure!(journal.last(&pen.key).await?.is_some_and(|last| last.bytes == records[2]));
    ensure!(journal.history(&pen.key, None, 2).await?.iter().map(|entry| &entry.bytes).eq(records[1..].iter().rev()));

    let snapshot = pen.write_snapshot(large(4, 1 << 20)).await?;
    ensure!(journal.purge_below(&pen.key, snapshot).await? == 3);
    let left = journal.load(&Scope::All).await?.take(&pen.key)?;
    ensure!(left.len() == 1 && left[0].bytes == large(4, 1 << 20), "the purge leaves the large snapshot itself");
    Ok(())
}

pub(crate) async fn a_record_too_large_for_anything_is_refused(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer().await?;
    let refused = Pen::fresh(&journal, "ann/web").attempt(vec![0; MAX_RECORD + 1]).await;
    ensure!(refused.is_err_and(|error| matches!(error.downcast_ref(), Some(JournalError::TooLarge { .. }))));
    ensure!(journal.load(&Scope::All).await?.domains.is_empty());
    Ok(())
}

pub(crate) async fn a_full_journal_says_so_and_goes_on_when_there_is_room(fixture: &impl Fixture) -> Result<()> {
    const RECORD: usize = 8 << 10;
    let journal = fixture.small(200 << 10).await?;
    let mut pen = Pen::fresh(&journal, "ann/web");
    for _ in 0..10 {
        pen.write([0; RECORD]).await?;
    }
    let snapshot = pen.write_snapshot("snapshot").await?;
    let mut written = 1;
    let full = loop {
        match pen.attempt([written; RECORD]).await? {
            Appended::Committed { .. } if written < 100 => written += 1,
            other => break other,
        }
    };
    ensure!(matches!(&full, Appended::Full { reason } if reason.contains("maximum bytes")), "{full:?}");
    ensure!(pen.load().await?.len() == usize::from(written), "nothing was dropped to make room");
    let mut other = Pen::fresh(&journal, "bob/web");
    ensure!(matches!(other.attempt([0; RECORD]).await?, Appended::Full { .. }), "for everybody");
    let counts = journal.health().counts();
    ensure!((counts.full, counts.unsettled) == (2, 0), "{counts:?}");

    ensure!(journal.purge_below(&pen.key, snapshot).await? == 10);
    pen.write([written; RECORD]).await?;
    other.write([0; RECORD]).await?;
    Ok(())
}

pub(crate) async fn a_thousand_domains_append_at_once_and_load_together(fixture: &impl Fixture) -> Result<()> {
    let journal = fixture.writer().await?;
    let domain = |number: usize| format!("user{}/domain{number}", number % 7);
    let last = try_join_all((0..1000).map(async |number| {
        let mut pen = Pen::fresh(&journal, &domain(number));
        pen.write(format!("{number} one")).await?;
        pen.write(format!("{number} two")).await
    }))
    .await?;

    let mut loaded = journal.load(&Scope::All).await?;
    ensure!(loaded.domains.len() == 1000 && loaded.damaged.is_empty());
    for (number, last) in last.iter().enumerate() {
        let entries = loaded.take(&key(&domain(number)))?;
        ensure!(words(&entries) == [format!("{number} one"), format!("{number} two")]);
        ensure!(entries[1].sequence == *last);
    }
    let slot = key(&domain(0)).slot(256);
    let expected = (0..1000).map(|number| key(&domain(number))).filter(|key| key.slot(256) == slot).count();
    ensure!(journal.load(&Scope::Slot(slot)).await?.domains.len() == expected);

    // Their sequences are one sequence.
    ensure!(Pen::fresh(&journal, "ann/late").write("late").await? == 2001);
    Ok(())
}
