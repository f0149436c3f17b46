use super::{ElfError, Program, parse};
use crate::elf::{Layout, tests::linked};
use crate::mm::{PAGE_BYTES, Rights};
use proptest::prelude::*;

const BASE: u64 = 0x40_0000;
const R: u32 = 4;
const W: u32 = 2;
const X: u32 = 1;
const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;
const STACK: u32 = 0x6474_e551;

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

fn of_kind(kind: u32, flags: u32, address: u64, data: &[u8], memory_bytes: u64) -> Segment {
    Segment { kind, flags, address, data: data.to_vec(), file_bytes: None, memory_bytes }
}

fn load(flags: u32, address: u64, data: &[u8], memory_bytes: u64) -> Segment {
    of_kind(LOAD, flags, address, data, memory_bytes)
}

fn code() -> Segment {
    load(R | X, BASE, &[0x90; 100], 100)
}

/// An ELF file of `kind` for `machine`.
fn file(kind: u16, machine: u16, entry: u64, segments: &[Segment]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([kind, machine].map(u16::to_le_bytes).concat());
    file.extend(1u32.to_le_bytes());
    file.extend([entry, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0u32.to_le_bytes());
    file.extend([64, 56, segments.len() as u16, 64, 0, 0].map(u16::to_le_bytes).concat());
    let mut offset = file.len() + 56 * segments.len();
    for s in segments {
        let file_bytes = s.file_bytes.unwrap_or(s.data.len() as u64);
        file.extend([s.kind, s.flags].map(u32::to_le_bytes).concat());
        let words = [offset as u64, s.address, s.address, file_bytes, s.memory_bytes, PAGE_BYTES];
        file.extend(words.map(u64::to_le_bytes).concat());
        offset += s.data.len();
    }
    file.extend(segments.iter().flat_map(|s| s.data.iter().copied()));
    file
}

fn refusal(segments: &[Segment]) -> ElfError {
    parse(&file(2, 62, BASE, segments)).expect_err("it must be refused")
}

/// Everything that the loader relies on.
fn check(program: &Program<'_>) {
    let mut end = 0;
    assert!(!program.segments.is_empty());
    for s in &program.segments {
        assert!(s.pages.start >= end && !s.pages.is_empty());
        assert!((s.pages.start | s.pages.end).is_multiple_of(PAGE_BYTES));
        assert!(s.pages.contains(&s.start) && s.start + s.data.len() as u64 <= s.pages.end);
        end = s.pages.end;
    }
    assert!(program.segments.iter().any(|s| s.rights == Rights::Execute && s.pages.contains(&program.entry)));
    assert!(program.interpreter.is_none_or(|path| !path.is_empty() && !path.contains(&0)));
    assert!(program.alignment.is_power_of_two());
    let area = BASE..BASE + (8 << 20);
    if let Ok(layout) = Layout::new(program, &area) {
        for s in &program.segments {
            let pages = layout.pages(s);
            assert!(area.start <= pages.start && pages.start < pages.end && pages.end <= area.end);
        }
    }
}

#[test]
fn segments_keep_their_rights_and_places() {
    let segments = [
        load(R, BASE, b"rodata", 6),
        load(R | X, BASE + 0x1010, b"code", 4),
        load(R | W, BASE + 0x3ff0, b"data", 0x2000),
        load(0, BASE + 0x10000, b"", 1),
        load(R, BASE, b"", 0),
    ];
    let file = file(3, 62, BASE + 0x1010, &segments);
    let program = parse(&file).unwrap();
    check(&program);
    let rights: Vec<_> = program.segments.iter().map(|s| s.rights).collect();
    assert_eq!(rights, [Rights::Read, Rights::Execute, Rights::Write, Rights::None]);
    assert_eq!(program.segments[2].pages, BASE + 0x3000..BASE + 0x6000);
    assert_eq!((program.segments[2].start, program.segments[2].data), (BASE + 0x3ff0, &b"data"[..]));
    assert_eq!((program.headers, program.relocatable, program.span()), (None, true, BASE..BASE + 0x11000));
}

#[test]
fn the_interpreter_is_told() {
    let asks = |path: &[u8]| {
        file(2, 62, BASE, &[code(), of_kind(INTERPRETER, R, 0, path, 0), of_kind(STACK, R | W | X, 0, b"", 0)])
    };
    let whole = asks(b"/lib/ld.so\0");
    let program = parse(&whole).unwrap();
    assert_eq!(program.interpreter, Some(&b"/lib/ld.so"[..]));
    for path in [&b"\0"[..], b"unterminated", b"", &[b'a'; 5000]] {
        assert_eq!(parse(&asks(path)), Err(ElfError::Interpreter));
    }
}

#[test]
fn each_broken_rule_has_its_name() {
    assert!(matches!(parse(b"#!/bin/sh\n"), Err(ElfError::Malformed(_))));
    assert_eq!(parse(&file(2, 183, BASE, &[code()])), Err(ElfError::Machine { machine: 183 }));
    assert_eq!(parse(&file(1, 62, BASE, &[code()])), Err(ElfError::NotExecutable { kind: 1 }));
    assert_eq!(parse(&file(2, 62, BASE + 4096, &[code()])), Err(ElfError::Entry { entry: BASE + 4096 }));
    assert_eq!(refusal(&[]), ElfError::SegmentCount { count: 0 });
    let many: Vec<_> = (0..65).map(|i| load(R, BASE + i * 4096, b"", 1)).collect();
    assert_eq!(refusal(&many), ElfError::SegmentCount { count: 65 });
    assert_eq!(refusal(&[load(R | W | X, BASE, b"", 1)]), ElfError::WriteExecute { start: BASE });
    let high = u64::MAX - 4000;
    assert_eq!(refusal(&[load(R, high, b"", 1)]), ElfError::OutOfRange { start: high, bytes: 1 });
    let short = Segment { file_bytes: Some(7), ..load(R, BASE, b"sixsix", 6) };
    assert_eq!(refusal(&[short]), ElfError::Data { start: BASE, file_bytes: 7 });
    let outside = Segment { file_bytes: Some(1 << 40), memory_bytes: 1 << 41, ..code() };
    assert_eq!(refusal(&[outside]), ElfError::Data { start: BASE, file_bytes: 1 << 40 });
    assert_eq!(refusal(&[code(), load(R, BASE + 200, b"", 1)]), ElfError::Overlap { start: BASE + 200 });
}

#[test]
fn errors_say_what_to_do() {
    let error = refusal(&[load(R | W | X, BASE, b"", 1)]).to_string();
    assert!(error.contains("0x400000") && error.contains("omagic"), "{error}");
}

#[test]
fn what_gcc_links_is_understood() {
    let file = linked(&["-static", "-no-pie"]);
    let program = parse(&file).unwrap();
    check(&program);
    assert!(!program.relocatable && program.interpreter.is_none());
    assert_eq!(program.span().start, BASE);
    assert_eq!(program.headers, Some(BASE + 64));

    let file = linked(&["-static-pie"]);
    let program = parse(&file).unwrap();
    check(&program);
    assert!(program.relocatable && program.interpreter.is_none());
    assert_eq!(program.headers, Some(64));

    let file = linked(&["-pie"]);
    let program = parse(&file).unwrap();
    check(&program);
    assert!(program.relocatable && program.interpreter.is_some_and(|path| path.ends_with(b"/ld-linux-x86-64.so.2")));
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = bytes;
        let magic = b"\x7fELF\x02\x01\x01";
        if bytes.len() >= 64 {
            bytes[..magic.len()].copy_from_slice(magic);
        }
        let _ = parse(&bytes).map(|program| check(&program));
    }

    #[test]
    fn a_mutated_program_is_refused_or_sound(
        changes in prop::collection::vec((0usize..300, prop::sample::select(vec![0u8, 1, 0x7f, 0x80, 0xff, 0x10])), 1..6),
        cut in prop::option::of(0usize..500),
    ) {
        let mut bytes = file(3, 62, BASE, &[code(), load(R | W, BASE + 0x2000, b"data", 5000), of_kind(INTERPRETER, R, 0, b"/l\0", 0)]);
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        let _ = parse(&bytes).map(|program| check(&program));
    }
}
