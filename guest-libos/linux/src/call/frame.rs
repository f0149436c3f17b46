//! The registers of a thread that came into the library OS.

use crate::signal::frame::Registers;
use alloc::{vec, vec::Vec};

/// What the entries of the image save, and restore when the thread goes on. The order is that of their assembly; the last
/// five words are what `iretq` takes.
#[repr(C, align(16))]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "registers, by their names")]
pub struct Frame {
    /// XMM0 to XMM15: a call leaves them alone, and the library OS uses them.
    pub xmm: [[u64; 2]; 16],
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    /// Where the thread goes on; after a call in RCX too.
    pub rip: u64,
    /// Filled in by the image.
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    /// Filled in by the image.
    pub ss: u64,
}

/// Where XMM0 lies in an XSAVE area.
const XMM: usize = 160;
/// Where the area says what it holds, and the bit of SSE.
const HELD: usize = 512;
const SSE: u8 = 2;

impl Frame {
    /// The arguments of the call.
    #[must_use]
    pub fn arguments(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// As signal frames have them.
    pub(super) fn registers(&self) -> Registers {
        let Self { r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags, .. } =
            *self;
        Registers { r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags }
    }

    /// Goes on with these; XMM, CS and SS stay.
    pub(super) fn set_registers(&mut self, registers: &Registers) {
        let Registers { r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags } =
            *registers;
        let (xmm, cs, ss) = (self.xmm, self.cs, self.ss);
        *self = Self {
            xmm,
            r15,
            r14,
            r13,
            r12,
            r11,
            r10,
            r9,
            r8,
            rdi,
            rsi,
            rbp,
            rbx,
            rdx,
            rcx,
            rax,
            rip,
            cs,
            rflags,
            rsp,
            ss,
        };
    }
}

/// Registers beyond the general ones, as XSAVE lays them out: x87, SSE, AVX and what else the CPU has on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extended(pub Vec<u8>);

impl Extended {
    /// Bytes without AVX: x87, SSE, and a header that says what is held.
    pub const LEAST_BYTES: usize = HELD + 64;

    /// An area of `bytes`, at least [`Extended::LEAST_BYTES`], in the initial state.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let mut area = vec![0; bytes.max(Self::LEAST_BYTES)];
        // The control words of x87 and SSE, with all exceptions masked.
        area[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        area[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        Self(area)
    }

    /// Puts the XMM registers of a frame into the area: the CPU had the library OS's in them when it was made.
    pub(super) fn set_xmm(&mut self, frame: &Frame) {
        for (place, word) in self.0[XMM..].chunks_exact_mut(8).zip(frame.xmm.as_flattened()) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.0[HELD] |= SSE;
    }

    /// The XMM registers that the area holds.
    pub(super) fn xmm(&self) -> [[u64; 2]; 16] {
        let mut xmm = [[0; 2]; 16];
        if self.0[HELD] & SSE != 0 {
            for (word, place) in xmm.as_flattened_mut().iter_mut().zip(self.0[XMM..].as_chunks().0) {
                *word = u64::from_le_bytes(*place);
            }
        }
        xmm
    }
}
