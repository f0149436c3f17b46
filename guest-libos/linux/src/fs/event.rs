//! eventfd: a counter that waits at zero.
use super::{
    Fs,
    inode::{Kind, Mount},
    ready::Edges,
    world::Events,
};
use crate::errno::Errno;
use linux_raw_sys::general as abi;

/// The counter of an eventfd(2).
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) value: u64,
    semaphore: bool,
    pub(super) edges: Edges,
}

impl Counter {
    pub(super) fn new(value: u32, semaphore: bool) -> Self {
        Self { value: value.into(), semaphore, edges: Edges::default() }
    }

    /// What a read takes, or `None` at zero.
    pub(super) fn take(&mut self) -> Option<u64> {
        let taken = if self.semaphore { self.value.min(1) } else { self.value };
        self.value -= taken;
        self.edges.write += u64::from(taken > 0);
        (taken > 0).then_some(taken)
    }

    /// Adds; whether it fitted. The largest value is never reached, and not allowed as an addend.
    pub(super) fn add(&mut self, value: u64) -> Result<bool, Errno> {
        if value == u64::MAX {
            return Err(Errno::EINVAL);
        }
        let sum = self.value.checked_add(value).filter(|sum| *sum < u64::MAX);
        if let Some(sum) = sum {
            self.value = sum;
            self.edges.read += 1;
        }
        Ok(sum.is_some())
    }

    pub(super) const fn ready(&self) -> Events {
        Events::IN.when(self.value > 0).and(Events::OUT.when(self.value < u64::MAX - 1))
    }
}

impl Fs {
    /// eventfd2(2).
    pub fn eventfd2(&mut self, value: u32, flags: u32) -> Result<i32, Errno> {
        if flags & !(abi::EFD_SEMAPHORE | abi::EFD_CLOEXEC | abi::EFD_NONBLOCK) != 0 {
            return Err(Errno::EINVAL);
        }
        let counter = Kind::Counter(Counter::new(value, flags & abi::EFD_SEMAPHORE != 0));
        let status = abi::O_RDWR | flags & abi::EFD_NONBLOCK;
        self.install_new(counter, 0o600, Mount::Nameless, status, flags & abi::EFD_CLOEXEC != 0)
    }
}
