//! Applying operations to the tables, inside one transaction of the writer's.

use super::{
    ENDED, JOBS, JobKey, JobRecord, META, META_BYTES, META_LOG, OUTPUT_FILES, OutputPlace, RESULTS, ResultRecord,
    StoreError, TOTALS, Totals,
    op::{Applied, Expired, Op},
    record,
};
use redb::{ReadableTable, Table, WriteTransaction};

/// The tables of one transaction.
pub(super) struct Tables<'t> {
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
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
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

    pub(super) fn finish(mut self) -> Result<u64, StoreError> {
        self.meta.insert(META_BYTES, self.bytes)?;
        Ok(self.bytes)
    }

    /// Bytes of all job and result records.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts the log of this number in force.
    pub(super) fn begin_log(&mut self, number: u64) -> Result<(), StoreError> {
        self.meta.insert(META_LOG, number)?;
        Ok(())
    }

    pub(super) fn apply(&mut self, op: &Op) -> Result<Applied, StoreError> {
        match op {
            Op::Accept { key, record, input, .. } => self.accept(key, record, input),
            Op::Finish { key, accepted_unix_us, record, output, file_bytes, ended_unix_ms, .. } => {
                match self.job(key)?.filter(|job| job.accepted_unix_us == *accepted_unix_us) {
                    Some(job) => self.finish_job(key, &job, record, output, *file_bytes, *ended_unix_ms),
                    None => Ok(Applied::Missing),
                }
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
        Ok(Applied::Done)
    }

    fn finish_job(
        &mut self,
        key: &JobKey,
        job: &JobRecord,
        record: &ResultRecord,
        output: &[u8],
        file_bytes: u64,
        ended_unix_ms: u64,
    ) -> Result<Applied, StoreError> {
        let (job_key, result_key) = (key.bytes(), key.result_bytes(record.result.index));
        if let Some(value) = self.results.get(result_key.as_slice())? {
            let (there, _) = record::decode::<ResultRecord>(value.value())?;
            // A commit that failed may have reached the disk all the same: then it is this very one.
            return Ok(match there == *record {
                true => Applied::Done,
                false => Applied::EndedBefore { succeeded: there.result.outcome.exit_status() == 0 },
            });
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
        if totals.ended() >= job.indices.count() {
            self.ended.insert([&ended_unix_ms.to_be_bytes(), job_key.as_slice()].concat().as_slice(), ())?;
        }
        Ok(Applied::Done)
    }

    fn job(&self, key: &JobKey) -> Result<Option<JobRecord>, StoreError> {
        let Some(value) = self.jobs.get(key.bytes().as_slice())? else { return Ok(None) };
        let (record, _) = record::decode::<JobRecord>(value.value())?;
        Ok(Some(record))
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
