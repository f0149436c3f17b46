//! `timer_create` and its kin: timers that a program makes, up to [`TIMERS_MAX`].
//!
//! As on Linux, a timer whose signal is pending rests: it goes on when the signal is taken, which then says how many
//! expiries it stands for. A timer of 1 ns costs no more than one signal at a time.
use super::info::Info;
use super::itimer::{Interval, after};
use super::number::Signal;
use super::send::{Sent, To};
use super::state::Signals;
use crate::errno::Errno;
use crate::thread::{Clock, Now, Tid};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use linux_raw_sys::general as raw;

/// Timers that there can be at a time; the next gets `EAGAIN`.
pub const TIMERS_MAX: usize = 256;

/// DELAYTIMER_MAX of Linux.
const OVERRUN_MAX: u64 = i32::MAX as u64;

/// What time it is, and how much of it the program had the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The time.
    pub now: Now,
    /// CPU time used, in ns.
    pub cpu_ns: u64,
}

/// Whom a timer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Nobody: it is looked at.
    Nobody,
    /// The process.
    Process(Signal),
    /// A thread.
    Thread(Signal, Tid),
}

#[derive(Debug)]
struct Timer {
    clock: Clock,
    notify: Notify,
    value: u64,
    /// The next expiry, in ns of its clock; while its signal is pending, the one that sent it.
    next: Option<u64>,
    interval: u64,
    /// Whether its signal is pending.
    rests: bool,
    /// Which setting of all timers this is: an older one's signal is not this one's.
    setting: u64,
    overrun: i32,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    table: BTreeMap<i32, Timer>,
    last_setting: u64,
}

impl Times {
    fn of(self, clock: Clock) -> u64 {
        if clock == Clock::Cpu { self.cpu_ns } else { self.now.mono_ns }
    }

    /// The earliest time at which so much CPU time can be used.
    pub(super) fn when_used(self, cpu_ns: u64) -> u64 {
        self.now.mono_ns.saturating_add(cpu_ns.saturating_sub(self.cpu_ns))
    }
}

impl Timer {
    /// Goes on from an expiry that was told, or that nobody wants to be told.
    fn go_on(&mut self, now: u64) -> u64 {
        self.rests = false;
        let Some(next) = self.next else { return 0 };
        let (ahead, passed) = after(next, self.interval, now);
        self.next = ahead;
        passed
    }

    fn is_due(&self, times: Times) -> bool {
        !self.rests && self.notify != Notify::Nobody && self.next.is_some_and(|next| next <= times.of(self.clock))
    }
}

impl Timers {
    /// The signal of a timer was taken: gives its overrun, and the timer goes on.
    pub(super) fn delivered(&mut self, id: i32, setting: u64, times: Times) -> i32 {
        let Some(timer) = self.table.get_mut(&id).filter(|timer| timer.setting == setting && timer.rests) else {
            return 0;
        };
        let now = times.of(timer.clock);
        let overrun = timer.go_on(now).min(OVERRUN_MAX);
        timer.overrun = i32::try_from(overrun).unwrap_or(i32::MAX);
        timer.overrun
    }

    /// The signal of a timer will never be taken: the timer is due again at the next tick, and goes on from there.
    pub(super) fn forgotten(&mut self, id: i32) {
        if let Some(timer) = self.table.get_mut(&id) {
            timer.rests = false;
        }
    }
}

impl Signals {
    /// `timer_create`: gives its number. `event` is the 64 bytes of `struct sigevent`, if there are.
    ///
    /// # Errors
    /// `EINVAL` for a bad clock, signal, thread or way to be told; `EAGAIN` beyond [`TIMERS_MAX`].
    pub fn timer_create(&mut self, clock: i32, event: Option<&[u8; 64]>) -> Result<i32, Errno> {
        let clock = Clock::parse(clock)?;
        if self.timers.table.len() >= TIMERS_MAX {
            return Err(Errno::EAGAIN);
        }
        let free = (0..).find(|id| !self.timers.table.contains_key(id)).ok_or(Errno::EAGAIN)?;
        let (notify, value) = match event {
            None => (Notify::Process(Signal::SIGALRM), free as u64),
            Some(event) => self.notify(event)?,
        };
        let timer = Timer { clock, notify, value, next: None, interval: 0, rests: false, setting: 0, overrun: 0 };
        self.timers.table.insert(free, timer);
        Ok(free)
    }

    /// `struct sigevent`: value 8, signal 4, way 4, thread 4.
    fn notify(&self, event: &[u8; 64]) -> Result<(Notify, u64), Errno> {
        let words = event.as_chunks::<4>().0;
        let word = |index: usize| words.get(index).map_or(0, |word| u32::from_le_bytes(*word));
        let signal = || Signal::new(word(2).cast_signed());
        let tid = Tid(word(4));
        let notify = match word(3) {
            raw::SIGEV_NONE => Notify::Nobody,
            // The C library makes its thread itself and is told like a process.
            raw::SIGEV_SIGNAL | raw::SIGEV_THREAD => Notify::Process(signal()?),
            raw::SIGEV_THREAD_ID if self.threads.contains_key(&tid) => Notify::Thread(signal()?, tid),
            _ => return Err(Errno::EINVAL),
        };
        Ok((notify, u64::from(word(0)) | u64::from(word(1)) << 32))
    }

