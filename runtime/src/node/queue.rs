//! Which job starts next. No I/O, no clock, no VM: jobs go in, picks come out.
//!
//! Clients take turns, so that one with a hundred thousand jobs does not keep another waiting; within a client the order
//! is that of submission. At most `slots` jobs run at once, and of one client at most what the job at its front grants.
//! Each operation costs the same however much waits (cancelling one job costs by that client's waiting arrays).

use denali_protocol::{identity::PublicKey, job::Indices};
use std::collections::{HashMap, VecDeque};

/// Names a job or an array while it is in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Ticket(pub(crate) u64);

/// A job that may start now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pick {
    /// The client.
    pub(crate) client: PublicKey,
    /// The job or array.
    pub(crate) ticket: Ticket,
    /// Its index.
    pub(crate) index: u32,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Entry {
    ticket: Ticket,
    /// Most VMs of the client at once while this is at its front.
    vms: u32,
    /// What waits, never empty.
    waiting: VecDeque<Indices>,
}

#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
struct Client {
    entries: VecDeque<Entry>,
    running: u32,
    waiting: u32,
    /// Whether it is in the ring.
    in_turn: bool,
}

impl Client {
    fn can_start(&self) -> bool {
        self.entries.front().is_some_and(|entry| self.running < entry.vms)
    }
}

/// Everything that waits or runs.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Queue {
    slots: u32,
    running: u32,
    waiting: u32,
    clients: HashMap<PublicKey, Client>,
    /// Clients that can start a job, in the order of their turns.
    ring: VecDeque<PublicKey>,
}

impl Queue {
    /// An empty queue for `slots` VMs at once.
    pub(crate) fn new(slots: u32) -> Self {
        Self { slots, running: 0, waiting: 0, clients: HashMap::new(), ring: VecDeque::new() }
    }

    /// Jobs that wait or run, of all clients.
    pub(crate) fn len(&self) -> u32 {
        self.waiting.saturating_add(self.running)
    }

    /// Jobs of one client that wait or run.
    pub(crate) fn len_of(&self, client: PublicKey) -> u32 {
        self.clients.get(&client).map_or(0, |state| state.waiting.saturating_add(state.running))
    }

    /// Each client that has jobs here: those that wait, and those that run.
    pub(crate) fn clients(&self) -> impl Iterator<Item = (PublicKey, u32, u32)> {
        self.clients.iter().map(|(client, state)| (*client, state.waiting, state.running))
    }

    /// Adds a job or array at the end of its client's line. A client may have `vms` VMs while this is at its front.
    pub(crate) fn submit(&mut self, client: PublicKey, ticket: Ticket, waiting: VecDeque<Indices>, vms: u32) {
        let jobs = waiting.iter().map(Indices::count).fold(0, u32::saturating_add);
        if jobs == 0 {
            return;
        }
        self.waiting = self.waiting.saturating_add(jobs);
        let state = self.clients.entry(client).or_default();
        state.waiting = state.waiting.saturating_add(jobs);
        state.entries.push_back(Entry { ticket, vms: vms.max(1), waiting });
        self.take_turn(client);
    }

    /// Puts a job whose run was lost back, at the front: it has waited already. Its slot is free again.
    pub(crate) fn retry(&mut self, pick: Pick, vms: u32) {
        let index = Indices { first: pick.index, last: pick.index };
        let state = self.clients.entry(pick.client).or_default();
        match state.entries.iter_mut().find(|entry| entry.ticket == pick.ticket) {
            Some(entry) => entry.waiting.push_front(index),
            None => state.entries.push_front(Entry { ticket: pick.ticket, vms: vms.max(1), waiting: [index].into() }),
        }
        state.waiting = state.waiting.saturating_add(1);
        self.waiting = self.waiting.saturating_add(1);
        self.ended(pick.client);
    }

    /// The next job to start, if one may: it counts as running from here on.
    pub(crate) fn pick(&mut self) -> Option<Pick> {
        if self.running >= self.slots {
            return None;
        }
        while let Some(client) = self.ring.pop_front() {
            let Some(state) = self.clients.get_mut(&client) else { continue };
            state.in_turn = false;
            if !state.can_start() {
                self.forget_idle(client);
                continue;
            }
            let Some(entry) = state.entries.front_mut() else { continue };
            let Some(range) = entry.waiting.front_mut() else { continue };
            let pick = Pick { client, ticket: entry.ticket, index: range.first };
            if range.first == range.last {
                entry.waiting.pop_front();
            } else {
                range.first += 1;
            }
            if entry.waiting.is_empty() {
                state.entries.pop_front();
            }
            state.waiting -= 1;
            state.running += 1;
            self.waiting -= 1;
            self.running += 1;
            self.take_turn(client);
            return Some(pick);
        }
        None
    }

    /// A run of `client` is over.
    pub(crate) fn ended(&mut self, client: PublicKey) {
        self.running = self.running.saturating_sub(1);
        if let Some(state) = self.clients.get_mut(&client) {
            state.running = state.running.saturating_sub(1);
        }
        self.take_turn(client);
        self.forget_idle(client);
    }

    /// Takes what waits of a job out of the queue. What runs of it still counts as running.
    pub(crate) fn cancel(&mut self, client: PublicKey, ticket: Ticket) -> VecDeque<Indices> {
        let Some(state) = self.clients.get_mut(&client) else { return VecDeque::new() };
        let Some(at) = state.entries.iter().position(|entry| entry.ticket == ticket) else { return VecDeque::new() };
        let taken = state.entries.remove(at).map(|entry| entry.waiting).unwrap_or_default();
        let jobs = taken.iter().map(Indices::count).fold(0, u32::saturating_add);
        state.waiting = state.waiting.saturating_sub(jobs);
        self.waiting = self.waiting.saturating_sub(jobs);
        // Another entry is at the front now, perhaps one that may have more VMs.
        self.take_turn(client);
        self.forget_idle(client);
        taken
    }

    /// A client with nothing here takes no room.
    fn forget_idle(&mut self, client: PublicKey) {
        let idle = |state: &Client| state.running == 0 && state.entries.is_empty() && !state.in_turn;
        if self.clients.get(&client).is_some_and(idle) {
            self.clients.remove(&client);
        }
    }

    fn take_turn(&mut self, client: PublicKey) {
        if let Some(state) = self.clients.get_mut(&client)
            && !state.in_turn
            && state.can_start()
        {
            state.in_turn = true;
            self.ring.push_back(client);
        }
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
