//! All workers at one moment: what they do and have done, by client and in all.

use super::{Tenants, Used, tally};
use denali_protocol::identity::PublicKey;
use denali_vmm::worker::message::{Counts, Status};
use std::{collections::HashMap, time::Instant};

/// What workers do, of one client or of all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    /// Workers.
    pub(crate) workers: u32,
    /// VMs that want a CPU and have none.
    pub(crate) runnable: u64,
    /// VMs that have one.
    pub(crate) running: u64,
    /// VMs that idle in memory.
    pub(crate) idle: u64,
    /// VMs that idle on disk.
    pub(crate) swapped: u64,
    /// Memory of VMs, in KiB.
    pub(crate) memory_kib: u64,
    /// Disk of VMs that idle, in bytes.
    pub(crate) swap_bytes: u64,
    /// What was used since the node's start.
    pub(crate) used: Used,
}

impl Row {
    fn add(&mut self, status: &Status, used: Used) {
        self.workers = self.workers.saturating_add(1);
        self.runnable = self.runnable.saturating_add(status.runnable.into());
        self.running = self.running.saturating_add(status.running.into());
        self.idle = self.idle.saturating_add(status.idle.into());
        self.swapped = self.swapped.saturating_add(status.swapped.into());
        self.memory_kib = self.memory_kib.saturating_add(status.memory_kib);
        self.swap_bytes = self.swap_bytes.saturating_add(status.swap_bytes);
        self.used.add(used);
    }
}

/// All workers at one moment.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Of each client that has workers, or had some not long ago.
    pub(crate) clients: HashMap<PublicKey, Row>,
    /// Of all.
    pub(crate) all: Row,
    /// What happened since the node's start.
    pub(crate) counts: Counts,
}

impl Tenants {
    /// Counts everything.
    pub(crate) fn census(&self) -> Census {
        // Looking at a process waits for the host's kernel: not under the lock that jobs start under.
        let processes: Vec<_> = self.roll().processes().cloned().collect();
        let now = Instant::now();
        processes.iter().for_each(|process| process.look(now));
        let roll = self.roll();
        let mut census = Census { counts: roll.past.clone(), ..Census::default() };
        census.all.used = roll.ledger.all();
        for (client, used) in roll.ledger.clients() {
            census.clients.entry(client).or_default().used = used;
        }
        for process in roll.processes() {
            let state = process.state();
            let (status, used) = (state.tally.status(), Used { cpu_us: state.tally.cpu_us(), ..Used::default() });
            census.all.add(status, used);
            census.clients.entry(process.client).or_default().add(status, used);
            tally::add(&mut census.counts, &status.counts);
        }
        census
    }
}
