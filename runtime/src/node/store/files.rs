//! Large bytes in files: bundles and inputs under their digest, output under a name of its own.
//!
//! A file gets its name only when it is whole, checked and on the disk. What no job refers to is removed once it has not
//! been used for long ([`Files::expire`]); what a request is working with is kept by its [`Pin`].

use super::{
    OutputPlace, StoreError,
    upload::{Room, Upload},
};
use denali_protocol::{digest::Digest, job::OutputDigests};
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What is kept under its digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    /// The content of a bundle.
    Bundle,
    /// The input of a job.
    Input,
}

impl Kind {
    fn directory(self) -> &'static str {
        match self {
            Self::Bundle => "bundles",
            Self::Input => "inputs",
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// Job records and requests that refer to it.
    users: u64,
    last_used: Instant,
    /// Length of the file, once it is there.
    bytes: Option<u64>,
}

/// The files of one node.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    bytes: AtomicU64,
    /// What uploads may not go beyond.
    most: AtomicU64,
    next: AtomicU64,
    entries: Mutex<HashMap<(Kind, Digest), Entry>>,
}

/// Keeps a file from being removed.
#[derive(Debug)]
pub(crate) struct Pin {
    files: Arc<Files>,
    name: (Kind, Digest),
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.files.unuse(self.name.0, self.name.1);
    }
}

/// The output of a finished run.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The table for the client and the receipt.
    pub(crate) outputs: OutputDigests,
    /// Where the bytes are.
    pub(crate) place: OutputPlace,
    /// The bytes, channel after channel, where they are kept inline.
    pub(crate) inline: Vec<u8>,
    /// The file, where they are in one.
    pub(crate) file: Option<Arc<File>>,
    /// Its length.
    pub(crate) file_bytes: u64,
}

