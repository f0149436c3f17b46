//! Stubs: what the program's system calls jump to, and where each came from.

use crate::{cpuid, entry};
use alloc::vec::Vec;
use core::{cell::UnsafeCell, ops::Range, ptr, slice};
use denali_abi::{
    instruction::{RIGHT_EXECUTE, RIGHT_READ},
    memory::PAGE_BYTES,
};
use denali_guest::instruction;
use denali_linux::rewrite::{Functions, Origins, StubArea, Text, plan};

/// Room for stubs of rewritten calls.
const STUB_BYTES: usize = 256 << 10;

#[repr(C, align(4096))]
struct Stubs(UnsafeCell<[u8; STUB_BYTES]>);

// SAFETY: the one `Rewriter` alone writes it.
unsafe impl Sync for Stubs {}

static STUBS: Stubs = Stubs(UnsafeCell::new([0; _]));

/// Whether an address lies in a stub.
pub fn is_stub(rip: u64) -> bool {
    (STUBS.0.get() as u64..STUBS.0.get() as u64 + STUB_BYTES as u64).contains(&rip)
}

/// What replaces system calls as code becomes executable.
#[derive(Debug)]
pub struct Rewriter {
    /// What is known of the functions in the file whose code becomes executable next.
    functions: Functions,
    /// Stubs so far, in whole pages.
    stub_bytes: u64,
    /// Where they came from.
    origins: Vec<Origins>,
}

impl Rewriter {
    /// One that has replaced nothing. There is one in a VM.
    pub fn new() -> Self {
        Self { functions: Functions::unknown(), stub_bytes: 0, origins: Vec::new() }
    }

    /// The code that becomes executable next has these functions.
    pub fn expect(&mut self, functions: Functions) {
        self.functions = functions;
    }

    /// Replaces the system calls in pages of the program that are about to become executable, and can be written now.
    pub fn rewrite(&mut self, range: &Range<u64>) {
        let stubs = STUBS.0.get() as u64 + self.stub_bytes;
        let room = STUB_BYTES as u64 - self.stub_bytes;
        // SAFETY: the pages are the program's, and can be read until their rights change.
        let code = unsafe { slice::from_raw_parts(range.start as *const u8, (range.end - range.start) as usize) };
        let (Some(text), Some(area)) = (Text::new(range.start, code), StubArea::new(stubs, room as usize)) else {
            return;
        };
        let rewrite = plan(text, &self.functions, area, entry::handlers());
        if rewrite.report.cpuids > 0 {
            cpuid::ask();
        }
        fill(stubs, &rewrite.stubs);
        for patch in &rewrite.patches {
            fill(patch.address, &patch.bytes);
        }
        let bytes = (rewrite.stubs.len() as u64).next_multiple_of(PAGE_BYTES);
        if bytes > 0 {
            // SAFETY: the pages hold stubs and nothing else.
            unsafe { instruction::protect(stubs, bytes, RIGHT_READ | RIGHT_EXECUTE) };
            self.stub_bytes += bytes;
            self.origins.push(rewrite.origins);
        }
    }

    /// Where the program has what a stub does at `rip`; `rip` itself if that is in no stub. The newest come first: code may
    /// lie where other code has lain.
    pub fn original(&self, rip: u64) -> u64 {
        self.origins.iter().rev().find_map(|origins| origins.original(rip)).unwrap_or(rip)
    }

    /// Where a handler's frame is to go on that says `rip`; `rip` itself if that was not rewritten.
    pub fn resume(&self, rip: u64) -> u64 {
        self.origins.iter().rev().find_map(|origins| origins.resume(rip)).unwrap_or(rip)
    }
}

fn fill(to: u64, bytes: &[u8]) {
    // SAFETY: stubs and patches lie in the area and the range that `plan` was given, which can be written and nobody runs.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
}
