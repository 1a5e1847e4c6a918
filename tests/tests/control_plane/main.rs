//! The control plane, as users meet it: every operation over a real nats-server, asked of a host that does not look after the domains.

mod bad_requests;
mod caller;
mod concurrency;
mod guests;
mod pair;
mod played;
mod predecessor;
mod removal;
mod restart;
mod subscribers;
mod user;

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");
