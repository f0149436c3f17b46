use super::{
    EXCEPTION_STACK, EXCEPTION_STACK_TOP, GDT, GDT_BYTES, IDT, PDPT, PML4, STAGING, STUBS, SUPERVISOR_PD, TABLES, TSS,
    TSS_BYTES, Tables, USER_STUBS,
};
use denali_abi::memory::{MEMORY_BYTES_MAX, MEMORY_BYTES_MIN};
use proptest::prelude::*;

const PAGE: u64 = 4096;

/// Every part of the slot: first byte and bytes.
fn parts(memory_bytes: u64) -> Vec<(u64, u64)> {
    let tables = Tables::of(memory_bytes);
    let mut parts = vec![
        (GDT, GDT_BYTES),
        (IDT, 32 * 16),
        (TSS, TSS_BYTES),
        (STUBS, PAGE),
        (EXCEPTION_STACK, EXCEPTION_STACK_TOP - EXCEPTION_STACK),
        (STAGING, PAGE),
        (PML4, PAGE),
        (PDPT, PAGE),
        (SUPERVISOR_PD, PAGE),
        (USER_STUBS, PAGE),
    ];
    parts.extend((0..tables.supervisor_pts).map(|n| (Tables::supervisor_pt(n), PAGE)));
    parts.extend((0..tables.guest_pds).map(|n| (tables.guest_pd(n), PAGE)));
    parts.extend((0..tables.guest_pts).map(|n| (tables.guest_pt(n), PAGE)));
    parts.extend((0..tables.window_tables).map(|n| (tables.window_table(n), PAGE)));
    parts
}

proptest! {
    #[test]
    fn no_two_parts_overlap_and_bytes_covers_all(pages in MEMORY_BYTES_MIN / PAGE..=MEMORY_BYTES_MAX / PAGE) {
        let memory_bytes = pages * PAGE;
        let mut parts = parts(memory_bytes);
        parts.sort_unstable();
        for (a, b) in parts.iter().zip(parts.iter().skip(1)) {
            prop_assert!(a.0 + a.1 <= b.0, "{a:x?} {b:x?}");
        }
        let last = parts.last().expect("there are parts");
        let tables = Tables::of(memory_bytes);
        prop_assert_eq!(tables.bytes(), last.0 + last.1);
        prop_assert!(tables.bytes() <= tables.supervisor_pts * (2 << 20), "its own tables reach all of it");
        prop_assert!(tables.supervisor_pts <= 512 && tables.guest_pds <= 256, "one directory, half of one PDPT");
        prop_assert_eq!(TABLES, Tables::supervisor_pt(0));
    }

    #[test]
    fn each_page_has_an_entry_of_its_own(pages in MEMORY_BYTES_MIN / PAGE..=MEMORY_BYTES_MAX / PAGE, page: prop::sample::Index) {
        let tables = Tables::of(pages * PAGE);
        let page = page.index(pages as usize) as u64;
        let entry = tables.guest_pte(page * PAGE);
        prop_assert!((tables.guest_pt(0)..tables.filled_bytes()).contains(&entry));
        prop_assert_eq!(entry, tables.guest_pt(0) + page * 8, "the entries of consecutive pages are consecutive");
    }
}