impl Files {
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        let files = Self {
            root: root.to_owned(),
            bytes: AtomicU64::new(0),
            most: AtomicU64::new(u64::MAX),
            next: AtomicU64::new(0),
            entries: Mutex::default(),
        };
        let temporary = root.join("tmp");
        if temporary.exists() {
            fs::remove_dir_all(&temporary)?;
        }
        for name in ["tmp", "bundles", "inputs", "outputs"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(name))?;
        }
        for kind in [Kind::Bundle, Kind::Input] {
            for file in fs::read_dir(root.join(kind.directory()))? {
                let file = file?;
                let Some(digest) = file.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
                let bytes = file.metadata()?.len();
                files.bytes.fetch_add(bytes, Ordering::Relaxed);
                let entry = Entry { users: 0, last_used: Instant::now(), bytes: Some(bytes) };
                files.entries().insert((kind, digest), entry);
            }
        }
        Ok(files)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<(Kind, Digest), Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, kind: Kind, digest: &Digest) -> PathBuf {
        self.root.join(kind.directory()).join(digest.to_string())
    }

    fn unique(&self) -> String {
        format!("{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Uploads may not grow all files beyond `bytes` from here on.
    pub(crate) fn bound(&self, bytes: u64) {
        self.most.store(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that are about to be written, where there is room for them.
    pub(super) fn take_room(&self, bytes: u64) -> Result<(), StoreError> {
        let most = self.most.load(Ordering::Relaxed);
        let grow = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= most);
        let grown = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow);
        grown.map(drop).map_err(|_| StoreError::NoRoom)
    }

    pub(super) fn give_room(&self, bytes: u64) {
        let shrink = |held: u64| Some(held.saturating_sub(bytes));
        // Never fails: it gives a number each time.
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, shrink);
    }

    /// Bytes of all files, those that are being received included.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A job or a request refers to this file from now on.
    pub(crate) fn use_once_more(&self, kind: Kind, digest: Digest) {
        let mut entries = self.entries();
        let entry = entries.entry((kind, digest)).or_insert(Entry { users: 0, last_used: Instant::now(), bytes: None });
        entry.users = entry.users.saturating_add(1);
        entry.last_used = Instant::now();
    }

    /// A job or a request no longer refers to this file.
    pub(crate) fn unuse(&self, kind: Kind, digest: Digest) {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(&(kind, digest)) {
            entry.users = entry.users.saturating_sub(1);
            entry.last_used = Instant::now();
            if entry.users == 0 && entry.bytes.is_none() {
                entries.remove(&(kind, digest));
            }
        }
    }

    /// As [`Files::use_once_more`], until the pin is dropped.
    pub(crate) fn pin(self: &Arc<Self>, kind: Kind, digest: Digest) -> Pin {
        self.use_once_more(kind, digest);
        Pin { files: Arc::clone(self), name: (kind, digest) }
    }

    /// The file of this digest, if it is here.
    pub(crate) fn get(&self, kind: Kind, digest: &Digest) -> Result<Option<File>, StoreError> {
        match File::open(self.path(kind, digest)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A file to be received.
    pub(crate) fn receive(self: &Arc<Self>, kind: Kind, digest: Digest) -> Result<Upload, StoreError> {
        let file = tempfile::NamedTempFile::new_in(self.root.join("tmp"))?;
        Ok(Upload::new(Arc::clone(self), kind, digest, file))
    }

    /// Puts a received file on the disk, under its digest, which was checked. Blocks.
    pub(super) fn adopt(
        &self,
        kind: Kind,
        digest: Digest,
        file: tempfile::NamedTempFile,
        mut room: Room,
    ) -> Result<(), StoreError> {
        file.as_file().sync_all()?;
        file.persist(self.path(kind, &digest)).map_err(|error| error.error)?;
        File::open(self.root.join(kind.directory()))?.sync_all()?;
        let mut entries = self.entries();
        let entry = entries.entry((kind, digest)).or_insert(Entry { users: 0, last_used: Instant::now(), bytes: None });
        // Two clients may send the same bundle at the same time; it is one file in the end.
        if entry.bytes.replace(room.bytes()).is_none() {
            room.hand_over();
        }
        Ok(())
    }

    /// A new file for output, and its name.
    pub(crate) fn create_output(&self) -> Result<(String, File), StoreError> {
        loop {
            let name = self.unique();
            match File::options().read(true).write(true).create_new(true).open(self.output_path(&name)) {
                Ok(file) => return Ok((name, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn output_path(&self, name: &str) -> PathBuf {
        self.root.join("outputs").join(name)
    }

    /// The output file of this name.
    pub(crate) fn get_output(&self, name: &str) -> Result<File, StoreError> {
        Ok(File::open(self.output_path(name))?)
    }

    /// Waits until finished output is on the disk where it is in a file, and counts it.
    pub(crate) fn keep_output(&self, finished: &Finished) -> Result<(), StoreError> {
        if let Some(file) = &finished.file {
            file.sync_all()?;
            File::open(self.root.join("outputs"))?.sync_all()?;
            self.bytes.fetch_add(finished.file_bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Removes output that was kept and is no result's.
    pub(crate) fn discard(&self, finished: &Finished) {
        if let OutputPlace::File(name) = &finished.place {
            self.remove_output(name, finished.file_bytes);
        }
    }

    /// Removes an output file. `bytes` is its length if it was kept.
    pub(crate) fn remove_output(&self, name: &str, bytes: u64) {
        self.give_room(bytes);
        if let Err(error) = fs::remove_file(self.output_path(name)) {
            tracing::warn!("cannot remove output file {name}: {error}");
        }
    }

    /// Removes all output files but these: no result refers to them.
    pub(super) fn forget_outputs_but(&self, kept: &HashSet<String>) -> Result<(), StoreError> {
        for file in fs::read_dir(self.root.join("outputs"))? {
            let file = file?;
            if file.file_name().to_str().is_some_and(|name| kept.contains(name)) {
                self.bytes.fetch_add(file.metadata()?.len(), Ordering::Relaxed);
            } else {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    /// Removes bundles and inputs that nothing refers to and that were not used for `unused`. Inputs go at once. Blocks.
    pub(crate) fn expire(&self, unused: Duration) {
        let now = Instant::now();
        let victims = {
            let mut entries = self.entries();
            let idle = |kind| if kind == Kind::Bundle { unused } else { Duration::ZERO };
            let old = entries
                .iter()
                .filter(|((kind, _), entry)| entry.users == 0 && now.duration_since(entry.last_used) >= idle(*kind));
            let names: Vec<_> = old.map(|(name, _)| *name).collect();
            self.take_out(&mut entries, names)
        };
        remove(&victims);
    }

    /// Makes room for `bytes` with bundles that nothing refers to, those that were not used for longest first. Gives
    /// what is to be removed.
    pub(crate) fn evict(&self, bytes: u64) -> Vec<PathBuf> {
        let mut entries = self.entries();
        let unused = entries.iter().filter(|((kind, _), entry)| *kind == Kind::Bundle && entry.users == 0);
        let mut unused: Vec<_> =
            unused.map(|(name, entry)| (entry.last_used, *name, entry.bytes.unwrap_or(0))).collect();
        unused.sort_by_key(|(last_used, ..)| *last_used);
        let mut left = bytes;
        let victims = unused.into_iter().take_while(|(_, _, held)| {
            let needed = left > 0;
            left = left.saturating_sub(*held);
            needed
        });
        let names: Vec<_> = victims.map(|(_, name, _)| name).collect();
        self.take_out(&mut entries, names)
    }

    /// Takes files out of the store: they get names in `tmp`, to be removed there without the lock. Renaming them is
    /// quick, and must be under the lock: who wants the file a moment later finds none and sends it again.
    fn take_out(&self, entries: &mut HashMap<(Kind, Digest), Entry>, names: Vec<(Kind, Digest)>) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for (kind, digest) in names {
            let path = self.root.join("tmp").join(self.unique());
            if let Err(error) = fs::rename(self.path(kind, &digest), &path) {
                tracing::warn!("cannot remove {}/{digest}: {error}", kind.directory());
            } else {
                paths.push(path);
            }
            let entry = entries.remove(&(kind, digest));
            self.give_room(entry.and_then(|entry| entry.bytes).unwrap_or(0));
        }
        paths
    }
}

/// Removes files that were taken out. Blocks.
pub(crate) fn remove(paths: &[PathBuf]) {
    for path in paths {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    }
}
