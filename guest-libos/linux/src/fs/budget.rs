//! The memory that the writable layer may hold: every byte is charged before it is allocated.
use crate::errno::Errno;

/// A bound in bytes, and what of it is held.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    held: usize,
    /// How often it was not enough.
    pub(super) refused: u64,
}

impl Budget {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, held: 0, refused: 0 }
    }

    /// Takes `bytes`, or is `ENOSPC` and takes nothing.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Errno> {
        let Some(held) = self.held.checked_add(bytes).filter(|held| *held <= self.limit) else {
            self.refused += 1;
            return Err(Errno::ENOSPC);
        };
        self.held = held;
        Ok(())
    }

    pub(crate) fn release(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.held, "released more than was charged");
        self.held = self.held.saturating_sub(bytes);
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) const fn held(&self) -> usize {
        self.held
    }
}
