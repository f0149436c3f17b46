//! Bounds of a worker's process as a whole, whatever is wrong inside: its files by a resource limit, its memory, threads and CPUs by
//! a control group of version 2. A node that may makes one for each worker, beside one for itself, below the group that it was
//! started in.
//!
//! A process is in one group, so this is state of the process. Whoever starts workers without a node does not call [`set`].
//!
//! Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst`, `cgroups(7)`.

mod groups;

use crate::node::policy::Policy;
use denali_vmm::{
    machine::image::file_bytes_max,
    worker::message::{Lack, Measure},
};
pub(super) use groups::Group;
use groups::Groups;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// What bounds need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Bytes of a worker beside its VMs' own memory: 512 MiB of images that are kept, one of twice the largest bundle that is being
/// prepared, and itself.
const OWN_BYTES: u64 = 2 << 30;

/// Bytes that a VM may touch beyond a budget in a slice of 20 ms, on each CPU.
const SLICE_BYTES: u64 = 64 << 20;

/// Threads beside those of VMs and CPUs. KVM has one for each piece of hardware, of which 18 are kept for each of 8 bundles.
const OWN_THREADS: u64 = 256;

/// Why there are no bounds.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupError {
    /// No file system of them.
    #[error("this host has no control groups of version 2")]
    Absent,
    /// The group lacks controllers.
    #[error("{} has no controller of {}", directory.display(), missing.join(", "))]
    Controllers {
        /// The group.
        directory: PathBuf,
        /// Those that it lacks.
        missing: Vec<&'static str>,
    },
    /// It is not this process's to divide.
    #[error("{}: {source}", path.display())]
    File {
        /// What could not be written, read or made.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl GroupError {
    /// For clients, whose affair it is not where the node's files are.
    fn brief(&self) -> String {
        match self {
            Self::Absent => self.to_string(),
            Self::Controllers { missing, .. } => format!("the node's has no controller of {}", missing.join(", ")),
            Self::File { path, source } => {
                format!("{}: {source}", path.file_name().unwrap_or_default().to_string_lossy())
            }
        }
    }
}

/// What one worker may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    memory_bytes: u64,
    threads: u64,
    cpus: u32,
    file_bytes: u64,
}

impl Bounds {
    /// Under this policy, on a host with so many CPUs: what a worker needs that has the whole node to itself.
    pub(crate) fn of(policy: &Policy, host_cpus: u64) -> Self {
        let node = &policy.node;
        // One VM that is larger than all of the budget comes on top of it.
        let largest = policy.signer.iter().map(|signer| signer.memory).fold(policy.unsigned.memory, u64::max);
        let slices = SLICE_BYTES.saturating_mul(host_cpus);
        Self {
            memory_bytes: [node.memory, largest, slices, OWN_BYTES].into_iter().fold(0, u64::saturating_add),
            // A runner and a maker for each CPU, a launcher, and whoever takes another's place.
            threads: 2 * u64::from(node.worker_vms) + 4 * host_cpus + OWN_THREADS,
            // Guests have no more than these; the rest of the worker has one.
            cpus: node.cpus.saturating_add(1),
            // It writes its disk for VMs that idle, and images in memory.
            file_bytes: file_bytes_max(largest).max(node.swap / u64::from(node.swap_workers())),
        }
    }

