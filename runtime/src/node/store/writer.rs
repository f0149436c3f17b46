//! The writer thread: gathers operations, applies them in one transaction, commits, acknowledges.

use super::{
    Base, ENDED, Gauges, JOBS, JobKey, JobRecord, META, META_BYTES, OUTPUT_FILES, OutputPlace, RESULTS, ResultRecord,
    StoreError, TOTALS, Totals, record,
};
use denali_protocol::digest::Digest;
use redb::{ReadableTable, Table, WriteTransaction};
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

/// What came of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Applied {
    /// It is on the disk.
    Done,
    /// A job of this name, or a result of this index, was there before; nothing was changed.
    AlreadyThere,
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
    Change(Change),
    /// Close the database and end.
    Close(oneshot::Sender<()>),
}

/// A change, and whom to tell.
pub(super) struct Change {
    pub(super) op: Op,
    #[expect(clippy::type_complexity, reason = "a callback, named once")]
    pub(super) done: Box<dyn FnOnce(Result<Applied, StoreError>) + Send>,
}

pub(super) fn run(base: &Base, gauges: &Gauges, tasks: &Receiver<Task>) {
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
                gauges.written(batch.len());
                batch.into_iter().zip(applied).for_each(|(change, applied)| (change.done)(Ok(applied)));
            }
            Err(error) => again = failed(base, gauges, batch, &error),
        }
        if let Some(closed) = close {
            base.close();
            // Whoever closes it may have gone away.
            let _ = closed.send(());
            return;
        }
    }
}

