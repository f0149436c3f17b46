//! The log as a crash, a bad disk, or the bytes of a job's output may leave it.

use super::{FULL_BYTES, HEADER_BYTES, Log, Op, StoreError};
use crate::node::store::{JobKey, JobRecord, OutputPlace, ResultRecord};
use arbitrary::{Result, Unstructured};
use denali_protocol::{
    digest::Digest,
    identity::PublicKey,
    job::{Indices, Limits, Outcome, OutputDigests, Usage},
    receipt::Receipt,
    wire::message::JobResult,
};
use redb::StorageBackend;
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const NUMBER: u64 = 7;

/// A file as long as a log's, of which only the front is not zero: to write zeros takes longer than all else.
#[derive(Clone, Debug, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl File {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(FULL_BYTES)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        assert!(offset + out.len() as u64 <= FULL_BYTES, "it reads behind the end");
        let bytes = self.bytes();
        let there = bytes.get(offset as usize..).unwrap_or_default();
        let there = &there[..there.len().min(out.len())];
        out[..there.len()].copy_from_slice(there);
        out[there.len()..].fill(0);
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes();
        let end = offset as usize + data.len();
        let length = bytes.len().max(end);
        bytes.resize(length, 0);
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(())
    }
}

/// Writes the batches that `data` describe, tears the file, and reads it. All batches before the first that is torn come back, and nothing
/// else; a piece whose digest is right, whatever is in it, is read or refused.
pub fn store_log(data: &[u8]) {
    // It ends where the bytes do.
    let _ = run(&mut Unstructured::new(data));
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let file = File::default();
    let (mut log, none) = Log::open(Box::new(file.clone()), NUMBER, None).expect("an empty log");
    assert!(none.is_empty() && log.is_empty());
    let (mut batches, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..u.int_in_range(0..=4)? {
        let batch = (0..u.int_in_range(0..=3)?).map(|_| op(u)).collect::<Result<Vec<Op>>>()?;
        log.append(batch.iter()).expect("memory takes it");
        batches.push(batch);
        ends.push(log.length);
    }
    // After an I/O error as much is read as was acknowledged, and nothing appended.
    let acknowledged = log.acknowledged();
    let (again, ops) = Log::open(Box::new(file.clone()), NUMBER, Some(acknowledged)).expect("a log");
    assert!(ops == batches.concat() && again.acknowledged() == acknowledged && again.is_full());
    let mut whole = batches.len();
    let length = log.length;
    if u.arbitrary()? && length > 0 {
        let at = u.int_in_range(0..=length - 1)?;
        let mut bytes = file.bytes();
        let before = bytes.clone();
        if u.arbitrary()? {
            bytes.truncate(at as usize);
        } else {
            bytes[at as usize] ^= 1 << u.int_in_range(0..=7u8)?;
        }
        // Zeros that were cut off are there all the same.
        bytes.resize(before.len(), 0);
        whole = ends.iter().take_while(|end| bytes[..**end as usize] == before[..**end as usize]).count();
    }
    let (read, ops) = Log::open(Box::new(file.clone()), NUMBER, None).expect("what is torn is none of it");
    batches.truncate(whole);
    assert_eq!(read.length, whole.checked_sub(1).map_or(0, |last| ends[last]));
    assert_eq!(ops, batches.concat());
    log.begin(Log::next_number().expect("random bytes"));
    assert!(log.is_empty() && !log.is_full());
    // Of another log, nothing is.
    let (other, ops) = Log::open(Box::new(file.clone()), NUMBER + 1, None).expect("a log");
    assert!(other.is_empty() && ops.is_empty());
    hostile(u.bytes(u.len())?);
    Ok(())
}

/// Reads `bytes` as a piece, with a digest that is right.
fn hostile(bytes: &[u8]) {
    let file = File::default();
    let body = [&NUMBER.to_le_bytes(), bytes].concat();
    let piece = [&(body.len() as u32).to_le_bytes(), Digest::of(&body).0.as_slice(), &body].concat();
    file.write(0, &piece).expect("memory takes it");
    match Log::open(Box::new(file), NUMBER, None) {
        Ok((log, ops)) => {
            assert!(log.length == (HEADER_BYTES + body.len()) as u64 && ops.len() <= bytes.len() / 4);
        }
        Err(error) => assert!(matches!(error, StoreError::Corrupt(_)), "{error}"),
    }
}

fn op(u: &mut Unstructured<'_>) -> Result<Op> {
    let key =
        JobKey { client: PublicKey([u.arbitrary()?; 32]), job: (*u.choose(&["a", "b-1"])?).parse().expect("a name") };
    let count = usize::from(u.arbitrary::<u8>()?).min(u.len());
    let bytes = u.bytes(count)?.to_vec();
    Ok(match u.int_in_range(0..=3u8)? {
        0 => Op::Cancel { key },
        1 => Op::Expire { before_unix_ms: u.arbitrary()? },
        2 => {
            let limits = Limits { memory_bytes: u.arbitrary()?, cpu_time_us: 1, wall_time_us: 1, output_bytes: 1 };
            let record = JobRecord {
                bundle: Digest([2; 32]),
                name: u.arbitrary()?,
                arguments: vec![u.arbitrary()?],
                indices: Indices { first: 0, last: u.arbitrary::<u16>()?.into() },
                input_bytes: u.arbitrary()?,
                input: Digest::of(b""),
                limits,
                vms: u.arbitrary()?,
                accepted_unix_us: u.arbitrary()?,
            };
            Op::Accept { key, record, input: bytes, patient: u.arbitrary()? }
        }
        _ => {
            let (outcome, usage) = (Outcome::Lost(u.arbitrary()?), Usage::default());
            let (outputs, receipt) = (OutputDigests::default(), Receipt(bytes.clone()));
            let result = JobResult { index: u.arbitrary()?, outcome, usage, vm: None, outputs, receipt };
            let place = if u.arbitrary()? { OutputPlace::Inline } else { OutputPlace::File(u.arbitrary()?) };
            let record = Box::new(ResultRecord { result, run: u.arbitrary()?, place });
            let (file_bytes, ended_unix_ms) = (u.arbitrary()?, u.arbitrary()?);
            let accepted_unix_us = u.arbitrary()?;
            Op::Finish { key, accepted_unix_us, record, output: bytes, file_bytes, ended_unix_ms, patient: false }
        }
    })
}
