use super::{PROGRAM_BASE, Placed};
use crate::elf::{Layout, LayoutError, Program, Segment, parse, tests::linked};
use crate::mm::Rights;
use std::ops::Range;

fn program(relocatable: bool, pages: Range<u64>, alignment: u64) -> Program<'static> {
    let segment = Segment { start: pages.start, data: &[], offset: 0, pages: pages.clone(), rights: Rights::Execute };
    Program {
        relocatable,
        segments: vec![segment],
        entry: pages.start,
        headers: None,
        header_count: 1,
        interpreter: None,
        alignment,
    }
}

#[test]
fn the_loader_lies_above_the_program() {
    let area = PROGRAM_BASE..1 << 40;
    let loader = program(true, 0..0x3_0000, 4096);
    let fixed = program(false, 0x40_0000..0x50_1000, 4096);
    let placed = Placed::new(&fixed, Some(&loader), &area).unwrap();
    assert_eq!((placed.program.bias, placed.loader, placed.end), (0, Some(Layout { bias: 0x50_2000 }), 0x53_2000));
    let moved = program(true, 0x1000..0x9000, 0x1_0000);
    let placed = Placed::new(&moved, Some(&loader), &area).unwrap();
    assert_eq!(
        (placed.program.bias, placed.loader, placed.end),
        (0x40_0000, Some(Layout { bias: 0x40_a000 }), 0x43_a000)
    );
    assert_eq!(Placed::new(&moved, None, &area).unwrap().end, 0x40_9000);
    // No more room than it takes, and the places are the same.
    assert_eq!(Placed::new(&moved, Some(&loader), &(area.start..placed.end)), Ok(placed));
    for end in [placed.end - 4096, 0x40_9000] {
        let error = Placed::new(&moved, Some(&loader), &(area.start..end)).unwrap_err();
        assert!(matches!(error, LayoutError::Size { bytes: 0x3_0000, .. }), "{error}");
    }
}

/// The host's own loader, for a program that names it.
#[test]
fn the_hosts_loader_has_a_place() {
    let file = linked(&["-pie"]);
    let program = parse(&file).unwrap();
    let path = std::str::from_utf8(program.interpreter.unwrap()).unwrap();
    let loader = std::fs::read(path).unwrap();
    let loader = parse(&loader).unwrap();
    let placed = Placed::new(&program, Some(&loader), &(PROGRAM_BASE..1 << 40)).unwrap();
    let (program_end, place) = (placed.program.address(program.span().end), placed.loader.unwrap());
    assert!(program_end < place.address(loader.span().start));
    assert!((place.address(loader.span().start)..placed.end).contains(&place.address(loader.entry)));
}
