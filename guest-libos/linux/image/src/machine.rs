//! What the Linux personality needs of the VM: memory, rights, clocks, randomness and the standard streams.

use crate::entry;
use alloc::vec::Vec;
use core::{ops::Range, ptr, slice};
use denali_abi::{
    instruction::{RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE},
    memory::PAGE_BYTES,
};
use denali_guest::{
    Input, Output, clock,
    embedded_io::{Read, Write},
    instruction, random,
};
use denali_linux::{
    call::{Machine, Stream},
    errno::Errno,
    mm::{Pages, Rights},
    rewrite::{Functions, Origins, Report, StubArea, Text, plan},
};

/// Room for stubs of rewritten calls.
const STUB_BYTES: usize = 256 << 10;

#[repr(C, align(4096))]
struct Stubs(core::cell::UnsafeCell<[u8; STUB_BYTES]>);

// SAFETY: `Vm` alone writes it, and there is one.
unsafe impl Sync for Stubs {}

static STUBS: Stubs = Stubs(core::cell::UnsafeCell::new([0; _]));

/// The VM.
#[derive(Debug, Default)]
pub struct Vm {
    /// What is known of the functions in the file whose code becomes executable next.
    pub functions: Functions,
    /// Stubs so far, in whole pages.
    stub_bytes: u64,
    /// Where they came from.
    pub origins: Vec<Origins>,
    /// What became of the system calls in the code.
    pub reports: Vec<Report>,
}

impl Vm {
    /// Replaces the system calls in pages that are about to become executable.
    fn rewrite(&mut self, range: &Range<u64>) {
        let stubs = STUBS.0.get() as u64 + self.stub_bytes;
        let room = STUB_BYTES as u64 - self.stub_bytes;
        // SAFETY: the pages are the program's, and can be read until their rights change.
        let code = unsafe { slice::from_raw_parts(range.start as *const u8, (range.end - range.start) as usize) };
        let (Some(text), Some(area)) = (Text::new(range.start, code), StubArea::new(stubs, room as usize)) else {
            return;
        };
        let rewrite = plan(text, &self.functions, area, entry::handlers());
        self.fill(stubs, &rewrite.stubs);
        for patch in &rewrite.patches {
            self.fill(patch.address, &patch.bytes);
        }
        let bytes = (rewrite.stubs.len() as u64).next_multiple_of(PAGE_BYTES);
        if bytes > 0 {
            // SAFETY: the pages hold stubs and nothing else.
            unsafe { instruction::protect(stubs, bytes, RIGHT_READ | RIGHT_EXECUTE) };
        }
        self.stub_bytes += bytes;
        self.origins.push(rewrite.origins);
        self.reports.push(rewrite.report);
    }
}

impl Pages for Vm {
    fn protect(&mut self, range: Range<u64>, rights: Rights) -> Result<(), Errno> {
        let bits = match rights {
            Rights::None => 0,
            Rights::Read => RIGHT_READ,
            Rights::Write => RIGHT_READ | RIGHT_WRITE,
            Rights::Execute => {
                self.rewrite(&range);
                RIGHT_READ | RIGHT_EXECUTE
            }
        };
        // SAFETY: the address space holds no pages of the library OS, and hands out none for which it asks this.
        unsafe { instruction::protect(range.start, range.end - range.start, bits) };
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>) {
        // SAFETY: the pages are the program's and can be written, as the trait promises.
        unsafe { ptr::write_bytes(range.start as *mut u8, 0, (range.end - range.start) as usize) };
    }

    fn copy(&mut self, from: u64, to: u64, bytes: u64) {
        // SAFETY: as above.
        unsafe { ptr::copy(from as *const u8, to as *mut u8, bytes as usize) };
    }

    fn fill(&mut self, to: u64, bytes: &[u8]) {
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
    }

    fn back(&mut self, _range: Range<u64>, _rights: Rights) -> Result<(), Errno> {
        Err(Errno::ENOMEM)
    }

    fn release(&mut self, _range: Range<u64>) {}
}

impl Machine for Vm {
    fn bytes(&self, range: Range<u64>) -> &[u8] {
        // SAFETY: the pages are the program's and can be read, as the caller made sure; while this library runs, the program
        // does not.
        unsafe { slice::from_raw_parts(range.start as *const u8, (range.end - range.start) as usize) }
    }

    fn bytes_mut(&mut self, range: Range<u64>) -> &mut [u8] {
        // SAFETY: as above, for writing.
        unsafe { slice::from_raw_parts_mut(range.start as *mut u8, (range.end - range.start) as usize) }
    }

    fn fs_base(&self) -> u64 {
        let base;
        // SAFETY: reads a register; the VMM enables the instruction.
        unsafe { core::arch::asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
        base
    }

    fn set_fs_base(&mut self, base: u64) {
        // SAFETY: this library uses nothing that is relative to FS; the address is canonical, as the caller made sure.
        unsafe { core::arch::asm!("wrfsbase {}", in(reg) base, options(nomem, nostack, preserves_flags)) };
    }

    fn now(&self) -> (u64, u64) {
        let now = clock::now_ns();
        (now, denali_guest::vreg::read().realtime_base_ns.wrapping_add(now))
    }

    fn cpu_ns(&self) -> u64 {
        // There is no finer clock of it; it never goes back.
        clock::now_ns()
    }

    fn idle(&mut self, until_ns: u64) {
        instruction::idle(until_ns);
    }

    fn random(&mut self, bytes: &mut [u8]) {
        random::fill(bytes);
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let mut output = match stream {
            Stream::Output => Output::standard(),
            Stream::Error => Output::error(),
        };
        // Neither ever fails.
        let Ok(()) = output.write_all(bytes);
    }

    fn read(&mut self, bytes: &mut [u8]) -> usize {
        let Ok(count) = Input.read(bytes);
        count
    }
}
