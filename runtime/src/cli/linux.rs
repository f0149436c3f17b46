//! Programs for Linux: recognised, and packed with the image that serves their system calls.

use super::failure::Hint;
use denali_linux::elf::{self, Program};

/// Where the image wants the program: above itself.
const BASE: u64 = 0x40_0000;

/// The file of the bundle that says which of the others is the program.
const SETTINGS: &str = ".linux";

/// Offsets in an ELF header, and the size of an entry (System V gABI).
const PROGRAM_HEADERS: usize = 32;
const PROGRAM_HEADER_COUNT: usize = 56;
const PROGRAM_HEADER_BYTES: usize = 56;
const PT_LOAD: u32 = 1;
/// Read and write.
const PF_RW: u32 = 6;

/// The program headers of an ELF64 file.
fn headers(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let word =
        |at: usize| file.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
    let start = usize::try_from(word(PROGRAM_HEADERS)).unwrap_or(usize::MAX);
    let count = word(PROGRAM_HEADER_COUNT) & 0xffff;
    let table = file.get(start..).unwrap_or_default();
    table.chunks_exact(PROGRAM_HEADER_BYTES).take(count as usize)
}

/// Whether an ELF file is a program for Linux, not for the Denali VM: linkers for Linux say more of it than where it lies.
pub(super) fn is_for_linux(file: &[u8]) -> bool {
    headers(file).any(|header| header[..4] != PT_LOAD.to_le_bytes())
}

/// The image to run `program` in, and the files that it needs in the bundle.
///
/// # Errors
/// When no VM can run the program.
pub(super) fn pack(program: &[u8], name: &str) -> anyhow::Result<(Vec<u8>, Vec<(String, Vec<u8>)>)> {
    let parsed = elf::parse(program).hint("give a program that was built for x86-64 Linux, and linked with -static")?;
    let settings = format!("program={name}\n").into_bytes();
    Ok((image(&parsed), vec![(SETTINGS.to_owned(), settings), (name.to_owned(), program.to_vec())]))
}

/// The image, with room for `program`: one segment of zeros more.
fn image(program: &Program<'_>) -> Vec<u8> {
    let span = program.span();
    let end = if program.relocatable { BASE + program.alignment + (span.end - span.start) } else { span.end };
    let mut image = denali_samples::LINUX.to_vec();
    let start = PROGRAM_HEADER_BYTES * headers(&image).count() + 64;
    let words = [u64::from(PT_LOAD) | u64::from(PF_RW) << 32, 0, BASE, BASE, 0, end.saturating_sub(BASE).max(1), 4096];
    let header: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    // The linker leaves the rest of the first page free.
    image[start..start + PROGRAM_HEADER_BYTES].copy_from_slice(&header);
    image[PROGRAM_HEADER_COUNT] += 1;
    image
}
