//! How often a worker may say how its VMs are. No clock: the caller says what time it is.

use denali_vmm::worker::message::STATUS_INTERVAL;
use std::time::Instant;

/// Reports beyond the pace that are borne with: what a busy host held up comes all at once.
const BURST: u64 = 20;

/// Counts reports that have a pace.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    seen: u64,
}

impl Pace {
    /// Counts from now on.
    pub(super) fn new(since: Instant) -> Self {
        Self { since, seen: 0 }
    }

    /// Counts a report; whether the pace allows it, which is twice the one that is agreed.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        self.seen = self.seen.saturating_add(1);
        let intervals = now.saturating_duration_since(self.since).as_millis() / STATUS_INTERVAL.as_millis();
        u128::from(self.seen) <= u128::from(BURST) + 2 * intervals
    }
}
