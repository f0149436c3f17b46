//! Values of ranges of addresses: sorted, disjoint, and equal neighbours merged.
//!
//! All three books of an address space are kept like this: its mappings, the rights that its pages have, and what is in
//! them.

use alloc::vec::Vec;
use core::ops::Range;

/// Values of disjoint ranges.
#[derive(Debug)]
pub(super) struct Runs<T> {
    runs: Vec<Run<T>>,
    total: u64,
}

/// A range, not empty, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run<T> {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) value: T,
}

impl<T: Clone + Eq> Runs<T> {
    pub(super) const fn new() -> Self {
        Self { runs: Vec::new(), total: 0 }
    }

    /// How many runs there are.
    pub(super) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Bytes in all of them.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The runs from the one that contains `at`, or the first one above it.
    pub(super) fn from(&self, at: u64) -> &[Run<T>] {
        &self.runs[self.runs.partition_point(|run| run.end <= at)..]
    }

    /// The runs that have a part in `range`, whole.
    pub(super) fn touching(&self, range: &Range<u64>) -> &[Run<T>] {
        let runs = self.from(range.start);
        if range.is_empty() { &[] } else { &runs[..runs.partition_point(|run| run.start < range.end)] }
    }

    /// The parts of runs in `range`.
    pub(super) fn within(&self, range: &Range<u64>) -> impl DoubleEndedIterator<Item = (Range<u64>, &T)> {
        let (start, end) = (range.start, range.end);
        self.touching(range).iter().map(move |run| (run.start.max(start)..run.end.min(end), &run.value))
    }

    /// The parts of `range` without a value.
    pub(super) fn gaps(&self, range: &Range<u64>) -> impl DoubleEndedIterator<Item = Range<u64>> {
        let runs = self.touching(range);
        let (start, end) = (range.start, range.end);
        (0..=runs.len())
            .map(move |i| {
                let low = if i == 0 { start } else { runs[i - 1].end };
                let high = runs.get(i).map_or(end, |run| run.start);
                low.max(start)..high.min(end)
            })
            .filter(|gap| !gap.is_empty())
    }

    /// Gives `range` one value, whatever it had before.
    pub(super) fn set(&mut self, range: &Range<u64>, value: T) {
        self.replace(range, Some(value));
    }

    /// Takes away the values of `range`.
    pub(super) fn remove(&mut self, range: &Range<u64>) {
        self.replace(range, None);
    }

    fn replace(&mut self, range: &Range<u64>, value: Option<T>) {
        if range.is_empty() {
            return;
        }
        // Those that only touch the range are taken along: they may merge.
        let first = self.runs.partition_point(|run| run.end < range.start);
        let last = self.runs.partition_point(|run| run.start <= range.end);
        let old = &self.runs[first..last];
        let left = old.first().filter(|run| run.start < range.start);
        let left = left.map(|run| Run { end: run.end.min(range.start), ..run.clone() });
        let right = old.last().filter(|run| run.end > range.end);
        let right = right.map(|run| Run { start: run.start.max(range.end), ..run.clone() });
        let middle = value.map(|value| Run { start: range.start, end: range.end, value });
        let before: u64 = old.iter().map(|run| run.end - run.start).sum();
        let pieces = merged([left, middle, right]);
        let after: u64 = pieces.iter().flatten().map(|run| run.end - run.start).sum();
        self.total = self.total - before + after;
        self.runs.splice(first..last, pieces.into_iter().flatten());
    }
}

/// Three pieces in ascending order, equal neighbours merged into the later one.
fn merged<T: Eq>(mut pieces: [Option<Run<T>>; 3]) -> [Option<Run<T>>; 3] {
    for (i, j) in [(0, 1), (1, 2), (0, 2)] {
        let start = match (&pieces[i], &pieces[j]) {
            (Some(a), Some(b)) if a.end == b.start && a.value == b.value => a.start,
            _ => continue,
        };
        pieces[i] = None;
        if let Some(b) = &mut pieces[j] {
            b.start = start;
        }
    }
    pieces
}

#[cfg(test)]
mod tests;
