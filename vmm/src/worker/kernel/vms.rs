//! What the threads of a kernel hold of a run, as [`State`](super::state::State) sees it. It asks little of it, so that a model of
//! these threads does with less than a VM, and with the very same [`State`](super::state::State).

use super::{Pending, Resident, state::Sleeper};
use crate::kvm;
use std::time::Instant;

/// What is held of runs, and what is asked of it.
pub(super) trait Vms {
    /// A run that has no VM yet.
    type Pending;
    /// A VM in memory.
    type Resident;
    /// A VM on disk.
    type Sleeper;
    /// A runner.
    type Thread: Copy;

    /// Whether the input of a run comes from a descriptor.
    fn has_source(pending: &Self::Pending) -> bool;

    /// When the wall time of a VM in memory is over.
    fn deadline_here(resident: &Self::Resident) -> Option<Instant>;

    /// Bytes of input that such a VM has and has not taken.
    fn input_left(resident: &Self::Resident) -> usize;

    /// When the wall time of a VM on disk is over.
    fn deadline_asleep(sleeper: &Self::Sleeper) -> Option<Instant>;

    /// What such a VM takes when it is in memory.
    fn memory_kib(sleeper: &Self::Sleeper) -> u64;

    /// Interrupts what a runner does.
    fn kick(thread: Self::Thread);
}

/// Those of a worker.
pub(super) struct Real;

impl Vms for Real {
    type Pending = Pending;
    type Resident = Resident;
    type Sleeper = Sleeper;
    type Thread = kvm::Thread;

    fn has_source(pending: &Pending) -> bool {
        pending.input.is_some()
    }

    fn deadline_here(resident: &Resident) -> Option<Instant> {
        resident.vm.deadline()
    }

    fn input_left(resident: &Resident) -> usize {
        resident.vm.input_left()
    }

    fn deadline_asleep(sleeper: &Sleeper) -> Option<Instant> {
        sleeper.vm.deadline()
    }

    fn memory_kib(sleeper: &Sleeper) -> u64 {
        sleeper.memory_kib
    }

    fn kick(thread: kvm::Thread) {
        thread.kick();
    }
}
