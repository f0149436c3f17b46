//! Where a file says that its functions are: a help for the rewriter, and no more.

use crate::mm::PAGE_BYTES;
use crate::rewrite::Functions;
use core::ops::Range;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SymbolKind, read::elf::ElfFile64};

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
    let unwound = section(".eh_frame")
        .map_or_else(Functions::unknown, |(address, frames)| Functions::from_unwind_tables(address, frames));
    let code = file.segments().filter(|segment| segment.permissions().executable());
    let code = code.fold(0_u64, |sum, segment| sum.saturating_add(segment.size()));
    // A C library without unwind tables leaves a program those of its own few functions. To look at all names takes longer.
    if unwound.bytes() < code / 2 { unwound.and(named(&file, bias)) } else { unwound }
}

/// Those that have a name.
fn named(file: &ElfFile64<'_>, bias: u64) -> impl Iterator<Item = Range<u64>> {
    let symbols = file.symbols().chain(file.dynamic_symbols());
    let code = symbols.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition());
    code.filter_map(move |symbol| {
        let start = symbol.address().wrapping_add(bias);
        Some(start..start.checked_add(symbol.size())?)
    })
}

/// The same of a file whose bytes from `offset` on are mapped at `address`, as a dynamic loader does it.
#[must_use]
pub fn mapped_functions(file: &[u8], offset: u64, address: u64) -> Functions {
    let Ok(parsed) = ElfFile64::<object::Endianness>::parse(file) else { return Functions::unknown() };
    let holds = |(start, bytes): (u64, u64)| (start..start.saturating_add(bytes)).contains(&offset);
    let segment = parsed.segments().find(|segment| {
        let (start, bytes) = segment.file_range();
        holds((start / PAGE_BYTES * PAGE_BYTES, bytes.saturating_add(start % PAGE_BYTES)))
    });
    let Some(segment) = segment else { return Functions::unknown() };
    // Where the file says that the byte at `offset` lies.
    let own = segment.address().wrapping_add(offset.wrapping_sub(segment.file_range().0));
    functions(file, address.wrapping_sub(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_beyond_all_bytes_is_none() {
        let mut file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        // The first program header, at 64, becomes a loadable segment whose place in the file is no page, and whose bytes are all.
        file[64..68].copy_from_slice(&1_u32.to_le_bytes());
        file[72..80].copy_from_slice(&1_u64.to_le_bytes());
        file[96..104].fill(0xff);
        assert!(mapped_functions(&file, 0x7fff_ffff_ffff_f000, 0x7000_0000).bytes() < u64::MAX);
    }
}
