//! A static ELF64 executable of two segments: code, and data.

use super::assembler::{DATA, RESULT_BYTES, frame_record};
use denali_abi::memory::IMAGE_BASE;

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const DATA_BYTES: u64 = 32 * 4096;

/// An image that starts with `code`.
pub(crate) fn image(code: &[u8]) -> Vec<u8> {
    let data = frame_record(RESULT_BYTES);
    let code_at = HEADER_BYTES + 2 * PROGRAM_HEADER_BYTES;
    let mut file = header();
    file.extend(program_header(5, code_at, IMAGE_BASE, code.len(), code.len() as u64));
    file.extend(program_header(6, code_at + code.len(), DATA, data.len(), DATA_BYTES));
    file.extend(code);
    file.extend(data);
    file
}

fn header() -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2u16, 62] {
        header.extend(half.to_le_bytes());
    }
    header.extend(1u32.to_le_bytes());
    for word in [IMAGE_BASE, HEADER_BYTES as u64, 0] {
        header.extend(word.to_le_bytes());
    }
    header.extend(0u32.to_le_bytes());
    for half in [HEADER_BYTES as u16, PROGRAM_HEADER_BYTES as u16, 2, 64, 0, 0] {
        header.extend(half.to_le_bytes());
    }
    header
}

fn program_header(flags: u32, offset: usize, address: u64, file_bytes: usize, memory_bytes: u64) -> Vec<u8> {
    let mut header = [1u32, flags].map(u32::to_le_bytes).concat();
    for word in [offset as u64, address, address, file_bytes as u64, memory_bytes, 4096] {
        header.extend(word.to_le_bytes());
    }
    header
}
