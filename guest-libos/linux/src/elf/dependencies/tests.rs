use super::{Dependencies, dependencies};
use crate::elf::{ElfError, tests::linked};
use proptest::prelude::*;

#[test]
fn a_dynamic_program_names_its_libraries() {
    let file = linked(&["-Wl,-rpath,$ORIGIN/../lib:/opt/lib", "-Wl,--enable-new-dtags"]);
    let found = dependencies(&file).unwrap();
    assert!(found.needed.contains(&&b"libc.so.6"[..]), "{found:?}");
    assert_eq!((found.rpath, found.runpath), (None, Some(&b"$ORIGIN/../lib:/opt/lib"[..])));
    let file = linked(&["-Wl,-rpath,/opt/lib", "-Wl,--disable-new-dtags"]);
    let found = dependencies(&file).unwrap();
    assert_eq!((found.rpath, found.runpath), (Some(&b"/opt/lib"[..]), None));
}

#[test]
fn a_static_program_needs_nothing() {
    for flags in [&["-static", "-no-pie"][..], &["-static-pie"]] {
        assert_eq!(dependencies(&linked(flags)), Ok(Dependencies::default()), "{flags:?}");
    }
    assert!(matches!(dependencies(b"#!/bin/sh"), Err(ElfError::Malformed(_))));
}

proptest! {
    #[test]
    fn a_changed_file_does_no_harm(
        changes in prop::collection::vec((0usize..0x400, any::<u8>()), 1..6),
        deep in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..200),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        thread_local!(static FILE: Vec<u8> = linked(&["-Wl,-rpath,/opt/lib"]));
        let mut file = FILE.with(Clone::clone);
        for (at, value) in changes {
            file[at] = value;
        }
        for (at, value) in deep {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let _ = dependencies(&file);
    }
}
