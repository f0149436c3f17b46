//! Runs code on this CPU before and after it is rewritten, and compares.
//!
//! System calls that are made from the code are answered by number and arguments ([`answer`]). The thread that runs code stays on its CPU, so that CPUID answers the same.

mod answer;

use super::snippet::Snippet;
use crate::rewrite::{Functions, Handlers, Rewrite, StubArea, Text, plan};
use std::{arch::naked_asm, io, ops::Range, ptr};

/// Bytes of the area of one thread, at a multiple of so many; then what lies where in it.
const AREA_BYTES: usize = 1 << 17;
const WORDS: usize = Snippet::MOST_BYTES;
const HANDLERS: usize = 0x2000;
const STUBS: Range<usize> = 0x3000..0x1_3000;
/// Where the stack begins, which grows down.
const STACK: usize = 0x1_f000;
/// Bytes below it that are compared: the red zone. Further below, the kernel writes when a signal comes.
const COMPARED: usize = 128;
/// Bytes below it that are the same at first: a function that is called has its own red zone.
const FILLED: usize = 512;

/// `mov %rcx, word(%rip); syscall; jmp *word(%rip)`, and the same for CPUID with RDX: all else is as the instruction leaves it.
const HANDLER_CODE: [u8; 32] = [
    0x48, 0x89, 0x0d, 0x39, 0, 0, 0, 0x0f, 0x05, 0xff, 0x25, 0x31, 0, 0, 0, 0xcc, // The word is at 64.
    0x48, 0x89, 0x15, 0x31, 0, 0, 0, 0x0f, 0xa2, 0xff, 0x25, 0x29, 0, 0, 0, 0xcc, // And at 72.
];

/// CF, PF, AF, ZF, SF, DF, OF.
const FLAGS: u64 = 0xcd5;

/// What the assembly below knows by offsets: general registers by their numbers, flags, its own stack pointer, the code's stack, and
/// where the code begins.
#[repr(C)]
struct State {
    registers: [u64; 16],
    flags: u64,
    own_stack: u64,
    stack: u64,
    entry: u64,
}

/// What code has done.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// General registers by their numbers; 0 for RSP, and for RCX and R11, which a system call may change.
    registers: [u64; 16],
    flags: u64,
    stack: Vec<u8>,
}

/// A place on this host where code can run.
#[derive(Debug)]
struct Native {
    area: usize,
}

thread_local! {
    static NATIVE: io::Result<Native> = Native::new();
}

/// Runs what `data` describe, as it is and rewritten, and gives what both have done; and how many traps were replaced.
///
/// # Errors
/// Those of the host, if it has no room or no seccomp.
pub fn compare(data: &[u8]) -> io::Result<([Done; 2], usize)> {
    let snippet = Snippet::of(data);
    NATIVE.with(|native| {
        let native = native.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        let rewrite = native.plan(&snippet);
        Ok(([native.run(&snippet, None), native.run(&snippet, Some(&rewrite))], rewrite.report.patched()))
    })
}

