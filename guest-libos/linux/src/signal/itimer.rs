//! `setitimer`, `getitimer`, `alarm`: three timers of the process.
//!
//! ITIMER_VIRTUAL and ITIMER_PROF both count the CPU time that the VM used: the library OS's part is not told from the
//! program's. Expiries that passed unseen are one signal, as POSIX has it.
use super::info::Info;
use super::number::Signal;
use super::timer::Times;
use crate::errno::Errno;
use linux_raw_sys::general as raw;

const SECOND_NS: u64 = 1_000_000_000;

/// `struct itimerval`, in ns; `struct itimerspec` too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// From each expiry to the next; 0 for one expiry alone.
    pub interval_ns: u64,
    /// To the next expiry; 0 for a timer that is off.
    pub value_ns: u64,
}

impl Interval {
    /// Reads `struct itimerval`: interval, then value, each in seconds and microseconds.
    ///
    /// # Errors
    /// `EINVAL` if one is negative, or the microseconds are a second or more.
    pub fn from_timeval(bytes: &[u8; 32]) -> Result<Self, Errno> {
        let words = bytes.as_chunks::<8>().0;
        let word = |index: usize| words.get(index).map_or(0, |word| i64::from_le_bytes(*word));
        let ns = |index| {
            let seconds = u64::try_from(word(index)).map_err(|_| Errno::EINVAL)?;
            let micros = u64::try_from(word(index + 1)).map_err(|_| Errno::EINVAL)?;
            if micros >= 1_000_000 {
                return Err(Errno::EINVAL);
            }
            Ok(seconds.saturating_mul(SECOND_NS).saturating_add(micros * 1000))
        };
        Ok(Self { interval_ns: ns(0)?, value_ns: ns(2)? })
    }

    /// Writes `struct itimerval`. A timer that is on is never shown as off.
    #[must_use]
    pub fn to_timeval(self) -> [u8; 32] {
        let value = if self.value_ns == 0 { 0 } else { self.value_ns.max(1000) };
        let mut bytes = [0; 32];
        let words = [self.interval_ns, value].map(|ns| [ns / SECOND_NS, ns % SECOND_NS / 1000]);
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words.as_flattened()) {
            *chunk = word.to_le_bytes();
        }
        bytes
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Alarm {
    /// The next expiry, in ns of its clock.
    next: Option<u64>,
    interval: u64,
}

/// The three timers.
#[derive(Debug, Default)]
pub struct Itimers {
    alarms: [Alarm; 3],
}

impl Itimers {
    /// `setitimer`: gives what was.
    ///
    /// # Errors
    /// `EINVAL` for no such timer.
    pub fn set(&mut self, which: u32, new: Interval, times: Times) -> Result<Interval, Errno> {
        let old = self.get(which, times)?;
        if let Some(alarm) = self.alarms.get_mut(which as usize) {
            let next = (new.value_ns != 0).then(|| clock(which, times).saturating_add(new.value_ns));
            *alarm = Alarm { next, interval: new.interval_ns };
        }
        Ok(old)
    }

    /// `getitimer`.
    ///
    /// # Errors
    /// `EINVAL` for no such timer.
    pub fn get(&self, which: u32, times: Times) -> Result<Interval, Errno> {
        let alarm = self.alarms.get(which as usize).ok_or(Errno::EINVAL)?;
        let value_ns = alarm.next.map_or(0, |next| next.saturating_sub(clock(which, times)).max(1));
        Ok(Interval { interval_ns: alarm.interval, value_ns })
    }

    /// `alarm`: gives the seconds that were left, rounded as Linux does, never to 0.
    pub fn alarm(&mut self, seconds: u32, times: Times) -> u32 {
        let new = Interval { interval_ns: 0, value_ns: u64::from(seconds) * SECOND_NS };
        let left = self.set(raw::ITIMER_REAL, new, times).map_or(0, |old| old.value_ns);
        let (whole, rest) = (left / SECOND_NS, left % SECOND_NS);
        let up = rest >= SECOND_NS / 2 || whole == 0 && rest != 0;
        u32::try_from(whole + u64::from(up)).unwrap_or(u32::MAX)
    }

    /// The signals of those that expired.
    pub(super) fn expire(&mut self, times: Times) -> impl Iterator<Item = Info> + use<> {
        let mut fired = [None; 3];
        let signals = [Signal::SIGALRM, Signal::SIGVTALRM, Signal::SIGPROF];
        for ((which, alarm), (slot, signal)) in (0..).zip(&mut self.alarms).zip(fired.iter_mut().zip(signals)) {
            let now = clock(which, times);
            if let Some(next) = alarm.next.filter(|&next| next <= now) {
                *slot = Some(signal);
                alarm.next = after(next, alarm.interval, now).0;
            }
        }
        fired.into_iter().flatten().map(Info::kernel)
    }

    /// When the next expires, in ns of the VM's clock; those of CPU time only while the program `runs`, and not before.
    pub(super) fn next(&self, times: Times, runs: bool) -> Option<u64> {
        let when = |(which, alarm): (u32, &Alarm)| match which {
            raw::ITIMER_REAL => alarm.next,
            _ if !runs => None,
            _ => alarm.next.map(|next| times.when_used(next)),
        };
        (0..).zip(&self.alarms).filter_map(when).min()
    }
}

fn clock(which: u32, times: Times) -> u64 {
    if which == raw::ITIMER_REAL { times.now.mono_ns } else { times.cpu_ns }
}

/// The first expiry of a timer that lies ahead, if there is one, and how many lie between. `next` is not ahead.
pub(super) fn after(next: u64, interval: u64, now: u64) -> (Option<u64>, u64) {
    if interval == 0 {
        return (None, 0);
    }
    let passed = now.saturating_sub(next) / interval;
    let ahead = passed.checked_add(1).and_then(|count| count.checked_mul(interval)).and_then(|ns| next.checked_add(ns));
    (ahead, passed)
}
