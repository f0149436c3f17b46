//! Workers: none serves two clients, and a client has several where it has more VMs than one holds. Given out when a
//! client's job starts, stopped when idle for a while, bounded in number. One that has not met a client yet is kept ready.
//!
//! | module | what |
//! |---|---|
//! | `process` | one worker of a client, and its runs |
//! | `serve` | the task of one worker; one that dies takes its runs along and nothing else |
//! | `tally` | what is believed of what a worker says |
//! | `ledger` | what clients have used |
//! | `census` | all of that at one moment |

mod census;
mod ledger;
mod process;
mod serve;
mod tally;

pub(crate) use census::{Census, Row};
pub(crate) use ledger::Used;

use super::{
    engine::Engine,
    job::Run,
    policy::{Jail, NodeShare},
    shares::{Shares, WorkerId},
};
use crate::worker::{Reports, SpawnError, Worker};
use denali_protocol::identity::PublicKey;
use denali_vmm::worker::message::{Counts, Start};
use ledger::Ledger;
use process::Process;
use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tally::Bounds;

/// A worker with nothing to do for so long is stopped.
const IDLE: Duration = Duration::from_secs(30);

type Spawned = Result<(Worker, Reports), SpawnError>;

/// How workers are started, and what jail they must have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launcher(pub(crate) fn() -> Pin<Box<dyn Future<Output = Spawned> + Send>>, pub(crate) Jail);

impl Launcher {
    /// Worker processes of this binary.
    pub(crate) const PROCESS: Self = Self(|| Box::pin(Worker::spawn()), Jail::Partial);

    /// Starts a worker.
    pub(crate) async fn launch(self) -> Spawned {
        let (worker, reports) = self.0().await?;
        let refused = match self.1 {
            Jail::Partial => None,
            Jail::Whole => worker.lacks().first(),
            Jail::Limited => worker.lacks().first().or(worker.unbounded()),
        };
        match refused {
            Some(lack) => Err(SpawnError::Jail(lack.to_string())),
            None => Ok((worker, reports)),
        }
    }
}

/// A run that is to be started on a worker of its client.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// The run.
    pub(crate) run: Arc<Run>,
    /// The command.
    pub(crate) start: Start,
    /// The bundle's content.
    pub(crate) bundle: OwnedFd,
    /// The input.
    pub(crate) input: Option<OwnedFd>,
}

/// All workers of a node.
#[derive(Debug)]
pub(crate) struct Tenants {
    /// What each may use.
    pub(crate) shares: Arc<Shares>,
    most: usize,
    /// What one worker can have.
    bounds: Bounds,
    launcher: Launcher,
    next: AtomicU64,
    roll: Mutex<Roll>,
    spare: Mutex<Spare>,
    /// What the host did not give for the jail of the first worker, in words.
    jail_lacks: OnceLock<Vec<String>>,
    /// Why no control group bounds the first worker that has none.
    unbounded: OnceLock<String>,
}

/// A worker that no client has used: the next client's first job need not wait for one to start.
#[derive(Debug, Default)]
struct Spare {
    worker: Option<(Worker, Reports)>,
    /// Whether one is being started.
    coming: bool,
}

/// Who has which workers, and had.
#[derive(Debug, Default)]
struct Roll {
    /// Never none of a client.
    by_client: HashMap<PublicKey, Vec<Arc<Process>>>,
    /// What happened in workers that are gone.
    past: Counts,
    ledger: Ledger,
}

impl Roll {
    fn workers(&self) -> usize {
        self.by_client.values().map(Vec::len).sum()
    }

    fn processes(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.by_client.values().flatten()
    }

    /// Takes a worker off the roll: of it, only what it did is known from here on.
    fn strike(&mut self, process: &Process) {
        if let Some(workers) = self.by_client.get_mut(&process.client) {
            workers.retain(|held| held.id != process.id);
            if workers.is_empty() {
                self.by_client.remove(&process.client);
            }
        }
        // The second time there is nothing left to add.
        let tally = process.take_tally();
        tally::add(&mut self.past, &tally.status().counts);
        let cpu_us = tally.cpu_us();
        if cpu_us > 0 {
            self.ledger.enter(process.client, Used { cpu_us, ..Used::default() });
        }
    }
}

