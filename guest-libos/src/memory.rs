//! The memory functions that compiled code expects to find. There is no libc here.
//!
//! Long runs use the string instructions, which CPUs with ERMS carry out at full speed. No loop below may be one that
//! the compiler would turn into a call of the very function it is in, hence the assembly.

use core::arch::asm;

/// Copies `n` bytes from `from` to `to`, which do not overlap.
///
/// # Safety
/// As for C's `memcpy`.
// SAFETY: the symbol is what compiled code calls for this very purpose; no libc defines it in a guest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: by the caller's promise `n` bytes may be read and written; the direction flag is clear (psABI).
    unsafe {
        asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack, preserves_flags));
    }
    to
}

/// Copies `n` bytes from `from` to `to`, which may overlap.
///
/// # Safety
/// As for C's `memmove`.
// SAFETY: as for memcpy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= n {
        // SAFETY: `to` does not lie within the source, so copying upwards reads each byte before it is overwritten.
        return unsafe { memcpy(to, from, n) };
    }
    let words = n / 8;
    // SAFETY: by the caller's promise; copying downwards, the last bytes first and then by words, reads each byte
    // before it is overwritten. The direction flag is cleared again.
    unsafe {
        asm!(
            "std", "rep movsb", "sub rsi, 7", "sub rdi, 7", "mov rcx, {words}", "rep movsq", "cld",
            words = in(reg) words,
            inout("rcx") n % 8 => _,
            inout("rdi") to.wrapping_add(n).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(n).wrapping_sub(1) => _,
            options(nostack)
        );
    }
    to
}

/// Sets `n` bytes at `to` to the low byte of `value`.
///
/// # Safety
/// As for C's `memset`.
// SAFETY: as for memcpy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, value: i32, n: usize) -> *mut u8 {
    // SAFETY: by the caller's promise `n` bytes may be written; the direction flag is clear (psABI).
    unsafe {
        asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") value as u8,
             options(nostack, preserves_flags));
    }
    to
}

/// Compares `n` bytes.
///
/// # Safety
/// As for C's `memcmp`.
// SAFETY: as for memcpy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut i = 0;
    while i + 8 <= n {
        // SAFETY: eight bytes from `i` on are within the `n` that the caller promises.
        let x = unsafe { a.wrapping_add(i).cast::<u64>().read_unaligned() };
        // SAFETY: as above.
        let y = unsafe { b.wrapping_add(i).cast::<u64>().read_unaligned() };
        if x != y {
            // The first differing byte decides, which is the most significant of the big-endian words.
            return if u64::from_be(x) < u64::from_be(y) { -1 } else { 1 };
        }
        i += 8;
    }
    while i < n {
        // SAFETY: `i` is below `n`.
        let x = unsafe { *a.wrapping_add(i) };
        // SAFETY: as above.
        let y = unsafe { *b.wrapping_add(i) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        i += 1;
    }
    0
}

/// Compares `n` bytes: zero when equal.
///
/// # Safety
/// As for `bcmp`.
// SAFETY: as for memcpy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: the same promise.
    unsafe { memcmp(a, b, n) }
}

/// Length of a string that ends with a zero byte.
///
/// # Safety
/// As for C's `strlen`.
// SAFETY: as for memcpy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: by the caller's promise the bytes up to the zero may be read; a volatile read keeps the compiler from
    // turning the loop into a call of strlen.
    while unsafe { text.wrapping_add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}
