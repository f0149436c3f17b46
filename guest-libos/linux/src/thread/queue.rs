//! The operations of `futex`: waiting for a word of memory, with Linux's results (kernel/futex).
//!
//! There is one address space, so the address is the key, and FUTEX_PRIVATE_FLAG says nothing new. There is one CPU, and a
//! call is not interrupted, so to compare and to queue is one step. Each call looks at each waiter at most once.
use super::Words;
use super::futex::{Futex, Outcome};
use super::table::{Threads, Tid};
use super::time::Now;
use super::wait::{On, Waiter, Wake};
use crate::errno::Errno;
use alloc::vec::Vec;
use linux_raw_sys::general as raw;

/// User addresses end here; the kernel calls the rest `EFAULT` without looking.
const ADDRESS_END: u64 = (1 << 47) - 4096;

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
