//! What is known of functions: where they begin and end.

use alloc::vec::Vec;
use core::ops::Range;

/// Extents of functions, from a symbol table or unwind tables. They may be wrong or none at all: a program with wrong ones may break
/// itself and nothing else; one without has its calls served as rightly, a few of them slowly.
#[derive(Debug, Default, Clone)]
pub struct Functions {
    /// Sorted by start; disjoint; none empty.
    extents: Vec<Range<u64>>,
    /// Code of which tables say, to all who unwind, where it returns from signals: nobody looks at its bytes for that.
    returns: Vec<Range<u64>>,
}

impl Functions {
    /// Nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Of `extents` in any order. One that reaches into the next is cut there, so that all are disjoint.
    #[must_use]
    pub fn new(extents: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut extents: Vec<_> = extents.into_iter().filter(|extent| extent.start < extent.end).collect();
        extents.sort_unstable_by_key(|extent| (extent.start, core::cmp::Reverse(extent.end)));
        extents.dedup_by_key(|extent| extent.start);
        let starts: Vec<_> = extents.iter().skip(1).map(|extent| extent.start).collect();
        for (extent, next) in extents.iter_mut().zip(starts) {
            extent.end = extent.end.min(next);
        }
        Self { extents, returns: Vec::new() }
    }

    /// The same where tables say that code in these ranges returns from signals, or that none of them else does.
    pub(super) fn with_returns(self, returns: Vec<Range<u64>>) -> Self {
        Self { returns, ..self }
    }

    /// Whether it shows in tables that the code at `address` returns from a signal, so that its bytes need not tell.
    pub(super) fn tell_return(&self, address: u64) -> bool {
        self.returns.iter().any(|range| range.contains(&address))
    }

    /// These and `more`.
    #[must_use]
    pub fn and(self, more: impl IntoIterator<Item = Range<u64>>) -> Self {
        Self::new(self.extents.into_iter().chain(more)).with_returns(self.returns)
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.extents.iter().fold(0, |sum, extent| sum.saturating_add(extent.end - extent.start))
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// Where each begins, and where each ends.
    pub(super) fn ends(&self) -> impl Iterator<Item = u64> {
        self.extents.iter().flat_map(|extent| [extent.start, extent.end])
    }

    /// The function that `address` is in.
    pub(super) fn around(&self, address: u64) -> Option<Range<u64>> {
        let after = self.extents.partition_point(|extent| extent.start <= address);
        let extent = self.extents.get(after.checked_sub(1)?)?;
        (address < extent.end).then(|| extent.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::iter;

    #[test]
    fn extents_become_disjoint() {
        let functions = Functions::new([30..40, 10..35, 10..12, 50..50]);
        assert_eq!(functions.extents, [10..30, 30..40]);
        assert_eq!(functions.around(9), None);
        assert_eq!(functions.around(29), Some(10..30));
        assert_eq!(functions.around(40), None);
        assert_eq!(functions.bytes(), 30);
        assert_eq!(functions.clone().and(iter::once(5..11)).extents, [5..10, 10..30, 30..40]);
        assert!(functions.clone().with_returns(iter::once(10..20).collect()).tell_return(19));
        assert!(!functions.tell_return(19));
    }
}
