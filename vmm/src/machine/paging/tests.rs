use super::{Rights, write};
use crate::machine::layout::{PML4, STUBS, Tables, USER_STUBS, at, physical};
use denali_abi::memory::{IMAGE_BASE, MEMORY_BYTES_MAX, SUPERVISOR_BASE};
use std::collections::HashMap;

const PAGE: u64 = 4096;
const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const USER: u64 = 4;
const SEEN: u64 = 0x60;
const LARGE: u64 = 0x80;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Walks the tables as a CPU does, and gives each mapped page: its last-level entry, and the rights that all levels give.
fn walk(slot: &[u8], memory_bytes: u64) -> HashMap<u64, u64> {
    let mut pages = HashMap::new();
    descend((slot, memory_bytes), PML4, 3, 0, WRITE | USER, &mut pages);
    pages
}

fn descend(of: (&[u8], u64), table: u64, level: u32, base: u64, rights: u64, pages: &mut HashMap<u64, u64>) {
    let (slot, memory_bytes) = of;
    for n in 0..512u64 {
        let place = (table + 8 * n) as usize;
        let entry = u64::from_le_bytes(slot[place..place + 8].try_into().expect("eight bytes"));
        if entry == 0 {
            continue;
        }
        assert_eq!(entry & (PRESENT | SEEN), PRESENT | SEEN, "present, accessed and dirty");
        let address = base + (n << (12 + 9 * level));
        let rights = rights & entry | entry & NO_EXECUTE;
        if level == 0 {
            let to = address.checked_sub(at(0)).map_or(address, |offset| physical(memory_bytes, offset));
            assert_eq!(entry & ADDRESS, to, "guest memory is where it is, and the slot behind it");
            assert!(pages.insert(address, rights).is_none());
        } else {
            assert_eq!(entry & (LARGE | NO_EXECUTE), 0);
            let next = (entry & ADDRESS).checked_sub(physical(memory_bytes, 0)).expect("tables lie in the slot");
            assert!(next + PAGE <= slot.len() as u64);
            descend(of, next, level - 1, address, rights, pages);
        }
    }
}

fn bits(rights: Rights) -> Option<u64> {
    match rights {
        Rights::None => None,
        Rights::Read => Some(USER | NO_EXECUTE),
        Rights::Write => Some(USER | WRITE | NO_EXECUTE),
        Rights::Execute => Some(USER),
    }
}

fn check(memory_bytes: u64, ranges: &[(u64, u64, Rights)]) {
    let tables = Tables::of(memory_bytes);
    let mut slot = vec![0; tables.filled_bytes() as usize];
    write(&mut slot, memory_bytes, ranges);
    let mut pages = walk(&slot, memory_bytes);
    for &(start, end, rights) in ranges {
        for page in (start..end).step_by(PAGE as usize) {
            assert_eq!(pages.remove(&page), bits(rights), "{page:#x}");
        }
    }
    for offset in (0..tables.bytes()).step_by(PAGE as usize) {
        let expected = match offset {
            STUBS => 0,
            USER_STUBS => USER,
            _ => WRITE | NO_EXECUTE,
        };
        assert_eq!(pages.remove(&at(offset)), Some(expected), "supervisor page {offset:#x}");
    }
    assert!(pages.is_empty(), "nothing else is mapped: {pages:x?}");
}

#[test]
fn each_page_has_its_rights_and_nothing_else_is_mapped() {
    for memory_bytes in [4 << 20, (4 << 20) + PAGE, 64 << 20, (1 << 30) - PAGE, 1 << 30, (1 << 30) + PAGE] {
        check(
            memory_bytes,
            &[
                (0x1000, 0x2000, Rights::Read),
                (0x2000, 0x3000, Rights::Write),
                (0x10_0000, 0x20_0000, Rights::Write),
                (IMAGE_BASE, IMAGE_BASE + 7 * PAGE, Rights::Execute),
                (IMAGE_BASE + 7 * PAGE, IMAGE_BASE + 8 * PAGE, Rights::Read),
                (IMAGE_BASE + 8 * PAGE, IMAGE_BASE + 9 * PAGE, Rights::None),
                (memory_bytes - 3 * PAGE, memory_bytes, Rights::Write),
            ],
        );
    }
}

#[test]
fn the_largest_memory_can_be_mapped_to_its_last_page() {
    let ranges = [
        (IMAGE_BASE, IMAGE_BASE + PAGE, Rights::Execute),
        (8 << 30, (8 << 30) + (4 << 20), Rights::Write),
        (MEMORY_BYTES_MAX - PAGE, MEMORY_BYTES_MAX, Rights::Write),
    ];
    check(MEMORY_BYTES_MAX, &ranges);
    const { assert!(MEMORY_BYTES_MAX < SUPERVISOR_BASE) };
}

#[test]
fn rights_are_what_the_bits_say() {
    for bits in 0..=16u64 {
        let expected = match bits {
            0 => Some(Rights::None),
            1 => Some(Rights::Read),
            2 | 3 => Some(Rights::Write),
            4 | 5 => Some(Rights::Execute),
            _ => None,
        };
        assert_eq!(Rights::from_bits(bits).ok(), expected, "{bits}");
    }
    assert!(Rights::from_bits(1 << 63 | 1).is_err());
}
