//! Where things lie in the VMs that generated programs attack: all have the same image.

use denali_abi::{
    memory::{CONTROL, IMAGE_BASE, MEMORY_BYTES_MIN, PAGE_BYTES, REGISTERS, STACK_BOTTOM, STACK_TOP},
    ring::TRANSMIT_BYTES,
};
use std::ops::Range;

/// Memory of a VM: the least there is, so that much can be looked at often.
pub(super) const MEMORY_BYTES: u64 = MEMORY_BYTES_MIN;

/// Start of the code.
pub(super) const TEXT: u64 = IMAGE_BASE;
/// Most bytes of a flat program.
pub(super) const TEXT_BYTES: u64 = 64 << 10;
/// Code that upcalls and faults may continue at.
pub(super) const HANDLER: u64 = TEXT + TEXT_BYTES / 2;
/// Writable pages of the image.
pub(super) const DATA: u64 = TEXT + TEXT_BYTES;
/// Their bytes.
pub(super) const DATA_BYTES: u64 = 4 * PAGE_BYTES;
/// The transmit ring.
pub(super) const TRANSMIT: u64 = DATA + DATA_BYTES;
/// The receive ring.
pub(super) const RECEIVE: u64 = TRANSMIT + TRANSMIT_BYTES;
/// Bytes of the receive ring.
pub(super) const RECEIVE_BYTES: u64 = 256 << 10;
/// The heap.
pub(super) const HEAP: u64 = RECEIVE + RECEIVE_BYTES;

/// What a program finds in unused text: `int3`.
pub(super) const FILLER: u8 = 0xcc;

/// How a page may be used before any PROTECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Not mapped, or not for the guest.
    Nothing,
    Read,
    Write,
    Execute,
    /// No address.
    Impossible,
}

/// The zone that an address lies in, before any PROTECT. The VMM's own page for CPL 3 counts as nothing here: see
/// [`STUBS`].
pub(super) fn zone(address: u64) -> Zone {
    let within = |range: Range<u64>| range.contains(&address);
    match address {
        _ if (1 << 47..u64::MAX - (1 << 47) + 1).contains(&address) => Zone::Impossible,
        _ if within(REGISTERS..CONTROL) => Zone::Read,
        _ if within(CONTROL..CONTROL + PAGE_BYTES) || within(STACK_BOTTOM..STACK_TOP) => Zone::Write,
        _ if within(TEXT..DATA) => Zone::Execute,
        _ if within(DATA..MEMORY_BYTES) => Zone::Write,
        _ => Zone::Nothing,
    }
}

/// The VMM's own pages.
pub(super) const STUBS: Range<u64> = {
    use denali_abi::memory::SUPERVISOR_BASE;
    SUPERVISOR_BASE..SUPERVISOR_BASE + (16 << 20)
};

/// An ELF of one executable and one writable segment, that is all of the image.
pub(super) fn elf() -> Vec<u8> {
    const HEADERS: u64 = 64 + 2 * 56;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([TEXT, 64, 0].map(u64::to_le_bytes).concat());
    file.extend([0u16, 0, 64, 56, 2, 64, 0, 0].map(u16::to_le_bytes).concat());
    for (flags, address, in_file, bytes) in [(5u32, TEXT, TEXT_BYTES, TEXT_BYTES), (6, DATA, 0, DATA_BYTES)] {
        file.extend([1u32, flags].map(u32::to_le_bytes).concat());
        file.extend([HEADERS, address, address, in_file, bytes, PAGE_BYTES].map(u64::to_le_bytes).concat());
    }
    file.resize((HEADERS + TEXT_BYTES) as usize, FILLER);
    file
}
