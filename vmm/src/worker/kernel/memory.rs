//! The gatekeeper: holds the memory of all VMs to a budget. Those that idle longest sleep on disk; what wakes a VM brings it
//! back. Where there is no disk for it, runs that have no VM yet wait.

use super::{
    Kernel, Resident,
    state::{OVERHEAD_KIB, Sleeper, Slot, Stage},
};
use crate::{schedule::VmKey, swap::SwapSpace, vm::WakeError, worker::keeper::Chore};
use denali_protocol::job::Usage;
use std::{
    fs::File,
    sync::{MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A VM that wakes so soon is not worth the trip.
const SOON: Duration = Duration::from_millis(200);

/// Memory of a VM up to which it may sleep on disk, in KiB.
const SLEEPER_KIB: u64 = 64 << 10;

/// Idle VMs looked at for one that may go.
const LOOKS: usize = 64;

impl Kernel {
    pub(super) fn swap(&self) -> MutexGuard<'_, Option<SwapSpace>> {
        self.swap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// VMs may sleep in `file` from now on.
    pub(super) fn swap_into(&self, file: File, bytes: u64) {
        match SwapSpace::new(file, bytes) {
            Ok(space) => *self.swap() = Some(space),
            // Without it the worker holds fewer VMs.
            Err(error) => eprintln!("denali worker: {error}"),
        }
        self.relieve();
    }

    /// Asks the keeper to make room, where there is too little.
    pub(super) fn relieve(&self) {
        let mut state = self.state();
        if state.is_short() && !std::mem::replace(&mut state.relieving, true) {
            drop(state);
            self.keeper.give(Chore::Relieve);
        }
    }

    /// Writes a VM to disk, if memory is short. `false` where it makes no sense to go on. The keeper's: VMs can wake faster
    /// than they are written, so it does other chores in between.
    pub(in crate::worker) fn make_room(&self) -> bool {
        // Who asks from now on asks again.
        self.state().relieving = false;
        let has_disk = self.swap().is_some();
        match has_disk.then(|| self.choose()).flatten() {
            Some((key, resident)) => self.put_to_sleep(key, *resident),
            None => false,
        }
    }

    /// The VM to go next, if one has to and one may.
    fn choose(&self) -> Option<(VmKey, Box<Resident>)> {
        let mut state = self.state();
        let wanted = if state.queue_for_memory.is_empty() { 0 } else { OVERHEAD_KIB };
        if state.closed.is_some() || state.memory_kib.saturating_add(wanted) <= state.budget_kib {
            return None;
        }
        let state = &mut *state;
        let soon = Instant::now() + SOON;
        let slots = &state.slots;
        // To write a large one would hold up those that wake meanwhile.
        let may_go = |slot: &Slot| matches!(slot.stage, Stage::Here(_)) && slot.memory_kib <= SLEEPER_KIB;
        let here = |key: &VmKey| slots.get(key).is_some_and(may_go);
        let key = state.scheduler.longest_idle(soon, LOOKS).find(here)?;
        let slot = state.slots.get_mut(&key)?;
        match std::mem::replace(&mut slot.stage, Stage::Leaving { wanted: false }) {
            Stage::Here(resident) => Some((key, resident)),
            stage => {
                slot.stage = stage;
                None
            }
        }
    }

    /// Writes a VM to disk. `false` where it makes no sense to go on.
    fn put_to_sleep(&self, key: VmKey, resident: Resident) -> bool {
        let begun = Instant::now();
        let Resident { vm, shelf, reimage } = resident;
        let mut swap = self.swap();
        let Some(space) = &mut *swap else { return false };
        let (stage, hardware) = match vm.sleep(&self.host, space) {
            Ok((vm, hardware)) => {
                (Stage::Asleep(Box::new(Sleeper { vm, shelf: shelf.clone(), reimage })), Some(hardware))
            }
            Err((vm, error)) => {
                eprintln!("denali worker: {error}");
                (Stage::Here(Box::new(Resident { vm: *vm, shelf: shelf.clone(), reimage })), None)
            }
        };
        drop(swap);
        let slept = hardware.is_some();
        {
            let mut state = self.state();
            if slept {
                state.set_memory(key, 0);
                state.counts.swapped_out += 1;
                state.counts.swap_out.note(begun.elapsed());
            } else {
                state.counts.swap_failures += 1;
            }
            // One that could not go is not tried again before it has run.
            state.scheduler.swapped(key);
            let Some(slot) = state.slots.get_mut(&key) else { return slept };
            let wanted = matches!(slot.stage, Stage::Leaving { wanted: true }) || slot.has_news();
            slot.stage = stage;
            if wanted {
                state.wake(key);
            }
            // It, or one that waited for its memory.
            if state.scheduler.has_waiting() {
                drop(state);
                self.ring();
            }
        }
        if let Some(hardware) = hardware {
            // Destroyed here: the keeper must not wait for itself.
            drop(self.put_on_shelf(&shelf, hardware, reimage));
        }
        slept
    }

    /// A VM on disk is not wanted any more. Gives what it used.
    pub(super) fn let_go(&self, sleeper: Sleeper) -> Usage {
        match &mut *self.swap() {
            Some(space) => sleeper.vm.forget(space),
            None => sleeper.vm.usage(),
        }
    }

    /// Brings a VM back.
    pub(super) fn bring_back(&self, sleeper: Sleeper) -> Result<Resident, WakeError> {
        let begun = Instant::now();
        let Sleeper { vm, shelf, reimage } = sleeper;
        let hardware = match shelf.take_for(&self.host, vm.template(), reimage) {
            Ok(hardware) => hardware,
            Err(error) => {
                self.let_go(Sleeper { vm, shelf, reimage });
                return Err(error.into());
            }
        };
        let mut space = self.swap();
        let Some(space) = &mut *space else { return Err(WakeError::NoSpace) };
        let vm = vm.wake(hardware, space)?;
        let mut state = self.state();
        state.counts.swapped_in += 1;
        state.counts.swap_in.note(begun.elapsed());
        Ok(Resident { vm, shelf, reimage })
    }
}
