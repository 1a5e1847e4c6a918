//! The private nats-server: which program, how it is configured, and when it is ready.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::sleep;

use super::child::Program;
use super::folder::Folder;

/// What it is called in lines and files.
pub(super) const NAME: &str = "nats";

/// Names the program, where it is not the one on the PATH.
const VARIABLE: &str = "PILOTHOUSE_NATS_SERVER";

/// Older ones lack what keys with a time to live need.
const OLDEST: (u64, u64) = (2, 11);

/// Between two looks whether it is ready.
const LOOK: Duration = Duration::from_millis(100);

/// Finds a server that is new enough.
pub(super) fn find() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let on_path = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir| dir.join("nats-server")).find(|file| file.is_file())
    };
    let remedy = || format!("install nats-server {}.{} or newer (https://nats.io), or name it in {VARIABLE}", OLDEST.0, OLDEST.1);
    let program = named.or_else(on_path).with_context(|| format!("no nats-server on the PATH: {}", remedy()))?;
    let output =
        Command::new(&program).arg("--version").output().with_context(|| format!("running {}: {}", program.display(), remedy()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let found = version(&said).with_context(|| format!("{} --version says {:?}, not a version", program.display(), said.trim()))?;
    ensure!(found >= OLDEST, "{} is version {}.{}: {}", program.display(), found.0, found.1, remedy());
    Ok(program)
}

/// The version in `nats-server: v2.15.1`.
fn version(said: &str) -> Option<(u64, u64)> {
    let (_, version) = said.trim().rsplit_once('v')?;
    let mut numbers = version.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Where clients connect.
pub(super) fn url(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

/// The configuration: reachable from this machine only, and every message on disk before it is acknowledged, since there is no other
/// copy of it.
pub(super) fn config(port: u16, store: &Path) -> anyhow::Result<String> {
    let store = store.to_str().with_context(|| format!("{} is not readable as text, so nats-server can't be told", store.display()))?;
    ensure!(!store.contains(char::is_control), "{store:?} has control characters, so nats-server can't be told");
    let store = store.replace('\\', "\\\\").replace('"', "\\\"");
    Ok(format!(
        "# Written by `pilothouse up` at every start.\n\
         server_name: pilothouse-up\n\
         listen: \"127.0.0.1:{port}\"\n\
         jetstream {{\n  store_dir: \"{store}\"\n  sync_interval: always\n}}\n"
    ))
}

/// How it is run.
pub(super) fn program(path: &Path, folder: &Folder) -> Program {
    let args = vec!["--config".into(), folder.nats_config().into()];
    Program { name: NAME, path: path.to_owned(), args, must_end_well: false }
}

/// Returns when JetStream answers.
pub(super) async fn ready(url: &str) {
    while !answers(url).await {
        sleep(LOOK).await;
    }
}

async fn answers(url: &str) -> bool {
    let options = async_nats::ConnectOptions::new().connection_timeout(Duration::from_secs(1));
    let Ok(client) = options.connect(url).await else { return false };
    let mut jetstream = async_nats::jetstream::new(client);
    jetstream.set_timeout(Duration::from_secs(1));
    jetstream.query_account().await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_and_nonsense_is_none() {
        assert_eq!(version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(version("nats-server: v2.11.0-RC.1"), Some((2, 11)));
        for nonsense in ["", "v", "nats-server: v2", "vx.y"] {
            assert_eq!(version(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn the_store_can_not_break_out_of_its_quotes() {
        let config = config(4222, Path::new("/a \"b\\c")).expect("usable");
        assert!(config.contains("store_dir: \"/a \\\"b\\\\c\"\n") && config.contains("sync_interval: always"), "{config}");
        assert!(super::config(4222, Path::new("/a\nb")).is_err());
    }
}
