//! Arguments that no program would pass, and memory that fails: nothing panics, and the books stay true.

use super::machine::{ARENA, Machine, PROGRAM, RESERVE, areas, pages};
use crate::mm::{Access, PAGE_BYTES, Request, Space};
use proptest::prelude::*;

fn number() -> impl Strategy<Value = u64> {
    let places = prop::sample::select(vec![0, PROGRAM, ARENA, RESERVE, 1 << 31, 1 << 47, 1 << 63, u64::MAX]);
    prop_oneof![
        4 => (places, -40_000i64..400_000).prop_map(|(place, offset)| place.wrapping_add_signed(offset)),
        4 => (prop::sample::select(vec![PROGRAM, ARENA, RESERVE]), 0u64..30).prop_map(|(at, page)| at + page * PAGE_BYTES),
        1 => any::<u64>(),
    ]
}

fn bytes() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..100_000, 1 => number()]
}

fn bits() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..64, 2 => Just(0x22), 2 => Just(0x32), 1 => any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_arguments_break_the_books(
        spare in 0usize..40,
        protects in prop::option::of(0usize..20),
        calls in prop::collection::vec((0u8..10, number(), bytes(), bits(), bits(), bytes(), number()), 1..40),
    ) {
        let mut space = Space::new(areas(), Machine { protects, ..Machine::new(spare) }).unwrap();
        for (call, address, bytes, a, b, more, target) in calls {
            match call {
                0..3 => drop(space.mmap(&Request { address, bytes, prot: a, flags: b, file: None })),
                3 => drop(space.munmap(address, bytes)),
                4 => drop(space.mprotect(address, bytes, a)),
                5 => drop(space.mremap(address, bytes, more, a % 5, target)),
                6 => drop(space.madvise(address, bytes, a)),
                7 => drop(space.brk(address)),
                8 => drop((space.msync(address, bytes, a), space.mincore(address, bytes), space.mlock(address, bytes))),
                _ => {
                    let reach = space.accessible(address, bytes, Access::Read);
                    prop_assert!(reach <= bytes);
                    prop_assert_eq!(space.check_bytes(address, reach, Access::Read), Ok(()));
                    let one_more = address.checked_add(reach).map(|at| space.check_bytes(at, 1, Access::Read));
                    prop_assert!(reach == bytes || one_more.is_none_or(|check| check.is_err()));
                }
            }
            let areas = areas();
            for at in [areas.program, areas.arena, areas.reserve].into_iter().flat_map(pages) {
                for access in [Access::Read, Access::Write] {
                    let real = space.store.pages.pages.get(&at).map(|page| page.rights);
                    let allowed = space.check_bytes(at, PAGE_BYTES, access).is_ok();
                    prop_assert!(!allowed || real.is_some_and(|rights| rights.allow(access)), "{:#x} {:?}", at, access);
                }
            }
            prop_assert!(space.maps().lines().count() == space.mappings.len());
        }
        super::unmap_all(&mut space);
        prop_assert_eq!((space.mapped(), space.pages().spare), (0, spare));
    }
}
