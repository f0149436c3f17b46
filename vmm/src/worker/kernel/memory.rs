//! The gatekeeper: holds the memory of all VMs to a budget. Hardware without a VM goes first; then VMs sleep on disk, those that
//! idle longest before others. What wakes a VM brings it back, as soon as there is room (see `room`).

use super::{
    Kernel, Resident,
    state::{Asked, Sleeper, Slot, Stage, State},
    vms::Vms,
};
use crate::{
    schedule::VmKey,
    swap::SwapSpace,
    vm::{Loaded, WakeError},
    worker::{ending::tell, keeper::Chore},
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
            Err(error) => tell(&error),
        }
        self.relieve();
    }

    /// Asks the keeper to make room, where there is too little.
    pub(super) fn relieve(&self) {
        let asks = self.state().ask();
        if asks {
            self.keeper.give(Chore::Relieve);
        }
    }

    /// Makes some room, if memory is short, and says when to go on with it, if that makes sense. The keeper's: VMs can wake
    /// faster than they are written, so it does other chores in between.
    pub(in crate::worker) fn make_room(&self) -> Option<Instant> {
        let now = Instant::now();
        let kept_too_much = match self.state().begin_to_relieve() {
            Ok(kept_too_much) => kept_too_much,
            Err(later) => return Some(later),
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
        self.state().relieve_later(has_disk)
    }

    /// The VM to go next, if one has to and one may.
    fn choose(&self) -> Option<(VmKey, Box<Resident>)> {
        let choice = self.state().choose();
        match choice {
            Choice::Leaves(key, resident) => Some((key, resident)),
            Choice::None => None,
            Choice::Never => {
                self.ring();
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
                let others = state.left(key, Sleeper { vm, memory_kib, shelf, reimage });
                drop(state);
                if others {
                    self.ring();
                }
                true
            }
            Err((vm, error)) => {
                let mut state = self.state();
                // No space comes free before this is noted.
                let (go_on, others) = state.refused(key, Resident::of(*vm, shelf, reimage), error.needed());
                drop(swap);
                state.counts.swap_failures += 1;
                let complains = state.complained.is_none_or(|before| begun >= before + COMPLAIN);
                if complains {
                    state.complained = Some(begun);
                }
                drop(state);
                if others {
                    self.ring();
                }
                if complains {
                    tell(&error);
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

/// What the keeper finds that looks for a VM to leave memory.
pub(super) enum Choice<V: Vms> {
    /// This one goes.
    Leaves(VmKey, Box<V::Resident>),
    /// None may now, or none has to.
    None,
    /// None can, and those that waited for that go on.
    Never,
}

impl<V: Vms> State<V> {
    /// Whether the keeper is to be asked to make room.
    pub(super) fn ask(&mut self) -> bool {
        let asks = self.asks();
        let more = asks > self.asked;
        if more {
            self.asked = asks;
        }
        more
    }

    /// The keeper begins to make room. Whether hardware without a VM has to go; or when to look again.
    pub(super) fn begin_to_relieve(&mut self) -> Result<bool, Instant> {
        // It would be asked at each turn's end.
        if self.asked == Asked::RoomAhead
            && let Some(at) = self.ahead_at.filter(|at| self.now < *at)
        {
            return Err(at);
        }
        // Who asks from now on asks again.
        self.asked = Asked::Nothing;
        Ok(self.room.kept_too_much())
    }

    /// The keeper found none to go. When to look again, if that makes sense.
    pub(super) fn relieve_later(&mut self, has_disk: bool) -> Option<Instant> {
        self.ahead_at = Some(self.now + LATER);
        // Those that have not stayed long enough may go then, or another where one found no place, though nothing else happens.
        self.ahead_at.filter(|_| has_disk && self.room.wants_leavers())
    }

    /// Takes the VM to go next out, for the keeper.
    pub(super) fn choose(&mut self) -> Choice<V> {
        if self.closed.is_some() || !self.room.wants_leavers_ahead() {
            return Choice::None;
        }
        self.leaver = None;
        let Some(key) = self.next_to_leave() else {
            // Those that run may go when they stop.
            self.leaver = self.next_to_stop();
            // Where there are none, it has to go on as without a disk: so too where none may, whatever it does.
            let waits = self.room.is_over() && self.scheduler.running() == 0;
            let never = waits || self.room.wants_leavers() && !self.slots.values().any(Slot::may_leave);
            if never {
                self.set_exit(false);
            }
            return if never { Choice::Never } else { Choice::None };
        };
        let Some(slot) = self.slots.get_mut(&key) else { return Choice::None };
        match std::mem::replace(&mut slot.stage, Stage::Leaving { wanted: false }) {
            Stage::Here(resident) => Choice::Leaves(key, resident),
            stage => {
                slot.stage = stage;
                Choice::None
            }
        }
    }

    /// A VM is on disk. Whether there is something to do for a runner.
    pub(super) fn left(&mut self, key: VmKey, sleeper: V::Sleeper) -> bool {
        self.room.has_exit = true;
        self.give_back(key, Stage::Asleep(Box::new(sleeper)))
    }

    /// A VM could not be written to disk, where it needs so many bytes in one piece. Whether it makes sense to go on at once with
    /// another one, and whether there is something to do for a runner.
    pub(super) fn refused(&mut self, key: VmKey, resident: V::Resident, needed: u64) -> (bool, bool) {
        self.stick(key, needed);
        // Where too much is taken, another one may have room.
        let go_on = self.room.is_over();
        if !go_on {
            self.set_exit(false);
        }
        (go_on, self.give_back(key, Stage::Here(Box::new(resident))))
    }

    /// The keeper gives a VM back, in this stage. Whether there is something to do for a runner.
    fn give_back(&mut self, key: VmKey, stage: Stage<V>) -> bool {
        self.scheduler.swapped(key);
        let Some(slot) = self.slots.get_mut(&key) else { return false };
        let wanted = matches!(slot.stage, Stage::Leaving { wanted: true }) || slot.has_news();
        slot.stage = stage;
        slot.came = None;
        self.let_in();
        if wanted {
            self.wake(key);
        }
        // It, or one that waited for its memory.
        self.scheduler.has_waiting()
    }

    /// Of those in memory the one to go first: who idles longest and does not wake soon; else, since something must give, who
    /// would wait longest for its turn; else who idles at all.
    fn next_to_leave(&self) -> Option<VmKey> {
        let now = self.now;
        let slot = |key: &VmKey| self.slots.get(key).filter(|slot| slot.may_leave());
        let small = |key: &VmKey| slot(key).is_some_and(|slot| slot.memory_kib() <= SLEEPER_KIB);
        // To put out who has just come would be work without end; but where too much is taken, no one gets a turn before.
        let over = self.room.is_over();
        let stayed = |key: &VmKey| slot(key).is_some_and(|slot| over || slot.stayed(now));
        let scheduler = &self.scheduler;
        let idle = scheduler.longest_idle(now + SOON, LOOKS).find(small);
        if idle.is_some() || !self.room.wants_leavers() {
            return idle;
        }
        scheduler.latest_turns(LOOKS).find(stayed).or_else(|| scheduler.longest_idle(now, LOOKS).find(stayed))
    }

    /// Where one has to go and all compute: of those that stayed long enough, who came first.
    fn next_to_stop(&self) -> Option<VmKey> {
        let came = |key: &VmKey| self.slots.get(key).filter(|slot| slot.may_leave() && slot.stayed(self.now))?.came;
        let wanted = self.room.wants_leavers();
        self.scheduler.on_cpus().filter(|key| wanted && came(key).is_some()).min_by_key(came)
    }
}

#[cfg(test)]
mod tests;
