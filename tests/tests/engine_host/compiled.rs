//! What is kept of compiling.

use std::path::{Path, PathBuf};

use pilothouse_engine_host::{Sandbox, SandboxConfig};
use serde_json::json;

use crate::domain::{decide, domain};
use crate::guest::{Guest, guest};
use crate::sandbox;

fn cached(folder: &Path) -> Sandbox {
    Sandbox::new(SandboxConfig { cache: Some(folder.to_owned()), ..SandboxConfig::default() }).expect("a sandbox")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_was_compiled_once_is_not_compiled_again() {
    let (folder, bytes) = (tempfile::tempdir().expect("a folder"), guest("ask"));
    let first = cached(folder.path());
    first.load(&bytes).expect("it loads");
    assert_eq!(first.compiled(), 1);
    let second = cached(folder.path());
    let engine = second.load(&bytes).expect("it loads");
    assert_eq!(second.compiled(), 0);
    assert_eq!(decide(&mut domain(json!({})), &engine).launches.len(), 1, "and it works");
    second.load(&guest("quiet")).expect("it loads");
    assert_eq!(second.compiled(), 1, "another component is another matter");
}

#[test]
fn what_is_refused_once_it_is_compiled_takes_no_place_on_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let sandbox = cached(folder.path());
    let mute = Guest::new("quiet").with("#describe\") (result i32) (i32.const 0))", "#describe\") (result i32) unreachable)");
    sandbox.load(&mute.component()).expect_err("it can't say who it is");
    assert_eq!((sandbox.compiled(), files(folder.path())), (1, Vec::new()));
}

#[test]
fn a_compiled_component_that_is_damaged_is_compiled_again() {
    let (folder, bytes) = (tempfile::tempdir().expect("a folder"), guest("ask"));
    cached(folder.path()).load(&bytes).expect("it loads");
    let [file] = &files(folder.path())[..] else { panic!("one component, one file") };
    let good = std::fs::read(file).expect("a file");
    let middle = good.len() / 2;
    let mut flipped = good.clone();
    flipped[middle] ^= 1;
    for bad in [&flipped[..], &good[..middle], &good[..10], b"", b"nonsense"] {
        std::fs::write(file, bad).expect("written");
        let sandbox = cached(folder.path());
        sandbox.load(&bytes).expect("it loads");
        assert_eq!(sandbox.compiled(), 1, "{} bytes", bad.len());
        assert_eq!(std::fs::read(file).expect("a file"), good, "and the file is whole again");
    }
}

#[test]
fn a_compiled_component_under_a_foreign_name_is_not_taken() {
    let (folder, ask) = (tempfile::tempdir().expect("a folder"), guest("ask"));
    cached(folder.path()).load(&guest("quiet")).expect("it loads");
    let [quiet] = &files(folder.path())[..] else { panic!("one component, one file") };
    let digest = sandbox().load(&ask).expect("it loads").digest().to_owned();
    std::fs::rename(quiet, quiet.with_file_name(format!("{digest}.cwasm"))).expect("renamed");
    let sandbox = cached(folder.path());
    let engine = sandbox.load(&ask).expect("it loads");
    assert_eq!(sandbox.compiled(), 1);
    assert_eq!(decide(&mut domain(json!({})), &engine).launches.len(), 1, "it is the right one");
}

#[test]
fn the_folder_of_compiled_components_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("opened");
    cached(folder.path()).load(&guest("quiet")).expect("it loads");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(folder.path()), 0o700);
    assert!(files(folder.path()).iter().all(|file| mode(file) == 0o600));
}

#[test]
fn a_cache_that_can_not_be_used_only_costs_time() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let sandbox = cached(file.path());
    sandbox.load(&guest("quiet")).expect("it loads");
    assert_eq!(sandbox.compiled(), 1);
}
