//! What a node takes: memory, descriptors, directories.

use super::{Finding, Level};
use crate::{cli::units, home::Home};
use rustix::process::Resource;
use std::{fs, path::Path};

/// Memory for a handful of default VMs beside the host's own needs.
const MEMORY_BYTES: u64 = 512 << 20;

pub(super) fn memory() -> Finding {
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_bytes(&text));
    match available {
        None => Finding::bad("memory", Level::Warn, "/proc/meminfo cannot be read", "mount /proc"),
        Some(bytes) if bytes < MEMORY_BYTES => Finding::bad(
            "memory",
            Level::Warn,
            format!("{} available", units::show_bytes(bytes)),
            format!("free some: jobs ask for 64 MiB by default, and {} is sensible", units::show_bytes(MEMORY_BYTES)),
        ),
        Some(bytes) => Finding::ok("memory", format!("{} available", units::show_bytes(bytes))),
    }
}

fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Descriptors for a node: a few for each VM at once, and one for each connection.
const DESCRIPTORS: u64 = 4096;

pub(super) fn descriptors() -> Finding {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let text = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string());
    let detail = format!("{} open files, may be raised to {}", text(limit.current), text(limit.maximum));
    if hard >= DESCRIPTORS {
        return Finding::ok("descriptors", detail);
    }
    let advice = format!("for a node with many VMs, raise the limit: LimitNOFILE={DESCRIPTORS} in its systemd unit");
    Finding::bad("descriptors", Level::Warn, detail, advice)
}

pub(super) fn config() -> Finding {
    match Home::locate() {
        Ok(home) => writable("config directory", home.directory()),
        Err(error) => Finding::bad("config directory", Level::Fail, error.to_string(), "set DENALI_HOME"),
    }
}

/// Whether files can be made in `directory`, or in the nearest one above it that exists: nothing is left behind.
pub(super) fn writable(check: &'static str, directory: &Path) -> Finding {
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match tempfile::tempfile_in(there) {
        Ok(_) if there == directory => Finding::ok(check, format!("{} is writable", directory.display())),
        Ok(_) => Finding::ok(check, format!("{} can be made", directory.display())),
        Err(error) => Finding::bad(
            check,
            Level::Fail,
            format!("cannot write to {}: {error}", there.display()),
            "choose another directory (DENALI_HOME for keys, --data for a node), or change its owner",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        assert_eq!(available_bytes("MemTotal: 9 kB\nMemAvailable:    2 kB\n"), Some(2048));
        assert_eq!(available_bytes("MemTotal: 9 kB\n"), None);
    }

    #[test]
    fn a_directory_to_be_made_is_judged_by_its_parent() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(writable("x", &directory.path().join("a/b")).level, Level::Ok);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(writable("x", Path::new("/proc/self/x")).level, Level::Fail);
    }
}