impl Native {
    fn new() -> io::Result<Self> {
        let rights = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, at an address that the kernel chooses. It stays, as the filter does.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), 2 * AREA_BYTES, rights, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let this = Self { area: (mapped as usize).next_multiple_of(AREA_BYTES) };
        this.write(HANDLERS, &HANDLER_CODE);
        (0..16_u64).for_each(|word| this.write(WORDS + 8 * word as usize, &(word * 0x0102_0304_0506).to_le_bytes()));
        this.stay()?;
        answer::calls_from(this.area)?;
        Ok(this)
    }

    /// Binds the thread to the CPU that it is on.
    fn stay(&self) -> io::Result<()> {
        // SAFETY: asks which CPU this is.
        let cpu = usize::try_from(unsafe { libc::sched_getcpu() }).map_err(io::Error::other)?;
        let mut set = [0_u64; 16];
        set[cpu / 64 % 16] |= 1 << (cpu % 64);
        // SAFETY: the set is as long as is said, and read only.
        let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), set.as_ptr().cast()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn address(&self, place: usize) -> u64 {
        (self.area + place) as u64
    }

    fn write(&self, place: usize, bytes: &[u8]) {
        assert!(place + bytes.len() <= AREA_BYTES);
        // SAFETY: the bytes lie in the area, which is this thread's alone, and of which no reference is kept.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), (self.area + place) as *mut u8, bytes.len()) };
    }

    fn read(&self, place: Range<usize>) -> Vec<u8> {
        assert!(place.end <= AREA_BYTES);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts((self.area + place.start) as *const u8, place.len()) }.to_vec()
    }

    /// What the rewriter makes of `snippet`.
    fn plan(&self, snippet: &Snippet) -> Rewrite {
        let text = Text::new(self.address(0), &snippet.bytes).unwrap();
        let known = snippet.functions.iter().filter(|_| snippet.known);
        let functions = Functions::new(known.map(|function| self.address(function.start)..self.address(function.end)));
        let area = StubArea::new(self.address(STUBS.start), STUBS.len()).unwrap();
        let handlers = Handlers { syscall: self.address(HANDLERS), cpuid: self.address(HANDLERS + 16) };
        plan(text, &functions, area, handlers)
    }

    /// Runs `snippet`, rewritten if there is a plan for it.
    fn run(&self, snippet: &Snippet, rewrite: Option<&Rewrite>) -> Done {
        assert!(snippet.bytes.len() <= Snippet::MOST_BYTES);
        self.write(0, &snippet.bytes);
        if let Some(rewrite) = rewrite {
            self.write(STUBS.start, &rewrite.stubs);
            for patch in &rewrite.patches {
                self.write((patch.address - self.address(0)) as usize, &patch.bytes);
            }
        }
        self.write(STACK - FILLED, &[0x5a; FILLED]);
        let mut state = State {
            registers: std::array::from_fn(|number| (number as u64 + 1) * 0x1111_2222_3333),
            flags: 0x202,
            own_stack: 0,
            stack: self.address(STACK),
            entry: self.address(0),
        };
        self.write(STACK, &(leave as *const () as u64).to_le_bytes());
        self.write(STACK + 8, &(&raw mut state as u64).to_le_bytes());
        // SAFETY: the code keeps to its stack and words, ends with `ret`, and makes no system call that the filter lets through;
        // the registers that it changes are saved. If the rewriter was wrong it may do anything, which is what is tested.
        unsafe { enter(&raw mut state) };
        let mut registers = state.registers;
        [1, 4, 11].into_iter().for_each(|number: usize| registers[number] = 0);
        Done { registers, flags: state.flags & FLAGS, stack: self.read(STACK - COMPARED..STACK) }
    }
}

/// Goes to the code with the registers of `state`; it returns to [`leave`], which finds `state` on the stack.
#[unsafe(naked)]
unsafe extern "sysv64" fn enter(state: *mut State) {
    naked_asm!(
        "push rbx; push rbp; push r12; push r13; push r14; push r15",
        "mov [rdi + 136], rsp",
        "mov rsp, [rdi + 144]",
        "push [rdi + 128]",
        "popfq",
        "push [rdi + 152]",
        "mov rax, [rdi]; mov rcx, [rdi + 8]; mov rdx, [rdi + 16]; mov rbx, [rdi + 24]",
        "mov rbp, [rdi + 40]; mov rsi, [rdi + 48]",
        "mov r8, [rdi + 64]; mov r9, [rdi + 72]; mov r10, [rdi + 80]; mov r11, [rdi + 88]",
        "mov r12, [rdi + 96]; mov r13, [rdi + 104]; mov r14, [rdi + 112]; mov r15, [rdi + 120]",
        "mov rdi, [rdi + 56]",
        "ret",
    )
}

#[unsafe(naked)]
unsafe extern "sysv64" fn leave() {
    naked_asm!(
        "xchg [rsp], rax",
        "mov [rax + 8], rcx; mov [rax + 16], rdx; mov [rax + 24], rbx",
        "mov [rax + 40], rbp; mov [rax + 48], rsi; mov [rax + 56], rdi",
        "mov [rax + 64], r8; mov [rax + 72], r9; mov [rax + 80], r10; mov [rax + 88], r11",
        "mov [rax + 96], r12; mov [rax + 104], r13; mov [rax + 112], r14; mov [rax + 120], r15",
        "pop rcx",
        "mov [rax], rcx",
        "pushfq",
        "pop [rax + 128]",
        "mov rsp, [rax + 136]",
        "cld",
        "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
        "ret",
    )
}

#[cfg(test)]
mod tests;
