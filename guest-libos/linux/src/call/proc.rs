//! The text of generated files: what /proc and /sys tell of the process and of the machine.

use super::{Machine, Process, identity, limits::TICKS};
use crate::{
    fs::{
        Generated,
        limits::{MAX_DESCRIPTORS, PIPE_CAPACITY},
    },
    mm::MAPPINGS_MAX,
    net::limits::MAX_BACKLOG,
};
use alloc::{format, string::String, vec::Vec};
use core::fmt::Write;

const NS: u64 = 1_000_000_000;
const PAGE_BYTES: u64 = crate::mm::PAGE_BYTES;

/// Names of resources as /proc/self/limits has them, in the order of their numbers, with their units.
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

/// What is mounted where: as /proc/mounts has it, with the major and minor number of /proc/self/mountinfo.
const MOUNTS: [(&str, &str, &str); 4] =
    [("tmpfs", "/", "tmpfs"), ("dev", "/dev", "tmpfs"), ("proc", "/proc", "proc"), ("sysfs", "/sys", "sysfs")];

impl<M: Machine> Process<M> {
    /// The text of a generated file, now.
    pub(super) fn generated(&mut self, file: Generated) -> Vec<u8> {
        let text = match file {
            Generated::ProcCmdline => return self.identity.arguments.clone(),
            Generated::ProcEnviron => return self.identity.environment.clone(),
            Generated::ProcAuxv => return self.identity.auxiliary.clone(),
            Generated::Ready => {
                let arguments = self.space.pages().ready();
                return arguments.iter().flat_map(|argument| [argument.as_bytes(), &[0]]).flatten().copied().collect();
            }
            Generated::ProcComm => self.comm() + "\n",
            Generated::ProcLimits => self.limits_text(),
            Generated::ProcMaps => self.space.maps(),
            Generated::ProcMountinfo => mounts(true),
            Generated::ProcMounts => mounts(false),
            Generated::ProcStat => self.process_stat(),
            Generated::ProcStatm => {
                let pages = self.space.mapped() / PAGE_BYTES;
                format!("{pages} {pages} 0 0 0 {pages} 0\n")
            }
            Generated::ProcStatus => self.process_status(),
            Generated::Meminfo => self.meminfo(),
            Generated::Stat => self.machine_stat(),
            Generated::Uptime => {
                let (seconds, hundredths) = self.uptime();
                format!("{seconds}.{hundredths:02} 0.00\n")
            }
            Generated::Loadavg => format!("1.00 1.00 1.00 1/{} {}\n", self.threads.count(), identity::PROCESS),
            Generated::SysBootId => self.boot_id(),
            Generated::Version => {
                let [system, _, release, version, ..] = identity::NAMES;
                format!("{system} version {release} {version}\n")
            }
            Generated::SysFileMax => line(MAX_DESCRIPTORS as u64),
            Generated::SysMaxMapCount => line(MAPPINGS_MAX as u64),
            Generated::SysPipeMaxSize => line(PIPE_CAPACITY as u64),
            Generated::SysSomaxconn => line(MAX_BACKLOG.into()),
            Generated::SysThreadsMax => line(self.threads.most() as u64),
            file => return fixed(file).into(),
        };
        text.into_bytes()
    }

    /// The main thread's name.
    fn comm(&self) -> String {
        let name = self.thread_name(self.threads.pid());
        String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    }

