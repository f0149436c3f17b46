//! The groups that a node makes: one for itself, one for each worker, and what is left of those that are gone.

use super::{GroupError, enter, write};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Where a node goes: a group with processes of its own can't give its controllers to others below it.
pub(super) const NODE: &str = "denali-node";

/// What its workers' groups are called, before the node's process id and a number.
const WORKER: &str = "denali-worker-";

/// The groups of a node's workers.
#[derive(Debug)]
pub(super) struct Groups {
    parent: PathBuf,
    next: AtomicU64,
    /// Whether a worker started in one: what keeps the next from it is no lack of this host then.
    proven: AtomicBool,
    /// Groups whose last process had not gone when they were given up.
    left: Mutex<Vec<PathBuf>>,
}

impl Groups {
    /// Below this group, which has been divided.
    pub(super) fn below(parent: &Path) -> Self {
        let (next, proven) = (AtomicU64::new(1), AtomicBool::new(false));
        Self { parent: parent.to_owned(), next, proven, left: Mutex::new(orphans(parent)) }
    }

    /// Divides the group that this process is in: it moves into one below, so that there may be others.
    pub(super) fn divide(parent: &Path, controllers: &[&str]) -> Result<Self, GroupError> {
        let node = parent.join(NODE);
        match fs::create_dir(&node) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(GroupError::File { path: node, source: error });
            }
            _ => enter(&node)?,
        }
        let all: Vec<_> = controllers.iter().map(|controller| format!("+{controller}")).collect();
        if let Err(error) = write(&parent.join("cgroup.subtree_control"), &all.join(" ")) {
            // Others are in this group, which is not this node's alone then.
            enter(parent)?;
            let _ = fs::remove_dir(&node);
            return Err(error);
        }
        Ok(Self::below(parent))
    }

    pub(super) fn left(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a worker started in one of them.
    pub(super) fn are_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// A new group with what these files say.
    pub(super) fn make(&'static self, files: &[(&str, String)]) -> Result<Group, GroupError> {
        self.left().retain(|directory| fs::remove_dir(directory).is_err_and(is_in_use));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let directory = self.parent.join(format!("{WORKER}{}-{number}", std::process::id()));
        fs::create_dir(&directory).map_err(|source| GroupError::File { path: directory.clone(), source })?;
        let group = Group { directory, groups: self };
        files.iter().try_for_each(|(file, text)| write(&group.directory.join(file), text))?;
        Ok(group)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "is_err_and gives it away")]
fn is_in_use(error: io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy
}

/// Groups of workers whose node is gone: it was killed.
pub(super) fn orphans(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let orphan = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let node = name.to_str().and_then(|name| name.strip_prefix(WORKER)?.split_once('-')).map(|(node, _)| node);
        // In a container the last node had this very number, and this one has made none yet.
        let own = std::process::id().to_string();
        node.is_some_and(|node| node == own || !fs::exists(format!("/proc/{node}")).unwrap_or(true))
    };
    entries.flatten().filter(orphan).map(|entry| entry.path()).collect()
}

/// The group of one worker. Whatever is in it is killed when this is dropped.
#[derive(Debug)]
pub(in crate::worker) struct Group {
    directory: PathBuf,
    groups: &'static Groups,
}

impl Group {
    /// A worker started in it.
    pub(in crate::worker) fn prove(&self) {
        self.groups.proven.store(true, Ordering::Relaxed);
    }

    /// Whether one ever started in it, or in one like it.
    pub(in crate::worker) fn is_proven(&self) -> bool {
        self.groups.are_proven()
    }

    /// Where it is.
    pub(in crate::worker) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Kernels before 5.14 have no such file; the process that was started is killed by its handle in any case.
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
        if fs::remove_dir(&self.directory).is_err() {
            self.groups.left().push(std::mem::take(&mut self.directory));
        }
    }
}
