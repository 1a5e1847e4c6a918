//! The streams below the journal: how they are made, which ones are refused, and what others may have done to them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::{self, stream};
use futures::TryStreamExt;
use pilothouse::store::{Appended, JetStreamJournal, Journal, JournalError, JournalOptions, OpenError, Scope};
use pilothouse_core::subject::Subjects;
use pilothouse_tests::nats::{NatsOptions, NatsServer};

use crate::pen::{Pen, key, words};

async fn open(server: &NatsServer, prefix: &str, options: &JournalOptions) -> Result<Result<JetStreamJournal, OpenError>> {
    Ok(JetStreamJournal::open(server.client().await?, Subjects::new(&prefix.parse()?), options).await)
}

async fn open_plain(server: &NatsServer) -> Result<JetStreamJournal> {
    Ok(open(server, "ph", &JournalOptions::default()).await??)
}

#[tokio::test]
async fn opening_again_finds_what_was_written() -> Result<()> {
    let server = NatsServer::start().await?;
    let mut pen = Pen::fresh(&open_plain(&server).await?, "ann/web");
    pen.write("one").await?;
    let again = open(&server, "ph", &JournalOptions { max_bytes: Some(1 << 20), ..Default::default() }).await??;
    ensure!(words(&Pen::fresh(&again, "ann/web").load().await?) == ["one"], "other limits are no other journal");
    let elsewhere = open(&server, "other", &JournalOptions::default()).await??;
    ensure!(elsewhere.load(&Scope::All).await?.domains.is_empty(), "another prefix is");
    Ok(())
}

#[tokio::test]
async fn two_hosts_that_open_a_new_journal_at_once_open_the_same() -> Result<()> {
    let server = NatsServer::start().await?;
    let (one, two) = tokio::try_join!(open_plain(&server), open_plain(&server))?;
    Pen::fresh(&one, "ann/web").write("one").await?;
    ensure!(words(&Pen::fresh(&two, "ann/web").load().await?) == ["one"]);
    Ok(())
}

#[tokio::test]
async fn a_stream_that_would_lose_records_is_refused_by_the_field() -> Result<()> {
    type Spoil = fn(&mut stream::Config);
    let dangers: [(&str, Spoil); 12] = [
        ("storage", |config| config.storage = stream::StorageType::Memory),
        ("retention", |config| config.retention = stream::RetentionPolicy::Interest),
        ("discard", |config| config.discard = stream::DiscardPolicy::Old),
        ("max_age", |config| config.max_age = Duration::from_secs(3600)),
        ("max_msgs", |config| config.max_messages = 1_000_000),
        ("max_msgs_per_subject", |config| config.max_messages_per_subject = 1000),
        ("max_msg_size", |config| config.max_message_size = 1000),
        ("allow_msg_ttl", |config| config.allow_message_ttl = true),
        ("persist_mode", |config| config.persist_mode = Some(stream::PersistenceMode::Async)),
        ("subjects", |config| config.subjects.push("elsewhere".to_owned())),
        ("deny_delete", |config| config.deny_delete = false),
        ("allow_rollup_hdrs", |config| config.allow_rollup = true),
    ];
    let server = NatsServer::start().await?;
    let journal = open_plain(&server).await?;
    let jetstream = jetstream::new(server.client().await?);
    let good = jetstream.get_stream(journal.stream_name()).await?.cached_info().config.clone();
    for (number, (field, spoil)) in dangers.into_iter().enumerate() {
        let prefix = format!("danger{number}");
        let subjects = vec![Subjects::new(&prefix.parse()?).all_journals()];
        let mut config = stream::Config { name: format!("{prefix}-journal"), subjects, ..good.clone() };
        spoil(&mut config);
        jetstream.create_stream(config).await.with_context(|| format!("making a stream with a dangerous {field}"))?;
        match open(&server, &prefix, &JournalOptions::default()).await? {
            Err(error @ OpenError::Unsafe { .. }) => ensure!(error.to_string().contains(&format!("`{field}`")), "{field}: {error}"),
            other => anyhow::bail!("{field}: {other:?}"),
        }
        jetstream.delete_stream(format!("{prefix}-journal")).await?;
    }
    let other_slots = open(&server, "ph", &JournalOptions { slots: 16, ..Default::default() }).await?;
    ensure!(matches!(other_slots, Err(OpenError::Unsafe { field: "pilothouse-slots", .. })), "its subjects would be others");
    Ok(())
}

