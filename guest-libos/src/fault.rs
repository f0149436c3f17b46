//! Faults of the CPU, taken by the program itself instead of ending its VM: a raw hook for those who build on it.

use crate::{upcall, vreg};
use core::{
    mem, ptr,
    sync::atomic::{AtomicPtr, Ordering},
};
pub use denali_abi::registers::SYSTEM_CALL;

/// What a program was doing when it faulted. What the handler changes is what it continues with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "registers, by their names")]
pub struct FaultContext {
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
    pub rip: u64,
    cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    ss: u64,
    /// Vector of the exception, or [`SYSTEM_CALL`].
    pub vector: u64,
    /// The CPU's error code, or 0.
    pub error_code: u64,
    /// The address touched, of a page fault.
    pub address: u64,
    padding: u64,
}

// The assembly of `upcall::fault` lays it out.
const _: () = assert!(size_of::<FaultContext>() == 24 * 8 && mem::offset_of!(FaultContext, rip) == 15 * 8);

/// What to do after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Continue with the context as it is now.
    Continue,
    /// Let the fault take its course: the VM ends with its report.
    End,
}

/// The handler, a `fn(&mut FaultContext) -> Resume`; null for none.
static HANDLER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Calls `handler` for faults from now on: #DE, #BP, #UD, #NP, #SS, #GP, #PF, #MF, #AC and #XM, and `syscall`. It runs on a stack of its
/// own, with interrupts held back, and x87 and SSE as at the VM's start; all of it is put back afterwards. A fault of the
/// handler itself ends the VM.
///
/// # Safety
/// The handler must be able to run between any two instructions of the program, also within this library and the
/// allocator: it must neither allocate nor use anything of this crate but [`crate::clock`] and [`crate::instruction`],
/// and leave a context behind with which the program can go on.
pub unsafe fn on(handler: fn(&mut FaultContext) -> Resume) {
    HANDLER.store(handler as *mut (), Ordering::Relaxed);
    upcall::take_faults();
}

const BREAKPOINT: u64 = 3;

/// Called by the assembly alone.
pub(crate) extern "C" fn handle(context: &mut FaultContext) {
    let handler = HANDLER.load(Ordering::Relaxed);
    // SAFETY: it is null, which is `None`, or was made of such a function by `on`.
    let handler: Option<fn(&mut FaultContext) -> Resume> = unsafe { mem::transmute(handler) };
    let as_it_was = *context;
    if handler.is_some_and(|handler| handler(context) == Resume::Continue) {
        return;
    }
    // It happens again, and there is no one to take it.
    *context = as_it_was;
    context.rip -= match context.vector {
        BREAKPOINT => 1,
        SYSTEM_CALL => 2,
        _ => 0,
    };
    vreg::fault_entry().store(0, Ordering::Relaxed);
}
