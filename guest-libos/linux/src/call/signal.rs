//! Calls about signals.

use super::{Again, Answer, Extended, Frame, Machine, On, Process, Stop, Waits};
use crate::{
    errno::Errno,
    signal::{Action, AltStack, INFO_BYTES, Info, Interval, SigSet, frame, restore_extended},
    thread::{NEVER, Tid, Timespec},
};
use alloc::vec::Vec;

impl<M: Machine> Process<M> {
    pub(super) fn sigaction(&mut self, signal: u64, new: u64, old: u64, set_bytes: u64) -> Answer {
        let action = if new == 0 { None } else { Some(Action::from_bytes(&self.array(new)?)) };
        let was = self.signals.sigaction(signal as i32, action, set_bytes)?;
        if old != 0 {
            self.output(old, Action::BYTES as u64)?.copy_from_slice(&was.to_bytes());
        }
        Ok(0)
    }

    pub(super) fn sigprocmask(&mut self, how: u64, set: u64, old: u64, set_bytes: u64) -> Answer {
        let set = if set == 0 { None } else { Some(self.set(set)?) };
        let was = self.signals.sigprocmask(self.current(), how as u32, set, set_bytes)?;
        if set.is_some() {
            self.mask_changed();
        }
        if old == 0 { Ok(0) } else { self.put(old, &[was.0]) }
    }

    pub(super) fn mask_changed(&mut self) {
        let others = self.signals.retarget();
        if !others.is_empty() {
            self.interrupt(&others);
        }
        self.attention |= self.signals.interrupts(self.current());
    }

    pub(super) fn sigpending(&mut self, set: u64, set_bytes: u64) -> Answer {
        let pending = self.signals.sigpending(self.current(), set_bytes)?.0.to_le_bytes();
        self.output(set, set_bytes)?.copy_from_slice(&pending[..set_bytes as usize]);
        Ok(0)
    }

    pub(super) fn sigsuspend(&mut self, set: u64, set_bytes: u64) -> Answer {
        let set = self.set(set)?;
        self.signals.begin_mask(self.current(), set, set_bytes)?;
        self.mask_changed();
        self.pause()
    }

    pub(super) fn pause(&mut self) -> Answer {
        Err(Stop::Waits(Waits { on: On::Time, until_ns: None, done: 0 }))
    }

    pub(super) fn sigtimedwait(&mut self, set: u64, info: u64, timeout: u64, set_bytes: u64) -> Answer {
        let (tid, times) = (self.current(), self.times());
        let set = self.set(set)?;
        let taken = match self.again.take() {
            Some(Again { wake, .. }) => self.signals.end_wait(tid, wake, times)?,
            None => {
                let until_ns = match timeout {
                    0 => NEVER,
                    _ => times.now.mono_ns.saturating_add(self.timespec(timeout)?.ns()?),
                };
                match self.signals.begin_wait(tid, set, set_bytes, times)? {
                    Some(info) => info,
                    None if until_ns <= times.now.mono_ns => {
                        self.signals.end_wait(tid, crate::thread::Wake::TimedOut, times)?
                    }
                    None => return Err(Stop::Waits(Waits { on: On::Time, until_ns: Some(until_ns), done: 0 })),
                }
            }
        };
        if info != 0 {
            self.output(info, INFO_BYTES as u64)?.copy_from_slice(taken.bytes());
        }
        Ok(taken.signal().number().into())
    }

    pub(super) fn sigaltstack(&mut self, new: u64, old: u64, rsp: u64) -> Answer {
        let stack = if new == 0 { None } else { Some(AltStack::from_bytes(&self.array(new)?)) };
        let was = self.signals.sigaltstack(self.current(), stack, rsp)?;
        if old != 0 {
            self.output(old, 24)?.copy_from_slice(&was.to_bytes());
        }
        Ok(0)
    }

    /// Goes back to where a signal came.
    pub(super) fn sigreturn(&mut self, frame: &mut Frame) -> Answer {
        let tid = self.current();
        match self.returned(frame.rsp) {
            Ok((returned, extended)) => {
                self.space.pages().restore(&extended);
                frame.set_registers(&returned.registers);
                frame.rip = self.space.pages().resume(frame.rip);
                frame.xmm = extended.xmm();
                self.signals.returned(tid, returned.mask, returned.altstack, returned.registers.rsp);
                self.mask_changed();
            }
            Err(_) => self.signals.frame_failed(tid, None),
        }
        Err(Stop::Replaced)
    }

