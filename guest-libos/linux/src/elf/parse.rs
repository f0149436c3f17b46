//! A program's file: its segments, entry and interpreter.

use crate::{
    fs::limits::PATH_MAX,
    mm::{PAGE_BYTES, Rights},
};
use alloc::vec::Vec;
use core::ops::Range;
use object::{
    LittleEndian, elf,
    read::elf::{FileHeader, ProgramHeader},
};

/// Most loadable segments.
const SEGMENTS_MAX: usize = 64;

type Header = elf::FileHeader64<LittleEndian>;
type SegmentHeader = elf::ProgramHeader64<LittleEndian>;

/// What a program's file asks for. Addresses are the file's own; a [`Layout`](super::Layout) says where they come to lie.
#[derive(Debug, PartialEq, Eq)]
pub struct Program<'a> {
    /// Whether it may lie anywhere: position-independent.
    pub relocatable: bool,
    /// The segments, in the order of addresses, at least one; they share no page.
    pub segments: Vec<Segment<'a>>,
    /// Address of the first instruction, in an executable segment.
    pub entry: u64,
    /// Address of the program headers in memory. `None` if no segment holds them.
    pub headers: Option<u64>,
    /// Program headers.
    pub header_count: u16,
    /// Path of the dynamic loader that has to start this program, without terminator; not empty.
    pub interpreter: Option<&'a [u8]>,
    /// Strictest alignment of its segments that a base has to keep: a power of two, at least a page.
    pub alignment: u64,
}

/// A loadable segment.
#[derive(Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Address of its first byte.
    pub start: u64,
    /// Bytes from the file; zeros follow, and precede.
    pub data: &'a [u8],
    /// Where the data lie in the file.
    pub offset: u64,
    /// The pages it occupies.
    pub pages: Range<u64>,
    /// Their rights.
    pub rights: Rights,
}

/// Why a file is no program that can be loaded. Whoever built it is at fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ElfError {
    /// Not an ELF64 file, or a broken one.
    #[error("not a usable ELF64 file: {0}; give a program built for x86-64 Linux, not a script or an archive")]
    Malformed(object::Error),
    /// For another machine.
    #[error("for machine type {machine}, not x86-64 ({}); build it for x86-64", elf::EM_X86_64.0)]
    Machine {
        /// The machine type in the header.
        machine: u16,
    },
    /// An object file, a core dump or the like.
    #[error("ELF type {kind} is no program (2 or 3); link it")]
    NotExecutable {
        /// The ELF type in the header.
        kind: u16,
    },
    /// No, or too many, loadable segments.
    #[error("{count} loadable segments; there must be 1 to {SEGMENTS_MAX}")]
    SegmentCount {
        /// Segments found, counted up to one too many.
        count: usize,
    },
    /// A segment both writable and executable.
    #[error("the segment at {start:#x} is writable and executable; link without -N, --omagic or -z execstack")]
    WriteExecute {
        /// Its address.
        start: u64,
    },
    /// A segment that ends beyond all addresses.
    #[error("the segment of {bytes} bytes at {start:#x} ends beyond the last address")]
    OutOfRange {
        /// Its address.
        start: u64,
        /// Its bytes in memory.
        bytes: u64,
    },
    /// More bytes in the file than in memory, or data outside of the file.
    #[error(
        "the segment at {start:#x} claims {file_bytes} bytes of file data, which it can't have; is the file whole?"
    )]
    Data {
        /// Its address.
        start: u64,
        /// Bytes claimed.
        file_bytes: u64,
    },
    /// Two segments on one page, or in the wrong order.
    #[error(
        "the segment at {start:#x} shares a page with the one before it, or precedes it; link with -z separate-code"
    )]
    Overlap {
        /// Its address.
        start: u64,
    },
    /// The entry point is not in an executable segment.
    #[error("the entry point {entry:#x} is in no executable segment; a shared library is no program")]
    Entry {
        /// The entry point.
        entry: u64,
    },
    /// The path of the interpreter is empty, unterminated or too long.
    #[error("the path of the dynamic loader is not 1 to {} bytes and a zero; link with -static", PATH_MAX - 1)]
    Interpreter,
    /// The name of a library, or where to look for it, can't be read.
    #[error("the names of its libraries are broken; link it again")]
    Dependency,
}

