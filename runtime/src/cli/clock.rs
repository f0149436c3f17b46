//! What time it is, for signatures that expire.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 (UTC), now.
pub(crate) fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
}
