//! Where a file says that its functions are: a help for the rewriter, and no more.

use crate::rewrite::Functions;
use object::{Object, ObjectSection, read::elf::ElfFile64};

/// The functions of `file`, which lies `bias` above its own addresses. A file that says nothing, or nonsense, gives none.
#[must_use]
pub fn functions(file: &[u8], bias: u64) -> Functions {
    let Ok(file) = ElfFile64::<object::Endianness>::parse(file) else { return Functions::unknown() };
    let section = |name| {
        let section = file.section_by_name(name)?;
        Some((section.address().wrapping_add(bias), section.data().ok()?))
    };
    if let Some((_, table)) = section(".gopclntab") {
        return Functions::from_go_table(table);
    }
    section(".eh_frame")
        .map_or_else(Functions::unknown, |(address, frames)| Functions::from_unwind_tables(address, frames))
}
