//! What a call reads and writes of its program's memory, and what it needs of the machine.

use super::{Answer, Extended, Process, buffers};
use crate::{
    errno::Errno,
    mm::{Access, Pages, Space},
    rewrite::Functions,
    thread::Words,
};
use alloc::{string::String, vec::Vec};
use core::ops::Range;

/// What the image gives.
pub trait Machine: Pages {
    /// Memory of the program that can be read: the caller has asked [`crate::mm::Space::check`].
    fn bytes(&self, range: Range<u64>) -> &[u8];

    /// The same of memory that can be written.
    fn bytes_mut(&mut self, range: Range<u64>) -> &mut [u8];

    /// The base of FS, which belongs to the thread.
    fn fs_base(&self) -> u64;

    /// Sets it.
    fn set_fs_base(&mut self, base: u64);

    /// The registers of the CPU beyond a [`Frame`](super::Frame): a thread's but for XMM, which the library OS uses.
    fn save(&mut self) -> Extended;

    /// Puts them into the CPU.
    fn restore(&mut self, extended: &Extended);

    /// Bytes that [`Machine::save`] gives, at least [`Extended::LEAST_BYTES`].
    fn extended_bytes(&self) -> usize;

    /// What they hold, as XCR0 says it.
    fn features(&self) -> u64;

    /// The program is ready for a job: what the VM is now may be copied for many. Gives the job's arguments.
    fn ready(&mut self) -> Vec<String>;

    /// What is known of the functions in the code that becomes executable next.
    fn expect_code(&mut self, functions: Functions);

    /// The program's address that an instruction in a stub of rewritten code stands for, or the same.
    fn original(&self, rip: u64) -> u64;

    /// Where a stub does what the program had at this address, or the same.
    fn resume(&self, rip: u64) -> u64;

    /// Where a call begins: a thread that goes on there, with the number in RAX and its return address in RCX, makes it.
    fn entry(&self) -> u64;

    /// Nanoseconds since the VM started, and since 1970.
    fn now(&self) -> (u64, u64);

    /// Nanoseconds of CPU time.
    fn cpu_ns(&self) -> u64;

    /// Interrupts the running thread then, in ns of the first clock of [`Machine::now`]: on time if it is `urgent`, at a
    /// price, else when the VM is next entered.
    fn set_timer(&mut self, at_ns: u64, urgent: bool);

    /// Whether there was an interrupt since it was last asked.
    fn take_attention(&mut self) -> bool;

    /// Whether input may have come since it was last asked.
    fn take_input(&mut self) -> bool;

    /// Gives the CPU away until then, by the first clock of [`Machine::now`], or until something happens. Stops the timer.
    fn idle(&mut self, until_ns: u64);

    /// Fills `bytes` with what nobody can guess.
    fn random(&mut self, bytes: &mut [u8]);
}

impl<M: Machine> Process<M> {
    /// Bytes of the program, to be read.
    pub(super) fn input(&mut self, address: u64, bytes: u64) -> Result<&[u8], Errno> {
        buffers::input(&self.space, address, bytes)
    }

    /// Bytes of the program, to be written.
    pub(super) fn output(&mut self, address: u64, bytes: u64) -> Result<&mut [u8], Errno> {
        buffers::output(&mut self.space, address, bytes)
    }

    /// Writes words at `address`.
    pub(super) fn put(&mut self, address: u64, words: &[u64]) -> Answer {
        let out = self.output(address, size_of_val(words) as u64)?;
        for (place, word) in out.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Ok(0)
    }

    /// Reads words at `address`.
    pub(super) fn get<const N: usize>(&mut self, address: u64) -> Result<[u64; N], Errno> {
        let (words, _) = self.input(address, 8 * N as u64)?.as_chunks();
        Ok(core::array::from_fn(|n| words.get(n).map_or(0, |word| u64::from_le_bytes(*word))))
    }

    /// Reads the bytes of a structure.
    pub(super) fn array<const N: usize>(&mut self, address: u64) -> Result<[u8; N], Errno> {
        let mut array = [0; N];
        array.copy_from_slice(self.input(address, N as u64)?);
        Ok(array)
    }
}

/// The program's memory by words, for futexes.
pub(super) struct Memory<'a, M>(pub(super) &'a mut Space<M>);

impl<M: Machine> Words for Memory<'_, M> {
    fn load(&self, address: u64) -> Result<u32, Errno> {
        self.0.check_bytes(address, 4, Access::Read)?;
        let mut word = [0; 4];
        word.copy_from_slice(self.0.machine().bytes(address..address + 4));
        Ok(u32::from_le_bytes(word))
    }

    fn store(&mut self, address: u64, value: u32) -> Result<(), Errno> {
        self.0.check_bytes(address, 4, Access::Write)?;
        self.0.pages().bytes_mut(address..address + 4).copy_from_slice(&value.to_le_bytes());
        Ok(())
    }
}
