//! A compiler that can build for [`TARGET`].
//!
//! The toolchain in use can once rustup has added the target. Where rustup is missing or can't download, [`crate::debian`] brings a
//! compiler of its own. What either of them builds loads the same way.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use crate::{debian, process};

/// What engines are built for: no operating system, so nothing to import but what our interfaces offer.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// How to build for [`TARGET`].
#[derive(Debug)]
pub(crate) enum Compiler {
    /// With the toolchain that builds everything else.
    Own,
    /// With Debian's packages.
    Debian(debian::Toolchain),
}

impl Compiler {
    /// A cargo command that builds for the target, once `build …` is added.
    pub(crate) fn cargo(&self, workspace: &Workspace) -> Command {
        match self {
            Self::Own => workspace.cargo(),
            Self::Debian(toolchain) => toolchain.cargo(workspace),
        }
    }

    /// In words that go on after "are built".
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Own => "with the toolchain in use".to_owned(),
            Self::Debian(toolchain) => toolchain.describe(),
        }
    }

    /// Where that command builds.
    pub(crate) fn target_dir(&self, workspace: &Workspace) -> PathBuf {
        match self {
            Self::Own => workspace.target.clone(),
            Self::Debian(_) => debian::target_dir(workspace),
        }
    }
}

/// Finds a compiler, or brings one.
pub(crate) fn provide(workspace: &Workspace) -> Result<Compiler> {
    let why = if std::env::var_os("PILOTHOUSE_XTASK_NO_RUSTUP").is_some_and(|value| value == "1") {
        "PILOTHOUSE_XTASK_NO_RUSTUP is set".to_owned()
    } else if present()? {
        return Ok(Compiler::Own);
    } else if let Some(toolchain) = debian::existing(workspace) {
        // It was brought because rustup could not; asking again would only wait again.
        return Ok(Compiler::Debian(toolchain));
    } else {
        match with_rustup() {
            Ok(()) => return Ok(Compiler::Own),
            Err(error) => brief(&format!("{error:#}")),
        }
    };
    let toolchain = debian::provide(workspace, &why).with_context(|| {
        format!(
            "no compiler for {TARGET}.\n\
             {why}\n\
             Remedy: `rustup target add {TARGET}` where rustup can download, or, on Debian, `apt-get install {}`.\n\
             Debian",
            debian::PACKAGES.join(" ")
        )
    })?;
    Ok(Compiler::Debian(toolchain))
}

/// Whether the toolchain in use has the target's standard library.
fn present() -> Result<bool> {
    let folder = process::output(rustc().args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(Path::new(folder.trim()).is_dir())
}

fn with_rustup() -> Result<()> {
    process::find("rustup").context("rustup is not on the PATH")?;
    let toolchain = process::output(rustc().args(["--print", "sysroot"]))?;
    eprintln!("set-up: adding the target {TARGET} to the toolchain in {} with rustup", toolchain.trim());
    let mut rustup = Command::new("rustup");
    // A slow or unreachable server should lead to the other way soon, not after minutes of patience.
    rustup.args(["target", "add", TARGET]).env("RUSTUP_MAX_RETRIES", "1").env_remove("RUST_BACKTRACE").stdout(Stdio::null());
    if let Some(name) = Path::new(toolchain.trim()).file_name() {
        rustup.arg("--toolchain").arg(name);
    }
    process::output(&mut rustup)?;
    anyhow::ensure!(present()?, "rustup has added the target, but the compiler in use is not rustup's");
    Ok(())
}

/// Of all that rustup says, what went wrong.
fn brief(said: &str) -> String {
    said.lines().find_map(|line| line.split_once("error: ")).map_or_else(|| said.to_owned(), |(_, error)| format!("rustup: {error}"))
}

/// The compiler in use.
pub(crate) fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from))
}
