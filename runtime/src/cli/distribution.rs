//! Measurements of one quantity, and the few numbers that are told of them.

/// Measurements, sorted.
#[derive(Clone, Debug)]
pub(crate) struct Distribution(Vec<u64>);

impl Distribution {
    /// Of these measurements, in any order.
    pub(crate) fn of(mut measured: Vec<u64>) -> Self {
        measured.sort_unstable();
        Self(measured)
    }

    /// The smallest measurement that at least `percent` of all are not above (nearest rank); 0 if there are none.
    pub(crate) fn percentile(&self, percent: usize) -> u64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(0)
    }

    /// The least measurement.
    pub(crate) fn least(&self) -> u64 {
        self.percentile(0)
    }

    /// What a plot shows: each measurement, and how many percent of all are not above it. Of very many only some, evenly.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        const MOST: usize = 1000;
        let every = self.0.len().div_ceil(MOST).max(1);
        let last = self.0.len().checked_sub(1);
        let some = (0..self.0.len()).step_by(every).chain(last.filter(|last| last % every != 0));
        some.map(|n| (self.0[n] as f64, (n + 1) as f64 * 100.0 / self.0.len() as f64)).collect()
    }

    /// The median.
    pub(crate) fn median(&self) -> u64 {
        self.percentile(50)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_with_all() {
        assert_eq!(Distribution::of(vec![3, 1, 2, 2]).curve(), [(1.0, 25.0), (2.0, 50.0), (2.0, 75.0), (3.0, 100.0)]);
        let many = Distribution::of((1..=10_000).collect()).curve();
        assert!(many.len() <= 1001 && many.last() == Some(&(10_000.0, 100.0)));
        assert_eq!(Distribution::of(Vec::new()).curve(), []);
    }

    #[test]
    fn percentiles_are_measurements() {
        let distribution = Distribution::of((1..=100).rev().collect());
        assert_eq!((distribution.median(), distribution.percentile(99)), (50, 99));
        assert_eq!(distribution.least(), 1);
        assert_eq!(Distribution::of(vec![7]).percentile(99), 7);
        assert_eq!(Distribution::of(Vec::new()).median(), 0);
    }
}
