//! The writer thread: gathers operations, applies them in one transaction, commits, acknowledges.

use super::{Base, Gauges, JobKey, JobRecord, ResultRecord, StoreError, tables::Tables};
use denali_protocol::digest::Digest;
use std::{
    collections::VecDeque,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// Most operations in one transaction: bounds the memory and the time of one commit.
const BATCH: usize = 1024;

/// Memory that an operation takes besides arguments, input and output.
const OP_BYTES: u64 = 1024;

/// How long to wait before results are tried again that the disk did not take.
const RETRY: Duration = Duration::from_secs(1);

/// A change.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A job was accepted.
    Accept {
        /// Its name.
        key: JobKey,
        /// What it is.
        record: JobRecord,
        /// Its input, where that is kept inline.
        input: Vec<u8>,
    },
    /// A job of an array has ended. Never given up: tried again until the disk takes it.
    Finish {
        /// The array.
        key: JobKey,
        /// The result.
        record: Box<ResultRecord>,
        /// Its output, where that is kept inline.
        output: Vec<u8>,
        /// Length of its output file, where there is one.
        file_bytes: u64,
        /// Its time of end.
        ended_unix_ms: u64,
    },
    /// A client cancelled a job. Tried again until the disk takes it.
    Cancel {
        /// The job.
        key: JobKey,
    },
    /// Remove results of jobs that ended before.
    Expire {
        /// Milliseconds since 1970.
        before_unix_ms: u64,
    },
}

impl Op {
    /// Memory that it takes while it waits, roughly.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Accept { record, input, .. } => record.arguments.iter().map(String::len).sum::<usize>() + input.len(),
            Self::Finish { output, .. } => output.len(),
            Self::Cancel { .. } | Self::Expire { .. } => 0,
        };
        bytes as u64 + OP_BYTES
    }
}

/// What came of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Applied {
    /// It is on the disk.
    Done,
    /// A job of this name was there before; nothing was changed.
    AlreadyThere,
    /// Another result of this index was there before; nothing was changed.
    EndedBefore {
        /// Whether that one is a success.
        succeeded: bool,
    },
    /// There is no such job.
    Missing,
    /// These were removed, and perhaps more remain to be.
    Expired(Expired),
}

/// What an expiry removed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Expired {
    /// Bundles that jobs referred to, once each time.
    pub(crate) bundles: Vec<Digest>,
    /// Inputs in files that jobs referred to, once each time.
    pub(crate) inputs: Vec<Digest>,
    /// Output files.
    pub(crate) outputs: Vec<(String, u64)>,
    /// Whether there is more to remove.
    pub(crate) more: bool,
}

/// What the writer is asked to do.
pub(super) enum Task {
    /// Change something.
    Change(Box<Change>),
    /// Close the database and end.
    Close(oneshot::Sender<()>),
}

/// A change, and whom to tell.
pub(super) struct Change {
    pub(super) op: Op,
    pub(super) done: Box<dyn FnOnce(Result<Applied, StoreError>) + Send>,
}

/// Ends the process should the writer panic: a node that accepts and never writes would be worse than none, and what
/// was acknowledged is on the disk.
struct NotWithoutWriter;

impl Drop for NotWithoutWriter {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the store's writer failed; the node cannot go on");
            std::process::abort();
        }
    }
}

pub(super) fn run(base: &Base, gauges: &Gauges, tasks: &Receiver<Task>) {
    let _guard = NotWithoutWriter;
    // What the disk did not take and must not be forgotten.
    let mut again: VecDeque<Change> = VecDeque::new();
    loop {
        let next = match again.is_empty() {
            true => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => tasks.recv_timeout(RETRY),
        };
        let mut batch = std::mem::take(&mut again);
        let mut close = None;
        let more = std::iter::from_fn(|| tasks.try_recv().ok());
        match next {
            Ok(first) => gather(std::iter::once(first).chain(more), &mut batch, &mut close),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        match commit(base, gauges, &batch) {
            Ok(applied) => {
                batch.iter().for_each(|change| gauges.written(&change.op));
                batch.into_iter().zip(applied).for_each(|(change, applied)| (change.done)(Ok(applied)));
            }
            Err(error) => again = failed(base, gauges, batch, &error),
        }
        if let Some(closed) = close {
            base.close();
            // Whoever closes it may have gone away.
            let _ = closed.send(());
            again.into_iter().for_each(|change| refuse(gauges, change, &StoreError::Closed));
            return refuse_all(gauges, tasks);
        }
    }
}

fn refuse(gauges: &Gauges, change: Change, error: &StoreError) {
    gauges.written(&change.op);
    (change.done)(Err(error.clone()));
}

/// Whoever still holds the store hears that it is closed, on this thread as ever.
fn refuse_all(gauges: &Gauges, tasks: &Receiver<Task>) {
    for task in tasks {
        match task {
            Task::Change(change) => refuse(gauges, *change, &StoreError::Closed),
            Task::Close(closed) => drop(closed.send(())),
        }
    }
}

fn gather(tasks: impl Iterator<Item = Task>, batch: &mut VecDeque<Change>, close: &mut Option<oneshot::Sender<()>>) {
    for task in tasks {
        match task {
            Task::Change(change) => batch.push_back(*change),
            Task::Close(done) => *close = Some(done),
        }
        if close.is_some() || batch.len() >= BATCH {
            return;
        }
    }
}

/// The disk did not take a batch. Gives what is to be tried again.
fn failed(base: &Base, gauges: &Gauges, batch: VecDeque<Change>, error: &StoreError) -> VecDeque<Change> {
    tracing::error!("cannot write to the store: {error}");
    base.give_up();
    let (again, refused): (VecDeque<_>, VecDeque<_>) =
        batch.into_iter().partition(|change| matches!(change.op, Op::Finish { .. } | Op::Cancel { .. }));
    refused.into_iter().for_each(|change| refuse(gauges, change, error));
    again
}

fn commit(base: &Base, gauges: &Gauges, batch: &VecDeque<Change>) -> Result<Vec<Applied>, StoreError> {
    base.with(|database| {
        let transaction = database.begin_write()?;
        let (applied, bytes) = {
            let mut tables = Tables::open(&transaction)?;
            let applied = batch.iter().map(|change| tables.apply(&change.op)).collect::<Result<Vec<_>, _>>()?;
            (applied, tables.finish()?)
        };
        transaction.commit()?;
        gauges.record_bytes.store(bytes, Ordering::Relaxed);
        Ok(applied)
    })
}
