//! What a program did, as KVM told it: one step for each time that its virtual CPU left.

use crate::{
    kvm::{Exit, Recorder, Seen},
    machine::{
        layout::at,
        stubs::{SYSCALL_STUB, Stub, has_error_code, stub_at},
    },
};
use denali_protocol::job::Outcome;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a virtual CPU left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Left {
    /// `out`: the port, whether as virtual instructions do it, and RDI, RSI, RDX, R10.
    Out(u16, bool, [u64; 4]),
    /// `in`: the port.
    In(u16),
    /// An exception, which a stub reported: vector, error code or 0, and the address of a page fault or 0.
    Exception(u8, u64, u64),
    /// `syscall`.
    SystemCall,
    /// An address without memory.
    Mmio(u64),
    /// A signal, or the end of a slice.
    Interrupted,
    /// It could not go on.
    Shutdown,
    /// The host failed.
    Host,
    /// A stub reported what no guest leads to.
    Stray,
}

/// One exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Why.
    pub left: Left,
    /// Where: of an exception, the instruction at fault. KVM may show the address of an `out`, or the one after it.
    pub rip: u64,
    /// What the guest published: transmit head, receive tail.
    pub positions: [u64; 2],
}

/// All exits of a program: the first ones, how many there were, and the last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The first exits, at most 512.
    pub steps: Vec<Step>,
    /// The last, which may be one of them.
    pub last: Option<Step>,
    /// How often the virtual CPU was entered.
    pub entries: u64,
}

impl Trace {
    pub(super) fn of(recorder: &Recorder) -> Self {
        let steps = recorder.kept().iter().map(step).collect();
        Self { steps, last: recorder.last().map(step), entries: recorder.entries() }
    }

    /// Whether all exits are in it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.entries == self.steps.len() as u64
    }

    /// The steps that come again when a program is run again: not those that time decides.
    fn repeatable(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.left != Left::Interrupted)
    }

    /// The first step, counted from 0, in which another run of the same program differs; none if none does.
    #[must_use]
    pub fn differs_at(&self, other: &Self) -> Option<usize> {
        let (mut these, mut others) = (self.repeatable(), other.repeatable());
        let mut at = 0;
        loop {
            match (these.next(), others.next()) {
                (None, None) => return None,
                (this, other) if this != other => return Some(at),
                _ => at += 1,
            }
        }
    }
}

/// Whether two runs of one program ended alike: limits of time are measured, all else is to be the same.
#[must_use]
pub fn same_end(a: &Outcome, b: &Outcome) -> bool {
    match (a, b) {
        (Outcome::TimeLimit { .. }, Outcome::TimeLimit { .. }) => true,
        (a, b) => a == b,
    }
}

fn step(seen: &Seen) -> Step {
    let registers = &seen.registers;
    let (left, rip) = match seen.exit {
        Exit::Out { .. } if stub_at(registers.rip).is_some() => stub(seen),
        Exit::Out { port, plain } => {
            (Left::Out(port, plain, [registers.rdi, registers.rsi, registers.rdx, registers.r10]), registers.rip)
        }
        Exit::In { port } => (Left::In(port), registers.rip),
        Exit::Mmio { address } => (Left::Mmio(address), registers.rip),
        Exit::Interrupted => (Left::Interrupted, registers.rip),
        Exit::Shutdown => (Left::Shutdown, registers.rip),
        Exit::Host(_) => (Left::Host, registers.rip),
    };
    Step { left, rip, positions: seen.positions }
}

fn stub(seen: &Seen) -> (Left, u64) {
    let registers = &seen.registers;
    let system_call = (Left::SystemCall, registers.rcx.wrapping_sub(2));
    match (stub_at(registers.rip), seen.frame) {
        (Some(Stub::SystemCall), _) => system_call,
        (Some(Stub::Exception(vector)), Some(frame)) => {
            let (code, rip) = if has_error_code(vector) { (frame[0], frame[1]) } else { (0, frame[0]) };
            if vector == 14 && rip == at(SYSCALL_STUB) {
                return system_call;
            }
            (Left::Exception(vector, code, if vector == 14 { seen.fault_address } else { 0 }), rip)
        }
        _ => (Left::Stray, registers.rip),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x?} at {:#x}, positions {:x?}", self.left, self.rip, self.positions)
    }
}
