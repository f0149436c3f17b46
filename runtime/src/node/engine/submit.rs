//! Taking a job: into the queue and onto the disk at once, so that it may run while the disk still works. It is
//! accepted when the disk has it; should that fail, whatever ran is forgotten.

use super::{Engine, State, unix_us};
use crate::node::{
    job::{Acceptance, JobState, LiveJob},
    policy::Grant,
    queue::Ticket,
    store::{
        Applied, JobKey, JobRecord, Op, Settled, StoreError,
        files::{Kind, remove},
    },
};
use denali_protocol::wire::message::{Refusal, RefusalKind, Submit};
use std::sync::{Arc, atomic::Ordering};

/// A job's input, received and checked.
#[derive(Debug)]
pub(crate) enum Input {
    /// Small: kept in the job's record.
    Inline(Vec<u8>),
    /// Large: in a file, pinned by the request.
    File,
}

/// A job that was checked and may be taken.
#[derive(Debug)]
pub(crate) struct NewJob {
    /// Its name.
    pub(crate) key: JobKey,
    /// What the client asked.
    pub(crate) submit: Submit,
    /// Its input.
    pub(crate) input: Input,
    /// What it is granted.
    pub(crate) grant: Grant,
    /// The bundle's name.
    pub(crate) name: String,
}

/// Inputs up to this length are held in memory while the job waits.
const HELD_INPUT_BYTES: usize = 4096;

/// Memory that all waiting jobs may take together.
const HELD_BYTES: u64 = 512 * 1024 * 1024;

/// Memory that changes may take which wait for the disk, before no more jobs are taken or started.
pub(super) const UNWRITTEN_BYTES: u64 = 128 * 1024 * 1024;

/// Memory that a job takes besides its arguments and input.
const JOB_BYTES: u64 = 1024;

pub(super) fn held_bytes(job: &LiveJob) -> u64 {
    let arguments: usize = job.record.arguments.iter().map(String::len).sum();
    (arguments + job.input.as_ref().map_or(0, Vec::len)) as u64 + JOB_BYTES
}

impl Engine {
    /// Whether there is room for `jobs` more jobs of this client. Asked early, and again when the job is taken.
    pub(crate) fn room(&self, key: &JobKey, jobs: u32) -> Result<(), Refusal> {
        self.room_in(&self.state(), key, jobs, self.policy.clients.queue_jobs)
    }

    fn room_in(&self, state: &State, key: &JobKey, jobs: u32, most: u32) -> Result<(), Refusal> {
        let busy = |message: String| Err(Refusal { kind: RefusalKind::Busy, message });
        let node = self.policy.node.queue_jobs;
        let (all, own) = (state.queue.len(), state.queue.len_of(key.client));
        if all.saturating_add(jobs) > node {
            return busy(format!("{all} of {node} jobs wait or run on this node"));
        }
        if own.saturating_add(jobs) > most {
            return busy(format!("{own} of {most} jobs of yours wait or run on this node, {jobs} more are too many"));
        }
        if state.held_bytes > HELD_BYTES {
            return busy("the jobs that wait take all the memory there is for them".to_owned());
        }
        if self.store.unwritten_bytes() > UNWRITTEN_BYTES {
            return busy("the node's disk does not keep up".to_owned());
        }
        Ok(())
    }

    /// Whether the store has room for `bytes` more.
    pub(crate) fn store_room(&self, bytes: u64) -> Result<(), Refusal> {
        let most = self.policy.node.store;
        self.make_room(bytes);
        let held = self.store.bytes();
        if held.saturating_add(bytes) <= most {
            return Ok(());
        }
        let message = format!("the store holds {held} of {most} bytes, {bytes} more do not fit");
        Err(Refusal { kind: RefusalKind::Busy, message })
    }

    /// Lets go of bundles that nobody uses where the store has no room for `bytes` more.
    pub(super) fn make_room(&self, bytes: u64) {
        let wanted = self.store.bytes().saturating_add(bytes);
        let lacking = wanted.saturating_sub(self.policy.node.store);
        if lacking == 0 {
            return;
        }
        let victims = self.store.files.evict(lacking);
        if !victims.is_empty() {
            self.runtime.spawn_blocking(move || remove(&victims));
        }
    }

    /// The job of this name, if there is one: live again if it was not.
    pub(crate) fn existing(self: &Arc<Self>, key: &JobKey) -> Result<Option<Existing>, StoreError> {
        if let Some(job) = self.live(key) {
            return Ok(Some(Existing::Live(job)));
        }
        let Some((record, totals)) = self.store.job(key)? else { return Ok(None) };
        if totals.ended() >= record.indices.count() {
            return Ok(Some(Existing::Ended(record)));
        }
        // It ended a moment ago; or an I/O error left it on the disk although it was refused: then it runs now that it is
        // asked for again.
        match self.resume(key)? {
            Some(job) => {
                self.kick();
                Ok(Some(Existing::Live(job)))
            }
            None => Ok(Some(Existing::Ended(record))),
        }
    }

