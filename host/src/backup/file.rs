//! Writing and reading a backup file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Read as _, Write};

use pilothouse_core::name::{DomainKey, Name};
use pilothouse_core::state::Life;
use pilothouse_core::time::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::line::{Header, Line, OLDEST, Trailer, VERSION, hex};
use super::make::used_by;
use crate::store::MAX_RECORD;

/// The longest first line, in bytes: a file that is none of ours need not be read further.
const MAX_HEADER: u64 = 4096;

/// The longest line, in bytes: a domain is one record of the journal, and a component is not larger.
const MAX_LINE: u64 = 2 * MAX_RECORD as u64;

/// The largest component that a line holds, in bytes: four characters for three of them, and what else is in the line.
pub(super) const MAX_COMPONENT: usize = (2 * MAX_RECORD - 1024) / 4 * 3;

/// A backup file can't be used. Nothing of it was restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It can't be read.
    #[error("reading the backup")]
    Read(#[from] io::Error),
    /// It is something else.
    #[error("this is no backup of Pilothouse: its first line is not a header")]
    Foreign,
    /// It was made by another version.
    #[error("this backup has format {found}, and this program reads {OLDEST} to {VERSION}: use the program that made it")]
    Version {
        /// Of the file.
        found: u64,
    },
    /// It ends too early.
    #[error("this backup is cut off after line {after}: it has no end")]
    CutOff {
        /// The last whole line.
        after: u64,
    },
    /// It is not as it was written.
    #[error("this backup was altered or damaged: {what}")]
    Damaged {
        /// What shows it.
        what: String,
    },
}

/// Writes a backup, line by line.
#[derive(Debug)]
pub(super) struct Writer<W> {
    out: W,
    hash: Sha256,
    trailer: Trailer,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    pub(super) fn begin(out: W, at: Timestamp, prefix: &str) -> io::Result<Self> {
        let mut writer = Self { out, hash: Sha256::new(), trailer: Trailer::default(), bytes: 0 };
        let program = env!("CARGO_PKG_VERSION").to_owned();
        writer.write(&Line::Header(Header { version: VERSION, at, prefix: prefix.to_owned(), program }))?;
        Ok(writer)
    }

    /// Adds a thing.
    pub(super) fn add(&mut self, line: &Line) -> io::Result<()> {
        self.trailer.count(line);
        self.write(line)
    }

    /// Closes the backup. What it was written to, the counts, and how many bytes it has.
    pub(super) fn end(mut self) -> io::Result<(W, Trailer, u64)> {
        self.trailer.sha256 = hex(&self.hash.clone().finalize());
        let trailer = self.trailer.clone();
        self.write(&Line::End(trailer))?;
        self.out.flush()?;
        Ok((self.out, self.trailer, self.bytes))
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if text.len() as u64 > MAX_LINE {
            return Err(io::Error::other(format!("a line of {} bytes; at most {MAX_LINE} can be read again", text.len())));
        }
        self.hash.update(&text);
        self.bytes += text.len() as u64;
        self.out.write_all(&text)
    }
}

