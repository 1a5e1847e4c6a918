//! A compiler for the wasm target out of Debian's packages, for machines where rustup can't download.
//!
//! The packages bring a compiler and the source of the standard library, which is built along with the engines, by our own cargo and
//! linked by our own toolchain's linker. The packages are only unpacked, inside the target folder, which takes no privileges; where that
//! does not work they are installed. They build in a folder of their own, so the two compilers never spoil each other's work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::wasm_target::{TARGET, rustc};
use crate::workspace::{Workspace, version};

/// What has to be there: a compiler, and the standard library as source.
pub(crate) const PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// Where the compiler is once the packages are installed.
const INSTALLED: &str = "/usr/bin/rustc";

/// Debian's compiler, ready to be used.
#[derive(Debug)]
pub(crate) struct Toolchain {
    rustc: PathBuf,
    linker: PathBuf,
}

/// Where the packages are unpacked.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("toolchain")
}

/// The script that runs the compiler that was unpacked.
fn script(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("rustc")
}

/// Where this toolchain builds.
pub(crate) fn target_dir(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("build")
}

impl Toolchain {
    /// A cargo command that uses it.
    pub(crate) fn cargo(&self, workspace: &Workspace) -> Command {
        let mut cargo = workspace.cargo();
        cargo
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC", &self.rustc)
            // Building the standard library is an unstable feature, which a released compiler allows only on demand.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &self.linker)
            .env("CARGO_TARGET_DIR", target_dir(workspace));
        cargo
    }

    /// In words that go on after "are built".
    pub(crate) fn describe(&self) -> String {
        format!("with Debian's compiler, {}", self.rustc.display())
    }
}

/// The packages, if they were brought before, or are installed.
pub(crate) fn existing(workspace: &Workspace) -> Option<Toolchain> {
    let found = [script(workspace), PathBuf::from(INSTALLED)].into_iter().find(|rustc| usable(workspace, rustc).is_ok())?;
    Some(Toolchain { rustc: found, linker: linker().ok()? })
}

/// Finds the packages, or brings them. `why` tells why they are needed.
pub(crate) fn provide(workspace: &Workspace, why: &str) -> Result<Toolchain> {
    if let Some(toolchain) = existing(workspace) {
        return Ok(toolchain);
    }
    let (linker, unpacked) = (linker()?, script(workspace));
    process::find("apt-get").context("apt-get is not on the PATH")?;
    eprintln!("set-up: {why}; using Debian's packages {}", PACKAGES.join(" and "));
    let rustc = match unpack(workspace, &unpacked).and_then(|()| usable(workspace, &unpacked)) {
        Ok(()) => unpacked,
        Err(error) => {
            eprintln!("set-up: unpacking them did not work ({error:#}); installing them");
            install().with_context(|| format!("unpacking: {error:#}\nand then"))?;
            let installed = PathBuf::from(INSTALLED);
            usable(workspace, &installed)?;
            installed
        }
    };
    Ok(Toolchain { rustc, linker })
}

/// Whether a compiler runs, is new enough and has the source of its standard library beside it.
fn usable(workspace: &Workspace, rustc: &Path) -> Result<()> {
    if !rustc.is_file() {
        bail!("{} is not there", rustc.display());
    }
    let said = process::output(Command::new(rustc).arg("--version"))?;
    if version(&said) < workspace.rust_version {
        bail!("{} is {}, too old", rustc.display(), said.trim());
    }
    let sysroot = process::output(Command::new(rustc).args(["--print", "sysroot"]))?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std/Cargo.toml");
    if !source.is_file() {
        bail!("{} is not there", source.display());
    }
    Ok(())
}

