//! Linux programs and libraries, as a bundle by a stranger might hold them.

use denali_linux::{
    elf::{self, Layout, Placed, Program},
    mm::{Access, Areas, PAGE_BYTES, Rights, Space},
    rewrite::{Handlers, StubArea, Text, plan},
    testing::{ARENA, END, Memory, PROGRAM, Shared},
};

/// Where dynamic loaders put a library.
const BIAS: u64 = 0x7f00_0000_0000;

/// Parses, places and loads `data` as a program, and rewrites its code. What is accepted lies where its layout says, in pages
/// of its own; what the tables say of functions may be anything.
pub fn linux_elf(data: &[u8]) {
    if let Err(error) = elf::dependencies(data) {
        assert_ne!(error.to_string(), "");
    }
    let functions = elf::functions(data, 0);
    let _ = (elf::mapped_functions(data, 0x1000, BIAS), elf::symbol(data, PROGRAM + 1));
    for segment in elf::code(data).unwrap_or_default() {
        let Some((text, area)) = Text::new(segment.start, segment.data).zip(StubArea::new(0x20_0000, 1 << 16)) else {
            continue;
        };
        let rewrite = plan(text, &functions, area, Handlers { syscall: 0x30_0000, cpuid: 0x30_0040 });
        let (start, end) = (segment.start, segment.start + segment.data.len() as u64);
        let within = |address: u64, bytes: usize| start <= address && address + bytes as u64 <= end;
        assert!(rewrite.patches.iter().all(|patch| within(patch.address, patch.bytes.len())));
        assert!(rewrite.stubs.len() <= 1 << 16);
    }
    match elf::parse(data) {
        Ok(program) => {
            check(&program);
            place(&program);
        }
        Err(error) => assert_ne!(error.to_string(), ""),
    }
}

fn check(program: &Program<'_>) {
    assert!((1..=64).contains(&program.segments.len()) && program.alignment.is_power_of_two());
    let mut end = 0;
    for segment in &program.segments {
        let pages = &segment.pages;
        assert!((pages.start | pages.end).is_multiple_of(PAGE_BYTES));
        assert!(end <= pages.start && pages.start <= segment.start);
        assert!(segment.start + segment.data.len() as u64 <= pages.end);
        end = pages.end;
    }
    let starts = |rights| program.segments.iter().any(|s| s.rights == rights && s.pages.contains(&program.entry));
    assert!(starts(Rights::Execute));
}

fn place(program: &Program<'_>) {
    let area = PROGRAM..ARENA;
    for loader in [None, Some(program)] {
        match Placed::new(program, loader, &area) {
            Err(error) => assert_ne!(error.to_string(), ""),
            Ok(placed) => {
                let areas = Areas { program: area.clone(), arena: ARENA..END, reserve: END..END };
                let mut space = Space::new(areas, Memory::new(Shared::default())).expect("the areas are right");
                load(&mut space, program, placed.program);
                placed.loader.into_iter().for_each(|layout| load(&mut space, program, layout));
            }
        }
    }
}

fn load(space: &mut Space<Memory>, program: &Program<'_>, layout: Layout) {
    assert_eq!(program.load(space, layout, &"/program".into()), Ok(()));
    for segment in &program.segments {
        let (start, pages) = (layout.address(segment.start), layout.pages(segment));
        let end = start + segment.data.len() as u64;
        let memory = space.pages();
        assert_eq!(memory.peek(start..end), segment.data);
        assert!(memory.peek(pages.start..start).iter().chain(memory.peek(end..pages.end)).all(|byte| *byte == 0));
        assert_eq!(space.check(&pages, Access::Write).is_ok(), segment.rights == Rights::Write);
    }
}