/// Reads a backup, line by line. What it shows is known to be whole only when it has come to the end.
#[derive(Debug)]
pub(super) struct Reader<R> {
    input: R,
    hash: Sha256,
    counted: Trailer,
    lines: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    pub(super) fn begin(input: R) -> Result<(Self, Header), FileError> {
        #[derive(Deserialize)]
        struct First {
            pilothouse_backup: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let mut reader = Self { input, hash: Sha256::new(), counted: Trailer::default(), lines: 0 };
        let text = match reader.line(MAX_HEADER) {
            Err(FileError::Damaged { .. } | FileError::CutOff { .. }) => return Err(FileError::Foreign),
            read => read?,
        };
        // The version first: of another one nothing else need be as it is here.
        let First { pilothouse_backup: Version { version } } = serde_json::from_slice(&text).map_err(|_| FileError::Foreign)?;
        if !(u64::from(OLDEST)..=u64::from(VERSION)).contains(&version) {
            return Err(FileError::Version { found: version });
        }
        reader.hash.update(&text);
        match serde_json::from_slice(&text) {
            Ok(Line::Header(header)) => Ok((reader, header)),
            Ok(_) | Err(_) => Err(reader.damaged("the header makes no sense")),
        }
    }

    /// The next thing; nothing at the end, when the trailer says the same as was read.
    pub(super) fn next(&mut self) -> Result<Option<Line>, FileError> {
        let text = self.line(MAX_LINE)?;
        let line: Line = serde_json::from_slice(&text).map_err(|error| self.damaged(&error.to_string()))?;
        match &line {
            Line::Header(_) => return Err(self.damaged("a second header")),
            Line::End(_) => {
                self.counted.sha256 = hex(&self.hash.clone().finalize());
                // To the byte, since no checksum covers it.
                let expected = serde_json::to_vec(&Line::End(self.counted.clone())).map_err(io::Error::from)?;
                if text.strip_suffix(b"\n") != Some(expected.as_slice()) {
                    return Err(self.damaged("its content does not have the checksum and the counts that its end tells"));
                }
                return match self.input.fill_buf()? {
                    [] => Ok(None),
                    _ => Err(self.damaged("there is something after its end")),
                };
            }
            Line::Engine(engine) if hex(&Sha256::digest(&engine.component)) != engine.digest => {
                return Err(self.damaged("a component that does not have the digest it is called by"));
            }
            Line::Domain(state) if !matches!(state.life, Life::Active | Life::Removing) => {
                return Err(self.damaged("a domain that is not there"));
            }
            Line::Definition(_) | Line::Engine(_) | Line::Registry(_) | Line::Domain(_) => {}
        }
        self.hash.update(&text);
        self.counted.count(&line);
        Ok(Some(line))
    }

    /// One line, whole.
    fn line(&mut self, most: u64) -> Result<Vec<u8>, FileError> {
        let mut text = Vec::new();
        self.input.by_ref().take(most).read_until(b'\n', &mut text)?;
        if text.last() != Some(&b'\n') {
            return Err(if text.len() as u64 == most { self.damaged("it is too long") } else { FileError::CutOff { after: self.lines } });
        }
        self.lines += 1;
        Ok(text)
    }

    fn damaged(&self, what: &str) -> FileError {
        FileError::Damaged { what: format!("line {}: {what}", self.lines) }
    }
}

/// What a backup holds, read to its end and found whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) header: Header,
    pub(super) definitions: BTreeSet<Name>,
    pub(super) engines: BTreeSet<String>,
    /// The engines of which the registry said something.
    pub(super) registry: BTreeSet<Name>,
    /// The domains, each with the digests of the engines that it needs.
    pub(super) domains: BTreeMap<DomainKey, BTreeSet<String>>,
}

