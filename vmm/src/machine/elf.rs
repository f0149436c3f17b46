//! The ELF loader: which parts of a program file go where, with which rights. Pure; the file is hostile.
//!
//! Accepted is what a linker makes for a Denali VM: a static ELF64 executable for x86-64 with page-aligned segments that
//! are writable or executable but never both.

use super::paging::Rights;
use denali_abi::memory::{IMAGE_BASE, PAGE_BYTES};
use object::{
    LittleEndian, elf,
    read::elf::{FileHeader, ProgramHeader},
};
use std::ops::Range;

/// Most loadable segments.
const SEGMENTS_MAX: usize = 64;

/// A program laid out: its segments in the order of addresses, and where it starts.
#[derive(Debug, PartialEq, Eq)]
pub struct Program<'a> {
    /// The segments; they share no page.
    pub segments: Vec<Segment<'a>>,
    /// Address of the first instruction, in an executable segment.
    pub entry: u64,
    /// First page boundary after the last segment.
    pub end: u64,
}

/// A loadable segment.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// First address.
    pub start: u64,
    /// Bytes from the file; zeros follow.
    pub data: &'a [u8],
    /// The pages it occupies.
    pub pages: Range<u64>,
    /// Their rights.
    pub rights: Rights,
}

/// Why a file is no program for a Denali VM. The bundle is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ElfError {
    /// Not an ELF64 file, or a broken one.
    #[error("not a usable ELF64 file: {0}")]
    Malformed(String),
    /// For another machine.
    #[error("for machine type {machine}, not x86-64 ({})", elf::EM_X86_64.0)]
    Machine {
        /// The machine type in the header.
        machine: u16,
    },
    /// Needs a dynamic loader or relocation.
    #[error("not a static executable of fixed address: link with -static and -no-pie (type {kind}, {why})")]
    NotStatic {
        /// The ELF type in the header.
        kind: u16,
        /// What was found.
        why: &'static str,
    },
    /// No, or too many, loadable segments.
    #[error("{count} loadable segments; there must be 1 to {SEGMENTS_MAX}")]
    SegmentCount {
        /// Segments found.
        count: usize,
    },
    /// A segment both writable and executable.
    #[error("the segment at {start:#x} is writable and executable; separate code from data")]
    WriteExecute {
        /// Its address.
        start: u64,
    },
    /// A segment outside of the memory that an image may occupy.
    #[error("the segment of {bytes} bytes at {start:#x} is not within {IMAGE_BASE:#x} to {memory_bytes:#x}")]
    OutOfRange {
        /// Its address.
        start: u64,
        /// Its bytes in memory.
        bytes: u64,
        /// The VM's memory.
        memory_bytes: u64,
    },
    /// More bytes in the file than in memory, or data outside of the file.
    #[error("the segment at {start:#x} claims {file_bytes} bytes of file data, which it can't have")]
    Data {
        /// Its address.
        start: u64,
        /// Bytes claimed.
        file_bytes: u64,
    },
    /// Two segments on one page, or in the wrong order.
    #[error("the segment at {start:#x} shares a page with the one before it, or precedes it")]
    Overlap {
        /// Its address.
        start: u64,
    },
    /// The entry point is not in an executable segment.
    #[error("the entry point {entry:#x} is in no executable segment")]
    Entry {
        /// The entry point.
        entry: u64,
    },
}

/// Lays out the program in `file` for a VM of `memory_bytes`.
///
/// # Errors
/// [`ElfError`] for everything that such a VM can't run, with the address concerned.
pub fn parse(file: &[u8], memory_bytes: u64) -> Result<Program<'_>, ElfError> {
    let malformed = |error: object::Error| ElfError::Malformed(error.to_string());
    let header = elf::FileHeader64::<LittleEndian>::parse(file).map_err(malformed)?;
    let endian = header.endian().map_err(malformed)?;
    let machine = header.e_machine(endian);
    if machine != elf::EM_X86_64 {
        return Err(ElfError::Machine { machine: machine.0 });
    }
    let kind = header.e_type(endian);
    if kind != elf::ET_EXEC {
        return Err(ElfError::NotStatic { kind: kind.0, why: "position-independent or not executable" });
    }
    let headers = header.program_headers(endian, file).map_err(malformed)?;
    if headers.iter().any(|h| matches!(h.p_type(endian), elf::PT_INTERP | elf::PT_DYNAMIC)) {
        return Err(ElfError::NotStatic { kind: kind.0, why: "it names a dynamic loader" });
    }
    let mut segments = Vec::new();
    for header in headers.iter().filter(|h| h.p_type(endian) == elf::PT_LOAD && h.p_memsz(endian) > 0) {
        if segments.len() == SEGMENTS_MAX {
            return Err(ElfError::SegmentCount { count: headers.len() });
        }
        let segment = segment(header, endian, file, memory_bytes)?;
        if segments.last().is_some_and(|last: &Segment<'_>| last.pages.end > segment.pages.start) {
            return Err(ElfError::Overlap { start: segment.start });
        }
        segments.push(segment);
    }
    let end = segments.last().ok_or(ElfError::SegmentCount { count: 0 })?.pages.end;
    let entry = header.e_entry(endian);
    if !segments.iter().any(|s| s.rights == Rights::Execute && s.pages.contains(&entry)) {
        return Err(ElfError::Entry { entry });
    }
    Ok(Program { segments, entry, end })
}

fn segment<'a>(
    header: &elf::ProgramHeader64<LittleEndian>,
    endian: LittleEndian,
    file: &'a [u8],
    memory_bytes: u64,
) -> Result<Segment<'a>, ElfError> {
    let (start, bytes) = (header.p_vaddr(endian), header.p_memsz(endian));
    let out_of_range = ElfError::OutOfRange { start, bytes, memory_bytes };
    let Some(end) = start.checked_add(bytes).filter(|&end| start >= IMAGE_BASE && end <= memory_bytes) else {
        return Err(out_of_range);
    };
    let flags = header.p_flags(endian);
    let rights = match (flags.contains(elf::PF_W), flags.contains(elf::PF_X)) {
        (true, true) => return Err(ElfError::WriteExecute { start }),
        (true, false) => Rights::Write,
        (false, true) => Rights::Execute,
        (false, false) => Rights::Read,
    };
    let file_bytes = header.p_filesz(endian);
    let data = header.data(endian, file).ok().filter(|_| file_bytes <= bytes);
    let data = data.ok_or(ElfError::Data { start, file_bytes })?;
    // `end` is at most the memory size, a multiple of the page size, so rounding up can't overflow.
    let pages = start / PAGE_BYTES * PAGE_BYTES..end.next_multiple_of(PAGE_BYTES);
    Ok(Segment { start, data, pages, rights })
}

#[cfg(test)]
mod tests;
