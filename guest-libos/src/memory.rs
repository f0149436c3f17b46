//! The memory functions that compiled code expects to find. There is no libc here.
//!
//! Long runs use the string instructions, which CPUs with ERMS carry out at full speed, once they have started: that takes
//! longer than to copy 256 bytes by other means. No loop below may be one that the compiler would turn into a call of the
//! very function it is in, hence the assembly.

use core::arch::{
    asm,
    x86_64::{__m128i, _mm_set1_epi8},
};

/// Up to so many bytes, string instructions are slower.
const SHORT: usize = 256;

/// And by these distances ahead of the source, whatever the pages, two to forty times slower: some CPUs take what they are
/// about to read for what they have just written.
const SLOW: core::ops::Range<usize> = 1..32;
const PAGE: usize = 4096;

/// Copies a word that lies anywhere, of a type that has a value for all bits, at both ends of `n` bytes: so from one to two
/// words. All is read before the first is written.
///
/// # Safety
/// As for C's `memmove`; `n` is at least the size of a word.
#[inline]
unsafe fn copy_ends<T: Copy>(to: *mut u8, from: *const u8, n: usize) {
    let last = n - size_of::<T>();
    // SAFETY: by the caller's promise.
    let head = unsafe { from.cast::<T>().read_unaligned() };
    // SAFETY: the same.
    let tail = unsafe { from.wrapping_add(last).cast::<T>().read_unaligned() };
    // SAFETY: the same.
    unsafe { to.cast::<T>().write_unaligned(head) };
    // SAFETY: the same.
    unsafe { to.wrapping_add(last).cast::<T>().write_unaligned(tail) };
}

/// Sets both ends of `n` bytes to `word`.
///
/// # Safety
/// `n` bytes at `to` can be written, and `n` is at least the size of a word.
#[inline]
unsafe fn set_ends<T: Copy>(to: *mut u8, word: T, n: usize) {
    // SAFETY: by the caller's promise.
    unsafe { to.cast::<T>().write_unaligned(word) };
    // SAFETY: the same.
    unsafe { to.wrapping_add(n - size_of::<T>()).cast::<T>().write_unaligned(word) };
}

/// Copies `n` bytes from `from` to `to`, which do not overlap.
///
/// # Safety
/// As for C's `memcpy`.
// SAFETY: the symbol is what compiled code calls for this very purpose; no libc defines it in a guest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    match n {
        0 => {}
        // SAFETY: by the caller's promise.
        1..2 => unsafe { copy_ends::<u8>(to, from, n) },
        // SAFETY: the same.
        2..4 => unsafe { copy_ends::<u16>(to, from, n) },
        // SAFETY: the same.
        4..8 => unsafe { copy_ends::<u32>(to, from, n) },
        // SAFETY: the same.
        8..16 => unsafe { copy_ends::<u64>(to, from, n) },
        // SAFETY: the same.
        16..=32 => unsafe { copy_ends::<__m128i>(to, from, n) },
        // SAFETY: the same.
        33..=SHORT => unsafe { vector_copy(to, from, n) },
        // SAFETY: the same.
        _ if SLOW.contains(&((to as usize).wrapping_sub(from as usize) % PAGE)) => unsafe { vector_copy(to, from, n) },
        // SAFETY: the same; the direction flag is clear (psABI).
        _ => unsafe {
            asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _,
                 options(nostack, preserves_flags));
        },
    }
    to
}

/// Copies more than 32 bytes upwards. The last 32, which others may overlap, are read first.
///
/// # Safety
/// As for C's `memcpy`; or `to` lies below `from`.
#[inline]
unsafe fn vector_copy(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: by the caller's promise.
    unsafe {
        asm!(
            "movups {y}, [{from} + {end}]",
            "movups {z}, [{from} + {end} + 16]",
            "2: movups {w}, [{from} + {at}]",
            "movups {x}, [{from} + {at} + 16]",
            "movups [{to} + {at}], {w}",
            "movups [{to} + {at} + 16], {x}",
            "add {at}, 32",
            "cmp {at}, {end}",
            "jb 2b",
            "movups [{to} + {end}], {y}",
            "movups [{to} + {end} + 16], {z}",
            w = out(xmm_reg) _, x = out(xmm_reg) _, y = out(xmm_reg) _, z = out(xmm_reg) _,
            at = inout(reg) 0_usize => _, end = in(reg) n - 32, from = in(reg) from, to = in(reg) to, options(nostack)
        );
    }
}

/// Copies `n` bytes from `from` to `to`, which may overlap.
///
/// # Safety
/// As for C's `memmove`.
// SAFETY: as for memcpy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= n || n <= 32 {
        // SAFETY: `to` does not lie within the source, so copying upwards reads each byte before it is overwritten; and
        // up to 32 bytes are all read before one is written.
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
    let bytes = u64::from(value as u8) * 0x0101_0101_0101_0101;
    // SAFETY: every x86-64 CPU has SSE2.
    let vector = unsafe { _mm_set1_epi8(value as i8) };
    match n {
        0 => {}
        // SAFETY: by the caller's promise.
        1..2 => unsafe { set_ends(to, bytes as u8, n) },
        // SAFETY: the same.
        2..4 => unsafe { set_ends(to, bytes as u16, n) },
        // SAFETY: the same.
        4..8 => unsafe { set_ends(to, bytes as u32, n) },
        // SAFETY: the same.
        8..16 => unsafe { set_ends(to, bytes, n) },
        // SAFETY: writes `n` bytes, and the last 16 once more.
        16..=SHORT => unsafe {
            asm!(
                "2: movups [{to} + {at}], {word}",
                "add {at}, 16",
                "cmp {at}, {end}",
                "jb 2b",
                "movups [{to} + {end}], {word}",
                word = in(xmm_reg) vector, at = inout(reg) 0_usize => _,
                end = in(reg) n - 16, to = in(reg) to, options(nostack)
            );
        },
        // SAFETY: the same; the direction flag is clear (psABI).
        _ => unsafe {
            asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") value as u8,
                 options(nostack, preserves_flags));
        },
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
