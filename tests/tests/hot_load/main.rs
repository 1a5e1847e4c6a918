//! Engines that are pushed, followed, pinned, rolled back, limited and removed while real hosts run, by the program as operators use it.

mod backed_up;
mod faults;
mod following;
mod judged;
mod limits;
mod memories;
mod pace;
mod pulled;
mod pushed;
mod removed;
mod ship;

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");
