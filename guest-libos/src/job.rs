//! The job, as its program sees it.

use crate::{
    channel,
    stream::{Input, Output, OutputFile},
};
use alloc::{string::String, vec::Vec};
use core::{fmt, slice, str::FromStr};
use denali_abi::{job::PROGRESS, memory::Module};

/// One job: its arguments, its input, its outputs, the bundle's files.
#[derive(Debug)]
pub struct Job {
    arguments: Vec<String>,
}

/// An argument that is missing or can't be read.
#[derive(Debug, PartialEq, Eq)]
pub struct ArgumentError {
    /// Its place, from 0.
    pub place: usize,
    /// What it says; absent when missing.
    pub text: Option<String>,
    /// What it should be.
    pub expected: &'static str,
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place + 1;
        match &self.text {
            None => write!(f, "argument {place} is missing: {}", self.expected),
            Some(text) => write!(f, "argument {place} is {text:?}, not {}", self.expected),
        }
    }
}

impl Job {
    /// Receives the job from the gateway: for programs that start without [`crate::main!`], once.
    #[must_use]
    pub fn receive() -> Self {
        Self { arguments: channel::arguments() }
    }

    /// The arguments.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The argument at `place`, from 0, as a `T`. `expected` says what it is, for the error.
    ///
    /// # Errors
    /// When it is missing or is no `T`.
    pub fn argument<T: FromStr>(&self, place: usize, expected: &'static str) -> Result<T, ArgumentError> {
        let text = self.arguments.get(place);
        let parsed = text.and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| ArgumentError { place, text: text.cloned(), expected })
    }

    /// The input.
    #[must_use]
    pub fn input(&self) -> Input {
        Input
    }

    /// Standard output.
    #[must_use]
    pub fn output(&self) -> Output {
        Output::standard()
    }

    /// Standard error.
    #[must_use]
    pub fn error(&self) -> Output {
        Output::error()
    }

    /// A named output file, which the client gets beside the standard outputs. Writing appends.
    #[must_use]
    pub fn create(&self, name: &str) -> OutputFile {
        OutputFile::create(name)
    }

    /// Says how far the job is, in thousandths.
    pub fn progress(&self, permille: u16) {
        Self::tell_progress(permille);
    }

    /// The same for those who do not hold the job: it must have been received.
    pub fn tell_progress(permille: u16) {
        channel::send(PROGRESS, &[], &permille.to_le_bytes());
    }

    /// The bundle's files: name and contents, in memory and read-only.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &'static [u8])> {
        Self::bundle_files()
    }

    /// The contents of one of the bundle's files, for those who have no job yet.
    #[must_use]
    pub fn bundle_file(name: &str) -> Option<&'static [u8]> {
        Self::bundle_files().find(|(n, _)| *n == name).map(|(_, data)| data)
    }

    /// The bundle's files, for those who have no job yet.
    pub fn bundle_files() -> impl Iterator<Item = (&'static str, &'static [u8])> {
        modules().iter().map(|module| {
            let name = bytes(module.name, module.name_bytes);
            (str::from_utf8(name).unwrap_or_default(), bytes(module.data, module.data_bytes))
        })
    }

    /// The contents of one of the bundle's files.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&'static [u8]> {
        Self::bundle_file(name)
    }
}

fn modules() -> &'static [Module] {
    let registers = crate::vreg::read();
    // SAFETY: the VMM lays this table out at an aligned address, read-only and unchanged for the VM's whole life.
    unsafe { slice::from_raw_parts(registers.modules as *const Module, registers.module_count as usize) }
}

fn bytes(address: u64, length: u64) -> &'static [u8] {
    // SAFETY: as for the table: the entries name bytes that the VMM laid out read-only.
    unsafe { slice::from_raw_parts(address as *const u8, length as usize) }
}
