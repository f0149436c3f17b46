//! Mutexes that hold their owner's number: `FUTEX_LOCK_PI` and its kin.
//!
//! There are no priorities to inherit; what is left is the hand-over: the word names the next owner before it runs, the
//! first that waits. The word is the program's to write, so it is believed no more than needed: an owner that is not a
//! thread is `ESRCH`, and waiters are found in our own queue only.
use super::futex::{Futex, Outcome};
use super::queue::check;
use super::table::{Threads, Tid};
use super::wait::Wake;
use super::{Now, Words};
use crate::errno::Errno;
use alloc::vec::Vec;
use linux_raw_sys::general::{FUTEX_BITSET_MATCH_ANY, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};

impl Threads {
    pub(super) fn lock_pi(
        &mut self,
        call: &Futex,
        only_try: bool,
        words: &mut dyn Words,
        now: Now,
    ) -> Result<Outcome, Errno> {
        let until = if only_try { None } else { call.until(now)? };
        check(call.address)?;
        let me = self.current.ok_or(Errno::ESRCH)?;
        let value = words.load(call.address)?;
        let owner = value & FUTEX_TID_MASK;
        if owner == me.0 {
            return Err(Errno::EDEADLK);
        }
        let first = self.first_waiter(call.address);
        if first.is_some_and(|(_, pi)| !pi) {
            return Err(Errno::EINVAL);
        }
        if owner == 0 && first.is_none() {
            words.store(call.address, value & FUTEX_OWNER_DIED | me.0)?;
            return Ok(Outcome::Done(0));
        }
        if self.state(Tid(owner)).is_none() {
            return Err(Errno::ESRCH);
        }
        if only_try {
            return Err(Errno::EAGAIN);
        }
        words.store(call.address, value | FUTEX_WAITERS)?;
        self.enqueue(call.address, FUTEX_BITSET_MATCH_ANY, true, until)
    }

    pub(super) fn unlock_pi(&mut self, address: u64, words: &mut dyn Words) -> Result<u32, Errno> {
        check(address)?;
        let me = self.current.ok_or(Errno::ESRCH)?;
        if words.load(address)? & FUTEX_TID_MASK != me.0 {
            return Err(Errno::EPERM);
        }
        self.hand_over(address, 0, words)?;
        Ok(0)
    }

    /// Gives a mutex to the first that waits for it, or to nobody.
    fn hand_over(&mut self, address: u64, flags: u32, words: &mut dyn Words) -> Result<(), Errno> {
        match self.first_waiter(address) {
            None => words.store(address, flags),
            Some((_, false)) => Err(Errno::EINVAL),
            Some((next, true)) => {
                words.store(address, flags | FUTEX_WAITERS | next.0)?;
                self.wake(next, Wake::Futex);
                Ok(())
            }
        }
    }

    /// A thread ends: mutexes that it owns and others wait for go to the first of them, marked.
    pub(super) fn release_pi(&mut self, dead: Tid, words: &mut dyn Words) {
        let mut addresses: Vec<u64> =
            self.waits.futexes.iter().filter(|(_, waiter)| waiter.pi).map(|(&(address, _), _)| address).collect();
        addresses.dedup();
        for address in addresses {
            if words.load(address).is_ok_and(|value| value & FUTEX_TID_MASK == dead.0) {
                let _ = self.hand_over(address, FUTEX_OWNER_DIED, words);
            }
        }
    }
}
