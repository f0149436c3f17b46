//! The vDSO: a small library that each program finds in its memory, so that asking for the time is a function call.
//!
//! One page, read and executed, that is an ELF file of its own: C libraries and Go look functions up in it by name and
//! version, as vdso(7) says. The code comes from the image. It must run wherever the page is.

use alloc::vec::Vec;
use object::elf;

/// Bytes of the whole.
pub const BYTES: usize = 4096;

/// A function of the vDSO.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its name, `__vdso_…`.
    pub name: &'static str,
    /// Where it starts, from the start of the code.
    pub offset: usize,
}

/// The library's name, and the version of each function.
const NAMES: [&str; 2] = ["linux-vdso.so.1", "LINUX_2.6"];

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SYMBOL: usize = 24;
const DYNAMIC: usize = 16;
/// A version's definition, and its one name.
const VERSION: usize = 20 + 8;
/// Entries of the dynamic section, without the null entry.
const ENTRIES: usize = 9;

/// The page, or nothing if all that does not fit.
#[must_use]
pub fn build(functions: &[Function], code: &[u8]) -> Option<Vec<u8>> {
    let mut strings = Strings::default();
    let [name, version] = NAMES.map(|name| strings.add(name));
    let symbols: Vec<(u32, usize)> =
        functions.iter().map(|function| (strings.add(function.name), function.offset)).collect();
    let count = symbols.len() + 1;

    // Where each part lies, one behind the other, at multiples of 16.
    let mut end = HEADER + 2 * PROGRAM_HEADER;
    let mut place = |bytes: usize| {
        let at = end.next_multiple_of(16);
        end = at + bytes;
        at
    };
    let dynamic = place((ENTRIES + 1) * DYNAMIC);
    let table = place(count * SYMBOL);
    let hash = place(4 * (2 + 1 + count));
    let versions = place(2 * count);
    let definitions = place(NAMES.len() * VERSION);
    let text = place(strings.0.len());
    let start = place(code.len());
    if end > BYTES {
        return None;
    }

    let mut page = Page(alloc::vec![0; BYTES]);
    page.put(0, &[0x7f, b'E', b'L', b'F', elf::ELFCLASS64.0, elf::ELFDATA2LSB.0, elf::EV_CURRENT.0]);
    page.half(16, &[elf::ET_DYN.0, elf::EM_X86_64.0]);
    page.word(20, &[elf::EV_CURRENT.0.into()]);
    page.long(32, &[HEADER as u64]);
    page.half(52, &[HEADER as u16, PROGRAM_HEADER as u16, 2]);
    for (at, kind, offset, bytes) in
        [(HEADER, elf::PT_LOAD, 0, BYTES), (HEADER + PROGRAM_HEADER, elf::PT_DYNAMIC, dynamic, (ENTRIES + 1) * DYNAMIC)]
    {
        let (offset, bytes) = (offset as u64, bytes as u64);
        page.word(at, &[kind.0, (elf::PF_R | elf::PF_X).0]);
        page.long(at + 8, &[offset, offset, offset, bytes, bytes, 16]);
    }
    let entries: [(elf::DynamicTag, u64); ENTRIES] = [
        (elf::DT_SONAME, name.into()),
        (elf::DT_STRTAB, text as u64),
        (elf::DT_STRSZ, strings.0.len() as u64),
        (elf::DT_SYMTAB, table as u64),
        (elf::DT_SYMENT, SYMBOL as u64),
        (elf::DT_HASH, hash as u64),
        (elf::DT_VERSYM, versions as u64),
        (elf::DT_VERDEF, definitions as u64),
        (elf::DT_VERDEFNUM, NAMES.len() as u64),
    ];
    // Then the null entry.
    for (index, (tag, value)) in entries.into_iter().enumerate() {
        page.long(dynamic + index * DYNAMIC, &[tag.0.cast_unsigned(), value]);
    }
    for (index, (name, offset)) in (1..).zip(&symbols) {
        let at = table + index * SYMBOL;
        page.word(at, &[*name]);
        page.put(at + 4, &[elf::STB_GLOBAL.0 << 4 | elf::STT_FUNC.0, 0]);
        // Any section but none: there is no table of them.
        page.half(at + 6, &[1]);
        page.long(at + 8, &[(start + offset) as u64, (code.len() - offset) as u64]);
    }
    // One bucket, in which all symbols follow each other.
    let chain = (1..count).map(|index| if index + 1 < count { index as u32 + 1 } else { 0 });
    page.word(hash, &[1, count as u32, u32::from(count > 1), 0]);
    page.word(hash + 16, &chain.collect::<Vec<_>>());
    page.half(versions, &[0]);
    page.half(versions + 2, &alloc::vec![2; count - 1]);
    for (index, (name, offset)) in NAMES.iter().zip([name, version]).enumerate() {
        let at = definitions + index * VERSION;
        let base = u16::from(index == 0) * elf::VER_FLG_BASE.0;
        page.half(at, &[elf::VER_DEF_CURRENT, base, index as u16 + 1, 1]);
        let next = if index + 1 < NAMES.len() { VERSION as u32 } else { 0 };
        page.word(at + 8, &[elf::hash(name.as_bytes()), 20, next, offset, 0]);
    }
    page.put(text, &strings.0);
    page.put(start, code);
    Some(page.0)
}

