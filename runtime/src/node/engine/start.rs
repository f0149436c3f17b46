//! Starting runs: from the queue's pick to a command to a worker.

use super::{Engine, UNWRITTEN, submit::UNWRITTEN_BYTES};
use crate::node::{
    job::{LiveJob, Run},
    queue::Pick,
    spool::Spool,
    store::{StoreError, files::Kind},
    tenant::Assignment,
};
use denali_protocol::job::{Outcome, Usage};
use denali_vmm::worker::message::{Input, RunId, Start};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{
    fs::File,
    io::{Seek, Write},
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// How long to wait before starting jobs again where the host lacked descriptors, memory or a disk that works.
pub(super) const AGAIN: Duration = Duration::from_millis(250);

/// How much longer than its wall time a run may take from the command to its end, before its worker is given up.
const GRACE: Duration = Duration::from_secs(30);

impl Engine {
    /// Starts what may start.
    pub(crate) fn kick(self: &Arc<Self>) {
        while let Some((pick, job)) = self.next_start() {
            if let Err(error) = self.start(pick, &job) {
                return self.kick_again(&error);
            }
        }
    }

    /// Starts what may start, a moment later.
    fn kick_again(self: &Arc<Self>, why: &StoreError) {
        if self.trying_again.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!("no job can be started for the moment: {why}");
        let engine = Arc::downgrade(self);
        self.runtime.spawn(async move {
            tokio::time::sleep(AGAIN).await;
            if let Some(engine) = engine.upgrade() {
                engine.trying_again.store(false, Ordering::Relaxed);
                engine.kick();
            }
        });
    }

    /// Whether the disk must take something, or give it up, before another job starts. The last one that starts may go
    /// beyond the policy's bound by what it may put out; so may records, which are small.
    pub(super) fn must_wait(&self) -> bool {
        // What a run put out goes from the first of each two to the second, and is in both for a moment: so none is missed.
        let (reserved, concluding) = (self.reserved.load(Ordering::SeqCst), self.concluding.load(Ordering::SeqCst));
        concluding.saturating_add(self.store.unwritten()) > UNWRITTEN
            || self.store.unwritten_bytes() > UNWRITTEN_BYTES
            || reserved.saturating_add(self.store.bytes()) > self.policy.node.store
    }

    pub(super) fn next_start(&self) -> Option<(Pick, Arc<LiveJob>)> {
        if self.stopping.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state();
        if self.must_wait() {
            self.make_room(self.reserved.load(Ordering::SeqCst));
            self.held_back.store(true, Ordering::SeqCst);
            // What was waited for may have come just before the flag was up, and then nobody looks at it.
            if self.must_wait() {
                return None;
            }
        }
        loop {
            let pick = state.queue.pick()?;
            if let Some(job) = state.by_ticket.get(&pick.ticket).cloned() {
                // Under the lock: whoever looks for room next must see it.
                self.reserved.fetch_add(job.record.limits.output_bytes, Ordering::SeqCst);
                return Some((pick, job));
            }
            // A run of a job that was forgotten meanwhile.
            state.queue.ended(pick.client);
        }
    }

    /// Starts one run, or puts it back where the host cannot at the moment.
    fn start(self: &Arc<Self>, pick: Pick, job: &Arc<LiveJob>) -> Result<(), StoreError> {
        let id = RunId(self.next_run.fetch_add(1, Ordering::Relaxed));
        let limits = job.record.limits;
        let deadline = Instant::now() + Duration::from_micros(limits.wall_time_us) + GRACE;
        let spool = Spool::new(Arc::clone(&self.store.files));
        let run = Arc::new(Run::new(id, pick, Arc::clone(job), deadline, spool));
        let cancelled = job.change(|state| {
            state.running.insert(pick.index, Arc::clone(&run));
            state.totals.cancelled
        });
        if cancelled {
            self.settle(&run, Outcome::Cancelled, Usage::default());
            return Ok(());
        }
        match self.descriptors(job) {
            Ok((bundle, input, descriptor)) => {
                let start = Start {
                    run: id,
                    bundle: job.record.bundle,
                    arguments: arguments(&job.record.arguments, pick.index),
                    limits,
                    input,
                    reimage: self.policy.node.reimage,
                };
                self.tenants.assign(self, Assignment { run: Arc::clone(&run), start, bundle, input: descriptor });
                // Who cancelled it meanwhile may have told the worker before it knew of the run.
                if job.state().totals.cancelled {
                    self.tenants.cancel(&run);
                }
            }
            // What should be there is not: it will not be there later either.
            Err(error @ StoreError::Corrupt(_)) => {
                self.settle(&run, Outcome::Lost(error.to_string()), Usage::default());
            }
            Err(error) => {
                self.put_back(&run);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The content of the bundle, and the input from its beginning, with its descriptor if it comes by one.
    fn descriptors(&self, job: &LiveJob) -> Result<(OwnedFd, Input, Option<OwnedFd>), StoreError> {
        let file = |kind, digest| {
            let missing = || StoreError::Corrupt(format!("the file of digest {digest} is not there"));
            self.store.files.get(kind, &digest)?.ok_or_else(missing)
        };
        let record = &job.record;
        let unwritten = job.state().unwritten_input.clone();
        let bundle = file(Kind::Bundle, record.bundle)?;
        let bytes = match (record.input_bytes, &job.input) {
            (0, _) => Some(Vec::new()),
            (_, Some(bytes)) => Some(bytes.clone()),
            (_, None) if let Some(bytes) = unwritten => Some(bytes.to_vec()),
            (_, None) if record.has_inline_input() => Some(self.store.inline_input(&job.key)?),
            (_, None) => None,
        };
        let (input, descriptor) = match bytes {
            Some(bytes) if bytes.len() <= COMMAND_INPUT_BYTES => (Input::Bytes(bytes), None),
            Some(bytes) => (Input::Descriptor, Some(memory_file(&bytes)?.into())),
            None => (Input::Descriptor, Some(file(Kind::Input, record.input)?.into())),
        };
        Ok((bundle.into(), input, descriptor))
    }
}

/// Input that goes along with the command. Larger ones go by a descriptor.
const COMMAND_INPUT_BYTES: usize = 16 << 10;

fn memory_file(bytes: &[u8]) -> Result<File, StoreError> {
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC).map_err(std::io::Error::from)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// The arguments of one job of an array. Longer than the limit they never get by much: an index has ten digits.
pub(super) fn arguments(arguments: &[String], index: u32) -> Vec<String> {
    arguments.iter().map(|argument| argument.replace("{index}", &index.to_string())).collect()
}
