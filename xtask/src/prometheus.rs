//! A Prometheus server for the tests of what the host asks one: the one on the PATH, or the one of Debian's package, unpacked inside the
//! target folder.
//!
//! The package is only unpacked, which takes no privileges; nothing of it is installed and nothing is started. Its server needs the C
//! library and nothing else, so that the packages that it depends on, which are for its pages, are left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::{Workspace, version};

/// The variable that tells tests which server to start.
pub(crate) const VARIABLE: &str = "PILOTHOUSE_PROMETHEUS";

/// Debian's package. Older ones don't answer as today's do.
const PACKAGE: &str = "prometheus";
const OLDEST: [u64; 2] = [2, 30];

/// Finds a server, or unpacks one.
pub(crate) fn provide(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE).map(PathBuf::from) {
        check(&path).with_context(|| format!("{VARIABLE} is set to {}", path.display()))?;
        return Ok(path);
    }
    let folder = workspace.target.join("prometheus");
    let unpacked = folder.join("usr/bin/prometheus");
    let found = process::find("prometheus").into_iter().chain([unpacked.clone()]).find(|path| check(path).is_ok());
    if let Some(path) = found {
        return Ok(path);
    }
    unpack(&folder).and_then(|()| check(&unpacked)).with_context(|| {
        format!(
            "no Prometheus server of version {}.{} or newer, which the tests of pulled sensors start.\n\
             Remedy: put one on the PATH or name it in {VARIABLE}; or have apt-get and dpkg-deb, with lists that know the package \
             {PACKAGE} (`apt-get update` as root), so that it can be unpacked here.\n\
             Debian's package",
            OLDEST[0], OLDEST[1]
        )
    })?;
    Ok(unpacked)
}

/// Whether it runs and is new enough.
fn check(path: &Path) -> Result<()> {
    let said = process::output(Command::new(path).arg("--version"))?;
    let found = version(said.trim_start_matches("prometheus, version "));
    if found.as_slice() < OLDEST.as_slice() {
        bail!("{} is {}, and {}.{} or newer is needed", path.display(), said.lines().next().unwrap_or_default(), OLDEST[0], OLDEST[1]);
    }
    Ok(())
}

/// Whole or not at all: the folder gets its name when everything is in it.
fn unpack(folder: &Path) -> Result<()> {
    eprintln!("set-up: unpacking Debian's package {PACKAGE} into {}", folder.display());
    let (debs, root) = (folder.with_extension("debs"), folder.with_extension("part"));
    for folder in [&debs, &root, &folder.to_owned()] {
        let _ = fs::remove_dir_all(folder);
    }
    for folder in [&debs, &root] {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let download = || process::output(Command::new("apt-get").current_dir(&debs).args(["--quiet", "download", PACKAGE]));
    download().or_else(|error| {
        eprintln!("set-up: apt does not know it yet; updating its lists");
        process::output(Command::new("apt-get").args(["--quiet", "update"])).with_context(|| format!("{error:#}\nand then"))?;
        download()
    })?;
    for deb in fs::read_dir(&debs)? {
        process::output(Command::new("dpkg-deb").arg("--extract").arg(deb?.path()).arg(&root))?;
    }
    fs::remove_dir_all(&debs)?;
    fs::rename(&root, folder).with_context(|| format!("making {}", folder.display()))
}
