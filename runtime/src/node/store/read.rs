//! Reading from the store: snapshots, beside the writer.
//!
//! A value read from redb does not keep its snapshot alive: each function holds the transaction to its end.

use super::{
    JOBS, JobKey, JobRecord, META, META_BYTES, OUTPUT_FILES, RESULTS, ResultRecord, Store, StoreError, TOTALS, Totals,
    record,
};
use denali_protocol::{
    identity::PublicKey,
    job::{Indices, JobId},
};
use redb::{ReadableDatabase, ReadableTable};
use std::{
    collections::{HashSet, VecDeque},
    ops::Bound,
};

/// A job that was accepted and has not ended, found at start.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// What it is.
    pub(crate) record: JobRecord,
    /// How far it is.
    pub(crate) totals: Totals,
    /// Indices without a result.
    pub(crate) waiting: VecDeque<Indices>,
}

/// Some jobs of a client in the order of names, and whether there are more.
pub(crate) type Page = (Vec<(JobId, JobRecord, Totals)>, bool);

impl Store {
    /// A job and how far it is.
    pub(crate) fn job(&self, key: &JobKey) -> Result<Option<(JobRecord, Totals)>, StoreError> {
        self.base.with(|database| {
            let (read, key) = (database.begin_read()?, key.bytes());
            let Some(value) = read.open_table(JOBS)?.get(key.as_slice())? else { return Ok(None) };
            let (record, _) = record::decode(value.value())?;
            let totals = read.open_table(TOTALS)?.get(key.as_slice())?;
            Ok(Some((record, totals.map(|value| Totals::from_value(value.value())).unwrap_or_default())))
        })
    }

    /// A job that has not ended, with what is left of it.
    pub(crate) fn unfinished(&self, key: &JobKey) -> Result<Option<Unfinished>, StoreError> {
        let Some((record, totals)) = self.job(key)? else { return Ok(None) };
        if totals.ended() >= record.indices.count() {
            return Ok(None);
        }
        let waiting = self.without_result(key, record.indices)?;
        Ok(Some(Unfinished { record, totals, waiting }))
    }

    /// A job's inline input.
    pub(crate) fn inline_input(&self, key: &JobKey) -> Result<Vec<u8>, StoreError> {
        self.base.with(|database| {
            let read = database.begin_read()?;
            let value = read.open_table(JOBS)?.get(key.bytes().as_slice())?;
            let value = value.ok_or_else(|| StoreError::Corrupt("a job that runs is not there".to_owned()))?;
            Ok(record::decode::<JobRecord>(value.value())?.1.to_vec())
        })
    }

    /// The result of one job of an array, and its inline output.
    pub(crate) fn result(&self, key: &JobKey, index: u32) -> Result<Option<(ResultRecord, Vec<u8>)>, StoreError> {
        self.base.with(|database| {
            let read = database.begin_read()?;
            let value = read.open_table(RESULTS)?.get(key.result_bytes(index).as_slice())?;
            let Some(value) = value else { return Ok(None) };
            let (record, output) = record::decode(value.value())?;
            Ok(Some((record, output.to_vec())))
        })
    }

    /// The first index from `from` on that has a result.
    pub(crate) fn next_result(&self, key: &JobKey, from: u32) -> Result<Option<u32>, StoreError> {
        self.base.with(|database| {
            let read = database.begin_read()?;
            let table = read.open_table(RESULTS)?;
            let (first, last) = (key.result_bytes(from), key.result_bytes(u32::MAX));
            let found = table.range(first.as_slice()..=last.as_slice())?.next().transpose()?;
            Ok(found.and_then(|(key, _)| index_of(key.value())))
        })
    }

    /// Jobs of `client` in the order of names after `after`: at most `most`, and whether there are more.
    pub(crate) fn list(&self, client: PublicKey, after: Option<JobId>, most: usize) -> Result<Page, StoreError> {
        self.base.with(|database| {
            let read = database.begin_read()?;
            let (jobs, totals) = (read.open_table(JOBS)?, read.open_table(TOTALS)?);
            let first = after.map_or_else(|| client.0.to_vec(), |job| JobKey { client, job }.bytes());
            let mut found = Vec::new();
            for row in jobs.range::<&[u8]>((Bound::Excluded(first.as_slice()), Bound::Unbounded))? {
                let (key, value) = row?;
                let Some(name) = JobKey::parse(key.value()).filter(|name| name.client == client) else { break };
                if found.len() == most {
                    return Ok((found, true));
                }
                let totals = totals.get(key.value())?.map(|value| Totals::from_value(value.value()));
                found.push((name.job, record::decode(value.value())?.0, totals.unwrap_or_default()));
            }
            Ok((found, false))
        })
    }

    /// Calls `each` with every job there is, in no useful order. For the start.
    pub(crate) fn every_job(&self, mut each: impl FnMut(JobKey, JobRecord, Totals)) -> Result<(), StoreError> {
        self.base.with(|database| {
            let read = database.begin_read()?;
            let (jobs, totals) = (read.open_table(JOBS)?, read.open_table(TOTALS)?);
            for row in jobs.iter()? {
                let (key, value) = row?;
                let (record, _) = record::decode(value.value())?;
                let name = JobKey::parse(key.value())
                    .ok_or_else(|| StoreError::Corrupt("a job under a malformed key".to_owned()))?;
                let totals = totals.get(key.value())?.map(|value| Totals::from_value(value.value()));
                each(name, record, totals.unwrap_or_default());
            }
            Ok(())
        })
    }

    /// The indices of a job that have no result, as ranges.
    pub(crate) fn without_result(&self, key: &JobKey, indices: Indices) -> Result<VecDeque<Indices>, StoreError> {
        self.base.with(|database| {
            let read = database.begin_read()?;
            let table = read.open_table(RESULTS)?;
            let (first, last) = (key.result_bytes(indices.first), key.result_bytes(indices.last));
            let (mut waiting, mut next) = (VecDeque::new(), Some(indices.first));
            for row in table.range(first.as_slice()..=last.as_slice())? {
                let (Some(index), Some(from)) = (index_of(row?.0.value()), next) else { continue };
                if index > from {
                    waiting.push_back(Indices { first: from, last: index - 1 });
                }
                next = index.checked_add(1);
            }
            if let Some(from) = next.filter(|from| *from <= indices.last) {
                waiting.push_back(Indices { first: from, last: indices.last });
            }
            Ok(waiting)
        })
    }

    /// Bytes of all records, and every output file that a result refers to.
    pub(super) fn read_gauges(&self) -> Result<(u64, HashSet<String>), StoreError> {
        self.base.with(|database| {
            let read = database.begin_read()?;
            let bytes = read.open_table(META)?.get(META_BYTES)?.map_or(0, |value| value.value());
            let files = read.open_table(OUTPUT_FILES)?;
            let names = files.iter()?.map(|row| Ok(row?.0.value().to_owned()));
            Ok((bytes, names.collect::<Result<_, StoreError>>()?))
        })
    }
}

/// The index at the end of a result's key.
fn index_of(key: &[u8]) -> Option<u32> {
    key.last_chunk::<4>().map(|index| u32::from_be_bytes(*index))
}
