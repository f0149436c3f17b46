//! The numbers of signals, and sets of them.
use crate::errno::Errno;
use core::fmt;
use linux_raw_sys::general as raw;

/// A signal: 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident)*) => {
        #[allow(missing_docs, reason = "their meaning is signal(7)")]
        impl Signal {
            $(pub const $name: Self = Self(raw::$name as u8);)*
        }

        /// Its name in Linux' headers, or its number.
        impl fmt::Display for Signal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name => f.write_str(stringify!($name)),)*
                    Self(number) => write!(f, "signal {number}"),
                }
            }
        }
    };
}

signals! {
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGCHLD SIGCONT
    SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGXCPU SIGXFSZ SIGSTKFLT SIGSYS
}

impl Signal {
    /// The signal of a number.
    ///
    /// # Errors
    /// `EINVAL` if it is not from 1 to 64.
    pub fn new(number: i32) -> Result<Self, Errno> {
        match u8::try_from(number) {
            Ok(number @ 1..=64) => Ok(Self(number)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Whether it is queued each time it is sent: 32 and above (the kernel's SIGRTMIN).
    #[must_use]
    pub fn is_realtime(self) -> bool {
        u32::from(self.0) >= raw::SIGRTMIN
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0 - 1)
    }
}

/// A set of signals, as `sigset_t`: bit 0 is signal 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SigSet(pub u64);

impl SigSet {
    /// SIGKILL and SIGSTOP, which are never blocked.
    pub const UNBLOCKABLE: Self = Self::of(Signal::SIGKILL).union(Self::of(Signal::SIGSTOP));

    /// Signals that the running instruction causes; they come first.
    pub(super) const SYNCHRONOUS: Self = Self::of(Signal::SIGSEGV)
        .union(Self::of(Signal::SIGBUS))
        .union(Self::of(Signal::SIGILL))
        .union(Self::of(Signal::SIGTRAP))
        .union(Self::of(Signal::SIGFPE))
        .union(Self::of(Signal::SIGSYS));

    /// One signal.
    #[must_use]
    pub const fn of(signal: Signal) -> Self {
        Self(1 << (signal.0 - 1))
    }

    /// Those in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether a signal is in it.
    #[must_use]
    pub const fn has(self, signal: Signal) -> bool {
        self.0 & Self::of(signal).0 != 0
    }

    /// Whether none is.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lowest.
    #[must_use]
    pub fn first(self) -> Option<Signal> {
        (self.0 != 0).then(|| Signal(self.0.trailing_zeros() as u8 + 1))
    }

    /// The lowest of the synchronous ones, else the lowest.
    pub(super) fn next(self) -> Option<Signal> {
        self.and(Self::SYNCHRONOUS).first().or_else(|| self.first())
    }
}
