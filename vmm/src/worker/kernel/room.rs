//! Memory as the gatekeeper counts it: what VMs take, and who waits for some, in order. Sizes go in, decisions come out.
//!
//! A VM is charged before it comes into memory: a new one with what each costs, one that slept with what it had. From then on
//! it is charged what was last measured. Whoever comes while others wait, waits behind them; but where none can leave, one comes
//! from the disk before them, beyond the budget if need be, for its place there lets another leave.

use crate::{
    schedule::VmKey,
    worker::shelf::{Charge, Kept},
};
use std::collections::{BTreeMap, BTreeSet};

/// What a VM costs its host beside its own pages: the kernel's tables for it, in KiB.
///
/// Measured on software KVM (Linux 6.18) by `denali bench scale`: what 10,000 idle VMs take of the host's memory, less their
/// own pages.
pub(in crate::worker) const OVERHEAD_KIB: u64 = 540;

/// Memory that is to be free ahead of those that come, in KiB: an eighth, or so much. They need not wait for others to leave
/// then, which takes longer than to come.
const AHEAD_KIB: u64 = 10 << 10;

/// A place in the queue for memory. Those that are in memory come first: others may wait for what they have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ticket {
    outside: bool,
    number: u64,
}

/// What a VM wants that waits for memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// So many KiB, for a VM that is to be made.
    Start(u64),
    /// So many KiB, for one that is on disk.
    Return(u64),
    /// To go on: it is in memory, grew, and there is too little.
    GoOn,
}

impl Wish {
    pub(super) fn kib(self) -> u64 {
        match self {
            Self::Start(kib) | Self::Return(kib) => kib,
            Self::GoOn => 0,
        }
    }
}

/// The memory of a worker's VMs.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) budget_kib: u64,
    taken_kib: u64,
    /// Of that, what those were charged that were let in and are not here yet.
    coming_kib: u64,
    /// VMs that take some.
    holders: usize,
    /// What hardware without a VM takes.
    kept: Kept,
    /// What hardware takes of VMs that left or ended, until it is put back or destroyed.
    going: Kept,
    queue: BTreeMap<Ticket, (VmKey, Wish)>,
    /// Of the queue, those on disk.
    returns: BTreeSet<Ticket>,
    tickets: u64,
    /// Whether a VM that is in memory can leave it: there is a disk, and it takes VMs.
    pub(super) has_exit: bool,
    /// The one VM that may grow although there is too little memory, and no exit.
    favourite: Option<VmKey>,
}

impl Room {
    /// No VMs, no bound, no disk.
    pub(super) fn new(kept: Kept) -> Self {
        Self {
            budget_kib: u64::MAX,
            taken_kib: 0,
            coming_kib: 0,
            holders: 0,
            kept,
            going: Kept::default(),
            queue: BTreeMap::new(),
            returns: BTreeSet::new(),
            tickets: 0,
            has_exit: false,
            favourite: None,
        }
    }

    /// What VMs take.
    pub(super) fn taken_kib(&self) -> u64 {
        self.taken_kib
    }

    /// A VM that took `before` takes `now`.
    pub(super) fn charge(&mut self, key: VmKey, before: u64, now: u64) {
        if now == 0 {
            // Others must not wait for one that is on disk.
            self.rests(key);
        }
        self.taken_kib = self.taken_kib.saturating_sub(before).saturating_add(now);
        self.holders = (self.holders + usize::from(now > 0)).saturating_sub(usize::from(before > 0));
    }

    /// Of what VMs take, so much is not free yet: it is counted until this is dropped.
    pub(super) fn going(&self, kib: u64) -> Charge {
        self.going.charge(kib)
    }

    /// VMs take more than they may. One alone may take what its own limit says: it would never fit.
    pub(super) fn is_over(&self) -> bool {
        self.holders > 1 && self.taken_kib > self.budget_kib
    }

    /// Whether someone should leave: someone waits, or will soon.
    pub(super) fn is_short(&self) -> bool {
        self.wants_leavers_ahead() || !self.queue.is_empty() || self.kept_too_much()
    }

    /// Whether a VM that idles for long should leave memory.
    pub(super) fn wants_leavers_ahead(&self) -> bool {
        self.is_full_for((self.budget_kib / 8).min(AHEAD_KIB))
    }

