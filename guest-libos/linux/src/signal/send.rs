//! Sending signals: `kill` and its kin, and from within.
//!
//! Each gives the thread to interrupt, if one can take the signal now.
use super::info::{INFO_BYTES, Info};
use super::number::{SigSet, Signal};
use super::pending::QUEUE_MAX;
use super::state::Signals;
use crate::errno::Errno;
use crate::thread::Tid;
use alloc::vec::Vec;
use linux_raw_sys::general::SI_TKILL;

/// Who a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Process,
    Thread(Tid),
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is pending, and this thread can take it.
    Pending(Option<Tid>),
    /// Nothing: it is ignored, or there already.
    Nothing,
}

impl Signals {
    /// `kill`. Only the process itself can be meant: by its number, by 0 (its group), by its group's, or by a thread's.
    ///
    /// # Errors
    /// `ESRCH` for any other process, `EINVAL` for no signal. Signal 0 only asks.
    pub fn kill(&mut self, pid: i32, signal: i32) -> Result<Option<Tid>, Errno> {
        let mine = pid == 0 || pid != -1 && (pid.unsigned_abs() == self.pid.0 || self.is_thread(pid));
        let process = Info::user(Signal::SIGKILL, false, self.pid.0, self.uid);
        if mine { self.send_checked(To::Process, signal, &process, false) } else { Err(Errno::ESRCH) }
    }

    /// `tgkill`; `tkill` with the process's number.
    ///
    /// # Errors
    /// `EINVAL` for no signal or no number; `ESRCH` for no thread of the process.
    pub fn tgkill(&mut self, pid: i32, tid: i32, signal: i32) -> Result<Option<Tid>, Errno> {
        let to = self.target(pid, tid)?;
        let info = Info::user(Signal::SIGKILL, true, self.pid.0, self.uid);
        self.send_checked(to, signal, &info, false)
    }

    /// `rt_sigqueueinfo`, or `rt_tgsigqueueinfo` if there is a thread.
    ///
    /// # Errors
    /// As `kill` and `tgkill`; `EAGAIN` if the queues are full; `EPERM` for another process in the kernel's name.
    pub fn queue(
        &mut self,
        pid: i32,
        tid: Option<i32>,
        signal: i32,
        bytes: [u8; INFO_BYTES],
    ) -> Result<Option<Tid>, Errno> {
        let info = Info::queued(Signal::SIGKILL, bytes);
        if pid.cast_unsigned() != self.pid.0 && (info.code() >= 0 || info.code() == SI_TKILL) {
            return Err(Errno::EPERM);
        }
        let to = match tid {
            Some(tid) => self.target(pid, tid)?,
            None if pid.cast_unsigned() == self.pid.0 || self.is_thread(pid) => To::Process,
            None => return Err(Errno::ESRCH),
        };
        self.send_checked(to, signal, &info, true)
    }

    /// To the process, from within: SIGPIPE and the like go to a thread, but SIGALRM here.
    pub fn send_process(&mut self, info: Info) -> Option<Tid> {
        match self.send(To::Process, info) {
            Sent::Pending(tid) => tid,
            Sent::Nothing => None,
        }
    }

    /// To a thread, from within: SIGPIPE of a write.
    pub fn send_thread(&mut self, tid: Tid, info: Info) -> Option<Tid> {
        match self.send(To::Thread(tid), info) {
            Sent::Pending(tid) => tid,
            Sent::Nothing => None,
        }
    }

    /// To a thread that can't go on without: an action that would leave it waiting becomes the default, which ends it.
    pub fn force(&mut self, tid: Tid, info: Info) {
        let signal = info.signal();
        let blocked = self.threads.get(&tid).is_some_and(|thread| thread.mask.has(signal));
        if blocked || self.action(signal).ignores(signal) {
            self.actions[signal.index()].handler = super::action::DEFAULT;
        }
        if let Ok(thread) = self.thread_mut(tid) {
            thread.mask = thread.mask.without(SigSet::of(signal));
        }
        self.send(To::Thread(tid), info);
    }

    fn is_thread(&self, tid: i32) -> bool {
        u32::try_from(tid).is_ok_and(|tid| self.threads.contains_key(&Tid(tid)))
    }

    fn target(&self, pid: i32, tid: i32) -> Result<To, Errno> {
        if pid <= 0 || tid <= 0 {
            return Err(Errno::EINVAL);
        }
        let there = pid.cast_unsigned() == self.pid.0 && self.is_thread(tid);
        if there { Ok(To::Thread(Tid(tid.cast_unsigned()))) } else { Err(Errno::ESRCH) }
    }

    /// Sends what a call asked for, under the number that it gave.
    fn send_checked(&mut self, to: To, signal: i32, like: &Info, queue: bool) -> Result<Option<Tid>, Errno> {
        if signal == 0 {
            return Ok(None);
        }
        let signal = Signal::new(signal)?;
        let info = Info::queued(signal, *like.bytes());
        // Only who asked for a queue is told that it is full; `kill` is then without where it came from.
        if queue && signal.is_realtime() && !self.has_room() {
            return Err(Errno::EAGAIN);
        }
        match self.send(to, info) {
            Sent::Pending(tid) => Ok(tid),
            Sent::Nothing => Ok(None),
        }
    }

    pub(super) fn send(&mut self, to: To, info: Info) -> Sent {
        let signal = info.signal();
        self.prepare(signal);
        let room = self.has_room();
        let target = match to {
            To::Process => self.choose(signal),
            To::Thread(tid) => Some(tid),
        };
        // A blocked signal is never ignored: the action may be another by the time it is taken.
        let blocked = target.and_then(|tid| self.threads.get(&tid)).is_none_or(|thread| thread.mask.has(signal));
        if !blocked && self.action(signal).ignores(signal) {
            return Sent::Nothing;
        }
        let pending = match to {
            To::Process => &mut self.shared,
            To::Thread(tid) => match self.threads.get_mut(&tid) {
                Some(thread) => &mut thread.pending,
                None => return Sent::Nothing,
            },
        };
        if pending.is_merged(signal) {
            return Sent::Nothing;
        }
        self.queued += usize::from(pending.add(info, room));
        let takes = |tid: &Tid| self.threads.get(tid).is_some_and(|thread| thread.wants(signal));
        let target = target.filter(takes);
        target.into_iter().for_each(|tid| self.call(tid));
        Sent::Pending(target)
    }

    /// Whether another signal can be queued.
    pub(super) fn has_room(&self) -> bool {
        self.queued < QUEUE_MAX
    }

    /// SIGCONT takes stop signals away and they it, though nothing ever stops.
    fn prepare(&mut self, signal: Signal) {
        let stops = [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
        if signal == Signal::SIGCONT {
            stops.into_iter().for_each(|stop| self.flush(stop));
        } else if stops.contains(&signal) {
            self.flush(Signal::SIGCONT);
        }
    }

    /// Forgets all of a signal that is pending anywhere.
    pub(super) fn flush(&mut self, signal: Signal) {
        let mut timers = Vec::new();
        let mut left = self.shared.flush(signal, &mut timers);
        for thread in self.threads.values_mut() {
            left += thread.pending.flush(signal, &mut timers);
        }
        self.queued = self.queued.saturating_sub(left);
        timers.into_iter().for_each(|id| self.timers.forgotten(id));
    }
}
