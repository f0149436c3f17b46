//! How many CPUs each worker may use. No clock, no processes: demands come in, leases go out.
//!
//! CPUs are divided between the tenants that want any, and a tenant's between its workers, each time max-min fairly: no
//! one gets more than it wants, and no one gets less than another does, unless it wants no more. Where that does not come
//! out even, some get one CPU more than the others; [`Leases::rotate`] passes these on, so that over time all get the same.
//!
//! A worker that wants nothing gets a CPU that no one wants, so that its next job need not wait for an answer.

use std::collections::BTreeMap;

/// The CPUs of a node, and the workers they are leased to.
#[derive(Debug)]
pub(crate) struct Leases<Tenant, Worker> {
    cpus: u32,
    tenants: BTreeMap<Tenant, Workers<Worker>>,
    /// The end of every line.
    next_place: u64,
}

/// The workers of one tenant.
#[derive(Debug)]
struct Workers<Worker> {
    turn: Turn,
    entries: BTreeMap<Worker, Entry>,
}

#[derive(Debug)]
struct Entry {
    demand: u32,
    lease: u32,
    /// The lease that the caller knows of.
    told: u32,
    turn: Turn,
}

/// A place in the line for CPUs that do not divide evenly.
#[derive(Debug)]
struct Turn {
    /// The least is first. No two in a line have the same.
    place: u64,
    /// Whether it had such a CPU since the last rotation, however shortly.
    served: bool,
}

impl<Tenant: Ord + Clone, Worker: Ord + Clone> Leases<Tenant, Worker> {
    /// No workers, and so many CPUs to lease to them.
    pub(crate) fn new(cpus: u32) -> Self {
        Self { cpus, tenants: BTreeMap::new(), next_place: 0 }
    }

    /// So many VMs of a worker run or wait for a CPU. A worker not heard of before is new; it has no lease yet.
    pub(crate) fn demand(&mut self, tenant: &Tenant, worker: &Worker, vms: u32) {
        let last = &mut self.next_place;
        let new = || Workers { turn: Turn::last(last), entries: BTreeMap::new() };
        let workers = self.tenants.entry(tenant.clone()).or_insert_with(new);
        let new = || Entry { demand: 0, lease: 0, told: 0, turn: Turn::last(last) };
        workers.entries.entry(worker.clone()).or_insert_with(new).demand = vms;
    }

    /// A worker has ended: its CPUs are free.
    pub(crate) fn remove(&mut self, tenant: &Tenant, worker: &Worker) {
        if let Some(workers) = self.tenants.get_mut(tenant) {
            workers.entries.remove(worker);
            if workers.entries.is_empty() {
                self.tenants.remove(tenant);
            }
        }
    }

    /// Whether someone wants more CPUs than there are. Then it is time for [`Self::rotate`] now and then.
    pub(crate) fn is_short(&self) -> bool {
        let demands = self.tenants.values().flat_map(|workers| workers.entries.values()).map(|entry| entry.demand);
        demands.fold(0, u32::saturating_add) > self.cpus
    }

    /// Whoever had one CPU more than others goes to the end of the line for it.
    pub(crate) fn rotate(&mut self) {
        for workers in self.tenants.values_mut() {
            Turn::rotate(workers.entries.values_mut().map(|entry| &mut entry.turn), &mut self.next_place);
        }
        Turn::rotate(self.tenants.values_mut().map(|workers| &mut workers.turn), &mut self.next_place);
    }

    /// Divides the CPUs, and says which workers' leases changed since the last call. Those that shrink come first: at no
    /// point of the list do the leases exceed the CPUs.
    pub(crate) fn changes(&mut self) -> Vec<(Worker, u32)> {
        let entries = self.tenants.values_mut().flat_map(|workers| workers.entries.values_mut());
        entries.for_each(|entry| entry.lease = 0);
        let left = self.lease(self.cpus, |entry| entry.demand);
        self.lease(left, |entry| u32::from(entry.demand == 0));
        let (mut less, mut more) = (Vec::new(), Vec::new());
        for (worker, entry) in self.tenants.values_mut().flat_map(|workers| &mut workers.entries) {
            if entry.lease != entry.told {
                let list = if entry.lease < entry.told { &mut less } else { &mut more };
                list.push((worker.clone(), entry.lease));
                entry.told = entry.lease;
            }
        }
        less.append(&mut more);
        less
    }

    /// Adds to the leases of those that want CPUs, and says how many are left.
    fn lease(&mut self, cpus: u32, wanted: impl Fn(&Entry) -> u32) -> u32 {
        let mut left = cpus;
        let tenants = self.tenants.values_mut().map(|Workers { turn, entries }| {
            let wanted = entries.values().map(&wanted).fold(0, u32::saturating_add);
            Claim { wanted, turn, of: entries }
        });
        for (entries, share) in divide(cpus, tenants.collect()) {
            left -= share;
            let workers = entries.values_mut().map(|entry| Claim {
                wanted: wanted(entry),
                turn: &mut entry.turn,
                of: &mut entry.lease,
            });
            divide(share, workers.collect()).for_each(|(lease, share)| *lease += share);
        }
        left
    }
}

impl Turn {
    /// At the end of the line: who leaves and comes back gains nothing.
    fn last(next_place: &mut u64) -> Self {
        *next_place += 1;
        Self { place: *next_place, served: false }
    }

    /// Moves those that were served to the end of the line, in their order.
    fn rotate<'a>(line: impl Iterator<Item = &'a mut Self>, next_place: &mut u64) {
        let mut served: Vec<_> = line.filter(|turn| turn.served).collect();
        served.sort_unstable_by_key(|turn| turn.place);
        served.into_iter().for_each(|turn| *turn = Self::last(next_place));
    }
}

/// What one in a line wants.
struct Claim<'a, T> {
    wanted: u32,
    turn: &'a mut Turn,
    of: T,
}

/// Divides CPUs: everyone gets what it wants up to a level, and of those that want more the first in line get one more, as
/// far as the CPUs go.
fn divide<T>(cpus: u32, mut claims: Vec<Claim<'_, T>>) -> impl Iterator<Item = (T, u32)> {
    let (mut left, mut others) = (cpus, claims.len() as u32);
    claims.sort_unstable_by_key(|claim| claim.wanted);
    // Who wants no more than an even part of what is left gets it, and leaves the others no less.
    let content = claims.iter().take_while(|claim| {
        let fits = claim.wanted <= left / others;
        if fits {
            (left, others) = (left - claim.wanted, others - 1);
        }
        fits
    });
    let mut unmet = claims.split_off(content.count());
    unmet.sort_unstable_by_key(|claim| claim.turn.place);
    let (level, more) = (left.checked_div(others).unwrap_or(0), left.checked_rem(others).unwrap_or(0));
    let unmet = unmet.into_iter().zip(0..).map(move |(claim, place)| {
        claim.turn.served |= place < more;
        (claim.of, level + u32::from(place < more))
    });
    claims.into_iter().map(|claim| (claim.of, claim.wanted)).chain(unmet)
}

#[cfg(test)]
mod tests;
