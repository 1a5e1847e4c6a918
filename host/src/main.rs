//! The `pilothouse` program. Everything is in the library, so that tests run the same code.

use std::process::ExitCode;

fn main() -> ExitCode {
    pilothouse::cli::main()
}
