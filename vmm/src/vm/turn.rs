//! One turn of a VM on a CPU: a slice of time, within which an alarm may ring earlier for the VM's own timer.

use crate::kvm::{Alarm, alarm_rang, forget_alarm, was_kicked};
use std::time::{Duration, Instant};

/// A turn.
pub(super) struct Turn<'a> {
    alarm: &'a Alarm,
    end: Instant,
    /// When the alarm rings.
    set: Instant,
}

impl<'a> Turn<'a> {
    /// A turn of so much time, from now on.
    pub(super) fn new(alarm: &'a Alarm, time: Duration) -> Self {
        let now = Instant::now();
        // A time too far away to name is as good as an hour.
        let end = now.checked_add(time).unwrap_or(now + Duration::from_secs(3600));
        alarm.set(end - now);
        Self { alarm, end, set: end }
    }

    /// Makes the alarm ring at `at`, or at the turn's end if that is earlier.
    pub(super) fn ring(&mut self, at: Option<Instant>) {
        let at = at.map_or(self.end, |at| at.min(self.end));
        if at != self.set {
            self.set = at;
            self.alarm.set(at.saturating_duration_since(Instant::now()));
        }
    }

    /// Whether the turn is over: its time is, or someone wants the CPU. Otherwise an alarm that rang is of no account any
    /// more.
    pub(super) fn is_over(&mut self) -> bool {
        if was_kicked() || alarm_rang() && Instant::now() >= self.end {
            return true;
        }
        if alarm_rang() {
            forget_alarm();
            // It may have been that of the last turn on this thread.
            self.set = self.end;
            self.alarm.set(self.end.saturating_duration_since(Instant::now()));
        }
        false
    }
}
