//! Compiled components on disk, so that a host starts without compiling.
//!
//! What is compiled is machine code that the host will run, and loading it checks little. So nothing is loaded but what this user wrote
//! (the folder is closed to others), for this configuration of this compiler, from this very component, and undamaged: each file begins with a
//! SHA-256 over all of that. Whatever fails the check is removed, and compiled again. A cache that can't be used is a warning and no
//! error: it only saves time.
//!
//! It stays below 2 GiB: whenever it is opened and whenever something comes, what was not used for the longest time goes. What other versions
//! of this program compiled goes when it has not been used for 30 days.

use std::fs::{self, DirBuilder, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::loader::hex;

/// Of the file format. Another one makes all files foreign.
const FORMAT: &[u8] = b"pilothouse compiled component 1";
/// The length of the seal that a file begins with.
const SEAL_BYTES: usize = 32;

/// How a file is called that holds a compiled component, after its digest.
const EXTENSION: &str = "cwasm";
/// The same while it is written.
const EXTENSION_NEW: &str = "new";
/// Bytes that all files may have together: hundreds of engines in Rust, or thirty interpreters.
const MOST_BYTES: u64 = 2 << 30;
/// How long what another configuration of the compiler made stays without being used. Nor does a write take that long.
const FOREIGN: Duration = Duration::from_secs(30 * 24 * 3600);
const WRITE: Duration = Duration::from_secs(3600);

/// A folder of compiled components, for one configuration of one compiler.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Of all configurations.
    all: PathBuf,
    folder: PathBuf,
    most_bytes: u64,
    fingerprint: [u8; 32],
    written: AtomicU64,
}

impl Cache {
    /// Opens the part of a folder that belongs to the configuration of this engine. Nothing, with a warning, when it can't be used.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Option<Self> {
        Self::open_with(folder, engine, MOST_BYTES)
    }

    fn open_with(folder: &Path, engine: &Engine, most_bytes: u64) -> Option<Self> {
        let fingerprint = fingerprint(engine);
        let own = folder.join(hex(&fingerprint[..8]));
        match private(folder).and_then(|()| private(&own)) {
            Ok(()) => {
                let cache = Self { all: folder.to_owned(), folder: own, most_bytes, fingerprint, written: AtomicU64::new(0) };
                cache.prune(SystemTime::now());
                Some(cache)
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "compiled engines are not kept");
                None
            }
        }
    }

    /// What was compiled from the component of a digest, if it is there and in order.
    pub(crate) fn get(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        let file = match fs::read(&path) {
            Ok(file) => {
                used(&path);
                file
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a compiled engine can't be read");
                return None;
            }
        };
        let loaded = match file.split_at_checked(SEAL_BYTES) {
            Some((seal, artefact)) if seal == self.seal(digest, artefact) => ours(engine, artefact).map_err(|error| error.to_string()),
            _ => Err("its seal is broken".to_owned()),
        };
        loaded
            .inspect_err(|error| {
                tracing::warn!(file = %path.display(), %error, "a compiled engine is discarded and compiled again");
                let _ = fs::remove_file(&path);
            })
            .ok()
    }

    /// Whether something is there that was compiled from the component of a digest.
    pub(crate) fn has(&self, digest: &str) -> bool {
        self.path(digest).is_file()
    }

    /// Keeps what was compiled. A failure is only warned of.
    pub(crate) fn put(&self, digest: &str, artefact: &[u8]) {
        let path = self.path(digest);
        if let Err(error) = self.write(&path, &self.seal(digest, artefact), artefact) {
            tracing::warn!(file = %path.display(), %error, "a compiled engine could not be kept");
        }
        self.prune(SystemTime::now());
    }

    /// Removes what is too old, and then what was not used for the longest time until the rest is small enough. Other processes may do the same
    /// at the same time: what is not there any more was meant to go.
    fn prune(&self, now: SystemTime) {
        let mut files = match self.files() {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(folder = %self.all.display(), %error, "compiled engines can't be listed, and so none is removed");
                return;
            }
        };
        files.retain(|file| {
            let age = now.duration_since(file.used).unwrap_or_default();
            let too_old = (file.is_new && age > WRITE) || (!file.path.starts_with(&self.folder) && age > FOREIGN);
            if too_old {
                file.remove();
            }
            !too_old
        });
        files.sort_by(|one, other| (one.used, &one.path).cmp(&(other.used, &other.path)));
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        // The newest stays, however large it is.
        files.pop();
        for file in files {
            if bytes <= self.most_bytes {
                break;
            }
            bytes -= file.bytes;
            file.remove();
        }
    }

    /// All files of all configurations that this made, or another version of it.
    fn files(&self) -> io::Result<Vec<Kept>> {
        let mut files = Vec::new();
        for folder in fs::read_dir(&self.all)? {
            let folder = folder?;
            let of_a_fingerprint =
                folder.file_name().to_str().is_some_and(|name| name.len() == 16 && name.bytes().all(|c| c.is_ascii_hexdigit()));
            if !of_a_fingerprint || !folder.file_type()?.is_dir() {
                continue;
            }
            let Ok(entries) = fs::read_dir(folder.path()) else { continue };
            for entry in entries {
                let path = entry?.path();
                let is_new = path.extension().is_some_and(|it| it == EXTENSION_NEW);
                // It may be gone by now.
                let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
                if metadata.is_file() && (is_new || path.extension().is_some_and(|it| it == EXTENSION)) {
                    files.push(Kept { bytes: metadata.len(), used: metadata.modified()?, is_new, path });
                }
            }
        }
        Ok(files)
    }

    /// Whole or not at all: whoever reads at the same time sees the old file or the new one.
    fn write(&self, path: &Path, seal: &[u8], artefact: &[u8]) -> io::Result<()> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let new = path.with_extension(format!("{}-{number}.{EXTENSION_NEW}", std::process::id()));
        let write = || {
            // Another process may have removed it when it was empty.
            private(&self.folder)?;
            let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(seal)?;
            file.write_all(artefact)?;
            // No sync: a file that a power failure cut short has a broken seal.
            fs::rename(&new, path)
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.{EXTENSION}"))
    }

    fn seal(&self, digest: &str, artefact: &[u8]) -> [u8; SEAL_BYTES] {
        Sha256::new().chain_update(FORMAT).chain_update(self.fingerprint).chain_update(digest).chain_update(artefact).finalize().into()
    }
}

