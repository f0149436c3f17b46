//! What the Linux personality needs of the VM: memory, rights, clocks and randomness.

use crate::{cpuid, entry};
use alloc::{string::String, vec::Vec};
use core::{
    ops::Range,
    ptr, slice,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use denali_abi::{
    instruction::{IDLE_FOREVER, PAGES_RETURN, RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE},
    memory::PAGE_BYTES,
};
use denali_guest::{Job, clock, instruction, interrupt, random, vreg};
use denali_linux::{
    call::{Extended, Machine},
    errno::Errno,
    mm::{Pages, Pool, Rights},
    rewrite::{Functions, Origins, StubArea, Text, plan},
};

/// Room for stubs of rewritten calls.
const STUB_BYTES: usize = 256 << 10;

#[repr(C, align(4096))]
struct Stubs(core::cell::UnsafeCell<[u8; STUB_BYTES]>);

// SAFETY: `Vm` alone writes it, and there is one.
unsafe impl Sync for Stubs {}

/// Whether an address lies in a stub.
pub fn is_stub(rip: u64) -> bool {
    (STUBS.0.get() as u64..STUBS.0.get() as u64 + STUB_BYTES as u64).contains(&rip)
}

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

/// Most bytes of extended state that are kept: with AVX-512 they are 2,700.
const AREA_BYTES: usize = 4096;
/// x87, SSE and AVX, and what they take: what is kept where all would be too much.
const SOME: (u64, usize) = (7, 832);

#[repr(C, align(64))]
struct Area(core::cell::UnsafeCell<[u8; AREA_BYTES]>);

// SAFETY: as for `Stubs`.
unsafe impl Sync for Area {}

static AREA: Area = Area(core::cell::UnsafeCell::new([0; _]));

/// What XSAVE keeps on this CPU, and how many bytes that takes.
fn extended_state() -> (u64, usize) {
    let (low, high): (u32, u32);
    // SAFETY: OSXSAVE is on in every VM, so that anyone may ask.
    unsafe { core::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
    let features = u64::from(low) | u64::from(high) << 32;
    let bytes = core::arch::x86_64::__cpuid_count(0xd, 0).ebx as usize;
    if bytes <= AREA_BYTES { (features, bytes) } else { (features & SOME.0, SOME.1) }
}

static STUBS: Stubs = Stubs(core::cell::UnsafeCell::new([0; _]));

/// The VM.
#[derive(Debug)]
pub struct Vm {
    /// Pages for the reserve.
    pool: Pool,
    /// The program's file.
    pub file: &'static [u8],
    /// How far above the file's addresses it lies.
    pub bias: u64,
    /// What is known of the functions in the file whose code becomes executable next.
    functions: Functions,
    /// Stubs so far, in whole pages.
    stub_bytes: u64,
    /// Where they came from.
    origins: Vec<Origins>,
    /// The job's arguments, once they were asked for.
    job: Option<Vec<String>>,
    /// What XSAVE keeps.
    features: u64,
    /// Bytes of that.
    extended_bytes: usize,
    /// How long nobody could run, in ns.
    idle_ns: u64,
}

impl Vm {
    /// One whose program is yet to be loaded, with `pool` for the reserve.
    pub fn new(pool: &Range<u64>) -> Self {
        let (features, extended_bytes) = extended_state();
        Self {
            pool: Pool::new(pool),
            file: &[],
            bias: 0,
            functions: Functions::unknown(),
            stub_bytes: 0,
            origins: Vec::new(),
            job: None,
            features,
            extended_bytes,
            idle_ns: 0,
        }
    }

    /// Whether the VMM waits for the program to be ready, to copy the VM.
    fn is_awaited(&self) -> bool {
        self.job.is_none() && vreg::read().checkpoint_wanted != 0
    }

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
        if rewrite.report.cpuids > 0 {
            cpuid::ask();
        }
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
        if bytes > 0 {
            self.origins.push(rewrite.origins);
        }
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
        let area = AREA.0.get().cast::<u8>();
        let mut extended = Extended::new(self.extended_bytes);
        // SAFETY: the area is aligned, of this machine alone, and as large as the features need.
        unsafe {
            core::arch::asm!("xsave64 [{}]", in(reg) area, in("eax") self.features as u32,
                in("edx") (self.features >> 32) as u32, options(nostack, preserves_flags));
        }
        // SAFETY: as above; the sizes agree.
        unsafe { ptr::copy_nonoverlapping(area, extended.0.as_mut_ptr(), self.extended_bytes) };
        extended
    }

    fn restore(&mut self, extended: &Extended) {
        let area = AREA.0.get().cast::<u8>();
        let bytes = extended.0.len().min(self.extended_bytes);
        // SAFETY: the area is of this machine alone, and that large.
        unsafe { ptr::copy_nonoverlapping(extended.0.as_ptr(), area, bytes) };
        // SAFETY: the area was made by `save`, or checked; it holds nothing of the library OS, which uses XMM alone, and
        // nothing in them now.
        unsafe {
            core::arch::asm!("xrstor64 [{}]", in(reg) area, in("eax") self.features as u32,
                in("edx") (self.features >> 32) as u32, options(nostack, preserves_flags),
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
                out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
                out("xmm13") _, out("xmm14") _, out("xmm15") _);
        }
    }

    fn extended_bytes(&self) -> usize {
        self.extended_bytes
    }

    fn features(&self) -> u64 {
        self.features
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
        self.functions = functions;
    }

    // The newest first: code may lie where other code has lain.
    fn original(&self, rip: u64) -> u64 {
        self.origins.iter().rev().find_map(|origins| origins.original(rip)).unwrap_or(rip)
    }

    fn resume(&self, rip: u64) -> u64 {
        self.origins.iter().rev().find_map(|origins| origins.resume(rip)).unwrap_or(rip)
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
