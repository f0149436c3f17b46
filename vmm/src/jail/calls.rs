//! The system calls of each kind of thread, with the reason for each. What is not here ends the process.

use crate::kvm::ioctls;
use libc::{
    SYS_clock_gettime, SYS_clock_nanosleep, SYS_close, SYS_epoll_ctl, SYS_epoll_pwait, SYS_exit_group, SYS_fallocate,
    SYS_fcntl, SYS_fstatfs, SYS_ftruncate, SYS_futex, SYS_getpid, SYS_getrandom, SYS_gettid, SYS_ioctl, SYS_lseek,
    SYS_madvise, SYS_memfd_create, SYS_mmap, SYS_munmap, SYS_nanosleep, SYS_ppoll, SYS_pread64, SYS_preadv2,
    SYS_pwrite64, SYS_recvmsg, SYS_restart_syscall, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sched_yield, SYS_sendto,
    SYS_statx, SYS_tgkill, SYS_timer_settime, SYS_timerfd_settime, SYS_wait4, SYS_write,
};

/// A kind of thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs guests.
    Runner,
    /// Makes, feeds, stores and destroys VMs. It runs no guest.
    Keeper,
    /// Writes to the node what its socket did not take at once.
    Reporter,
    /// Waits for the worker's end.
    Main,
    /// Waits in a process of its own for the worker's end, outside of its namespace of processes.
    Launcher,
}

/// A system call that may be made.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its number.
    pub call: i64,
    /// How it may be made.
    pub only: Only,
    /// What for.
    pub why: &'static str,
}

/// How a system call may be made.
#[derive(Clone, Copy, Debug)]
pub enum Only {
    /// With any arguments.
    Any,
    /// With one of these values as the argument of this number.
    OneOf(u8, &'static [u64]),
    /// With none of these bits in the argument of this number.
    Without(u8, u64),
    /// With any but this value as the argument of this number.
    Except(u8, u64),
    /// With no address as the argument of this number.
    Null(u8),
    /// Either way alone is not enough.
    Both(&'static Only, &'static Only),
    /// With this signal as the third argument, and the process's own number as the first.
    OwnSignal(u64),
}

impl Role {
    /// All that threads of this kind may call.
    #[must_use]
    pub fn rules(self) -> &'static [Rule] {
        match self {
            Self::Runner => RUNNER,
            Self::Keeper => KEEPER,
            Self::Reporter => REPORTER,
            Self::Main => MAIN,
            Self::Launcher => LAUNCHER,
        }
    }
}

const fn any(call: i64, why: &'static str) -> Rule {
    Rule { call, only: Only::Any, why }
}

const fn one_of(call: i64, argument: u8, values: &'static [u64], why: &'static str) -> Rule {
    Rule { call, only: Only::OneOf(argument, values), why }
}

/// Not with the operator's log, which may be a terminal.
const NOT_STDERR: Only = Only::Except(0, STDERR);

const fn not_stderr(call: i64, why: &'static str) -> Rule {
    Rule { call, only: NOT_STDERR, why }
}

const fn without(call: i64, argument: u8, bits: u64, why: &'static str) -> Rule {
    Rule { call, only: Only::Without(argument, bits), why }
}

const KICK: u64 = libc::SIGUSR1 as u64;
const STDERR: u64 = 2;
const CLOCKS: &[u64] = &[
    libc::CLOCK_THREAD_CPUTIME_ID as u64,
    // Where the vDSO does not know the host's clock.
    libc::CLOCK_REALTIME as u64,
    libc::CLOCK_MONOTONIC as u64,
];
const ADVICE: &[u64] = &[libc::MADV_DONTNEED as u64, libc::MADV_FREE as u64];
const FILE_CONTROLS: &[u64] = &[
    libc::F_ADD_SEALS as u64,
    // The standard library looks before it closes, in debug builds.
    libc::F_GETFD as u64,
];

const FUTEX: Rule = any(SYS_futex, "locks");
const CLOCK: Rule = one_of(SYS_clock_gettime, 0, CLOCKS, "CPU time that a guest used, and the time of day");
const INTERRUPT: Rule =
    Rule { call: SYS_tgkill, only: Only::OwnSignal(KICK), why: "interrupts a guest that is to stop" };
