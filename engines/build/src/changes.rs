//! Building only what changed.
//!
//! Tools for Python and JavaScript take ten seconds, and what Python's make is different every time, so that whoever compiled it before
//! would compile it again. Beside each component lies therefore a digest of everything that it was made of.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::javascript::{COMPONENTIZE_JS, MODULES, SCRIPT};
use crate::python::{COMPONENTIZE_PY, HOW, VENV};
use crate::{BuildError, Component, Language, Tools, build, component, contract};

/// Folders that are made, and not written, wherever they are in a project.
const MADE: &str = "__pycache__";
/// Folders that are made right in a project. Deeper inside, whoever wrote the engine may have called anything so.
const MADE_IN_PROJECT: [&str; 2] = [MODULES, "pilothouse-data"];
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
/// step.
///
/// Of packages that are installed beside the project, or where its tools are, only the names and versions are looked at. A package that was
/// changed in its place goes unnoticed: for that there is [`build_anyway`].
///
/// # Errors
/// As [`build`], and when the file can't be written.
pub fn build_if_changed(folder: &Path, tools: &Tools, file: &Path) -> Result<Built, BuildError> {
    build_with_if_changed(folder, tools, file, || build(folder, tools))
}

/// Builds the engine in a folder into a file, also if the file was made of the very same project before.
///
/// # Errors
/// As [`build_if_changed`].
pub fn build_anyway(folder: &Path, tools: &Tools, file: &Path) -> Result<Built, BuildError> {
    build_with(&inputs(folder, tools)?, file, || build(folder, tools))
}

fn build_with_if_changed(
    folder: &Path,
    tools: &Tools,
    file: &Path,
    build: impl FnOnce() -> Result<Component, BuildError>,
) -> Result<Built, BuildError> {
    let inputs = inputs(folder, tools)?;
    if let Ok(bytes) = fs::read(file)
        && fs::read_to_string(note(file)).is_ok_and(|found| found == format!("{inputs}\n{}\n", hex(&Sha256::digest(&bytes))))
    {
        return Ok(Built { component: component::check(bytes)?, fresh: false });
    }
    build_with(&inputs, file, build)
}

fn build_with(inputs: &str, file: &Path, build: impl FnOnce() -> Result<Component, BuildError>) -> Result<Built, BuildError> {
    let component = build()?;
    replace(file, component.bytes())?;
    replace(&note(file), format!("{inputs}\n{}\n", hex(&Sha256::digest(component.bytes()))).as_bytes())?;
    Ok(Built { component, fresh: true })
}

/// Where the digest is of what a component was made of.
fn note(file: &Path) -> PathBuf {
    file.with_extension("inputs")
}

/// Writes a file whole or not at all, and makes its folder.
fn replace(file: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder).map_err(BuildError::file("making", folder))?;
    let new = tempfile::NamedTempFile::new_in(folder).map_err(BuildError::file("writing", file))?;
    fs::write(new.path(), bytes).map_err(BuildError::file("writing", file))?;
    new.persist(file).map_err(|error| error.error).map_err(BuildError::file("writing", file)).map(drop)
}

/// A digest of all that a component is made of: the project's files, the contract, which tools are meant and how they are used, and which
/// packages are installed.
fn inputs(folder: &Path, tools: &Tools) -> Result<String, BuildError> {
    let mut hasher = Sha256::new();
    let mut add = |name: &str, bytes: &[u8]| {
        for part in [name.as_bytes(), bytes] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    };
    add("tools", format!("{COMPONENTIZE_PY} {COMPONENTIZE_JS}").as_bytes());
    // A newer pilothouse may use the same tools in another way.
    add("how", format!("{HOW:?} {SCRIPT}").as_bytes());
    for (name, text) in contract::FILES {
        add(name, text.as_bytes());
    }
    for at in tools.folders(folder) {
        for (name, version) in installed(at) {
            add(&name, &version);
        }
    }
    let mut files = Vec::new();
    let mut made = MADE_IN_PROJECT.to_vec();
    if folder.join(Language::Rust.mark()).is_file() {
        made.push("target");
    }
    collect(folder, &made, &mut files)?;
    files.sort();
    for path in files {
        let bytes = fs::read(&path).map_err(BuildError::file("reading", &path))?;
        add(&path.strip_prefix(folder).unwrap_or(&path).to_string_lossy(), &bytes);
    }
    Ok(hex(&hasher.finalize()))
}

