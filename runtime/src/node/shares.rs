//! Tells each worker what it may use of this machine: CPUs, memory, disk for VMs that idle. `division` decides.

mod division;

use super::policy::NodeShare;
use crate::worker::Worker;
use denali_protocol::identity::PublicKey;
use denali_vmm::worker::message::Command;
use division::Division;
use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// How often what one worker has is passed on to another, where there is not enough, and how often they are told of memory.
const ROUND: Duration = Duration::from_millis(100);

/// Names one worker process, unique as long as this process lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct WorkerId(pub(crate) u64);

/// What this machine gives to workers, and who has it.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Bytes of VMs' own memory.
    memory: u64,
    swap: Option<Swap>,
    state: Mutex<State>,
    changed: Notify,
}

/// Disk for VMs that idle.
#[derive(Debug)]
struct Swap {
    directory: PathBuf,
    /// What one worker gets.
    bytes: u64,
    /// So many get it.
    workers: usize,
}

#[derive(Debug)]
struct State {
    division: Division<PublicKey, WorkerId>,
    members: BTreeMap<WorkerId, Member>,
    /// Who has disk for VMs that idle.
    swapping: HashSet<WorkerId>,
}

#[derive(Debug)]
struct Member {
    /// Absent until it is ready.
    worker: Option<Worker>,
    /// CPUs that it may use.
    cpus: u32,
    /// The bytes of memory that it was told last.
    memory: u64,
}

impl Shares {
    /// What the policy gives, and no workers.
    pub(crate) fn new(policy: &NodeShare) -> Self {
        let workers = policy.swap_workers();
        let swap = policy.swap_directory.clone().filter(|_| policy.swap > 0);
        let state = State { division: Division::new(policy.cpus), members: BTreeMap::new(), swapping: HashSet::new() };
        Self {
            memory: policy.memory,
            swap: swap.map(|directory| Swap {
                directory,
                bytes: policy.swap / u64::from(workers),
                workers: workers as usize,
            }),
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker of this client is about to be started.
    pub(crate) fn join(&self, client: PublicKey, id: WorkerId) {
        let state = &mut *self.state();
        state.members.insert(id, Member { worker: None, cpus: 0, memory: 0 });
        let changes = state.division.join(&client, &id);
        state.tell(changes);
        self.look(state);
    }

    /// A worker is ready, and has no command yet.
    pub(crate) fn ready(&self, id: WorkerId, worker: &Worker) {
        let state = &mut *self.state();
        let memory = self.memory_each(state);
        let Some(member) = state.members.get_mut(&id) else { return };
        // By itself it would use all that this host has. Both fail only for a worker that is dead.
        if member.cpus != host_cpus() {
            let _ = worker.tell(&Command::Cpus(member.cpus), Vec::new());
        }
        let _ = worker.tell(&Command::Memory(memory), Vec::new());
        (member.worker, member.memory) = (Some(worker.clone()), memory);
    }

    /// So many VMs of a worker want a CPU.
    pub(crate) fn demand(&self, id: WorkerId, vms: u32) {
        let state = &mut *self.state();
        let changes = state.division.demand(&id, vms);
        state.tell(changes);
        self.look(state);
    }

    /// A worker is dead: what it had is others'.
    pub(crate) fn leave(&self, id: WorkerId) {
        let state = &mut *self.state();
        state.members.remove(&id);
        state.swapping.remove(&id);
        let changes = state.division.leave(&id);
        state.tell(changes);
        self.look(state);
    }

    /// VMs of a worker idle: gives it room on the disk for them, once, where there is some.
    pub(crate) fn idles(self: &Arc<Self>, id: WorkerId) {
        let Some(swap) = &self.swap else { return };
        let state = &mut *self.state();
        let granted =
            state.swapping.len() < swap.workers && state.members.contains_key(&id) && state.swapping.insert(id);
        if granted {
            let shares = Arc::clone(self);
            // Making a file waits for the disk.
            tokio::task::spawn_blocking(move || shares.give_swap(id));
        }
    }

    fn give_swap(&self, id: WorkerId) {
        let Some(swap) = &self.swap else { return };
        match denali_vmm::swap::create(&swap.directory) {
            Ok(file) => {
                let state = self.state();
                if let Some(worker) = state.members.get(&id).and_then(|member| member.worker.as_ref()) {
                    // Fails only for a worker that is dead.
                    let _ = worker.tell(&Command::Swap(swap.bytes), vec![file.into()]);
                }
            }
            // Its VMs stay in memory.
            Err(error) => tracing::warn!("no disk for VMs that idle: {}: {error}", swap.directory.display()),
        }
    }

    /// Whether VMs that idle can go to the disk; an error where the policy wants it and the directory does not.
    pub(crate) fn check_swap(&self) -> Result<(), (PathBuf, io::Error)> {
        let Some(swap) = &self.swap else { return Ok(()) };
        denali_vmm::swap::create(&swap.directory).map(drop).map_err(|error| (swap.directory.clone(), error))
    }

    /// Goes on for ever: passes CPUs on where there are not enough, and tells of memory.
    pub(crate) async fn pass_on(&self) {
        loop {
            self.changed.notified().await;
            // A round after a change: many at once are told as one.
            tokio::time::sleep(ROUND).await;
            self.turn();
        }
    }

    fn turn(&self) {
        let state = &mut *self.state();
        let changes = state.division.turn();
        state.tell(changes);
        let memory = self.memory_each(state);
        for member in state.members.values_mut() {
            if let Some(worker) = member.worker.as_ref().filter(|_| member.memory != memory) {
                // Fails only for a worker that is dead.
                let _ = worker.tell(&Command::Memory(memory), Vec::new());
                member.memory = memory;
            }
        }
        self.look(state);
    }

    /// Sees to it that there is another round, if one would change anything.
    fn look(&self, state: &State) {
        // Whoever came while there were others, or fewer, knows another part than those that were told before.
        let memory = self.memory_each(state);
        let knows = |member: &Member| member.worker.is_none() || member.memory == memory;
        if state.division.is_turning() || !state.members.values().all(knows) {
            self.changed.notify_one();
        }
    }

    fn memory_each(&self, state: &State) -> u64 {
        self.memory / (state.members.len().max(1) as u64)
    }
}

impl State {
    /// Tells the workers of their CPUs, in this order: those that give some up come first.
    fn tell(&mut self, changes: Vec<(WorkerId, u32)>) {
        for (id, cpus) in changes {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.cpus = cpus;
            if let Some(worker) = &member.worker {
                // Fails only for a worker that is dead.
                let _ = worker.tell(&Command::Cpus(cpus), Vec::new());
            }
        }
    }
}

/// CPUs that a worker uses before it is told anything.
pub(crate) fn host_cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

#[cfg(test)]
mod tests;
