use super::{Layout, LayoutError};
use crate::elf::{Program, Segment};
use crate::mm::Rights;
use std::ops::Range;

const AREA: Range<u64> = 0x40_0000..0x80_0000;

fn program(relocatable: bool, pages: Range<u64>, alignment: u64) -> Program<'static> {
    let segment = Segment { start: pages.start, data: &[], offset: 0, rights: Rights::Execute, pages };
    Program {
        relocatable,
        entry: segment.start,
        segments: vec![segment],
        headers: None,
        header_count: 1,
        interpreter: None,
        alignment,
    }
}

fn base(program: &Program<'_>, area: Range<u64>) -> Option<u64> {
    Layout::new(program, &area).ok().map(|layout| layout.pages(&program.segments[0]).start)
}

#[test]
fn fixed_addresses_stay_and_must_be_there() {
    let fixed = program(false, 0x40_0000..0x80_0000, 4096);
    assert_eq!(Layout::new(&fixed, &AREA), Ok(Layout { bias: 0 }));
    for span in [0x3f_f000..0x50_0000, 0x50_0000..0x80_1000, 0x1000..0x2000] {
        let error = Layout::new(&program(false, span.clone(), 4096), &AREA).unwrap_err();
        assert_eq!(error, LayoutError::Fixed { span, area: AREA });
        assert!(error.to_string().contains("-static-pie"));
    }
}

#[test]
fn others_go_as_low_as_their_alignment_lets_them() {
    assert_eq!(base(&program(true, 0..0x1000, 4096), AREA), Some(0x40_0000));
    assert_eq!(base(&program(true, 0x7000_0000..0x7000_1000, 4096), AREA), Some(0x40_0000));
    assert_eq!(base(&program(true, 0..0x1000, 0x20_0000), 0x40_1000..0x80_0000), Some(0x60_0000));
    assert_eq!(base(&program(true, 0x3000..0x4000, 0x20_0000), 0x40_1000..0x80_0000), Some(0x40_3000));
    // The area begins below the place within the alignment.
    assert_eq!(base(&program(true, 0x3000..0x4000, 1 << 40), AREA), None);
    assert_eq!(base(&program(true, 0x50_0000..0x50_1000, 1 << 40), AREA), Some(0x50_0000));
}

#[test]
fn what_is_too_large_fits_nowhere() {
    for (pages, alignment) in [(0..0x40_1000, 4096), (0..u64::MAX - 4095, 4096), (0..0x1000, 1 << 63)] {
        let error = Layout::new(&program(true, pages.clone(), alignment), &AREA).unwrap_err();
        assert_eq!(error, LayoutError::Size { bytes: pages.end, alignment, area: AREA });
    }
}