    /// `timer_settime`: gives what was. A value of 0 turns it off.
    ///
    /// # Errors
    /// `EINVAL` for no such timer.
    pub fn timer_settime(&mut self, id: i32, flags: u32, new: Interval, times: Times) -> Result<Interval, Errno> {
        let old = self.timer_gettime(id, times)?;
        self.timers.last_setting += 1;
        let setting = self.timers.last_setting;
        let timer = self.timers.table.get_mut(&id).ok_or(Errno::EINVAL)?;
        let absolute = flags & raw::TIMER_ABSTIME != 0;
        timer.next = match (new.value_ns, timer.clock) {
            (0, _) => None,
            (ns, Clock::Cpu) => Some(if absolute { ns } else { times.cpu_ns.saturating_add(ns) }),
            (ns, clock) => Some(clock.deadline(absolute, ns, times.now)),
        };
        (timer.interval, timer.rests, timer.overrun, timer.setting) = (new.interval_ns, false, 0, setting);
        Ok(old)
    }

    /// `timer_gettime`.
    ///
    /// # Errors
    /// `EINVAL` for no such timer.
    pub fn timer_gettime(&self, id: i32, times: Times) -> Result<Interval, Errno> {
        let timer = self.timers.table.get(&id).ok_or(Errno::EINVAL)?;
        let now = times.of(timer.clock);
        let ahead = match timer.next {
            Some(next) if next <= now => after(next, timer.interval, now).0,
            next => next,
        };
        // One that expired and was not told yet is on.
        let unheard = timer.next.is_some() && timer.notify != Notify::Nobody && !timer.rests;
        let value_ns = ahead.map_or(u64::from(unheard), |ahead| ahead.saturating_sub(now).max(1));
        Ok(Interval { interval_ns: timer.interval, value_ns })
    }

    /// `timer_getoverrun`, of the signal that was taken last.
    ///
    /// # Errors
    /// `EINVAL` for no such timer.
    pub fn timer_getoverrun(&self, id: i32) -> Result<i32, Errno> {
        self.timers.table.get(&id).map(|timer| timer.overrun).ok_or(Errno::EINVAL)
    }

    /// `timer_delete`. A signal that is pending stays so.
    ///
    /// # Errors
    /// `EINVAL` for no such timer.
    pub fn timer_delete(&mut self, id: i32) -> Result<(), Errno> {
        self.timers.table.remove(&id).map(|_| ()).ok_or(Errno::EINVAL)
    }

    /// Sends the signals of all timers that expired. Gives the threads to interrupt.
    pub fn tick(&mut self, times: Times) -> Vec<Tid> {
        let mut wanted: Vec<Tid> = Vec::new();
        for info in self.itimers.expire(times) {
            wanted.extend(self.send_process(info));
        }
        let due: Vec<i32> =
            self.timers.table.iter().filter(|(_, timer)| timer.is_due(times)).map(|(&id, _)| id).collect();
        for id in due {
            wanted.extend(self.fire(id, times));
        }
        wanted
    }

    fn fire(&mut self, id: i32, times: Times) -> Option<Tid> {
        let timer = self.timers.table.get(&id)?;
        let (signal, to) = match timer.notify {
            Notify::Nobody => return None,
            Notify::Process(signal) => (signal, To::Process),
            Notify::Thread(signal, tid) => (signal, To::Thread(tid)),
        };
        let info = Info::from_timer(signal, id, timer.setting, timer.value);
        // With full queues a signal would not say whose it is, and the timer rest for ever.
        let sent = if self.has_room() { self.send(to, info) } else { Sent::Nothing };
        let timer = self.timers.table.get_mut(&id)?;
        match sent {
            Sent::Pending(tid) => {
                timer.rests = true;
                tid
            }
            Sent::Nothing => {
                timer.go_on(times.of(timer.clock));
                None
            }
        }
    }

    /// When [`Signals::tick`] has something to do next, in ns of the VM's clock. Timers of CPU time count only while the
    /// program `runs`, and may need another look then.
    #[must_use]
    pub fn next_timer(&self, times: Times, runs: bool) -> Option<u64> {
        let when = |timer: &Timer| match timer.clock {
            _ if timer.rests || timer.notify == Notify::Nobody => None,
            Clock::Cpu if !runs => None,
            Clock::Cpu => timer.next.map(|next| times.when_used(next)),
            _ => timer.next,
        };
        let timers = self.timers.table.values().filter_map(when).min();
        [timers, self.itimers.next(times, runs)].into_iter().flatten().min()
    }
}
