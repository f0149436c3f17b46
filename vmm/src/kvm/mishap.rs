//! What goes wrong in KVM, brought about by a test, to show what becomes of jobs then. Only [`ask`] and [`spoil`] are there in
//! other builds: they ask KVM, and do nothing.

#[cfg(not(test))]
use {kvm_bindings::kvm_run, kvm_ioctls::Error};

/// Asks KVM.
#[cfg(not(test))]
pub(super) fn ask<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    call()
}

/// Leaves what KVM says of an exit as it is.
#[cfg(not(test))]
pub(super) fn spoil(_run: &mut kvm_run) {}

#[cfg(test)]
pub(super) use plan::{ask, spoil};

#[cfg(test)]
mod plan {
    use kvm_bindings::{KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR, kvm_run};
    use kvm_ioctls::Error;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// One thing that goes wrong.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Mishap {
        /// A call fails with this number.
        Error(i32),
        /// A virtual CPU leaves with an internal error of KVM.
        Internal(u32),
        /// A virtual CPU cannot be entered.
        Entry,
    }

    struct Plan {
        mishap: Mishap,
        /// How often it goes well before.
        left: u64,
        happened: bool,
    }

    // Of the process: the threads of a worker are not the test's.
    static PLAN: Mutex<Option<Plan>> = Mutex::new(None);

    fn plan() -> MutexGuard<'static, Option<Plan>> {
        PLAN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something goes wrong, once, after it has gone well so often.
    pub(super) fn arrange(mishap: Mishap, left: u64) {
        *plan() = Some(Plan { mishap, left, happened: false });
    }

    /// Nothing goes wrong any more. Whether it did.
    pub(super) fn cancel() -> bool {
        plan().take().is_some_and(|plan| plan.happened)
    }

    /// Whether what is arranged, if it is of this kind, goes wrong now.
    fn due(kind: impl Fn(Mishap) -> bool) -> Option<Mishap> {
        let mut plan = plan();
        let plan = plan.as_mut().filter(|plan| !plan.happened && kind(plan.mishap))?;
        plan.happened = plan.left == 0;
        plan.left = plan.left.saturating_sub(1);
        plan.happened.then_some(plan.mishap)
    }

    /// Asks KVM, or fails.
    pub(in crate::kvm) fn ask<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        match due(|mishap| matches!(mishap, Mishap::Error(_))) {
            Some(Mishap::Error(errno)) => Err(Error::new(errno)),
            _ => call(),
        }
    }

    /// Changes what KVM says of an exit.
    pub(in crate::kvm) fn spoil(run: &mut kvm_run) {
        match due(|mishap| !matches!(mishap, Mishap::Error(_))) {
            Some(Mishap::Internal(suberror)) => {
                run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
                run.__bindgen_anon_1.internal.suberror = suberror;
            }
            Some(Mishap::Entry) => {
                run.exit_reason = KVM_EXIT_FAIL_ENTRY;
                run.__bindgen_anon_1.fail_entry.hardware_entry_failure_reason = 0x8000_0021;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
