//! Looks at a folder, and what they say together: a file counts when two of them in a row have found it the same.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::time::Instant;

/// How a component's file ends.
const EXTENSION: &str = "wasm";

/// So many files are looked at. A folder of engines has a few; one with more was not meant.
const MAX_FILES: usize = 256;

/// What tells two states of a file apart without reading it. The moment of the last change is part of it, which nobody can set: a file that
/// is put back with its old time and length is another one all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
    /// When it was saved.
    pub(super) modified: SystemTime,
}

impl Stamp {
    /// Of a file.
    pub(super) fn of(file: &Metadata) -> Self {
        let changed = (file.ctime(), file.ctime_nsec());
        Self { device: file.dev(), inode: file.ino(), bytes: file.len(), changed, modified: modified(file) }
    }
}

fn modified(file: &Metadata) -> SystemTime {
    file.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// What a look finds under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A file.
    File(Stamp),
    /// Something that is not to be read.
    Odd {
        /// Why not.
        why: String,
        /// Since when it is there.
        modified: SystemTime,
    },
}

impl Seen {
    /// What is there; nothing when it has just gone.
    fn at(path: &Path) -> Option<Self> {
        let link = match fs::symlink_metadata(path) {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return Some(Self::Odd { why: error.to_string(), modified: SystemTime::UNIX_EPOCH }),
        };
        let odd = |why: String| Some(Self::Odd { why, modified: modified(&link) });
        match fs::metadata(path) {
            Ok(file) if file.is_file() => Some(Self::File(Stamp::of(&file))),
            Ok(file) if file.is_dir() => odd("it is a directory, not a file".to_owned()),
            Ok(_) => odd("it is no regular file".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && link.is_symlink() => {
                let target = fs::read_link(path).unwrap_or_default();
                odd(format!("it is a link to {}, which is not there", target.display()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => odd(format!("it can't be looked at: {error}")),
        }
    }
}

/// Everything in a folder that is called like a component.
///
/// # Errors
/// When the folder can't be read.
pub(super) fn look(dir: &Path) -> io::Result<BTreeMap<PathBuf, Seen>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|it| it == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    let mut found = BTreeMap::new();
    for path in paths {
        let seen = if found.len() < MAX_FILES {
            Seen::at(&path)
        } else if found.len() == MAX_FILES {
            // The first of the rest stands for them.
            let why = format!("there are more than {MAX_FILES} files in this folder: this one and those after it are not looked at");
            Some(Seen::Odd { why, modified: SystemTime::UNIX_EPOCH })
        } else {
            break;
        };
        found.extend(seen.map(|seen| (path, seen)));
    }
    Ok(found)
}

/// What the looks so far have said.
#[derive(Debug, Default)]
pub(super) struct Looks(BTreeMap<PathBuf, Noted>);

/// A file, or one that is gone: then there is nothing seen of it.
#[derive(Debug, Default)]
struct Noted {
    /// At the last look.
    last: Option<Seen>,
    /// What was dealt with last.
    dealt: Option<Seen>,
    /// That was in vain.
    owed: bool,
    /// It is being dealt with.
    busy: bool,
    /// It is not dealt with before then.
    not_before: Option<Instant>,
}

impl Looks {
    /// Takes what a look has found, and tells what is to be dealt with: what two looks have found the same, and is not what was dealt with
    /// last. The caller says when it is [done](Self::done) with it; until then nothing more is told of that file.
    pub(super) fn take(&mut self, mut found: BTreeMap<PathBuf, Seen>, now: Instant) -> Vec<(PathBuf, Option<Seen>)> {
        let mut due = Vec::new();
        for (path, noted) in &mut self.0 {
            let seen = found.remove(path);
            let is_settled = noted.last == seen && (noted.dealt != seen || noted.owed);
            noted.last = seen;
            if is_settled && !noted.busy && noted.not_before.is_none_or(|at| at <= now) {
                (noted.dealt, noted.owed, noted.busy, noted.not_before) = (noted.last.clone(), false, true, None);
                due.push((path.clone(), noted.last.clone()));
            }
        }
        // What is gone, and was dealt with, is forgotten.
        self.0.retain(|_, noted| noted.busy || noted.last.is_some() || noted.dealt.is_some());
        self.0.extend(found.into_iter().map(|(path, seen)| (path, Noted { last: Some(seen), ..Noted::default() })));
        due
    }

    /// A file was dealt with.
    pub(super) fn done(&mut self, path: &Path) {
        if let Some(noted) = self.0.get_mut(path) {
            noted.busy = false;
        }
    }

    /// A file could not be dealt with, and is to be from a moment on.
    pub(super) fn again(&mut self, path: &Path, from: Instant) {
        if let Some(noted) = self.0.get_mut(path) {
            (noted.owed, noted.busy, noted.not_before) = (true, false, Some(from));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;

    /// A folder, looked at.
    struct Fixture {
        dir: TempDir,
        looks: Looks,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            Self { dir: TempDir::new().expect("a folder"), looks: Looks::default(), now: Instant::now() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).expect("written");
        }

        /// One look: the names that are to be dealt with, and how they look.
        fn look(&mut self) -> Vec<String> {
            let found = look(self.dir.path()).expect("a folder");
            let due = self.looks.take(found, self.now).into_iter().map(|(path, seen)| {
                let how = match seen {
                    Some(Seen::File(stamp)) => format!("{} bytes", stamp.bytes),
                    Some(Seen::Odd { why, .. }) => why,
                    None => "gone".to_owned(),
                };
                format!("{}: {how}", path.file_name().expect("a name").display())
            });
            due.collect()
        }

        fn done(&mut self, name: &str) {
            self.looks.done(&self.path(name));
        }
    }

    #[test]
    fn a_file_counts_when_two_looks_have_found_it_the_same() {
        let mut it = Fixture::new();
        assert!(it.look().is_empty());
        it.write("a.wasm", "half");
        assert!(it.look().is_empty(), "it may be half written");
        it.write("a.wasm", "half a file");
        assert!(it.look().is_empty(), "it was");
        assert_eq!(it.look(), ["a.wasm: 11 bytes"]);
        it.done("a.wasm");
        assert!(it.look().is_empty(), "it is as it was");
    }

    #[test]
    fn what_is_being_dealt_with_is_told_again_only_when_that_is_done() {
        let mut it = Fixture::new();
        it.write("a.wasm", "one");
        assert!(it.look().is_empty());
        assert_eq!(it.look(), ["a.wasm: 3 bytes"]);
        it.write("a.wasm", "three");
        assert!(it.look().is_empty() && it.look().is_empty() && it.look().is_empty());
        it.done("a.wasm");
        assert_eq!(it.look(), ["a.wasm: 5 bytes"]);
    }

    #[test]
    fn what_could_not_be_dealt_with_is_told_again_from_a_moment_on() {
        let mut it = Fixture::new();
        it.write("a.wasm", "one");
        assert!(it.look().is_empty());
        assert_eq!(it.look().len(), 1);
        it.looks.again(&it.path("a.wasm"), it.now + Duration::from_secs(5));
        assert!(it.look().is_empty(), "not yet");
        it.now += Duration::from_secs(5);
        assert_eq!(it.look(), ["a.wasm: 3 bytes"]);
        it.looks.again(&it.path("a.wasm"), it.now);
        fs::remove_file(it.path("a.wasm")).expect("removed");
        assert!(it.look().is_empty());
        assert_eq!(it.look(), ["a.wasm: gone"], "it may offer what it held before");
    }

    #[test]
    fn a_file_that_goes_is_told_once_and_one_that_was_never_dealt_with_never() {
        let mut it = Fixture::new();
        it.write("a.wasm", "one");
        it.write("b.wasm", "one");
        assert!(it.look().is_empty());
        fs::remove_file(it.path("b.wasm")).expect("removed");
        assert_eq!(it.look(), ["a.wasm: 3 bytes"]);
        it.done("a.wasm");
        fs::remove_file(it.path("a.wasm")).expect("removed");
        assert!(it.look().is_empty(), "it may come back at once");
        assert_eq!(it.look(), ["a.wasm: gone"]);
        it.done("a.wasm");
        assert!(it.look().is_empty());
        assert!(it.looks.0.is_empty(), "and nothing is remembered of it");
    }

    #[test]
    fn a_file_of_the_same_length_and_time_is_another_one_all_the_same() {
        let mut it = Fixture::new();
        let put = |it: &Fixture, text: &str| {
            let changed = || fs::metadata(it.path("a.wasm")).map(|file| (file.ctime(), file.ctime_nsec())).ok();
            let before = changed();
            // The clock of a file system ticks some hundred times a second.
            while changed() == before {
                it.write("a.wasm", text);
                let file = fs::File::options().write(true).open(it.path("a.wasm")).expect("opened");
                file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1000)).expect("set");
            }
        };
        put(&it, "one");
        assert!(it.look().is_empty());
        assert_eq!(it.look().len(), 1);
        it.done("a.wasm");
        put(&it, "two");
        assert!(it.look().is_empty());
        assert_eq!(it.look(), ["a.wasm: 3 bytes"]);
    }

    #[test]
    fn what_is_no_file_is_told_and_what_is_no_component_is_not() {
        let mut it = Fixture::new();
        fs::create_dir(it.path("folder.wasm")).expect("made");
        symlink(it.path("nowhere"), it.path("link.wasm")).expect("linked");
        symlink(it.path("round.wasm"), it.path("round.wasm")).expect("linked");
        let _socket = std::os::unix::net::UnixListener::bind(it.path("socket.wasm")).expect("bound");
        it.write("notes.txt", "text");
        it.write(".hidden.wasm", "text");
        it.write("real", "text");
        symlink(it.path("real"), it.path("to_real.wasm")).expect("linked");
        assert!(it.look().is_empty());
        let said = it.look();
        assert_eq!(said[0], "folder.wasm: it is a directory, not a file");
        assert!(said[1].starts_with("link.wasm: it is a link to ") && said[1].ends_with("nowhere, which is not there"), "{said:?}");
        assert!(said[2].starts_with("round.wasm: it can't be looked at: "), "{said:?}");
        assert_eq!(said[3..], ["socket.wasm: it is no regular file", "to_real.wasm: 4 bytes"]);
        ["folder.wasm", "link.wasm", "round.wasm", "socket.wasm", "to_real.wasm"].iter().for_each(|name| it.done(name));
        it.write("real", "another text");
        assert!(it.look().is_empty());
        assert_eq!(it.look(), ["to_real.wasm: 12 bytes"], "what a link leads to was saved");
    }

    #[test]
    fn a_folder_with_far_too_many_files_is_looked_at_in_part() {
        let mut it = Fixture::new();
        (0..MAX_FILES + 10).for_each(|n| it.write(&format!("{n:04}.wasm"), "text"));
        assert!(it.look().is_empty());
        let said = it.look();
        assert_eq!(said.len(), MAX_FILES + 1);
        assert!(said[MAX_FILES].contains("there are more than 256 files in this folder"), "{}", said[MAX_FILES]);
    }
}
