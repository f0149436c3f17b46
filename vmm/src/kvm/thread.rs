//! Threads that run virtual CPUs: interrupting one, now or after a time, and reading the CPU time it used.

use std::{
    cell::Cell,
    io, ptr,
    sync::atomic::{Ordering, compiler_fence},
    time::Duration,
};

/// The signal that interrupts KVM_RUN.
const KICK_SIGNAL: libc::c_int = libc::SIGUSR1;

thread_local! {
    /// Whether someone interrupted this thread since [`forget_interruption`].
    static INTERRUPTED: Cell<bool> = const { Cell::new(false) };
    /// Whether an alarm of this thread rang since [`forget_interruption`] or [`forget_alarm`].
    static RANG: Cell<bool> = const { Cell::new(false) };
    /// The `immediate_exit` of the virtual CPU that this thread runs, or is about to; null between two.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
}

/// A signal that comes just before KVM_RUN would be lost: it asks the virtual CPU to leave at once.
extern "C" fn on_kick(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the handler is installed with SA_SIGINFO, so the kernel gives a whole `siginfo_t` that lives as long as this
    // call.
    match unsafe { (*info).si_code } {
        libc::SI_TIMER => RANG.set(true),
        _ => INTERRUPTED.set(true),
    }
    let immediate_exit = IMMEDIATE_EXIT.get();
    if !immediate_exit.is_null() {
        // SAFETY: `uninterrupted` set the pointer on this very thread, and clears it before the page that it points into
        // can go. The kernel reads the byte, so the write is volatile.
        unsafe { immediate_exit.write_volatile(1) };
    }
}

/// Calls `run`, which runs the virtual CPU whose `immediate_exit` this is, unless this thread has been interrupted since
/// [`forget_interruption`]. An interruption from now on makes the virtual CPU leave.
pub(super) fn uninterrupted<T>(immediate_exit: *mut u8, run: impl FnOnce() -> T) -> Option<T> {
    IMMEDIATE_EXIT.set(immediate_exit);
    // The handler runs on this thread: only the compiler could reorder.
    compiler_fence(Ordering::SeqCst);
    let result = if INTERRUPTED.get() || RANG.get() { None } else { Some(run()) };
    compiler_fence(Ordering::SeqCst);
    IMMEDIATE_EXIT.set(ptr::null_mut());
    result
}

/// Whether someone has interrupted this thread since [`forget_interruption`].
pub(crate) fn was_kicked() -> bool {
    INTERRUPTED.get()
}

/// Whether an alarm of this thread rang since it was forgotten.
pub(crate) fn alarm_rang() -> bool {
    RANG.get()
}

/// Interruptions of this thread so far, alarms among them, are of no account any more.
pub(crate) fn forget_interruption() {
    INTERRUPTED.set(false);
    RANG.set(false);
}

/// Alarms that rang are of no account any more.
pub(crate) fn forget_alarm() {
    RANG.set(false);
}

/// Signals that are for the node, and reach its workers too when they come from a terminal or a service manager. A worker
/// ends when its node does.
const SIGNALS_OF_THE_NODE: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// Makes the kick signal interrupt virtual CPUs and system calls, and leaves the node's signals to it. A write beyond the
/// bound on files is an error, as on a full disk. Call once, before the first VM.
pub(crate) fn install_signal_handlers() -> io::Result<()> {
    install_kick_handler()?;
    SIGNALS_OF_THE_NODE.into_iter().chain([libc::SIGXFSZ]).try_for_each(|signal| handle(signal, libc::SIG_IGN))
}

/// Makes the kick signal alone interrupt virtual CPUs and system calls, in a process that is no worker.
pub(crate) fn install_kick_handler() -> io::Result<()> {
    handle(KICK_SIGNAL, on_kick as *const () as libc::sighandler_t)
}

/// Ends the process by the signal of a crash: the standard library's handlers, which tell of stack overflows, need more than a
/// jailed thread has.
pub(crate) fn leave_crashes_alone() -> io::Result<()> {
    [libc::SIGSEGV, libc::SIGBUS].into_iter().try_for_each(|signal| handle(signal, libc::SIG_DFL))
}