/// Reads a backup to its end and judges it.
///
/// # Errors
/// When it is none, is not whole, or has something twice.
pub(super) fn verify(input: impl BufRead) -> Result<Contents, FileError> {
    let (mut reader, header) = Reader::begin(input)?;
    let mut contents =
        Contents { header, definitions: BTreeSet::new(), engines: BTreeSet::new(), registry: BTreeSet::new(), domains: BTreeMap::new() };
    while let Some(line) = reader.next()? {
        let is_new = match line {
            Line::Definition(definition) => contents.definitions.insert(definition.name),
            Line::Engine(engine) => contents.engines.insert(engine.digest),
            Line::Registry(registered) => contents.registry.insert(registered.name),
            Line::Domain(state) => {
                let needs = used_by(&state).filter(|digest| !digest.is_empty()).cloned().collect();
                contents.domains.insert(state.key, needs).is_none()
            }
            Line::Header(_) | Line::End(_) => true,
        };
        if !is_new {
            return Err(reader.damaged("something that is there already"));
        }
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use pilothouse_core::state::DomainState;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::line::{Definition, Engine, Registered};
    use super::*;
    use crate::driver::definitions::Written;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn domain(of: &str) -> Line {
        let key = DomainKey { owner: name("ann"), name: name(of) };
        let slot = key.slot(256);
        let mut state = DomainState::absent(key, slot);
        state.life = Life::Active;
        Line::Domain(Box::new(state))
    }

    fn definition() -> Line {
        let written =
            Written { definition: json!({"engine_conf": {"n": 1}}), engine: "simplest".to_owned(), by: name("ann"), at: Timestamp::ZERO };
        Line::Definition(Definition { name: name("small"), written })
    }

    fn engine() -> Line {
        let component = b"\0asm".to_vec();
        Line::Engine(Engine { digest: hex(&Sha256::digest(&component)), component })
    }

    fn registered() -> Line {
        Line::Registry(Registered { name: name("simplest"), entry: json!({"v": 1, "limits": {}}) })
    }

    fn written(lines: &[Line]) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), Timestamp::from_secs(1_700_000_000), "ph").expect("begun");
        lines.iter().for_each(|line| writer.add(line).expect("added"));
        writer.end().expect("ended").0
    }

    fn sample() -> Vec<u8> {
        written(&[definition(), engine(), registered(), domain("web"), domain("jobs")])
    }

    #[test]
    fn what_was_written_is_read_again() {
        let contents = verify(&*sample()).expect("whole");
        assert_eq!(contents.domains.into_keys().map(|key| key.to_string()).collect::<Vec<_>>(), ["ann/jobs", "ann/web"]);
        assert_eq!((contents.definitions.len(), contents.engines.len(), contents.registry.len()), (1, 1, 1));
        assert_eq!((contents.header.version, contents.header.prefix.as_str()), (VERSION, "ph"));
    }

    #[test]
    fn the_largest_component_fits_into_a_line() {
        let line = Line::Engine(Engine { digest: hex(&Sha256::digest("")), component: Vec::new() });
        let about_it = serde_json::to_vec(&line).expect("a line").len() + 1;
        assert!((MAX_COMPONENT.div_ceil(3) * 4 + about_it) as u64 <= MAX_LINE);
    }

    #[test]
    fn a_backup_that_was_cut_off_anywhere_is_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            assert!(verify(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
        }
    }

    #[test]
    fn a_backup_of_which_one_bit_was_turned_is_refused() {
        let whole = sample();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut altered = whole.clone();
                altered[at] ^= 1 << bit;
                assert!(verify(&*altered).is_err(), "bit {bit} of byte {at}: {}", String::from_utf8_lossy(&altered));
            }
        }
    }

    #[test]
    fn whole_lines_that_are_missing_moved_or_doubled_are_found_out() {
        let whole = String::from_utf8(sample()).expect("text");
        let lines: Vec<&str> = whole.lines().collect();
        let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        for at in 1..lines.len() - 1 {
            let without: Vec<_> = lines.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, line)| *line).collect();
            assert!(verify(joined(&without).as_bytes()).is_err(), "without line {at}");
            let mut doubled = lines.clone();
            doubled.insert(at, lines[at]);
            assert!(verify(joined(&doubled).as_bytes()).is_err(), "line {at} twice");
        }
        let mut swapped = lines.clone();
        swapped.swap(1, 2);
        assert!(verify(joined(&swapped).as_bytes()).is_err());
        assert!(verify((whole.clone() + "{}\n").as_bytes()).is_err(), "something after the end");
        for twice in [[domain("web"), domain("web")], [registered(), registered()]] {
            let error = verify(&*written(&twice)).expect_err("twice, and well closed");
            assert!(error.to_string().contains("already"), "{error}");
        }
    }

    #[test]
    fn what_is_no_backup_is_called_so_and_a_later_format_is_named() {
        for foreign in [&b""[..], b"\n", b"{}\n", b"[general]\nengine = 1\n", &[0_u8; 10_000]] {
            assert!(matches!(verify(foreign), Err(FileError::Foreign)), "{:?}", &foreign[..foreign.len().min(20)]);
        }
        let later = b"{\"pilothouse_backup\":{\"version\":3,\"colour\":\"red\"}}\n";
        assert!(matches!(verify(&later[..]), Err(FileError::Version { found: 3 })));
    }

    #[test]
    fn a_backup_of_the_first_version_is_read_as_it_was_written() {
        let now = String::from_utf8(written(&[definition(), engine(), domain("web"), domain("jobs")])).expect("text");
        let body = now.replacen(&format!("\"version\":{VERSION}"), "\"version\":1", 1);
        let (body, _) = body.split_at(body.find("{\"end\"").expect("an end"));
        // As the first version wrote it, which knew of no registry.
        let sha256 = hex(&Sha256::digest(body));
        let end = format!("{{\"end\":{{\"definitions\":1,\"engines\":1,\"domains\":2,\"sha256\":\"{sha256}\"}}}}\n");
        let contents = verify((body.to_owned() + &end).as_bytes()).expect("whole");
        assert_eq!((contents.header.version, contents.domains.len(), contents.definitions.len(), contents.engines.len()), (1, 2, 1, 1));
        assert!(contents.registry.is_empty());
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), json in ".*") {
            let _ = verify(&*bytes);
            let whole = sample();
            let cut = at.index(whole.len());
            prop_assert!(verify(&*[&whole[..cut], &bytes, &whole[cut..]].concat()).is_err() || bytes.is_empty());
            let first = whole.iter().position(|byte| *byte == b'\n').unwrap_or_default();
            for line in ["domain", "engine", "registry", "definition", "end"] {
                let line = serde_json::json!({line: {"key": json, "digest": json, "component": json, "sha256": json}}).to_string() + "\n";
                prop_assert!(verify(&*[&whole[..=first], line.as_bytes()].concat()).is_err());
            }
        }
    }
}
