//! What a process holds of its host, to compare before and after a campaign: what VMs take is to be given back.

use super::verdict::{Finding, Oracle};
use std::{fs, io};

/// Descriptors, mappings and memory of the calling process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    descriptors: usize,
    mappings: usize,
    memory_kib: u64,
}

/// Mappings that allocators and ended threads may keep.
const MAPPINGS_KEPT: usize = 256;

/// Memory that they may keep, in KiB.
const MEMORY_KEPT_KIB: u64 = 128 << 10;

impl Resources {
    /// As they are now.
    ///
    /// # Errors
    /// Where `/proc` can't be read.
    pub fn now() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        Ok(Self {
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            mappings: fs::read_to_string("/proc/self/maps")?.lines().count(),
            memory_kib: resident.and_then(|kib| kib.parse().ok()).ok_or(io::ErrorKind::InvalidData)?,
        })
    }

    /// What was not given back since.
    ///
    /// # Errors
    /// Where `/proc` can't be read.
    pub fn kept_since(before: Self) -> io::Result<Vec<Finding>> {
        let after = Self::now()?;
        let more = [
            (after.descriptors > before.descriptors, "descriptors"),
            (after.mappings > before.mappings + MAPPINGS_KEPT, "mappings"),
            (after.memory_kib > before.memory_kib + MEMORY_KEPT_KIB, "memory"),
        ];
        let finding = |what| Finding::new(Oracle::Resources, format!("{what} kept: {before:?}, then {after:?}"));
        Ok(more.into_iter().filter(|(kept, _)| *kept).map(|(_, what)| finding(what)).collect())
    }
}
