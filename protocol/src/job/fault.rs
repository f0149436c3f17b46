//! What a guest can do that ends its VM.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a guest did that ends its VM, and where.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What it did.
    pub cause: FaultCause,
    /// The guest's instruction pointer.
    pub instruction_pointer: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at instruction {:#x}", self.cause, self.instruction_pointer)
    }
}

/// How a guest touched memory that it may not touch so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Instruction fetch.
    Execute,
}

/// The causes of a fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FaultCause {
    /// Memory that is not mapped, or not for this access.
    Page {
        /// The address touched.
        address: u64,
        /// How it was touched.
        access: Access,
    },
    /// As [`FaultCause::Page`], in the guard area below the stack.
    StackOverflow {
        /// The address touched.
        address: u64,
    },
    /// Division by zero or out of range.
    Divide,
    /// An instruction that does not exist.
    InvalidInstruction,
    /// A privileged instruction, a non-canonical address, and whatever else the CPU forbids.
    Protection,
    /// The `syscall` instruction, which no one serves.
    SystemCall,
    /// Another exception of the CPU.
    Exception {
        /// Vector, 0 to 31.
        vector: u8,
    },
    /// A port that is no virtual instruction.
    UnknownPort {
        /// The port.
        port: u16,
    },
    /// A virtual instruction with arguments out of range.
    VirtualInstruction {
        /// Name of the instruction.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The guest's side of a NIC ring holds what cannot be.
    Nic {
        /// What is wrong with it.
        detail: String,
    },
    /// The guest broke the rules of the job channel.
    JobChannel {
        /// What is wrong.
        detail: String,
    },
    /// The virtual CPU can't go on (a triple fault, or an instruction that the hypervisor can't emulate).
    Shutdown,
    /// The guest wants interrupts or faults where nothing can run.
    Upcall {
        /// What is wrong.
        detail: String,
    },
}

impl fmt::Display for FaultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page { address, access } => {
                let verb = match access {
                    Access::Read => "read of",
                    Access::Write => "write to",
                    Access::Execute => "jump to",
                };
                write!(f, "{verb} {address:#x}, which the program may not touch so,")
            }
            Self::StackOverflow { address } => write!(f, "stack overflow ({address:#x} is below the stack)"),
            Self::Divide => f.write_str("division error"),
            Self::InvalidInstruction => f.write_str("invalid instruction"),
            Self::Protection => f.write_str("protection violation (privileged instruction or impossible address)"),
            Self::SystemCall => f.write_str("system call: no kernel is there to serve it"),
            Self::Exception { vector } => write!(f, "CPU exception {vector}"),
            Self::UnknownPort { port } => write!(f, "access to port {port:#x} that is no virtual instruction"),
            Self::VirtualInstruction { name, detail } => write!(f, "bad {name}: {detail}"),
            Self::Nic { detail } => write!(f, "bad NIC ring: {detail}"),
            Self::JobChannel { detail } => write!(f, "bad job channel message: {detail}"),
            Self::Shutdown => f.write_str("the virtual CPU shut down"),
            Self::Upcall { detail } => write!(f, "bad control page: {detail}"),
        }
    }
}
