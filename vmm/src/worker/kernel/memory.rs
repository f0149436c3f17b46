//! The gatekeeper: holds the memory of all VMs to a budget. Hardware without a VM goes first; then VMs sleep on disk, those that
//! idle longest before others. What wakes a VM brings it back, as soon as there is room (see `room`).

use super::{
    Kernel, Resident,
    state::{Asked, Sleeper, Slot, Stage, State},
};
use crate::{
    schedule::VmKey,
    swap::SwapSpace,
    vm::{Loaded, WakeError},
    worker::keeper::Chore,
};
use denali_protocol::job::Usage;
use std::{
    fs::File,
    sync::{MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A VM that wakes so soon is not worth the trip.
const SOON: Duration = Duration::from_millis(200);

/// Memory of a VM up to which it goes before others, in KiB: to write a large one holds up those that wake meanwhile.
const SLEEPER_KIB: u64 = 64 << 10;

/// When it is looked again for one that may go, where there was none.
const LATER: Duration = Duration::from_millis(50);

/// How often the operator is told that a VM could not be written, at the most: the status says how many.
const COMPLAIN: Duration = Duration::from_secs(60);

/// VMs of each kind looked at for one that may go.
const LOOKS: usize = 64;

impl Kernel {
    pub(super) fn swap(&self) -> MutexGuard<'_, Option<SwapSpace>> {
        self.swap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// VMs may sleep in `file` from now on.
    pub(super) fn swap_into(&self, file: File, bytes: u64) {
        match SwapSpace::new(file, bytes) {
            Ok(space) => {
                let bytes = space.largest_hole();
                *self.swap() = Some(space);
                self.state().space_came(bytes);
            }
            // Without it the worker holds fewer VMs.
            Err(error) => eprintln!("denali worker: {error}"),
        }
        self.relieve();
    }

    /// Asks the keeper to make room, where there is too little.
    pub(super) fn relieve(&self) {
        let mut state = self.state();
        let asks = state.asks();
        if asks > state.asked {
            state.asked = asks;
            drop(state);
            self.keeper.give(Chore::Relieve);
        }
    }

    /// Makes some room, if memory is short, and says when to go on with it, if that makes sense. The keeper's: VMs can wake
    /// faster than they are written, so it does other chores in between.
    pub(in crate::worker) fn make_room(&self) -> Option<Instant> {
        let now = Instant::now();
        let kept_too_much = {
            let mut state = self.state();
            // It would be asked at each turn's end.
            if state.asked == Asked::RoomAhead && state.ahead_at.is_some_and(|at| now < at) {
                return state.ahead_at;
            }
            // Who asks from now on asks again.
            state.asked = Asked::Nothing;
            state.room.kept_too_much()
        };
        if kept_too_much && let Some(spare) = self.images.release() {
            drop(spare);
            return Some(now);
        }
        let has_disk = self.swap().is_some();
        if has_disk
            && let Some((key, resident)) = self.choose()
            && self.put_to_sleep(key, *resident)
        {
            return Some(now);
        }
        let mut state = self.state();
        state.ahead_at = Some(now + LATER);
        // Those that have not stayed long enough may go then, or another where one found no place, though nothing else happens.
        state.ahead_at.filter(|_| has_disk && state.room.wants_leavers())
    }

    /// The VM to go next, if one has to and one may.
    fn choose(&self) -> Option<(VmKey, Box<Resident>)> {
        let mut state = self.state();
        if state.closed.is_some() || !state.room.wants_leavers_ahead() {
            return None;
        }
        state.leaver = None;
        let Some(key) = next_to_leave(&state) else {
            // Those that run may go when they stop.
            state.leaver = next_to_stop(&state);
            // Where there are none, it has to go on as without a disk.
            if state.room.is_over() && state.scheduler.running() == 0 {
                state.set_exit(false);
                drop(state);
                self.ring();
            }
            return None;
        };
        let slot = state.slots.get_mut(&key)?;
        match std::mem::replace(&mut slot.stage, Stage::Leaving { wanted: false }) {
            Stage::Here(resident) => Some((key, resident)),
            stage => {
                slot.stage = stage;
                None
            }
        }
    }

    /// Writes a VM to disk. `false` where it makes no sense to go on at once.
    fn put_to_sleep(&self, key: VmKey, resident: Resident) -> bool {
        let begun = Instant::now();
        let Resident { vm, shelf, reimage, .. } = resident;
        let mut swap = self.swap();
        let Some(space) = &mut *swap else { return false };
        match vm.sleep(&self.host, space) {
            Ok((vm, hardware)) => {
                drop(swap);
                let (memory_kib, going) = {
                    let mut state = self.state();
                    (state.slots.get(&key).map_or(0, Slot::memory_kib), state.leave_hardware(key))
                };
                // Put back before anyone is let in, who may want just this. Destroyed here: the keeper must not wait for itself.
                drop(self.put_on_shelf(&shelf, hardware, memory_kib, reimage));
                drop(going);
                let mut state = self.state();
                state.counts.swapped_out += 1;
                state.counts.swap_out.note(begun.elapsed());
                state.room.has_exit = true;
                self.has_left(state, key, Stage::Asleep(Box::new(Sleeper { vm, memory_kib, shelf, reimage })));
                true
            }
            Err((vm, error)) => {
                let mut state = self.state();
                // No space comes free before this is noted.
                state.stick(key, error.needed());
                drop(swap);
                state.counts.swap_failures += 1;
                let complains = state.complained.is_none_or(|before| begun >= before + COMPLAIN);
                if complains {
                    state.complained = Some(begun);
                }
                // Where too much is taken, another one may have room.
                let go_on = state.room.is_over();
                if !go_on {
                    state.set_exit(false);
                }
                self.has_left(state, key, Stage::Here(Box::new(Resident::of(*vm, shelf, reimage))));
                if complains {
                    eprintln!("denali worker: {error}");
                }
                go_on
            }
        }
    }

    /// Hardware was destroyed: others may have waited for its memory.
    pub(in crate::worker) fn destroyed(&self) {
        let mut state = self.state();
        state.let_in();
        if state.scheduler.has_waiting() {
            drop(state);
            self.ring();
        }
    }

    /// The keeper gives a VM back, in this stage.
    fn has_left(&self, mut state: MutexGuard<'_, State>, key: VmKey, stage: Stage) {
        state.scheduler.swapped(key);
        let Some(slot) = state.slots.get_mut(&key) else { return };
        let wanted = matches!(slot.stage, Stage::Leaving { wanted: true }) || slot.has_news();
        slot.stage = stage;
        slot.came = None;
        state.let_in();
        if wanted {
            state.wake(key);
        }
        // It, or one that waited for its memory.
        if state.scheduler.has_waiting() {
            drop(state);
            self.ring();
        }
    }

    /// A VM on disk is not wanted any more. Gives what it used.
    pub(super) fn let_go(&self, sleeper: Sleeper) -> Usage {
        let (usage, bytes) = match &mut *self.swap() {
            Some(space) => (sleeper.vm.forget(space), space.largest_hole()),
            None => (sleeper.vm.usage(), 0),
        };
        self.state().space_came(bytes);
        usage
    }

    /// Brings a VM back.
    pub(super) fn bring_back(&self, sleeper: Sleeper) -> Result<Resident, WakeError> {
        let begun = Instant::now();
        let hardware = match sleeper.shelf.take_for(&self.host, sleeper.vm.template(), sleeper.reimage) {
            Ok(hardware) => hardware,
            Err(error) => {
                self.let_go(sleeper);
                return Err(error.into());
            }
        };
        let Sleeper { vm, shelf, reimage, .. } = sleeper;
        let (loaded, bytes) = match &mut *self.swap() {
            Some(space) => (vm.load(hardware, space), space.largest_hole()),
            None => (Err(WakeError::NoSpace), 0),
        };
        let vm = loaded.and_then(Loaded::wake);
        let mut state = self.state();
        // Its place on the disk is free, however that went.
        state.space_came(bytes);
        let vm = vm?;
        state.counts.swapped_in += 1;
        state.counts.swap_in.note(begun.elapsed());
        Ok(Resident::of(vm, shelf, reimage))
    }
}

/// Of those in memory the one to go first: who idles longest and does not wake soon; else, since something must give, who
/// would wait longest for its turn; else who idles at all.
fn next_to_leave(state: &State) -> Option<VmKey> {
    let now = Instant::now();
    let slot = |key: &VmKey| state.slots.get(key).filter(|slot| slot.may_leave());
    let small = |key: &VmKey| slot(key).is_some_and(|slot| slot.memory_kib() <= SLEEPER_KIB);
    // To put out who has just come would be work without end; but where too much is taken, no one gets a turn before.
    let over = state.room.is_over();
    let stayed = |key: &VmKey| slot(key).is_some_and(|slot| over || slot.stayed(now));
    let scheduler = &state.scheduler;
    let idle = scheduler.longest_idle(now + SOON, LOOKS).find(small);
    if idle.is_some() || !state.room.wants_leavers() {
        return idle;
    }
    scheduler.latest_turns(LOOKS).find(stayed).or_else(|| scheduler.longest_idle(now, LOOKS).find(stayed))
}

/// Where one has to go and all compute: of those that stayed long enough, who came first.
fn next_to_stop(state: &State) -> Option<VmKey> {
    let now = Instant::now();
    let came = |key: &VmKey| state.slots.get(key).filter(|slot| slot.may_leave() && slot.stayed(now))?.came;
    let wanted = state.room.wants_leavers();
    state.scheduler.on_cpus().filter(|key| wanted && came(key).is_some()).min_by_key(came)
}

#[cfg(test)]
mod tests;
