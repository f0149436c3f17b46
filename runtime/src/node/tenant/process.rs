//! One worker process of a client, from the wish to have it to its death.

use super::{
    Assignment,
    tally::{Bounds, Tally},
};
use crate::{
    node::{
        job::Run,
        shares::{Shares, WorkerId},
    },
    worker::Worker,
};
use denali_protocol::identity::PublicKey;
use denali_vmm::worker::message::{RunId, Start, Status};
use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// One worker of a client.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its name.
    pub(super) id: WorkerId,
    /// Whose it is.
    pub(super) client: PublicKey,
    shares: Arc<Shares>,
    state: Mutex<ProcessState>,
}

#[derive(Debug)]
pub(super) struct ProcessState {
    /// Absent until it is ready.
    pub(super) worker: Option<Worker>,
    /// What waits for it to be ready.
    pub(super) waiting: Vec<(Start, OwnedFd, Option<OwnedFd>)>,
    pub(super) runs: HashMap<RunId, Given>,
    /// When a run of it last ended.
    ended: Instant,
    pub(super) last_used: Instant,
    /// Takes no more runs: it is dead or told to go.
    pub(super) closed: bool,
    /// What it says, and what is known of it.
    pub(super) tally: Tally,
}

/// A run on a worker, or waiting for it.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) run: Arc<Run>,
    /// How long it may take from the command to its end; waiting for a VM, for which memory may be short, is not counted.
    allowance: Duration,
    /// When its worker said that it has a VM.
    pub(super) started: Option<Instant>,
    /// When the command was sent. The time until a worker is ready is not the run's.
    pub(super) sent: Option<Instant>,
}

/// Where no run of a worker has a VM, so that all memory is free, and none gets one for so long: it is broken.
const TO_START: Duration = Duration::from_secs(3600);

impl Given {
    /// The time since the command.
    pub(super) fn elapsed(&self) -> Duration {
        self.sent.map_or(Duration::ZERO, |sent| sent.elapsed())
    }
}

impl ProcessState {
    /// VMs that want a CPU, as far as is known.
    fn demand(&self) -> u32 {
        let runs = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        runs.saturating_sub(self.tally.at_rest())
    }
}

