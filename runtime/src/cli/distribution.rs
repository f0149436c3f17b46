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

    /// The median.
    pub(crate) fn median(&self) -> u64 {
        self.percentile(50)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measurements() {
        let distribution = Distribution::of((1..=100).rev().collect());
        assert_eq!((distribution.median(), distribution.percentile(99)), (50, 99));
        assert_eq!(distribution.least(), 1);
        assert_eq!(Distribution::of(vec![7]).percentile(99), 7);
        assert_eq!(Distribution::of(Vec::new()).median(), 0);
    }
}
