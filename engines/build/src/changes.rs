//! Building only what changed.
//!
//! Tools for Python and JavaScript take ten seconds, and what Python's make is different every time, so that whoever compiled it before
//! would compile it again. Beside each component lies therefore a digest of everything that it was made of.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::javascript::COMPONENTIZE_JS;
use crate::python::COMPONENTIZE_PY;
use crate::{BuildError, Component, Tools, build, component, contract};

/// Folders of a project that are made, and not written.
const MADE: [&str; 4] = ["node_modules", "target", "__pycache__", "pilothouse-data"];
/// Files of a project that are made: components, and the notes beside them.
const MADE_FILES: [&str; 2] = ["wasm", "inputs"];

/// What came of it.
#[derive(Debug)]
pub struct Built {
    /// The component, also in the file.
    pub component: Component,
    /// Whether it had to be built. If not, it was there.
    pub fresh: bool,
}

/// Builds the engine in a folder into a file, unless the file was made of the very same project before. The file is replaced in one
/// step, and only if its bytes differ.
///
/// # Errors
/// As [`build`], and when the file can't be written.
pub fn build_if_changed(folder: &Path, tools: &Tools, file: &Path) -> Result<Built, BuildError> {
    build_with_if_changed(folder, file, || build(folder, tools))
}

fn build_with_if_changed(folder: &Path, file: &Path, build: impl FnOnce() -> Result<Component, BuildError>) -> Result<Built, BuildError> {
    let inputs = inputs(folder)?;
    let note = file.with_extension("inputs");
    if let Ok(bytes) = fs::read(file)
        && fs::read_to_string(&note).is_ok_and(|found| found == format!("{inputs}\n{}\n", hex(&Sha256::digest(&bytes))))
    {
        return Ok(Built { component: component::check(bytes)?, fresh: false });
    }
    let component = build()?;
    replace(file, component.bytes())?;
    replace(&note, format!("{inputs}\n{}\n", hex(&Sha256::digest(component.bytes()))).as_bytes())?;
    Ok(Built { component, fresh: true })
}

/// Writes a file whole or not at all, and makes its folder.
fn replace(file: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder).map_err(BuildError::file("making", folder))?;
    let new = tempfile::NamedTempFile::new_in(folder).map_err(BuildError::file("writing", file))?;
    fs::write(new.path(), bytes).map_err(BuildError::file("writing", file))?;
    new.persist(file).map_err(|error| error.error).map_err(BuildError::file("writing", file)).map(drop)
}

/// A digest of all that a component is made of: the project's files, the contract, and which tools are meant.
fn inputs(folder: &Path) -> Result<String, BuildError> {
    let mut hasher = Sha256::new();
    let mut add = |name: &str, bytes: &[u8]| {
        for part in [name.as_bytes(), bytes] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    };
    add("tools", format!("{COMPONENTIZE_PY} {COMPONENTIZE_JS}").as_bytes());
    for (name, text) in contract::FILES {
        add(name, text.as_bytes());
    }
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    for path in files {
        let bytes = fs::read(&path).map_err(BuildError::file("reading", &path))?;
        add(&path.strip_prefix(folder).unwrap_or(&path).to_string_lossy(), &bytes);
    }
    Ok(hex(&hasher.finalize()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), BuildError> {
    for entry in fs::read_dir(folder).map_err(BuildError::file("reading", folder))? {
        let path = entry.map_err(BuildError::file("reading", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || path.extension().is_some_and(|extension| MADE_FILES.iter().any(|made| extension == *made)) {
            continue;
        }
        if !path.is_dir() {
            files.push(path);
        } else if !MADE.contains(&&*name) {
            collect(&path, files)?;
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(mark: &str) -> Component {
        let custom = format!(
            "(component (@custom \"mark\" \"{mark}\") (instance $empty) (export \"pilothouse:engine/engine@0.1.0\" (instance $empty)))"
        );
        component::check(wat::parse_str(custom).expect("well formed")).expect("an engine")
    }

    /// Whether it was built, and whether the file is the component.
    fn built(folder: &Path, file: &Path, mark: &str) -> bool {
        let built = build_with_if_changed(folder, file, || Ok(engine(mark))).expect("it is built");
        assert_eq!(fs::read(file).expect("a file"), built.component.bytes());
        built.fresh
    }

    #[test]
    fn what_did_not_change_is_not_built_again() {
        let (project, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (source, file) = (project.path().join("app.py"), out.path().join("deeper/engine.wasm"));
        fs::write(&source, "a").expect("written");
        assert!(built(project.path(), &file, "1"), "the first time");
        assert!(!built(project.path(), &file, "2"), "nothing changed");

        fs::write(&source, "b").expect("written");
        assert!(built(project.path(), &file, "3"), "the source changed");
        fs::rename(&source, project.path().join("policy.py")).expect("renamed");
        assert!(built(project.path(), &file, "4"), "a file has another name");
        fs::write(&file, "damaged").expect("written");
        assert!(built(project.path(), &file, "5"), "the component is not what was built");
    }

    #[test]
    fn what_tools_leave_in_a_project_changes_nothing() {
        let (project, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let file = out.path().join("engine.wasm");
        assert!(built(project.path(), &file, "1"));
        for left in [
            ".venv/pyvenv.cfg",
            "node_modules/a/index.js",
            "__pycache__/app.pyc",
            "pilothouse-data/nats-url",
            "engine.wasm",
            "engine.inputs",
        ] {
            let path = project.path().join(left);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, "").expect("written");
        }
        assert!(!built(project.path(), &file, "2"));
    }

    #[test]
    fn a_build_that_fails_leaves_the_file_as_it_was_and_is_tried_again() {
        let (project, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let file = out.path().join("engine.wasm");
        assert!(built(project.path(), &file, "1"));
        fs::write(project.path().join("app.py"), "broken").expect("written");
        for _ in 0..2 {
            assert!(build_with_if_changed(project.path(), &file, || Err(BuildError::NoEngine)).is_err());
            assert_eq!(fs::read(&file).expect("a file"), engine("1").bytes());
        }
    }
}
