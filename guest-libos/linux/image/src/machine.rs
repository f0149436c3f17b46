//! What the Linux personality needs of the VM: memory, rights, clocks and randomness.

use crate::{entry, extended::Kept, stubs::Rewriter};
use alloc::{string::String, vec::Vec};
use core::{
    ops::Range,
    ptr, slice,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use denali_abi::instruction::{IDLE_FOREVER, PAGES_RETURN, RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE};
use denali_guest::{Job, clock, instruction, interrupt, random, vreg};
use denali_linux::{
    call::{Extended, Machine},
    errno::Errno,
    mm::{Pages, Pool, Rights},
    rewrite::Functions,
};

/// There was an interrupt.
static ATTENTION: AtomicBool = AtomicBool::new(false);
/// Frames may have come.
static INPUT: AtomicBool = AtomicBool::new(false);

/// The job came: there is someone to be told how far it is.
static HAS_JOB: AtomicBool = AtomicBool::new(false);

/// Whether the job came.
pub fn has_job() -> bool {
    HAS_JOB.load(Ordering::Relaxed)
}

/// Notes an interrupt.
pub fn note(causes: interrupt::Causes) {
    ATTENTION.store(true, Ordering::Relaxed);
    if causes.has(interrupt::Causes::RECEIVE) {
        INPUT.store(true, Ordering::Relaxed);
    }
}

/// Lets an interrupt that found the library OS at work come again when the VM is next entered: the thread that runs then may
/// never make another call.
pub fn remind() {
    interrupt::at_next_entry(Duration::ZERO);
}

/// The VM.
#[derive(Debug)]
pub struct Vm {
    /// Pages for the reserve.
    pool: Pool,
    /// The program's file.
    pub file: &'static [u8],
    /// How far above the file's addresses it lies.
    pub bias: u64,
    /// What replaces system calls.
    rewriter: Rewriter,
    /// The job's arguments, once they were asked for.
    job: Option<Vec<String>>,
    /// What is kept of a thread's registers beyond the frame.
    kept: Kept,
    /// How long nobody could run, in ns.
    idle_ns: u64,
}

impl Vm {
    /// One whose program is yet to be loaded, with `pool` for the reserve.
    pub fn new(pool: &Range<u64>) -> Self {
        Self {
            pool: Pool::new(pool),
            file: &[],
            bias: 0,
            rewriter: Rewriter::new(),
            job: None,
            kept: Kept::of_cpu(),
            idle_ns: 0,
        }
    }

    /// Whether the VMM waits for the program to be ready, to copy the VM.
    fn is_awaited(&self) -> bool {
        self.job.is_none() && vreg::read().checkpoint_wanted != 0
    }

    /// Moves pages of the reserve back to where they were.
    fn unmap(&mut self, range: Range<u64>) {
        // SAFETY: the address space released the range: the program and this library refer to nothing in it.
        unsafe { instruction::move_pages(range.start, range.end - range.start, 0, PAGES_RETURN) };
    }
}

impl Pages for Vm {
    fn protect(&mut self, range: Range<u64>, rights: Rights) -> Result<(), Errno> {
        let bits = match rights {
            Rights::None => 0,
            Rights::Read => RIGHT_READ,
            Rights::Write => RIGHT_READ | RIGHT_WRITE,
            Rights::Execute => {
                self.rewriter.rewrite(&range);
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

    fn back(&mut self, range: Range<u64>, rights: Rights) -> Result<(), Errno> {
        for piece in self.pool.take(&range).ok_or(Errno::ENOMEM)? {
            if !piece.zeroed {
                self.zero(piece.pages.clone());
            }
            let (address, bytes) = (piece.address, piece.pages.end - piece.pages.start);
            // SAFETY: the pages are the pool's alone: nothing refers to them.
            let left = unsafe { instruction::move_pages(address, bytes, rights.bits(), piece.pages.start) };
            if left > 0 {
                self.unmap(range.start..address + bytes - left);
                self.pool.give(&range);
                return Err(Errno::ENOMEM);
            }
        }
        Ok(())
    }

    fn release(&mut self, range: Range<u64>) {
        self.unmap(range.clone());
        self.pool.give(&range);
    }
}

/// Nanoseconds since the VM started, and since 1970.
pub fn now() -> (u64, u64) {
    let now = clock::now_ns();
    (now, denali_guest::vreg::read().realtime_base_ns.wrapping_add(now))
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

    fn save(&mut self) -> Extended {
        self.kept.save()
    }

    fn restore(&mut self, extended: &Extended) {
        self.kept.restore(extended);
    }

    fn extended_bytes(&self) -> usize {
        self.kept.bytes
    }

    fn features(&self) -> u64 {
        self.kept.features
    }

    fn ready(&mut self) -> Vec<String> {
        let awaited = self.is_awaited();
        self.job
            .get_or_insert_with(|| {
                if awaited {
                    instruction::checkpoint();
                }
                let job = Job::receive();
                HAS_JOB.store(true, Ordering::Relaxed);
                job.arguments().to_vec()
            })
            .clone()
    }

    fn expect_code(&mut self, functions: Functions) {
        self.rewriter.expect(functions);
    }

    fn original(&self, rip: u64) -> u64 {
        self.rewriter.original(rip)
    }

    fn resume(&self, rip: u64) -> u64 {
        self.rewriter.resume(rip)
    }

    fn entry(&self) -> u64 {
        entry::address_of_calls()
    }

    fn now(&self) -> (u64, u64) {
        now()
    }

    fn cpu_ns(&self) -> u64 {
        // There is no finer clock of it: what others on the host take is a part of it.
        clock::now_ns().saturating_sub(self.idle_ns)
    }

    fn set_timer(&mut self, at_ns: u64, urgent: bool) {
        let at = Duration::from_nanos(at_ns);
        // The exit that makes it exact is an IDLE: see `idle`.
        if urgent && !self.is_awaited() { interrupt::at(at) } else { interrupt::at_next_entry(at) }
    }

    fn take_attention(&mut self) -> bool {
        ATTENTION.load(Ordering::Relaxed) && ATTENTION.swap(false, Ordering::Relaxed)
    }

    fn take_input(&mut self) -> bool {
        INPUT.swap(false, Ordering::Relaxed)
    }

    fn idle(&mut self, until_ns: u64) {
        // To the VMM a VM that idles wants its job, and is not copied any more. What waits for a moment, as Go's runtime does,
        // waits here; the VMM gives up on a VM that takes long.
        if self.is_awaited() && until_ns != IDLE_FOREVER {
            while clock::now_ns() < until_ns && !ATTENTION.load(Ordering::Relaxed) {
                core::hint::spin_loop();
            }
            return;
        }
        interrupt::stop_timer();
        // None falls between the look and the wait.
        interrupt::disable();
        if !ATTENTION.swap(false, Ordering::Relaxed) {
            let begin_ns = clock::now_ns();
            instruction::idle(until_ns);
            self.idle_ns += clock::now_ns().saturating_sub(begin_ns);
        }
        interrupt::enable();
        INPUT.store(true, Ordering::Relaxed);
    }

    fn random(&mut self, bytes: &mut [u8]) {
        random::fill(bytes);
    }
}
