//! Signals that were sent and not yet taken, of one thread or of the process.
//!
//! Keeps true: each queued signal is in the set; a signal below 32 is queued at most once. One that is in the set but not
//! queued came when the queues were full: it is taken without where it came from, as on Linux.
use super::info::Info;
use super::number::{SigSet, Signal};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Signals that can be queued in the process: Linux's RLIMIT_SIGPENDING. 160 KiB at most.
pub const QUEUE_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) set: SigSet,
    queue: VecDeque<Info>,
}

impl Pending {
    /// Adds a signal; queues it if there is room. Whether it was queued.
    pub(super) fn add(&mut self, info: Info, room: bool) -> bool {
        let signal = info.signal();
        if self.is_merged(signal) {
            return false;
        }
        self.set = self.set.union(SigSet::of(signal));
        if room {
            self.queue.push_back(info);
        }
        room
    }

    /// Whether sending it changes nothing, because it is there already.
    pub(super) fn is_merged(&self, signal: Signal) -> bool {
        !signal.is_realtime() && self.set.has(signal)
    }

    /// Takes the next of these signals, and how many left the queue.
    pub(super) fn take(&mut self, wanted: SigSet) -> Option<(Info, usize)> {
        let signal = self.set.and(wanted).next()?;
        let place = self.queue.iter().position(|info| info.signal() == signal);
        let info = place.and_then(|place| self.queue.remove(place));
        if !self.queue.iter().any(|info| info.signal() == signal) {
            self.set = self.set.without(SigSet::of(signal));
        }
        let left = usize::from(info.is_some());
        Some((info.unwrap_or_else(|| Info::user(signal, false, 0, 0)), left))
    }

    /// Forgets all of a signal. How many left the queue; `timers` gets the timers among those that sent it.
    pub(super) fn flush(&mut self, signal: Signal, timers: &mut Vec<i32>) -> usize {
        let before = self.queue.len();
        self.set = self.set.without(SigSet::of(signal));
        self.queue.retain(|info| {
            let other = info.signal() != signal;
            if !other {
                timers.extend(info.timer.map(|(id, _)| id));
            }
            other
        });
        before - self.queue.len()
    }

    /// How many are queued.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}
