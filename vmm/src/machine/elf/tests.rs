use super::{ElfError, Program, parse};
use crate::machine::paging::Rights;
use denali_abi::memory::IMAGE_BASE;
use proptest::prelude::*;

const MEMORY: u64 = 16 << 20;
const R: u32 = 4;
const W: u32 = 2;
const X: u32 = 1;

/// A program header to be.
#[derive(Clone, Debug)]
struct Segment {
    kind: u32,
    flags: u32,
    address: u64,
    data: Vec<u8>,
    file_bytes: Option<u64>,
    memory_bytes: u64,
}

fn load(flags: u32, address: u64, data: &[u8], memory_bytes: u64) -> Segment {
    Segment { kind: 1, flags, address, data: data.to_vec(), file_bytes: None, memory_bytes }
}

fn code() -> Segment {
    load(R | X, IMAGE_BASE, &[0x90; 100], 100)
}

/// An ELF file to be.
struct Builder {
    kind: u16,
    machine: u16,
    entry: u64,
    segments: Vec<Segment>,
}

impl Builder {
    fn new(segments: &[Segment]) -> Self {
        Self { kind: 2, machine: 62, entry: IMAGE_BASE, segments: segments.to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([self.kind, self.machine].map(u16::to_le_bytes).concat());
        file.extend(1u32.to_le_bytes());
        file.extend([self.entry, 64, 0].map(u64::to_le_bytes).concat());
        file.extend(0u32.to_le_bytes());
        file.extend([64, 56, self.segments.len() as u16, 64, 0, 0].map(u16::to_le_bytes).concat());
        let mut offset = file.len() + 56 * self.segments.len();
        for s in &self.segments {
            let file_bytes = s.file_bytes.unwrap_or(s.data.len() as u64);
            file.extend([s.kind, s.flags].map(u32::to_le_bytes).concat());
            let words = [offset as u64, s.address, s.address, file_bytes, s.memory_bytes, 4096];
            file.extend(words.map(u64::to_le_bytes).concat());
            offset += s.data.len();
        }
        for s in &self.segments {
            file.extend(&s.data);
        }
        file
    }

    fn refusal(&self) -> ElfError {
        parse(&self.bytes(), MEMORY).expect_err("it must be refused")
    }
}

fn refusal(segments: &[Segment]) -> ElfError {
    Builder::new(segments).refusal()
}

/// Everything that the loader's callers rely on.
fn check(program: &Program<'_>, memory_bytes: u64) {
    let mut end = IMAGE_BASE;
    for s in &program.segments {
        assert!(s.pages.start >= end && s.pages.end <= memory_bytes && !s.pages.is_empty());
        assert!((s.pages.start | s.pages.end).is_multiple_of(4096));
        assert!(s.pages.contains(&s.start) && s.start + s.data.len() as u64 <= s.pages.end);
        end = s.pages.end;
    }
    assert_eq!(program.end, end);
    let entry = program.segments.iter().find(|s| s.pages.contains(&program.entry));
    assert_eq!(entry.map(|s| s.rights), Some(Rights::Execute));
}

#[test]
fn a_linkers_program_is_laid_out() {
    let data = load(R | W, 0x20_3010, &[7; 20], 9000);
    let file = Builder::new(&[code(), load(R, 0x20_1000, b"constants", 9), data]).bytes();
    let program = parse(&file, MEMORY).expect("a good program");
    check(&program, MEMORY);
    let rights: Vec<_> = program.segments.iter().map(|s| (s.pages.clone(), s.rights)).collect();
    let expected = [
        (0x20_0000..0x20_1000, Rights::Execute),
        (0x20_1000..0x20_2000, Rights::Read),
        (0x20_3000..0x20_6000, Rights::Write),
    ];
    assert_eq!(rights, expected);
    assert_eq!((program.segments[2].data, program.segments[2].start), ([7; 20].as_slice(), 0x20_3010));
}

#[test]
fn other_files_and_machines_are_refused() {
    assert!(matches!(parse(b"", MEMORY), Err(ElfError::Malformed(_))));
    assert!(matches!(parse(b"#!/bin/sh\necho", MEMORY), Err(ElfError::Malformed(_))));
    let mut small = Builder::new(&[code()]).bytes();
    small[4] = 1;
    assert!(matches!(parse(&small, MEMORY), Err(ElfError::Malformed(_))), "ELF32");
    small[4] = 2;
    small[5] = 2;
    assert!(matches!(parse(&small, MEMORY), Err(ElfError::Malformed(_))), "big-endian");
    let arm = Builder { machine: 183, ..Builder::new(&[code()]) };
    assert_eq!(arm.refusal(), ElfError::Machine { machine: 183 });
}

#[test]
fn dynamic_and_position_independent_files_are_refused() {
    for kind in [0, 1, 3, 4, 0xffff] {
        let builder = Builder { kind, ..Builder::new(&[code()]) };
        assert!(matches!(builder.refusal(), ElfError::NotStatic { kind: k, .. } if k == kind));
    }
    for kind in [2, 3] {
        let names_loader = Segment { kind, ..load(R, 0x20_1000, b"/lib/ld.so\0", 11) };
        assert!(matches!(refusal(&[code(), names_loader]), ElfError::NotStatic { kind: 2, .. }));
    }
}

#[test]
fn segments_must_lie_in_the_memory_of_images() {
    for (address, memory_bytes) in [
        (0, 100),
        (0x1000, 100),
        (IMAGE_BASE - 0x1000, 0x1000),
        (IMAGE_BASE - 1, 2),
        (MEMORY, 1),
        (MEMORY - 1, 2),
        (0x40_0000_0000, 4096),
        (u64::MAX, 1),
        (u64::MAX - 10, 100),
        (!0xfff, 0x1000),
        (IMAGE_BASE, u64::MAX),
        (IMAGE_BASE, u64::MAX - IMAGE_BASE),
    ] {
        let error = refusal(&[load(R | X, address, &[], memory_bytes)]);
        assert_eq!(error, ElfError::OutOfRange { start: address, bytes: memory_bytes, memory_bytes: MEMORY });
    }
    let last = load(R | W, MEMORY - 4096, &[1], 4096);
    assert!(parse(&Builder::new(&[code(), last]).bytes(), MEMORY).is_ok());
}

#[test]
fn writable_code_is_refused() {
    let error = refusal(&[load(R | W | X, IMAGE_BASE, &[0x90], 1)]);
    assert_eq!(error, ElfError::WriteExecute { start: IMAGE_BASE });
}

#[test]
fn segments_share_no_page_and_are_sorted() {
    let at = |address| load(R | W, address, &[], 10);
    assert_eq!(refusal(&[code(), at(0x20_0800)]), ElfError::Overlap { start: 0x20_0800 });
    assert_eq!(refusal(&[code(), at(0x20_0fff)]), ElfError::Overlap { start: 0x20_0fff });
    assert_eq!(refusal(&[at(0x20_5000), code()]), ElfError::Overlap { start: IMAGE_BASE });
    assert_eq!(refusal(&[code(), at(0x20_5000), at(0x20_5000)]), ElfError::Overlap { start: 0x20_5000 });
}

#[test]
fn file_data_must_exist_and_fit() {
    let more_than_memory = load(R | X, IMAGE_BASE, &[0x90; 20], 10);
    assert_eq!(refusal(&[more_than_memory]), ElfError::Data { start: IMAGE_BASE, file_bytes: 20 });
    for claimed in [101, 1 << 20] {
        let beyond = Segment { file_bytes: Some(claimed), memory_bytes: 2 << 20, ..code() };
        assert_eq!(refusal(&[beyond]), ElfError::Data { start: IMAGE_BASE, file_bytes: claimed });
    }
}

#[test]
fn the_entry_must_be_executable() {
    let data = load(R | W, 0x20_4000, &[1], 1);
    for entry in [0, IMAGE_BASE - 1, 0x20_1000, 0x20_4000, u64::MAX] {
        let builder = Builder { entry, ..Builder::new(&[code(), data.clone()]) };
        assert_eq!(builder.refusal(), ElfError::Entry { entry });
    }
}

#[test]
fn the_number_of_segments_is_bounded() {
    assert_eq!(refusal(&[]), ElfError::SegmentCount { count: 0 });
    assert_eq!(refusal(&[load(R, IMAGE_BASE, &[], 0)]), ElfError::SegmentCount { count: 0 });
    let many =
        |count: u64| -> Vec<Segment> { (0..count).map(|n| load(R | X, IMAGE_BASE + 4096 * n, &[0x90], 1)).collect() };
    assert!(parse(&Builder::new(&many(64)).bytes(), MEMORY).is_ok());
    assert_eq!(refusal(&many(65)), ElfError::SegmentCount { count: 65 });
}

#[test]
fn no_truncation_is_accepted() {
    let file = Builder::new(&[code(), load(R | W, 0x20_1000, &[1; 50], 5000)]).bytes();
    for length in 0..file.len() {
        assert!(parse(&file[..length], MEMORY).is_err(), "{length} of {} bytes", file.len());
    }
}

proptest! {
    /// Any change of headers is refused, or gives a program that keeps every promise.
    #[test]
    fn what_is_accepted_keeps_every_promise(
        changes in prop::collection::vec((0usize..240, any::<u8>()), 0..8),
        pages in 1024u64..8192,
    ) {
        let mut file = Builder::new(&[code(), load(R, 0x20_2000, &[2; 40], 100), load(R | W, 0x20_9000, &[1; 50], 5000)]).bytes();
        for (at, byte) in changes {
            file[at] = byte;
        }
        if let Ok(program) = parse(&file, pages * 4096) {
            check(&program, pages * 4096);
        }
    }

    #[test]
    fn any_bytes_are_taken_in_peace(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes, MEMORY);
    }
}
