//! What survives: jobs, results and receipts in one database, large bytes in files beside it.
//!
//! All changes go through one writer thread that puts whatever has gathered on the disk at once (`writer`): into a log
//! (`log`), and from there into the database now and then. So a thousand results cost a few `fsync`s, and one of them costs
//! little. What it acknowledges is on the disk. Reading goes on beside it. After an I/O error both files are closed and
//! opened again; nothing half-written is ever seen. See `docs/decisions/0006-store.md`.

pub(crate) mod files;
mod log;
mod op;
mod read;
mod record;
mod tables;
mod upload;
mod writer;

#[cfg(feature = "testing")]
pub use log::fuzz::store_log;
pub(crate) use op::{Applied, Op};
pub(crate) use read::Unfinished;
pub(crate) use record::{INLINE_INPUT_BYTES, JobKey, JobRecord, OutputPlace, ResultRecord, Totals};
pub(crate) use upload::{Upload, UploadError};
pub(crate) use writer::Settled;

use denali_protocol::wire::message::{Refusal, RefusalKind};
use files::Files;
use log::{Acknowledged, Log};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, backends::FileBackend};
use std::{
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc,
    },
};

/// Job records by [`JobKey`]; an inline input follows the record.
const JOBS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("jobs");
/// [`Totals`] by [`JobKey`], once they are more than nothing.
const TOTALS: TableDefinition<'_, &[u8], (u32, u32, bool)> = TableDefinition::new("totals");
/// Result records by [`JobKey`] and index; inline output follows the record.
const RESULTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("results");
/// Ended jobs: time of their end (milliseconds since 1970, big-endian) and [`JobKey`].
const ENDED: TableDefinition<'_, &[u8], ()> = TableDefinition::new("ended");
/// Names of the output files that results refer to, and their length.
const OUTPUT_FILES: TableDefinition<'_, &str, u64> = TableDefinition::new("output files");
/// Single numbers.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// In [`META`]: bytes of all job and result records.
const META_BYTES: &str = "record bytes";
/// In [`META`]: number of the log that is in force.
const META_LOG: &str = "log";
/// In [`META`]: version of this layout.
const META_VERSION: &str = "version";
const VERSION: u64 = 2;

/// Memory for pages of the database, in bytes.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Why the store could not do something. The host is at fault.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// No space on the disk.
    #[error("the node's disk is full")]
    Full,
    /// The policy's bound is reached.
    #[error("the store is as large as this node's policy allows")]
    NoRoom,
    /// The disk or the file system failed.
    #[error("the node's store failed: {0}")]
    Io(String),
    /// What was read is not what was written.
    #[error("the node's store holds what it should not: {0}")]
    Corrupt(String),
    /// The store is being closed.
    #[error("the node is stopping")]
    Closed,
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let kind = match error {
            StoreError::Full | StoreError::NoRoom | StoreError::Closed => RefusalKind::Busy,
            StoreError::Io(_) | StoreError::Corrupt(_) => RefusalKind::Internal,
        };
        Self { kind, message: error.to_string() }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => error.into(),
            redb::Error::Corrupted(what) => Self::Corrupt(what),
            other => Self::Io(other.to_string()),
        }
    }
}

macro_rules! store_error_from {
    ($($error:ty),*) => { $(impl From<$error> for StoreError {
        fn from(error: $error) -> Self {
            redb::Error::from(error).into()
        }
    })* };
}

store_error_from!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError
);

