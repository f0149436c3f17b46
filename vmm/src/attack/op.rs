//! What generated programs are made of, and how each piece is put into machine code.

use super::{
    assembler::{Code, RAX, RBX, RCX, RDI, RDX, RSI},
    layout::DATA,
    special::SPECIAL,
};
use denali_abi::{
    instruction::{PROTECT, RIGHT_EXECUTE, TERMINATE},
    memory::{CONTROL, PAGE_BYTES},
    registers::Control,
};
use serde::{Deserialize, Serialize};
use std::{fmt, mem::offset_of};

/// How much an access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Half,
    /// 32 bits.
    Word,
}

/// How control goes somewhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Branch {
    /// A near jump.
    Jump,
    /// A near call.
    Call,
    /// A far jump, with a selector.
    FarJump(u16),
    /// A far call, with a selector.
    FarCall(u16),
    /// A far return, to a selector.
    FarReturn(u16),
}

/// A piece of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Machine code as it is.
    Bytes(Vec<u8>),
    /// A virtual instruction: its port, then RDI, RSI, RDX and R10.
    Instruction(u8, [u64; 4]),
    /// `in` or `out`; with a count as string instruction with that REP count.
    Port {
        /// The port.
        port: u16,
        /// Whether it is `in`.
        input: bool,
        /// How much is moved.
        width: Width,
        /// Repetitions of a string instruction.
        string: Option<u16>,
    },
    /// Reads eight bytes at an address.
    Load(u64),
    /// Writes a value to an address.
    Store(u64, u64),
    /// Goes to an address.
    Branch(Branch, u64),
    /// Sets a general register.
    Register(u8, u64),
    /// Sets the flags.
    Flags(u64),
    /// Loads a segment register (ES, CS, SS, DS, FS, GS) with a selector.
    Segment(u8, u16),
    /// Sets the base of FS, or of GS.
    Base {
        /// Whether it is that of GS.
        gs: bool,
        /// The address.
        value: u64,
    },
    /// `iretq` with RIP, CS, RFLAGS, RSP and SS.
    InterruptReturn([u64; 5]),
    /// One of the odd instructions.
    Special(u8),
    /// Writes a word of the control page.
    Control(u8, u64),
    /// Copies bytes by `rep movsb`: from, to, count, and whether downwards.
    Copy(u64, u64, u32, bool),
    /// Writes code to a page of the heap, makes it executable, and calls it.
    Rewrite(u64, Vec<u8>),
    /// Counts down from a number; from 0 without end.
    Spin(u32),
    /// Goes on after an upcall, or after a fault so many bytes further on.
    Resume(Option<u8>),
    /// TERMINATE.
    End(u64),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special(n) => f.write_str(SPECIAL[usize::from(*n) % SPECIAL.len()].0),
            op => write!(f, "{op:x?}"),
        }
    }
}

impl Op {
    /// Appends its machine code.
    pub(super) fn assemble<'a>(&self, code: &'a mut Code) -> &'a mut Code {
        match self {
            Self::Bytes(bytes) => code.raw(bytes),
            Self::Instruction(port, arguments) => code.instruction(*port, *arguments),
            Self::Port { port, input, width, string } => access(code, *port, *input, *width, *string),
            Self::Load(address) => code.mov(RBX, *address).raw(&[0x48, 0x8b, 0x03]),
            Self::Store(address, value) => code.store(*address, *value),
            Self::Branch(kind, address) => branch(code, *kind, *address),
            Self::Register(register, value) => code.mov(register & 15, *value),
            Self::Flags(flags) => code.push(*flags).raw(&[0x9d]),
            Self::Segment(which, selector) => code.mov(RAX, u64::from(*selector)).raw(&[0x8e, 0xc0 | (which & 7) << 3]),
            Self::Base { gs, value } => code.mov(RAX, *value).raw(&[0xf3, 0x48, 0x0f, 0xae, 0xd0 | u8::from(*gs) << 3]),
            Self::InterruptReturn(words) => {
                words.iter().rev().fold(code, |code, word| code.push(*word)).raw(&[0x48, 0xcf])
            }
            Self::Special(n) => code.raw(SPECIAL[usize::from(*n) % SPECIAL.len()].1),
            Self::Control(word, value) => code.store(CONTROL + 8 * u64::from(*word), *value),
            Self::Copy(from, to, count, down) => code
                .raw(&[0xfc | u8::from(*down)])
                .mov(RSI, *from)
                .mov(RDI, *to)
                .mov(RCX, u64::from(*count))
                .raw(&[0xf3, 0xa4]),
            Self::Rewrite(page, bytes) => rewrite(code, *page, bytes),
            Self::Spin(0) => code.raw(&[0xeb, 0xfe]),
            Self::Spin(rounds) => code.mov(RCX, u64::from(*rounds)).raw(&[0x48, 0xff, 0xc9, 0x75, 0xfb]),
            Self::Resume(fault) => resume(code, *fault),
            Self::End(status) => code.mov(RDI, *status).raw(&[0xe7, TERMINATE as u8]),
        }
    }
}

