//! Where a program's file comes to lie.

use super::parse::{Program, Segment};
use core::ops::Range;

/// Where a program lies: added to each address of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Added to each address, modulo 2⁶⁴: 0 for a program of fixed addresses.
    pub bias: u64,
}

/// Why a program fits nowhere.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LayoutError {
    /// Its fixed addresses are not to be had.
    #[error(
        "its addresses {:#x} to {:#x} are fixed, and not within {:#x} to {:#x}; link it with -static-pie, or with \
         -Wl,-Ttext-segment={:#x}", span.start, span.end, area.start, area.end, area.start
    )]
    Fixed {
        /// The pages it wants.
        span: Range<u64>,
        /// Where programs may lie.
        area: Range<u64>,
    },
    /// Too large.
    #[error(
        "it takes {bytes} bytes at a multiple of {alignment:#x}, more than there are from {:#x} to {:#x}; give the VM \
         more room for its program", area.start, area.end
    )]
    Size {
        /// Bytes from its first page to its last.
        bytes: u64,
        /// The alignment it asks for.
        alignment: u64,
        /// Where programs may lie.
        area: Range<u64>,
    },
}

impl Program<'_> {
    /// The file's addresses from the first page to the end of the last.
    #[must_use]
    pub fn span(&self) -> Range<u64> {
        let start = self.segments.first().map_or(0, |s| s.pages.start);
        start..self.segments.last().map_or(start, |s| s.pages.end)
    }
}

impl Layout {
    /// Lays out `program` within `area`, whose ends are page-aligned: at its own addresses, or as low as may be.
    ///
    /// # Errors
    /// [`LayoutError`] if it doesn't fit.
    pub fn new(program: &Program<'_>, area: &Range<u64>) -> Result<Self, LayoutError> {
        let span = program.span();
        if !program.relocatable {
            let fits = area.start <= span.start && span.end <= area.end;
            return fits.then_some(Self { bias: 0 }).ok_or(LayoutError::Fixed { span, area: area.clone() });
        }
        let (alignment, bytes) = (program.alignment, span.end - span.start);
        // The first page keeps its place within the alignment: so do all others.
        let within = span.start % alignment;
        let base = area.start.checked_sub(within).map_or(Some(0), |low| low.checked_next_multiple_of(alignment));
        let base = base.and_then(|base| base.checked_add(within));
        let fits = base.filter(|base| base.checked_add(bytes).is_some_and(|end| end <= area.end));
        let base = fits.ok_or(LayoutError::Size { bytes, alignment, area: area.clone() })?;
        Ok(Self { bias: base.wrapping_sub(span.start) })
    }

    /// Where `address` of the file lies.
    #[must_use]
    pub fn address(self, address: u64) -> u64 {
        address.wrapping_add(self.bias)
    }

    /// Where the pages of `segment` lie.
    #[must_use]
    pub fn pages(self, segment: &Segment<'_>) -> Range<u64> {
        self.address(segment.pages.start)..self.address(segment.pages.end)
    }
}

#[cfg(test)]
mod tests;
