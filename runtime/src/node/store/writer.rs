//! The writer thread: gathers operations, applies them in one transaction, puts them into the log or commits them
//! durably, acknowledges.

use super::{Applied, Base, Gauges, Op, StoreError, log::Log, tables::Tables};
use redb::{Database, Durability};
use std::{
    collections::VecDeque,
    mem::take,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Most operations that are put on the disk at once: bounds the memory and the time that takes.
const BATCH: usize = 1024;

/// With so many operations in a transaction, or so many bytes of them, it is committed. What is in the log can wait for
/// that, and one large commit costs far less than many small ones; but nothing is acknowledged while one goes on.
const TRANSACTION: usize = 256;
const TRANSACTION_BYTES: u64 = 8 * 1024 * 1024;

/// With nothing to write for so long, or this long after its beginning, a transaction is committed whatever its size.
const LINGER: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(100);

/// How long to wait before results are tried again that the disk did not take.
const RETRY: Duration = Duration::from_secs(1);

/// How long a job whose client waits for its end is not written down by itself: by then a small one has ended, and goes to
/// the disk together with its result.
const PATIENCE: Duration = Duration::from_micros(500);

/// With nothing to write for so long, what is in the log is committed.
const REST: Duration = Duration::from_secs(1);

/// How long to wait before the database is committed again where the disk did not take it. It is all in the log.
const REST_AGAIN: Duration = Duration::from_secs(60);

/// What the writer is asked to do.
pub(super) enum Task {
    /// Change something.
    Change(Box<Change>),
    /// Tell when readers see all changes that were asked for before.
    Settle(oneshot::Sender<()>),
    /// Close the database and end.
    Close(oneshot::Sender<()>),
}

/// What is to be done once readers see a change.
pub(crate) type Settled = Option<Box<dyn FnOnce() + Send>>;

/// Whom to tell of a change that is on the disk, or refused: it gets the operation back.
pub(super) type Done = Box<dyn FnOnce(Result<Applied, StoreError>, Op) -> Settled + Send>;

/// A change, and whom to tell.
pub(super) struct Change {
    pub(super) op: Op,
    pub(super) done: Done,
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
    let mut writer = Writer::new(gauges, tasks);
    while writer.close.is_none() && !writer.alone {
        if let Err(error) = base.with_log(|database, log| writer.round(database, log)) {
            tracing::error!("cannot write to the store: {error}");
            base.give_up();
            writer.failed(&error);
        }
    }
    base.close();
    writer.settle();
    writer.end();
}

/// The writer's desk.
struct Writer<'a> {
    gauges: &'a Gauges,
    tasks: &'a Receiver<Task>,
    /// What is being written, or was not taken by the disk and must not be forgotten.
    batch: VecDeque<Change>,
    /// To be done once readers see what was acknowledged.
    settled: Vec<Box<dyn FnOnce() + Send>>,
    /// Who wants to know when that is so.
    waiting: Vec<oneshot::Sender<()>>,
    /// Whether there is nothing in the log.
    at_rest: bool,
    /// Who closes the store.
    close: Option<oneshot::Sender<()>>,
    /// There is no store any more.
    alone: bool,
}

impl<'a> Writer<'a> {
    fn new(gauges: &'a Gauges, tasks: &'a Receiver<Task>) -> Self {
        Self {
            gauges,
            tasks,
            batch: VecDeque::new(),
            settled: Vec::new(),
            waiting: Vec::new(),
            at_rest: false,
            close: None,
            alone: false,
        }
    }

    /// One transaction, of many batches. Opened before there is anything to write, so that nobody waits for that.
    fn round(&mut self, database: &Database, log: &mut Log) -> Result<(), StoreError> {
        // What is in the log is in an open database, also after an error.
        self.settle();
        let mut transaction = database.begin_write()?;
        let mut tables = Tables::open(&transaction)?;
        let (mut ops, mut op_bytes, mut until) = (0, 0, None);
        while ops < TRANSACTION && op_bytes < TRANSACTION_BYTES && until.is_none_or(|until| Instant::now() < until) {
            if self.batch.is_empty() {
                self.wait(if ops > 0 { Some(LINGER) } else { (!self.at_rest).then_some(REST) });
            }
            let applied = self.gather(&mut tables)?;
            if self.batch.is_empty() && ops > 0 && self.close.is_none() {
                break;
            }
            self.at_rest = self.batch.is_empty() && log.is_empty();
            if self.at_rest {
                return Ok(());
            }
            let expires = self.batch.iter().any(|change| matches!(change.op, Op::Expire { .. }));
            // Also when it is closed: the next start then has no log to read.
            if self.batch.is_empty() || self.close.is_some() || log.is_full() || expires {
                let number = Log::next_number()?;
                tables.begin_log(number)?;
                let bytes = tables.finish()?;
                transaction.commit()?;
                log.begin(number);
                self.acknowledge(applied);
                self.gauges.record_bytes.store(bytes, Ordering::Relaxed);
                self.settle();
                return Ok(());
            }
            log.append(self.batch.iter().map(|change| &change.op))?;
            until = until.or(Some(Instant::now() + LONGEST));
            ops += self.batch.len();
            op_bytes += self.batch.iter().map(|change| change.op.bytes()).sum::<u64>();
            self.acknowledge(applied);
            self.gauges.record_bytes.store(tables.bytes(), Ordering::Relaxed);
            if !self.waiting.is_empty() {
                break;
            }
        }
        tables.finish()?;
        transaction.set_durability(Durability::None)?;
        // Should this fail, it is done again from the log.
        transaction.commit()?;
        self.settle();
        Ok(())
    }