/// A file of a compiled component.
struct Kept {
    path: PathBuf,
    bytes: u64,
    /// When it was used last.
    used: SystemTime,
    /// It is being written.
    is_new: bool,
}

impl Kept {
    fn remove(&self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.path.display(), %error, "a compiled engine that is not needed can't be removed");
            }
            _ => {
                tracing::debug!(file = %self.path.display(), "a compiled engine was removed: there are too many, or it is too old");
                // A folder goes with its last file; else it is not empty, and stays.
                let _ = self.path.parent().map(fs::remove_dir);
            }
        }
    }
}

/// Notes that a file was used now.
fn used(path: &Path) {
    if let Err(error) = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now())) {
        tracing::debug!(file = %path.display(), %error, "when a compiled engine was used is not noted");
    }
}

/// Loads machine code that came from this crate's own compiler: handed on directly, or from a file under an unbroken seal.
#[allow(unsafe_code, reason = "wasmtime runs what it is given here; callers vouch for where it comes from")]
pub(crate) fn ours(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what `Engine::precompile_component` returned, in this process or in another one of this user, whose files
    // nobody else can write, and their SHA-256 says that they are undamaged. Wasmtime itself refuses those of another configuration.
    unsafe { Component::deserialize(engine, artefact) }
}

/// Makes a folder if it is not there, and closes it to all but this user.
fn private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Fails if it is another user's.
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    let mode = fs::metadata(folder)?.mode();
    if mode & 0o077 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("others may use it (mode {:o})", mode & 0o777)));
    }
    Ok(())
}

