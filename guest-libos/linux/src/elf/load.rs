//! A program comes into its address space.

use super::{Layout, Program};
use crate::errno::Errno;
use crate::mm::{Backing, Pages, Space};
use alloc::sync::Arc;

impl Program<'_> {
    /// Maps the segments into `space` as `layout` says; `name` is the program's path, for `/proc/self/maps`. Code is
    /// written before it becomes executable, so [`Pages::protect`] sees it whole.
    ///
    /// # Errors
    /// `ENOMEM` or `EINVAL` if the layout is not one for this space. Some segments may be mapped then.
    pub fn load<P: Pages>(&self, space: &mut Space<P>, layout: Layout, name: &Arc<str>) -> Result<(), Errno> {
        for segment in &self.segments {
            let start = layout.address(segment.start);
            let bias = segment.offset.wrapping_sub(start);
            let backing = Backing::File { name: name.clone(), bias };
            space.load(&layout.pages(segment), segment.rights, backing, (start, segment.data))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
