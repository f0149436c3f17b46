//! Crash, reopen, expiry: what was acknowledged is there, and nothing else.

mod crashes;

use super::*;
use denali_protocol::{
    digest::Digest,
    identity::PublicKey,
    job::{Indices, Limits, Outcome, OutputDigests, Usage},
    receipt::Receipt,
    wire::message::JobResult,
};
use proptest::prelude::*;

const ACCEPTED: u64 = 7;

fn key(name: &str) -> JobKey {
    JobKey { client: PublicKey([1; 32]), job: name.parse().unwrap() }
}

fn record(last: u32) -> JobRecord {
    JobRecord {
        bundle: Digest([2; 32]),
        name: "test".to_owned(),
        arguments: vec!["a".to_owned()],
        indices: Indices { first: 0, last },
        input_bytes: 5,
        input: Digest::of(b"input"),
        limits: Limits { memory_bytes: 1, cpu_time_us: 1, wall_time_us: 1, output_bytes: 1 },
        vms: 1,
        accepted_unix_us: ACCEPTED,
    }
}

fn accept(name: &str, last: u32) -> Op {
    Op::Accept { key: key(name), record: record(last), input: b"input".to_vec(), patient: false }
}

fn finish(name: &str, index: u32, status: u8, ended_unix_ms: u64) -> Op {
    let result = JobResult {
        index,
        outcome: Outcome::Exited(status),
        usage: Usage::default(),
        vm: None,
        outputs: OutputDigests::default(),
        receipt: Receipt(vec![1, 2, 3]),
    };
    let record = Box::new(ResultRecord { result, run: Some(9), place: OutputPlace::Inline });
    Op::Finish {
        key: key(name),
        accepted_unix_us: ACCEPTED,
        record,
        output: b"output".to_vec(),
        file_bytes: 0,
        ended_unix_ms,
        patient: false,
    }
}

/// A disk that can be full.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    full: Arc<AtomicBool>,
    /// It takes what is written and can't keep it.
    failing: Arc<AtomicBool>,
}

impl Disk {
    /// A store in `directory` on such disks.
    fn store(directory: &Path, full: &Arc<AtomicBool>, failing: &Arc<AtomicBool>) -> Store {
        let (path, full, failing) = (directory.to_owned(), Arc::clone(full), Arc::clone(failing));
        let opener: Opener = Box::new(move || {
            let disk = |name| {
                let options = std::fs::File::options().read(true).write(true).create(true).truncate(false).clone();
                let file = FileBackend::new(options.open(path.join(name))?)?;
                Ok::<_, redb::DatabaseError>(Self { file, full: Arc::clone(&full), failing: Arc::clone(&failing) })
            };
            Ok((Database::builder().create_with_backend(disk("store.redb")?)?, Box::new(disk("store.log")?)))
        });
        Store::open_with(directory, opener).unwrap()
    }

    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.room()?;
        if self.failing.load(Ordering::Relaxed) {
            return Err(io::Error::other("a write to the medium failed"));
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        self.file.write(offset, data)
    }
}

#[tokio::test]
async fn a_full_disk_refuses_new_jobs_and_keeps_results_for_later() {
    let directory = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let store = Disk::store(directory.path(), &full, &Arc::default());
    assert_eq!(write(&store, accept("a", 0)).await, Applied::Done);
    full.store(true, Ordering::Relaxed);
    assert_eq!(store.write_and_wait(accept("b", 0)).await, Err(StoreError::Full));
    assert_eq!(store.job(&key("a")), Err(StoreError::Full));
    let (done, mut finished) = tokio::sync::oneshot::channel();
    store.write(finish("a", 0, 0, 1), move |outcome, _| {
        drop(done.send(outcome));
        None
    });
    let wait = std::time::Duration::from_millis(100);
    assert!(tokio::time::timeout(wait, &mut finished).await.is_err());
    full.store(false, Ordering::Relaxed);
    assert!(store.job(&key("a")).unwrap().is_some());
    assert_eq!(finished.await.unwrap(), Ok(Applied::Done));
    assert_eq!(write(&store, accept("b", 0)).await, Applied::Done);
    assert!(store.result(&key("a"), 0).unwrap().is_some());
}

#[tokio::test]
async fn what_was_written_and_not_kept_is_refused_and_stays_so() {
    let directory = tempfile::tempdir().unwrap();
    let failing = Arc::new(AtomicBool::new(false));
    let store = Disk::store(directory.path(), &Arc::default(), &failing);
    write(&store, accept("a", 0)).await;
    failing.store(true, Ordering::Relaxed);
    assert!(matches!(store.write_and_wait(accept("b", 0)).await, Err(StoreError::Io(_))));
    failing.store(false, Ordering::Relaxed);
    // It can be read from the file.
    assert!(store.job(&key("b")).unwrap().is_none());
    write(&store, accept("c", 0)).await;
    let (_after, store) = crashed(directory.path(), |length| length);
    let there = |name| store.job(&key(name)).unwrap().is_some();
    assert_eq!((there("a"), there("b"), there("c")), (true, false, true));
}