/// Reads a program's `file`.
///
/// # Errors
/// [`ElfError`] says which rule is broken.
pub fn parse(file: &[u8]) -> Result<Program<'_>, ElfError> {
    let (header, headers) = headers(file)?;
    let endian = LittleEndian;
    let kind = header.e_type(endian);
    if kind != elf::ET_EXEC && kind != elf::ET_DYN {
        return Err(ElfError::NotExecutable { kind: kind.0 });
    }
    let segments = segments(headers, endian, file)?;
    let entry = header.e_entry(endian);
    if !segments.iter().any(|s| s.rights == Rights::Execute && s.pages.contains(&entry)) {
        return Err(ElfError::Entry { entry });
    }
    let of_kind = |kind| headers.iter().filter(move |h| h.p_type(endian) == kind);
    Ok(Program {
        relocatable: kind == elf::ET_DYN,
        headers: headers_address(&segments, header.e_phoff(endian), size_of_val(headers) as u64),
        segments,
        entry,
        // More than 65,534 of them are counted elsewhere, and no program has them.
        header_count: header.e_phnum(endian),
        interpreter: of_kind(elf::PT_INTERP).next().map(|h| interpreter(h, endian, file)).transpose()?,
        alignment: of_kind(elf::PT_LOAD)
            .map(|h| h.p_align(endian))
            .filter(|a| a.is_power_of_two())
            .fold(PAGE_BYTES, u64::max),
    })
}

/// The executable segments of a program or a library, in the order of addresses.
///
/// # Errors
/// [`ElfError`] if the file is neither, or has segments that can't be loaded.
pub fn code(file: &[u8]) -> Result<Vec<Segment<'_>>, ElfError> {
    let (_, headers) = headers(file)?;
    let mut segments = segments(headers, LittleEndian, file)?;
    segments.retain(|segment| segment.rights == Rights::Execute);
    Ok(segments)
}

/// The headers of a file for x86-64.
pub(super) fn headers(file: &[u8]) -> Result<(&Header, &[SegmentHeader]), ElfError> {
    let header = Header::parse(file).map_err(ElfError::Malformed)?;
    let endian = header.endian().map_err(ElfError::Malformed)?;
    let machine = header.e_machine(endian);
    if machine != elf::EM_X86_64 {
        return Err(ElfError::Machine { machine: machine.0 });
    }
    Ok((header, header.program_headers(endian, file).map_err(ElfError::Malformed)?))
}

fn segments<'a>(headers: &[SegmentHeader], endian: LittleEndian, file: &'a [u8]) -> Result<Vec<Segment<'a>>, ElfError> {
    let mut segments: Vec<Segment<'a>> = Vec::new();
    for header in headers.iter().filter(|h| h.p_type(endian) == elf::PT_LOAD && h.p_memsz(endian) > 0) {
        if segments.len() == SEGMENTS_MAX {
            return Err(ElfError::SegmentCount { count: SEGMENTS_MAX + 1 });
        }
        let segment = segment(header, endian, file)?;
        if segments.last().is_some_and(|last| last.pages.end > segment.pages.start) {
            return Err(ElfError::Overlap { start: segment.start });
        }
        segments.push(segment);
    }
    if segments.is_empty() { Err(ElfError::SegmentCount { count: 0 }) } else { Ok(segments) }
}

fn segment<'a>(header: &SegmentHeader, endian: LittleEndian, file: &'a [u8]) -> Result<Segment<'a>, ElfError> {
    let (start, bytes) = (header.p_vaddr(endian), header.p_memsz(endian));
    let end = start.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(PAGE_BYTES));
    let end = end.ok_or(ElfError::OutOfRange { start, bytes })?;
    let flags = header.p_flags(endian);
    let rights = match (flags.contains(elf::PF_R), flags.contains(elf::PF_W), flags.contains(elf::PF_X)) {
        (_, true, true) => return Err(ElfError::WriteExecute { start }),
        (_, true, false) => Rights::Write,
        (_, false, true) => Rights::Execute,
        (true, false, false) => Rights::Read,
        (false, false, false) => Rights::None,
    };
    let file_bytes = header.p_filesz(endian);
    let data = header.data(endian, file).ok().filter(|_| file_bytes <= bytes);
    let data = data.ok_or(ElfError::Data { start, file_bytes })?;
    Ok(Segment { start, data, offset: header.p_offset(endian), pages: start / PAGE_BYTES * PAGE_BYTES..end, rights })
}

/// Where `bytes` of program headers at `offset` of the file lie in memory.
fn headers_address(segments: &[Segment<'_>], offset: u64, bytes: u64) -> Option<u64> {
    segments.iter().find_map(|s| {
        let inside = offset.checked_sub(s.offset)?;
        let end = inside.checked_add(bytes)?;
        (end <= s.data.len() as u64).then(|| s.start + inside)
    })
}

fn interpreter<'a>(header: &SegmentHeader, endian: LittleEndian, file: &'a [u8]) -> Result<&'a [u8], ElfError> {
    let path = header.interpreter(endian, file).ok().flatten();
    path.filter(|path| (1..PATH_MAX).contains(&path.len())).ok_or(ElfError::Interpreter)
}

#[cfg(test)]
mod tests;
