//! Threads that run virtual CPUs: interrupting one, and reading the CPU time it used.

use std::{io, time::Duration};

/// The signal that interrupts KVM_RUN.
const KICK_SIGNAL: libc::c_int = libc::SIGUSR1;

extern "C" fn on_kick(_signal: libc::c_int) {}

/// Makes the kick signal interrupt system calls and do nothing else. Call once, before the first VM.
pub(crate) fn install_kick_handler() -> io::Result<()> {
    let action = libc::sigaction {
        sa_sigaction: on_kick as *const () as libc::sighandler_t,
        // SAFETY: an all-zero `sigset_t` is a valid, empty set on Linux.
        sa_mask: unsafe { std::mem::zeroed() },
        sa_flags: 0,
        sa_restorer: None,
    };
    // SAFETY: `action` is fully initialised and outlives the call; the handler does nothing, so it is safe to run at any
    // point of any thread; the old action is not asked for.
    match unsafe { libc::sigaction(KICK_SIGNAL, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A thread of this process that may be interrupted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thread {
    tid: libc::pid_t,
}

impl Thread {
    /// The calling thread.
    pub(crate) fn current() -> Self {
        Self { tid: rustix::thread::gettid().as_raw_pid() }
    }

    /// Interrupts the system call that the thread is in. A thread that has ended is left alone.
    pub(crate) fn kick(self) {
        let process = rustix::process::getpid().as_raw_pid();
        // SAFETY: tgkill takes plain numbers. It reaches only threads of this very process, all of which have the
        // handler installed that does nothing, so even a reused thread id does no harm.
        unsafe { libc::syscall(libc::SYS_tgkill, process, self.tid, KICK_SIGNAL) };
    }

    /// The clock of the thread's CPU time.
    pub(crate) fn clock(self) -> ThreadClock {
        // The kernel's encoding of a per-thread CPU clock (linux/posix-timers_types.h): ~tid << 3 | per-thread 4 | sched 2.
        ThreadClock { id: (!self.tid << 3) | 6 }
    }
}

/// CPU time used by one thread; readable from any thread of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadClock {
    id: libc::clockid_t,
}

impl ThreadClock {
    /// CPU time used so far; zero when the thread has ended.
    pub(crate) fn now(self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid timespec to write to; a clock id of a thread that has ended makes the call fail.
        let result = unsafe { libc::clock_gettime(self.id, &raw mut time) };
        if result == 0 { Duration::new(time.tv_sec as u64, time.tv_nsec as u32) } else { Duration::ZERO }
    }
}

/// The host's time-stamp counter.
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: every x86-64 CPU has RDTSC, and Linux leaves it enabled for user space.
    unsafe { std::arch::x86_64::_rdtsc() }
}
