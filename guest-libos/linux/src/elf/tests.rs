//! Programs as a linker makes them, for the tests.

use std::process::Command;

const HELLO: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";

/// A program of gcc, which every machine has that links Rust programs.
pub(super) fn linked(flags: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (folder.path().join("hello.c"), folder.path().join("hello"));
    std::fs::write(&source, HELLO).unwrap();
    let status = Command::new("gcc").args(flags).arg("-o").arg(&output).arg(&source).status().unwrap();
    assert!(status.success(), "gcc {flags:?}");
    std::fs::read(output).unwrap()
}
