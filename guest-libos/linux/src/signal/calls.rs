//! The calls of a thread about its signals; each with its own errors of the manual.
use super::action::Action;
use super::altstack::AltStack;
use super::info::Info;
use super::number::{SigSet, Signal};
use super::state::Signals;
use super::timer::Times;
use crate::errno::Errno;
use crate::thread::{Tid, Wake};
use linux_raw_sys::general as raw;

/// Size of the kernel's `sigset_t`, which calls must give.
const SET_BYTES: u64 = 8;

impl Signals {
    /// `rt_sigaction`: gives the action that was. What the new one ignores is pending no more.
    ///
    /// # Errors
    /// `EINVAL` for no signal, for a new action of SIGKILL or SIGSTOP, and for another size of sets.
    pub fn sigaction(&mut self, signal: i32, new: Option<Action>, set_bytes: u64) -> Result<Action, Errno> {
        check_size(set_bytes)?;
        let signal = Signal::new(signal)?;
        if new.is_some() && SigSet::UNBLOCKABLE.has(signal) {
            return Err(Errno::EINVAL);
        }
        let old = *self.action(signal);
        if let Some(new) = new {
            self.actions[signal.index()] = new;
            if new.ignores(signal) {
                self.flush(signal);
            }
        }
        Ok(old)
    }

    /// `rt_sigprocmask`: gives the mask that was. [`Signals::retarget`] must follow: others may have to take what it blocks.
    ///
    /// # Errors
    /// `EINVAL` for no `how`, if there is a set, and for another size of sets.
    pub fn sigprocmask(&mut self, tid: Tid, how: u32, set: Option<SigSet>, set_bytes: u64) -> Result<SigSet, Errno> {
        check_size(set_bytes)?;
        let thread = self.thread_mut(tid)?;
        let old = thread.mask;
        if let Some(set) = set {
            let mask = match how {
                raw::SIG_BLOCK => old.union(set),
                raw::SIG_UNBLOCK => old.without(set),
                raw::SIG_SETMASK => set,
                _ => return Err(Errno::EINVAL),
            };
            thread.set_mask(mask);
        }
        Ok(old)
    }

    /// The mask of a thread.
    ///
    /// # Errors
    /// `ESRCH` if there is no such thread.
    pub fn mask(&self, tid: Tid) -> Result<SigSet, Errno> {
        self.thread(tid).map(|thread| thread.mask)
    }

    /// `rt_sigpending`: what is pending and blocked.
    ///
    /// # Errors
    /// `EINVAL` if `set_bytes` is more than 8.
    pub fn sigpending(&self, tid: Tid, set_bytes: u64) -> Result<SigSet, Errno> {
        if set_bytes > SET_BYTES {
            return Err(Errno::EINVAL);
        }
        let thread = self.thread(tid)?;
        Ok(thread.pending.set.union(self.shared.set).and(thread.mask))
    }

    /// A mask for the time of one call: `rt_sigsuspend`, `ppoll`, `pselect6`, `epoll_pwait`. Then look at
    /// [`Signals::interrupts`] and block. It lasts until [`Signals::deliver`] or [`Signals::end_mask`].
    ///
    /// # Errors
    /// `EINVAL` for another size of sets.
    pub fn begin_mask(&mut self, tid: Tid, mask: SigSet, set_bytes: u64) -> Result<(), Errno> {
        check_size(set_bytes)?;
        let thread = self.thread_mut(tid)?;
        thread.saved.get_or_insert(thread.mask);
        thread.set_mask(mask);
        Ok(())
    }

    /// A call with a mask of its own ended for another reason than a signal.
    pub fn end_mask(&mut self, tid: Tid) {
        if let Ok(thread) = self.thread_mut(tid)
            && let Some(mask) = thread.saved.take()
        {
            thread.set_mask(mask);
        }
    }

    /// `rt_sigtimedwait`: takes one of these signals if one is pending. `None`: block until the timeout (`EAGAIN` at once
    /// if it is zero), then call [`Signals::end_wait`].
    ///
    /// # Errors
    /// `EINVAL` for another size of sets.
    pub fn begin_wait(&mut self, tid: Tid, set: SigSet, set_bytes: u64, times: Times) -> Result<Option<Info>, Errno> {
        check_size(set_bytes)?;
        let set = set.without(SigSet::UNBLOCKABLE);
        if let Some(info) = self.take(tid, set, true, times) {
            return Ok(Some(info));
        }
        self.thread_mut(tid)?.waiting = set;
        Ok(None)
    }

    /// `rt_sigtimedwait` after its wait.
    ///
    /// # Errors
    /// `EAGAIN` if the time is over, `EINTR` if another signal came.
    pub fn end_wait(&mut self, tid: Tid, wake: Wake, times: Times) -> Result<Info, Errno> {
        let set = core::mem::take(&mut self.thread_mut(tid)?.waiting);
        let error = if wake == Wake::TimedOut { Errno::EAGAIN } else { Errno::EINTR };
        self.take(tid, set, true, times).ok_or(error)
    }

    /// `sigaltstack`: gives the stack that was. `rsp` is the thread's stack pointer.
    ///
    /// # Errors
    /// `EPERM` on the stack itself, `ENOMEM` for one below 2,048 bytes, `EINVAL` for unknown flags.
    pub fn sigaltstack(&mut self, tid: Tid, new: Option<AltStack>, rsp: u64) -> Result<AltStack, Errno> {
        let stack = &mut self.thread_mut(tid)?.altstack;
        let old = stack.seen(rsp);
        if let Some(new) = new {
            stack.set(new, rsp)?;
        }
        Ok(old)
    }

    /// `rt_sigreturn`: the mask and alternate stack that a frame gave back, and the stack pointer to go on with; a bad stack
    /// is passed over, as on Linux.
    pub fn returned(&mut self, tid: Tid, mask: SigSet, stack: AltStack, rsp: u64) {
        if let Ok(thread) = self.thread_mut(tid) {
            thread.set_mask(mask);
            let _ = thread.altstack.set(stack, rsp);
        }
    }

    /// Takes the next pending signal of a set: the thread's own before the process's, if it may take those.
    pub(super) fn take(&mut self, tid: Tid, set: SigSet, shared: bool, times: Times) -> Option<Info> {
        let own = self.threads.get_mut(&tid)?.pending.take(set);
        let shared = if shared { set } else { SigSet::default() };
        let (mut info, left) = own.or_else(|| self.shared.take(shared))?;
        self.queued = self.queued.saturating_sub(left);
        if let Some((id, setting)) = info.timer {
            info.set_overrun(self.timers.delivered(id, setting, times));
        }
        Some(info)
    }
}

fn check_size(set_bytes: u64) -> Result<(), Errno> {
    if set_bytes == SET_BYTES { Ok(()) } else { Err(Errno::EINVAL) }
}
