//! State of the library OS: one of each in a VM with one virtual CPU and no threads.

use core::{
    cell::UnsafeCell,
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicBool, Ordering, compiler_fence},
};

/// A cell that may be a static, since nothing in a VM runs at the same time. A handler of interrupts or faults may find it
/// borrowed by the code that it interrupted: waiting would be for ever, so it panics.
pub(crate) struct VmCell<T> {
    borrowed: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: a Denali VM has one virtual CPU and this library no threads. Handlers run between two instructions, to their end;
// `borrowed` keeps them, like nested calls, from a value in use.
unsafe impl<T> Sync for VmCell<T> {}

/// A borrowed value.
pub(crate) struct Borrowed<'a, T>(&'a VmCell<T>);

impl<T> VmCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { borrowed: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[track_caller]
    pub(crate) fn borrow(&self) -> Borrowed<'_, T> {
        self.try_borrow().expect("already in use, by this code or the code that this handler interrupted")
    }

    /// As [`VmCell::borrow`]; `None` while it is borrowed.
    pub(crate) fn try_borrow(&self) -> Option<Borrowed<'_, T>> {
        // A handler between the two leaves the flag as it found it.
        if self.borrowed.load(Ordering::Relaxed) {
            return None;
        }
        self.borrowed.store(true, Ordering::Relaxed);
        // One CPU: only the compiler could reorder.
        compiler_fence(Ordering::Acquire);
        Some(Borrowed(self))
    }
}

impl<T> Deref for Borrowed<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the flag is set for as long as this guard lives, so there is no other reference.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Borrowed<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Borrowed<'_, T> {
    fn drop(&mut self) {
        compiler_fence(Ordering::Release);
        self.0.borrowed.store(false, Ordering::Relaxed);
    }
}
