//! Following pointers all over memory: what an access costs that no cache, and no translation kept by the CPU, has.
//!
//! Each load tells the address of the next one, so nothing overlaps: a walk of page tables that a virtual machine makes
//! longer shows in full. Independent loads would hide most of it behind each other.

use alloc::{vec, vec::Vec};

/// Numbers in a line of the cache: each line holds one step, in its first number.
const LINE: usize = 64 / size_of::<u32>();

/// Memory in which each line names another; together they are one cycle through all lines.
#[derive(Clone, Debug)]
pub struct Chase {
    memory: Vec<u32>,
    place: u32,
}

impl Chase {
    /// A cycle through `bytes` bytes, a power of two up to 2³⁸. Writes every line, so every page is there.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let mut memory = vec![0; bytes / size_of::<u32>()];
        let lines = memory.len() / LINE;
        // x → ax + c modulo a power of two has the full period where a - 1 is a multiple of 4 and c is odd (Hull and
        // Dobell, 1962). Numbers with regular low bits, and high bits, the page, without a pattern that a prefetcher knows.
        for (line, step) in memory.iter_mut().step_by(LINE).enumerate() {
            *step = (line.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & (lines - 1)) as u32;
        }
        Self { memory, place: 0 }
    }

    /// Goes on by so many steps, and tells where it stands.
    pub fn follow(&mut self, steps: u64) -> u64 {
        for _ in 0..steps {
            self.place = self.memory[self.place as usize * LINE];
        }
        self.place.into()
    }
}

#[cfg(test)]
mod tests {
    use super::Chase;
    use alloc::vec;

    #[test]
    fn it_comes_by_every_line_once() {
        const LINES: u64 = 1 << 12;
        let mut chase = Chase::new(LINES as usize * 64);
        let mut seen = vec![false; LINES as usize];
        for _ in 0..LINES {
            let place = chase.follow(1) as usize;
            assert!(!core::mem::replace(&mut seen[place], true), "{place} came twice");
        }
        assert_eq!(chase.follow(LINES), 0, "a cycle");
    }
}
