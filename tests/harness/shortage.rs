//! A process that gets no more of something.

use super::process;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::{collections::HashSet, fs};

/// A bound on a running process, lowered until this is dropped.
pub(crate) struct Shortage {
    process: u32,
    resource: Resource,
    before: Rlimit,
}

impl Shortage {
    /// So many descriptors more than the process has, or a few beyond where there are gaps in their numbers.
    pub(crate) fn of_descriptors(process: u32, more: u64) -> Self {
        let open = fs::read_dir(format!("/proc/{process}/fd")).expect("the process is there");
        let open: HashSet<u64> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        // The bound is on the numbers of new ones.
        let free = (0..).find(|number| !open.contains(number)).unwrap_or(0);
        Self::new(process, Resource::Nofile, "Max open files", free + more)
    }

    /// So many bytes of addresses more than the process has.
    pub(crate) fn of_addresses(process: u32, more: u64) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process is there");
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB"));
        let kib: u64 = size.and_then(|kib| kib.parse().ok()).expect("a size");
        Self::new(process, Resource::As, "Max address space", kib * 1024 + more)
    }

    fn new(process: u32, resource: Resource, name: &str, most: u64) -> Self {
        let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("the process is there");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("it has such a limit");
        let mut values = line.split_ascii_whitespace().map(|value| value.parse().ok());
        let (current, maximum) = (values.next().flatten(), values.next().flatten());
        let shortage = Self { process, resource, before: Rlimit { current, maximum } };
        shortage.set(Rlimit { current: Some(most), maximum });
        shortage
    }

    fn set(&self, limit: Rlimit) {
        // It may have ended in the meantime.
        let set = prlimit(Pid::from_raw(self.process.cast_signed()), self.resource, limit);
        assert!(set.is_ok() || !process::is_alive(self.process), "a limit of one's own processes can be set: {set:?}");
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        self.set(self.before);
    }
}
