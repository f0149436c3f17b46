//! What an attack is told of a virtual CPU: each exit as KVM gave it, before anyone made sense of it. And where it asks for
//! interruptions: before entries of these numbers, by the signal that others would send.

use super::{Exit, GuestMemory, Registers, thread::Thread};
use crate::machine::layout::{EXCEPTION_STACK, EXCEPTION_STACK_TOP, at};
use denali_abi::registers::Control;

/// Exits that are kept, from the first on. Later ones are counted, and the last is kept too.
const KEPT: usize = 512;

/// One exit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// As KVM gave it.
    pub(crate) exit: Exit,
    /// The general registers at it.
    pub(crate) registers: Registers,
    /// CR2 at it.
    pub(crate) fault_address: u64,
    /// The six words at the stack pointer, where that lies in the exception stack.
    pub(crate) frame: Option<[u64; 6]>,
    /// The guest's positions: transmit head, receive tail.
    pub(crate) positions: [u64; 2],
}

/// All exits of one program.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    entries: u64,
    interruptions: Vec<u64>,
    kept: Vec<Seen>,
    last: Option<Seen>,
}

impl Recorder {
    /// Interrupts before the entries of these numbers, the first of which is 0.
    pub(crate) fn interrupting(interruptions: Vec<u64>) -> Self {
        Self { interruptions, ..Self::default() }
    }

    /// How often the virtual CPU was entered.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// The first exits.
    pub(crate) fn kept(&self) -> &[Seen] {
        &self.kept
    }

    /// The last exit.
    pub(crate) fn last(&self) -> Option<&Seen> {
        self.last.as_ref()
    }

    pub(super) fn enters(&mut self) {
        if self.interruptions.contains(&self.entries) {
            Thread::current().kick();
        }
        self.entries += 1;
    }

    pub(super) fn left(&mut self, exit: Exit, registers: Registers, fault_address: u64, memory: &GuestMemory) {
        let offset = registers.rsp.wrapping_sub(at(0));
        let in_stack = (EXCEPTION_STACK..=EXCEPTION_STACK_TOP - 40).contains(&offset);
        // Five words where there is no error code and the stack ends after them.
        let frame = if in_stack { memory.read_supervisor(offset).ok() } else { None };
        let Control { transmit_head, receive_tail, .. } = memory.control();
        let seen = Seen { exit, registers, fault_address, frame, positions: [transmit_head, receive_tail] };
        if self.kept.len() < KEPT {
            self.kept.push(seen);
        }
        self.last = Some(seen);
    }
}
