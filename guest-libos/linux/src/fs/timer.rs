//! timerfd: a deadline on the clock, with a period, whose expirations are counted by reading.
use super::{Fs, Now, description::Description, inode::Kind, inode::Mount};
use crate::errno::Errno;
use linux_raw_sys::general as abi;

/// What `timerfd_settime` sets and `timerfd_gettime` tells, in nanoseconds; a `value` of 0 is disarmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimerSpec {
    /// From one expiration to the next; 0 for one expiration only.
    pub interval_ns: u64,
    /// Until the first expiration, or when it is.
    pub value_ns: u64,
}

/// A timer of timerfd_create(2).
#[derive(Debug)]
pub(super) struct Timer {
    realtime: bool,
    /// On its own clock; `None` is disarmed.
    deadline: Option<u64>,
    interval: u64,
    /// Counts what was set, so that an edge-triggered waiter sees each setting's expirations.
    sets: u64,
}

impl Timer {
    const fn clock(&self, now: Now) -> u64 {
        if self.realtime { now.realtime_ns } else { now.monotonic_ns }
    }

    /// Expirations that were not read.
    pub(super) const fn expirations(&self, now: Now) -> u64 {
        let (Some(deadline), now) = (self.deadline, self.clock(now)) else { return 0 };
        if now < deadline {
            return 0;
        }
        match (now - deadline).checked_div(self.interval) {
            Some(more) => more.saturating_add(1),
            None => 1,
        }
    }

    /// Takes the expirations, and goes on to the next deadline.
    pub(super) fn take(&mut self, now: Now) -> u64 {
        let count = self.expirations(now);
        if count > 0 {
            let next = self.deadline.and_then(|at| at.checked_add(self.interval.checked_mul(count)?));
            self.deadline = next.filter(|_| self.interval > 0);
        }
        count
    }

    /// What an edge-triggered waiter compares: it grows with every expiration.
    pub(super) const fn edge(&self, now: Now) -> u64 {
        let passed = match self.deadline {
            // Absolute, so that reading in between does not bring an earlier value back.
            Some(deadline) if self.interval > 0 => (deadline / self.interval).wrapping_add(self.expirations(now)),
            _ => self.expirations(now),
        };
        (self.sets << 40).wrapping_add(passed)
    }

    fn left(&self, now: Now) -> TimerSpec {
        let (Some(deadline), clock) = (self.deadline, self.clock(now)) else {
            return TimerSpec { interval_ns: self.interval, value_ns: 0 };
        };
        let value_ns = match clock.checked_sub(deadline) {
            None => deadline - clock,
            Some(late) => late.checked_rem(self.interval).map_or(0, |since| self.interval - since),
        };
        TimerSpec { interval_ns: self.interval, value_ns }
    }

    /// When on the monotonic clock it expires next, if it has not.
    fn wakes(&self, now: Now) -> Option<u64> {
        let left = self.deadline?.checked_sub(self.clock(now)).filter(|left| *left > 0)?;
        now.monotonic_ns.checked_add(left)
    }
}

impl Fs {
    /// timerfd_create(2).
    pub fn timerfd_create(&mut self, clock: u32, flags: u32) -> Result<i32, Errno> {
        let realtime = match clock {
            abi::CLOCK_REALTIME => true,
            abi::CLOCK_MONOTONIC | abi::CLOCK_BOOTTIME => false,
            _ => return Err(Errno::EINVAL),
        };
        if flags & !(abi::TFD_CLOEXEC | abi::TFD_NONBLOCK) != 0 {
            return Err(Errno::EINVAL);
        }
        let timer = Timer { realtime, deadline: None, interval: 0, sets: 0 };
        let status = abi::O_RDWR | flags & abi::TFD_NONBLOCK;
        self.install_new(Kind::Timer(timer), 0o600, Mount::Nameless, status, flags & abi::TFD_CLOEXEC != 0)
    }

    /// timerfd_settime(2); what it was.
    pub fn timerfd_settime(&mut self, fd: i32, flags: u32, new: TimerSpec) -> Result<TimerSpec, Errno> {
        if flags & !(abi::TFD_TIMER_ABSTIME | abi::TFD_TIMER_CANCEL_ON_SET) != 0 {
            return Err(Errno::EINVAL);
        }
        let now = self.world.now();
        let ino = self.description(fd)?.ino;
        let Kind::Timer(timer) = &mut self.inodes.get_mut(ino)?.kind else { return Err(Errno::EINVAL) };
        let old = timer.left(now);
        let start = if flags & abi::TFD_TIMER_ABSTIME == 0 { timer.clock(now) } else { 0 };
        timer.deadline = (new.value_ns > 0).then(|| start.saturating_add(new.value_ns));
        timer.interval = new.interval_ns;
        timer.sets += 1;
        self.find_deadline();
        self.touch();
        Ok(old)
    }

    /// timerfd_gettime(2).
    pub fn timerfd_gettime(&self, fd: i32) -> Result<TimerSpec, Errno> {
        match &self.inodes.get(self.description(fd)?.ino)?.kind {
            Kind::Timer(timer) => Ok(timer.left(self.world.now())),
            _ => Err(Errno::EINVAL),
        }
    }

    /// When, on the monotonic clock, a timer makes something ready that is not now: nothing needs to be looked at before,
    /// except when [`Fs::generation`] moves, as it does when [`Fs::tick`] passes this.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Finds it anew.
    pub(super) fn find_deadline(&mut self) {
        let timer = |description: &Description| match &self.inodes.get(description.ino).ok()?.kind {
            Kind::Timer(timer) => timer.wakes(self.world.now()),
            _ => None,
        };
        self.deadline = self.descriptions.all().filter_map(timer).min();
    }
}