#[tokio::test]
async fn pieces_of_an_old_log_right_behind_the_new_one_are_void() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    write(&store, accept("x", 0)).await;
    write(&store, accept("a", 0)).await;
    write(&store, finish("a", 0, 0, 10)).await;
    // Begins a new log, in which the next piece takes the place of the first.
    write(&store, Op::Expire { before_unix_ms: 20 }).await;
    write(&store, accept("y", 0)).await;
    let (_after, store) = crashed(directory.path(), |length| length);
    let there = |name| store.job(&key(name)).unwrap().is_some();
    assert_eq!((there("x"), there("y"), there("a")), (true, true, false));
}

async fn write(store: &Store, op: Op) -> Applied {
    store.write_and_wait(op).await.unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(write(&store, accept("a", 4)).await, Applied::Done);
    for index in [1, 3] {
        assert_eq!(write(&store, finish("a", index, 0, 10)).await, Applied::Done);
    }
    let bytes = store.bytes();
    store.close().await;
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.bytes(), bytes);
    assert_eq!(store.inline_input(&key("a")).unwrap(), b"input");
    let (result, output) = store.result(&key("a"), 3).unwrap().unwrap();
    assert_eq!((result.run, output), (Some(9), b"output".to_vec()));
    let unfinished = store.unfinished(&key("a")).unwrap().unwrap();
    let ranges: Vec<_> = unfinished.waiting.iter().map(|range| (range.first, range.last)).collect();
    assert_eq!((unfinished.totals.succeeded, ranges), (2, vec![(0, 0), (2, 2), (4, 4)]));
}

/// A store as a crash now would leave it, with as much of what is in its log as `cut` leaves.
fn crashed(directory: &Path, cut: impl FnOnce(usize) -> usize) -> (tempfile::TempDir, Store) {
    let after = tempfile::tempdir().unwrap();
    std::fs::copy(directory.join("store.redb"), after.path().join("store.redb")).unwrap();
    let mut log = std::fs::read(directory.join("store.log")).unwrap();
    let used = log.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    log[cut(used)..].fill(0);
    std::fs::write(after.path().join("store.log"), log).unwrap();
    let store = Store::open(after.path()).unwrap();
    (after, store)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    write(&store, accept("a", 1)).await;
    write(&store, finish("a", 0, 0, 10)).await;
    write(&store, Op::Cancel { key: key("a") }).await;
    let bytes = store.bytes();
    {
        let (_after, store) = crashed(directory.path(), |length| length);
        assert_eq!((store.bytes(), store.inline_input(&key("a")).unwrap()), (bytes, b"input".to_vec()));
        let (result, output) = store.result(&key("a"), 0).unwrap().unwrap();
        assert_eq!((result.run, output), (Some(9), b"output".to_vec()));
        let (_, totals) = store.job(&key("a")).unwrap().unwrap();
        assert_eq!((totals.succeeded, totals.cancelled), (1, true));
        // And goes on from there, through another crash.
        write(&store, finish("a", 1, 5, 11)).await;
        let (_after, store) = crashed(_after.path(), |length| length);
        assert_eq!(store.job(&key("a")).unwrap().unwrap().1.ended(), 2);
    }
    // A piece that was being written was not acknowledged.
    let (_after, store) = crashed(directory.path(), |length| length - 1);
    assert!(!store.job(&key("a")).unwrap().unwrap().1.cancelled);
    assert!(store.result(&key("a"), 0).unwrap().is_some());
}

#[tokio::test]
async fn what_is_in_the_database_is_not_taken_from_the_log_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    write(&store, accept("a", 0)).await;
    write(&store, finish("a", 0, 0, 10)).await;
    let log = std::fs::read(directory.path().join("store.log")).unwrap();
    write(&store, Op::Expire { before_unix_ms: 20 }).await;
    store.close().await;
    std::fs::write(directory.path().join("store.log"), log).unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert!(store.job(&key("a")).unwrap().is_none());
}

#[tokio::test]
async fn a_job_whose_client_waits_goes_to_the_disk_with_its_result() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let patient = |name| Op::Accept { key: key(name), record: record(0), input: b"input".to_vec(), patient: true };
    assert_eq!(write(&store, patient("alone")).await, Applied::Done);
    let (done, accepted) = tokio::sync::oneshot::channel();
    store.write(patient("a"), move |outcome, _| {
        drop(done.send(outcome));
        None
    });
    assert_eq!(write(&store, finish("a", 0, 0, 10)).await, Applied::Done);
    assert_eq!(accepted.await.unwrap(), Ok(Applied::Done));
}

