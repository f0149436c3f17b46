//! `futex`: waiting for a word of memory, with Linux's results (kernel/futex, futex(2)).
//!
//! There is one address space, so the address is the key, and FUTEX_PRIVATE_FLAG says nothing new. There is one CPU, and a
//! call is not interrupted, so to compare and to queue is one step. Each call looks at each waiter at most once.
use super::table::{Threads, Tid};
use super::time::{Clock, Now, Timespec};
use super::wait::{On, Waiter, Wake};
use super::{NEVER, Words};
use crate::errno::Errno;
use crate::signal::Restart;
use alloc::vec::Vec;
use linux_raw_sys::general as raw;

/// User addresses end here; the kernel calls the rest `EFAULT` without looking.
const ADDRESS_END: u64 = (1 << 47) - 4096;

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

    /// When it ends, in ns of the VM's clock: FUTEX_WAIT's time is relative, all others' are absolute.
    pub(super) fn until(&self, now: Now) -> Result<Option<u64>, Errno> {
        let Some(timeout) = self.timeout else { return Ok(None) };
        let ns = timeout.ns()?;
        let realtime = self.operation & raw::FUTEX_CLOCK_REALTIME != 0 || self.command() == raw::FUTEX_LOCK_PI;
        let clock = if realtime { Clock::Realtime } else { Clock::Monotonic };
        Ok(Some(clock.deadline(self.command() != raw::FUTEX_WAIT, ns, now)).filter(|&until| until != NEVER))
    }
}

pub(super) fn check(address: u64) -> Result<(), Errno> {
    match address {
        _ if !address.is_multiple_of(4) => Err(Errno::EINVAL),
        ADDRESS_END.. => Err(Errno::EFAULT),
        _ => Ok(()),
    }
}

