//! `denali doctor`: checks whether this machine can run VMs and jobs, and says what to do where it can't.

use super::{failure, print, runtime::block_on, units};
use crate::{home::Home, worker::Worker};
use denali_protocol::bundle::CpuModel;
use denali_vmm::kvm::{Host, HostError};
use rustix::process::Resource;
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Check this machine: KVM, kernel, memory, limits and directories.
///
/// Exits with 1 if anything fails; warnings do not count.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  denali doctor --data /var/lib/denali")]
pub(crate) struct Args {
    /// A node's data directory to check as well.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON: one object with all checks.
    #[arg(long)]
    json: bool,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, detail: detail.into(), advice: None }
    }

    fn bad(check: &'static str, level: Level, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level, detail: detail.into(), advice: Some(advice.into()) }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    checks: &'a [Finding],
}

pub(crate) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let mut findings = vec![kvm(), jail(), cpu(), kernel(), starts(), memory(), descriptors(), config()];
    findings.extend(args.data.as_deref().map(|data| writable("data directory", data)));
    let ok = findings.iter().all(|finding| finding.level != Level::Fail);
    if args.json {
        print::json(&Report { ok, checks: &findings })?;
    } else {
        show(&findings)?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}

fn show(findings: &[Finding]) -> anyhow::Result<()> {
    for Finding { check, level, detail, advice } in findings {
        let word = match level {
            Level::Ok => "ok",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        print::line(format!("{word:<5} {check:<16} {detail}"))?;
        if let Some(advice) = advice {
            print::line(format!("      {:<16} {advice}", ""))?;
        }
    }
    Ok(())
}

/// The hypervisor: the device, this user's rights to it, its version and capabilities, and a first virtual CPU.
fn kvm() -> Finding {
    let Err(error) = Host::open() else {
        return Finding::ok("kvm", "/dev/kvm works: a virtual CPU was made");
    };
    let (detail, advice) = match &error {
        HostError::Missing => (
            "/dev/kvm does not exist".to_owned(),
            "switch on virtualisation in the firmware and load the module: sudo modprobe kvm_intel (or kvm_amd); \
             inside a virtual machine, enable nested virtualisation for it",
        ),
        HostError::Permission => (
            "no permission to open /dev/kvm".to_owned(),
            "join its group, then log in again: sudo usermod -aG kvm \"$USER\"",
        ),
        HostError::Open(_) => (error.to_string(), "look at what the kernel says: sudo dmesg | grep -i kvm"),
        HostError::Random => (error.to_string(), "look at what the kernel says: sudo dmesg | grep -i random"),
        HostError::Pagemap(_) => (error.to_string(), "mount /proc"),
        HostError::Cpu { .. } => (error.to_string(), "use a newer machine, or a virtual machine that shows its CPU"),
        HostError::ApiVersion(_) | HostError::Capability(_) | HostError::Call { .. } => {
            (error.to_string(), "use a current kernel; in a container or sandbox, one that lets KVM through")
        }
    };
    Finding::bad("kvm", Level::Fail, detail, advice)
}

/// What the host gives for the jail of workers: one is started, and says.
fn jail() -> Finding {
    let spawned = block_on(async {
        let (worker, _) = Worker::spawn().await?;
        Ok(worker.lacks().iter().map(ToString::to_string).collect::<Vec<_>>())
    });
    match spawned {
        Ok(lacks) if lacks.is_empty() => {
            Finding::ok("jail", "a worker has no rights, files, network or other processes")
        }
        Ok(lacks) => Finding::bad(
            "jail",
            Level::Warn,
            format!("a worker goes without {}", lacks.join("; ")),
            "allow user namespaces, and use Linux 6.12 or later with Landlock; `jail = \"whole\"` under [node] of the policy \
             insists",
        ),
        Err(error) => {
            Finding::bad("jail", Level::Fail, format!("no worker starts: {error:#}"), "mend what is above first")
        }
    }
}

/// What guests are offered of the CPU, and whether they are shown only that.
fn cpu() -> Finding {
    let Some(model) = [CpuModel::V3, CpuModel::V2].into_iter().find(|model| Host::offers(*model).is_ok()) else {
        return Finding::bad(
            "cpu",
            Level::Fail,
            format!("not even {}", CpuModel::V2),
            "use a machine from 2010 or later",
        );
    };
    let offer = format!("programs for {model} can run");
    if fs::exists("/sys/module/kvm_pvm").unwrap_or(false) {
        return Finding::bad(
            "cpu",
            Level::Warn,
            format!("{offer}; KVM works in software here, and CPUID shows guests the host's CPU"),
            "use a machine with VT-x or AMD-V where programs should not learn its CPU",
        );
    }
    Finding::ok("cpu", offer)
}

/// What makes VMs slow to create on current kernels: KVM starts a thread for each, to undo a mitigation for large pages, and
/// moves it into a control group.
fn starts() -> Finding {
    let setting = fs::read_to_string("/sys/module/kvm/parameters/nx_huge_pages").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    if setting.trim() == "never" || mounts.contains("favordynmods") {
        return Finding::ok("VM starts", "KVM has what it needs to make VMs fast");
    }
    Finding::bad(
        "VM starts",
        Level::Warn,
        "KVM starts a kernel thread for each VM, which some kernels are slow at",
        "mount the control groups with favordynmods; or, on a CPU without the bug of \
         /sys/devices/system/cpu/vulnerabilities/itlb_multihit, add kvm.nx_huge_pages=never to the kernel's command line",
    )
}

/// The oldest kernel that has what the VMM asks of KVM.
const KERNEL: (u32, u32) = (5, 10);

fn kernel() -> Finding {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL {
        return Finding::ok("kernel", format!("Linux {release}"));
    }
    let advice = format!("use Linux {}.{} or newer: older ones were not tried", KERNEL.0, KERNEL.1);
    Finding::bad("kernel", Level::Warn, format!("Linux {release}"), advice)
}

/// Memory for a handful of default VMs beside the host's own needs.
const MEMORY_BYTES: u64 = 512 << 20;

fn memory() -> Finding {
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

fn descriptors() -> Finding {
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

fn config() -> Finding {
    match Home::locate() {
        Ok(home) => writable("config directory", home.directory()),
        Err(error) => Finding::bad("config directory", Level::Fail, error.to_string(), "set DENALI_HOME"),
    }
}

/// Whether files can be made in `directory`, or in the nearest one above it that exists: nothing is left behind.
fn writable(check: &'static str, directory: &Path) -> Finding {
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
