//! Python: `componentize-py` puts an interpreter and the project's modules, already imported, into one component.
//!
//! What the interpreter wants of WASI the host serves from the decision: `time` shows its moment, `random` draws from its seed, `print` writes
//! into its log. The seed of Python's string hashes is drawn while building and stays in the component. So an engine that lets the order of a
//! set show decides the same every time, until it is built again.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::tools::Tools;
use crate::{BuildError, Component, Language, command, component, contract};

/// The version that is installed. Fixed, so that every machine builds with the same.
pub(crate) const COMPONENTIZE_PY: &str = "0.25.1";

/// The package that does the work, and the program in it.
const TOOL: &str = "componentize-py";

/// The module with the class `Engine`.
const MODULE: &str = "app";

/// What it is told, before the folder.
pub(crate) const HOW: [&str; 4] = ["--world", contract::WORLD, "componentize", "--python-path"];

/// Where the tools are, inside a folder.
pub(crate) const VENV: &str = ".venv";

/// Builds the project.
pub(crate) fn build(folder: &Path, tools: &Tools) -> Result<Component, BuildError> {
    let (program, venv) = find(folder, tools)?;
    let contract = contract::written()?;
    let out = TempDir::with_prefix("pilothouse-build-").map_err(BuildError::file("making", &std::env::temp_dir()))?;
    let file = out.path().join("engine.wasm");
    let mut componentize = Command::new(program);
    componentize.arg("--wit-path").arg(contract.path()).args(HOW).arg(folder);
    componentize.arg("--output").arg(&file).arg(MODULE).current_dir(folder).env("PYTHONDONTWRITEBYTECODE", "1");
    if let Some(venv) = venv {
        // So that what else is installed there can be imported.
        componentize.env("VIRTUAL_ENV", venv);
    }
    command::output(&mut componentize)?;
    component::check(fs::read(&file).map_err(BuildError::file("reading", &file))?)
}

/// The program, and the virtual environment that it is in.
fn find(project: &Path, tools: &Tools) -> Result<(PathBuf, Option<PathBuf>), BuildError> {
    let venvs = tools.folders(project).map(|folder| folder.join(VENV));
    if let Some(venv) = venvs.into_iter().find(|venv| in_venv(venv).is_file()) {
        return Ok((in_venv(&venv), Some(venv)));
    }
    let on_path = tools.program(TOOL).map(|program| (program, None));
    on_path.ok_or_else(|| BuildError::MissingTool {
        tool: TOOL,
        language: Language::Python,
        looked: format!("{} nor on the PATH", tools.looked(project, VENV)),
        remedy: format!("`pip install {TOOL}=={COMPONENTIZE_PY}`"),
    })
}

fn in_venv(venv: &Path) -> PathBuf {
    venv.join("bin").join(TOOL)
}

/// Makes the virtual environment, with what the project's `requirements.txt` names, and the tool if it does not.
pub(crate) fn provide(folder: &Path, tools: &Tools, say: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
    let venv = folder.join(VENV);
    let requirements = folder.join("requirements.txt");
    // A project that names the tool has it in the version that it wants.
    let names_it = fs::read_to_string(&requirements).is_ok_and(|text| text.lines().any(|line| line.trim().starts_with(TOOL)));
    let found = command::output(Command::new(in_venv(&venv)).arg("--version"));
    if found.is_ok_and(|found| names_it || found.trim() == format!("{TOOL} {COMPONENTIZE_PY}")) {
        return Ok(());
    }
    let python = tools.program("python3").ok_or_else(|| BuildError::MissingTool {
        tool: "python3",
        language: Language::Python,
        looked: "on the PATH".to_owned(),
        remedy: "your system's packages (on Debian `apt-get install python3-venv`)".to_owned(),
    })?;
    let mut wanted = Vec::new();
    let mut words = Vec::new();
    if !names_it {
        wanted.push(format!("{TOOL}=={COMPONENTIZE_PY}").into());
        words.push(format!("the Python package {TOOL} {COMPONENTIZE_PY}"));
    }
    if requirements.is_file() {
        words.push(format!("what {} names", requirements.display()));
        wanted.extend([OsString::from("--requirement"), requirements.into()]);
    }
    say(&format!("installing {} into {}", words.join(" and "), venv.display()));
    command::output(Command::new(python).args(["-m", "venv", "--clear"]).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(wanted);
    command::output(&mut pip).map(drop)
}
