//! Rewritten copies of ELF files, with one more segment for handlers and stubs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use denali_linux::elf::functions;
use denali_linux::rewrite::{Reason, Rewrite, StubArea, Text, plan};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, elf};

use crate::handler::Handler;

/// How far beyond the program its new segment is, and the room for stubs in it.
const GAP: u64 = 0x100_0000;
const ROOM: usize = 1 << 18;

/// The executable segment of a program: its address, its place in the file, and its length.
struct Code {
    address: u64,
    place: usize,
    length: usize,
}

fn code(file: &ElfFile64<'_>) -> Code {
    let endian = file.endian();
    let executable = |header: &&elf::ProgramHeader64<Endianness>| {
        header.p_type(endian) == elf::PT_LOAD && header.p_flags(endian) & elf::PF_X != elf::ProgramFlags(0)
    };
    let mut headers = file.elf_program_headers().iter().filter(executable);
    let header = headers.next().unwrap();
    assert!(headers.next().is_none(), "one executable segment");
    let (place, length) = header.file_range(endian);
    Code { address: header.p_vaddr(endian), place: place.try_into().unwrap(), length: length.try_into().unwrap() }
}

/// Where the new segment is: on a page of its own beyond all others.
fn segment(file: &ElfFile64<'_>) -> u64 {
    let endian = file.endian();
    let loads = file.elf_program_headers().iter().filter(|header| header.p_type(endian) == elf::PT_LOAD);
    let end = loads.map(|header| header.p_vaddr(endian) + header.p_memsz(endian)).max().unwrap();
    (end + GAP).next_multiple_of(0x1000)
}

fn planned(data: &[u8]) -> (Code, u64, Rewrite) {
    let file = ElfFile64::<Endianness>::parse(data).unwrap();
    let (code, segment) = (code(&file), segment(&file));
    let text = Text::new(code.address, &data[code.place..code.place + code.length]).unwrap();
    let area = StubArea::new(segment + Handler::SIZE, ROOM).unwrap();
    let rewrite = plan(text, &functions(data, 0), area, Handler::entries(segment));
    (code, segment, rewrite)
}

/// Every trap of `program` is patched, but for those of intent.
pub(crate) fn assert_all_patched(program: &Path) {
    let (_, _, rewrite) = planned(&std::fs::read(program).unwrap());
    let report = rewrite.report;
    println!("{program:?}: {} of {}, {} false", report.patched(), report.sites(), report.false_sites);
    assert!(report.sites() > 0);
    assert!(
        report.refused.iter().all(|refused| refused.reason == Reason::SignalReturn),
        "{program:?} {:x?}",
        report.refused
    );
}

/// Writes a rewritten copy of the same name to `directory`; gives its path.
pub(crate) fn rewrite(program: &Path, handler: &Handler, directory: &Path) -> PathBuf {
    let mut data = std::fs::read(program).unwrap();
    let (code, segment, rewrite) = planned(&data);
    for patch in &rewrite.patches {
        let start = code.place + usize::try_from(patch.address - code.address).unwrap();
        data[start..start + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    data.resize(data.len().next_multiple_of(0x1000), 0);
    let place = data.len() as u64;
    data.extend(&handler.code);
    data.extend(&rewrite.stubs);
    load_instead_of_note(&mut data, place, segment);
    let path = directory.join(program.file_name().unwrap());
    std::fs::write(&path, data).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Makes a program header that the program can do without one for the end of the file, from `place`, at `address`.
fn load_instead_of_note(data: &mut [u8], place: u64, address: u64) {
    let long = |data: &[u8], at: usize| u64::from_le_bytes(data[at..at + 8].try_into().unwrap());
    let (table, count) = (long(data, 0x20), u16::from_le_bytes([data[0x38], data[0x39]]));
    let headers = (0..usize::from(count)).map(|index| usize::try_from(table).unwrap() + index * 56);
    // After all segments that are loaded, so that addresses ascend: a note, or the stack's rights.
    let unneeded = |header: &usize| {
        [[4, 0, 0, 0], [0x51, 0xe5, 0x74, 0x64]].contains(&data[*header..*header + 4].try_into().unwrap())
    };
    let header = headers.rev().find(unneeded).unwrap();
    let size = data.len() as u64 - place;
    let kind_and_rights = 1 | (7 << 32);
    for (index, word) in [kind_and_rights, place, address, address, size, size, 0x1000].into_iter().enumerate() {
        data[header + index * 8..header + index * 8 + 8].copy_from_slice(&u64::to_le_bytes(word));
    }
}
