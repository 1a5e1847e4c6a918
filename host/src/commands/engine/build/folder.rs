//! The folder of a project: what its component is called, and how its paths are told so that they can be typed.

use std::path::{self, Path};

use crate::output::clean;

/// What the component of the project in this folder is called, without the ending: as the folder, wherever a link to it leads. Nothing for
/// the root of the file system, and for what ends in `..` and is not there.
pub(in super::super) fn component_name(folder: &Path) -> Option<String> {
    let whole = folder.canonicalize().or_else(|_| path::absolute(folder)).ok()?;
    Some(whole.file_name()?.to_string_lossy().into_owned())
}

/// A path as a shell takes it.
pub(in super::super) fn typed(path: &Path) -> String {
    let text = clean(&path.display().to_string());
    // What begins so would be taken for an option.
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_component_is_called_as_its_folder_is_and_not_as_a_link_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).expect("made");
        symlink(&real, &link).expect("linked");
        for path in [&real, &link, &real.join("."), &link.join("../real")] {
            assert_eq!(component_name(path).as_deref(), Some("real"), "{}", path.display());
        }
        assert_eq!(component_name(&folder.path().join("none/mine")).as_deref(), Some("mine"), "what is not there yet");
        assert_eq!(component_name(&folder.path().join("none/..")), None);
        assert_eq!(component_name(Path::new("/")), None);
        assert_ne!(component_name(Path::new(".")).as_deref(), Some("."));
    }

    #[test]
    fn a_path_is_told_so_that_a_shell_takes_it_for_one() {
        let cases = [
            ("engines/mine", "engines/mine"),
            ("my engines/mine", "'my engines/mine'"),
            ("it's/mine", r"'it'\''s/mine'"),
            ("$HOME/mine", "'$HOME/mine'"),
            ("~/mine", "'~/mine'"),
            ("-x/mine", "./-x/mine"),
        ];
        for (path, shown) in cases {
            assert_eq!(typed(Path::new(path)), shown);
        }
    }
}
