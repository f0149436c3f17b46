//! State of the library OS: one of each in a VM with one virtual CPU and no threads.

use core::cell::{RefCell, RefMut};

/// A `RefCell` that may be a static, because nothing in a VM runs at the same time.
pub(crate) struct VmCell<T>(RefCell<T>);

// SAFETY: a Denali VM has one virtual CPU, and this library has no threads and takes no upcalls: no two accesses ever
// overlap in time. (A nested access by the same code panics, as with any RefCell.)
unsafe impl<T> Sync for VmCell<T> {}

impl<T> VmCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    pub(crate) fn borrow(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }

    /// As [`VmCell::borrow`]; `None` while it is borrowed.
    pub(crate) fn try_borrow(&self) -> Option<RefMut<'_, T>> {
        self.0.try_borrow_mut().ok()
    }
}
