//! The data segment selectors of a thread that runs virtual CPUs.
//!
//! Software KVM lets its guests use the thread's own: what one loads stays, and the next virtual CPU on the thread, of
//! whatever VM, sees it. They mean nothing in 64-bit mode, and every thread starts without any; so they are cleared each
//! time that a guest has run. Hardware KVM keeps the thread's apart, and there is never anything to do.

use std::arch::asm;

/// Of `arch_prctl` (Linux `arch/x86/include/uapi/asm/prctl.h`).
const ARCH_SET_GS: libc::c_int = 0x1001;
const ARCH_SET_FS: libc::c_int = 0x1002;
const ARCH_GET_FS: libc::c_int = 0x1003;
const ARCH_GET_GS: libc::c_int = 0x1004;

/// Clears the selectors of the calling thread.
pub(super) fn clear() {
    let [ds, es, fs, gs] = read();
    if ds | es != 0 {
        // SAFETY: the CPU looks at neither of them in 64-bit mode, and to load none is always allowed.
        unsafe { asm!("mov ds, {0:e}", "mov es, {0:e}", in(reg) 0, options(nomem, nostack, preserves_flags)) };
    }
    if fs != 0 {
        keep_base(ARCH_GET_FS, ARCH_SET_FS);
    }
    if gs != 0 {
        keep_base(ARCH_GET_GS, ARCH_SET_GS);
    }
}

fn read() -> [u16; 4] {
    let (ds, es, fs, gs): (u16, u16, u16, u16);
    // SAFETY: these only read selectors.
    unsafe {
        asm!(
            "mov {0:x}, ds", "mov {1:x}, es", "mov {2:x}, fs", "mov {3:x}, gs",
            out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs,
            options(nomem, nostack, preserves_flags),
        );
    }
    [ds, es, fs, gs]
}

/// Loads no selector and keeps the base: the thread's own data are found by that of FS. The kernel does both at once, so
/// that no signal comes in between.
fn keep_base(get: libc::c_int, set: libc::c_int) {
    let mut base = 0u64;
    // SAFETY: it writes the base to the variable, which outlives the call.
    let got = unsafe { libc::syscall(libc::SYS_arch_prctl, get, &raw mut base) };
    if got == 0 {
        // SAFETY: the base is what it was.
        unsafe { libc::syscall(libc::SYS_arch_prctl, set, base) };
    }
}

#[cfg(test)]
mod tests;