/// The packages that are installed in a folder, each with what says its version. What can't be read is not there: builds don't need it.
fn installed(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let modules = folder.join(MODULES);
    // What npm installed, it lists here, with versions. Others don't.
    match fs::read(modules.join(".package-lock.json")) {
        Ok(list) => found.push((MODULES.to_owned(), list)),
        Err(_) => {
            let (scopes, packages): (Vec<_>, Vec<_>) = entries(&modules).partition(|path| named(path).starts_with('@'));
            let packages = packages.into_iter().chain(scopes.iter().flat_map(|scope| entries(scope)));
            found.extend(packages.filter_map(|path| Some((named(&path), fs::read(path.join("package.json")).ok()?))));
        }
    }
    // pip writes the version into the name of a folder: `componentize_py-0.25.1.dist-info`.
    let libraries = entries(&folder.join(VENV).join("lib")).flat_map(|python| entries(&python.join("site-packages")));
    found.extend(libraries.filter(|path| named(path).ends_with(".dist-info")).map(|path| (named(&path), Vec::new())));
    found.sort();
    found
}

/// What is in a folder; nothing if it is not there.
fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

/// The last part of a path.
fn named(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// All files of a project, without what is made: also not what is in the folders called `made` right in it.
fn collect(folder: &Path, made: &[&str], files: &mut Vec<PathBuf>) -> Result<(), BuildError> {
    for entry in fs::read_dir(folder).map_err(BuildError::file("reading", folder))? {
        let path = entry.map_err(BuildError::file("reading", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || path.extension().is_some_and(|extension| MADE_FILES.iter().any(|made| extension == *made)) {
            continue;
        }
        if !path.is_dir() {
            files.push(path);
        } else if name != MADE && !made.contains(&&*name) {
            collect(&path, &[], files)?;
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

    /// Writes a file of a project.
    fn put(project: &Path, path: &str, text: &str) {
        let path = project.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// Whether it was built, and whether the file is the component.
    fn built(folder: &Path, file: &Path, mark: &str) -> bool {
        let built = build_with_if_changed(folder, &Tools::default(), file, || Ok(engine(mark))).expect("it is built");
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
            put(project.path(), left, "");
        }
        assert!(!built(project.path(), &file, "2"));
    }

    #[test]
    fn a_folder_of_the_engine_s_own_is_looked_at_whatever_it_is_called() {
        let (project, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let file = out.path().join("engine.wasm");
        assert!(built(project.path(), &file, "1"));
        for own in ["target/policy.py", "src/target/policy.py", "src/node_modules/own.js", "src/pilothouse-data/table.json"] {
            put(project.path(), own, "a");
            assert!(built(project.path(), &file, own), "{own} is new");
            put(project.path(), own, "b");
            assert!(built(project.path(), &file, &format!("{own} again")), "{own} changed");
        }
    }

    #[test]
    fn what_cargo_makes_changes_nothing() {
        let (project, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let file = out.path().join("engine.wasm");
        put(project.path(), "Cargo.toml", "");
        assert!(built(project.path(), &file, "1"));
        put(project.path(), "target/debug/engine.d", "");
        assert!(!built(project.path(), &file, "2"));
    }

    #[test]
    fn another_version_of_what_is_installed_is_a_change() {
        let (project, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let file = out.path().join("engine.wasm");
        assert!(built(project.path(), &file, "1"));
        let installed = [
            ("node_modules/a/package.json", "1"),
            ("node_modules/a/package.json", "2"),
            ("node_modules/@scope/b/package.json", "1"),
            ("node_modules/@scope/b/package.json", "2"),
            ("node_modules/.package-lock.json", "1"),
            ("node_modules/.package-lock.json", "2"),
            (".venv/lib/python3.11/site-packages/a-1.0.dist-info/METADATA", ""),
            (".venv/lib/python3.11/site-packages/a-1.1.dist-info/METADATA", ""),
        ];
        for (path, text) in installed {
            put(project.path(), path, text);
            let mark = format!("{path} {text}");
            assert!(built(project.path(), &file, &mark), "{mark}");
            assert!(!built(project.path(), &file, "again"), "{mark}: nothing changed since");
        }
    }

    #[test]
    fn what_is_built_anyway_is_not_built_again_afterwards() {
        let (project, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let file = out.path().join("engine.wasm");
        assert!(built(project.path(), &file, "1"));
        let inputs = inputs(project.path(), &Tools::default()).expect("read");
        let again = build_with(&inputs, &file, || Ok(engine("2"))).expect("it is built");
        assert!(again.fresh && fs::read(&file).expect("a file") == engine("2").bytes());
        assert!(!built(project.path(), &file, "3"));
    }

    #[test]
    fn a_build_that_fails_leaves_the_file_as_it_was_and_is_tried_again() {
        let (project, out) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let file = out.path().join("engine.wasm");
        assert!(built(project.path(), &file, "1"));
        fs::write(project.path().join("app.py"), "broken").expect("written");
        for _ in 0..2 {
            assert!(build_with_if_changed(project.path(), &Tools::default(), &file, || Err(BuildError::NoEngine)).is_err());
            assert_eq!(fs::read(&file).expect("a file"), engine("1").bytes());
        }
    }
}
