//! What the rewriter does to code, read back with a decoder: which recipe a site gets, which is refused, and that a rewritten
//! program executes the same instructions.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod follow;
mod property;
mod recipes;

use denali_linux::rewrite::{Functions, Handlers, Rewrite, StubArea, Text, plan};

/// Where the tests' code runs, where its stubs are, and where they lead.
const CODE: u64 = 0x40_1000;
const STUBS: u64 = 0x1000_0000;
const HANDLERS: Handlers = Handlers { syscall: 0x20_0000, cpuid: 0x20_0040 };

/// Code that nothing can go wrong in, so that the sweep is in step before what is tested begins.
const RUN_UP: u64 = 48;

/// `code` after a run-up of single-byte instructions.
fn after_run_up(code: &[u8]) -> Vec<u8> {
    [&[0x90; RUN_UP as usize][..], code].concat()
}

/// The plan for `bytes` at [`CODE`], all of which is one function if `known`.
fn planned(bytes: &[u8], known: bool) -> Rewrite {
    let extent = CODE..CODE + bytes.len() as u64;
    let functions = if known { Functions::new([extent]) } else { Functions::unknown() };
    plan(Text::new(CODE, bytes).unwrap(), &functions, StubArea::new(STUBS, 1 << 16).unwrap(), HANDLERS)
}

/// `bytes` at [`CODE`] with the patches in.
fn patched(bytes: &[u8], rewrite: &Rewrite) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for patch in &rewrite.patches {
        let start = usize::try_from(patch.address - CODE).unwrap();
        bytes[start..start + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    bytes
}
