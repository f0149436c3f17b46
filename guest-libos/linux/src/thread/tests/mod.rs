//! Tests of threads: against the manual, and against naive models.
mod exit;
mod futex;
mod futex_model;
mod schedule;
mod schedule_model;

use super::*;
use alloc::collections::BTreeMap;

/// Memory of a program: the words that there are.
#[derive(Default)]
pub(super) struct Memory(pub(super) BTreeMap<u64, u32>);

impl Memory {
    pub(super) fn with(words: &[(u64, u32)]) -> Self {
        Self(words.iter().copied().collect())
    }

    pub(super) fn put_pair(&mut self, address: u64, value: u64) {
        self.0.insert(address, value as u32);
        self.0.insert(address + 4, (value >> 32) as u32);
    }
}

impl Words for Memory {
    fn load(&self, address: u64) -> Result<u32, Errno> {
        self.0.get(&address).copied().ok_or(Errno::EFAULT)
    }

    fn store(&mut self, address: u64, value: u32) -> Result<(), Errno> {
        *self.0.get_mut(&address).ok_or(Errno::EFAULT)? = value;
        Ok(())
    }
}

pub(super) fn at(mono_ns: u64) -> Now {
    Now { mono_ns, realtime_base_ns: 1_000_000_000_000 }
}

/// A process with so many threads, of which the first runs.
pub(super) fn threads(count: u32) -> Threads {
    let mut threads = Threads::new(Tid(1), 0);
    for _ in 1..count {
        threads.spawn(&NewThread::default(), &mut Memory::default()).unwrap();
    }
    threads
}

/// Runs this thread: all before it go to the back.
pub(super) fn run(threads: &mut Threads, tid: u32) {
    for _ in 0..=threads.count() {
        if threads.next(0) == Next::Run(Tid(tid)) {
            return;
        }
        threads.put_back();
    }
    panic!("{tid} is not ready");
}