fn gather(tasks: impl Iterator<Item = Task>, batch: &mut VecDeque<Change>, close: &mut Option<oneshot::Sender<()>>) {
    for task in tasks {
        match task {
            Task::Change(change) => batch.push_back(change),
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
    if let Err(error) = base.reopen() {
        tracing::error!("cannot open the store again: {error}");
    }
    let (again, refused): (VecDeque<_>, VecDeque<_>) =
        batch.into_iter().partition(|change| matches!(change.op, Op::Finish { .. } | Op::Cancel { .. }));
    gauges.written(refused.len());
    refused.into_iter().for_each(|change| (change.done)(Err(error.clone())));
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

struct Tables<'t> {
    jobs: Table<'t, &'static [u8], &'static [u8]>,
    totals: Table<'t, &'static [u8], (u32, u32, bool)>,
    results: Table<'t, &'static [u8], &'static [u8]>,
    ended: Table<'t, &'static [u8], ()>,
    output_files: Table<'t, &'static str, u64>,
    meta: Table<'t, &'static str, u64>,
    bytes: u64,
}

/// Jobs and results that one expiry removes at most, so that it does not hold up a commit.
const EXPIRY_RECORDS: usize = 512;

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        let meta = transaction.open_table(META)?;
        let bytes = meta.get(META_BYTES)?.map_or(0, |value| value.value());
        Ok(Self {
            jobs: transaction.open_table(JOBS)?,
            totals: transaction.open_table(TOTALS)?,
            results: transaction.open_table(RESULTS)?,
            ended: transaction.open_table(ENDED)?,
            output_files: transaction.open_table(OUTPUT_FILES)?,
            meta,
            bytes,
        })
    }

    fn finish(mut self) -> Result<u64, StoreError> {
        self.meta.insert(META_BYTES, self.bytes)?;
        Ok(self.bytes)
    }

    fn apply(&mut self, op: &Op) -> Result<Applied, StoreError> {
        match op {
            Op::Accept { key, record, input } => self.accept(key, record, input),
            Op::Finish { key, record, output, file_bytes, ended_unix_ms } => {
                self.finish_job(key, record, output, *file_bytes, *ended_unix_ms)
            }
            Op::Cancel { key } => self.cancel(key),
            Op::Expire { before_unix_ms } => self.expire(*before_unix_ms),
        }
    }

    fn accept(&mut self, key: &JobKey, record: &JobRecord, input: &[u8]) -> Result<Applied, StoreError> {
        let key = key.bytes();
        if self.jobs.get(key.as_slice())?.is_some() {
            return Ok(Applied::AlreadyThere);
        }
        let value = record::encode(record, input)?;
        self.bytes = self.bytes.saturating_add(value.len() as u64);
        self.jobs.insert(key.as_slice(), value.as_slice())?;
        self.totals.insert(key.as_slice(), Totals::default().to_value())?;
        Ok(Applied::Done)
    }

    fn finish_job(
        &mut self,
        key: &JobKey,
        record: &ResultRecord,
        output: &[u8],
        file_bytes: u64,
        ended_unix_ms: u64,
    ) -> Result<Applied, StoreError> {
        let (job_key, result_key) = (key.bytes(), key.result_bytes(record.result.index));
        let Some(jobs) = self.indices_count(&job_key)? else { return Ok(Applied::Missing) };
        if self.results.get(result_key.as_slice())?.is_some() {
            return Ok(Applied::AlreadyThere);
        }
        let value = record::encode(record, output)?;
        self.bytes = self.bytes.saturating_add(value.len() as u64);
        self.results.insert(result_key.as_slice(), value.as_slice())?;
        if let OutputPlace::File(name) = &record.place {
            self.output_files.insert(name.as_str(), file_bytes)?;
        }
        let mut totals = self.totals_of(&job_key)?;
        match record.result.outcome.exit_status() {
            0 => totals.succeeded = totals.succeeded.saturating_add(1),
            _ => totals.failed = totals.failed.saturating_add(1),
        }
        self.totals.insert(job_key.as_slice(), totals.to_value())?;
        if totals.ended() >= jobs {
            self.ended.insert([&ended_unix_ms.to_be_bytes(), job_key.as_slice()].concat().as_slice(), ())?;
        }
        Ok(Applied::Done)
    }

    fn indices_count(&self, job_key: &[u8]) -> Result<Option<u32>, StoreError> {
        let Some(value) = self.jobs.get(job_key)? else { return Ok(None) };
        let (record, _) = record::decode::<JobRecord>(value.value())?;
        Ok(Some(record.indices.count()))
    }

    fn totals_of(&self, job_key: &[u8]) -> Result<Totals, StoreError> {
        Ok(self.totals.get(job_key)?.map(|value| Totals::from_value(value.value())).unwrap_or_default())
    }

    fn cancel(&mut self, key: &JobKey) -> Result<Applied, StoreError> {
        let key = key.bytes();
        if self.jobs.get(key.as_slice())?.is_none() {
            return Ok(Applied::Missing);
        }
        let totals = Totals { cancelled: true, ..self.totals_of(&key)? };
        self.totals.insert(key.as_slice(), totals.to_value())?;
        Ok(Applied::Done)
    }

    fn expire(&mut self, before_unix_ms: u64) -> Result<Applied, StoreError> {
        let mut expired = Expired::default();
        let mut left = EXPIRY_RECORDS;
        while left > 0 {
            let first = self.ended.first()?.map(|(key, _)| key.value().to_vec());
            let Some(ended_key) = first else { return Ok(Applied::Expired(expired)) };
            let Some((time, job_key)) = ended_key.split_first_chunk::<8>() else {
                self.ended.remove(ended_key.as_slice())?;
                continue;
            };
            if u64::from_be_bytes(*time) >= before_unix_ms {
                return Ok(Applied::Expired(expired));
            }
            left = left.saturating_sub(1);
            if self.remove_results(job_key, &mut left, &mut expired)? {
                self.remove_job(job_key, &mut expired)?;
                self.ended.remove(ended_key.as_slice())?;
            }
        }
        expired.more = true;
        Ok(Applied::Expired(expired))
    }

    /// Removes up to `left` results of a job; true when none is left.
    fn remove_results(&mut self, job_key: &[u8], left: &mut usize, expired: &mut Expired) -> Result<bool, StoreError> {
        let (first, end) = ([job_key, &[0]].concat(), [job_key, &[1]].concat());
        loop {
            let found = match self.results.range(first.as_slice()..end.as_slice())?.next().transpose()? {
                Some((key, value)) => {
                    let (record, _) = record::decode::<ResultRecord>(value.value())?;
                    (key.value().to_vec(), value.value().len(), record.place)
                }
                None => return Ok(true),
            };
            if *left == 0 {
                return Ok(false);
            }
            *left -= 1;
            let (key, bytes, place) = found;
            self.results.remove(key.as_slice())?;
            self.bytes = self.bytes.saturating_sub(bytes as u64);
            if let OutputPlace::File(name) = place {
                let bytes = self.output_files.remove(name.as_str())?.map_or(0, |value| value.value());
                expired.outputs.push((name, bytes));
            }
        }
    }

    fn remove_job(&mut self, job_key: &[u8], expired: &mut Expired) -> Result<(), StoreError> {
        self.totals.remove(job_key)?;
        let Some(value) = self.jobs.remove(job_key)? else { return Ok(()) };
        let (record, _) = record::decode::<JobRecord>(value.value())?;
        self.bytes = self.bytes.saturating_sub(value.value().len() as u64);
        expired.bundles.push(record.bundle);
        if !record.has_inline_input() {
            expired.inputs.push(record.input);
        }
        Ok(())
    }
}
