//! The files of a project.
//!
//! A project in Python or JavaScript is the example of this repository under another name: what is tested there is what people start from.

use super::{Lang, sdk};

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../../templates/", $path))
    };
}
macro_rules! example {
    ($path:literal) => {
        include_str!(concat!("../../../../../examples/", $path))
    };
}

/// The configuration in `domain.toml` and in `scenario.toml`, in each language.
const WORKERS: [&str; 2] = ["workers = 3\nsite = \"local\"", "{ workers = 3, site = \"local\" }"];
const PRESERVE_N: [&str; 2] = ["preserve_n = 3", "{ preserve_n = 3 }"];

const RUST: [(&str, &str); 9] = [
    ("Cargo.toml", template!("rust/Cargo.toml")),
    ("README.md", template!("rust/README.md")),
    ("documentation.md", template!("rust/documentation.md")),
    (".gitignore", template!("rust/gitignore")),
    ("rustfmt.toml", include_str!("../../../../../rustfmt.toml")),
    ("src/lib.rs", template!("rust/src/lib.rs")),
    ("src/tests.rs", template!("rust/src/tests.rs")),
    ("domain.toml", template!("domain.toml")),
    ("scenario.toml", template!("scenario.toml")),
];

const PYTHON: [(&str, &str); 9] = [
    ("README.md", template!("python/README.md")),
    ("about.py", example!("python-steady/about.py")),
    ("app.py", example!("python-steady/app.py")),
    ("policy.py", example!("python-steady/policy.py")),
    ("test_policy.py", example!("python-steady/test_policy.py")),
    ("requirements.txt", example!("python-steady/requirements.txt")),
    (".gitignore", example!("python-steady/.gitignore")),
    ("domain.toml", template!("domain.toml")),
    ("scenario.toml", template!("scenario.toml")),
];

const JAVASCRIPT: [(&str, &str); 11] = [
    ("README.md", template!("javascript/README.md")),
    ("about.js", example!("javascript-steady/about.js")),
    ("engine.js", example!("javascript-steady/engine.js")),
    ("policy.js", example!("javascript-steady/policy.js")),
    ("policy.test.js", example!("javascript-steady/policy.test.js")),
    ("package.json", example!("javascript-steady/package.json")),
    ("jsconfig.json", example!("javascript-steady/jsconfig.json")),
    (".npmrc", example!("javascript-steady/.npmrc")),
    (".gitignore", example!("javascript-steady/.gitignore")),
    ("domain.toml", template!("domain.toml")),
    ("scenario.toml", template!("scenario.toml")),
];

/// A project, not yet written.
#[derive(Debug)]
pub(super) struct Project {
    /// Paths inside of it, and texts.
    pub(super) files: Vec<(String, String)>,
    /// What to do with it, a command each.
    pub(super) next: Vec<String>,
}

impl Project {
    /// `file` is what its component will be called, without the ending.
    pub(super) fn new(name: &str, lang: Lang, file: &str) -> Self {
        let (own, example, [conf, inline], test, install): (&[_], _, _, _, _) = match lang {
            Lang::Rust => (&RUST, "", WORKERS, "cargo test", ""),
            Lang::Python => (&PYTHON, "steady-python", PRESERVE_N, "python3 -m unittest", " --install-tools"),
            Lang::JavaScript => (&JAVASCRIPT, "steady-javascript", PRESERVE_N, "node --test", " --install-tools"),
        };
        let written = |text: &str| {
            let text = text.replace("{{name}}", name).replace("{{file}}", file).replace("{{conf}}", conf).replace("{{inline}}", inline);
            // The example's own name, and where it finds the contract.
            if example.is_empty() { text } else { text.replace(example, name).replace("../../wit/engine", "wit") }
        };
        let mut files: Vec<_> = own.iter().map(|(path, text)| ((*path).to_owned(), written(text))).collect();
        if lang == Lang::Rust {
            files.extend(sdk::crate_files().into_iter().map(|(path, text)| (format!("pilothouse-engine/{path}"), text)));
        } else {
            let ignore = files.iter_mut().find(|(path, _)| path == ".gitignore");
            ignore.into_iter().for_each(|(_, text)| text.push_str("*.wasm\n*.inputs\n/pilothouse-data/\n"));
            files.extend(sdk::contract().map(|(path, text)| (format!("wit/{path}"), text)));
        }
        let next = [
            test,
            &format!("pilothouse engine build{install}"),
            &format!("pilothouse engine check {file}.wasm"),
            "pilothouse simulate scenario.toml",
            "pilothouse up domain.toml",
        ];
        Self { files, next: next.map(str::to_owned).to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Lang; 3] = [Lang::Rust, Lang::Python, Lang::JavaScript];

    #[test]
    fn a_project_has_its_own_name_everywhere() {
        for lang in ALL {
            for (path, text) in Project::new("keep", lang, "kept").files {
                assert!(["{{name}}", "{{file}}", "{{conf}}", "{{inline}}"].iter().all(|gap| !text.contains(gap)), "{path} has a gap");
                assert!(!text.contains("steady-"), "{path} has the name of the example");
                assert!(!text.contains("../../"), "{path} points out of the project");
                assert!(!text.contains("xtask"), "{path} speaks of this repository");
            }
        }
    }

    #[test]
    fn the_domain_asks_for_the_engine_and_names_its_component() {
        for lang in ALL {
            let files = Project::new("keep", lang, "kept").files;
            let (_, domain) = files.iter().find(|file| file.0 == "domain.toml").expect("it is there");
            let domain: toml::Table = domain.parse().expect("TOML");
            assert_eq!(domain["engine"]["keep"]["file"].as_str(), Some("kept.wasm"));
            assert_eq!(domain["domain"]["web"]["general"]["engine"].as_str(), Some("keep"));
        }
    }
}
