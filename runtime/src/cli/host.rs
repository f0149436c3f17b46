//! The machine that a measurement was made on.

use serde::Serialize;
use std::{fmt, fs};

/// A machine, as far as it matters to a measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    cpu: String,
    cpus: usize,
    kernel: String,
    kvm: String,
}

impl Host {
    /// This machine.
    pub(crate) fn describe() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let module = |name: &&str| fs::exists(format!("/sys/module/{name}")).unwrap_or(false);
        let kvm = ["kvm_intel", "kvm_amd", "kvm_pvm"].iter().find(|name| module(name));
        Self {
            cpu: cpu.unwrap_or_else(|| "unknown".to_owned()),
            cpus,
            kernel,
            kvm: kvm.map_or("unknown", |name| name).to_owned(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} CPUs of {}, Linux {}, {}", self.cpus, self.cpu, self.kernel, self.kvm)
    }
}
