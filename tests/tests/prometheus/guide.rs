//! The guide: what it shows is what the program does.

use anyhow::{Context, Result, ensure};
use pilothouse::api::DomainDescription;
use pilothouse::hostfile::HostFile;
use pilothouse_core::config::DomainConfig;
use pilothouse_core::message::Reading;
use pilothouse_core::sensor::Sample;
use pilothouse_core::time::Timestamp;
use pilothouse_tests::nats;
use pilothouse_tests::play::root;
use pilothouse_tests::processes::{Ledger, Program};
use pilothouse_tests::prometheus::{Exporter, Prometheus};
use pilothouse_tests::rig::SOON;
use pilothouse_tests::wait::eventually_some;
use serde_json::Value;

use crate::PROGRAM;

/// The fenced blocks of the guide, each with its language.
fn blocks() -> Result<Vec<(String, String)>> {
    let guide = std::fs::read_to_string(root().join("docs/sensors.md"))?;
    let (mut blocks, mut lines) = (Vec::new(), guide.lines());
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            blocks.push((language.to_owned(), lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect()));
        }
    }
    Ok(blocks)
}

/// The words of the headings of a table.
fn headings(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[tokio::test]
async fn what_the_guide_shows_is_what_the_program_does() -> Result<()> {
    let (mut hosts, mut domains, mut readings, mut tables, mut whole) = (0, 0, 0, Vec::new(), Vec::new());
    for (language, text) in blocks()? {
        match language.as_str() {
            "toml" if text.contains("[domain.") => whole.push(text),
            "toml" if text.contains("[prometheus.") => {
                let judged = HostFile::judge(toml::from_str(&text)?);
                ensure!(judged.as_ref().is_ok_and(|file| file.prometheus.len() == 3), "{judged:?}");
                hosts += 1;
            }
            "toml" => {
                let judged = DomainConfig::from_json(toml::from_str(&text)?);
                ensure!(judged.as_ref().is_ok_and(|config| config.sensors.iter().count() == 2), "{judged:?}");
                domains += 1;
            }
            "json" => {
                let json: Value = serde_json::from_str(&text)?;
                let at = json["time"].as_f64().and_then(Timestamp::from_secs_f64).unwrap_or(Timestamp::from_secs(1_795_241_128));
                Reading::parse(json["node_id"].as_str(), text.as_bytes(), at).with_context(|| text.clone())?;
                readings += 1;
            }
            "text" => tables.push(text.lines().next().unwrap_or_default().to_owned()),
            other => anyhow::bail!("nobody checks what is in {other:?}"),
        }
    }
    ensure!((hosts, domains, readings, tables.len(), whole.len()) == (1, 1, 2, 2, 1), "{hosts} {domains} {readings} {tables:?} {whole:?}");

    let exporter = Exporter::start().await?;
    exporter.set("queue_length", 250.0);
    let prometheus = Prometheus::scraping(&exporter).await?;
    let (ledger, dir) = (Ledger::new()?, tempfile::TempDir::with_prefix("pilothouse-guide-")?);
    let file = dir.path().join("up.toml");
    std::fs::write(&file, whole[0].replace("http://localhost:9090", &prometheus.url()))?;
    let command = |arguments: &[&str]| -> Result<_> {
        let mut command = ledger.command(PROGRAM);
        command.env(nats::SERVER_ENV, nats::program()?).args(arguments).arg("--data").arg(dir.path().join("data"));
        Ok(command)
    };
    let mut up = command(&["up"])?;
    up.arg(&file);
    let up = Program::start(up, &dir.path().join("up.log"))?;
    let described = eventually_some("the domain has grown with its queue", SOON, async || {
        let output = command(&["domain", "describe", "web", "--output", "json"]).ok()?.output().ok()?;
        let described: DomainDescription = serde_json::from_slice(&output.stdout).ok()?;
        let has_read = described.sensor_data.get("queue").is_some_and(|data| data.newest == Sample::Value(250.0));
        (has_read && described.summary.counts.running == 3).then_some(described)
    });
    let described = described.await.with_context(|| up.said())?;
    ensure!(described.pulled["queue"].failure.is_none(), "{:?}", described.pulled);
    let shown = command(&["domain", "describe", "web"])?.output()?;
    let shown = String::from_utf8(shown.stdout)?;
    for table in tables {
        ensure!(shown.lines().any(|line| headings(line) == headings(&table)), "{table:?} is not in\n{shown}");
    }

    // What is no longer in the file is pulled no more.
    let config = std::fs::read_to_string(&file)?;
    let without = config.replace("[domain.web.sensors.queue]\nsource = \"main\"\nquery = \"sum(queue_length)\"\ninterval = 5\n", "");
    ensure!(without != config, "the series is taken out of the file");
    ensure!(up.stop().await?.success(), "it stops in order");
    std::fs::write(&file, without)?;
    let mut up = command(&["up"])?;
    up.arg(&file);
    let up = Program::start(up, &dir.path().join("up.log"))?;
    let gone = eventually_some("nothing is pulled any more", SOON, async || {
        let output = command(&["domain", "describe", "web", "--output", "json"]).ok()?.output().ok()?;
        let described: DomainDescription = serde_json::from_slice(&output.stdout).ok()?;
        (described.config.get("sensors").is_none() && described.pulled.is_empty()).then_some(())
    });
    gone.await.with_context(|| up.said())?;
    ensure!(up.stop().await?.success(), "it stops in order");
    Ok(())
}
