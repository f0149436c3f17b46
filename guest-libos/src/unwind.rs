//! Symbols of the unwinder, which compiled `alloc` and `core` refer to. Guests are built with `panic=abort`, so nothing
//! ever unwinds; without link-time optimisation the references stay all the same.

/// Never called: no frame is unwound.
// SAFETY: no unwinder is linked into a guest, so no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Never called, as above.
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    crate::instruction::terminate(crate::entry::STATUS_PANIC)
}