const ALARM_CLOCK: Rule = any(SYS_timerfd_settime, "wakes a runner when an idle guest's time comes");
/// A message to the other end of a socket, and to no address.
const SEND: Rule =
    Rule { call: SYS_sendto, only: Only::Null(4), why: "reports to the node, and wakes a runner that waits" };
const FORGET: Rule = one_of(SYS_madvise, 2, ADVICE, "gives memory back");

const RUNNER: &[Rule] = &[
    one_of(SYS_ioctl, 1, ioctls::OF_A_RUNNER, "runs a guest, sets its registers, finds its pages"),
    FUTEX,
    CLOCK,
    INTERRUPT,
    ALARM_CLOCK,
    SEND,
    FORGET,
    any(SYS_epoll_pwait, "waits for commands and for input"),
    any(SYS_recvmsg, "takes commands"),
    any(SYS_timer_settime, "bounds a guest's slice"),
    any(SYS_rt_sigreturn, "goes on after an interruption"),
    not_stderr(SYS_pread64, "finds a guest's pages on kernels before 6.7"),
];

const KEEPER: &[Rule] = &[
    one_of(SYS_ioctl, 1, ioctls::OF_A_KEEPER, "makes virtual hardware, sets its registers, finds its pages"),
    FUTEX,
    CLOCK,
    INTERRUPT,
    ALARM_CLOCK,
    SEND,
    FORGET,
    without(SYS_mmap, 2, libc::PROT_EXEC as u64, "memory, for guests and for itself, and never code"),
    any(SYS_munmap, "gives it back"),
    any(SYS_memfd_create, "an image that VMs share"),
    not_stderr(SYS_ftruncate, "makes it as large as it is to be"),
    one_of(SYS_fcntl, 1, FILE_CONTROLS, "seals it"),
    any(SYS_statx, "how large a bundle or an input is"),
    not_stderr(SYS_lseek, "where it begins"),
    not_stderr(SYS_preadv2, "reads it, without waiting for a pipe"),
    any(SYS_ppoll, "whether there is input"),
    any(SYS_epoll_ctl, "has runners hear of input that is still to come"),
    not_stderr(SYS_pread64, "reads a VM that slept on disk"),
    not_stderr(SYS_pwrite64, "writes it, and images"),
    // With FALLOC_FL_KEEP_SIZE the bound on a file's length is none on the disk that it takes.
    Rule { call: SYS_fallocate, only: Only::Both(&NOT_STDERR, &Only::OneOf(1, &[0])), why: "disk for VMs that sleep" },
    any(SYS_fstatfs, "whether there is so much"),
    any(SYS_getrandom, "names of temporary things, and hash tables that no one can foresee"),
    any(SYS_close, "closes what was handed over"),
    one_of(SYS_write, 0, &[STDERR], "tells the operator what went wrong"),
];

const REPORTER: &[Rule] = &[FUTEX, SEND, FORGET];

const MAIN: &[Rule] = &[
    FUTEX,
    FORGET,
    one_of(SYS_write, 0, &[STDERR], "tells the operator what went wrong"),
    any(SYS_exit_group, "ends the worker"),
];

/// Calls that libraries make now and then and that need not be made: they do nothing, and give this error, or none. What yields
/// goes on at once; what waited through a stop of the process looks again.
pub(super) const FORGIVEN: [(u32, &[i64]); 2] =
    [(0, &[SYS_sched_yield, SYS_nanosleep, SYS_clock_nanosleep]), (libc::EINTR as u32, &[SYS_restart_syscall])];

const LAUNCHER: &[Rule] = &[
    any(SYS_wait4, "waits for the worker"),
    any(SYS_rt_sigreturn, "goes on after a signal"),
    any(SYS_rt_sigprocmask, "ends by the signal that ended the worker"),
    any(SYS_getpid, "the same"),
    any(SYS_gettid, "the same"),
    any(SYS_tgkill, "the same"),
    any(SYS_exit_group, "ends as the worker ended"),
];
