//! The sample programs, built for the Denali VM and embedded: good ones, and hostile ones that attack the boundary.
//!
//! Each is a small crate under `samples/programs`. Beside its source, `expect.toml` says how a run of it must end.
#![forbid(unsafe_code)]

/// The image in which programs for Linux run.
pub const LINUX: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/linux/x86_64-unknown-linux-gnu/release/linux"));

/// A sample program.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its name; `hostile/…` for an attacker.
    pub name: &'static str,
    /// The image: an ELF file for the Denali VM.
    pub elf: &'static [u8],
    /// How a run must end, as TOML; empty for the programs that only measure.
    pub expectation: &'static str,
}

/// All samples, sorted by name.
pub const ALL: &[Sample] = &include!(concat!(env!("OUT_DIR"), "/samples.rs"));

/// A program for the host that says hello, to measure a process start.
pub const NATIVE_HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/native-hello"));

/// The native side of the sample `kernels-bench`: the same machine code, linked for the host.
pub const NATIVE_KERNELS: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/native/x86_64-unknown-linux-gnu/release/kernels-native"));

/// A static program for Linux that measures system calls, in a VM or on the host.
pub const NATIVE_SYSCALLS: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/static/x86_64-unknown-linux-gnu/release/syscalls-native"));

/// The sample of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Sample> {
    ALL.iter().find(|sample| sample.name == name)
}