impl From<denali_protocol::codec::DecodeError> for StoreError {
    fn from(error: denali_protocol::codec::DecodeError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<denali_protocol::codec::EncodeError> for StoreError {
    fn from(error: denali_protocol::codec::EncodeError) -> Self {
        Self::Io(error.to_string())
    }
}

/// Opens the database, and the file of its log.
type Opener = Box<dyn Fn() -> Result<(Database, Box<dyn StorageBackend>), redb::DatabaseError> + Send + Sync>;

/// The open files.
struct Open {
    database: Database,
    /// Only the writer locks it.
    log: Mutex<Log>,
}

/// The database and its log, closed and opened again after an I/O error.
struct Base {
    opener: Opener,
    /// The writer holds on to open ones while it waits for work, so nobody else may ask to change them.
    open: RwLock<Option<Open>>,
    /// How far the log goes, where it was closed after an I/O error.
    acknowledged: Mutex<Option<Acknowledged>>,
    /// Locked by who opens them.
    opening: Mutex<()>,
    /// Closed for good: the node is stopping.
    closed: AtomicBool,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").finish_non_exhaustive()
    }
}

impl Base {
    fn open(opener: Opener) -> Result<Self, StoreError> {
        let open = Self::prepare(opener()?, None)?;
        Ok(Self {
            opener,
            open: RwLock::new(Some(open)),
            acknowledged: Mutex::default(),
            opening: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// Brings the database to where its log is.
    fn prepare(
        (database, file): (Database, Box<dyn StorageBackend>),
        acknowledged: Option<Acknowledged>,
    ) -> Result<Open, StoreError> {
        let database = Self::with_tables(database)?;
        let number = database.begin_read()?.open_table(META)?.get(META_LOG)?.map_or(0, |value| value.value());
        let (log, ops) = Log::open(file, number, acknowledged)?;
        if !ops.is_empty() {
            writer::replay(&database, &ops)?;
        }
        Ok(Open { database, log: Mutex::new(log) })
    }

    /// Makes the tables where they are missing, and checks the version.
    fn with_tables(database: Database) -> Result<Database, StoreError> {
        // The usual case writes nothing: results can be read from a disk that is full.
        if let Ok(meta) = database.begin_read()?.open_table(META)
            && meta.get(META_VERSION)?.is_some_and(|version| version.value() == VERSION)
        {
            return Ok(database);
        }
        let write = database.begin_write()?;
        {
            write.open_table(JOBS)?;
            write.open_table(TOTALS)?;
            write.open_table(RESULTS)?;
            write.open_table(ENDED)?;
            write.open_table(OUTPUT_FILES)?;
            let mut meta = write.open_table(META)?;
            let version = meta.get(META_VERSION)?.map(|value| value.value());
            match version {
                Some(VERSION) => {}
                Some(other) => return Err(StoreError::Corrupt(format!("layout {other}, this node knows {VERSION}"))),
                None => {
                    meta.insert(META_VERSION, VERSION)?;
                    meta.insert(META_LOG, Log::next_number()?)?;
                }
            }
        }
        write.commit()?;
        Ok(database)
    }

    /// Works with the open files, opened again if they were closed after an I/O error.
    fn with_open<T>(&self, work: impl FnOnce(&Open) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let is_open = self.open.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if !is_open {
            self.open_again()?;
        }
        match &*self.open.read().unwrap_or_else(PoisonError::into_inner) {
            Some(open) => work(open),
            None => Err(StoreError::Closed),
        }
    }

    /// Works with the database.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with_open(|open| work(&open.database))
    }

    /// Works with the database and its log: for the writer.
    fn with_log<T>(&self, work: impl FnOnce(&Database, &mut Log) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with_open(|open| work(&open.database, &mut open.log.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Closes the files for good.
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Closes the files, to be opened when they are next needed: after an I/O error, redb refuses everything until then.
    fn give_up(&self) {
        let Some(open) = self.open.write().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let log = open.log.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner) = Some(log.acknowledged());
    }

    fn open_again(&self) -> Result<(), StoreError> {
        let _turn = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if self.open.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Closed);
        }
        let acknowledged = *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        *open = Some(Self::prepare((self.opener)()?, acknowledged)?);
        Ok(())
    }
}

/// Makes the database at `path` where there is none. redb does not open one that it was killed while making: so it gets its
/// name only when it is whole.
fn make_database(directory: &Path, path: &Path) -> Result<(), StoreError> {
    if std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
        return Ok(());
    }
    let unfinished = directory.join("store.redb.new");
    let mut options = std::fs::File::options();
    // Closed to other users whatever the directory is.
    let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    drop(Base::with_tables(Database::builder().create_with_backend(FileBackend::new(file)?)?)?);
    Ok(std::fs::rename(unfinished, path)?)
}

/// The store. Cheap to clone; the writer thread ends when the last clone is gone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    base: Arc<Base>,
    writer: mpsc::Sender<writer::Task>,
    /// Large bytes.
    pub(crate) files: Arc<Files>,
    gauges: Arc<Gauges>,
}

#[derive(Debug, Default)]
struct Gauges {
    record_bytes: AtomicU64,
    unwritten: AtomicU32,
    unwritten_bytes: AtomicU64,
}

impl Gauges {
    // In one order with the engine's flag that jobs are held back: else both sides could miss each other.

