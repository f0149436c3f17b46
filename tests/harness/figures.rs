//! What a node takes of its host.

use super::{Node, children};
use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// How much more there may be at the end than there was in the beginning: the allocator, the runtime's threads and the
/// store's log keep some of what they once had.
const RSS_KIB: u64 = 64 << 10;
const DESCRIPTORS: u64 = 10;
const DISK_KIB: u64 = 16 << 10;
const HOST_KIB: u64 = 512 << 10;

/// What a node takes of its host at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    rss_kib: u64,
    descriptors: u64,
    workers: u64,
    disk_kib: u64,
    /// Memory of the host that is not to be had.
    host_kib: u64,
}

impl Figures {
    pub(crate) fn of(node: &Node) -> Self {
        let process = PathBuf::from(format!("/proc/{}", node.process()));
        let field = |file: &Path, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let value =
                text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok());
            value.unwrap_or(0)
        };
        let host = Path::new("/proc/meminfo");
        Self {
            rss_kib: field(&process.join("status"), "VmRSS:"),
            descriptors: fs::read_dir(process.join("fd")).map_or(0, |fds| fds.count() as u64),
            workers: children(node.process()).len() as u64,
            disk_kib: disk_kib(node.data()),
            host_kib: field(host, "MemTotal:") - field(host, "MemAvailable:"),
        }
    }

    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            rss_kib: self.rss_kib.max(other.rss_kib),
            descriptors: self.descriptors.max(other.descriptors),
            workers: self.workers.max(other.workers),
            disk_kib: self.disk_kib.max(other.disk_kib),
            host_kib: self.host_kib.max(other.host_kib),
        }
    }

    /// Whether the process takes about what it did before, and has no more than so many workers.
    pub(crate) fn process_is_like(&self, before: &Self, workers: usize) -> bool {
        self.rss_kib <= before.rss_kib + RSS_KIB
            && self.descriptors <= before.descriptors + DESCRIPTORS
            && self.workers <= workers as u64
    }

    /// The same of all that it takes, for a node whose results have expired. Of the host's memory it can't be said where it is
    /// `shared` with others.
    pub(crate) fn is_like(&self, before: &Self, workers: usize, shared: bool) -> bool {
        self.process_is_like(before, workers)
            && self.disk_kib <= before.disk_kib + DISK_KIB
            && (shared || self.host_kib <= before.host_kib + HOST_KIB)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rss_kib, descriptors, workers, disk_kib, host_kib } = self;
        write!(
            f,
            "node {rss_kib} KiB, {descriptors} descriptors, {workers} workers, disk {disk_kib} KiB, host {host_kib} KiB"
        )
    }
}

/// What a directory takes of the disk. Files may go while it looks.
fn disk_kib(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_kib(&entry.path()),
        Ok(metadata) => metadata.blocks() / 2,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}
