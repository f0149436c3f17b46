//! Starting runs: from the queue's pick to a command to a worker.

use super::{Engine, UNWRITTEN};
use crate::node::{
    job::{LiveJob, Run},
    queue::Pick,
    spool::Spool,
    store::{StoreError, files::Kind},
    tenant::Assignment,
};
use denali_protocol::job::{Outcome, Usage};
use denali_vmm::worker::message::{RunId, Start};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{
    fs::File,
    io::{Seek, Write},
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// How much longer than its wall time a run may take from the command to its end, before its worker is given up.
const GRACE: Duration = Duration::from_secs(30);

impl Engine {
    /// Starts what may start.
    pub(crate) fn kick(self: &Arc<Self>) {
        while let Some((pick, job)) = self.next_start() {
            self.start(pick, &job);
        }
    }

    fn next_start(&self) -> Option<(Pick, Arc<LiveJob>)> {
        if self.stopping.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state();
        let written = self.store.bytes().saturating_add(self.reserved.load(Ordering::Relaxed));
        if self.store.unwritten() > UNWRITTEN || written > self.policy.node.store {
            self.held_back.store(true, Ordering::Relaxed);
            return None;
        }
        let pick = state.queue.pick()?;
        // What is in the queue is in the map.
        let job = state.by_ticket.get(&pick.ticket).cloned();
        if job.is_none() {
            state.queue.ended(pick.client);
        }
        Some((pick, job?))
    }

    fn start(self: &Arc<Self>, pick: Pick, job: &Arc<LiveJob>) {
        let id = RunId(self.next_run.fetch_add(1, Ordering::Relaxed));
        let limits = job.record.limits;
        let deadline = Instant::now() + Duration::from_micros(limits.wall_time_us) + GRACE;
        let spool = Spool::new(Arc::clone(&self.store.files));
        let run = Arc::new(Run::new(id, pick, Arc::clone(job), deadline, spool));
        self.reserved.fetch_add(limits.output_bytes, Ordering::Relaxed);
        let cancelled = job.change(|state| {
            state.running.insert(pick.index, Arc::clone(&run));
            state.totals.cancelled
        });
        if cancelled {
            return self.settle(&run, Outcome::Cancelled, Usage::default());
        }
        match self.descriptors(job) {
            Ok((bundle, input)) => {
                let start = Start {
                    run: id,
                    bundle: job.record.bundle,
                    arguments: arguments(&job.record.arguments, pick.index),
                    limits,
                };
                self.tenants.assign(self, Assignment { run, start, bundle, input });
            }
            Err(error) => self.settle(&run, Outcome::Lost(error.to_string()), Usage::default()),
        }
    }

    /// The content of the bundle, and the input from its beginning.
    fn descriptors(&self, job: &LiveJob) -> Result<(OwnedFd, OwnedFd), StoreError> {
        let file = |kind, digest| {
            let missing = || StoreError::Corrupt(format!("the file of digest {digest} is not there"));
            self.store.files.get(kind, &digest)?.ok_or_else(missing)
        };
        let record = &job.record;
        let bundle = file(Kind::Bundle, record.bundle)?;
        let input = match (record.input_bytes, &job.input) {
            (0, _) => File::open("/dev/null")?,
            (_, Some(bytes)) => memory_file(bytes)?,
            (_, None) if record.has_inline_input() => memory_file(&self.store.inline_input(&job.key)?)?,
            (_, None) => file(Kind::Input, record.input)?,
        };
        Ok((bundle.into(), input.into()))
    }
}

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
