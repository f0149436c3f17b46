//! Signal frames: `struct rt_sigframe` of x86-64, byte for byte (arch/x86/kernel/signal_64.c, asm/ucontext.h).
//!
//! Return address 8, `ucontext` 304 (flags 8, link 8, stack 24, registers 256, mask 8), `siginfo` 128; the extended state
//! lies above it, at a multiple of 64. A test compares with the C library's own idea.
use super::altstack::AltStack;
use super::deliver::Handler;
use super::extended::Extended;
use super::fault::Fault;
use super::info::INFO_BYTES;
use super::number::SigSet;
use crate::errno::Errno;
use alloc::vec::Vec;
use linux_raw_sys::general::{SA_ONSTACK, SA_RESTORER};

/// Size of a frame without the extended state.
pub const FRAME_BYTES: usize = INFO + INFO_BYTES;

/// Where `ucontext` is in the frame, and the parts of it.
pub(super) const CONTEXT: usize = 8;
pub(super) const STACK: usize = CONTEXT + 16;
pub(super) const GENERAL: usize = CONTEXT + 40;
pub(super) const FPSTATE: usize = GENERAL + 184;
pub(super) const MASK: usize = GENERAL + 256;
pub(super) const INFO: usize = MASK + 8;

/// UC_FP_XSTATE, and UC_SIGCONTEXT_SS with UC_STRICT_RESTORE_SS, which every 64-bit frame has.
const FLAG_XSTATE: u64 = 1;
const FLAGS: u64 = 6;

/// CS, GS, FS, SS as Linux programs see them; nobody reads them back.
const SEGMENTS: u64 = 0x002b_0000_0000_0033;

/// What lies below RSP and is still in use.
const RED_ZONE: u64 = 128;

/// Flags that a handler starts without: TF, DF, RF.
const FLAGS_CLEARED: u64 = 1 << 8 | 1 << 10 | 1 << 16;
/// Flags that a frame may bring back: Linux's FIX_EFLAGS (AC OF DF SF ZF AF PF CF RF) but TF, whose trap would end the VM.
const FLAGS_RESTORED: u64 = 0x0005_0cd5;
/// The flags that are always set: IF, and the one without a name.
const FLAGS_SET: u64 = 0x202;

/// Where the program's addresses end: an RIP beyond would fault in who loads it.
const ADDRESS_END: u64 = 1 << 47;

/// Registers of the program, in the order of `gregset_t`.
#[allow(missing_docs, reason = "their names say it")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rsp: u64,
    pub rip: u64,
    pub rflags: u64,
}

impl Registers {
    /// All of them, as a frame has them.
    #[must_use]
    pub fn to_words(&self) -> [u64; 18] {
        let Self { r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags } = *self;
        [r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags]
    }

    /// From what a frame has.
    #[must_use]
    pub fn from_words(words: [u64; 18]) -> Self {
        let [r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags] = words;
        Self { r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags }
    }
}

/// A frame to be written to the program's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it goes.
    pub address: u64,
    /// What it is.
    pub bytes: [u8; FRAME_BYTES],
    /// Where the extended state goes; a multiple of 64.
    pub extended_address: u64,
    /// What it is; may be empty.
    pub extended: Vec<u8>,
    /// What the handler starts with. The extended state stays as it is.
    pub registers: Registers,
}

/// What a frame brings back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The registers; RIP and the flags can be loaded without a fault.
    pub registers: Registers,
    /// For [`returned`](super::Signals::returned).
    pub mask: SigSet,
    /// For [`returned`](super::Signals::returned).
    pub altstack: AltStack,
    /// Where the extended state is, for [`restore_extended`](super::restore_extended); `None`: it is initial.
    pub extended_address: Option<u64>,
}

