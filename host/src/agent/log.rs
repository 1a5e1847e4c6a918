//! The log of one stream of a worker: written by the worker itself, kept from growing without end, and read from behind.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// A log that has grown beyond this is emptied: the disk of a machine is worth more than the output of a worker that writes in a loop.
/// It is looked at once a heartbeat, so it may be larger for a moment.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// One log file.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// What was written before is not ours.
    begin: u64,
}

impl Log {
    /// Opens a log, to be added to.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::options().create(true).append(true).read(true).open(&path)?;
        let begin = file.metadata()?.len();
        Ok(Self { path, file, begin })
    }

    /// For the worker, which adds at the end, wherever that is.
    pub(super) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Empties the log if it has grown too large.
    pub(super) fn trim(&mut self) {
        self.trim_to(MAX_BYTES);
    }

    fn trim_to(&mut self, most: u64) {
        let emptied = self.file.metadata().and_then(|meta| if meta.len() > most { self.file.set_len(0).map(|()| true) } else { Ok(false) });
        match emptied {
            Ok(true) => {
                self.begin = 0;
                tracing::warn!(log = %self.path.display(), "emptied: it had grown beyond {most} bytes");
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(log = %self.path.display(), %error, "can't be kept short"),
        }
    }

    /// The end of what was written, at most so many bytes of text. Nothing when nothing was written, or it can't be read.
    ///
    /// Characters that are no text are shown as `�`, so that a message with it stays short, whatever the worker wrote.
    pub(super) fn tail(&self, most: usize) -> Option<String> {
        let mut file = &self.file;
        let end = file.metadata().ok()?.len();
        let from = self.begin.min(end).max(end.saturating_sub(most as u64));
        file.seek(SeekFrom::Start(from)).ok()?;
        let mut bytes = Vec::new();
        file.take(most as u64).read_to_end(&mut bytes).ok()?;
        let text: String = String::from_utf8_lossy(&bytes)
            .chars()
            .map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c })
            .collect();
        let mut cut = text.len().saturating_sub(most);
        while !text.is_char_boundary(cut) {
            cut += 1;
        }
        Some(text[cut..].to_owned()).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn log_with(bytes: &[u8]) -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("log"), "of another run\n").expect("written");
        let log = Log::open(dir.path().join("log")).expect("opened");
        log.writer().expect("cloned").write_all(bytes).expect("written");
        (dir, log)
    }

    #[test]
    fn the_tail_is_what_this_run_wrote_last() {
        assert_eq!(log_with(b"").1.tail(100), None);
        assert_eq!(log_with(b"boom\n").1.tail(100).as_deref(), Some("boom\n"));
        assert_eq!(log_with(b"one\ntwo\n").1.tail(5).as_deref(), Some("\ntwo\n"));
    }

    #[test]
    fn a_tail_stays_short_whatever_was_written() {
        for bytes in [vec![0xff; 5000], vec![0; 5000], "ü".repeat(3000).into_bytes(), vec![b'"'; 5000]] {
            let tail = log_with(&bytes).1.tail(2048).expect("something was written");
            assert!(tail.len() <= 2048);
            assert!(serde_json::to_string(&tail).expect("JSON").len() <= 2 * 2048 + 2);
        }
    }

    #[test]
    fn a_log_that_grew_too_large_is_emptied_and_goes_on() {
        let (_dir, mut log) = log_with(&[b'x'; 1000]);
        let mut writer = log.writer().expect("cloned");
        log.trim_to(10_000);
        assert_eq!(log.tail(10).as_deref(), Some("xxxxxxxxxx"));
        log.trim_to(100);
        assert_eq!(log.tail(10), None);
        writer.write_all(b"on\n").expect("written");
        assert_eq!(log.tail(10).as_deref(), Some("on\n"));
    }
}
