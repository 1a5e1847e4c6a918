//! What time it is. The one place of the host that reads the wall clock for the core, which takes time only as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use pilothouse_core::time::Timestamp;

/// The wall clock, now. A clock that stands before 1970 reads as the Unix epoch.
pub fn now() -> Timestamp {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