    /// The files of a group that say so.
    fn files(self) -> [(&'static str, String); 4] {
        [
            ("memory.max", self.memory_bytes.to_string()),
            ("memory.oom.group", "1".to_owned()),
            ("pids.max", self.threads.to_string()),
            ("cpu.max", format!("{} 100000", u64::from(self.cpus) * 100_000)),
        ]
    }
}

static BOUNDS: OnceLock<Bounds> = OnceLock::new();
static GROUPS: OnceLock<Result<Groups, GroupError>> = OnceLock::new();

/// Has the workers of this node bounded, as far as the host allows.
pub(crate) fn set(policy: &Policy) {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    // The first node of a process says.
    BOUNDS.get_or_init(|| Bounds::of(policy, cpus));
}

/// Bytes up to which a worker may make a file grow; absent where no node asked for bounds. A limit can't tell one file from
/// another.
pub(super) fn file_bytes() -> Option<u64> {
    BOUNDS.get().map(|bounds| bounds.file_bytes)
}

/// Holds this process, and those that it starts, to files of so many bytes. More ends it (SIGXFSZ), or is refused (EFBIG) once it
/// ignores that, as a worker does.
///
/// # Errors
/// What the system says.
pub(crate) fn limit_files(bytes: u64) -> io::Result<()> {
    let least = getrlimit(Resource::Fsize).maximum.map_or(bytes, |most| most.min(bytes));
    Ok(setrlimit(Resource::Fsize, Rlimit { current: Some(least), maximum: Some(least) })?)
}

/// Why there is no group for a new worker.
#[derive(Debug)]
pub(super) struct NoGroup {
    /// What it lacks.
    pub(super) lack: Lack,
    /// Whether others had one: the host is short, and it is to wait rather than to go without.
    pub(super) others_had: bool,
}

/// A group for a new worker; none where no node asked for bounds.
pub(super) fn make() -> Result<Option<Group>, NoGroup> {
    let Some(bounds) = BOUNDS.get() else { return Ok(None) };
    let groups = GROUPS.get_or_init(|| Groups::divide(&own()?, &CONTROLLERS));
    let groups = groups.as_ref().map_err(|error| NoGroup { lack: lack(error), others_had: false })?;
    make_in(groups, &bounds.files()).map(Some)
}

/// A group of these for a new worker.
fn make_in(groups: &'static Groups, files: &[(&str, String)]) -> Result<Group, NoGroup> {
    groups.make(files).map_err(|error| NoGroup { lack: lack(&error), others_had: groups.are_proven() })
}

fn lack(error: &GroupError) -> Lack {
    Lack { measure: Measure::Limits, why: error.brief() }
}

/// A maker of groups that are only directories, below this one.
#[cfg(test)]
pub(super) fn of_a_directory(parent: &Path) -> impl Fn() -> Result<Group, NoGroup> {
    let groups: &'static Groups = Box::leak(Box::new(Groups::below(parent)));
    move || make_in(groups, &[])
}

/// Moves this process into a group.
///
/// # Errors
/// What the system says.
pub(crate) fn enter(directory: &Path) -> Result<(), GroupError> {
    write(&directory.join("cgroup.procs"), "0")
}

/// The group that this process is in, if it has all controllers that bounds need.
///
/// # Errors
/// [`GroupError`].
pub(crate) fn own() -> Result<PathBuf, GroupError> {
    let directory = directory(&read(Path::new("/proc/self/cgroup"))?, &read(Path::new("/proc/self/mountinfo"))?)
        .ok_or(GroupError::Absent)?;
    let there = read(&directory.join("cgroup.controllers"))?;
    let there: Vec<&str> = there.split_ascii_whitespace().collect();
    let missing: Vec<_> = CONTROLLERS.into_iter().filter(|controller| !there.contains(controller)).collect();
    if missing.is_empty() { Ok(directory) } else { Err(GroupError::Controllers { directory, missing }) }
}

/// Where the group of a process is, by its `/proc/PID/cgroup` and `/proc/PID/mountinfo` (proc(5)).
fn directory(cgroup: &str, mountinfo: &str) -> Option<PathBuf> {
    let group = Path::new(cgroup.lines().find_map(|line| line.strip_prefix("0::"))?);
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // Of a container, another part of the tree may be mounted.
        let below = kind.starts_with("cgroup2 ").then(|| group.strip_prefix(root).ok())??;
        Some(Path::new(point).join(below).components().collect())
    })
}

fn read(path: &Path) -> Result<String, GroupError> {
    fs::read_to_string(path).map_err(|source| GroupError::File { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), GroupError> {
    fs::write(path, text).map_err(|source| GroupError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
