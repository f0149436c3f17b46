//! The code of the vDSO: time without a system call. It is copied to a page of the program, and so must run anywhere: it
//! names nothing but virtual registers and, for clocks that it does not know, the entry of calls, by their addresses.

use core::{arch::global_asm, mem::offset_of, slice};
use denali_abi::{memory::REGISTERS, registers::VirtualRegisters};
use denali_linux::vdso::{self, Function};

// Nanoseconds of the VM's clock are in RAX after `clock`, seconds in RDX and the rest in R8 after `split`: n / 10⁹ is
// (n >> 9) * 19342813113834067 >> 64 >> 11 for each n of 64 bits.
global_asm!(
    ".macro clock",
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "sub rax, ds:[{tsc_base}]",
    "mul qword ptr ds:[{tsc_to_ns}]",
    "shrd rax, rdx, 32",
    ".endm",
    ".macro split",
    "mov r8, rax",
    "shr rax, 9",
    "movabs rdx, 19342813113834067",
    "mul rdx",
    "shr rdx, 11",
    "imul rax, rdx, 1000000000",
    "sub r8, rax",
    ".endm",
    ".macro call_system number",
    "mov eax, \\number",
    "lea rcx, [rip + 99f]",
    "mov r11d, offset {syscall}",
    "jmp r11",
    "99: ret",
    ".endm",
    ".p2align 4",
    "vdso_start:",
    // Which clocks are which, as bits by their numbers: CLOCK_REALTIME, _REALTIME_COARSE and _TAI; CLOCK_MONOTONIC, _RAW,
    // _COARSE and CLOCK_BOOTTIME.
    "vdso_clock_gettime:",
    "cmp edi, 11",
    "ja 9f",
    "mov r9d, 0x8f3",
    "bt r9d, edi",
    "jnc 9f",
    "clock",
    "mov r9d, 0x821",
    "bt r9d, edi",
    "jnc 1f",
    "add rax, ds:[{realtime_base}]",
    "1: split",
    "mov [rsi], rdx",
    "mov [rsi + 8], r8",
    "xor eax, eax",
    "ret",
    "9: call_system 228",
    "vdso_gettimeofday:",
    "test rsi, rsi",
    "jz 1f",
    "mov qword ptr [rsi], 0",
    "1: test rdi, rdi",
    "jz 2f",
    "clock",
    "add rax, ds:[{realtime_base}]",
    "split",
    "mov [rdi], rdx",
    "imul r8, r8, 274877907",
    "shr r8, 38",
    "mov [rdi + 8], r8",
    "2: xor eax, eax",
    "ret",
    "vdso_time:",
    "clock",
    "add rax, ds:[{realtime_base}]",
    "split",
    "mov rax, rdx",
    "test rdi, rdi",
    "jz 1f",
    "mov [rdi], rdx",
    "1: ret",
    "vdso_clock_getres:",
    "call_system 229",
    "vdso_getcpu:",
    "xor eax, eax",
    "test rdi, rdi",
    "jz 1f",
    "mov [rdi], eax",
    "1: test rsi, rsi",
    "jz 2f",
    "mov [rsi], eax",
    "2: ret",
    "vdso_end:",
    tsc_base = const REGISTERS as usize + offset_of!(VirtualRegisters, tsc_base),
    tsc_to_ns = const REGISTERS as usize + offset_of!(VirtualRegisters, tsc_to_ns),
    realtime_base = const REGISTERS as usize + offset_of!(VirtualRegisters, realtime_base_ns),
    syscall = sym crate::entry::syscall,
);

unsafe extern "C" {
    static vdso_start: u8;
    static vdso_clock_gettime: u8;
    static vdso_gettimeofday: u8;
    static vdso_time: u8;
    static vdso_clock_getres: u8;
    static vdso_getcpu: u8;
    static vdso_end: u8;
}

/// The page.
pub fn page() -> alloc::vec::Vec<u8> {
    let start = &raw const vdso_start;
    let offset = |symbol: *const u8| symbol as usize - start as usize;
    let function = |name, symbol| Function { name, offset: offset(symbol) };
    let functions = [
        function("__vdso_clock_gettime", &raw const vdso_clock_gettime),
        function("__vdso_gettimeofday", &raw const vdso_gettimeofday),
        function("__vdso_time", &raw const vdso_time),
        function("__vdso_clock_getres", &raw const vdso_clock_getres),
        function("__vdso_getcpu", &raw const vdso_getcpu),
    ];
    // SAFETY: the labels are those of the assembly above, and it is never written.
    let code = unsafe { slice::from_raw_parts(start, offset(&raw const vdso_end)) };
    vdso::build(&functions, code).expect("it fits a page")
}
