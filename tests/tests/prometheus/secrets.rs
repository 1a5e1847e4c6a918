//! Credentials go to the source they are for, and nowhere else.

use std::fs;

use anyhow::{Result, ensure};
use futures::TryStreamExt;
use pilothouse_tests::prometheus::{Impostor, Manner};
use pilothouse_tests::rig::{Rig, SOON};
use pilothouse_tests::wait::eventually;
use serde_json::json;

use crate::{PROGRAM, answer, host, host_with, pulling, sees};

/// Everything that JetStream keeps, as text.
async fn everything_kept(rig: &Rig) -> Result<String> {
    let jetstream = async_nats::jetstream::new(rig.api.nats().clone());
    let (mut names, mut all) = (jetstream.stream_names(), String::new());
    while let Some(name) = names.try_next().await? {
        let stream = jetstream.get_stream(&name).await?;
        let state = stream.get_info().await?.state;
        for sequence in state.first_sequence..=state.last_sequence {
            // Some were taken out meanwhile.
            if let Ok(message) = stream.get_raw_message(sequence).await {
                all += &String::from_utf8_lossy(&message.payload);
            }
        }
    }
    Ok(all)
}

#[tokio::test]
async fn a_token_and_a_password_are_sent_are_read_anew_and_are_told_nowhere() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let refuses = || Impostor::start(Manner::Says("403 Forbidden", String::new()));
    let (with_token, with_password) = tokio::try_join!(refuses(), refuses())?;
    fs::write(rig.path("token"), "hunter2-token\n")?;
    fs::write(rig.path("password"), "hunter2-password")?;
    // Relative paths are seen from the folder of the file.
    let sources = [
        ("token", json!({"url": with_token.url(), "bearer_token_file": "token"})),
        ("password", json!({"url": with_password.url(), "username": "ann", "password_file": "password"})),
    ];
    let _host = host(&rig, "one", &sources)?;
    let from = |source: &str| json!({"source": source, "query": "queue{a=\"b&c\"}", "interval": 1});
    rig.add_web(pulling(json!({"a": from("token"), "b": from("password")}))).await?;
    let refused =
        |it: &pilothouse::api::PullDescription| it.failure.as_ref().is_some_and(|it| it.message.contains("refuses the host's credentials"));
    sees(&rig, "both are refused", |it| it.pulled.len() == 2 && it.pulled.values().all(refused)).await?;

    let has = |request: &str, what: &str| request.to_lowercase().contains(&what.to_lowercase());
    let asked = with_token.asked();
    ensure!(
        asked[0].starts_with("POST /api/v1/query HTTP/1.1\r\n") && has(&asked[0], "\r\nauthorization: Bearer hunter2-token\r\n"),
        "{asked:?}"
    );
    ensure!(asked[0].ends_with("query=queue%7Ba%3D%22b%26c%22%7D&timeout=1000ms"), "{asked:?}");
    let basic = with_password.asked();
    ensure!(has(&basic[0], "\r\nauthorization: Basic YW5uOmh1bnRlcjItcGFzc3dvcmQ=\r\n"), "{basic:?}");

    fs::write(rig.path("token"), "hunter2-another\n")?;
    let renewed =
        eventually("the new token is sent", SOON, async || with_token.asked().iter().any(|it| has(it, "Bearer hunter2-another\r\n")));
    renewed.await?;
    fs::remove_file(rig.path("token"))?;
    sees(&rig, "it is missing", |it| it.pulled["a"].failure.as_ref().is_some_and(|it| it.message.contains("can't read its credentials")))
        .await?;

    let described = rig.run(&["domain", "describe", "web"])?.out;
    let kept = everything_kept(&rig).await?;
    ensure!(kept.contains("queue{a="), "the journal was read");
    for (place, text) in [("the description", described), ("the log", rig.logs()), ("JetStream", kept)] {
        ensure!(!text.contains("hunter2"), "a secret is in {place}");
        ensure!(place == "the log" || !text.contains(&with_token.url()[7..]), "an address is in {place}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_whose_certificate_is_trusted_is_asked_and_another_is_told_nothing() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let says = || Impostor::start_with_tls(Manner::Says("200 OK", answer(4.0)));
    let (trusted, stranger) = tokio::try_join!(says(), says())?;
    fs::write(rig.path("trusted.pem"), trusted.certificate())?;
    fs::write(rig.path("token"), "hunter2-token")?;
    // A scheme in capitals is the same scheme.
    let source = |impostor: &Impostor| json!({"url": impostor.url().replacen("https", "HTTPS", 1), "bearer_token_file": "token"});
    let trust = rig.path("trusted.pem").display().to_string();
    let sources = [("trusted", source(&trusted)), ("stranger", source(&stranger))];
    let _host = host_with(&rig, "one", &sources, &[("SSL_CERT_FILE", &trust)])?;
    let from = |source: &str| json!({"source": source, "query": "q", "interval": 1});
    rig.add_web(pulling(json!({"a": from("trusted"), "b": from("stranger")}))).await?;
    let described = sees(&rig, "one is read, the other not", |it| {
        let failure = it.pulled["b"].failure.as_ref();
        it.sensor_data.contains_key("a")
            && failure.is_some_and(|it| it.message == "the server can't be reached: its certificate can't be trusted")
    });
    let described = described.await?;
    ensure!(!described.sensor_data.contains_key("b") && stranger.asked().is_empty(), "{:?}", stranger.asked());
    ensure!(trusted.asked()[0].contains("hunter2-token"), "{:?}", trusted.asked());
    ensure!(rig.logs().contains("invalid peer certificate"), "the operator is told more: {}", rig.logs());
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_source_is_told_before_the_host_starts() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let file = json!({"prometheus": {
        "a": {"url": "localhost:9090"},
        "b": {"url": "http://ann:hunter2@localhost"},
        "c": {"url": "http://localhost", "bearer_token_file": "nowhere"},
    }});
    let path = rig.path("wrong.json");
    let serve = async |name: &str, file: &serde_json::Value| -> Result<(Option<i32>, String)> {
        fs::write(&path, file.to_string())?;
        let mut command = rig.host_command(name, &rig.nats.url());
        command.arg("--config").arg(&path);
        let mut program = rig.start(name, command)?;
        Ok((program.ended().await?.code(), program.said()))
    };
    let (code, said) = serve("one", &file).await?;
    ensure!(code == Some(2), "{code:?} {said}");
    for part in ["/prometheus/a/url: ", "/prometheus/b/url: "] {
        ensure!(said.contains(part), "{part} is not in {said}");
    }
    ensure!(!said.contains("hunter2"), "{said}");
    let (code, said) = serve("two", &json!({"prometheus": {"c": file["prometheus"]["c"]}})).await?;
    ensure!(code == Some(2) && said.contains("/prometheus/c/bearer_token_file: "), "{code:?} {said}");
    Ok(())
}