#[tokio::test]
async fn nothing_counts_twice_and_nothing_without_its_job() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(write(&store, finish("a", 0, 0, 1)).await, Applied::Missing);
    assert_eq!(write(&store, accept("a", 1)).await, Applied::Done);
    assert_eq!(write(&store, accept("a", 9)).await, Applied::AlreadyThere);
    assert_eq!(write(&store, finish("a", 0, 0, 1)).await, Applied::Done);
    // The very same again is what a commit leaves that failed and was on the disk all the same.
    assert_eq!(write(&store, finish("a", 0, 0, 1)).await, Applied::Done);
    assert_eq!(write(&store, finish("a", 0, 5, 1)).await, Applied::EndedBefore { succeeded: true });
    let (_, totals) = store.job(&key("a")).unwrap().unwrap();
    assert_eq!((totals.succeeded, totals.failed), (1, 0));
}

#[tokio::test]
async fn expiry_takes_what_is_old_and_ended_and_gives_the_bytes_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for (name, time) in [("old", 10), ("new", 30)] {
        write(&store, accept(name, 1299)).await;
        for index in 0..1300 {
            store.write(finish(name, index, 0, time), |_, _| None);
        }
    }
    write(&store, accept("running", 1)).await;
    let mut bundles = 0;
    loop {
        let Applied::Expired(expired) = write(&store, Op::Expire { before_unix_ms: 20 }).await else { panic!() };
        bundles += expired.bundles.len();
        if !expired.more {
            break;
        }
    }
    assert_eq!(bundles, 1);
    assert!(store.job(&key("old")).unwrap().is_none() && store.next_result(&key("old"), 0).unwrap().is_none());
    assert!(store.job(&key("running")).unwrap().is_some());
    assert_eq!(store.next_result(&key("new"), 1299).unwrap(), Some(1299));
    let Applied::Expired(_) = write(&store, Op::Expire { before_unix_ms: 40 }).await else { panic!() };
}

#[tokio::test]
async fn files_without_an_owner_go_and_uploads_that_lie_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let (name, _) = store.files.create_output().unwrap();
    let mut upload = store.files.receive(files::Kind::Bundle, Digest::of(b"right")).unwrap();
    upload.write(b"wrong").unwrap();
    assert!(matches!(upload.keep(), Err(UploadError::Digest { .. })));
    assert!(store.files.get(files::Kind::Bundle, &Digest::of(b"right")).unwrap().is_none());
    assert_eq!(std::fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0);
    store.close().await;
    let store = Store::open(directory.path()).unwrap();
    assert!(store.files.get_output(&name).is_err());
}

fn upload(store: &Store, content: &[u8]) -> Result<(), UploadError> {
    let mut upload = store.files.receive(files::Kind::Bundle, Digest::of(content))?;
    content.chunks(10).try_for_each(|piece| upload.write(piece))?;
    upload.keep()
}

#[tokio::test]
async fn uploads_take_room_as_they_come_and_never_more_than_there_is() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    store.files.bound(100);
    let mut unfinished = store.files.receive(files::Kind::Input, Digest::of(b"x")).unwrap();
    unfinished.write(&[0; 60]).unwrap();
    assert_eq!(store.files.bytes(), 60);
    assert!(matches!(upload(&store, &[1; 50]), Err(UploadError::Store(StoreError::NoRoom))));
    assert_eq!(store.files.bytes(), 60);
    drop(unfinished);
    assert_eq!(store.files.bytes(), 0);
    // The same twice is one file.
    upload(&store, &[1; 50]).unwrap();
    upload(&store, &[1; 50]).unwrap();
    assert_eq!(store.files.bytes(), 50);
}

#[tokio::test]
async fn bundles_that_nobody_uses_make_room_the_oldest_first() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    for n in 0..4 {
        upload(&store, &[n; 10]).unwrap();
    }
    let pin = store.files.pin(files::Kind::Bundle, Digest::of(&[0; 10]));
    let there = |n| store.files.get(files::Kind::Bundle, &Digest::of(&[n; 10])).unwrap().is_some();
    files::remove(&store.files.evict(15));
    assert_eq!([0, 1, 2, 3].map(there), [true, false, false, true]);
    assert_eq!(store.files.bytes(), 20);
    drop(pin);
    store.files.expire(std::time::Duration::ZERO);
    assert_eq!(([0, 3].map(there), store.files.bytes()), ([false, false], 0));
    assert_eq!(std::fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0);
}

proptest! {
    #[test]
    fn records_and_keys_survive_encoding(name in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}", index: u32, raw: Vec<u8>) {
        let key = key(&name);
        prop_assert_eq!(JobKey::parse(&key.bytes()), Some(key.clone()));
        let (low, high) = ([key.bytes(), vec![0]].concat(), [key.bytes(), vec![1]].concat());
        prop_assert!(low < key.result_bytes(index) && key.result_bytes(index) < high);
        let encoded = record::encode(&record(3), &raw).unwrap();
        let (decoded, rest) = record::decode::<JobRecord>(&encoded).unwrap();
        prop_assert_eq!((decoded, rest), (record(3), raw.as_slice()));
        prop_assert!(record::decode::<JobRecord>(&encoded[..encoded.len() - raw.len() - 1]).is_err());
    }
}
