//! Components that come from elsewhere, and go elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use pilothouse::driver::registry::digest_of;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::ship::{Ship, content};

/// What a path is answered with.
enum Page {
    Content(Vec<u8>),
    Elsewhere(String),
    /// Less than it promises.
    Half(Vec<u8>),
}

/// A server of a few pages, until the test ends. Its address.
async fn serve(pages: impl IntoIterator<Item = (&'static str, Page)>) -> Result<String> {
    let pages: Arc<BTreeMap<_, _>> = Arc::new(pages.into_iter().collect());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let pages = Arc::clone(&pages);
            tokio::spawn(async move {
                let (reading, mut writing) = stream.split();
                let mut lines = BufReader::new(reading).lines();
                let first = lines.next_line().await.ok().flatten().unwrap_or_default();
                while lines.next_line().await.ok().flatten().is_some_and(|line| !line.is_empty()) {}
                let path = first.split(' ').nth(1).unwrap_or_default();
                let (head, body) = match pages.get(path) {
                    Some(Page::Content(body)) => (format!("200 OK\r\nContent-Length: {}", body.len()), body.clone()),
                    Some(Page::Elsewhere(to)) => (format!("302 Found\r\nLocation: {to}\r\nContent-Length: 0"), Vec::new()),
                    Some(Page::Half(body)) => (format!("200 OK\r\nContent-Length: {}", body.len() * 2), body.clone()),
                    None => ("404 Not Found\r\nContent-Length: 0".to_owned(), Vec::new()),
                };
                let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
                let _ = writing.write_all(&[head.as_bytes(), &body].concat()).await;
                let _ = writing.shutdown().await;
            });
        }
    });
    Ok(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_from_a_server_is_pushed_when_its_digest_is_right() -> Result<()> {
    let ship = Ship::new().await?;
    let [one, two, three, four] = ["1.0.0", "2.0.0", "3.0.0", "4.0.0"].map(|version| content(version).component());
    let sum = |component: &[u8]| Page::Content(format!("{}  some.wasm\n", digest_of(component)).into_bytes());
    let address = serve([
        ("/one.wasm", Page::Content(one.clone())),
        ("/two.wasm", Page::Content(two.clone())),
        ("/two.wasm.sha256", sum(&two)),
        ("/three.wasm", Page::Content(three.clone())),
        ("/three.wasm.sha256", sum(&two)),
        ("/elsewhere.wasm", Page::Elsewhere("/two.wasm".to_owned())),
        ("/round.wasm", Page::Elsewhere("/round.wasm".to_owned())),
        ("/half.wasm", Page::Half(three.clone())),
        ("/guest@9.0.0.wasm", Page::Content(four.clone())),
        ("/text.wasm", Page::Content(b"<html>".to_vec())),
    ])
    .await?;
    let pull = |path: &str, more: &[&str]| ship.rig.run(&[&["engine", "pull", &format!("{address}{path}")], more].concat());

    let answer = pull("/one.wasm", &["--digest", &format!("sha256:{}", digest_of(&one))])?;
    ensure!(answer.code == 0 && answer.json()?["version"] == "1.0.0" && !answer.err.contains("no digest"), "{answer:?}");
    let answer = pull("/two.wasm", &[])?;
    ensure!(answer.code == 0 && answer.json()?["version"] == "2.0.0" && !answer.err.contains("no digest"), "{answer:?}");
    let answer = pull("/elsewhere.wasm", &[])?;
    ensure!(answer.code == 0 && answer.json()?["changed"] == false, "it was there: {answer:?}");
    ensure!(answer.err.contains("no digest to check it against"), "{answer:?}");

    let stored = ship.stored().await?;
    let answer = pull("/three.wasm", &[])?;
    ensure!(answer.code == 7 && answer.err.contains("nothing was pushed"), "{answer:?}");
    let answer = pull("/three.wasm", &["--digest", &digest_of(&one)])?;
    ensure!(answer.code == 7 && answer.err.contains("nothing was pushed"), "{answer:?}");
    for (path, code, why) in [
        ("/none.wasm", 3, "nothing there"),
        ("/half.wasm", 5, "can't be had"),
        ("/round.wasm", 5, "again and again"),
        ("/text.wasm", 2, "no WebAssembly component"),
        ("/guest@9.0.0.wasm", 2, "expected guest@9.0.0, and the component says that it is guest@4.0.0"),
    ] {
        let answer = pull(path, &[])?;
        ensure!(answer.code == code && answer.err.contains(why), "{path}: {answer:?}");
    }
    ensure!(ship.stored().await? == stored, "nothing more is kept");
    ensure!(ship.fails(&["pull", "ftp://example.org/x.wasm"])?.0 == 2);
    Ok(())
}

#[tokio::test]
async fn what_is_exported_is_what_was_pushed_and_may_be_pulled_elsewhere() -> Result<()> {
    let (ship, other) = (Ship::new().await?, Ship::new().await?);
    let pushed = ship.push(&content("1.0.0"))?;
    let file = ship.rig.path("guest@1.0.0.wasm");
    let name = file.to_str().context("a path")?;
    let exported = ship.engine(&["export", "guest@1.0.0", name])?;
    ensure!(exported["digest"] == pushed["digest"], "{exported:#}");
    ensure!(std::fs::read(&file)? == content("1.0.0").component());
    let sum = std::fs::read_to_string(ship.rig.path("guest@1.0.0.wasm.sha256"))?;
    ensure!(sum == format!("{}  guest@1.0.0.wasm\n", pushed["digest"].as_str().context("a digest")?), "{sum}");
    ensure!(ship.fails(&["export", "guest@1.0.0", name])?.0 == 4, "it is there");
    ship.engine(&["export", "guest@1.0.0", name, "--force"])?;
    ensure!(ship.fails(&["export", "guest@2.0.0", name, "--force"])?.0 == 3);

    let pulled = other.engine(&["pull", name])?;
    ensure!(pulled["digest"] == pushed["digest"] && pulled["version"] == "1.0.0", "{pulled:#}");
    std::fs::write(ship.rig.path("guest@1.0.0.wasm.sha256"), format!("{}  x\n", "00".repeat(32)))?;
    let (code, why) = other.fails(&["pull", name])?;
    ensure!(code == 7 && why.contains("nothing was pushed"), "{why}");
    Ok(())
}
