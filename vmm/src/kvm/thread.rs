//! Threads that run virtual CPUs: interrupting one, and reading the CPU time it used.

use std::{io, time::Duration};

/// The signal that interrupts KVM_RUN.
const KICK_SIGNAL: libc::c_int = libc::SIGUSR1;

extern "C" fn on_kick(_signal: libc::c_int) {}

/// Signals that are for the node, and reach its workers too when they come from a terminal or a service manager. A worker
/// ends when its node does.
const SIGNALS_OF_THE_NODE: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// Makes the kick signal interrupt system calls and do nothing else, and leaves the node's signals to it. Call once,
/// before the first VM.
pub(crate) fn install_signal_handlers() -> io::Result<()> {
    handle(KICK_SIGNAL, on_kick as *const () as libc::sighandler_t)?;
    SIGNALS_OF_THE_NODE.into_iter().try_for_each(|signal| handle(signal, libc::SIG_IGN))
}

/// Sets a signal's handler: [`on_kick`], or one of the constants.
fn handle(signal: libc::c_int, handler: libc::sighandler_t) -> io::Result<()> {
    let action = libc::sigaction {
        sa_sigaction: handler,
        // SAFETY: an all-zero `sigset_t` is a valid, empty set on Linux.
        sa_mask: unsafe { std::mem::zeroed() },
        sa_flags: 0,
        sa_restorer: None,
    };
    // SAFETY: `action` is fully initialised and outlives the call; the handler, if any, does nothing, so it is safe to run
    // at any point of any thread; the old action is not asked for.
    match unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } {
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
