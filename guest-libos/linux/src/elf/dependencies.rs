//! What a file asks its dynamic loader for: for whoever packs a program with its libraries.

use super::{ElfError, parse::headers};
use alloc::vec::Vec;
use object::{
    LittleEndian, elf,
    read::{
        StringTable,
        elf::{Dyn, ProgramHeader},
    },
};

/// Libraries and where to look for them, as the dynamic segment has it: any bytes but zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies<'a> {
    /// `DT_NEEDED`, in order.
    pub needed: Vec<&'a [u8]>,
    /// `DT_RPATH`: directories between colons.
    pub rpath: Option<&'a [u8]>,
    /// `DT_RUNPATH`: directories between colons.
    pub runpath: Option<&'a [u8]>,
}

/// Reads the dependencies of a program or library; a static program has none.
///
/// # Errors
/// [`ElfError::Malformed`] and [`ElfError::Machine`] for what x86-64 Linux can't load, and broken names.
pub fn dependencies(file: &[u8]) -> Result<Dependencies<'_>, ElfError> {
    let (_, headers) = headers(file)?;
    let endian = LittleEndian;
    let dynamic = headers.iter().find(|h| h.p_type(endian) == elf::PT_DYNAMIC);
    let entries = dynamic.map(|h| h.dynamic(endian, file)).transpose().map_err(ElfError::Malformed)?;
    let entries = entries.flatten().unwrap_or_default();
    let values = |tag| {
        let until_end = entries.iter().take_while(|entry| entry.d_tag(endian) != elf::DT_NULL);
        until_end.filter(move |entry| entry.d_tag(endian) == tag).map(|entry| entry.d_val(endian))
    };
    // Addresses, not places in the file.
    let table = values(elf::DT_STRTAB).next().and_then(|address| {
        headers.iter().filter(|h| h.p_type(endian) == elf::PT_LOAD).find_map(|h| {
            let within = address.checked_sub(h.p_vaddr(endian)).filter(|within| *within < h.p_filesz(endian))?;
            let start = h.p_offset(endian).checked_add(within)?;
            Some(StringTable::new(file, start, start.checked_add(values(elf::DT_STRSZ).next()?)?))
        })
    });
    let table: StringTable<'_> = table.unwrap_or_default();
    let text = |at: u64| {
        let at = u32::try_from(at).map_err(|_| ElfError::Dependency)?;
        table.get(at).map_err(|()| ElfError::Dependency)
    };
    Ok(Dependencies {
        needed: values(elf::DT_NEEDED).map(text).collect::<Result<_, _>>()?,
        rpath: values(elf::DT_RPATH).next().map(text).transpose()?,
        runpath: values(elf::DT_RUNPATH).next().map(text).transpose()?,
    })
}

#[cfg(test)]
mod tests;
