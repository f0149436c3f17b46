//! Seeds about Linux programs.

use denali_linux::bundle::{Entry, Node, Settings, Tree};

pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "linux_calls/files",
            calls(&[(257, &[5, 15, 103]), (1, &[3, 15, 12]), (8, &[3]), (0, &[3, 16, 100]), (3, &[3])]),
        ),
        ("linux_calls/memory", calls(&[(9, &[0, 13, 3, 34]), (10, &[19, 13, 1]), (11, &[19, 13]), (12, &[0])])),
        ("linux_calls/signals", calls(&[(13, &[10, 15]), (14, &[0, 15, 0, 9]), (39, &[]), (200, &[1, 10]), (15, &[])])),
        ("linux_calls/threads", calls(&[(56, &[105, 19]), (202, &[15, 1, 1]), (24, &[]), (60, &[0])])),
        ("linux_elf/static", elf(2)),
        ("linux_elf/relocatable", elf(3)),
        ("linux_settings/all", settings()),
        ("linux_settings/least", b"program=/a\n".to_vec()),
        ("linux_tree/all", tree()),
        (
            "rewrite/mixed",
            vec![0, 6, 0, 7, 0, 0, 0, 14, 0, 0, 19, 4, 1, 0, 0, 11, 2, 0, 4, 0, 0, 255, 9, 1, 2, 1, 0, 0],
        ),
        (
            "rewrite/computed",
            vec![0, 22, 3, 2, 9, 1, 2, 0, 0, 0, 17, 1, 1, 1, 0, 0, 23, 0, 0, 255, 15, 1, 8, 2, 0, 0, 16, 3, 8],
        ),
        ("rewrite/unknown", vec![1, 18, 1, 2, 0, 0, 0, 13, 0, 0, 21, 5, 2, 7, 5, 5, 3, 0, 0, 12, 1, 3]),
        // A number that no filter of system calls is asked about.
        ("rewrite/unfiltered", vec![0, 6, 0, 0xff, 6, 1, 0x50, 10, 0, 1, 0, 0, 0]),
    ]
}

/// Calls: a number, and words as the body reads them. The program writes a path or a structure before each.
fn calls(calls: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, words) in calls {
        bytes.extend(number.to_le_bytes());
        bytes.extend((0..6).map(|index| words.get(index).copied().unwrap_or(0)));
        bytes.extend([0, 7]);
        bytes.extend(b"/tmp/a\0");
    }
    bytes
}

fn settings() -> Vec<u8> {
    let mut settings = Settings::new("/bin/a").expect("a path");
    settings.set_directory("/tmp").expect("a path");
    settings.set("NAME=value").expect("a variable");
    settings.add_argument("-x").expect("an argument");
    settings.ready = true;
    settings.to_string().into_bytes()
}

fn tree() -> Vec<u8> {
    let mut tree = Tree::default();
    let long = [b'n'; 120];
    let nodes: [(&[u8], _); 5] = [
        (b"bin", Node::Directory),
        (b"bin/program", Node::File(&b"\x7fELF"[..])),
        (b"link", Node::Symlink(b"bin/program".to_vec())),
        (b"loop", Node::Symlink(b"loop".to_vec())),
        (&long, Node::File(b"")),
    ];
    for (path, node) in nodes {
        tree.insert(path, Entry { mode: 0o755, node }).expect("a new path");
    }
    tree.to_tar().expect("small files")
}

/// Where the sections below lie in the file, which is loaded as a whole.
const BASE: u64 = 0x40_0000;

/// A file of this ELF type with code that makes a call, unwind tables, symbols, a dynamic segment and the path of a loader.
fn elf(kind: u16) -> Vec<u8> {
    // The code, at 0x1000: mov $60, %eax; syscall.
    let code = [0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let (read, text, data) = (BASE, BASE + 0x1000, BASE + 0x2000);
    // A common record, and an entry for the code, at 0x800.
    let mut frames = [0x14_u32, 0, 0x0052_7a01, 0x0110_7801, 0x0c1b, 0, 0x14, 0x1c].map(u32::to_le_bytes).concat();
    frames.extend([0x1000 - 0x820_u32, 7, 0, 0, 0].map(u32::to_le_bytes).concat());
    // Symbols, at 0x900: none, and `main`; names of sections and symbols at 0xa00; entries of the dynamic segment at 0xb00.
    let symbols =
        [[0; 24].as_slice(), &[1, 0, 0, 0, 0x12, 0, 2, 0], &text.to_le_bytes(), &7_u64.to_le_bytes()].concat();
    let names = b"\0main\0.eh_frame\0.symtab\0.strtab\0libc.so.6\0/lib\0";
    let dynamic = [[5, BASE + 0xa00], [10, names.len() as u64], [1, 32], [29, 42], [0, 0]];
    let loader = b"/lib/ld.so\0";

    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([kind, 62, 1, 0].map(u16::to_le_bytes).concat());
    file.extend([text, 64, 0xc00].map(u64::to_le_bytes).concat());
    file.extend([0_u16, 0, 64, 56, 5, 64, 4, 3].map(u16::to_le_bytes).concat());
    // Kind, flags, place, address, bytes in the file and in memory.
    let dynamic_bytes = size_of_val(&dynamic) as u64;
    let segments = [
        [1, 4, 0, read, 0xe00, 0xe00],
        [1, 5, 0x1000, text, 7, 7],
        [1, 6, 0x1007, data + 7, 0, 0x1000],
        [2, 4, 0xb00, read + 0xb00, dynamic_bytes, dynamic_bytes],
        [3, 4, 0xf00, read + 0xf00, loader.len() as u64, loader.len() as u64],
    ];
    for [kind, flags, place, address, file_bytes, bytes] in segments {
        file.extend([kind as u32, flags as u32].map(u32::to_le_bytes).concat());
        file.extend([place, address, address, file_bytes, bytes, 4096].map(u64::to_le_bytes).concat());
    }
    let mut put = |place: usize, bytes: &[u8]| {
        file.resize(file.len().max(place + bytes.len()), 0);
        file[place..place + bytes.len()].copy_from_slice(bytes);
    };
    put(0x800, &frames);
    put(0x900, &symbols);
    put(0xa00, names);
    put(0xb00, dynamic.map(|entry| entry.map(u64::to_le_bytes).concat()).concat().as_slice());
    // Name, type, flags, address, place, bytes, link, info, alignment, bytes of an entry.
    let sections = [
        [0; 10],
        [6, 1, 2, BASE + 0x800, 0x800, frames.len() as u64, 0, 0, 8, 0],
        [16, 2, 0, 0, 0x900, symbols.len() as u64, 3, 1, 8, 24],
        [24, 3, 0, 0, 0xa00, names.len() as u64, 0, 0, 1, 0],
    ];
    for (index, [name, kind, flags, address, place, bytes, link, info, alignment, entry]) in
        sections.into_iter().enumerate()
    {
        let words =
            [[name as u32, kind as u32], [link as u32, info as u32]].map(|pair| pair.map(u32::to_le_bytes).concat());
        let longs = [flags, address, place, bytes].map(u64::to_le_bytes).concat();
        let last = [alignment, entry].map(u64::to_le_bytes).concat();
        put(0xc00 + 64 * index, &[words[0].as_slice(), &longs, &words[1], &last].concat());
    }
    put(0xf00, loader);
    put(0x1000, &code);
    file
}
