//! Which jobs of an array.

use crate::limits;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The indices of an array, both ends included. A single job is the array `0-0`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)")]
pub struct Indices {
    /// First index.
    pub first: u32,
    /// Last index, not below `first`.
    pub last: u32,
}

/// The text is not an index range.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IndicesError {
    /// Not `N` or `FIRST-LAST`.
    #[error("expected FIRST-LAST, such as 0-63")]
    Syntax,
    /// `last` is below `first`.
    #[error("the last index is below the first")]
    Backwards,
    /// More jobs than one array may have.
    #[error("{jobs} jobs, more than the limit of {} an array", limits::ARRAY_JOBS)]
    TooMany {
        /// Jobs asked for.
        jobs: u64,
    },
}

impl Indices {
    /// The indices of a single job.
    pub const SINGLE: Self = Self { first: 0, last: 0 };

    /// Checks order and count. What was parsed or decoded has passed.
    ///
    /// # Errors
    /// [`IndicesError`] when the range is backwards or too large.
    pub fn check(&self) -> Result<(), IndicesError> {
        if self.last < self.first {
            return Err(IndicesError::Backwards);
        }
        let jobs = u64::from(self.last) - u64::from(self.first) + 1;
        if jobs > u64::from(limits::ARRAY_JOBS) {
            return Err(IndicesError::TooMany { jobs });
        }
        Ok(())
    }

    /// Number of jobs. Zero only for a range that [`Indices::check`] refuses.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.last.checked_sub(self.first).map_or(0, |n| n.saturating_add(1))
    }

    /// The indices in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<> {
        self.first..=self.last
    }

    /// Whether `index` is one of them.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        (self.first..=self.last).contains(&index)
    }
}

impl TryFrom<(u32, u32)> for Indices {
    type Error = IndicesError;

    fn try_from((first, last): (u32, u32)) -> Result<Self, Self::Error> {
        let indices = Self { first, last };
        indices.check()?;
        Ok(indices)
    }
}

impl FromStr for Indices {
    type Err = IndicesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        // `parse` alone would also take a sign.
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let number = |part: &str| part.parse().ok().filter(|_| digits(part)).ok_or(IndicesError::Syntax);
        (number(first)?, number(last)?).try_into()
    }
}
