//! Bounds of a worker's process as a whole, by a control group of version 2: its memory, threads and CPUs, whatever is wrong
//! inside. A node that may makes one for each worker, beside one for itself, below the group that it was started in.
//!
//! A process is in one group, so this is state of the process. Whoever starts workers without a node does not call [`set`].
//!
//! Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst`, `cgroups(7)`.

mod groups;

use crate::node::policy::Policy;
use denali_vmm::worker::message::{Lack, Measure};
pub(super) use groups::Group;
use groups::Groups;
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

/// A group for a new worker; none where no node asked for bounds.
pub(super) fn make() -> Result<Option<Group>, Lack> {
    let Some(bounds) = BOUNDS.get() else { return Ok(None) };
    let lack = |error: &GroupError| Lack { measure: Measure::Limits, why: error.brief() };
    let groups = GROUPS.get_or_init(|| Groups::divide(&own()?, &CONTROLLERS)).as_ref().map_err(lack)?;
    groups.make(&bounds.files()).map(Some).map_err(|error| lack(&error))
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
