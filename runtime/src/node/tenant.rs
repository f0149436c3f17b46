//! Workers, one a client: given out when a client's job starts, stopped when idle for a while, bounded in number. One
//! that has not met a client yet is kept ready. `serve` is the task of one worker; one that dies takes
//! its runs along and nothing else.

mod serve;

use super::{engine::Engine, job::Run};
use crate::worker::{Reports, SpawnError, Worker};
use denali_protocol::identity::PublicKey;
use denali_vmm::worker::message::{RunId, Start};
use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A worker with nothing to do for so long is stopped.
const IDLE: Duration = Duration::from_secs(30);

type Spawned = Result<(Worker, Reports), SpawnError>;

/// How workers are started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launcher(pub(crate) fn() -> Pin<Box<dyn Future<Output = Spawned> + Send>>);

impl Launcher {
    /// Worker processes of this binary.
    pub(crate) const PROCESS: Self = Self(|| Box::pin(Worker::spawn()));
}

/// A run that is to be started on its client's worker.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// The run.
    pub(crate) run: Arc<Run>,
    /// The command.
    pub(crate) start: Start,
    /// The bundle's content.
    pub(crate) bundle: OwnedFd,
    /// The input.
    pub(crate) input: OwnedFd,
}

/// All workers of a node.
#[derive(Debug)]
pub(crate) struct Tenants {
    most: usize,
    launcher: Launcher,
    tenants: Mutex<HashMap<PublicKey, Arc<Tenant>>>,
    /// A worker that no client has used: the next client's first job need not wait for one to start.
    spare: Mutex<Option<(Worker, Reports)>>,
}

/// One client's worker.
#[derive(Debug)]
struct Tenant {
    client: PublicKey,
    state: Mutex<TenantState>,
}

#[derive(Debug)]
struct TenantState {
    /// Absent until it is ready.
    worker: Option<Worker>,
    /// What waits for it to be ready.
    waiting: Vec<(Start, OwnedFd, OwnedFd)>,
    runs: HashMap<RunId, Given>,
    last_used: Instant,
    /// Takes no more runs: it is dead or told to go.
    closed: bool,
}

/// A run on a worker, or waiting for it.
#[derive(Debug)]
struct Given {
    run: Arc<Run>,
    /// How long it may take from the command to its end.
    allowance: Duration,
    /// When the command was sent. The time until a worker is ready is not the run's.
    sent: Option<Instant>,
}

impl Given {
    /// The time since the command.
    fn elapsed(&self) -> Duration {
        self.sent.map_or(Duration::ZERO, |sent| sent.elapsed())
    }
}

impl Tenant {
    fn state(&self) -> MutexGuard<'_, TenantState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a run, or gives it back where the worker takes no more.
    fn take(&self, assignment: Assignment) -> Option<Assignment> {
        let mut state = self.state();
        if state.closed {
            return Some(assignment);
        }
        let Assignment { run, start, bundle, input } = assignment;
        let now = Instant::now();
        state.last_used = now;
        let allowance = run.deadline.saturating_duration_since(now);
        let sent = state.worker.is_some().then_some(now);
        state.runs.insert(run.id, Given { run, allowance, sent });
        match &state.worker {
            // Fails only for a worker that is dead: its reader will find all runs here.
            Some(worker) => drop(worker.start(start, bundle, input)),
            None => state.waiting.push((start, bundle, input)),
        }
        None
    }

    /// Takes no more runs; gives those it has.
    fn close(&self) -> Vec<Arc<Run>> {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
        if let Some(worker) = state.worker.take() {
            worker.kill();
        }
        state.runs.drain().map(|(_, given)| given.run).collect()
    }

    /// Closes it if it is idle.
    fn retire(&self, idle: Duration) -> bool {
        let mut state = self.state();
        if state.closed || !state.runs.is_empty() || state.last_used.elapsed() < idle {
            return false;
        }
        state.closed = true;
        if let Some(worker) = state.worker.take() {
            worker.kill();
        }
        true
    }

    /// A run that should have ended.
    fn overdue(&self) -> Option<Arc<Run>> {
        let state = self.state();
        state.runs.values().find(|given| given.elapsed() > given.allowance).map(|given| Arc::clone(&given.run))
    }
}

impl Tenants {
    pub(crate) fn new(most: usize, launcher: Launcher) -> Self {
        Self { most, launcher, tenants: Mutex::default(), spare: Mutex::default() }
    }

    /// Keeps a worker that no client has used.
    pub(crate) fn keep_spare(&self, spare: (Worker, Reports)) {
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(spare);
    }

    fn take_spare(&self) -> Option<(Worker, Reports)> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<PublicKey, Arc<Tenant>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs on all workers.
    pub(crate) fn runs(&self) -> usize {
        self.tenants().values().map(|tenant| tenant.state().runs.len()).sum()
    }

    /// Gives a run to its client's worker, which is started if need be.
    pub(super) fn assign(&self, engine: &Arc<Engine>, assignment: Assignment) {
        let client = assignment.run.pick.client;
        let mut tenants = self.tenants();
        let assignment = match tenants.get(&client) {
            Some(tenant) => match tenant.take(assignment) {
                None => return,
                Some(assignment) => assignment,
            },
            None => assignment,
        };
        if tenants.len() >= self.most {
            // There are at least as many workers as slots, so one of them has nothing to do.
            tenants.retain({
                let mut retired = false;
                move |_, tenant| {
                    let retire = !retired && tenant.retire(Duration::ZERO);
                    retired |= retire;
                    !retire
                }
            });
        }
        let state = TenantState {
            worker: None,
            waiting: Vec::new(),
            runs: HashMap::new(),
            last_used: Instant::now(),
            closed: false,
        };
        let tenant = Arc::new(Tenant { client, state: Mutex::new(state) });
        // A new one takes everything.
        tenant.take(assignment);
        tenants.insert(client, Arc::clone(&tenant));
        drop(tenants);
        let spare = self.take_spare();
        engine.runtime().spawn(serve::serve(Arc::downgrade(engine), tenant, self.launcher, spare));
    }

    /// Tells a run's worker to end it.
    pub(crate) fn cancel(&self, run: &Run) {
        let tenant = self.tenants().get(&run.pick.client).cloned();
        if let Some(tenant) = tenant
            && let Some(worker) = &tenant.state().worker
        {
            // Fails only for a worker that is dead.
            let _ = worker.cancel(run.id);
        }
    }

    /// Kills all workers.
    pub(crate) fn close(&self) {
        drop(self.take_spare());
        let tenants = std::mem::take(&mut *self.tenants());
        for tenant in tenants.values() {
            tenant.close();
        }
    }

    fn remove(&self, tenant: &Arc<Tenant>) {
        let mut tenants = self.tenants();
        // A successor may be there already.
        if tenants.get(&tenant.client).is_some_and(|held| Arc::ptr_eq(held, tenant)) {
            tenants.remove(&tenant.client);
        }
    }
}

#[cfg(test)]
mod tests;
