//! The library for programs in C, see `include/denali.h`. The program defines `int main(int argc, char **argv)`;
//! [`crate::c_main!`] makes it the image's entry.

use crate::{Job, channel, clock, entry, random, stream};
use alloc::{
    alloc::{alloc, dealloc},
    ffi::CString,
    vec::Vec,
};
use core::{
    alloc::Layout,
    ffi::{CStr, c_char, c_int},
    ptr, slice,
};
use denali_abi::job::{ERROR, FILE, OUTPUT, PROGRESS};

unsafe extern "C" {
    /// The program's `main`.
    #[link_name = "main"]
    fn c_main(argc: c_int, argv: *const *const c_char) -> c_int;
}

/// Calls the C `main` with the job's arguments.
#[doc(hidden)]
pub fn run(job: &mut Job) -> u8 {
    let name = CString::from(c"job");
    let arguments: Vec<CString> = core::iter::once(name)
        .chain(job.arguments().iter().map(|a| CString::new(a.replace('\0', "")).unwrap_or_default()))
        .collect();
    let mut pointers: Vec<*const c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
    pointers.push(ptr::null());
    // SAFETY: `argv` holds `argc` strings and a null, all of which live until the call returns.
    let status = unsafe { c_main(arguments.len() as c_int, pointers.as_ptr()) };
    status as u8
}

/// Makes the C function `main` the program.
#[macro_export]
macro_rules! c_main {
    () => {
        $crate::main!($crate::c::run);
    };
}

/// A slice of what C gave: empty for a null pointer.
///
/// # Safety
/// `data` is null or names `length` readable bytes.
unsafe fn given<'a>(data: *const u8, length: usize) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    // SAFETY: by the caller's promise.
    unsafe { slice::from_raw_parts(data, length) }
}

/// Reads up to `length` bytes of the input; 0 at its end.
///
/// # Safety
/// `buffer` names `length` writable bytes.
// SAFETY: the names here and below start with `denali_`, which the library keeps for itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn denali_read(buffer: *mut u8, length: usize) -> usize {
    // SAFETY: by the caller's promise.
    channel::read(unsafe { slice::from_raw_parts_mut(buffer, length) })
}

/// Writes to standard output (1) or standard error (2). Anything else is ignored.
///
/// # Safety
/// `data` names `length` readable bytes.
// SAFETY: see above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn denali_write(stream: c_int, data: *const u8, length: usize) {
    let kind = match stream {
        1 => OUTPUT,
        2 => ERROR,
        _ => return,
    };
    if length > 0 {
        // SAFETY: by the caller's promise.
        channel::send(kind, &[], unsafe { given(data, length) });
    }
}

/// Appends to a named output file, which exists from then on.
///
/// # Safety
/// `name` is a string; `data` names `length` readable bytes.
// SAFETY: see above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn denali_append(name: *const c_char, data: *const u8, length: usize) {
    // SAFETY: by the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    // SAFETY: by the caller's promise.
    channel::send(FILE, name.to_bytes(), unsafe { given(data, length) });
}

/// Says how far the job is, in thousandths.
// SAFETY: see above.
#[unsafe(no_mangle)]
pub extern "C" fn denali_progress(permille: u16) {
    channel::send(PROGRESS, &[], &permille.to_le_bytes());
}

/// Ends the job.
// SAFETY: see above.
#[unsafe(no_mangle)]
pub extern "C" fn denali_exit(status: c_int) -> ! {
    stream::flush();
    entry::exit(status as u8)
}

/// Nanoseconds since the VM's start.
// SAFETY: see above.
#[unsafe(no_mangle)]
pub extern "C" fn denali_clock_ns() -> u64 {
    clock::now_ns()
}

/// Fills `buffer` with random bytes.
///
/// # Safety
/// `buffer` names `length` writable bytes.
// SAFETY: see above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn denali_random(buffer: *mut u8, length: usize) {
    // SAFETY: by the caller's promise.
    random::fill(unsafe { slice::from_raw_parts_mut(buffer, length) });
}

/// Bytes before each block, which hold its size: C does not say it again when it gives the block back.
const HEADER: usize = 16;

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.checked_add(HEADER)?, HEADER).ok()
}

/// Allocates `size` bytes, aligned to 16; null when there is no memory.
// SAFETY: see above.
#[unsafe(no_mangle)]
pub extern "C" fn malloc(size: usize) -> *mut u8 {
    let Some(layout) = layout(size) else { return ptr::null_mut() };
    // SAFETY: the layout is not empty: it has the header.
    let block = unsafe { alloc(layout) };
    // SAFETY: `finish` takes null or a block of that layout.
    unsafe { finish(block, size) }
}

/// Writes the header of a block and gives the address after it.
///
/// # Safety
/// `block` is null or has room for the header.
unsafe fn finish(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        return block;
    }
    // SAFETY: by the caller's promise, and blocks are aligned to 16.
    unsafe { block.cast::<usize>().write(size) };
    // SAFETY: the block is longer than its header.
    unsafe { block.add(HEADER) }
}

/// The block that `pointer` was given for, and its size.
///
/// # Safety
/// `pointer` came from [`malloc`], [`calloc`] or [`realloc`] here and was not freed.
unsafe fn block_of(pointer: *mut u8) -> (*mut u8, usize) {
    // SAFETY: the header lies before it.
    let block = unsafe { pointer.sub(HEADER) };
    // SAFETY: as above.
    (block, unsafe { block.cast::<usize>().read() })
}

/// Allocates `count` times `size` bytes of zeros.
// SAFETY: see above.
#[unsafe(no_mangle)]
pub extern "C" fn calloc(count: usize, size: usize) -> *mut u8 {
    let Some(bytes) = count.checked_mul(size) else { return ptr::null_mut() };
    let pointer = malloc(bytes);
    if !pointer.is_null() {
        // SAFETY: the block has that many bytes.
        unsafe { pointer.write_bytes(0, bytes) };
    }
    pointer
}

/// Changes a block's size.
///
/// # Safety
/// As for C's `realloc`.
// SAFETY: see above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(pointer: *mut u8, size: usize) -> *mut u8 {
    if pointer.is_null() {
        return malloc(size);
    }
    // SAFETY: by the caller's promise.
    let (block, old) = unsafe { block_of(pointer) };
    let (Some(old), Some(new)) = (layout(old), layout(size)) else { return ptr::null_mut() };
    // SAFETY: the block was made with the old layout; the new size is not zero.
    let block = unsafe { alloc::alloc::realloc(block, old, new.size()) };
    // SAFETY: null, or a block of the new size.
    unsafe { finish(block, size) }
}

/// Gives a block back.
///
/// # Safety
/// As for C's `free`.
// SAFETY: see above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(pointer: *mut u8) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: by the caller's promise.
    let (block, size) = unsafe { block_of(pointer) };
    if let Some(layout) = layout(size) {
        // SAFETY: the block was made with this layout.
        unsafe { dealloc(block, layout) };
    }
}
