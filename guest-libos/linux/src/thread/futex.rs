//! The arguments of `futex` calls (futex(2)), and what such a call returns once it was woken.
use super::NEVER;
use super::time::{Clock, Now, Timespec};
use super::wait::Wake;
use crate::errno::Errno;
use crate::signal::Restart;
use linux_raw_sys::general as raw;

/// The arguments of a `futex` call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Futex {
    /// `uaddr`.
    pub address: u64,
    /// `futex_op`, with its flags.
    pub operation: u32,
    /// `val`.
    pub value: u32,
    /// What `timeout` points to; read it only if [`Futex::has_timeout`].
    pub timeout: Option<Timespec>,
    /// The pointer `timeout` itself, a number for the requeue operations.
    pub value2: u32,
    /// `uaddr2`.
    pub address2: u64,
    /// `val3`.
    pub value3: u32,
}

/// What a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returns this.
    Done(u32),
    /// The current thread is blocked; [`Futex::result`] of what wakes it is what it returns.
    Blocked,
}

impl Futex {
    /// The operation without its flags.
    pub(super) fn command(&self) -> u32 {
        self.operation & raw::FUTEX_CMD_MASK.cast_unsigned()
    }

    /// Whether the operation takes a `timeout`, to be read if it is not null.
    #[must_use]
    pub fn has_timeout(&self) -> bool {
        matches!(self.command(), raw::FUTEX_WAIT | raw::FUTEX_WAIT_BITSET | raw::FUTEX_LOCK_PI | raw::FUTEX_LOCK_PI2)
    }

    /// What a call that blocked returns.
    ///
    /// # Errors
    /// `ETIMEDOUT`; `EINTR`, unless [`Futex::restart`] says to restart it.
    pub fn result(wake: Wake) -> Result<u32, Errno> {
        match wake {
            Wake::Futex | Wake::Token(_) => Ok(0),
            Wake::TimedOut => Err(Errno::ETIMEDOUT),
            Wake::Interrupted => Err(Errno::EINTR),
        }
    }

    /// Whether the call goes on after a signal.
    #[must_use]
    pub fn restart(&self) -> Restart {
        match self.command() {
            raw::FUTEX_LOCK_PI | raw::FUTEX_LOCK_PI2 => Restart::Always,
            _ if self.timeout.is_some() => Restart::Never,
            _ => Restart::IfAsked,
        }
    }

    /// The same call with an end that does not move when it is done again: for one that waits for a relative time.
    ///
    /// # Errors
    /// `EINVAL` for a bad time.
    pub fn fixed(self, now: Now) -> Result<Self, Errno> {
        match self.until(now)? {
            Some(until) if self.command() == raw::FUTEX_WAIT => Ok(Self {
                operation: raw::FUTEX_WAIT_BITSET | self.operation & !raw::FUTEX_CMD_MASK.cast_unsigned(),
                value3: raw::FUTEX_BITSET_MATCH_ANY,
                timeout: Some(Timespec::from_ns(until)),
                ..self
            }),
            _ => Ok(self),
        }
    }

    /// When it ends, in ns of the VM's clock: FUTEX_WAIT's time is relative, all others' are absolute.
    pub(super) fn until(&self, now: Now) -> Result<Option<u64>, Errno> {
        let Some(timeout) = self.timeout else { return Ok(None) };
        let ns = timeout.ns()?;
        let realtime = self.operation & raw::FUTEX_CLOCK_REALTIME != 0 || self.command() == raw::FUTEX_LOCK_PI;
        let clock = if realtime { Clock::Realtime } else { Clock::Monotonic };
        Ok(Some(clock.deadline(self.command() != raw::FUTEX_WAIT, ns, now)).filter(|&until| until != NEVER))
    }
}