/// Has the calling thread, and those that it starts, hear no kick; or hear them.
pub(crate) fn hear_kicks(hear: bool) -> io::Result<()> {
    // SAFETY: an all-zero `sigset_t` is a valid, empty set on Linux.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid, and the signal a number that there is.
    unsafe { libc::sigaddset(&raw mut set, KICK_SIGNAL) };
    let how = if hear { libc::SIG_UNBLOCK } else { libc::SIG_BLOCK };
    // SAFETY: the set outlives the call; the old one is not asked for.
    match unsafe { libc::pthread_sigmask(how, &raw const set, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Sets a signal's handler: [`on_kick`], or one of the constants.
fn handle(signal: libc::c_int, handler: libc::sighandler_t) -> io::Result<()> {
    let action = libc::sigaction {
        sa_sigaction: handler,
        // SAFETY: an all-zero `sigset_t` is a valid, empty set on Linux.
        sa_mask: unsafe { std::mem::zeroed() },
        sa_flags: libc::SA_SIGINFO,
        sa_restorer: None,
    };
    // SAFETY: `action` is fully initialised and outlives the call; the handler, if any, writes cells of its
    // own thread, that need no initialising, so it is safe to run at any point of any thread; the old action is not asked for.
    match unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A thread of this process that may be interrupted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thread {
    process: libc::pid_t,
    tid: libc::pid_t,
}

impl Thread {
    /// The calling thread.
    pub(crate) fn current() -> Self {
        let process = rustix::process::getpid().as_raw_pid();
        Self { process, tid: rustix::thread::gettid().as_raw_pid() }
    }

    /// Interrupts the system call that the thread is in. A thread that has ended is left alone.
    pub(crate) fn kick(self) {
        // SAFETY: tgkill takes plain numbers. It reaches only threads of this very process, all of which have the
        // handler installed, so a reused thread id costs another thread one exit at the most.
        unsafe { libc::syscall(libc::SYS_tgkill, self.process, self.tid, KICK_SIGNAL) };
    }
}

/// CPU time that the calling thread has used.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// CPU time that a process has used, all threads that it had together; none of one that is gone. Anyone may know it, also
/// where `/proc` does not show that process.
#[must_use]
pub fn cpu_time_of(process: u32) -> Option<Duration> {
    // Linux gives no higher number, and a clock's has no room for many more. Zero would be the caller.
    const LAST: u32 = 1 << 22;
    let process = libc::pid_t::try_from(process).ok().filter(|_| (1..=LAST).contains(&process))?;
    let mut clock = 0;
    // SAFETY: the number is written before the call returns.
    if unsafe { libc::clock_getcpuclockid(process, &raw mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is written before the call returns.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// Interrupts the thread that made it after a time.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: libc::timer_t,
}

impl Alarm {
    /// An alarm for the calling thread, not set yet.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: all of its fields are plain numbers and addresses, for which zero is a value.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = KICK_SIGNAL;
        event.sigev_notify_thread_id = Thread::current().tid;
        let mut timer = ptr::null_mut();
        // SAFETY: both structures outlive the call, and the thread named is this one.
        match unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) } {
            0 => Ok(Self { timer }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Interrupts the thread after `time`, and forgets what was set before.
    pub(crate) fn set(&self, time: Duration) {
        // Zero would unset it.
        let time = time.max(Duration::from_micros(1));
        let mut setting = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) },
        };
        setting.it_value.tv_sec = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        // SAFETY: the timer is this alarm's; the setting outlives the call, and the old one is not asked for. The times
        // are in range, so it can't fail.
        unsafe { libc::timer_settime(self.timer, 0, &raw const setting, ptr::null_mut()) };
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: the timer is this alarm's, and used no more.
        unsafe { libc::timer_delete(self.timer) };
    }
}

/// The host's time-stamp counter.
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: every x86-64 CPU has RDTSC, and Linux leaves it enabled for user space.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests;