impl Threads {
    /// Does a call of the current thread.
    ///
    /// # Errors
    /// As futex(2): `EAGAIN`, `EFAULT`, `EINVAL`, `EDEADLK`, `EPERM`, `ESRCH`; `ENOSYS` for operations that are not.
    pub fn futex(&mut self, call: &Futex, words: &mut dyn Words, now: Now) -> Result<Outcome, Errno> {
        let command = call.command();
        let realtime = call.operation & raw::FUTEX_CLOCK_REALTIME != 0;
        if realtime && !matches!(command, raw::FUTEX_WAIT_BITSET | raw::FUTEX_LOCK_PI2) {
            return Err(Errno::ENOSYS);
        }
        let any = raw::FUTEX_BITSET_MATCH_ANY;
        match command {
            raw::FUTEX_WAIT => self.futex_wait(call, any, words, now),
            raw::FUTEX_WAIT_BITSET => self.futex_wait(call, call.value3, words, now),
            raw::FUTEX_WAKE => self.futex_wake(call.address, call.value, any).map(Outcome::Done),
            raw::FUTEX_WAKE_BITSET => self.futex_wake(call.address, call.value, call.value3).map(Outcome::Done),
            raw::FUTEX_REQUEUE => self.futex_requeue(call, None, words).map(Outcome::Done),
            raw::FUTEX_CMP_REQUEUE => self.futex_requeue(call, Some(call.value3), words).map(Outcome::Done),
            raw::FUTEX_WAKE_OP => self.futex_wake_op(call, words).map(Outcome::Done),
            raw::FUTEX_LOCK_PI | raw::FUTEX_LOCK_PI2 => self.lock_pi(call, false, words, now),
            raw::FUTEX_TRYLOCK_PI => self.lock_pi(call, true, words, now),
            raw::FUTEX_UNLOCK_PI => self.unlock_pi(call.address, words).map(Outcome::Done),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn futex_wait(&mut self, call: &Futex, bitset: u32, words: &dyn Words, now: Now) -> Result<Outcome, Errno> {
        let until = call.until(now)?;
        if bitset == 0 {
            return Err(Errno::EINVAL);
        }
        check(call.address)?;
        if words.load(call.address)? != call.value {
            return Err(Errno::EAGAIN);
        }
        self.enqueue(call.address, bitset, false, until)
    }

    /// Blocks the current thread at a futex.
    pub(super) fn enqueue(
        &mut self,
        address: u64,
        bitset: u32,
        pi: bool,
        until: Option<u64>,
    ) -> Result<Outcome, Errno> {
        let tid = self.current.ok_or(Errno::ESRCH)?;
        let ticket = self.waits.ticket();
        self.waits.futexes.insert((address, ticket), Waiter { tid, bitset, pi });
        self.suspend(On::Futex { address, ticket }, until);
        Ok(Outcome::Blocked)
    }

    /// Who waits at an address, the first first.
    pub(super) fn waiters(&self, address: u64) -> impl Iterator<Item = (u64, Waiter)> {
        self.waits.futexes.range((address, 0)..=(address, u64::MAX)).map(|(&(_, ticket), &waiter)| (ticket, waiter))
    }

    /// Wakes up to `count` waiters whose bits match; one if `count` is not positive, as Linux does.
    pub(super) fn futex_wake(&mut self, address: u64, count: u32, bitset: u32) -> Result<u32, Errno> {
        if bitset == 0 {
            return Err(Errno::EINVAL);
        }
        check(address)?;
        let count = count.cast_signed().max(1).cast_unsigned();
        let mut woken = Vec::new();
        let mut error = None;
        for (_, waiter) in self.waiters(address) {
            if waiter.pi {
                error = Some(Errno::EINVAL);
                break;
            }
            if waiter.bitset & bitset != 0 {
                woken.push(waiter.tid);
                if woken.len() as u32 >= count {
                    break;
                }
            }
        }
        let number = woken.len() as u32;
        for tid in woken {
            self.wake(tid, Wake::Futex);
        }
        error.map_or(Ok(number), Err)
    }

    /// Wakes the first waiters and moves others to another address. Gives how many of both, for both operations.
    fn futex_requeue(&mut self, call: &Futex, expected: Option<u32>, words: &dyn Words) -> Result<u32, Errno> {
        let (wake, move_) = (u64::from(call.value), u64::from(call.value2));
        if call.value.cast_signed() < 0 || call.value2.cast_signed() < 0 {
            return Err(Errno::EINVAL);
        }
        check(call.address)?;
        check(call.address2)?;
        if let Some(expected) = expected
            && words.load(call.address)? != expected
        {
            return Err(Errno::EAGAIN);
        }
        let limit = usize::try_from(wake + move_).unwrap_or(usize::MAX);
        let chosen: Vec<(u64, Waiter)> = self.waiters(call.address).take(limit).collect();
        let mut done = 0;
        for (ticket, waiter) in chosen {
            if waiter.pi {
                return Err(Errno::EINVAL);
            }
            done += 1;
            if u64::from(done) <= wake {
                self.wake(waiter.tid, Wake::Futex);
            } else if call.address != call.address2 {
                self.move_waiter(waiter, (call.address, ticket), call.address2);
            }
        }
        Ok(done)
    }

    fn move_waiter(&mut self, waiter: Waiter, from: (u64, u64), address: u64) {
        let ticket = self.waits.ticket();
        self.waits.futexes.remove(&from);
        self.waits.futexes.insert((address, ticket), waiter);
        if let Some(thread) = self.table.get_mut(&waiter.tid) {
            thread.on = On::Futex { address, ticket };
        }
    }

    fn futex_wake_op(&mut self, call: &Futex, words: &mut dyn Words) -> Result<u32, Errno> {
        check(call.address)?;
        check(call.address2)?;
        let also = change(call.value3, call.address2, words)?;
        let mut woken = self.futex_wake(call.address, call.value, raw::FUTEX_BITSET_MATCH_ANY)?;
        if also {
            woken += self.futex_wake(call.address2, call.value2, raw::FUTEX_BITSET_MATCH_ANY)?;
        }
        Ok(woken)
    }

    /// The first waiter at an address.
    pub(super) fn first_waiter(&self, address: u64) -> Option<(Tid, bool)> {
        self.waiters(address).next().map(|(_, waiter)| (waiter.tid, waiter.pi))
    }
}

/// Changes a word as the number of FUTEX_WAKE_OP says, and compares what it was.
fn change(encoded: u32, address: u64, words: &mut dyn Words) -> Result<bool, Errno> {
    let signed = |bits: u32| (bits << 20).cast_signed() >> 20;
    let mut argument = signed(encoded >> 12 & 0xfff);
    if encoded >> 28 & raw::FUTEX_OP_OPARG_SHIFT != 0 {
        argument = 1 << (argument & 31);
    }
    let bits = argument.cast_unsigned();
    let old = words.load(address)?;
    let new = match encoded >> 28 & 7 {
        raw::FUTEX_OP_SET => bits,
        raw::FUTEX_OP_ADD => old.wrapping_add(bits),
        raw::FUTEX_OP_OR => old | bits,
        raw::FUTEX_OP_ANDN => old & !bits,
        raw::FUTEX_OP_XOR => old ^ bits,
        _ => return Err(Errno::ENOSYS),
    };
    words.store(address, new)?;
    let (old, with) = (old.cast_signed(), signed(encoded & 0xfff));
    match encoded >> 24 & 0xf {
        raw::FUTEX_OP_CMP_EQ => Ok(old == with),
        raw::FUTEX_OP_CMP_NE => Ok(old != with),
        raw::FUTEX_OP_CMP_LT => Ok(old < with),
        raw::FUTEX_OP_CMP_LE => Ok(old <= with),
        raw::FUTEX_OP_CMP_GT => Ok(old > with),
        raw::FUTEX_OP_CMP_GE => Ok(old >= with),
        _ => Err(Errno::ENOSYS),
    }
}
