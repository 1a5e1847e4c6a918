//! Who a process is.

use std::fmt;
use std::sync::OnceLock;

use procfs::process::{Process, Stat};
use serde::{Deserialize, Serialize};

/// One process and no other: its number, the moment it was started, and the boot of the machine in which that moment counts.
///
/// Numbers are used again; the three together are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessId {
    /// The number the system gave it.
    pub pid: u32,
    /// When it was started, in clock ticks since the machine was.
    pub started: u64,
    /// Which run of the machine.
    pub boot: String,
}

impl ProcessId {
    /// Who has this number now; nothing when nobody has. One that has ended and was not yet waited for still has its number.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?;
        Self::from_stat(&stat)
    }

    pub(super) fn from_stat(stat: &Stat) -> Option<Self> {
        Some(Self { pid: u32::try_from(stat.pid).ok()?, started: stat.starttime, boot: this_boot()?.to_owned() })
    }

    /// Whether it runs. One that has ended does not, waited for or not.
    pub fn is_alive(&self) -> bool {
        self.stat().is_some_and(|stat| runs(&stat))
    }

    /// Whether its number is still its own: it runs, or it ended and was not yet waited for.
    pub fn has_its_number(&self) -> bool {
        self.stat().is_some()
    }

    /// Whether it was started in this run of the machine.
    pub fn is_of_this_boot(&self) -> bool {
        this_boot() == Some(&*self.boot)
    }

    fn stat(&self) -> Option<Stat> {
        let stat = Process::new(i32::try_from(self.pid).ok()?).ok()?.stat().ok()?;
        (Self::from_stat(&stat).as_ref() == Some(self)).then_some(stat)
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)
    }
}

/// Neither ended nor being taken away.
pub(super) fn runs(stat: &Stat) -> bool {
    !matches!(stat.state, 'Z' | 'X' | 'x')
}

/// Which run of the machine this is. Nothing where the system does not say; then no process is known again, and none is killed.
fn this_boot() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    BOOT.get_or_init(|| procfs::sys::kernel::random::boot_id().ok().map(|id| id.trim().to_owned())).as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself_and_nobody_else_by_its_number() {
        let own = ProcessId::of(std::process::id()).expect("we run");
        assert!(own.is_alive() && own.has_its_number() && own.is_of_this_boot());
        let earlier = ProcessId { started: own.started - 1, ..own.clone() };
        assert!(!earlier.is_alive() && !earlier.has_its_number());
        let other_boot = ProcessId { boot: "another".to_owned(), ..own };
        assert!(!other_boot.is_alive() && !other_boot.is_of_this_boot());
    }

    #[test]
    fn a_number_that_is_none_is_nobody() {
        assert_eq!(ProcessId::of(0), None);
        assert_eq!(ProcessId::of(u32::MAX), None);
    }
}
