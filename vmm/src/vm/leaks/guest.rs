//! The guest of the leak suite as a bundle.

use denali_abi::{
    job::{HEADER_BYTES, KIND, OUTPUT, PORT, UDP_HEADERS_BYTES},
    memory::{CONTROL, IMAGE_BASE, PAGE_BYTES, REGISTERS, STACK_BOTTOM, WINDOW_START},
    registers::{Control, VirtualRegisters},
    ring::RECORD_HEADER_BYTES,
};
use denali_protocol::bundle::{CpuModel, PackRequest, pack};
use std::{mem::offset_of, slice};

/// Memory of a VM.
pub(super) const MEMORY_BYTES: u64 = 8 << 20;

/// The program: two pages of code, and one that is spare.
pub(super) const TEXT: u64 = IMAGE_BASE;
/// The spare page: the image gives it no right to be written.
pub(super) const SPARE: u64 = TEXT + 2 * PAGE_BYTES;
/// Data: where the virtual CPU is stored,
pub(super) const SAVE: u64 = SPARE + PAGE_BYTES;
/// a digest of each page of memory,
pub(super) const TABLE: u64 = SAVE + PAGE_BYTES;
/// a page with contents, which the writer of little writes too,
const CONTENTS: u64 = TABLE + MEMORY_BYTES / PAGE_BYTES * 8;
/// and two of zeros.
const BSS: u64 = CONTENTS + PAGE_BYTES;
pub(super) const DATA_END: u64 = BSS + 2 * PAGE_BYTES;

/// Where in the window the writer puts pages, the first of which it fills.
const WINDOW: u64 = WINDOW_START + (5 << 30);

/// Places in the page at [`SAVE`], after the general registers.
pub(super) const FLAGS: usize = 128;
pub(super) const BASES: usize = 136;
pub(super) const SELECTORS: usize = 152;
pub(super) const XCR0: usize = 200;
/// Words of the pattern found.
pub(super) const FOUND: usize = 208;
/// All words of the table before it was written, and of what follows the virtual registers, in one.
pub(super) const TABLE_WAS: usize = 216;
pub(super) const REST_WAS: usize = 224;
/// Whether there was a page in the window.
pub(super) const WINDOW_WAS: usize = 232;
/// As XSAVE stores it.
pub(super) const EXTENDED: usize = 512;
/// The virtual registers.
pub(super) const SEEN: usize = 0xd00;

/// What the reader reports: the page at [`SAVE`] and the table.
pub(super) const REPORT_BYTES: usize = (CONTENTS - SAVE) as usize;
/// What the writer puts out.
pub(super) const OUTPUT_BYTES: usize = 1024;

/// What the writer fills everything with. A canonical address, so that FS and GS can have it as a base.
pub(super) const PATTERN: u64 = 0x5ac3_96e1_b4d2;
/// The same of the guest before its CHECKPOINT.
const CHECKPOINT_KEY: u64 = 0x1d2c_3b4a_5968;

/// Places in the pages of code: the starts of two records, and whether the guest makes a CHECKPOINT.
const SHORT_RECORD: usize = 0x1f00;
const LONG_RECORD: usize = 0x1f40;
const MAKES_CHECKPOINTS: usize = 0x1ff8;

const _: () = assert!((CONTENTS / PAGE_BYTES).is_multiple_of(8));

const RECORD_START: usize = RECORD_HEADER_BYTES as usize + UDP_HEADERS_BYTES + HEADER_BYTES;

const fn record_bytes(output: usize) -> usize {
    (RECORD_START + output).next_multiple_of(8)
}

