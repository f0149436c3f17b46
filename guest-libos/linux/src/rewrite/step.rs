//! One decoded instruction, as far as the rewriter cares.
//!
//! The only module that knows the decoder. Its first use builds tables: 0.5 ms, and 330 KB of heap that stay.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::text::{Text, Trap};

/// What may be done with an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Runs anywhere: it goes on to the next instruction, and does not name its own address.
    Plain,
    /// Runs anywhere once the 32-bit displacement at this offset in it is corrected: an operand relative to rip.
    Relative(u8),
    /// A conditional jump of this condition (0 to 15), which runs anywhere in its long form.
    Conditional(u8),
    /// One of the instructions that are replaced.
    Trap(Trap),
    /// A jump to an address that is computed: it may land anywhere in its function.
    Indirect,
    /// Stays where it is: calls, jumps, returns; what has a `lock` prefix, over which old C libraries jump; and padding, after which
    /// a function or a loop begins, so that code comes in there.
    Fixed,
}

/// A decoded instruction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) address: u64,
    pub(super) length: u8,
    pub(super) kind: Kind,
    /// Where a direct jump or call leads.
    pub(super) target: Option<u64>,
    /// Whether it is a call.
    pub(super) calls: bool,
}

impl Step {
    pub(super) fn end(&self) -> u64 {
        self.address + u64::from(self.length)
    }

    /// Whether it runs in a stub as it does in its place.
    pub(super) fn moves(&self) -> bool {
        matches!(self.kind, Kind::Plain | Kind::Relative(_) | Kind::Conditional(_))
    }
}

/// Decodes instructions of a text, in any order.
pub(super) struct Stepper<'a> {
    text: Text<'a>,
    decoder: Decoder<'a>,
    instruction: Instruction,
}

impl<'a> Stepper<'a> {
    pub(super) fn new(text: Text<'a>) -> Self {
        let decoder = Decoder::with_ip(64, text.bytes(), text.address(), DecoderOptions::NONE);
        Self { text, decoder, instruction: Instruction::default() }
    }

    /// The instruction at `address`; none if it is invalid, cut off by the end, or none that programs have.
    pub(super) fn at(&mut self, address: u64) -> Option<Step> {
        self.decoder.set_position(self.text.position(address)?).ok()?;
        self.decoder.set_ip(address);
        self.decoder.decode_out(&mut self.instruction);
        if self.instruction.is_invalid() || self.is_strange() {
            return None;
        }
        let length = u8::try_from(self.instruction.len()).ok()?;
        let kind = self.condition(address, length).map_or_else(|| self.kind(), Kind::Conditional);
        Some(Step {
            address,
            length,
            kind,
            target: self.target(),
            calls: self.instruction.mnemonic() == Mnemonic::Call,
        })
    }

    /// The condition of a conditional jump, by its bytes; none if it has a prefix.
    fn condition(&self, address: u64, length: u8) -> Option<u8> {
        self.target()?;
        match self.text.get(address, usize::from(length))? {
            [opcode @ 0x70..=0x7f, _] | [0x0f, opcode @ 0x80..=0x8f, _, _, _, _] => Some(opcode & 0x0f),
            _ => None,
        }
    }

    fn kind(&self) -> Kind {
        let instruction = &self.instruction;
        match instruction.code() {
            Code::Syscall => Kind::Trap(Trap::Syscall),
            Code::Cpuid => Kind::Trap(Trap::Cpuid),
            _ if self.is_computed_jump() => Kind::Indirect,
            _ if self.transfers() || instruction.has_lock_prefix() || self.is_padding() => Kind::Fixed,
            _ => self.movable(),
        }
    }

    /// Through a word at a fixed place go the PLT and its like, never a table of jumps.
    fn is_computed_jump(&self) -> bool {
        let jump = self.instruction.mnemonic() == Mnemonic::Jmp;
        jump && self.target().is_none() && !self.instruction.is_ip_rel_memory_operand()
    }

    /// Whether it may go on elsewhere than at the next instruction, in user mode.
    fn transfers(&self) -> bool {
        self.target().is_some()
            || matches!(
                self.instruction.mnemonic(),
                Mnemonic::Call
                    | Mnemonic::Jmp
                    | Mnemonic::Ret
                    | Mnemonic::Uiret
                    | Mnemonic::Int
                    | Mnemonic::Int3
                    | Mnemonic::Into
                    | Mnemonic::Ud0
                    | Mnemonic::Ud1
                    | Mnemonic::Ud2
                    | Mnemonic::Hlt
                    | Mnemonic::Sysenter
                    | Mnemonic::Sysexit
                    | Mnemonic::Sysexitq
                    | Mnemonic::Sysret
                    | Mnemonic::Sysretq
                    | Mnemonic::Xbegin
                    | Mnemonic::Xabort
                    | Mnemonic::Vmcall
                    | Mnemonic::Vmmcall
                    | Mnemonic::Vmfunc
                    | Mnemonic::Vmgexit
            )
    }

    /// Of use to kernels alone, and short, so that data often reads like it.
    fn is_strange(&self) -> bool {
        matches!(
            self.instruction.mnemonic(),
            Mnemonic::In
                | Mnemonic::Out
                | Mnemonic::Insb
                | Mnemonic::Insd
                | Mnemonic::Outsb
                | Mnemonic::Outsd
                | Mnemonic::Cli
                | Mnemonic::Sti
                | Mnemonic::Int1
                | Mnemonic::Retf
                | Mnemonic::Iret
                | Mnemonic::Iretd
                | Mnemonic::Iretq
        )
    }

    fn is_padding(&self) -> bool {
        matches!(self.instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Endbr64)
    }

    fn movable(&self) -> Kind {
        if !self.instruction.is_ip_rel_memory_operand() {
            return Kind::Plain;
        }
        let offsets = self.decoder.get_constant_offsets(&self.instruction);
        let whole = self.instruction.memory_base() == Register::RIP && offsets.displacement_size() == 4;
        match u8::try_from(offsets.displacement_offset()) {
            Ok(offset) if whole => Kind::Relative(offset),
            _ => Kind::Fixed,
        }
    }

    fn target(&self) -> Option<u64> {
        (self.instruction.op0_kind() == OpKind::NearBranch64).then(|| self.instruction.near_branch64())
    }
}
