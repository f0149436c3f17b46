//! Who may use how much of the node's CPUs and memory. No clock, no processes: demands come in, and what the workers are
//! to be told comes out.
//!
//! A worker alone has all CPUs, so that nobody is told anything while one client's small jobs come and go. Where there are
//! several, a demand that grows counts at once, and one that falls counts when the highest of the last round has fallen:
//! whoever runs small jobs one after another keeps its CPU between them.

use crate::node::cpus::Leases;
use std::collections::BTreeMap;

/// The workers of a node, and what they may use.
#[derive(Debug)]
pub(super) struct Division<Tenant, Worker> {
    leases: Leases<Tenant, Worker>,
    members: BTreeMap<Worker, Member<Tenant>>,
}

#[derive(Debug)]
struct Member<Tenant> {
    tenant: Tenant,
    /// VMs that want a CPU.
    now: u32,
    /// The most of them since the last round.
    peak: u32,
    /// What counts.
    counted: u32,
}

impl<Tenant: Ord + Clone, Worker: Ord + Clone> Division<Tenant, Worker> {
    /// No workers, and so many CPUs for them.
    pub(super) fn new(cpus: u32) -> Self {
        Self { leases: Leases::new(cpus), members: BTreeMap::new() }
    }

    /// A new worker. Returns the leases that changed, those that shrink first.
    pub(super) fn join(&mut self, tenant: &Tenant, worker: &Worker) -> Vec<(Worker, u32)> {
        self.members.insert(worker.clone(), Member { tenant: tenant.clone(), now: 0, peak: 0, counted: 0 });
        self.divide()
    }

    /// A worker has ended.
    pub(super) fn leave(&mut self, worker: &Worker) -> Vec<(Worker, u32)> {
        match self.members.remove(worker) {
            Some(member) => self.leases.remove(&member.tenant, worker),
            None => return Vec::new(),
        }
        self.divide()
    }

    /// So many VMs of a worker want a CPU.
    pub(super) fn demand(&mut self, worker: &Worker, vms: u32) -> Vec<(Worker, u32)> {
        let Some(member) = self.members.get_mut(worker) else { return Vec::new() };
        member.now = vms;
        member.peak = member.peak.max(vms);
        if vms <= member.counted {
            return Vec::new();
        }
        member.counted = vms;
        self.divide()
    }

    /// A round is over: what fell counts, and CPUs that are too few are passed on.
    pub(super) fn turn(&mut self) -> Vec<(Worker, u32)> {
        for member in self.members.values_mut() {
            member.counted = member.peak;
            member.peak = member.now;
        }
        if self.is_short() {
            self.leases.rotate();
        }
        self.divide()
    }

    /// Whether another round would change anything.
    pub(super) fn is_turning(&self) -> bool {
        let falls = |member: &Member<Tenant>| member.counted != member.now;
        self.is_short() || (self.members.len() > 1 && self.members.values().any(falls))
    }

    fn is_short(&self) -> bool {
        self.members.len() > 1 && self.leases.is_short()
    }

    fn divide(&mut self) -> Vec<(Worker, u32)> {
        let alone = self.members.len() == 1;
        for (worker, member) in &self.members {
            self.leases.demand(&member.tenant, worker, if alone { u32::MAX } else { member.counted });
        }
        self.leases.changes()
    }
}

#[cfg(test)]
mod tests;
