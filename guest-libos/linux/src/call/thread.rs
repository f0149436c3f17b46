//! Calls about threads: making and ending them, futexes, sleep.

use super::{Again, Answer, Machine, On, Parked, Process, Stop, Waits};
use crate::{
    call::Frame,
    errno::Errno,
    thread::{self, Exit, Futex, NewThread, Outcome, Sleep, Tid, Timespec, Wake},
};
use linux_raw_sys::general as raw;

/// Bytes of the first version of `struct clone_args`, and how many words of it say anything here.
const CLONE_ARGS_BYTES: u64 = 64;
const CLONE_ARGS_MOST: u64 = 4096;

impl<M: Machine> Process<M> {
    pub(super) fn clone_thread(&mut self, [flags, stack, parent, child, tls]: [u64; 5], frame: &Frame) -> Answer {
        let request = NewThread::parse(flags, parent, child, tls, &mut self.refused)?;
        if request.tls.is_some_and(|tls| tls >> 47 != 0) {
            return Err(Errno::EPERM.into());
        }
        let tid = self.threads.spawn(&request, &mut super::user::Memory(&mut self.space))?;
        self.signals.thread_started(tid, self.current());
        let mut new = frame.clone();
        new.rax = 0;
        if stack != 0 {
            new.rsp = stack;
        }
        let fs_base = request.tls.unwrap_or_else(|| self.space.pages().fs_base());
        let extended = self.space.pages().save();
        self.parked.insert(tid, Parked { frame: new, fs_base, extended, call: None });
        self.attention = true;
        Ok(tid.0.into())
    }

    pub(super) fn clone3(&mut self, address: u64, bytes: u64, frame: &Frame) -> Answer {
        if bytes < CLONE_ARGS_BYTES {
            return Err(Errno::EINVAL.into());
        }
        if bytes > CLONE_ARGS_MOST {
            return Err(Errno::E2BIG.into());
        }
        let [flags, _pidfd, child, parent, signal, stack, stack_bytes, tls] = self.get(address)?;
        let more = self.input(address + CLONE_ARGS_BYTES, bytes - CLONE_ARGS_BYTES)?;
        if more.iter().any(|&byte| byte != 0)
            || flags & u64::from(raw::CSIGNAL) != 0
            || (stack == 0) != (stack_bytes == 0)
        {
            return Err(Errno::EINVAL.into());
        }
        let top = stack.checked_add(stack_bytes).ok_or(Errno::EINVAL)?;
        self.clone_thread([flags | signal, top, parent, child, tls], frame)
    }

    pub(super) fn exit(&mut self, status: u64) -> Answer {
        let status = (status as u8).into();
        let tid = self.current();
        let exit = self.threads.exit(status, &mut super::user::Memory(&mut self.space));
        let others = self.signals.thread_ended(tid);
        self.interrupt(&others);
        self.loaded = Tid(0);
        Err(Stop::Ended(match exit {
            Some(Exit::Process(status)) => Some(status),
            _ => None,
        }))
    }

    pub(super) fn futex(&mut self, [address, operation, value, timeout, address2, value3]: [u64; 6]) -> Answer {
        let again = self.again.take();
        match again.map(|again| again.wake) {
            None | Some(Wake::Interrupted) => {}
            Some(wake) => return Ok(Futex::result(wake)?.into()),
        }
        let mut call = Futex {
            address,
            operation: operation as u32,
            value: value as u32,
            timeout: None,
            value2: timeout as u32,
            address2,
            value3: value3 as u32,
        };
        if call.has_timeout() && timeout != 0 {
            call.timeout = Some(self.timespec(timeout)?);
        }
        let now = self.now();
        if let Some(until_ns) = again.and_then(|again| again.until_ns) {
            // The time was relative, and has begun.
            call.timeout = Some(Timespec::from_ns(until_ns.saturating_sub(now.mono_ns)));
        }
        let fixed = call.fixed(now)?;
        if again.is_some() && self.signals.interrupts(self.current()) {
            let until_ns = (fixed != call).then(|| fixed.timeout.and_then(|time| time.ns().ok())).flatten();
            return Err(Stop::Waits(Waits { on: On::Time, until_ns, done: 0 }));
        }
        match self.threads.futex(&call, &mut super::user::Memory(&mut self.space), now)? {
            Outcome::Done(count) => {
                self.attention |= count > 0;
                Ok(count.into())
            }
            Outcome::Blocked => {
                let until_ns = (fixed != call).then(|| fixed.timeout.and_then(|time| time.ns().ok())).flatten();
                Err(Stop::Waits(Waits { on: On::Futex, until_ns, done: 0 }))
            }
        }
    }

    pub(super) fn set_tid_address(&mut self, address: u64) -> Answer {
        Ok(self.threads.set_tid_address(address).ok_or(Errno::ESRCH)?.0.into())
    }

    pub(super) fn set_robust_list(&mut self, head: u64, bytes: u64) -> Answer {
        self.threads.set_robust_list(head, bytes)?;
        Ok(0)
    }

    pub(super) fn get_robust_list(&mut self, tid: u64, head: u64, bytes: u64) -> Answer {
        let list = self.threads.robust_list(Tid(tid as u32))?;
        self.put(bytes, &[size_of::<raw::robust_list_head>() as u64])?;
        self.put(head, &[list])
    }

    /// Sleeps by a clock; the remainder goes to `left` if a signal comes first.
    pub(super) fn sleep(&mut self, clock: u64, flags: u64, time: u64, left: u64) -> Answer {
        let now = self.now();
        let absolute = flags as u32 & raw::TIMER_ABSTIME != 0;
        let sleep = match self.again.take() {
            None => Sleep::parse(clock as i32, flags as u32, self.timespec(time)?, now)?,
            Some(Again { wake, until_ns, .. }) => {
                let sleep = Sleep { until_ns: until_ns.unwrap_or(now.mono_ns), absolute };
                if wake != Wake::Interrupted || self.signals.interrupts(self.current()) {
                    return match sleep.result(wake, now.mono_ns) {
                        Ok(()) => Ok(0),
                        Err((error, remainder)) => {
                            if let Some(remainder) = remainder.filter(|_| left != 0) {
                                self.output(left, 16)?.copy_from_slice(&remainder.to_bytes());
                            }
                            Err(error.into())
                        }
                    };
                }
                sleep
            }
        };
        if sleep.until_ns <= now.mono_ns {
            return Ok(0);
        }
        Err(Stop::Waits(Waits { on: On::Time, until_ns: Some(sleep.until_ns), done: 0 }))
    }

    pub(super) fn timespec(&mut self, address: u64) -> Result<Timespec, Errno> {
        let [seconds, nanoseconds] = self.get(address)?;
        Ok(thread::Timespec { seconds: seconds.cast_signed(), nanoseconds: nanoseconds.cast_signed() })
    }
}
