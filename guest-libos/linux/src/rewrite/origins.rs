//! Where code of stubs came from: for signal frames and backtraces, which show the program its own addresses.

use alloc::vec::Vec;
use core::ops::Range;

/// A map between addresses in stubs and in the program.
#[derive(Debug, Default, Clone)]
pub struct Origins {
    /// All stubs.
    area: Range<u64>,
    /// Each instruction of a stub, and what it stands for in the program. Both ascend.
    pairs: Vec<(u64, u64)>,
}

impl Origins {
    pub(super) fn new(area: Range<u64>, pairs: Vec<(u64, u64)>) -> Self {
        Self { area, pairs }
    }

    /// The program's address that the stub's address `pc` stands for; none if it is in no stub. This is what to show: for the two
    /// instructions that lead to a handler, the trap; for a return address, what comes after the trap.
    #[must_use]
    pub fn original(&self, pc: u64) -> Option<u64> {
        if !self.area.contains(&pc) {
            return None;
        }
        let after = self.pairs.partition_point(|(stub, _)| *stub <= pc);
        self.pairs.get(after.checked_sub(1)?).map(|(_, original)| *original)
    }

    /// Where a stub does what the program had at `pc`: an instruction that was displaced, or a trap. For a signal frame that was
    /// made with [`Origins::original`] and is now returned to.
    #[must_use]
    pub fn resume(&self, pc: u64) -> Option<u64> {
        let pair = self.pairs.get(self.pairs.partition_point(|(_, original)| *original < pc))?;
        (pair.1 == pc).then_some(pair.0)
    }
}
