//! A program and its dynamic loader, both placed.

use super::{Layout, LayoutError, Program};
use crate::mm::PAGE_BYTES;
use core::ops::Range;

/// The lowest address of a program: that of most linkers.
pub const PROGRAM_BASE: u64 = 0x40_0000;

/// Where a program and its dynamic loader lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The program's place.
    pub program: Layout,
    /// The loader's: above the program, with an unmapped page between them.
    pub loader: Option<Layout>,
    /// Where the last of them ends.
    pub end: u64,
}

impl Placed {
    /// Places `program`, and the `loader` that it names, within `area`: the same for each area that starts at the same
    /// address and has room.
    ///
    /// # Errors
    /// [`LayoutError`] if they don't fit.
    pub fn new(program: &Program<'_>, loader: Option<&Program<'_>>, area: &Range<u64>) -> Result<Self, LayoutError> {
        let layout = Layout::new(program, area)?;
        let end = layout.address(program.span().end);
        let Some(loader) = loader else { return Ok(Self { program: layout, loader: None, end }) };
        let above = end.saturating_add(PAGE_BYTES).min(area.end)..area.end;
        let place = Layout::new(loader, &above)?;
        Ok(Self { program: layout, loader: Some(place), end: place.address(loader.span().end) })
    }
}

#[cfg(test)]
mod tests;
