//! How much memory there is for this process.

use std::fs;
use std::path::Path;

/// Bytes of memory of this machine, or of the control group that this process is in where that has less. Nothing where the system does not
/// tell.
pub(crate) fn memory_bytes() -> Option<usize> {
    let whole = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // A limit of any group that this one is in holds for it as well.
    let limits = Path::new(group).ancestors().filter_map(|group| {
        let limit = fs::read_to_string(Path::new("/sys/fs/cgroup").join(group).join("memory.max")).ok()?;
        limit.trim().parse().ok()
    });
    limits.chain(whole).min()
}

/// From the text of `/proc/meminfo`.
fn total(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_machine_is_found() {
        assert_eq!(total("MemFree:  1 kB\nMemTotal:       24576 kB\n"), Some(24 << 20));
        assert_eq!(total("MemTotal: much\n"), None);
        assert!(memory_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
