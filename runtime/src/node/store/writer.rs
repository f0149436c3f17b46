//! The writer thread: gathers operations, applies them in one transaction, puts them into the log or commits them
//! durably, acknowledges.

use super::{Base, Gauges, JobKey, JobRecord, ResultRecord, StoreError, tables::Tables};
use denali_protocol::digest::Digest;
use redb::{Database, Durability};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Most operations in one transaction: bounds the memory and the time of one commit.
const BATCH: usize = 1024;

/// Memory that an operation takes besides arguments, input and output.
const OP_BYTES: u64 = 1024;

/// How long to wait before results are tried again that the disk did not take.
const RETRY: Duration = Duration::from_secs(1);

/// How long a job whose client waits for its end is not written down by itself: by then a small one has ended, and goes to
/// the disk together with its result.
const PATIENCE: Duration = Duration::from_micros(500);

/// With nothing to write for so long, what is in the log is committed.
const REST: Duration = Duration::from_secs(1);

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    /// A job was accepted.
    Accept {
        /// Its name.
        key: JobKey,
        /// What it is.
        record: JobRecord,
        /// Its input, where that is kept inline.
        #[serde(skip)]
        input: Vec<u8>,
        /// Whether it may wait for a moment: its client is told of its end too.
        patient: bool,
    },
    /// A job of an array has ended. Never given up: tried again until the disk takes it.
    Finish {
        /// The array.
        key: JobKey,
        /// The result.
        record: Box<ResultRecord>,
        /// Its output, where that is kept inline.
        #[serde(skip)]
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
    /// Remove results of jobs that ended before. Never in the log.
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

    /// The bytes that follow its encoding raw.
    pub(super) fn raw(&self) -> &[u8] {
        match self {
            Self::Accept { input: raw, .. } | Self::Finish { output: raw, .. } => raw,
            Self::Cancel { .. } | Self::Expire { .. } => &[],
        }
    }

    /// The decoded operation with its raw bytes.
    pub(super) fn with_raw(mut self, bytes: Vec<u8>) -> Self {
        if let Self::Accept { input: raw, .. } | Self::Finish { output: raw, .. } = &mut self {
            *raw = bytes;
        }
        self
    }

    /// Whether it may wait for [`PATIENCE`].
    fn is_patient(&self) -> bool {
        matches!(self, Self::Accept { patient: true, .. })
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
    // Whether the log is empty, as far as can be helped.
    let mut at_rest = false;
    loop {
        let next = match (again.is_empty(), at_rest) {
            (true, true) => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            (true, false) => tasks.recv_timeout(REST),
            (false, _) => tasks.recv_timeout(RETRY),
        };
        let mut batch = std::mem::take(&mut again);
        let mut close = None;
        match next {
            Ok(first) => gather(first, tasks, &mut batch, &mut close),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // Also when it is closed: the next start then has no log to read.
        at_rest = batch.is_empty();
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

/// Takes what is there; and where that can wait, what comes within [`PATIENCE`].
fn gather(first: Task, tasks: &Receiver<Task>, batch: &mut VecDeque<Change>, close: &mut Option<oneshot::Sender<()>>) {
    let mut next = Some(first);
    let mut until = None;
    while let Some(task) = next {
        match task {
            Task::Change(change) => batch.push_back(*change),
            Task::Close(done) => *close = Some(done),
        }
        if close.is_some() || batch.len() >= BATCH {
            return;
        }
        next = tasks.try_recv().ok();
        if next.is_none() && batch.iter().all(|change| change.op.is_patient()) {
            let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
            next = tasks.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
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

/// Applies a batch and puts it on the disk: into the log; or into the database with all that is in the log, where there is
/// nothing to do meanwhile, the log is full, or it cannot hold the batch.
fn commit(base: &Base, gauges: &Gauges, batch: &VecDeque<Change>) -> Result<Vec<Applied>, StoreError> {
    base.with_log(|database, log| {
        if batch.is_empty() && log.is_empty() {
            return Ok(Vec::new());
        }
        let expires = batch.iter().any(|change| matches!(change.op, Op::Expire { .. }));
        let durably = batch.is_empty() || log.is_full() || expires;
        let mut transaction = database.begin_write()?;
        if !durably {
            transaction.set_durability(Durability::None)?;
        }
        let (applied, bytes) = {
            let mut tables = Tables::open(&transaction)?;
            let applied = batch.iter().map(|change| tables.apply(&change.op)).collect::<Result<Vec<_>, _>>()?;
            if durably {
                tables.begin_log(log.next_number())?;
            }
            (applied, tables.finish()?)
        };
        if durably {
            transaction.commit()?;
            log.begin();
        } else {
            // Before readers see it.
            log.append(batch.iter().map(|change| &change.op))?;
            transaction.commit()?;
        }
        gauges.record_bytes.store(bytes, Ordering::Relaxed);
        Ok(applied)
    })
}

/// Applies again what is in the log.
pub(super) fn replay(database: &Database, ops: &[Op]) -> Result<(), StoreError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::None)?;
    {
        let mut tables = Tables::open(&transaction)?;
        ops.iter().try_for_each(|op| tables.apply(op).map(drop))?;
        tables.finish()?;
    }
    Ok(transaction.commit()?)
}
