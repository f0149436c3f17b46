//! The heap: all memory from the end of the rings to the end of the VM, by the allocator talc.

use crate::interrupt;
use core::{
    alloc::{GlobalAlloc, Layout},
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};
use talc::{ErrOnOom, Span, Talc, Talck, locking::AssumeUnlockable};

/// The global allocator. [`crate::main!`] makes one.
pub struct Heap(Talck<AssumeUnlockable, ErrOnOom>);

/// The least alignment of memory.
const ALIGNMENT: usize = 16;

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

    /// Gives it the memory that the VMM names in the virtual registers, `bytes` of it at most, and gives back what is left. Call
    /// once.
    ///
    /// # Safety
    /// No one else may use that memory.
    pub unsafe fn claim(&self, bytes: u64) -> Range<u64> {
        let registers = crate::vreg::read();
        let end = registers.heap_start.saturating_add(bytes).min(registers.memory_bytes);
        let span = Span::new(registers.heap_start as *mut u8, end as *mut u8);
        // SAFETY: the VMM maps this range, zeroed and writable, for the heap alone.
        let claimed = unsafe { self.0.lock().claim(span) };
        // Nothing was claimed of a span too small: allocations fail then, and say so.
        let _ = claimed;
        end..registers.memory_bytes
    }
}

/// Whether the last allocation failed.
pub(crate) fn exhausted() -> bool {
    EXHAUSTED.load(Ordering::Relaxed)
}

/// What is really asked of the allocator: memory aligned as C's `malloc` aligns it, which programs that use vectors of 16
/// bytes are faster by, often a tenth.
fn aligned(layout: Layout) -> Layout {
    layout.align_to(ALIGNMENT).unwrap_or(layout)
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
        noted(interrupt::without(|| unsafe { self.0.alloc(aligned(layout)) }))
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        interrupt::without(|| unsafe { self.0.dealloc(pointer, aligned(layout)) });
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        noted(interrupt::without(|| unsafe { self.0.realloc(pointer, aligned(layout), size) }))
    }
}
