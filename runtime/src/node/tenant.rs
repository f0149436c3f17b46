//! Workers, one a client: started when a client's job starts, stopped when idle for a while, bounded in number. Here
//! live the tasks that read what workers report; a worker that dies takes its runs along and nothing else.

use super::{engine::Engine, job::Run};
use crate::worker::{Reports, SpawnError, Worker};
use denali_protocol::{identity::PublicKey, job::Outcome};
use denali_vmm::worker::message::{Report, RunId, Start};
use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering},
    time::{Duration, Instant},
};

/// A worker with nothing to do for so long is stopped.
const IDLE: Duration = Duration::from_secs(30);

/// How often a worker's overdue runs and idleness are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Pauses before a worker that could not be started is tried again. After the last one its runs are lost.
const SPAWN_PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5)];

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
    runs: HashMap<RunId, Arc<Run>>,
    last_used: Instant,
    /// Takes no more runs: it is dead or told to go.
    closed: bool,
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
        state.last_used = Instant::now();
        state.runs.insert(run.id, run);
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
        state.runs.drain().map(|(_, run)| run).collect()
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
}

impl Tenants {
    pub(crate) fn new(most: usize, launcher: Launcher) -> Self {
        Self { most, launcher, tenants: Mutex::default() }
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
        tokio::runtime::Handle::clone(engine.runtime()).spawn(serve(Arc::downgrade(engine), tenant, self.launcher));
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

/// Starts one worker and reads its reports until it is dead or idle.
async fn serve(engine: Weak<Engine>, tenant: Arc<Tenant>, launcher: Launcher) {
    let why = match spawn(launcher, &tenant).await {
        Ok((worker, reports)) => {
            adopt(&tenant, worker);
            read(&engine, &tenant, reports).await
        }
        Err(error) => format!("no worker could be started: {error}"),
    };
    let Some(engine) = engine.upgrade() else { return };
    engine.tenants.remove(&tenant);
    let runs = tenant.close();
    if !runs.is_empty() {
        tracing::warn!(client = %tenant.client.short(), runs = runs.len(), "a worker was lost: {why}");
    }
    for run in runs {
        engine.lost(&run, &why);
    }
}

async fn spawn(launcher: Launcher, tenant: &Tenant) -> Spawned {
    for pause in SPAWN_PAUSES {
        match launcher.0().await {
            Err(error) if !tenant.state().closed => {
                tracing::warn!("a worker could not be started, trying again: {error}");
                tokio::time::sleep(pause).await;
            }
            spawned => return spawned,
        }
    }
    launcher.0().await
}

/// The worker is ready: gives it what waits.
fn adopt(tenant: &Tenant, worker: Worker) {
    let mut state = tenant.state();
    if state.closed {
        return worker.kill();
    }
    for (start, bundle, input) in std::mem::take(&mut state.waiting) {
        let run = start.run;
        // Fails only for a worker that is dead already: its reader will see.
        let _ = worker.start(start, bundle, input);
        if state.runs.get(&run).is_some_and(|run| run.job.state().totals.cancelled) {
            let _ = worker.cancel(run);
        }
    }
    state.worker = Some(worker);
}

/// Reads reports until there are no more, and says why.
async fn read(engine: &Weak<Engine>, tenant: &Tenant, mut reports: Reports) -> String {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            report = reports.next() => match report {
                Ok(report) => {
                    let Some(engine) = engine.upgrade() else { return "the node is stopping".to_owned() };
                    heed(&engine, tenant, report);
                }
                Err(death) => return death.to_string(),
            },
            _ = look.tick() => {
                if tenant.retire(IDLE) {
                    return "it was idle".to_owned();
                }
                let now = Instant::now();
                if let Some(run) = tenant.state().runs.values().find(|run| run.deadline < now) {
                    return format!("it did not end job {} in time", run.job.key.job);
                }
            }
        }
    }
}

/// One report, which follows the rules.
fn heed(engine: &Arc<Engine>, tenant: &Tenant, report: Report) {
    let run = |id| tenant.state().runs.get(&id).cloned();
    match report {
        Report::Ready(_) => {}
        Report::Started { run: id, vm } => {
            if let Some(run) = run(id) {
                let _ = run.vm.set(vm);
                run.job.wake();
            }
        }
        Report::Output { run: id, channel, bytes } => {
            if let Some(run) = run(id) {
                keep(tenant, &run, channel, &bytes);
            }
        }
        Report::Progress { run: id, permille } => {
            if let Some(run) = run(id)
                && run.permille.swap(permille, Ordering::Relaxed) != permille
            {
                run.job.wake();
            }
        }
        Report::Ended { run: id, outcome, usage } => {
            let run = {
                let mut state = tenant.state();
                state.last_used = Instant::now();
                state.runs.remove(&id)
            };
            if let Some(run) = run {
                let cancelled = run.job.state().totals.cancelled;
                // A worker that says so on its own does not speak for the client.
                let outcome = match outcome {
                    Outcome::Cancelled if !cancelled => Outcome::Lost("its worker cancelled it".to_owned()),
                    outcome => outcome,
                };
                engine.ended(&run, outcome, usage);
            }
        }
    }
}

fn keep(tenant: &Tenant, run: &Arc<Run>, channel: denali_protocol::job::Channel, bytes: &[u8]) {
    if run.unkept.load(Ordering::Relaxed) {
        return;
    }
    let kept = run.spool().append(channel, bytes);
    match kept {
        Ok(()) => run.job.wake(),
        Err(error) => {
            tracing::error!(job = %run.job.key.job, "its output cannot be kept, so it is stopped: {error}");
            run.unkept.store(true, Ordering::Relaxed);
            if let Some(worker) = &tenant.state().worker {
                let _ = worker.cancel(run.id);
            }
        }
    }
}