/// Fetches the packages, and those that they need and that are not installed, and unpacks them. Leaves a script `rustc` that runs the
/// compiler in there; it is written last, so it is there only if all the rest is.
fn unpack(workspace: &Workspace, script: &Path) -> Result<()> {
    let names = wanted(workspace)?;
    let (debs, root) = (folder(workspace).join("debs"), folder(workspace).join("root"));
    for folder in [&debs, &root] {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    eprintln!("set-up: unpacking {} into {}", names.join(", "), root.display());
    process::output(Command::new("apt-get").current_dir(&debs).args(["--quiet", "download"]).args(&names))?;
    for deb in fs::read_dir(&debs)? {
        process::output(Command::new("dpkg-deb").arg("--extract").arg(deb?.path()).arg(&root))?;
    }
    fs::remove_dir_all(&debs)?;

    let compiler = root.join("usr/bin/rustc");
    let libraries = libraries(&root.join("usr/lib")).context("the packages hold no librustc_driver")?;
    let text = format!("#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n", libraries.display(), compiler.display());
    fs::write(script, text).and_then(|()| fs::set_permissions(script, fs::Permissions::from_mode(0o755))).context("writing the script")
}

/// The packages that are needed and not installed, by asking apt what it would do.
fn wanted(workspace: &Workspace) -> Result<Vec<String>> {
    let ask = || process::output(Command::new("apt-get").args(["install", "--simulate", "--no-install-recommends"]).args(PACKAGES));
    let plan = ask().or_else(|error| {
        eprintln!("set-up: apt does not know them yet; updating its lists");
        process::output(Command::new("apt-get").args(["--quiet", "update"])).with_context(|| format!("{error:#}\nand then"))?;
        ask()
    })?;
    let planned = planned(&plan);
    for (name, candidate) in &planned {
        if PACKAGES.contains(&name.as_str()) && version(candidate) < workspace.rust_version {
            bail!("Debian's {name} is {candidate}, too old");
        }
    }
    Ok(planned.into_iter().map(|(name, _)| name).collect())
}

/// Names and versions out of lines like `Inst rustc-web (1.96.0+dfsg1-1 Debian:12/stable [amd64])`.
fn planned(plan: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let version = rest.split_once('(')?.1.split_whitespace().next()?;
        Some((name.to_owned(), version.to_owned()))
    };
    plan.lines().filter_map(line).collect()
}

fn install() -> Result<()> {
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet", "--yes", "install", "--no-install-recommends"]).args(PACKAGES).env("DEBIAN_FRONTEND", "noninteractive");
    process::output(&mut apt).map(|_| ()).context("it takes root")
}

/// The folder with the compiler's shared library; its name has the machine's architecture in it.
fn libraries(folder: &Path) -> Option<PathBuf> {
    let holds = |folder: &PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("librustc_driver"))
    };
    fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).find(holds)
}

/// Debian's compiler comes without a linker for wasm. Ours has one; else LLVM's own may be there.
fn linker() -> Result<PathBuf> {
    let sysroot = process::output(rustc().args(["--print", "sysroot"]))?;
    let said = process::output(rustc().arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).context("`rustc -vV` names no host")?;
    let own = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/rust-lld");
    let found = Some(own.clone()).filter(|path| path.is_file()).or_else(|| process::find("rust-lld")).or_else(|| process::find("wasm-ld"));
    found.with_context(|| format!("no linker for {TARGET}: neither {} nor rust-lld or wasm-ld on the PATH", own.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_would_install_is_read_from_its_plan() {
        let plan = "Reading package lists...\n\
                    Remv rustc [1.63.0]\n\
                    Inst libllvm22 (1:22.1.8-1~deb12u1 Debian-Security:12/oldstable-security [amd64])\n\
                    Inst rustc-web [1.85.0+dfsg3-1] (1.96.0+dfsg1-1~deb12u2 Debian-Security:12/oldstable-security [amd64])\n\
                    Conf rustc-web (1.96.0+dfsg1-1~deb12u2 Debian-Security:12/oldstable-security [amd64])\n";
        let expected = [("libllvm22", "1:22.1.8-1~deb12u1"), ("rustc-web", "1.96.0+dfsg1-1~deb12u2")];
        assert_eq!(planned(plan), expected.map(|(name, version)| (name.to_owned(), version.to_owned())));
    }
}
