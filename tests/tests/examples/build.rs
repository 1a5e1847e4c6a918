//! From sources to components.

use std::fs;
use std::path::Path;

use pilothouse_engine_build::{BuildError, Tools, build};
use serde_json::Value;
use tempfile::TempDir;

use crate::engine::{Example, examples, tools};

/// A copy of an example, with a text of one file replaced, which must be there.
pub(crate) fn copy(example: &Example, file: &str, old: &str, new: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(&example.folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("copied");
        }
    }
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).expect("text");
    assert!(text.contains(old), "{file} has no {old:?}");
    fs::write(path, text.replace(old, new)).expect("written");
    folder
}

#[test]
fn the_policies_pass_their_own_tests() {
    for example in examples() {
        let mut command = (example.own_tests)();
        let ran = command.current_dir(&example.folder).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{}: {said}", example.name);
        assert!(said.contains("19 tests") || said.contains("# pass 19"), "{}: {said}", example.name);
    }
}

#[test]
fn a_source_that_is_no_source_is_told_in_the_words_of_its_language() {
    let [python, javascript] = examples();
    for (example, file, old, words) in
        [(python, "policy.py", "import json", "SyntaxError"), (javascript, "engine.js", "import { log }", "failed to parse")]
    {
        let broken = copy(example, file, old, "this is no source");
        match build(broken.path(), &tools()) {
            Err(BuildError::Failed { said, .. }) => assert!(said.contains(words), "{}: {said}", example.name),
            other => panic!("{}: {other:?}", example.name),
        }
    }
}

#[test]
fn a_tool_that_is_missing_is_named_with_how_to_get_it() {
    for example in examples() {
        let error = build(&example.folder, &Tools::default().with_path("")).expect_err("there are no tools");
        assert!(matches!(error, BuildError::MissingTool { .. }), "{}: {error}", example.name);
    }
    // With Node, but without the package that does the work.
    let [python, javascript] = examples().each_ref().map(|example| &example.folder);
    let error = build(javascript, &Tools::default()).expect_err("the package is not there").to_string();
    assert!(error.contains("`npm install --save-dev @bytecodealliance/componentize-js@"), "{error}");
    let error = build(python, &Tools::default().with_path("")).expect_err("it is not there").to_string();
    assert!(error.contains("`pip install componentize-py=="), "{error}");
}

#[test]
fn the_package_of_the_example_names_the_version_that_is_installed() {
    let read = |path: &str| -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        serde_json::from_slice(&fs::read(&path).expect("a file")).expect("it is JSON")
    };
    let name = "@bytecodealliance/componentize-js";
    let tools = read("engines/build/src/javascript/package.json");
    assert_eq!(read("examples/javascript-steady/package.json")["devDependencies"][name], tools["dependencies"][name]);
}
