//! Components on their way: a file or a pipe, the store of the hosts, and what they are called.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context as _;
use async_nats::jetstream;
use async_nats::jetstream::context::ObjectStoreErrorKind;
use async_nats::jetstream::object_store::ObjectStore;

use crate::commands::caller::Caller;
use crate::driver::registry::{ComponentError, get_component, put_component};
use crate::failure::Failure;

/// Stands for standard input or output.
pub(super) const STANDARD: &str = "-";

/// The largest component that is sent or fetched, in bytes: the most that a host can be told to take. What hosts do take is less.
pub(super) const MAX_BYTES: usize = 1 << 30;

/// What every WebAssembly binary begins with.
const MAGIC: &[u8] = b"\0asm";

/// Reads a component from a file or standard input.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    let failed = |error: io::Error| Failure::Invalid(format!("reading {name}: {error}"));
    let mut bytes = Vec::new();
    if path == Path::new(STANDARD) {
        io::stdin().lock().take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = fs::File::open(path).map_err(failed)?;
        file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    must_be_wasm(&name.to_string(), &bytes)?;
    Ok(bytes)
}

/// Refuses what no host could take, before it is sent anywhere.
pub(super) fn must_be_wasm(name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    if bytes.len() > MAX_BYTES {
        return Err(Failure::Invalid(format!("{name}: more than {MAX_BYTES} bytes, which no host takes")).into());
    }
    if !bytes.starts_with(MAGIC) {
        let advice = "give the file that `pilothouse engine build` writes; its name ends in .wasm";
        return Err(Failure::Invalid(format!("{name}: it is no WebAssembly component: {advice}")).into());
    }
    Ok(())
}

/// `NAME@VERSION`, where the name of a file says it: `keep@1.2.0.wasm`.
pub(super) fn said_by_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".wasm").unwrap_or(name);
    let (engine, version) = stem.split_once('@')?;
    let is_reference = !engine.is_empty() && semver::Version::parse(version).is_ok();
    is_reference.then(|| stem.to_owned())
}

/// The store that hosts have their components from. It is only there when a host has been.
pub(super) async fn store(caller: &Caller) -> anyhow::Result<ObjectStore> {
    let bucket = format!("{}_ENGINES", caller.subjects().prefix().to_uppercase());
    let asked = format!("$JS.API.STREAM.INFO.OBJ_{bucket}");
    let context = jetstream::new(caller.nats().clone());
    tokio::select! {
        refused = caller.refused(&asked) => Err(refused.into()),
        opened = context.get_object_store(bucket.as_str()) => opened.map_err(|error| match error.kind() {
            ObjectStoreErrorKind::GetStore => Failure::Unavailable(format!(
                "there is no store of engines on this NATS server, or it does not answer ({error}): is `pilothouse serve` running on it?"
            )).into(),
            _ => anyhow::Error::from(error).context("the store of engines"),
        }),
    }
}

/// Puts a component into the store. Returns its digest.
pub(super) async fn upload(store: &ObjectStore, component: &[u8]) -> anyhow::Result<String> {
    put_component(store, component).await.map_err(store_failed)
}

/// The component of a digest.
pub(super) async fn download(store: &ObjectStore, digest: &str) -> anyhow::Result<Vec<u8>> {
    get_component(store, digest, MAX_BYTES).await.map_err(store_failed)
}

fn store_failed(error: ComponentError) -> anyhow::Error {
    match error {
        ComponentError::Missing { .. } => Failure::NotFound(error.to_string()).into(),
        ComponentError::Store(_) => Failure::Unavailable(error.to_string()).into(),
        ComponentError::TooLarge { .. } | ComponentError::Forged { .. } => anyhow::Error::from(error),
    }
}

/// Writes a file whole or not at all. One that is there stays, unless `force` says otherwise.
pub(super) fn write(path: &Path, bytes: &[u8], force: bool) -> anyhow::Result<()> {
    let writing = || format!("writing {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut unfinished = tempfile::Builder::new().permissions(readable()).tempfile_in(folder).with_context(writing)?;
    io::Write::write_all(&mut unfinished, bytes).and_then(|()| unfinished.as_file().sync_all()).with_context(writing)?;
    let written = if force { unfinished.persist(path) } else { unfinished.persist_noclobber(path) };
    written.map(drop).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Conflict(format!("{} is there already: --force replaces it", path.display())).into(),
        _ => anyhow::Error::from(error.error).context(writing()),
    })
}

/// Anybody may read a component.
fn readable() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_may_say_what_is_in_it() {
        let said = |path: &str| said_by_name(Path::new(path));
        assert_eq!(said("/tmp/keep@1.2.0.wasm").as_deref(), Some("keep@1.2.0"));
        assert_eq!(said("keep@1.2.0-rc.1").as_deref(), Some("keep@1.2.0-rc.1"));
        for path in ["keep.wasm", "-", "@1.2.0.wasm", "keep@1.wasm", "me@home.wasm"] {
            assert_eq!(said(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_no_component_is_not_sent() {
        assert!(must_be_wasm("x", b"\0asm\x0d\0\x01\0").is_ok());
        for bytes in [&b""[..], b"#!/bin/sh", b"\0as"] {
            assert!(must_be_wasm("x", bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_file_that_is_there_stays_unless_somebody_wants_it_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keep.wasm");
        write(&path, b"one", false).expect("written");
        let error = write(&path, b"two", false).expect_err("it is there");
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(fs::read(&path).expect("it is there"), b"one");
        write(&path, b"two", true).expect("replaced");
        assert_eq!(fs::read(&path).expect("it is there"), b"two");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
    }
}
