//! The node's core at work: takes jobs, starts what may start, writes down what ended. Everything that the queue
//! decides is carried out here. Nothing here waits for a commit, for an `fsync` or for a worker while it holds a lock.
//! What does touch the disk on a thread of the runtime is short: opening a bundle or an input (`start`), reading one
//! job's record (`restart`, at times under the state's lock), renaming what is to be removed (`submit`).

mod finish;
mod restart;
mod start;
mod submit;
pub(crate) use submit::{Existing, Input, NewJob};

use super::{
    bundles::Bundles,
    job::{Acceptance, LiveJob, status},
    policy::Policy,
    queue::{Queue, Ticket},
    store::{JobKey, JobRecord, Op, ResultRecord, Store, StoreError},
    tenant::{Launcher, Tenants},
    top::Watcher,
};
use denali_protocol::{
    bundle::CpuModel,
    identity::{KeyPair, PublicKey},
    wire::message::{JobStatus, Refusal, RefusalKind},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Results that may wait for the disk, or for their output to be there, before no more jobs are started.
const UNWRITTEN: u32 = 2048;

/// Everything that a node consists of.
#[derive(Debug)]
pub(crate) struct Engine {
    /// The node's key.
    pub(crate) key: KeyPair,
    /// The volunteer's policy.
    pub(crate) policy: Policy,
    /// The most capable CPU model of this host.
    pub(crate) cpu: CpuModel,
    /// What survives.
    pub(crate) store: Store,
    /// What is known of the bundles there.
    pub(crate) bundles: Bundles,
    /// The workers.
    pub(crate) tenants: Tenants,
    /// What it does.
    pub(crate) watcher: Watcher,
    state: Mutex<State>,
    next_run: AtomicU64,
    next_ticket: AtomicU64,
    /// Set while jobs could start but results must be written first.
    held_back: AtomicBool,
    /// Set while jobs could start and the host lacked something: they are tried again soon.
    trying_again: AtomicBool,
    /// Output that the store does not count yet, in bytes: what running jobs may put out, and what ended ones did.
    reserved: AtomicU64,
    /// Ended runs whose output file is not on the disk yet. Each has it open.
    concluding: AtomicU32,
    /// Set once no more jobs are to be started.
    stopping: AtomicBool,
    runtime: tokio::runtime::Handle,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    by_key: HashMap<JobKey, Arc<LiveJob>>,
    by_ticket: HashMap<Ticket, Arc<LiveJob>>,
    /// Memory that these jobs take, in bytes, roughly.
    held_bytes: u64,
}

/// Milliseconds since 1970 by this host's clock.
pub(crate) fn unix_ms() -> u64 {
    unix_us() / 1000
}

/// Microseconds since 1970 by this host's clock.
fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl Engine {
    pub(crate) fn new(key: KeyPair, policy: Policy, store: Store, launcher: Launcher) -> Arc<Self> {
        let state = State {
            queue: Queue::new(policy.node.slots),
            by_key: HashMap::new(),
            by_ticket: HashMap::new(),
            held_bytes: 0,
        };
        store.files.bound(policy.node.store);
        Arc::new(Self {
            key,
            cpu: host_cpu(),
            store,
            bundles: Bundles::default(),
            watcher: Watcher::new(),
            tenants: Tenants::new(&policy.node, launcher),
            policy,
            state: Mutex::new(state),
            next_run: AtomicU64::new(1),
            next_ticket: AtomicU64::new(1),
            held_back: AtomicBool::new(false),
            trying_again: AtomicBool::new(false),
            reserved: AtomicU64::new(0),
            concluding: AtomicU32::new(0),
            stopping: AtomicBool::new(false),
            runtime: tokio::runtime::Handle::current(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each client with its jobs that wait and its jobs that run.
    pub(crate) fn queued(&self) -> Vec<(PublicKey, u32, u32)> {
        self.state().queue.clients().collect()
    }

    /// Where this node's tasks run.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// A job that has not ended.
    pub(crate) fn live(&self, key: &JobKey) -> Option<Arc<LiveJob>> {
        self.state().by_key.get(key).cloned()
    }

    /// Where a job stands.
    pub(crate) fn status(&self, key: &JobKey) -> Result<JobStatus, Refusal> {
        if let Some(job) = self.live(key) {
            return Ok(job.status());
        }
        let (record, totals) = self.store.job(key)?.ok_or_else(|| not_found(key))?;
        Ok(status(key, &record, totals, 0))
    }

    /// What a job is, if it is here.
    pub(crate) fn record(&self, key: &JobKey) -> Result<Option<JobRecord>, StoreError> {
        match self.live(key) {
            Some(job) => Ok(Some(job.record.clone())),
            None => Ok(self.store.job(key)?.map(|(record, _)| record)),
        }
    }

    /// The result of one job of an array, and its inline output.
    pub(crate) fn result(&self, key: &JobKey, index: u32) -> Result<Option<(ResultRecord, Vec<u8>)>, StoreError> {
        match self.live(key).and_then(|job| job.fresh(index)) {
            Some(fresh) => Ok(Some(fresh)),
            None => self.store.result(key, index),
        }
    }

    /// Cancels a job: what waits ends as cancelled now, what runs is told to.
    pub(crate) async fn cancel(self: &Arc<Self>, key: &JobKey) -> Result<JobStatus, Refusal> {
        let job = loop {
            let Some(job) = self.live(key) else { return self.status(key) };
            if job.accepted().await.map_err(Refusal::from)? != Acceptance::Never {
                break job;
            }
        };
        if job.state().totals.cancelled {
            return Ok(job.status());
        }
        self.store.write_and_wait(Op::Cancel { key: key.clone() }).await.map_err(Refusal::from)?;
        let running: Vec<_> = job.change(|state| {
            state.totals.cancelled = true;
            state.running.values().cloned().collect()
        });
        let waiting = self.state().queue.cancel(key.client, job.ticket);
        for run in running {
            self.tenants.cancel(&run);
        }
        let indices = waiting.into_iter().flat_map(|range| range.iter()).collect();
        self.end_unstarted(&job, indices).await;
        // The client's next job may be one that is granted more.
        self.kick();
        self.status(key)
    }

    /// Starts no more jobs.
    pub(crate) fn stop_starting(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether no more jobs are started.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether nothing runs, and nothing waits for the disk.
    pub(crate) fn is_idle(&self) -> bool {
        // In the order in which a run passes them.
        self.tenants.runs() == 0 && self.concluding.load(Ordering::SeqCst) == 0 && self.store.unwritten() == 0
    }

    /// A job that is on the disk in full is not needed in memory.
    fn forget(&self, job: &LiveJob) {
        let mut state = self.state();
        if state.by_ticket.remove(&job.ticket).is_none() {
            return;
        }
        // A bogus twin must not take the real one away.
        if state.by_key.get(&job.key).is_some_and(|held| held.ticket == job.ticket) {
            state.by_key.remove(&job.key);
        }
        state.held_bytes = state.held_bytes.saturating_sub(submit::held_bytes(job));
    }
}

/// No such job.
pub(crate) fn not_found(key: &JobKey) -> Refusal {
    let message = format!("no job {} of yours is here, or its results have expired", key.job);
    Refusal { kind: RefusalKind::NotFound, message }
}

/// The most capable model that this CPU covers.
fn host_cpu() -> CpuModel {
    let v3 = std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("lzcnt")
        && std::is_x86_feature_detected!("movbe");
    if v3 { CpuModel::V3 } else { CpuModel::V2 }
}

#[cfg(test)]
mod tests;