impl Process {
    /// A worker that is not ready yet.
    pub(super) fn new(id: WorkerId, client: PublicKey, shares: Arc<Shares>) -> Arc<Self> {
        shares.join(client, id);
        let now = Instant::now();
        let state = ProcessState {
            worker: None,
            waiting: Vec::new(),
            runs: HashMap::new(),
            ended: now,
            last_used: now,
            closed: false,
            tally: Tally::new(now),
        };
        Arc::new(Self { id, client, shares, state: Mutex::new(state) })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, ProcessState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its runs, where it takes more.
    pub(super) fn room(&self, most: usize) -> Option<usize> {
        let state = self.state();
        (!state.closed && state.runs.len() < most).then_some(state.runs.len())
    }

    /// Takes a run, or gives it back where it takes no more.
    pub(super) fn take(&self, assignment: Assignment) -> Option<Assignment> {
        let mut state = self.state();
        if state.closed {
            return Some(assignment);
        }
        let Assignment { run, start, bundle, input } = assignment;
        let now = Instant::now();
        state.last_used = now;
        let allowance = run.deadline.saturating_duration_since(now);
        let sent = state.worker.is_some().then_some(now);
        state.runs.insert(run.id, Given { run, allowance, started: None, sent });
        // Before the command: a worker that had no CPU has one then.
        self.shares.demand(self.id, state.demand());
        match &state.worker {
            // Fails only for a worker that is dead: its reader will find all runs here.
            Some(worker) => drop(worker.start(start, bundle, input)),
            None => state.waiting.push((start, bundle, input)),
        }
        None
    }

    /// The worker is ready: gives it what waits.
    pub(super) fn adopt(&self, worker: Worker) {
        let mut state = self.state();
        if state.closed {
            return worker.kill();
        }
        self.shares.ready(self.id, &worker);
        for (start, bundle, input) in std::mem::take(&mut state.waiting) {
            let run = start.run;
            let given = state.runs.get_mut(&run).map(|given| {
                given.sent = Some(Instant::now());
                Arc::clone(&given.run)
            });
            // Fails only for a worker that is dead already: its reader will see.
            let _ = worker.start(start, bundle, input);
            if given.is_some_and(|run| run.job.state().totals.cancelled) {
                let _ = worker.cancel(run);
            }
        }
        state.worker = Some(worker);
    }

    /// The worker says how its VMs are.
    pub(super) fn learn(&self, status: &Status, bounds: Bounds) {
        let mut state = self.state();
        state.tally.learn(status, bounds, Instant::now());
        if state.closed {
            return;
        }
        self.shares.demand(self.id, state.demand());
        if state.tally.at_rest() > 0 {
            self.shares.idles(self.id);
        }
    }

    /// Looks how much CPU time it took.
    pub(super) fn look(&self, now: Instant) {
        let state = &mut *self.state();
        if let Some(worker) = &state.worker {
            state.tally.look_at(worker, now);
        }
    }

    /// What was known of it, for whoever counts it from here on.
    pub(super) fn take_tally(&self) -> Tally {
        std::mem::replace(&mut self.state().tally, Tally::new(Instant::now()))
    }

    /// A run of it.
    pub(super) fn run(&self, id: RunId) -> Option<Arc<Run>> {
        self.state().runs.get(&id).map(|given| Arc::clone(&given.run))
    }

    /// A run has a VM.
    pub(super) fn start(&self, id: RunId) -> Option<Arc<Run>> {
        let mut state = self.state();
        let given = state.runs.get_mut(&id)?;
        given.started = Some(Instant::now());
        Some(Arc::clone(&given.run))
    }

    /// A run is over.
    pub(super) fn release(&self, id: RunId, cpu_us: u64) -> Option<Given> {
        let mut state = self.state();
        let now = Instant::now();
        (state.last_used, state.ended) = (now, now);
        let given = state.runs.remove(&id)?;
        let most_us = u64::try_from(given.elapsed().as_micros()).unwrap_or(u64::MAX);
        state.tally.ended(cpu_us.min(most_us));
        if !state.closed {
            self.shares.demand(self.id, state.demand());
        }
        Some(given)
    }

    /// Tells it to end a run; false where it has none of that name.
    pub(super) fn cancel(&self, id: RunId) -> bool {
        let state = self.state();
        if let Some(worker) = state.worker.as_ref().filter(|_| state.runs.contains_key(&id)) {
            // Fails only for a worker that is dead.
            let _ = worker.cancel(id);
        }
        state.runs.contains_key(&id)
    }

    /// Takes no more runs; gives those it has.
    pub(super) fn close(&self) -> Vec<Arc<Run>> {
        let mut state = self.state();
        state.waiting.clear();
        self.end(&mut state);
        state.runs.drain().map(|(_, given)| given.run).collect()
    }

    /// Closes it if it is idle.
    pub(super) fn retire(&self, idle: Duration) -> bool {
        let mut state = self.state();
        if state.closed || !state.runs.is_empty() || state.last_used.elapsed() < idle {
            return false;
        }
        self.end(&mut state);
        true
    }

    fn end(&self, state: &mut ProcessState) {
        state.closed = true;
        if let Some(worker) = state.worker.take() {
            state.tally.look_at(&worker, Instant::now());
            worker.kill();
        }
        self.shares.leave(self.id);
    }

    /// A run that should have ended by now, or have a VM. As long as others have theirs, it may wait for their memory: each of
    /// them ends in time, or is overdue itself.
    pub(super) fn overdue(&self, now: Instant) -> Option<Arc<Run>> {
        let state = self.state();
        let is_vacant = state.runs.values().all(|given| given.started.is_none());
        let overdue = |given: &&Given| match (given.started, given.sent) {
            (Some(started), _) => now.saturating_duration_since(started) > given.allowance,
            (None, Some(sent)) if is_vacant => {
                now.saturating_duration_since(sent.max(state.ended)) > given.allowance.max(TO_START)
            }
            (None, _) => false,
        };
        state.runs.values().find(overdue).map(|given| Arc::clone(&given.run))
    }
}
