//! How hard the host makes it to get at a node or at guests' memory by another way than through Denali. Each finding is a
//! warning with what to do; `docs/hardening.md` says why. Pure functions judge what the kernel's files say.

use super::Finding;
use crate::worker::cgroup;
use rustix::process::{Resource, geteuid, getrlimit};
use std::fs;

const VULNERABILITIES: &str = "/sys/devices/system/cpu/vulnerabilities";

/// All of them.
pub(super) fn findings() -> Vec<Finding> {
    let cores = getrlimit(Resource::Core).current;
    let itlb = file(&format!("{VULNERABILITIES}/itlb_multihit"));
    vec![
        Finding::warn_of(
            "user",
            geteuid().is_root().then(|| "this is root".to_owned()),
            "not root",
            "give the node a user of its own in the group kvm: docs/systemd/denali-node.service does",
        ),
        Finding::warn_of(
            "CPU flaws",
            vulnerable(&flaws()),
            "the kernel knows of none without a mitigation",
            "update microcode and kernel, and take mitigations=off off the kernel's command line",
        ),
        Finding::warn_of(
            "SMT",
            (file("/sys/devices/system/cpu/smt/active").trim() == "1")
                .then(|| "two threads of one core may run VMs of two clients".to_owned()),
            "no two VMs share a core at one moment",
            "switch it off with nosmt on the kernel's command line, or in /sys/devices/system/cpu/smt/control",
        ),
        Finding::warn_of(
            "huge pages",
            splits_missing(&itlb, &file("/sys/module/kvm/parameters/nx_huge_pages")),
            "no guest can stop this CPU by them",
            "set kvm.nx_huge_pages=force on the kernel's command line, though VMs start slower then",
        ),
        Finding::warn_of(
            "KSM",
            (file("/sys/kernel/mm/ksm/run").trim() == "1").then(|| "the kernel merges equal pages".to_owned()),
            "pages of VMs are not merged",
            "switch it off: echo 2 | sudo tee /sys/kernel/mm/ksm/run. Who shares a page can be told by the time it takes to write",
        ),
        Finding::warn_of(
            "swap",
            in_clear(&file("/proc/swaps"), |device| file(&format!("/sys/block/{device}/dm/uuid"))),
            "the host writes no memory to disk in clear",
            "encrypt it, or switch it off: sudo swapoff -a. The node's own `swap_directory` is on disk as well",
        ),
        Finding::warn_of(
            "core dumps",
            dumps(&file("/proc/sys/kernel/core_pattern"), cores, &file("/sys/kernel/kexec_crash_loaded")),
            "a crash leaves no memory on disk",
            "set LimitCORE=0 in the node's unit, Storage=none in coredump.conf, and encrypt where kdump writes",
        ),
        Finding::warn_of(
            "control groups",
            cgroup::own().err().map(|error| format!("here a node can't limit workers: {error}")),
            "cpu, memory and pids are here for a node that may use them",
            "use control groups of version 2 alone, and Delegate=yes in the node's unit",
        ),
    ]
}

/// What a file of the kernel says; nothing where it is not there.
fn file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Flaws of this CPU and what is done against each.
fn flaws() -> Vec<(String, String)> {
    let entries = fs::read_dir(VULNERABILITIES).into_iter().flatten().flatten();
    let mut flaws: Vec<_> = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), file(&entry.path().to_string_lossy())))
        .collect();
    flaws.sort();
    flaws
}

/// The flaws against which nothing, or not enough, is done.
fn vulnerable(flaws: &[(String, String)]) -> Option<String> {
    let open = flaws.iter().filter(|(_, state)| state.to_lowercase().contains("vulnerable"));
    let open: Vec<_> = open.map(|(flaw, state)| format!("{flaw}: {}", state.trim())).collect();
    (!open.is_empty()).then(|| open.join("; "))
}

/// Whether a guest may stop this CPU by a large page that it executes, since KVM does not split those (iTLB multihit).
fn splits_missing(itlb: &str, setting: &str) -> Option<String> {
    let affected = !itlb.trim().is_empty() && itlb.trim() != "Not affected" && !itlb.contains("VMX disabled");
    let off = ["N", "never"].contains(&setting.trim());
    (affected && off).then(|| "this CPU has the bug iTLB multihit, and KVM's nx_huge_pages is off".to_owned())
}

/// Swap of `/proc/swaps` that is neither in memory nor encrypted. `uuid` is what the device mapper says of a device.
fn in_clear(swaps: &str, uuid: impl Fn(&str) -> String) -> Option<String> {
    let paths = swaps.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next());
    let clear: Vec<_> = paths
        .filter(|path| {
            let device = path.strip_prefix("/dev/").unwrap_or_default();
            let encrypted = device.starts_with("dm-") && uuid(device).starts_with("CRYPT-");
            !device.starts_with("zram") && !encrypted
        })
        .collect();
    (!clear.is_empty()).then(|| format!("memory may be written to {} in clear", clear.join(", ")))
}

/// Who keeps the memory of a node or a host that crashed. `limit` is this process's, in bytes; none for no bound.
fn dumps(pattern: &str, limit: Option<u64>, kdump: &str) -> Option<String> {
    let program = pattern.trim().strip_prefix('|').and_then(|rest| rest.split_ascii_whitespace().next());
    let mut kept = Vec::new();
    match program {
        // The limit does not hold for it.
        Some(program) => kept.push(format!("{program} is given the memory of a process that crashes")),
        None if limit != Some(0) => kept.push("a process that crashes writes its memory into a file".to_owned()),
        None => {}
    }
    if kdump.trim() == "1" {
        kept.push("kdump keeps the memory of a kernel that crashes".to_owned());
    }
    (!kept.is_empty()).then(|| kept.join("; "))
}

#[cfg(test)]
mod tests;
