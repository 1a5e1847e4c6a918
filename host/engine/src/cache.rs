//! Compiled components on disk, so that a host starts without compiling.
//!
//! What is compiled is machine code that the host will run, and loading it checks little. So nothing is loaded but what this user wrote
//! (the folder is closed to others), for this configuration of this compiler, from this very component, and undamaged: each file begins with a
//! SHA-256 over all of that. Whatever fails the check is removed, and compiled again. A cache that can't be used is a warning and no
//! error: it only saves time.

use std::fs::{self, DirBuilder, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::loader::hex;

/// Of the file format. Another one makes all files foreign.
const FORMAT: &[u8] = b"pilothouse compiled component 1";
/// The length of the seal that a file begins with.
const SEAL_BYTES: usize = 32;

/// A folder of compiled components, for one configuration of one compiler.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    fingerprint: [u8; 32],
    written: AtomicU64,
}

impl Cache {
    /// Opens the part of a folder that belongs to the configuration of this engine. Nothing, with a warning, when it can't be used.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Option<Self> {
        let fingerprint = fingerprint(engine);
        let own = folder.join(hex(&fingerprint[..8]));
        match private(folder).and_then(|()| private(&own)) {
            Ok(()) => Some(Self { folder: own, fingerprint, written: AtomicU64::new(0) }),
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
            Ok(file) => file,
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

    /// Keeps what was compiled. A failure is only warned of.
    pub(crate) fn put(&self, digest: &str, artefact: &[u8]) {
        let path = self.path(digest);
        if let Err(error) = self.write(&path, &self.seal(digest, artefact), artefact) {
            tracing::warn!(file = %path.display(), %error, "a compiled engine could not be kept");
        }
    }

    /// Whole or not at all: whoever reads at the same time sees the old file or the new one.
    fn write(&self, path: &Path, seal: &[u8], artefact: &[u8]) -> io::Result<()> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let new = path.with_extension(format!("{}-{number}.new", std::process::id()));
        let write = || {
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
        self.folder.join(format!("{digest}.cwasm"))
    }

    fn seal(&self, digest: &str, artefact: &[u8]) -> [u8; SEAL_BYTES] {
        Sha256::new().chain_update(FORMAT).chain_update(self.fingerprint).chain_update(digest).chain_update(artefact).finalize().into()
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
