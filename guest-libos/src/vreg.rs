//! The virtual registers, as the guest reads them.

use core::sync::atomic::{AtomicU32, AtomicU64};
use denali_abi::{
    VERSION,
    memory::{CONTROL, REGISTERS},
    registers::{Control, MAGIC, VirtualRegisters},
};

/// The registers as they stand now. Positions and pending bits may change at any time; the rest never does.
#[must_use]
pub fn read() -> VirtualRegisters {
    // SAFETY: the VMM maps this page, readable and aligned, into every VM before its first instruction, and all of its
    // bytes are a valid `VirtualRegisters`. The VMM writes it meanwhile, so the read is volatile.
    unsafe { (REGISTERS as *const VirtualRegisters).read_volatile() }
}

/// Whether the VMM speaks this library's version of the contract.
#[must_use]
pub fn compatible() -> bool {
    let registers = read();
    registers.magic == MAGIC && registers.abi_version == VERSION
}

macro_rules! word {
    ($name:ident, $type:ty, $page:expr, $structure:ty, $field:ident, $doc:literal) => {
        #[doc = $doc]
        pub(crate) fn $name() -> &'static $type {
            let address = $page as usize + core::mem::offset_of!($structure, $field);
            // SAFETY: the VMM maps the page for the VM's whole life, the field is aligned, and both sides access it
            // atomically.
            unsafe { <$type>::from_ptr(address as *mut _) }
        }
    };
}

word!(tsc_base, AtomicU64, REGISTERS, VirtualRegisters, tsc_base, "The time-stamp counter at zero of the clock.");
word!(tsc_to_ns, AtomicU64, REGISTERS, VirtualRegisters, tsc_to_ns, "Nanoseconds a count, times 2^32.");
word!(transmit_tail, AtomicU64, REGISTERS, VirtualRegisters, transmit_tail, "Consumed by the VMM.");
word!(receive_head, AtomicU64, REGISTERS, VirtualRegisters, receive_head, "Produced by the VMM.");
word!(kick_wanted, AtomicU32, REGISTERS, VirtualRegisters, kick_wanted, "Whether the VMM wants a KICK.");
word!(transmit_head, AtomicU64, CONTROL, Control, transmit_head, "Produced by this guest.");
word!(receive_tail, AtomicU64, CONTROL, Control, receive_tail, "Consumed by this guest.");
word!(interrupts_enabled, AtomicU64, CONTROL, Control, interrupts_enabled, "Whether interrupts are welcome.");
word!(upcall_entry, AtomicU64, CONTROL, Control, upcall_entry, "Where interrupts continue.");
word!(fault_entry, AtomicU64, CONTROL, Control, fault_entry, "Where faults continue.");
word!(timer_ns, AtomicU64, CONTROL, Control, timer_ns, "When the timer is due.");
word!(timer_period_ns, AtomicU64, CONTROL, Control, timer_period_ns, "The period of the timer.");
word!(causes, AtomicU64, CONTROL, Control, causes, "What happened and was not handled.");