/// Tells configurations apart whose machine code can't be exchanged, the version of wasmtime included.
fn fingerprint(engine: &Engine) -> [u8; 32] {
    struct Into256(Sha256);
    impl Hasher for Into256 {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Into256(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component that there is.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn engine(fuel: bool) -> Engine {
        Engine::new(wasmtime::Config::new().consume_fuel(fuel)).expect("an engine")
    }

    #[test]
    fn another_configuration_of_the_compiler_has_files_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, other) = (engine(true), engine(false));
        let of = |engine| Cache::open(folder.path(), engine).expect("a cache");
        of(&one).put("d1", &one.precompile_component(EMPTY).expect("it compiles"));
        assert!(of(&one).get(&one, "d1").is_some(), "found by the same configuration");
        assert!(of(&other).get(&other, "d1").is_none(), "and by no other");
        // Even if somebody carries the file over.
        fs::copy(of(&one).path("d1"), of(&other).path("d1")).expect("copied");
        assert!(of(&other).get(&other, "d1").is_none());
        assert!(!of(&other).path("d1").exists(), "what is not trusted does not stay");
    }

    #[test]
    fn the_fingerprint_of_a_configuration_is_the_same_every_time() {
        assert_eq!(fingerprint(&engine(true)), fingerprint(&engine(true)));
        assert_ne!(fingerprint(&engine(true)), fingerprint(&engine(false)));
    }

    /// Which files there are, by name.
    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry"));
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    fn not_used_for(path: &Path, days: u32) {
        let then = SystemTime::now() - Duration::from_secs(24 * 3600) * days;
        fs::File::open(path).and_then(|file| file.set_modified(then)).expect("noted");
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes_when_there_is_too_much() {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = engine(true);
        let open = |most_bytes| Cache::open_with(folder.path(), &engine, most_bytes).expect("a cache");
        let code = engine.precompile_component(EMPTY).expect("it compiles");
        let one = (code.len() + SEAL_BYTES) as u64;
        let cache = open(3 * one);
        for (digest, days) in [("d1", 40), ("d2", 3), ("d3", 2)] {
            cache.put(digest, &code);
            not_used_for(&cache.path(digest), days);
        }
        assert_eq!(names(&cache.folder), ["d1.cwasm", "d2.cwasm", "d3.cwasm"], "they just fit, and age alone is no reason");
        assert!(cache.get(&engine, "d1").is_some());
        cache.put("d4", &code);
        assert_eq!(names(&cache.folder), ["d1.cwasm", "d3.cwasm", "d4.cwasm"], "the first one was used since");
        not_used_for(&cache.path("d4"), 1);
        fs::write(cache.folder.join("notes.txt"), [0; 10_000]).expect("written");
        let smaller = open(2 * one - 1);
        assert_eq!(names(&smaller.folder), ["d1.cwasm", "notes.txt"], "at opening; what it did not make is nothing to it");
        open(0).put("d5", &code);
        assert_eq!(names(&smaller.folder), ["d5.cwasm", "notes.txt"], "the newest stays, however large it is");
    }

    #[test]
    fn what_another_configuration_compiled_goes_after_a_month_without_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, other) = (engine(true), engine(false));
        let foreign = Cache::open(folder.path(), &other).expect("a cache");
        for (digest, days) in [("old", 31), ("young", 29)] {
            foreign.put(digest, b"code");
            not_used_for(&foreign.path(digest), days);
        }
        fs::write(foreign.folder.join("old.1-1.new"), b"half").expect("written");
        not_used_for(&foreign.folder.join("old.1-1.new"), 1);
        fs::write(foreign.folder.join("young.1-2.new"), b"half").expect("written");
        let own = Cache::open(folder.path(), &one).expect("a cache");
        assert_eq!(names(&foreign.folder), ["young.1-2.new", "young.cwasm"], "a write that never ended goes as well");
        for name in names(&foreign.folder) {
            not_used_for(&foreign.folder.join(name), 31);
        }
        own.put("d1", b"code");
        assert_eq!(names(folder.path()).len(), 1, "the folder goes with its last file");
        assert_eq!(names(&own.folder), ["d1.cwasm"]);
    }

    #[test]
    fn nothing_is_left_over_of_a_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = engine(true);
        let cache = Cache::open(folder.path(), &engine).expect("a cache");
        cache.put("d1", b"code");
        cache.put("d1", b"code again");
        let names: Vec<_> = fs::read_dir(&cache.folder).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!(names, ["d1.cwasm"]);
    }
}
