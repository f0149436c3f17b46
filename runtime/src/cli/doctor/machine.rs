//! What VMs run on: the hypervisor, the jail, the CPU and the kernel.

use super::{Finding, Level};
use crate::{cli::runtime::block_on, worker::Worker};
use denali_protocol::bundle::CpuModel;
use denali_vmm::kvm::{Host, HostError};
use std::fs;

/// The hypervisor: the device, this user's rights to it, its version and capabilities, and a first virtual CPU.
pub(super) fn kvm() -> Finding {
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
pub(super) fn jail() -> Finding {
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
pub(super) fn cpu() -> Finding {
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
pub(super) fn starts() -> Finding {
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

pub(super) fn kernel() -> Finding {
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
