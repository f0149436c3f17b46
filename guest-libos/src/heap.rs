//! The heap: all memory from the end of the rings to the end of the VM, by the allocator talc.

use crate::interrupt;
use core::{
    alloc::{GlobalAlloc, Layout},
    sync::atomic::{AtomicBool, Ordering},
};
use talc::{ErrOnOom, Span, Talc, Talck, locking::AssumeUnlockable};

/// The global allocator. [`crate::main!`] makes one.
pub struct Heap(Talck<AssumeUnlockable, ErrOnOom>);

/// The last allocation failed: the panic that follows is the program's end for want of memory.
static EXHAUSTED: AtomicBool = AtomicBool::new(false);

impl Heap {
    /// An allocator without memory.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a static is made of it, which Default can't")]
    pub const fn new() -> Self {
        // SAFETY: `AssumeUnlockable` asks that no two calls overlap in time: a VM has one virtual CPU and no threads,
        // the allocator never calls back, and it is called with interrupts disabled.
        Self(Talc::new(ErrOnOom).lock())
    }

    /// Gives it the memory that the VMM names in the virtual registers. Call once.
    ///
    /// # Safety
    /// No one else may use that memory.
    pub(crate) unsafe fn claim(&self) {
        let registers = crate::vreg::read();
        let span = Span::new(registers.heap_start as *mut u8, registers.memory_bytes as *mut u8);
        // SAFETY: the VMM maps this range, zeroed and writable, for the heap alone.
        let claimed = unsafe { self.0.lock().claim(span) };
        // Nothing was claimed of a span too small: allocations fail then, and say so.
        let _ = claimed;
    }
}

/// Whether the last allocation failed.
pub(crate) fn exhausted() -> bool {
    EXHAUSTED.load(Ordering::Relaxed)
}

fn noted(pointer: *mut u8) -> *mut u8 {
    EXHAUSTED.store(pointer.is_null(), Ordering::Relaxed);
    pointer
}

// SAFETY: every method forwards to talc's allocator, which is one. Interrupts are disabled meanwhile, so that their handlers
// may allocate.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's promises, which are the same.
        noted(interrupt::without(|| unsafe { self.0.alloc(layout) }))
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        interrupt::without(|| unsafe { self.0.dealloc(pointer, layout) });
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        noted(interrupt::without(|| unsafe { self.0.realloc(pointer, layout, size) }))
    }
}
