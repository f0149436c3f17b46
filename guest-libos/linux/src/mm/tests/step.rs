//! What a program does to its address space, at random.

use super::machine::{ARENA, ARENA_PAGES, PROGRAM, PROGRAM_PAGES, RESERVE, RESERVE_PAGES};
use crate::mm::PAGE_BYTES;
use proptest::prelude::*;

pub(super) const FIXED: u64 = 0x10;
pub(super) const NOREPLACE: u64 = 0x10_0000;

/// What a program does. Places are numbers of pages, over all areas and a bit beyond.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Map { place: u64, pages: u64, prot: u64, flags: u64, file: Option<usize> },
    Unmap { place: u64, pages: u64 },
    Protect { place: u64, pages: u64, prot: u64 },
    Remap { place: u64, old: u64, new: u64, flags: u64, to: u64 },
    DontNeed { place: u64, pages: u64 },
    Brk { pages: u64 },
    Write { place: u64, byte: u8 },
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let place =
        || prop_oneof![4 => 0..PROGRAM_PAGES + ARENA_PAGES, 1 => 0..PROGRAM_PAGES + ARENA_PAGES + RESERVE_PAGES + 4];
    let count = || prop_oneof![4 => 1u64..6, 1 => 1u64..30];
    let prot = || prop_oneof![3 => Just(3u64), 2 => Just(0u64), 1 => Just(1u64), 1 => Just(5u64)];
    let flags = prop_oneof![4 => Just(0), 2 => Just(FIXED), 1 => Just(NOREPLACE)];
    let file = prop_oneof![3 => Just(None), 1 => (0usize..30_000).prop_map(Some)];
    prop_oneof![
        4 => (place(), count(), prot(), flags, file)
            .prop_map(|(place, pages, prot, flags, file)| Step::Map { place, pages, prot, flags, file }),
        2 => (place(), count()).prop_map(|(place, pages)| Step::Unmap { place, pages }),
        3 => (place(), count(), prot()).prop_map(|(place, pages, prot)| Step::Protect { place, pages, prot }),
        3 => (place(), count(), count(), 0u64..4, place())
            .prop_map(|(place, old, new, flags, to)| Step::Remap { place, old, new, flags, to }),
        1 => (place(), count()).prop_map(|(place, pages)| Step::DontNeed { place, pages }),
        1 => (0u64..12).prop_map(|pages| Step::Brk { pages }),
        6 => (place(), 1u8..).prop_map(|(place, byte)| Step::Write { place, byte }),
    ]
}

/// The address of a place.
pub(super) fn address(place: u64) -> u64 {
    let (start, page) = match place {
        0..PROGRAM_PAGES => (PROGRAM, place),
        _ if place < PROGRAM_PAGES + ARENA_PAGES => (ARENA, place - PROGRAM_PAGES),
        _ => (RESERVE, place - PROGRAM_PAGES - ARENA_PAGES),
    };
    start + page * PAGE_BYTES
}
