//! Which parts of a swap file are free. Pure.
//!
//! Holes are kept twice: by place, to join neighbours, and by size, to find the one that fits best. There are at most one
//! more of them than images.

use std::collections::{BTreeMap, BTreeSet};

/// A piece of the file, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) units: u64,
}

/// The free parts: apart from each other, and none empty.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// Start to length.
    by_start: BTreeMap<u64, u64>,
    /// Length and start.
    by_size: BTreeSet<(u64, u64)>,
    free: u64,
}

impl Holes {
    /// All of a file of `units`.
    pub(super) fn new(units: u64) -> Self {
        let mut holes = Self::default();
        if units > 0 {
            holes.insert(Extent { start: 0, units });
        }
        holes
    }

    /// Units free in all.
    pub(super) fn free(&self) -> u64 {
        self.free
    }

    /// The smallest hole that has `units`, and the first of these. It stays free.
    pub(super) fn best_fit(&self, units: u64) -> Option<Extent> {
        self.by_size.range((units, 0)..).next().map(|&(units, start)| Extent { start, units })
    }

    /// The largest hole. It stays free.
    pub(super) fn largest(&self) -> Option<Extent> {
        self.by_size.last().map(|&(units, start)| Extent { start, units })
    }

    /// Takes `units` from the front of `hole`, which is one of these.
    pub(super) fn take(&mut self, hole: Extent, units: u64) -> Extent {
        debug_assert!((1..=hole.units).contains(&units) && self.by_start.get(&hole.start) == Some(&hole.units));
        self.remove(hole);
        if units < hole.units {
            self.insert(Extent { start: hole.start + units, units: hole.units - units });
        }
        Extent { start: hole.start, units }
    }

    /// Makes `extent`, which was taken, free again.
    pub(super) fn give(&mut self, extent: Extent) {
        let Extent { mut start, mut units } = extent;
        let before = self.by_start.range(..=start).next_back().map(|(&start, &units)| Extent { start, units });
        let after = self.by_start.range(start..).next().map(|(&start, &units)| Extent { start, units });
        debug_assert!(before.is_none_or(|hole| hole.start + hole.units <= start), "given twice");
        debug_assert!(after.is_none_or(|hole| start + units <= hole.start), "given twice");
        if let Some(hole) = before.filter(|hole| hole.start + hole.units == start) {
            self.remove(hole);
            start = hole.start;
            units += hole.units;
        }
        if let Some(hole) = after.filter(|hole| start + units == hole.start) {
            self.remove(hole);
            units += hole.units;
        }
        self.insert(Extent { start, units });
    }

    fn insert(&mut self, hole: Extent) {
        self.by_start.insert(hole.start, hole.units);
        self.by_size.insert((hole.units, hole.start));
        self.free += hole.units;
    }

    fn remove(&mut self, hole: Extent) {
        self.by_start.remove(&hole.start);
        self.by_size.remove(&(hole.units, hole.start));
        self.free -= hole.units;
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
