//! How a program comes into the library OS, and out of it again: the jumps of its rewritten system calls and CPUIDs end here,
//! and so does what interrupts it.
//!
//! The contract is in [`denali_linux::rewrite`]. No entry is used again before it is left: an interrupt that finds the library
//! OS at work is only noted, so one stack and one word of each kind are enough.

use crate::cpuid::{KNOWN, Known, LAST};
use core::{
    arch::{asm, naked_asm},
    cell::UnsafeCell,
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering},
};
use denali_linux::{call::Frame, rewrite::Handlers};

const STACK_BYTES: usize = 128 << 10;

/// The stack on which calls are served.
#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: only the assembly below uses it, one call at a time.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; _]));

/// The program's stack pointer, during a call.
static USER_STACK: AtomicU64 = AtomicU64::new(0);
/// Where the program goes on after a CPUID.
static AFTER_CPUID: AtomicU64 = AtomicU64::new(0);
/// Where the program was when it was sent to [`interrupted`] or [`faulted`].
static AT: AtomicU64 = AtomicU64::new(0);

/// Where the jumps lead.
pub fn handlers() -> Handlers {
    Handlers { syscall: address_of_calls(), cpuid: cpuid as *const () as u64 }
}

/// Where a call begins.
pub fn address_of_calls() -> u64 {
    syscall as *const () as u64
}

/// Where a program that was interrupted at `rip` is to go on: it comes to [`crate::process::interrupted`].
pub fn interrupt(rip: u64) -> u64 {
    AT.store(rip, Ordering::Relaxed);
    interrupted as *const () as u64
}

/// The same for one whose instruction faulted.
pub fn fault(rip: u64) -> u64 {
    AT.store(rip, Ordering::Relaxed);
    faulted as *const () as u64
}

/// Saves the registers as a [`Frame`], whose instruction pointer is `$rip`, calls `$serve` with it, and restores them: the
/// caller's but for RAX, or all as the frame has them then.
macro_rules! enter {
    ($serve:path, $rip:literal $(, $at:path)?) => {
        naked_asm!(
            "mov [rip + {user}], rsp",
            "lea rsp, [rip + {stack} + {stack_bytes}]",
            "push 0", // SS and CS: needed by `iretq` alone.
            "push [rip + {user}]",
            "pushfq",
            "push 0",
            $rip,
            "push rax",
            "push rcx",
            "push rdx",
            "push rbx",
            "push rbp",
            "push rsi",
            "push rdi",
            "push r8",
            "push r9",
            "push r10",
            "push r11",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            "sub rsp, 256",
            "movaps [rsp], xmm0",
            "movaps [rsp + 16], xmm1",
            "movaps [rsp + 32], xmm2",
            "movaps [rsp + 48], xmm3",
            "movaps [rsp + 64], xmm4",
            "movaps [rsp + 80], xmm5",
            "movaps [rsp + 96], xmm6",
            "movaps [rsp + 112], xmm7",
            "movaps [rsp + 128], xmm8",
            "movaps [rsp + 144], xmm9",
            "movaps [rsp + 160], xmm10",
            "movaps [rsp + 176], xmm11",
            "movaps [rsp + 192], xmm12",
            "movaps [rsp + 208], xmm13",
            "movaps [rsp + 224], xmm14",
            "movaps [rsp + 240], xmm15",
            "cld",
            "mov rdi, rsp",
            "call {serve}",
            "movaps xmm0, [rsp]",
            "movaps xmm1, [rsp + 16]",
            "movaps xmm2, [rsp + 32]",
            "movaps xmm3, [rsp + 48]",
            "movaps xmm4, [rsp + 64]",
            "movaps xmm5, [rsp + 80]",
            "movaps xmm6, [rsp + 96]",
            "movaps xmm7, [rsp + 112]",
            "movaps xmm8, [rsp + 128]",
            "movaps xmm9, [rsp + 144]",
            "movaps xmm10, [rsp + 160]",
            "movaps xmm11, [rsp + 176]",
            "movaps xmm12, [rsp + 192]",
            "movaps xmm13, [rsp + 208]",
            "movaps xmm14, [rsp + 224]",
            "movaps xmm15, [rsp + 240]",
            "add rsp, 256",
            "test eax, eax",
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop r11",
            "pop r10",
            "pop r9",
            "pop r8",
            "pop rdi",
            "pop rsi",
            "pop rbp",
            "pop rbx",
            "pop rdx",
            "pop rcx",
            "jnz 2f",
            // The flags of arithmetic, by hand: `popfq` takes as long as the rest. The others are as they were.
            "mov rcx, [rsp + 24]",
            "test ch, 4", // The direction flag, which no program sets over a call, costs it that.
            "jnz 3f",
            "mov ah, cl",
            "shr ecx, 11",
            "and cl, 1",
            "add cl, 127", // The overflow flag.
            "sahf",
            "pop rax",
            "mov rcx, [rsp]",
            "mov rsp, [rsp + 24]",
            "jmp rcx",
            "3:",
            "pop rax",
            "mov rcx, [rsp]",
            "lea rsp, [rsp + 16]",
            "popfq",
            "pop rsp",
            "jmp rcx",
            "2:",
            // A nested task, which a program may say it is, could not `iretq`.
            "pushfq",
            "and qword ptr [rsp], -0x4001",
            "popfq",
            "pop rax",
            "iretq",
            user = sym USER_STACK,
            stack = sym STACK,
            stack_bytes = const STACK_BYTES,
            serve = sym $serve,
            $(at = sym $at,)?
        )
    };
}