/// Builds the frame of a handler for a thread that has these registers. `fault` is the thread's last one; its numbers are in
/// every frame, as on Linux.
///
/// # Errors
/// `EFAULT` if there is no room on the stack, or no SA_RESTORER: call [`frame_failed`](super::Signals::frame_failed).
pub fn build(handler: &Handler, registers: &Registers, extended: Extended<'_>, fault: &Fault) -> Result<Frame, Errno> {
    // A handler beyond all addresses would fault at its first instruction on Linux, and in the `iretq` to it here.
    if !handler.action.has(SA_RESTORER) || handler.action.handler >= ADDRESS_END {
        return Err(Errno::EFAULT);
    }
    let marked = extended.marked();
    let (address, extended_address) = place(handler, registers.rsp, marked.len() as u64)?;
    let mut words = Words { bytes: [0; FRAME_BYTES], at: 0 };
    words.put(&[handler.action.restorer]);
    words.put(&[FLAGS | if marked.len() > super::extended::LEGACY_BYTES { FLAG_XSTATE } else { 0 }, 0]);
    words.bytes[STACK..GENERAL].copy_from_slice(&handler.altstack.to_bytes());
    words.at = GENERAL;
    words.put(&registers.to_words());
    let pointer = if marked.is_empty() { 0 } else { extended_address };
    words.put(&[SEGMENTS, fault.error_code, fault.vector, handler.mask.0, fault.address, pointer]);
    words.at = MASK;
    words.put(&[handler.mask.0]);
    words.bytes[INFO..].copy_from_slice(handler.info.bytes());
    let start = Registers {
        rdi: u64::from(handler.info.signal().number()),
        rsi: address + INFO as u64,
        rdx: address + CONTEXT as u64,
        rax: 0,
        rip: handler.action.handler,
        rsp: address,
        rflags: registers.rflags & !FLAGS_CLEARED,
        ..*registers
    };
    Ok(Frame { address, bytes: words.bytes, extended_address, extended: marked, registers: start })
}

/// Where the frame and its extended state go: below the red zone, or on the alternate stack, which they must not overflow.
fn place(handler: &Handler, rsp: u64, extended_bytes: u64) -> Result<(u64, u64), Errno> {
    let stack = &handler.altstack;
    let chosen = stack.top(rsp).filter(|_| handler.action.has(SA_ONSTACK));
    let on_stack = chosen.is_some() || stack.bytes != 0 && stack.contains(rsp);
    let top = match chosen {
        Some(top) => top,
        None => rsp.checked_sub(RED_ZONE).ok_or(Errno::EFAULT)?,
    };
    let extended = top.checked_sub(extended_bytes).ok_or(Errno::EFAULT)? & !63;
    let lowest = extended.checked_sub(FRAME_BYTES as u64).ok_or(Errno::EFAULT)?;
    // As if called: the return address, at the frame's start, lies 8 below a multiple of 16.
    let address = (lowest & !15).checked_sub(8).ok_or(Errno::EFAULT)?;
    if on_stack && !stack.contains(address) || top > ADDRESS_END {
        return Err(Errno::EFAULT);
    }
    Ok((address, extended))
}

/// Reads a frame at `rt_sigreturn`: it starts 8 bytes below RSP, as the handler's `ret` took its first word.
///
/// # Errors
/// `EFAULT` if it can't be resumed: call [`frame_failed`](super::Signals::frame_failed).
pub fn parse(bytes: &[u8; FRAME_BYTES]) -> Result<Returned, Errno> {
    let word = |at: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(eight)
    };
    let mut registers = Registers::from_words(core::array::from_fn(|index| word(GENERAL + 8 * index)));
    registers.rflags = registers.rflags & FLAGS_RESTORED | FLAGS_SET;
    if registers.rip >= ADDRESS_END {
        return Err(Errno::EFAULT);
    }
    let mut stack = [0; 24];
    stack.copy_from_slice(&bytes[STACK..GENERAL]);
    Ok(Returned {
        registers,
        mask: SigSet(word(MASK)).without(SigSet::UNBLOCKABLE),
        altstack: AltStack::from_bytes(&stack),
        extended_address: Some(word(FPSTATE)).filter(|&address| address != 0),
    })
}

/// Writes words one after the other.
struct Words {
    bytes: [u8; FRAME_BYTES],
    at: usize,
}

impl Words {
    fn put(&mut self, words: &[u64]) {
        for word in words {
            self.bytes[self.at..self.at + 8].copy_from_slice(&word.to_le_bytes());
            self.at += 8;
        }
    }
}