impl Tenants {
    pub(crate) fn new(policy: &NodeShare, launcher: Launcher) -> Self {
        let bounds =
            Bounds { vms: policy.worker_vms, memory_kib: super::policy::host_memory() / 1024, swap_bytes: policy.swap };
        Self {
            shares: Arc::new(Shares::new(policy)),
            // With at least as many workers as slots, one has nothing to do whenever another is needed.
            most: policy.workers.max(policy.slots) as usize,
            bounds,
            launcher,
            next: AtomicU64::new(1),
            roll: Mutex::default(),
            spare: Mutex::default(),
            jail_lacks: OnceLock::new(),
            unbounded: OnceLock::new(),
        }
    }

    /// What this host did not give for the jail of workers, in words.
    pub(crate) fn jail_lacks(&self) -> &[String] {
        self.jail_lacks.get().map_or(&[], Vec::as_slice)
    }

    /// Why no control group bounds a worker, where one went without.
    pub(crate) fn unbounded(&self) -> Option<&str> {
        self.unbounded.get().map(String::as_str)
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is no spare worker and none is being started. The caller starts one then, and says so with
    /// [`Tenants::keep_spare`].
    fn claim_spare(&self) -> bool {
        let mut spare = self.spare();
        let wanted = spare.worker.is_none() && !spare.coming;
        spare.coming |= wanted;
        wanted
    }

    /// Keeps a worker that no client has used, or hears that none could be started.
    pub(crate) fn keep_spare(&self, worker: impl Into<Option<(Worker, Reports)>>) {
        let worker = worker.into();
        worker.iter().for_each(|(worker, _)| self.note(worker));
        *self.spare() = Spare { worker, coming: false };
    }

    /// A worker was started: what it goes without is told to whoever asks.
    fn note(&self, worker: &Worker) {
        self.jail_lacks.get_or_init(|| worker.lacks().iter().map(ToString::to_string).collect());
        if let Some(lack) = worker.unbounded() {
            self.unbounded.get_or_init(|| lack.why.clone());
        }
    }

    /// Nobody has listened to it since it was started: it may be dead.
    fn take_spare(&self) -> Option<(Worker, Reports)> {
        self.spare().worker.take().filter(|(worker, _)| worker.is_there())
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs on all workers.
    pub(crate) fn runs(&self) -> usize {
        self.roll().processes().map(|process| process.state().runs.len()).sum()
    }

    /// Gives a run to a worker of its client: of those with room the fullest, so that others empty and can go. Where there
    /// is none, one is started.
    pub(super) fn assign(&self, engine: &Arc<Engine>, mut assignment: Assignment) {
        let client = assignment.run.pick.client;
        let mut roll = self.roll();
        let workers = roll.by_client.get(&client).map_or(&[][..], Vec::as_slice);
        while let Some(process) = fullest(workers, self.bounds.vms as usize) {
            // One that closed meanwhile has no room from here on.
            match process.take(assignment) {
                None => return,
                Some(back) => assignment = back,
            }
        }
        if roll.workers() >= self.most {
            let idle = roll.processes().find(|process| process.retire(Duration::ZERO)).cloned();
            idle.inspect(|process| roll.strike(process));
        }
        let id = WorkerId(self.next.fetch_add(1, Ordering::Relaxed));
        let process = Process::new(id, client, Arc::clone(&self.shares));
        // A new one takes everything.
        process.take(assignment);
        roll.by_client.entry(client).or_default().push(Arc::clone(&process));
        drop(roll);
        let spare = self.take_spare();
        engine.runtime().spawn(serve::serve(Arc::downgrade(engine), process, self.launcher, spare));
    }

    /// Tells a run's worker to end it.
    pub(crate) fn cancel(&self, run: &Run) {
        let workers = self.roll().by_client.get(&run.pick.client).cloned().unwrap_or_default();
        workers.iter().any(|process| process.cancel(run.id));
    }

    /// A client's job has ended, with a result.
    pub(crate) fn job_ended(&self, client: PublicKey, lost: bool) {
        self.roll().ledger.enter(client, Used { cpu_us: 0, ended: 1, lost: u64::from(lost) });
    }

    /// Kills all workers.
    pub(crate) fn close(&self) {
        drop(self.take_spare());
        let all: Vec<_> = self.roll().processes().cloned().collect();
        for process in all {
            process.close();
            self.roll().strike(&process);
        }
    }

    fn strike(&self, process: &Process) {
        self.roll().strike(process);
    }
}

/// Of the workers with room, the one with the most runs.
fn fullest(workers: &[Arc<Process>], most: usize) -> Option<&Arc<Process>> {
    let with_room = workers.iter().filter_map(|process| Some((process.room(most)?, process)));
    // The oldest of several: the newest goes first.
    with_room.rev().max_by_key(|(runs, _)| *runs).map(|(_, process)| process)
}

#[cfg(test)]
mod tests;