// The assembly lays it out.
const _: () = assert!(size_of::<Frame>() == 256 + 20 * 8 && core::mem::offset_of!(Frame, rip) == 256 + 15 * 8);

/// A system call: RCX says where it returns to.
#[unsafe(naked)]
pub(crate) extern "C" fn syscall() -> ! {
    enter!(crate::process::serve, "push rcx")
}

#[unsafe(naked)]
extern "C" fn interrupted() -> ! {
    enter!(crate::process::interrupted, "push [rip + {at}]", AT)
}

#[unsafe(naked)]
extern "C" fn faulted() -> ! {
    enter!(crate::process::faulted, "push [rip + {at}]", AT)
}

/// CPUID is what the CPU says, or has said: see [`crate::cpuid`]. The stack is that of calls, none of which is served now.
#[unsafe(naked)]
extern "C" fn cpuid() -> ! {
    naked_asm!(
        "mov [rip + {after}], rdx",
        "mov [rip + {user}], rsp",
        "lea rsp, [rip + {stack} + {stack_bytes}]",
        "pushfq",
        "lea rbx, [rip + {known}]",
        "2:",
        "cmp dword ptr [rbx + {mask}], {last}",
        "je 4f",
        "cmp [rbx + {leaf}], eax",
        "jne 3f",
        "mov edx, [rbx + {mask}]",
        "and edx, ecx",
        "cmp [rbx + {subleaf}], edx",
        "je 5f",
        "3:",
        "add rbx, {entry_bytes}",
        "jmp 2b",
        "4:",
        "cpuid",
        "jmp 6f",
        "5:",
        "mov eax, [rbx + {result}]",
        "mov ecx, [rbx + {result} + 8]",
        "mov edx, [rbx + {result} + 12]",
        "mov ebx, [rbx + {result} + 4]",
        "6:",
        "popfq",
        "mov rsp, [rip + {user}]",
        "jmp [rip + {after}]",
        after = sym AFTER_CPUID,
        user = sym USER_STACK,
        stack = sym STACK,
        stack_bytes = const STACK_BYTES,
        known = sym KNOWN,
        last = const LAST,
        entry_bytes = const size_of::<Known>(),
        leaf = const offset_of!(Known, leaf),
        mask = const offset_of!(Known, mask),
        subleaf = const offset_of!(Known, subleaf),
        result = const offset_of!(Known, result),
    )
}

/// Starts a program: all registers zero but the stack pointer.
///
/// # Safety
/// `entry` and `stack` must be those of a program that was loaded.
pub unsafe fn start(entry: u64, stack: u64) -> ! {
    // SAFETY: by the caller's promise. Nothing of this stack is used any more.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "push {entry}",
            "xor eax, eax",
            "xor ebx, ebx",
            "xor ecx, ecx",
            "xor edx, edx",
            "xor esi, esi",
            "xor edi, edi",
            "xor ebp, ebp",
            "xor r8d, r8d",
            "xor r9d, r9d",
            "xor r10d, r10d",
            "xor r11d, r11d",
            "xor r12d, r12d",
            "xor r13d, r13d",
            "xor r14d, r14d",
            "xor r15d, r15d",
            "ret",
            stack = in(reg) stack,
            entry = in(reg) entry,
            options(noreturn)
        )
    }
}
