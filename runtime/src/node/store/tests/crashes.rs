//! Every moment at which a store can be cut off. All that it writes is noted, and a store opened on what would be on the disk
//! at each moment: after `kill -9`, all that was written; after the power failed, of what no `fsync` followed some, in any
//! order, and pieces of it.
//!
//! What is found is what the first so many changes make: all that were acknowledged, and none that nobody asked for. And it
//! goes on from there.

use super::*;
use redb::StorageBackend;
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// The database, and its log.
const FILES: usize = 2;

/// Writes reach the medium in pieces of so many bytes, a sector.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Step {
    Write(usize, u64, Vec<u8>),
    Length(usize, u64),
    Sync(usize),
    /// The next change was asked for.
    Asked,
    /// The next change was acknowledged.
    Acknowledged,
}

/// Both files, and what was done to them.
#[derive(Debug, Default)]
struct Medium {
    files: [Vec<u8>; FILES],
    steps: Vec<Step>,
}

impl Medium {
    fn change(&mut self, step: Step) {
        apply(&mut self.files, &step);
        self.steps.push(step);
    }
}

fn apply(files: &mut [Vec<u8>; FILES], step: &Step) {
    match step {
        Step::Write(file, offset, data) => {
            let (file, at) = (&mut files[*file], *offset as usize);
            file.resize(file.len().max(at + data.len()), 0);
            file[at..at + data.len()].copy_from_slice(data);
        }
        Step::Length(file, length) => files[*file].resize(*length as usize, 0),
        Step::Sync(_) | Step::Asked | Step::Acknowledged => {}
    }
}

type Shared = Arc<Mutex<Medium>>;

#[derive(Debug)]
struct Noted {
    medium: Shared,
    file: usize,
}

impl Noted {
    fn medium(&self) -> std::sync::MutexGuard<'_, Medium> {
        self.medium.lock().unwrap()
    }
}