    /// Waits for something to do, and no longer than that.
    fn wait(&mut self, most: Option<Duration>) {
        let next = match most {
            None => self.tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(most) => self.tasks.recv_timeout(most),
        };
        self.take(next);
    }

    fn take(&mut self, next: Result<Task, RecvTimeoutError>) {
        match next {
            Ok(Task::Change(change)) => self.batch.push_back(*change),
            Ok(Task::Settle(waiting)) => self.waiting.push(waiting),
            Ok(Task::Close(close)) => self.close = Some(close),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.alone = true,
        }
    }

    /// Applies what there is; and where that can wait, what comes within [`PATIENCE`].
    fn gather(&mut self, tables: &mut Tables<'_>) -> Result<Vec<Applied>, StoreError> {
        let (mut applied, mut until) = (Vec::new(), None);
        loop {
            while let Some(change) = self.batch.get(applied.len()) {
                applied.push(tables.apply(&change.op)?);
            }
            if self.close.is_some() || self.batch.len() >= BATCH {
                return Ok(applied);
            }
            if let Ok(task) = self.tasks.try_recv() {
                self.take(Ok(task));
                continue;
            }
            let patient = !self.batch.is_empty() && self.batch.iter().all(|change| change.op.is_patient());
            let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
            let left = until.saturating_duration_since(Instant::now());
            if !patient || !self.waiting.is_empty() || left.is_zero() {
                return Ok(applied);
            }
            let next = self.tasks.recv_timeout(left);
            self.take(next);
        }
    }

    /// The batch is on the disk.
    fn acknowledge(&mut self, applied: Vec<Applied>) {
        for (change, applied) in take(&mut self.batch).into_iter().zip(applied) {
            self.gauges.written(&change.op);
            self.settled.extend((change.done)(Ok(applied), change.op));
        }
    }

    /// Readers see all that was acknowledged.
    fn settle(&mut self) {
        self.settled.drain(..).for_each(|settled| settled());
        self.tell_waiting();
    }

    fn tell_waiting(&mut self) {
        for waiting in self.waiting.drain(..) {
            // Whoever waited may have gone away.
            let _ = waiting.send(());
        }
    }

    /// The disk did not take the batch. What must not be forgotten is tried again a moment later.
    fn failed(&mut self, error: &StoreError) {
        let keep = |change: &Change| matches!(change.op, Op::Finish { .. } | Op::Cancel { .. });
        let (again, refused) = take(&mut self.batch).into_iter().partition(keep);
        self.batch = again;
        self.refuse(refused, error);
        // Who waits to read will see for himself.
        self.tell_waiting();
        if self.close.is_none() {
            let pending = !self.batch.is_empty() || !self.settled.is_empty();
            let next = self.tasks.recv_timeout(if pending { RETRY } else { REST_AGAIN });
            self.take(next);
        }
    }

    fn refuse(&self, changes: VecDeque<Change>, error: &StoreError) {
        for change in changes {
            self.gauges.written(&change.op);
            if let Some(settled) = (change.done)(Err(error.clone()), change.op) {
                settled();
            }
        }
    }

    /// The store is closed. Whoever still holds it hears that, on this thread as ever.
    fn end(mut self) {
        let batch = take(&mut self.batch);
        self.refuse(batch, &StoreError::Closed);
        if let Some(close) = self.close.take() {
            // Whoever closes it may have gone away.
            let _ = close.send(());
        }
        for task in self.tasks {
            match task {
                Task::Change(change) => self.refuse([*change].into(), &StoreError::Closed),
                // Nor need they still be there.
                Task::Settle(waiting) | Task::Close(waiting) => _ = waiting.send(()),
            }
        }
    }
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
