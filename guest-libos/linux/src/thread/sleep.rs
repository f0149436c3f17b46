//! `nanosleep` and `clock_nanosleep`.
use super::time::{Clock, Now, Timespec};
use super::wait::Wake;
use crate::errno::Errno;
use linux_raw_sys::general::TIMER_ABSTIME;

/// A sleep that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep {
    /// Its end, in ns of the VM's clock.
    pub until_ns: u64,
    /// Whether it was given as a point in time: then no remainder is told.
    pub absolute: bool,
}

impl Sleep {
    /// Reads the arguments of `clock_nanosleep`; `nanosleep` is clock 1 (CLOCK_MONOTONIC) without flags.
    ///
    /// # Errors
    /// `EINVAL` for a bad clock or time; `EOPNOTSUPP` for clocks that can't be slept on, CPU time among them: a thread
    /// that sleeps uses none.
    pub fn parse(clock: i32, flags: u32, time: Timespec, now: Now) -> Result<Self, Errno> {
        let clock = Clock::parse(clock)?;
        if clock == Clock::Cpu {
            return Err(Errno::EOPNOTSUPP);
        }
        let absolute = flags & TIMER_ABSTIME != 0;
        Ok(Self { until_ns: clock.deadline(absolute, time.ns()?, now), absolute })
    }

    /// How it ended.
    ///
    /// # Errors
    /// `EINTR`, and the remainder to store where the call says, if it was interrupted.
    pub fn result(self, wake: Wake, now_ns: u64) -> Result<(), (Errno, Option<Timespec>)> {
        let left = self.until_ns.saturating_sub(now_ns);
        if wake != Wake::Interrupted || left == 0 {
            return Ok(());
        }
        Err((Errno::EINTR, (!self.absolute).then(|| Timespec::from_ns(left))))
    }
}
