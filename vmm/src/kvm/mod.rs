//! Everything that knows KVM, and nearly all `unsafe` of the VMM.
//!
//! Source: the KVM API document of the Linux kernel (`Documentation/virt/kvm/api.rst`).

mod cpuid;
mod exit;
mod host;
pub(crate) mod ioctls;
mod memory;
mod mishap;
mod pagemap;
mod recorder;
mod selectors;
mod state;
mod thread;
mod vcpu;

pub(crate) use exit::Exit;
pub use host::{Host, HostError};
pub(crate) use memory::{GuestMemory, copy_run};
pub(crate) use pagemap::Pagemap;
pub(crate) use recorder::{Recorder, Seen};
pub(crate) use state::CpuState;
pub use thread::cpu_time_of;
pub(crate) use thread::{
    Alarm, Thread, alarm_rang, cpu_time, forget_alarm, forget_interruption, hear_kicks, install_kick_handler,
    install_signal_handlers, leave_crashes_alone, time_stamp, was_kicked,
};
pub(crate) use vcpu::{MachineError, Registers, TRAP_FLAG, VirtualMachine};
