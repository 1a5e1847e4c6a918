//! `pilothouse compile-component`, which hosts start and nobody else: compiles the component on standard input for a host.

use std::io;
use std::process::ExitCode;

use pilothouse_engine_host::{Compiler, compile_for_another};

/// What the command is called.
pub(crate) const NAME: &str = "compile-component";

/// Compiles, and says what came of it to the host that waits for it.
pub(crate) fn run() -> ExitCode {
    match compile_for_another(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pilothouse: {error}");
            ExitCode::FAILURE
        }
    }
}

/// This program as a compiler. Nothing where it can't be found.
pub(crate) fn this_program() -> Option<Compiler> {
    // On Linux also when the file was replaced by a newer one since this process started.
    let program = if cfg!(target_os = "linux") { Some("/proc/self/exe".into()) } else { std::env::current_exe().ok() };
    program.map(|program| Compiler { program, arguments: vec![NAME.into()] })
}
