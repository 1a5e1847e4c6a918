//! The program `pilothouse`, built with failpoints.

use std::process::ExitCode;

fn main() -> ExitCode {
    pilothouse::cli::main()
}
