//! What comes of an attack: a verdict, with a finding for each promise that was broken.

use super::trace::Trace;
use crate::{kvm::HostError, machine::image::ImageError, vm::HardwareError};
use denali_protocol::{
    bundle::{ContentError, PackError},
    job::{Outcome, Usage},
};
use std::io;
use vm_memory::VolatileMemoryError;

/// Why nothing can be attacked.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// This host can't run VMs.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The host can't make or start a VM.
    #[error("{0}")]
    Hardware(String),
    /// The host failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The program does not fit a bundle.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The same.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The program is none for a VM.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The host's memory failed.
    #[error(transparent)]
    Memory(#[from] VolatileMemoryError),
}

impl From<HardwareError> for AttackError {
    fn from(error: HardwareError) -> Self {
        Self::Hardware(error.to_string())
    }
}

/// Which promise a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Oracle {
    /// What is reported is what happened.
    Truth,
    /// A program ends as its instructions say.
    Forecast,
    /// A program is stopped by its limits.
    Limits,
    /// Nothing is left for the next program.
    Leftovers,
    /// Other VMs compute what they should.
    Neighbour,
    /// Memory around the VM, and its image, stay as they are.
    Guards,
    /// Descriptors, mappings and memory are given back.
    Resources,
    /// Nothing panics.
    Panic,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub oracle: Oracle,
    /// How.
    pub detail: String,
}

impl Finding {
    pub(super) fn new(oracle: Oracle, detail: impl Into<String>) -> Self {
        Self { oracle, detail: detail.into() }
    }
}

/// What came of a program.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How its VM ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// What it did.
    pub trace: Trace,
    /// What it reached, as numbers below [`super::FEATURES`], ascending: feedback for a fuzzer.
    pub features: Vec<u16>,
    /// Promises that were broken.
    pub findings: Vec<Finding>,
}
