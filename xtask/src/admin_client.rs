//! What the admin client in `examples/admin-python` needs: a virtual environment with the packages that it names.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// Installs the packages into a virtual environment in the target folder, unless just these were installed before. The client's test looks
/// there.
pub(crate) fn provide(workspace: &Workspace) -> Result<()> {
    let requirements = workspace.root.join("examples/admin-python/requirements.txt");
    let wanted = fs::read(&requirements).with_context(|| format!("reading {}", requirements.display()))?;
    let venv = workspace.target.join("tools/admin-python");
    // Written last, so it is there only if all the rest is.
    let installed = venv.join("installed.txt");
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("set-up: installing what {} names into {}", requirements.display(), venv.display());
    let _ = fs::remove_dir_all(&venv);
    let python = process::find("python3").context("python3 is not on the PATH")?;
    process::output(Command::new(python).args(["-m", "venv"]).arg(&venv))
        .and_then(|_| {
            let mut pip = Command::new(venv.join("bin/python"));
            process::output(pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements))
        })
        .context("setting up the admin client takes Python 3 with its modules pip and venv (on Debian: `apt-get install python3-venv python3-pip`)")?;
    fs::write(&installed, wanted).with_context(|| format!("writing {}", installed.display()))
}
