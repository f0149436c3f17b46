//! Threads: many green ones on the one virtual CPU, as a pure state machine.
//!
//! The embedder tells what happens (a call blocks, a token became ready, a timer interrupt came) and what time it is; this
//! module says who runs, and until when nobody needs to look again. It switches no stacks and touches no memory but through
//! [`Words`]. All work and memory is bounded by [`THREADS_MAX`] and [`WAITS_MAX`].
//!
//! A call that waits goes like this: [`Threads::block`] or [`Threads::futex`], [`Threads::next`] and a switch to the thread
//! it names; when `next` names this thread again, [`Threads::woken`] says why.
mod clone;
mod exit;
mod futex;
mod pi;
mod queue;
mod run;
mod sleep;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod wait;

use crate::errno::Errno;

pub use clone::{NewThread, Refused};
pub use exit::Exit;
pub use futex::{Futex, Outcome};
pub use run::{Next, SLICE_NS};
pub use sleep::Sleep;
pub use table::{State, THREADS_MAX, Threads, Tid};
pub use time::{Clock, NEVER, Now, Timespec};
pub use wait::{WAITS_MAX, Wait, Wake};

/// The program's memory, by words.
pub trait Words {
    /// The word at an address, aligned or not; `EFAULT` where the program may not read.
    ///
    /// # Errors
    /// `EFAULT`.
    fn load(&self, address: u64) -> Result<u32, Errno>;

    /// Changes the word at an address, aligned or not; `EFAULT` where the program may not write.
    ///
    /// # Errors
    /// `EFAULT`.
    fn store(&mut self, address: u64, value: u32) -> Result<(), Errno>;

    /// Two words, the lower half first.
    ///
    /// # Errors
    /// `EFAULT`.
    fn load_pair(&self, address: u64) -> Result<u64, Errno> {
        let low = self.load(address)?;
        let high = self.load(address.checked_add(4).ok_or(Errno::EFAULT)?)?;
        Ok(u64::from(low) | u64::from(high) << 32)
    }
}