/// A table of strings, the empty one first.
struct Strings(Vec<u8>);

impl Default for Strings {
    fn default() -> Self {
        Self(alloc::vec![0])
    }
}

impl Strings {
    /// The place of a string.
    fn add(&mut self, string: &str) -> u32 {
        let at = self.0.len() as u32;
        self.0.extend_from_slice(string.as_bytes());
        self.0.push(0);
        at
    }
}

struct Page(Vec<u8>);

impl Page {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn half(&mut self, at: usize, values: &[u16]) {
        values.iter().enumerate().for_each(|(index, value)| self.put(at + 2 * index, &value.to_le_bytes()));
    }

    fn word(&mut self, at: usize, values: &[u32]) {
        values.iter().enumerate().for_each(|(index, value)| self.put(at + 4 * index, &value.to_le_bytes()));
    }

    fn long(&mut self, at: usize, values: &[u64]) {
        values.iter().enumerate().for_each(|(index, value)| self.put(at + 8 * index, &value.to_le_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{
        Endianness,
        elf::FileHeader64,
        read::elf::{Dyn, FileHeader, ProgramHeader},
    };

    const CODE: [u8; 32] = [0x90; 32];
    const FUNCTIONS: [Function; 3] = [
        Function { name: "__vdso_clock_gettime", offset: 0 },
        Function { name: "__vdso_time", offset: 16 },
        Function { name: "__vdso_getcpu", offset: 24 },
    ];

    fn word(page: &[u8], at: u64) -> u32 {
        u32::from_le_bytes(page[at as usize..][..4].try_into().unwrap())
    }

    /// What a C library does: program headers, dynamic section, hash table, symbols.
    #[test]
    fn each_function_is_found_by_its_name_and_version() {
        let page = build(&FUNCTIONS, &CODE).unwrap();
        let header = FileHeader64::<Endianness>::parse(&*page).unwrap();
        let endian = header.endian().unwrap();
        let headers = header.program_headers(endian, &*page).unwrap();
        assert!(headers.iter().any(|header| header.p_type(endian) == elf::PT_LOAD && header.p_filesz(endian) == 4096));
        let dynamic = headers.iter().find_map(|header| header.dynamic(endian, &*page).unwrap()).unwrap();
        let value = |tag| dynamic.iter().find(|entry| entry.d_tag(endian) == tag).unwrap().d_val(endian);
        let string = |at: u32| {
            let bytes = &page[value(elf::DT_STRTAB) as usize + at as usize..];
            std::str::from_utf8(&bytes[..bytes.iter().position(|&byte| byte == 0).unwrap()]).unwrap()
        };
        assert_eq!(string(value(elf::DT_SONAME) as u32), "linux-vdso.so.1");
        let (hash, table) = (value(elf::DT_HASH), value(elf::DT_SYMTAB));
        assert_eq!(word(&page, hash), 1, "one bucket");
        let mut found = Vec::new();
        let mut symbol = word(&page, hash + 8);
        while symbol != 0 {
            let at = table + 24 * u64::from(symbol);
            let address = u64::from(word(&page, at + 8));
            found.push((string(word(&page, at)), address));
            assert_eq!(page[address as usize], 0x90);
            assert_eq!(word(&page, value(elf::DT_VERSYM) + 2 * u64::from(symbol)) & 0xffff, 2);
            symbol = word(&page, hash + 12 + 4 * u64::from(symbol));
        }
        let start = found[0].1;
        let expected: Vec<_> =
            FUNCTIONS.iter().map(|function| (function.name, start + function.offset as u64)).collect();
        assert_eq!(found, expected);
        let second = value(elf::DT_VERDEF) + u64::from(word(&page, value(elf::DT_VERDEF) + 16));
        assert_eq!(word(&page, second + 8), 0x3ae_75f6, "the hash of LINUX_2.6");
        assert_eq!(string(word(&page, second + 20)), "LINUX_2.6");
        assert_eq!(value(elf::DT_VERDEFNUM), 2);
    }

    #[test]
    fn too_much_code_is_refused() {
        assert!(build(&FUNCTIONS, &[0x90; BYTES]).is_none());
    }
}