fn access(code: &mut Code, port: u16, input: bool, width: Width, string: Option<u16>) -> &mut Code {
    let prefix: &[u8] = if width == Width::Half { &[0x66] } else { &[] };
    let wide = u8::from(width != Width::Byte);
    code.mov(RDX, u64::from(port));
    match string {
        None => code.raw(prefix).raw(&[if input { 0xec } else { 0xee } | wide]),
        Some(count) => {
            code.mov(RCX, u64::from(count)).mov(RSI, DATA).mov(RDI, DATA);
            code.raw(prefix).raw(&[0xf3, if input { 0x6c } else { 0x6e } | wide])
        }
    }
}

fn branch(code: &mut Code, kind: Branch, address: u64) -> &mut Code {
    // The offset has 32 bits on all CPUs; the selector follows it.
    let far = |selector: u16| u64::from(selector) << 32 | address & 0xffff_ffff;
    match kind {
        Branch::Jump => code.mov(RBX, address).raw(&[0xff, 0xe3]),
        Branch::Call => code.mov(RBX, address).raw(&[0xff, 0xd3]),
        Branch::FarJump(selector) => code.push(far(selector)).raw(&[0xff, 0x2c, 0x24]),
        Branch::FarCall(selector) => code.push(far(selector)).raw(&[0xff, 0x1c, 0x24]),
        Branch::FarReturn(selector) => code.push(u64::from(selector)).push(address).raw(&[0x48, 0xcb]),
    }
}

fn rewrite<'a>(code: &'a mut Code, page: u64, bytes: &[u8]) -> &'a mut Code {
    const RETURN: u8 = 0xc3;
    for (n, word) in (0..).zip(bytes.chunks(8)) {
        let mut value = [RETURN; 8];
        value[..word.len()].copy_from_slice(word);
        code.store(page.wrapping_add(8 * n), u64::from_le_bytes(value));
    }
    code.store(page.wrapping_add(bytes.len().next_multiple_of(8) as u64), u64::from(RETURN));
    code.instruction(PROTECT as u8, [page, PAGE_BYTES, RIGHT_EXECUTE, 0]);
    branch(code, Branch::Call, page)
}

/// As `docs/abi.md` says: SS, RSP, RFLAGS, CS, RIP, and `iretq`.
fn resume(code: &mut Code, fault: Option<u8>) -> &mut Code {
    let at = match fault {
        None => CONTROL + offset_of!(Control, interrupted) as u64,
        Some(_) => CONTROL + offset_of!(Control, fault) as u64,
    };
    if fault.is_some() {
        code.store(CONTROL + offset_of!(Control, in_fault) as u64, 0);
    }
    let skip = fault.unwrap_or(0) & 0x7f;
    // mov eax, ss; push rax; …; mov eax, cs; push rax; …; add qword ptr [rsp], skip; iretq
    code.raw(&[0x8c, 0xd0, 0x50]).push_from(at + 16).push_from(at + 8).raw(&[0x8c, 0xc8, 0x50]).push_from(at);
    code.raw(&[0x48, 0x83, 0x04, 0x24, skip, 0x48, 0xcf])
}

const _: () = assert!(offset_of!(denali_abi::registers::FaultRecord, at) == 0);