    fn returned(&mut self, rsp: u64) -> Result<(frame::Returned, Extended), Errno> {
        let returned = frame::parse(&self.array(rsp.wrapping_sub(8))?)?;
        let machine = self.space.pages();
        let (bytes, features) = (machine.extended_bytes(), machine.features());
        let Some(address) = returned.extended_address else { return Ok((returned, Extended::new(bytes))) };
        let there = self.space.accessible(address, bytes as u64 + 4, crate::mm::Access::Read);
        let area = restore_extended(self.input(address, there)?, bytes, features)?;
        Ok((returned, Extended(area)))
    }

    /// Sends a signal, as one of the functions of [`crate::signal::Signals`] does.
    fn sent(&mut self, to: Result<Option<Tid>, Errno>) -> Answer {
        let to: Vec<Tid> = to?.into_iter().collect();
        self.interrupt(&to);
        Ok(0)
    }

    pub(super) fn kill(&mut self, pid: u64, signal: u64) -> Answer {
        let to = self.signals.kill(pid as i32, signal as i32);
        self.sent(to)
    }

    pub(super) fn tgkill(&mut self, pid: u64, tid: u64, signal: u64) -> Answer {
        let to = self.signals.tgkill(pid as i32, tid as i32, signal as i32);
        self.sent(to)
    }

    pub(super) fn sigqueueinfo(&mut self, pid: u64, tid: Option<u64>, signal: u64, info: u64) -> Answer {
        let bytes = self.array(info)?;
        let to = self.signals.queue(pid as i32, tid.map(|tid| tid as i32), signal as i32, bytes);
        self.sent(to)
    }

    /// A write to a pipe that nobody reads.
    pub(super) fn broken_pipe(&mut self) -> Stop {
        let info = Info::user(crate::signal::Signal::SIGPIPE, false, self.threads.pid().0, super::identity::USER);
        let to = self.signals.send_thread(self.current(), info);
        self.interrupt(&to.into_iter().collect::<Vec<_>>());
        Errno::EPIPE.into()
    }

    pub(super) fn setitimer(&mut self, which: u64, new: u64, old: u64) -> Answer {
        let times = self.times();
        let new = if new == 0 { Interval::default() } else { Interval::from_timeval(&self.array(new)?)? };
        let was = self.signals.itimers.set(which as u32, new, times)?;
        self.attention = true;
        if old != 0 {
            self.output(old, 32)?.copy_from_slice(&was.to_timeval());
        }
        Ok(0)
    }

    pub(super) fn getitimer(&mut self, which: u64, address: u64) -> Answer {
        let times = self.times();
        let now = self.signals.itimers.get(which as u32, times)?.to_timeval();
        self.output(address, 32)?.copy_from_slice(&now);
        Ok(0)
    }

    pub(super) fn alarm(&mut self, seconds: u64) -> Answer {
        let times = self.times();
        self.attention = true;
        Ok(self.signals.itimers.alarm(seconds as u32, times).into())
    }

    pub(super) fn timer_create(&mut self, clock: u64, event: u64, id: u64) -> Answer {
        let event = if event == 0 { None } else { Some(self.array(event)?) };
        self.output(id, 4)?;
        let made = self.signals.timer_create(clock as i32, event.as_ref())?;
        self.output(id, 4)?.copy_from_slice(&made.to_le_bytes());
        Ok(0)
    }

    pub(super) fn timer_settime(&mut self, id: u64, flags: u64, new: u64, old: u64) -> Answer {
        let [interval, interval_ns, value, value_ns] = self.get::<4>(new)?.map(u64::cast_signed);
        let ns = |seconds, nanoseconds| Timespec { seconds, nanoseconds }.ns();
        let new = Interval { interval_ns: ns(interval, interval_ns)?, value_ns: ns(value, value_ns)? };
        let times = self.times();
        let was = self.signals.timer_settime(id as i32, flags as u32, new, times)?;
        self.attention = true;
        if old == 0 { Ok(0) } else { self.put_interval(old, was) }
    }

    pub(super) fn timer_gettime(&mut self, id: u64, address: u64) -> Answer {
        let times = self.times();
        let now = self.signals.timer_gettime(id as i32, times)?;
        self.put_interval(address, now)
    }

    fn put_interval(&mut self, address: u64, interval: Interval) -> Answer {
        let times = [interval.interval_ns, interval.value_ns].map(|ns| Timespec::from_ns(ns).to_bytes());
        self.output(address, 32)?.copy_from_slice(times.as_flattened());
        Ok(0)
    }

    pub(super) fn set(&mut self, address: u64) -> Result<SigSet, Errno> {
        self.get(address).map(|[set]| SigSet(set))
    }
}