    fn limits_text(&self) -> String {
        let mut text = format!("{:<26}{:<21}{:<21}{:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
        let say = |value: u64| if value == u64::MAX { "unlimited".into() } else { format!("{value}") };
        for ((name, unit), [soft, hard]) in LIMITS.iter().zip(self.limits.0) {
            // Writing to a string doesn't fail.
            let _ = writeln!(text, "{name:<26}{:<21}{:<21}{unit:<10}", say(soft), say(hard));
        }
        text
    }

    fn uptime(&mut self) -> (u64, u64) {
        let ns = self.now().mono_ns;
        (ns / NS, ns % NS / (NS / TICKS))
    }

    /// The 52 fields of /proc/self/stat. Its parent, terminal and times of children are 0.
    fn process_stat(&mut self) -> String {
        let (pid, name, threads) = (identity::PROCESS, self.comm(), self.threads.count());
        let ticks = self.space.pages().cpu_ns() / (NS / TICKS);
        let (bytes, pages) = (self.space.mapped(), self.space.mapped() / PAGE_BYTES);
        format!(
            "{pid} ({name}) R 0 {pid} {pid} 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 {threads} 0 0 {bytes} {pages} {} \
             0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
            u64::MAX
        )
    }

    fn process_status(&self) -> String {
        let (pid, user, threads) = (identity::PROCESS, identity::USER, self.threads.count());
        let kib = self.space.mapped() >> 10;
        let ids = format!("{user}\t{user}\t{user}\t{user}");
        format!(
            "Name:\t{}\nUmask:\t0022\nState:\tR (running)\nTgid:\t{pid}\nNgid:\t0\nPid:\t{pid}\nPPid:\t0\nTracerPid:\t0\n\
             Uid:\t{ids}\nGid:\t{ids}\nFDSize:\t{MAX_DESCRIPTORS}\nGroups:\t \nVmPeak:\t{kib:8} kB\nVmSize:\t{kib:8} kB\n\
             VmLck:\t       0 kB\nVmHWM:\t{kib:8} kB\nVmRSS:\t{kib:8} kB\nThreads:\t{threads}\nNoNewPrivs:\t1\n\
             Cpus_allowed:\t1\nCpus_allowed_list:\t0\nMems_allowed:\t1\nMems_allowed_list:\t0\n",
            self.comm()
        )
    }

    fn meminfo(&self) -> String {
        let (total, free) = (self.space.memory() >> 10, self.free_memory() >> 10);
        let mut text = String::new();
        let lines = [
            ("MemTotal:", total),
            ("MemFree:", free),
            ("MemAvailable:", free),
            ("Buffers:", 0),
            ("Cached:", 0),
            ("SwapTotal:", 0),
            ("SwapFree:", 0),
        ];
        for (name, kib) in lines {
            let _ = writeln!(text, "{name:<16}{kib:8} kB");
        }
        text
    }

    fn machine_stat(&mut self) -> String {
        let now = self.now();
        let ticks = self.space.pages().cpu_ns() / (NS / TICKS);
        let started = now.realtime_base_ns / NS;
        let times = format!("{ticks} 0 0 0 0 0 0 0 0 0");
        format!(
            "cpu  {times}\ncpu0 {times}\nintr 0\nctxt 0\nbtime {started}\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n"
        )
    }

    /// A random UUID, another one each time: whoever keeps it has a number of their own.
    fn boot_id(&mut self) -> String {
        let mut bytes = [0; 16];
        self.space.pages().random(&mut bytes);
        let all = u128::from_be_bytes(bytes) & !(0xf << 76 | 3 << 62) | 4 << 76 | 2 << 62;
        let text = format!("{all:032x}");
        format!("{}-{}-{}-{}-{}\n", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }
}

fn mounts(info: bool) -> String {
    let mut text = String::new();
    for (place, (source, path, kind)) in MOUNTS.iter().enumerate() {
        let number = place + 1;
        let _ = if info {
            let parent = usize::from(place > 0);
            writeln!(text, "{number} {parent} 0:{number} / {path} rw,relatime - {kind} {source} rw")
        } else {
            writeln!(text, "{source} {path} {kind} rw,relatime 0 0")
        };
    }
    text
}

fn line(number: u64) -> String {
    format!("{number}\n")
}

/// What does not change.
fn fixed(file: Generated) -> &'static [u8] {
    match file {
        Generated::Cpuinfo => {
            b"processor\t: 0\nvendor_id\t: DenaliDenali\ncpu family\t: 6\nphysical id\t: 0\nsiblings\t: 1\ncore id\t\t: 0\n\
              cpu cores\t: 1\n\n"
        }
        Generated::Filesystems => b"nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\n",
        Generated::SysHostname => b"denali\n",
        Generated::SysOsrelease => b"6.1.0-denali\n",
        Generated::SysOstype => b"Linux\n",
        Generated::SysPidMax => b"32768\n",
        Generated::SysCapLastCap => b"40\n",
        Generated::SysOvercommitMemory => b"2\n",
        Generated::CpusOnline | Generated::CpusPossible | Generated::CpusPresent => b"0\n",
        Generated::HugepageEnabled => b"always madvise [never]\n",
        Generated::HugepageSize => b"2097152\n",
        _ => b"",
    }
}