    /// Takes a job; nothing where its name was taken meanwhile. The caller waits for [`LiveJob::accepted`].
    pub(crate) fn take(self: &Arc<Self>, new: NewJob) -> Result<Option<Arc<LiveJob>>, Refusal> {
        let NewJob { key, submit, input, grant, name } = new;
        let record = JobRecord {
            bundle: submit.bundle,
            name,
            arguments: submit.arguments,
            indices: submit.indices,
            input_bytes: submit.input_bytes,
            input: submit.input,
            limits: grant.limits,
            vms: grant.vms,
            accepted_unix_us: unix_us(),
        };
        let inline = match input {
            Input::Inline(bytes) => bytes,
            Input::File => Vec::new(),
        };
        let held = (record.has_inline_input() && inline.len() <= HELD_INPUT_BYTES).then(|| inline.clone());
        // It may start before the disk has it.
        let unwritten_input = (record.has_inline_input() && held.is_none()).then(|| Arc::from(inline.as_slice()));
        let ticket = Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed));
        let progress = JobState { unwritten_input, ..JobState::default() };
        let job = Arc::new(LiveJob::new(key.clone(), ticket, record.clone(), held, progress));
        {
            let mut state = self.state();
            self.room_in(&state, &key, record.indices.count(), grant.queue_jobs)?;
            if state.by_key.contains_key(&key) {
                return Ok(None);
            }
            self.use_files(&record);
            state.by_key.insert(key.clone(), Arc::clone(&job));
            state.by_ticket.insert(ticket, Arc::clone(&job));
            state.held_bytes = state.held_bytes.saturating_add(held_bytes(&job));
            // Before anything of it can run: the writer must see the job before its results.
            let (engine, twin) = (Arc::clone(self), Arc::clone(&job));
            let op = Op::Accept { key: key.clone(), record: record.clone(), input: inline, patient: submit.attach };
            self.store.write(op, move |outcome, _| engine.on_accept(twin, outcome));
            state.queue.submit(key.client, ticket, [record.indices].into(), record.vms);
        }
        self.kick();
        Ok(Some(job))
    }

    /// A job is on the disk, or not (called by the writer).
    fn on_accept(self: &Arc<Self>, job: Arc<LiveJob>, outcome: Result<Applied, StoreError>) -> Settled {
        let accepted = match outcome {
            Ok(Applied::Done) => Ok(Acceptance::New),
            // It came and went while this one was being checked.
            Ok(_) => Ok(Acceptance::Never),
            Err(error) => Err(error),
        };
        if accepted != Ok(Acceptance::New) {
            self.abandon(&job);
        }
        job.accept(accepted);
        self.written();
        Some(Box::new(move || job.state().unwritten_input = None))
    }

    /// Forgets a job that did not get onto the disk.
    fn abandon(self: &Arc<Self>, job: &Arc<LiveJob>) {
        let running: Vec<_> = job.change(|state| {
            // Before the name is free: what its runs write must not be taken for another's.
            state.refused = true;
            state.totals.cancelled = true;
            state.running.values().cloned().collect()
        });
        self.state().queue.cancel(job.key.client, job.ticket);
        for run in running {
            self.tenants.cancel(&run);
        }
        self.forget(job);
        self.unuse_files(&job.record);
        // The client's next job may be one that is granted more.
        let engine = Arc::clone(self);
        self.runtime.spawn(async move { engine.kick() });
    }

    pub(super) fn use_files(&self, record: &JobRecord) {
        self.store.files.use_once_more(Kind::Bundle, record.bundle);
        if !record.has_inline_input() {
            self.store.files.use_once_more(Kind::Input, record.input);
        }
    }

    fn unuse_files(&self, record: &JobRecord) {
        self.store.files.unuse(Kind::Bundle, record.bundle);
        if !record.has_inline_input() {
            self.store.files.unuse(Kind::Input, record.input);
        }
    }
}

/// What a name stands for already.
#[derive(Debug)]
pub(crate) enum Existing {
    /// A job that has not ended.
    Live(Arc<LiveJob>),
    /// A job with all of its results.
    Ended(JobRecord),
}

impl Existing {
    /// What the job is.
    pub(crate) fn record(&self) -> &JobRecord {
        match self {
            Self::Live(job) => &job.record,
            Self::Ended(record) => record,
        }
    }
}
