//! Everything that knows KVM, and nearly all `unsafe` of the VMM.
//!
//! Source: the KVM API document of the Linux kernel (`Documentation/virt/kvm/api.rst`).

mod cpuid;
mod host;
mod memory;
mod thread;
mod vcpu;

pub use host::{Host, HostError};
pub(crate) use memory::GuestMemory;
pub(crate) use thread::{Thread, ThreadClock, install_signal_handlers, time_stamp};
pub(crate) use vcpu::{Exit, MachineError, Registers, VirtualMachine};