    /// Whether hardware without a VM has to go.
    pub(super) fn kept_too_much(&self) -> bool {
        self.kept.kib() > 0 && !self.may_keep(0)
    }

    /// Whether so much more hardware without a VM may be kept: then no VM has to go for it. While some come or wait, two pieces
    /// may always be on their way from one VM to the next.
    pub(super) fn may_keep(&self, kib: u64) -> bool {
        let passing_on = self.coming_kib > 0 || !self.queue.is_empty();
        let allowed = self.budget_kib.saturating_add(if passing_on { 2 * OVERHEAD_KIB } else { 0 });
        let here = self.taken_kib.saturating_sub(self.coming_kib);
        here.saturating_add(self.kept.kib()).saturating_add(kib) <= allowed
    }

    /// Whether a VM has to leave memory, for the first in the queue or because too much is taken.
    pub(super) fn wants_leavers(&self) -> bool {
        self.is_over() || (!self.queue.is_empty() && self.is_full_for(0))
    }

    fn is_full_for(&self, more_kib: u64) -> bool {
        let first = self.queue.first_key_value().map_or(0, |(_, (_, wish))| wish.kib());
        self.taken_kib > 0 && self.taken_kib.saturating_add(first).saturating_add(more_kib) > self.budget_kib
    }

    /// Whether a VM may come in, now and before those that wait. It is charged then.
    pub(super) fn ask(&self, wish: Wish) -> bool {
        (self.queue.is_empty() || self.makes_room(wish)) && self.has_room(wish)
    }

    /// Whether whoever wishes this makes room on the disk when it comes, so that another can leave, and none could before. Others
    /// wait for that, also those that came before.
    fn makes_room(&self, wish: Wish) -> bool {
        matches!(wish, Wish::Return(_)) && !self.has_exit
    }

    /// Whether a VM that grew, and stopped, has to wait.
    pub(super) fn must_pause(&mut self, key: VmKey) -> bool {
        let grows_on = !self.is_over() || self.has_exit || *self.favourite.get_or_insert(key) == key;
        !grows_on
    }

    /// A VM idles, or left memory.
    pub(super) fn rests(&mut self, key: VmKey) {
        self.favourite = self.favourite.filter(|favourite| *favourite != key);
    }

    fn has_room(&self, wish: Wish) -> bool {
        let taken_kib = self.taken_kib.saturating_add(self.going.kib());
        match wish {
            _ if taken_kib == 0 => true,
            Wish::GoOn => self.has_exit || !self.is_over() || self.favourite.is_none(),
            _ if self.makes_room(wish) && taken_kib <= self.budget_kib => true,
            Wish::Start(kib) | Wish::Return(kib) => taken_kib.saturating_add(kib) <= self.budget_kib,
        }
    }

    /// Puts a VM at the end of the queue.
    pub(super) fn queue(&mut self, key: VmKey, wish: Wish) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket { outside: wish != Wish::GoOn, number: self.tickets };
        self.queue.insert(ticket, (key, wish));
        if matches!(wish, Wish::Return(_)) {
            self.returns.insert(ticket);
        }
        ticket
    }

    /// A VM waits no more.
    pub(super) fn leave_queue(&mut self, ticket: Ticket) {
        self.queue.remove(&ticket);
        self.returns.remove(&ticket);
    }

    /// The first in the queue, if there is room for it, or else the first that makes some. The caller charges it.
    pub(super) fn let_in(&mut self) -> Option<(VmKey, Wish)> {
        let first = self.queue.first_key_value().map(|(ticket, _)| *ticket);
        let maker = self.returns.first().copied().filter(|_| !self.has_exit);
        let fits = |ticket: &Ticket| self.queue.get(ticket).is_some_and(|(_, wish)| self.has_room(*wish));
        let ticket = first.into_iter().chain(maker).find(fits)?;
        let (key, wish) = self.queue.remove(&ticket)?;
        self.returns.remove(&ticket);
        if wish == Wish::GoOn && self.is_over() && !self.has_exit {
            self.favourite = Some(key);
        }
        self.coming_kib += wish.kib();
        Some((key, wish))
    }

    /// One that was let in is here, or will not come.
    pub(super) fn came(&mut self, kib: u64) {
        self.coming_kib = self.coming_kib.saturating_sub(kib);
    }
}

#[cfg(test)]
mod tests;