#[tokio::test]
async fn a_single_server_that_should_keep_three_copies_is_an_error_at_once() -> Result<()> {
    let server = NatsServer::start().await?;
    let opened = open(&server, "ph", &JournalOptions { replicas: 3, ..Default::default() }).await?;
    let error = opened.err().context("it was opened")?;
    ensure!(matches!(error, OpenError::Create { .. }), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_message_that_no_journal_wrote_damages_its_domain_alone() -> Result<()> {
    let server = NatsServer::start().await?;
    let journal = open_plain(&server).await?;
    let (mut pen, mut other) = (Pen::fresh(&journal, "ann/web"), Pen::fresh(&journal, "ann/other"));
    let one = pen.write("one").await?;
    other.write("one").await?;
    let subjects = Subjects::new(&"ph".parse()?);
    let jetstream = jetstream::new(server.client().await?);
    let subject = subjects.journal(pen.key.slot(256), &pen.key);
    let junk = jetstream.publish(subject.clone(), "junk".into()).await?.await?.sequence;
    // In a slot that is not the domain's.
    let nowhere = subjects.journal(pilothouse_core::name::Slot(pen.key.slot(256).0 ^ 1), &pen.key);
    jetstream.publish(nowhere, "junk".into()).await?.await?;

    ensure!(pen.is_fenced("two").await?.sequence == junk, "it is somebody else's");
    let damaged = |result: Result<_, JournalError>| matches!(result, Err(JournalError::Damaged { sequence, .. }) if sequence == junk);
    ensure!(damaged(journal.last(&pen.key).await.map(drop)));
    let mut loaded = journal.load(&Scope::All).await?;
    ensure!(damaged(loaded.take(&pen.key).map(drop)));
    ensure!(words(&loaded.take(&other.key)?) == ["one"]);
    ensure!(loaded.domains.is_empty());
    ensure!(damaged(journal.load(&Scope::Domain(pen.key.clone())).await?.take(&pen.key).map(drop)));

    // A record that pretends to follow another than it does.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", "forged");
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, one.to_string());
    ensure!(jetstream.publish_with_headers(subject, headers, "forged".into()).await?.await.is_err(), "the fence is the server's");
    Ok(())
}

#[tokio::test]
async fn a_domain_whose_beginning_was_purged_by_hand_is_reported() -> Result<()> {
    let server = NatsServer::start().await?;
    let journal = open_plain(&server).await?;
    let mut pen = Pen::fresh(&journal, "ann/web");
    pen.write("one").await?;
    let two = pen.write("two").await?;
    jetstream::new(server.client().await?).get_stream(journal.stream_name()).await?.purge().sequence(two).await?;
    for scope in [Scope::All, Scope::Domain(pen.key.clone())] {
        let damage = journal.load(&scope).await?.take(&pen.key);
        ensure!(matches!(damage, Err(JournalError::Damaged { sequence, .. }) if sequence == two), "{damage:?}");
    }
    // A snapshot needs nothing before it.
    pen.write_snapshot("snapshot").await?;
    ensure!(words(&pen.load().await?) == ["snapshot"]);
    Ok(())
}

#[tokio::test]
async fn a_server_that_takes_only_small_messages_holds_large_records() -> Result<()> {
    let options = NatsOptions { config: "max_payload: 64KB".to_owned(), ..Default::default() };
    let server = NatsServer::start_with(&options).await?;
    let mut pen = Pen::fresh(&open_plain(&server).await?, "ann/web");
    let sizes = [50 << 10, 60 << 10, 64 << 10, 300 << 10];
    for size in sizes {
        pen.write(vec![b'x'; size]).await?;
    }
    ensure!(pen.load().await?.iter().map(|entry| entry.bytes.len()).eq(sizes));
    Ok(())
}

#[tokio::test]
async fn a_server_without_room_is_full_whatever_the_journal_may_hold() -> Result<()> {
    let options = NatsOptions { jetstream: "max_file_store: 2MB".to_owned(), ..Default::default() };
    let server = NatsServer::start_with(&options).await?;
    let mut pen = Pen::fresh(&open_plain(&server).await?, "ann/web");
    let mut room = 0;
    while let Appended::Committed { .. } = pen.attempt(vec![0; 100 << 10]).await? {
        room += 1;
        ensure!(room < 30, "there was no end of room");
    }
    ensure!(room > 10);
    ensure!(matches!(pen.attempt(vec![0; 100 << 10]).await?, Appended::Full { .. }));
    ensure!(pen.load().await?.len() == room);
    Ok(())
}

#[tokio::test]
async fn a_large_record_that_finds_no_room_leaves_nothing() -> Result<()> {
    let server = NatsServer::start().await?;
    let small = JournalOptions { max_object_bytes: Some(2 << 20), ..Default::default() };
    let mut pen = Pen::fresh(&open(&server, "ph", &small).await??, "ann/web");
    pen.write(vec![0; 1 << 20]).await?;
    let mut stream = jetstream::new(server.client().await?).get_stream("OBJ_ph-journal").await?;
    let messages = stream.info().await?.state.messages;
    ensure!(matches!(pen.attempt(vec![1; 3 << 20]).await?, Appended::Full { .. }));
    ensure!(stream.info().await?.state.messages == messages, "its pieces are gone");
    ensure!(pen.journal.health().counts().full == 1);
    pen.write("small").await?;
    pen.write(vec![2; 600 << 10]).await?;
    ensure!(pen.load().await?.len() == 3);
    Ok(())
}

#[tokio::test]
async fn objects_go_with_the_records_that_point_to_them() -> Result<()> {
    let server = NatsServer::start().await?;
    let (journal, other) = (open_plain(&server).await?, open_plain(&server).await?);
    let bucket = jetstream::new(server.client().await?).get_object_store("ph-journal").await?;
    let objects = async || anyhow::Ok(bucket.list().await?.try_collect::<Vec<_>>().await?.len());
    let large = vec![0; 1 << 20];
    let mut pen = Pen::fresh(&journal, "ann/web");
    pen.write(large.clone()).await?;
    pen.write(large.clone()).await?;
    ensure!(objects().await? == 2, "the same content twice is two objects");

    let mut stale = Pen::fresh(&other, "ann/web");
    ensure!(matches!(stale.attempt(large.clone()).await?, Appended::Fenced { .. }));
    ensure!(objects().await? == 2, "a fenced append takes its object back");

    let snapshot = pen.write_snapshot(large.clone()).await?;
    journal.purge_below(&pen.key, snapshot).await?;
    ensure!(objects().await? == 1);
    let mut stream = jetstream::new(server.client().await?).get_stream("OBJ_ph-journal").await?;
    ensure!(stream.info().await?.state.messages == 9, "eight pieces and an entry");
    ensure!(pen.load().await?.iter().map(|entry| &entry.bytes).eq([&large]));
    Ok(())
}

#[tokio::test]
async fn large_records_that_are_missing_damage_their_domains_alone_and_hold_up_no_load() -> Result<()> {
    let server = NatsServer::start().await?;
    let journal = open_plain(&server).await?;
    let jetstream = jetstream::new(server.client().await?);
    let names = ["ann/a", "ann/b", "ann/c", "ann/d"];
    let write = async |name| Pen::fresh(&journal, name).write(vec![0; 1 << 20]).await;
    // Some with all that was ever known of them, the others as with `nats object rm`.
    write(names[0]).await?;
    write(names[1]).await?;
    ensure!(jetstream.get_stream("OBJ_ph-journal").await?.purge().filter("$O.ph-journal.M.>").await?.purged == 2);
    write(names[2]).await?;
    write(names[3]).await?;
    let bucket = jetstream.get_object_store("ph-journal").await?;
    let objects: Vec<_> = bucket.list().await?.try_collect().await?;
    ensure!(objects.len() == 2);
    for object in objects {
        bucket.delete(&object.name).await?;
    }
    let mut fine = Pen::fresh(&journal, "ann/fine");
    fine.write(vec![1; 1 << 20]).await?;

    let began = Instant::now();
    let mut loaded = journal.load(&Scope::All).await?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(8), "it took {took:?}");
    for name in names {
        let damage = loaded.take(&key(name));
        ensure!(matches!(damage, Err(JournalError::Damaged { .. })), "{name}: {damage:?}");
    }
    ensure!(loaded.take(&fine.key)?.len() == 1);
    Ok(())
}
