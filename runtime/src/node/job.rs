//! Jobs and runs in memory: what has been accepted and has not ended.

use super::{
    queue::{Pick, Ticket},
    spool::Spool,
    store::{JobKey, JobRecord, ResultRecord, StoreError, Totals},
};
use denali_protocol::{job::VmId, receipt::StartPath, wire::message::JobStatus};
use denali_vmm::worker::message::RunId;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU16},
    },
};
use tokio::sync::watch;

/// A job or array that has not ended.
#[derive(Debug)]
pub(crate) struct LiveJob {
    /// Its name.
    pub(crate) key: JobKey,
    /// Its name in the queue.
    pub(crate) ticket: Ticket,
    /// What it is.
    pub(crate) record: JobRecord,
    /// A small input, kept at hand.
    pub(crate) input: Option<Vec<u8>>,
    /// Whether it is on the disk; nothing while that is being found out. Apart from `state`, so that what a short run says
    /// wakes nobody who waits for this.
    accepted: watch::Sender<Option<Result<Acceptance, StoreError>>>,
    state: Mutex<JobState>,
    /// Changes with each change of `state` and of a run's output.
    changed: watch::Sender<()>,
}

/// What came of accepting a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Acceptance {
    /// It is on the disk, for the first time.
    New,
    /// It was on the disk when the node started.
    Before,
    /// Another job of the name was on the disk first. This one is forgotten.
    Never,
}

/// How far a job is.
#[derive(Debug, Default)]
pub(crate) struct JobState {
    /// Whether it did not get onto the disk: nothing of it is written from here on, for its name may be another's.
    pub(crate) refused: bool,
    /// A larger input than [`LiveJob::input`], until it can be read from the store.
    pub(crate) unwritten_input: Option<Arc<[u8]>>,
    /// What runs, or has run and is being written down.
    pub(crate) running: BTreeMap<u32, Arc<Run>>,
    /// Indices with a result on the disk, in the order in which they got there.
    pub(crate) ended: Vec<u32>,
    /// Results of these, until they can be read from the store.
    pub(crate) fresh: HashMap<u32, Arc<(ResultRecord, Vec<u8>)>>,
    /// How these ended, and whether the rest is cancelled.
    pub(crate) totals: Totals,
    /// How often a run of an index was lost, where one was.
    pub(crate) lost: HashMap<u32, u32>,
}

impl LiveJob {
    pub(super) fn new(key: JobKey, ticket: Ticket, record: JobRecord, input: Option<Vec<u8>>, state: JobState) -> Self {
        let (accepted, changed) = (watch::Sender::new(None), watch::Sender::new(()));
        Self { key, ticket, record, input, accepted, state: Mutex::new(state), changed }
    }

    /// Says whether it is on the disk.
    pub(super) fn accept(&self, accepted: Result<Acceptance, StoreError>) {
        self.accepted.send_replace(Some(accepted));
    }

    /// Its state. Locked for moments only.
    pub(crate) fn state(&self) -> MutexGuard<'_, JobState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes its state and wakes who follows.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut JobState) -> T) -> T {
        let value = change(&mut self.state());
        self.wake();
        value
    }

    /// Wakes who follows: a run has said something.
    pub(crate) fn wake(&self) {
        self.changed.send_replace(());
    }

    /// Tells of changes from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until it is known whether the job is on the disk.
    pub(crate) async fn accepted(&self) -> Result<Acceptance, StoreError> {
        let mut accepted = self.accepted.subscribe();
        // The sender lives as long as `self`.
        let known = accepted.wait_for(Option::is_some).await.ok().and_then(|known| known.clone());
        known.unwrap_or(Err(StoreError::Closed))
    }

    /// A result that is on the disk and may not be seen in the store yet.
    pub(crate) fn fresh(&self, index: u32) -> Option<(ResultRecord, Vec<u8>)> {
        let fresh = self.state().fresh.get(&index).cloned();
        fresh.map(Arc::unwrap_or_clone)
    }

    /// Where it stands.
    pub(crate) fn status(&self) -> JobStatus {
        let state = self.state();
        let running = state.running.values().filter(|run| run.vm.get().is_some()).count();
        status(&self.key, &self.record, state.totals, u32::try_from(running).unwrap_or(u32::MAX))
    }
}

/// A job's status from its parts. What neither runs nor has ended waits.
pub(crate) fn status(key: &JobKey, record: &JobRecord, totals: Totals, running: u32) -> JobStatus {
    JobStatus {
        job: key.job.clone(),
        bundle: record.bundle,
        name: record.name.clone(),
        queued: record.indices.count().saturating_sub(totals.ended()).saturating_sub(running),
        running,
        succeeded: totals.succeeded,
        failed: totals.failed,
        accepted_unix_ms: record.accepted_unix_us / 1000,
    }
}

/// One try to run one job.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its name, unique as long as this process lives.
    pub(crate) id: RunId,
    /// Its place in the queue.
    pub(crate) pick: Pick,
    /// The job.
    pub(crate) job: Arc<LiveJob>,
    /// Its VM, once started.
    pub(crate) vm: OnceLock<(VmId, StartPath)>,
    /// How far the program says it is; above 1000 as long as it has said nothing.
    pub(crate) permille: AtomicU16,
    /// When the node gives up on a worker that does not end it.
    pub(crate) deadline: std::time::Instant,
    /// Whether its output could not be kept.
    pub(crate) unkept: AtomicBool,
    spool: Mutex<Spool>,
}

impl Run {
    pub(super) fn new(id: RunId, pick: Pick, job: Arc<LiveJob>, deadline: std::time::Instant, spool: Spool) -> Self {
        Self {
            id,
            pick,
            job,
            vm: OnceLock::new(),
            permille: AtomicU16::new(u16::MAX),
            deadline,
            unkept: AtomicBool::new(false),
            spool: Mutex::new(spool),
        }
    }

    /// Its output so far.
    pub(crate) fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
