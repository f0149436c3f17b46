//! Where the VMM makes this VM continue for interrupts and faults: registers saved, a stack of its own, a call, and back by
//! `iretq`, which restores instruction pointer, stack pointer and flags at once, without an exit.
//!
//! The contract is in [`denali_abi::registers::Control`]. Neither entry touches the interrupted stack, so its red zone is
//! safe and it may be exhausted. Neither is entered again before it is left: the flag that the VMM sets on the way in goes
//! by the `iretq` alone, and a fault before `in_fault` is cleared ends the VM.

use crate::{fault, instruction, interrupt, vreg};
use core::{
    arch::naked_asm,
    cell::UnsafeCell,
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering},
};
use denali_abi::{
    memory::{CONTROL, PAGE_BYTES, REGISTERS},
    registers::{Control, FaultRecord, Interrupted, VirtualRegisters},
};

const STACK_BYTES: usize = 64 << 10;

/// A stack whose lowest page loses its rights before it is used.
#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; PAGE_BYTES as usize + STACK_BYTES]>);

// SAFETY: only the assembly below touches it, each of the two its own, and neither is entered twice at a time.
unsafe impl Sync for Stack {}

/// Room for x87, SSE and AVX as `xsave` lays them out: 512 bytes, a header of 64, and 256.
#[repr(C, align(64))]
struct Extended(UnsafeCell<[u8; 832]>);

// SAFETY: as for `Stack`.
unsafe impl Sync for Extended {}

static INTERRUPT_STACK: Stack = Stack(UnsafeCell::new([0; _]));
static INTERRUPT_EXTENDED: Extended = Extended(UnsafeCell::new([0; _]));
static FAULT_STACK: Stack = Stack(UnsafeCell::new([0; _]));
static FAULT_EXTENDED: Extended = Extended(UnsafeCell::new([0; _]));

/// MXCSR at a VM's start: all exceptions masked.
static MXCSR: u32 = 0x1f80;

/// Interrupts come here from now on.
pub(crate) fn take_interrupts() {
    enter_at(vreg::upcall_entry(), upcall, &INTERRUPT_STACK);
}

/// Faults come here from now on.
pub(crate) fn take_faults() {
    enter_at(vreg::fault_entry(), fault, &FAULT_STACK);
}

fn enter_at(word: &AtomicU64, entry: extern "C" fn() -> !, stack: &'static Stack) {
    if word.load(Ordering::Relaxed) == 0 {
        // SAFETY: the page is the stack's alone, and nothing is on the stack.
        unsafe { instruction::protect(stack.0.get() as u64, PAGE_BYTES, 0) };
        word.store(entry as usize as u64, Ordering::Release);
    }
}

/// Address of a field of the control page.
const fn control(offset: usize) -> u64 {
    CONTROL + offset as u64
}

const INTERRUPTED: u64 = control(offset_of!(Control, interrupted));
const FAULTED: u64 = control(offset_of!(Control, fault) + offset_of!(FaultRecord, at));

/// Saves all general registers below `frame` bytes at the top of a stack, of which the lower 40 become what `iretq` takes.
/// Then saves the extended state at RBX and puts x87 and SSE into their initial state.
macro_rules! save {
    () => {
        "
        lea rsp, [rip + {stack} + {stack_bytes}]
        sub rsp, {frame}
        push rax
        push rcx
        push rdx
        push rbx
        push rbp
        push rsi
        push rdi
        push r8
        push r9
        push r10
        push r11
        push r12
        push r13
        push r14
        push r15
        mov rax, ds:[{at} + {rip}]
        mov [rsp + 120], rax
        mov eax, cs
        mov [rsp + 128], rax
        mov rax, ds:[{at} + {rflags}]
        mov [rsp + 136], rax
        mov rax, ds:[{at} + {rsp}]
        mov [rsp + 144], rax
        mov eax, ss
        mov [rsp + 152], rax
        mov eax, 3
        mov r12d, 7
        cmp dword ptr ds:[{cpu_level}], 3
        cmovb r12d, eax
        mov eax, r12d
        xor edx, edx
        lea rbx, [rip + {extended}]
        xsave64 [rbx]
        fninit
        ldmxcsr [rip + {mxcsr}]
        "
    };
}

/// Restores all that [`save`] saved, and continues there.
macro_rules! restore {
    () => {
        "
        mov eax, r12d
        xor edx, edx
        xrstor64 [rbx]
        pop r15
        pop r14
        pop r13
        pop r12
        pop r11
        pop r10
        pop r9
        pop r8
        pop rdi
        pop rsi
        pop rbp
        pop rbx
        pop rdx
        pop rcx
        pop rax
        iretq
        "
    };
}

#[unsafe(naked)]
extern "C" fn upcall() -> ! {
    naked_asm!(
        save!(),
        "lea rdi, [rsp + 120]",
        "call {handle}",
        restore!(),
        frame = const 5 * 8,
        at = const INTERRUPTED,
        rip = const offset_of!(Interrupted, rip),
        rflags = const offset_of!(Interrupted, rflags),
        rsp = const offset_of!(Interrupted, rsp),
        cpu_level = const REGISTERS + offset_of!(VirtualRegisters, cpu_level) as u64,
        stack = sym INTERRUPT_STACK,
        stack_bytes = const PAGE_BYTES as usize + STACK_BYTES,
        extended = sym INTERRUPT_EXTENDED,
        mxcsr = sym MXCSR,
        handle = sym interrupt::handle,
    )
}

#[unsafe(naked)]
extern "C" fn fault() -> ! {
    naked_asm!(
        save!(),
        // The rest of a `FaultContext`.
        "mov rax, ds:[{vector}]",
        "mov [rsp + 160], rax",
        "mov rax, ds:[{error_code}]",
        "mov [rsp + 168], rax",
        "mov rax, ds:[{address}]",
        "mov [rsp + 176], rax",
        "mov rdi, rsp",
        "call {handle}",
        "mov qword ptr ds:[{in_fault}], 0",
        restore!(),
        frame = const 9 * 8,
        at = const FAULTED,
        rip = const offset_of!(Interrupted, rip),
        rflags = const offset_of!(Interrupted, rflags),
        rsp = const offset_of!(Interrupted, rsp),
        vector = const control(offset_of!(Control, fault) + offset_of!(FaultRecord, vector)),
        error_code = const control(offset_of!(Control, fault) + offset_of!(FaultRecord, error_code)),
        address = const control(offset_of!(Control, fault) + offset_of!(FaultRecord, address)),
        in_fault = const control(offset_of!(Control, in_fault)),
        cpu_level = const REGISTERS + offset_of!(VirtualRegisters, cpu_level) as u64,
        stack = sym FAULT_STACK,
        stack_bytes = const PAGE_BYTES as usize + STACK_BYTES,
        extended = sym FAULT_EXTENDED,
        mxcsr = sym MXCSR,
        handle = sym fault::handle,
    )
}
