use crate::elf::{Layout, parse, tests::linked};
use crate::errno::Errno;
use crate::mm::{Access, Areas, Pages, Rights, Space};
use std::ops::Range;

const PROGRAM: Range<u64> = 0x40_0000..0x80_0000;
const ARENA: Range<u64> = 0x90_0000..0xa0_0000;

/// Memory from the program's area on.
struct Memory(Vec<u8>);

impl Memory {
    fn at(&mut self, range: Range<u64>) -> &mut [u8] {
        &mut self.0[(range.start - PROGRAM.start) as usize..(range.end - PROGRAM.start) as usize]
    }
}

impl Pages for Memory {
    fn protect(&mut self, _: Range<u64>, _: Rights) -> Result<(), Errno> {
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>) {
        self.at(range).fill(0);
    }

    fn copy(&mut self, _: u64, _: u64, _: u64) {
        unreachable!("a loader moves nothing");
    }

    fn fill(&mut self, to: u64, bytes: &[u8]) {
        self.at(to..to + bytes.len() as u64).copy_from_slice(bytes);
    }

    fn back(&mut self, _: Range<u64>, _: Rights) -> Result<(), Errno> {
        Err(Errno::ENOMEM)
    }

    fn release(&mut self, _: Range<u64>) {
        unreachable!("nothing was backed");
    }
}

#[test]
fn a_real_program_lies_where_its_layout_says() {
    for flags in [&["-static", "-no-pie"][..], &["-static-pie"], &["-pie"]] {
        let file = linked(flags);
        let program = parse(&file).unwrap();
        let layout = Layout::new(&program, &PROGRAM).unwrap();
        let areas = Areas { program: PROGRAM, arena: ARENA, reserve: 1 << 40..1 << 41 };
        let mut space = Space::new(areas, Memory(vec![0; (ARENA.end - PROGRAM.start) as usize])).unwrap();
        program.load(&mut space, layout, &"/hello".into()).unwrap();
        for segment in &program.segments {
            let (start, pages) = (layout.address(segment.start), layout.pages(segment));
            let memory = space.pages().at(start..pages.end).to_vec();
            assert_eq!(memory[..segment.data.len()], *segment.data);
            assert!(memory[segment.data.len()..].iter().all(|&byte| byte == 0));
            let writable = space.check(&pages, Access::Write).is_ok();
            assert_eq!(writable, segment.rights == Rights::Write);
        }
        let headers = layout.address(program.headers.unwrap());
        assert_eq!(space.check_bytes(headers, 56 * u64::from(program.header_count), Access::Read), Ok(()));
        assert!(space.maps().contains("r-xp") && space.maps().ends_with("/hello\n"));
    }
}

#[test]
fn a_layout_for_another_space_is_refused() {
    let file = linked(&["-static-pie"]);
    let program = parse(&file).unwrap();
    let areas = Areas { program: PROGRAM, arena: ARENA, reserve: 0xf00_0000..0xf00_0000 };
    let mut space = Space::new(areas, Memory(Vec::new())).unwrap();
    for bias in [0, PROGRAM.start - 4096, u64::MAX - 4095] {
        assert!(program.load(&mut space, Layout { bias }, &"/hello".into()).is_err(), "{bias:#x}");
    }
}
