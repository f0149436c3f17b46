//! Programs that no VM is started for: each is refused with what is wrong with it, here and on a node.

use crate::harness::{Node, Place, text};

/// Offsets in an ELF header and in a program header (System V gABI, chapters 4 and 5).
const MACHINE: usize = 18;
const PHOFF: usize = 32;
const PHNUM: usize = 56;
const PH_BYTES: usize = 56;
const PH_FLAGS: usize = 4;
const PH_VADDR: usize = 16;
const PH_MEMSZ: usize = 40;

/// The image of hello, and where its first program header that is loaded stands.
fn hello() -> (Vec<u8>, usize) {
    let elf = denali_samples::find("hello").expect("it is there").elf.to_vec();
    let number = |at: usize| u64::from_le_bytes(elf[at..at + 8].try_into().expect("8 bytes")) as usize;
    let headers = (0..usize::from(elf[PHNUM])).map(|header| number(PHOFF) + header * PH_BYTES);
    let load = headers.clone().find(|header| elf[*header..*header + 4] == [1, 0, 0, 0]).expect("one is loaded");
    (elf, load)
}

/// Hello with eight bytes changed at this offset in its first program header that is loaded.
fn changed(offset: usize, value: u64) -> Vec<u8> {
    let (mut elf, load) = hello();
    elf[load + offset..load + offset + 8].copy_from_slice(&value.to_le_bytes());
    elf
}

/// Images that break a rule each, and a word that names it.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let (elf, load) = hello();
    let mut writable_code = elf.clone();
    writable_code[load + PH_FLAGS] = 7;
    let mut other_machine = elf.clone();
    other_machine[MACHINE] = 183;
    vec![
        ("writable and executable", writable_code),
        ("another CPU", other_machine),
        ("", changed(PH_VADDR, 0)),
        ("", changed(PH_VADDR, 1 << 46)),
        ("", changed(PH_VADDR, u64::MAX - 0xfff)),
        ("", changed(PH_MEMSZ, u64::MAX)),
        ("", changed(PH_MEMSZ, 1 << 40)),
        ("", elf[..elf.len() / 2].to_vec()),
        ("", elf[..100].to_vec()),
        ("", elf[..10].to_vec()),
    ]
}

#[test]
fn broken_images_are_refused_with_their_fault() {
    let place = Place::new();
    for (at, (word, image)) in broken().into_iter().enumerate() {
        let file = place.write(&format!("broken-{at}.elf"), image);
        let done = place.denali(["run"]).arg(file).fail_with(["denali: ", word]);
        assert!(done.stdout.is_empty(), "{done}");
    }
    // The same harness runs the image that was not broken.
    place.denali(["run"]).arg(place.write("whole.elf", hello().0)).succeed();
}

#[test]
fn files_that_are_no_programs_are_refused() {
    let place = Place::new();
    for (bytes, word) in [(&b"#!/bin/sh\necho no\n"[..], "hint: "), (b"", "cut short"), (b"DENALIB1", "cut short")] {
        let file = place.write("file", bytes);
        place.denali(["run"]).arg(&file).fail_with(["file", word]);
        place.denali(["pack", "-o", "out.denali"]).arg(&file).fail_with(["file", "hint: "]);
        place.denali(["inspect"]).arg(&file).fail_with(["file"]);
    }
    assert!(!place.path("out.denali").exists());
    place.denali(["run"]).arg(place.path("")).fail_with(["denali: "]);
}

#[test]
fn a_node_says_that_an_image_cannot_be_started_and_goes_on() {
    let place = Place::new();
    let node = Node::start(&place, "");
    for (at, (_, image)) in broken().into_iter().enumerate().filter(|(_, (word, _))| *word != "another CPU") {
        let file = place.write(&format!("broken-{at}.elf"), image);
        let done = node.submit(&place, file).arg("--json").run();
        assert_eq!(done.status.code(), Some(125), "{done}");
        // Either the node refuses the bundle, or its result is that it could not be started.
        if let Some(line) = done.lines().first() {
            assert_eq!(text(line, "outcome"), "unstartable", "{line}");
        }
    }
    node.serves(&place);
    assert!(!node.log().contains("a worker was lost"), "{}", node.log());
}
