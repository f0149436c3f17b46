//! Upcalls, without KVM: from what the control page says to what is written there, and to the registers that the virtual
//! CPU continues with. Everything from the control page is hostile: any value means something, and none takes long.

use crate::kvm::Registers;
use denali_abi::registers::{
    Control, DELIVERED_FAULTS, FaultRecord, IN_UPCALL, Interrupted, SYSTEM_CALL, TICK_US_MIN,
    pending::{ALL, TIMER},
};

/// Why the VM can't continue where its control page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {which} entry {entry:#x} is not below the end of memory, {memory_bytes:#x}")]
pub(super) struct EntryError {
    which: &'static str,
    entry: u64,
    memory_bytes: u64,
}

/// Flags that code at CPL 3 can change: those that it may have back. Bit 1 is always set.
const USER_FLAGS: u64 = 0x24_4dd5;
const FIXED_FLAGS: u64 = 1 << 1;

const BREAKPOINT: u64 = 3;

/// The causes and the timer as they are after what happened: `happened` says what did since the last time, besides the
/// timer, at `now_ns` of the VM's clock.
pub(super) fn latch(control: &Control, happened: u64, now_ns: u64) -> (u64, u64) {
    let causes = control.causes & ALL | happened;
    match armed(control) {
        Some(due) if due <= now_ns => (causes | TIMER, next(due, control.timer_period_ns, now_ns)),
        _ => (causes, control.timer_ns),
    }
}

/// When the timer is due, in the VM's clock.
pub(super) fn armed(control: &Control) -> Option<u64> {
    (control.upcall_entry != 0 && control.timer_ns != 0 && control.timer_ns != u64::MAX).then_some(control.timer_ns)
}

/// The first time after `now_ns` that is whole periods after `due`; 0 without a period.
fn next(due: u64, period: u64, now_ns: u64) -> u64 {
    if period == 0 {
        return 0;
    }
    let period = period.max(TICK_US_MIN * 1000);
    let periods = (now_ns - due) / period + 1;
    // A time that can't be named never comes.
    due.checked_add(periods.saturating_mul(period)).unwrap_or(0)
}

/// Whether a VM with these flags takes an upcall as soon as there is a cause.
pub(super) fn welcome(control: &Control, rflags: u64) -> bool {
    control.interrupts_enabled != 0 && control.upcall_entry != 0 && rflags & IN_UPCALL == 0
}

/// Continues at the upcall entry: what to remember, and the registers to continue with.
pub(super) fn interrupt(
    control: &Control,
    registers: Registers,
    memory_bytes: u64,
) -> Result<(Interrupted, Registers), EntryError> {
    let entry = control.upcall_entry;
    let at = Interrupted { rip: registers.rip, rflags: registers.rflags, rsp: registers.rsp };
    Ok((restorable(at), at_entry("upcall", entry, registers, memory_bytes)?))
}

/// Continues at the fault entry, after a fault of CPL 3 code with these registers; `None` where the fault ends the VM.
pub(super) fn fault(
    control: &Control,
    record: FaultRecord,
    registers: Registers,
    memory_bytes: u64,
) -> Option<Result<(FaultRecord, Registers), EntryError>> {
    let delivered = record.vector < 64 && DELIVERED_FAULTS >> record.vector & 1 == 1;
    if !delivered || control.fault_entry == 0 || control.in_fault != 0 {
        return None;
    }
    let registers = Registers { rsp: record.at.rsp, ..registers };
    let entered = at_entry("fault", control.fault_entry, registers, memory_bytes);
    Some(entered.map(|entered| (FaultRecord { at: restorable(record.at), ..record }, entered)))
}

/// Whether an upcall, for which there is a cause, is made before the instruction at fault, which then faults again. Else a
/// program that does little but fault would never be interrupted: no upcall is made on the way into a fault's handler.
pub(super) fn comes_first(control: &Control, record: &FaultRecord) -> bool {
    // These instructions are over.
    ![BREAKPOINT, SYSTEM_CALL].contains(&record.vector) && welcome(control, record.at.rflags)
}

/// Without the bits that only CPL 0 sets, so that `iretq` at CPL 3 takes the flags as they are.
fn restorable(at: Interrupted) -> Interrupted {
    Interrupted { rflags: at.rflags & USER_FLAGS | FIXED_FLAGS, ..at }
}

fn at_entry(which: &'static str, entry: u64, registers: Registers, memory_bytes: u64) -> Result<Registers, EntryError> {
    // Others may be impossible addresses, with which KVM would refuse to run.
    if entry >= memory_bytes {
        return Err(EntryError { which, entry, memory_bytes });
    }
    Ok(Registers { rip: entry, rflags: FIXED_FLAGS | IN_UPCALL, ..registers })
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