impl StorageBackend for Noted {
    fn len(&self) -> io::Result<u64> {
        Ok(self.medium().files[self.file].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let medium = self.medium();
        let found = medium.files[self.file].get(offset as usize..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.medium().change(Step::Length(self.file, length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.medium().change(Step::Sync(self.file));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.medium().change(Step::Write(self.file, offset, data.to_vec()));
        Ok(())
    }
}

/// A store on these files.
fn open(directory: &Path, medium: &Shared) -> Result<Store, StoreError> {
    let medium = Arc::clone(medium);
    let opener: Opener = Box::new(move || {
        let disk = |file| Noted { medium: Arc::clone(&medium), file };
        let database = Database::builder().set_cache_size(1 << 20).create_with_backend(disk(0))?;
        Ok((database, Box::new(disk(1))))
    });
    Store::open_with(directory, opener)
}

/// Jobs by name: last index, totals, and the status of each result.
type Seen = BTreeMap<String, (u32, Totals, BTreeMap<u32, u8>)>;

/// What these changes make of an empty store.
fn made_by(ops: &[Op]) -> Seen {
    let (mut jobs, mut ended) = (Seen::new(), HashMap::new());
    for op in ops {
        match op {
            Op::Accept { key, record, .. } => {
                let empty = (record.indices.last, Totals::default(), BTreeMap::new());
                jobs.entry(key.job.to_string()).or_insert(empty);
            }
            Op::Finish { key, record, ended_unix_ms, .. } => {
                let Some((last, totals, results)) = jobs.get_mut(key.job.as_str()) else { continue };
                let status = record.result.outcome.exit_status();
                if results.contains_key(&record.result.index) {
                    continue;
                }
                results.insert(record.result.index, status);
                *(if status == 0 { &mut totals.succeeded } else { &mut totals.failed }) += 1;
                if totals.ended() > *last {
                    ended.insert(key.job.to_string(), *ended_unix_ms);
                }
            }
            Op::Cancel { key } => {
                if let Some((_, totals, _)) = jobs.get_mut(key.job.as_str()) {
                    totals.cancelled = true;
                }
            }
            Op::Expire { before_unix_ms } => {
                jobs.retain(|name, _| ended.get(name).is_none_or(|time| time >= before_unix_ms));
                ended.retain(|_, time| *time >= *before_unix_ms);
            }
        }
    }
    jobs
}

/// What is in a store.
fn seen(store: &Store) -> Seen {
    let mut found = Vec::new();
    store.every_job(|key, record, totals| found.push((key, record, totals))).unwrap();
    let results = |key: &JobKey, last| {
        let status = |index| Some((index, store.result(key, index).unwrap()?.0.result.outcome.exit_status()));
        (0..=last).filter_map(status).collect()
    };
    let job = |(key, record, totals): (JobKey, JobRecord, Totals)| {
        let last = record.indices.last;
        (key.job.to_string(), (last, totals, results(&key, last)))
    };
    found.into_iter().map(job).collect()
}

/// Hands in all changes, some together and some alone, and waits until they are there.
async fn hand_in(store: &Store, medium: &Shared, ops: &[Op], dice: &mut Dice) {
    for op in ops {
        medium.lock().unwrap().change(Step::Asked);
        let medium = Arc::clone(medium);
        let (done, acknowledged) = tokio::sync::oneshot::channel();
        store.write(op.clone(), move |outcome, _| {
            outcome.unwrap();
            medium.lock().unwrap().change(Step::Acknowledged);
            let _ = done.send(());
            None
        });
        match dice.below(4) {
            0 => acknowledged.await.unwrap(),
            // Long enough for a commit.
            1 => tokio::time::sleep(Duration::from_millis(dice.below(20))).await,
            _ => {}
        }
    }
    store.settled().await;
}

/// Numbers that look random (Steele et al., "Fast splittable pseudorandom number generators", 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// A life of some jobs.
fn changes(count: u64, dice: &mut Dice) -> Vec<Op> {
    // The clock goes forward, and back.
    let mut change = |_| {
        let time = dice.below(50);
        let name = format!("job{}", dice.below(4));
        match dice.below(12) {
            0..3 => accept(&name, dice.below(3) as u32),
            3..10 => finish(&name, dice.below(3) as u32, dice.below(2) as u8, time),
            10 => Op::Cancel { key: key(&name) },
            _ => Op::Expire { before_unix_ms: time },
        }
    };
    // A job has no result of an index that it does not have.
    let mut last = HashMap::new();
    let mut ops: Vec<_> = (0..count).map(&mut change).collect();
    ops.retain(|op| match op {
        Op::Accept { key, record, .. } => {
            *last.entry(key.clone()).or_insert(record.indices.last) == record.indices.last
        }
        Op::Finish { key, record, .. } => last.get(key).is_none_or(|last| record.result.index <= *last),
        _ => true,
    });
    ops
}

/// The files after the first `steps`: all that was written.
fn after_a_kill(steps: &[Step]) -> [Vec<u8>; FILES] {
    let mut files = <[Vec<u8>; FILES]>::default();
    steps.iter().for_each(|step| apply(&mut files, step));
    files
}

/// Where in `steps` each file was last on the medium.
fn synced(steps: &[Step]) -> [Option<usize>; FILES] {
    [0, 1].map(|file| steps.iter().rposition(|step| matches!(step, Step::Sync(of) if *of == file)))
}

/// The files after the first `steps`, where the power failed: what was there by `synced`, and some of the rest.
fn after_the_power_failed(steps: &[Step], synced: [Option<usize>; FILES], dice: &mut Dice) -> [Vec<u8>; FILES] {
    let mut files = <[Vec<u8>; FILES]>::default();
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Write(file, offset, data) if synced[*file].is_none_or(|synced| at > synced) => {
                for (n, sector) in data.chunks(SECTOR).enumerate() {
                    if dice.below(2) == 0 {
                        let offset = offset + (n * SECTOR) as u64;
                        apply(&mut files, &Step::Write(*file, offset, sector.to_vec()));
                    }
                }
            }
            Step::Length(file, _) if synced[*file].is_none_or(|synced| at > synced) && dice.below(2) == 0 => {}
            step => apply(&mut files, step),
        }
    }
    files
}

/// Opens a store on `files`, and looks at what it has. An error is what is wrong with that.
async fn check(
    directory: &Path,
    files: [Vec<u8>; FILES],
    steps: &[Step],
    ops: &[Op],
    dice: &mut Dice,
) -> Result<(), String> {
    let count = |what: fn(&Step) -> bool| steps.iter().filter(|step| what(step)).count();
    let asked = count(|step| matches!(step, Step::Asked));
    let acknowledged = count(|step| matches!(step, Step::Acknowledged));
    let medium = Arc::new(Mutex::new(Medium { files, steps: Vec::new() }));
    let moment = format!("at step {} with {acknowledged} of {asked} acknowledged", steps.len());
    let store = open(directory, &medium).map_err(|error| format!("{moment}: {error}"))?;
    let found = seen(&store);
    let Some(kept) = (acknowledged..=asked).find(|kept| made_by(&ops[..*kept]) == found) else {
        return Err(format!("{moment}: {found:?}, not {:?}", made_by(&ops[..acknowledged])));
    };
    if dice.below(8) > 0 {
        return Ok(());
    }
    hand_in(&store, &medium, &ops[kept..], dice).await;
    store.close().await;
    match open(directory, &medium).map(|store| seen(&store)) {
        Ok(found) if found == made_by(ops) => Ok(()),
        found => Err(format!("{moment}, and then went on: {found:?}")),
    }
}

/// What was done to the files of a store in the course of some changes.
async fn noted(directory: &Path, ops: &[Op], dice: &mut Dice) -> (Vec<Step>, usize) {
    let medium = Shared::default();
    let store = open(directory, &medium).unwrap();
    hand_in(&store, &medium, ops, dice).await;
    store.close().await;
    assert_eq!(seen(&open(directory, &medium).unwrap()), made_by(ops), "without a crash");
    let steps = std::mem::take(&mut medium.lock().unwrap().steps);
    // Those before that made the files are another test's.
    let made = steps.iter().position(|step| matches!(step, Step::Asked)).unwrap();
    (steps, made)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_wherever_the_store_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for seed in 0..4 {
        let mut dice = Dice(seed);
        let ops = changes(40, &mut dice);
        let (steps, made) = noted(directory, &ops, &mut dice).await;
        for end in made..=steps.len() {
            let steps = &steps[..end];
            let killed = check(directory, after_a_kill(steps), steps, &ops, &mut dice).await;
            let files = after_the_power_failed(steps, synced(steps), &mut dice);
            let failed = check(directory, files, steps, &ops, &mut dice).await;
            assert_eq!((killed, failed), (Ok(()), Ok(())), "seed {seed}");
        }
    }
}

/// The test above would find a log that is not synced. (Of a database that is not, redb panics.)
#[tokio::test]
async fn a_log_that_is_not_synced_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut dice = Dice(0);
    let ops = changes(40, &mut dice);
    let (steps, made) = noted(directory.path(), &ops, &mut dice).await;
    let mut noticed = 0;
    for end in made..=steps.len() {
        let [database, _] = synced(&steps[..end]);
        let files = after_the_power_failed(&steps[..end], [database, Some(made)], &mut dice);
        noticed += u32::from(check(directory.path(), files, &steps[..end], &ops, &mut dice).await.is_err());
    }
    assert!(noticed > 0);
}

/// A node that is killed at its first start starts again.
#[tokio::test]
async fn a_database_that_was_not_made_to_its_end_is_made_again() {
    let medium = Shared::default();
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), &medium).unwrap().close().await;
    let steps = std::mem::take(&mut medium.lock().unwrap().steps);
    for end in 0..steps.len() {
        let directory = tempfile::tempdir().unwrap();
        let [unfinished, _] = after_a_kill(&steps[..end]);
        std::fs::write(directory.path().join("store.redb.new"), unfinished).unwrap();
        let store = Store::open(directory.path()).unwrap_or_else(|error| panic!("at step {end}: {error}"));
        assert_eq!(write(&store, accept("a", 0)).await, Applied::Done);
        store.close().await;
        assert!(!directory.path().join("store.redb.new").exists());
    }
}
