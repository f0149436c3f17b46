//! The last system calls, for the report on a program that failed.

use crate::errno::Errno;
use core::fmt;

/// How many are kept.
const KEPT: usize = 8;

/// What is not the result of a call: it has not ended.
const NONE: u64 = 1 << 63;

/// The last calls, of all threads.
#[derive(Clone, Copy, Debug)]
pub struct Recent {
    calls: [(u32, u64); KEPT],
    /// Calls so far.
    count: u64,
}

impl Default for Recent {
    fn default() -> Self {
        Self { calls: [(0, NONE); KEPT], count: 0 }
    }
}

impl Recent {
    /// Calls so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    #[inline]
    pub(super) fn begin(&mut self, number: u32) {
        self.calls[self.count as usize % KEPT] = (number, NONE);
        self.count += 1;
    }

    /// The last one has ended. One that waited is shown without its result.
    #[inline]
    pub(super) fn end(&mut self, result: u64) {
        self.calls[(self.count as usize).wrapping_sub(1) % KEPT].1 = result;
    }
}

/// The first made first: `openat = ENOENT, write = 12, exit_group`.
impl fmt::Display for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.count.saturating_sub(KEPT as u64);
        for at in first..self.count {
            let (number, result) = self.calls[at as usize % KEPT];
            let separator = if at == first { "" } else { ", " };
            write!(f, "{separator}{}", name(number))?;
            match (result.wrapping_neg(), result) {
                (_, NONE) => {}
                (error @ 1..4096, _) => write!(f, " = {}", Errno(error as i32))?,
                (_, value @ 0..0x10000) => write!(f, " = {value}")?,
                (_, value) => write!(f, " = {value:#x}")?,
            }
        }
        Ok(())
    }
}

/// The name of a call, or its number.
#[must_use]
pub fn name(number: u32) -> impl fmt::Display {
    struct Name(u32);
    impl fmt::Display for Name {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match syscalls::Sysno::new(self.0 as usize) {
                Some(known) => f.write_str(known.name()),
                None => write!(f, "{}", self.0),
            }
        }
    }
    Name(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use linux_raw_sys::general as nr;

    #[test]
    fn the_last_calls_are_told_in_their_order() {
        let mut recent = Recent::default();
        assert_eq!(recent.to_string(), "");
        for number in 0..100 {
            recent.begin(number);
            recent.end(0);
        }
        for (number, result) in
            [(nr::__NR_openat, Errno::ENOENT.rax()), (nr::__NR_write, 12), (nr::__NR_mmap, 0x7f_0000_0000), (9999, 0)]
        {
            recent.begin(number);
            recent.end(result);
        }
        recent.begin(nr::__NR_exit_group);
        let text = recent.to_string();
        assert!(text.ends_with("openat = ENOENT, write = 12, mmap = 0x7f00000000, 9999 = 0, exit_group"), "{text}");
        assert_eq!((text.split(", ").count(), recent.count()), (KEPT, 105));
    }
}
