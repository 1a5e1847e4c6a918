//! Files with a digest, as `sha256sum` writes and reads them: 64 digits, two spaces and a name.

use std::path::{Path, PathBuf};

use pilothouse_core::engine::Reference;

/// What such a file is called.
const SUFFIX: &str = ".sha256";

/// The largest that is read, in bytes.
pub(super) const MAX_BYTES: usize = 4096;

/// The file beside another one.
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

/// The same of an address.
pub(super) fn beside_url(url: &reqwest::Url) -> reqwest::Url {
    let mut beside = url.clone();
    beside.set_path(&format!("{}{SUFFIX}", url.path()));
    beside
}

/// What is in it.
pub(super) fn line(digest: &str, file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{digest}  {name}\n")
}

/// The digest in a text: alone, or as the first word of a line.
pub(super) fn read(text: &str) -> Option<String> {
    digest(text.split_whitespace().next()?)
}

/// A digest as people write it, with or without `sha256:`.
pub(super) fn digest(text: &str) -> Option<String> {
    match text.parse() {
        Ok(Reference::Digest(digest)) => Some(digest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_so_is_a_digest_alone() {
        let hex = "ab".repeat(32);
        let written = line(&hex, Path::new("/tmp/keep@1.2.0.wasm"));
        assert_eq!(written, format!("{hex}  keep@1.2.0.wasm\n"));
        for text in [written, hex.clone(), format!("sha256:{}\n", hex.to_uppercase()), format!("{hex} *keep.wasm\n")] {
            assert_eq!(read(&text).as_ref(), Some(&hex), "{text}");
        }
        for text in ["", "\n", "<html>", "ab  keep.wasm"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn it_lies_beside_the_component() {
        assert_eq!(beside(Path::new("a/keep.wasm")), Path::new("a/keep.wasm.sha256"));
        let url = "https://host/a/keep.wasm?token=1".parse().expect("an address");
        assert_eq!(beside_url(&url).as_str(), "https://host/a/keep.wasm.sha256?token=1");
    }
}
