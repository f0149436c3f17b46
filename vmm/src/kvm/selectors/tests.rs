use super::{clear, read};
use std::{arch::asm, cell::Cell};

thread_local! {
    static OWN: Cell<u32> = const { Cell::new(7) };
}

/// The thread finds its own data afterwards.
#[test]
fn selectors_are_cleared_and_bases_kept() {
    let stack: u16;
    // SAFETY: only reads a selector.
    unsafe { asm!("mov {0:x}, ss", out(reg) stack, options(nomem, nostack, preserves_flags)) };
    // SAFETY: these are loaded with a selector of a flat segment that every 64-bit process has.
    unsafe {
        asm!("mov ds, {0:x}", "mov es, {0:x}", "mov gs, {0:x}", in(reg) stack, options(nomem, nostack, preserves_flags));
    }
    assert_eq!(read(), [stack, stack, 0, stack]);
    OWN.set(8);
    clear();
    assert_eq!((read(), OWN.get()), ([0; 4], 8));
}