    fn waits(&self, op: &Op) {
        self.unwritten_bytes.fetch_add(op.bytes(), Ordering::SeqCst);
        self.unwritten.fetch_add(1, Ordering::SeqCst);
    }

    /// `op` is on the disk, or given up.
    fn written(&self, op: &Op) {
        self.unwritten_bytes.fetch_sub(op.bytes(), Ordering::SeqCst);
        self.unwritten.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Store {
    /// Opens the store in `directory`, or makes it, and removes what a crash left over.
    ///
    /// # Errors
    /// When the disk fails, or the files there are not of this version.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let (database, log) = (directory.join("store.redb"), directory.join("store.log"));
        make_database(directory, &database)?;
        // Made here, so that it is closed to other users whatever the directory is.
        std::fs::File::options().append(true).create(true).mode(0o600).open(&log)?;
        // What is written to them is found again only if they are.
        std::fs::File::open(directory)?.sync_all()?;
        let opener = move || {
            let log = FileBackend::new(std::fs::File::options().read(true).write(true).open(&log)?)?;
            let database = Database::builder().set_cache_size(CACHE_BYTES).create(&database)?;
            Ok((database, Box::new(log) as Box<dyn StorageBackend>))
        };
        Self::open_with(directory, Box::new(opener))
    }

    fn open_with(directory: &Path, opener: Opener) -> Result<Self, StoreError> {
        let base = Arc::new(Base::open(opener)?);
        let files = Arc::new(Files::open(directory)?);
        let gauges = Arc::new(Gauges::default());
        let (writer, tasks) = mpsc::channel();
        let store = Self { base, writer, files, gauges };
        let (record_bytes, output_files) = store.read_gauges()?;
        store.gauges.record_bytes.store(record_bytes, Ordering::Relaxed);
        store.files.forget_outputs_but(&output_files)?;
        let (base, gauges) = (Arc::clone(&store.base), Arc::clone(&store.gauges));
        std::thread::Builder::new().name("store".to_owned()).spawn(move || writer::run(&base, &gauges, &tasks))?;
        Ok(store)
    }

    /// Writes `op`, then calls `done` on the writer's thread: with success only once it is on the disk. What `done`
    /// returns is called when readers see the change too, a moment later. Operations are applied in the order of these
    /// calls. `done` is never called from here, so locks may be held.
    pub(crate) fn write(&self, op: Op, done: impl FnOnce(Result<Applied, StoreError>, Op) -> Settled + Send + 'static) {
        self.gauges.waits(&op);
        let change = Box::new(writer::Change { op, done: Box::new(done) });
        // The writer listens as long as there is a store.
        let _ = self.writer.send(writer::Task::Change(change));
    }

    /// As [`Store::write`], for tasks that wait for the outcome: readers see it by then.
    pub(crate) async fn write_and_wait(&self, op: Op) -> Result<Applied, StoreError> {
        let (done, outcome) = tokio::sync::oneshot::channel();
        self.write(op, move |result, _| Some(Box::new(move || drop(done.send(result)))));
        // At once, though the transaction could grow.
        let (hurry, _) = tokio::sync::oneshot::channel();
        let _ = self.writer.send(writer::Task::Settle(hurry));
        outcome.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Returns once readers see all that was acknowledged before.
    pub(crate) async fn settled(&self) {
        let (done, settled) = tokio::sync::oneshot::channel();
        if self.writer.send(writer::Task::Settle(done)).is_ok() {
            let _ = settled.await;
        }
    }

    /// Closes the store: nothing is written from here on. Returns once the file is closed.
    pub(crate) async fn close(&self) {
        let (done, closed) = tokio::sync::oneshot::channel();
        if self.writer.send(writer::Task::Close(done)).is_ok() {
            let _ = closed.await;
        }
    }

    /// Operations not yet on the disk.
    pub(crate) fn unwritten(&self) -> u32 {
        self.gauges.unwritten.load(Ordering::SeqCst)
    }

    /// Memory that these take, in bytes.
    pub(crate) fn unwritten_bytes(&self) -> u64 {
        self.gauges.unwritten_bytes.load(Ordering::SeqCst)
    }

    /// Bytes of everything kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.gauges.record_bytes.load(Ordering::Relaxed).saturating_add(self.files.bytes())
    }
}

#[cfg(test)]
mod tests;
