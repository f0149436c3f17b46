//! VMs run one after another in the calling process, for measuring: no worker, no attendant, and so no limits. For
//! programs that one trusts, such as the samples.

use crate::{
    gateway::Sink,
    kvm::{Host, HostError},
    machine::image::{Image, ImageError},
    vm::{Assignment, BuildError, Vm},
};
use denali_protocol::{
    bundle::{Content, ContentError},
    job::{Channel, Limits, Outcome, Usage, VmId},
};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A program ready to be run in fresh VMs.
#[derive(Debug)]
pub struct Program {
    host: Host,
    image: Image,
    limits: Limits,
}

/// What one run showed.
#[derive(Debug)]
pub struct Run {
    /// From nothing to the VM's destruction, its output taken.
    pub total: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// Its standard output.
    pub output: Vec<u8>,
}

/// Why a program can't be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// This host can't run VMs.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The bundle is broken.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The program is none for a VM.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// No VM could be built.
    #[error("{0}")]
    Build(String),
    /// The host failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<BuildError> for MeasureError {
    fn from(error: BuildError) -> Self {
        Self::Build(error.to_string())
    }
}

#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Sink for Collected {
    fn output(&mut self, channel: Channel, bytes: &[u8]) {
        if channel == Channel::Output {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        }
    }

    fn progress(&mut self, _permille: u16) {}
}

impl Program {
    /// Prepares the program of a bundle's content.
    ///
    /// # Errors
    /// [`MeasureError`], by fault of the host or of the bundle.
    pub fn prepare(content: &[u8]) -> Result<Self, MeasureError> {
        let host = Host::open()?;
        let content = Content::parse(content)?;
        let manifest = content.manifest();
        let image = Image::prepare(&content, manifest.memory_bytes)?;
        let limits = Limits {
            memory_bytes: manifest.memory_bytes,
            cpu_time_us: u64::MAX,
            wall_time_us: u64::MAX,
            output_bytes: 1 << 20,
        };
        Ok(Self { host, image, limits })
    }

    /// Runs it in a fresh VM: built, run, its output taken, destroyed.
    ///
    /// # Errors
    /// [`MeasureError`] when the host can't build the VM.
    pub fn run(&self, arguments: &[String]) -> Result<Run, MeasureError> {
        let collected = Collected::default();
        let begun = Instant::now();
        let assignment = Assignment {
            vm: VmId(0),
            arguments,
            limits: self.limits,
            input: std::fs::File::open("/dev/null")?,
            sink: Box::new(collected.clone()),
        };
        let mut vm = Vm::build(&self.host, &self.image, assignment)?;
        let (outcome, usage) = vm.run();
        drop(vm);
        let total = begun.elapsed();
        let output = std::mem::take(&mut *collected.0.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Run { total, outcome, usage, output })
    }
}
