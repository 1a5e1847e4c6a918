//! Processes of this machine: who one is, whether it lives, how it is told to stop, and what it leaves behind.
//!
//! A process id says little: as soon as its owner is gone the system gives it to somebody else. Here a process is its id *and* the
//! moment it was started ([`ProcessId`]), and every signal goes through a descriptor that was opened first and compared afterwards, so
//! that none ever reaches a stranger. The same descriptor tells when the process ends, whether it is a child of ours or was found again
//! after a restart ([`Handle`]).
//!
//! What belongs to an instance is known by a mark in its environment, which children inherit, also those that leave their group or
//! session ([`sweep`]). A process that drops its environment *and* leaves its group is out of reach; nothing short of a control group
//! of the system would hold it, and those need rights that not everyone has.
//!
//! Nothing here knows of instances, NATS or files. The agent drives it for its workers, the local provisioner for its agents. It needs
//! Linux 5.4 or later and a readable `/proc`.

mod handle;
mod identity;
mod signals;
pub mod sweep;

pub use handle::Handle;
pub use identity::ProcessId;
pub use rustix::process::Signal;
pub use signals::asked_to_stop;