std::arch::global_asm!(
    include_str!("guest.s"),
    registers = const REGISTERS,
    interrupts_enabled = const offset_of!(Control, interrupts_enabled),
    upcall_entry = const offset_of!(Control, upcall_entry),
    fault_entry = const offset_of!(Control, fault_entry),
    control = const CONTROL,
    stack_bottom = const STACK_BOTTOM,
    text = const TEXT,
    spare = const SPARE,
    save = const SAVE,
    table = const TABLE,
    window = const WINDOW,
    table_end = const CONTENTS,
    bss = const BSS,
    flags = const FLAGS,
    bases = const BASES,
    selectors = const SELECTORS,
    xcr0 = const XCR0,
    found = const FOUND,
    table_was = const TABLE_WAS,
    rest_was = const REST_WAS,
    window_was = const WINDOW_WAS,
    extended = const EXTENDED,
    seen = const SEEN,
    checkpoint_wanted = const offset_of!(VirtualRegisters, checkpoint_wanted),
    tsc_base = const offset_of!(VirtualRegisters, tsc_base),
    tsc_to_ns = const offset_of!(VirtualRegisters, tsc_to_ns),
    heap_start = const offset_of!(VirtualRegisters, heap_start),
    memory_bytes = const offset_of!(VirtualRegisters, memory_bytes),
    receive_ring = const offset_of!(VirtualRegisters, receive_ring),
    receive_head = const offset_of!(VirtualRegisters, receive_head),
    transmit_ring = const offset_of!(VirtualRegisters, transmit_ring),
    receive_tail = const offset_of!(Control, receive_tail),
    registers_bytes = const size_of::<VirtualRegisters>(),
    argument = const RECORD_START + 8,
    makes_checkpoints = const MAKES_CHECKPOINTS,
    pattern = const PATTERN,
    checkpoint_key = const CHECKPOINT_KEY,
    short_record = const SHORT_RECORD,
    long_record = const LONG_RECORD,
    record_start = const RECORD_START,
    short_record_bytes = const record_bytes(OUTPUT_BYTES),
    long_record_bytes = const record_bytes(REPORT_BYTES),
);

unsafe extern "C" {
    safe static denali_leaks_guest: u8;
    safe static denali_leaks_guest_end: u8;
}

fn code() -> &'static [u8] {
    let (start, end) = (&raw const denali_leaks_guest, &raw const denali_leaks_guest_end);
    // SAFETY: both symbols are ends of the same bytes, which the assembler put one after the other and no one writes.
    unsafe { slice::from_raw_parts(start, end as usize - start as usize) }
}

/// The content of its bundle.
pub(super) fn content(cpu: CpuModel, makes_checkpoints: bool) -> Vec<u8> {
    let packed = pack(&PackRequest {
        name: "leaks",
        cpu,
        memory_bytes: MEMORY_BYTES,
        cpu_time_us: 1,
        wall_time_us: 1,
        program: &program(makes_checkpoints),
        files: &[],
    });
    packed.expect("it packs")
}

fn program(makes_checkpoints: bool) -> Vec<u8> {
    const HEADERS: usize = 64 + 2 * 56;
    let code = code();
    assert!(code.len() <= SHORT_RECORD, "{} bytes of code", code.len());
    let mut text = code.to_vec();
    for (place, bytes) in [(SHORT_RECORD, OUTPUT_BYTES), (LONG_RECORD, REPORT_BYTES)] {
        text.resize(place, 0);
        text.extend(record_start(bytes));
    }
    text.resize(MAKES_CHECKPOINTS, 0);
    text.push(makes_checkpoints.into());
    text.resize((SAVE - TEXT) as usize, 0x90);
    let mut data = vec![0; (CONTENTS - SAVE) as usize];
    data.extend((0..PAGE_BYTES / 8).flat_map(|n| (n * n + 1).to_le_bytes()));

    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([TEXT, 64, 0].map(u64::to_le_bytes).concat());
    file.extend([0u16, 0, 64, 56, 2, 64, 0, 0].map(u16::to_le_bytes).concat());
    let segments = [
        (5u32, HEADERS, TEXT, text.len() as u64, SAVE - TEXT),
        (6, HEADERS + text.len(), SAVE, data.len() as u64, DATA_END - SAVE),
    ];
    for (flags, offset, address, file_bytes, bytes) in segments {
        file.extend([1u32, flags].map(u32::to_le_bytes).concat());
        file.extend([offset as u64, address, address, file_bytes, bytes, PAGE_BYTES].map(u64::to_le_bytes).concat());
    }
    [file, text, data].concat()
}

/// A record up to the output in it, which has so many bytes.
fn record_start(output: usize) -> Vec<u8> {
    let ip_bytes = (UDP_HEADERS_BYTES - 14 + HEADER_BYTES + output) as u16;
    let mut record = (UDP_HEADERS_BYTES + HEADER_BYTES + output).to_le_bytes().to_vec();
    record.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0]);
    record.extend(ip_bytes.to_be_bytes());
    record.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    record.extend([PORT, PORT, ip_bytes - 20, 0].map(u16::to_be_bytes).concat());
    record.extend([0; HEADER_BYTES]);
    record[RECORD_START - HEADER_BYTES + KIND] = OUTPUT;
    record
}
