//! VMs run one after another on the thread that prepared the program, for measuring: no worker, no scheduler, no limits.
//! For programs that one trusts, such as the samples.

use crate::{
    gateway::{Feed, Sink},
    kvm::{self, Alarm, Host, HostError},
    machine::image::{Image, ImageError},
    schedule::SLICE,
    vm::{Assignment, Given, Hardware, HardwareError, Stop, Template, Vm},
    worker::make_fresh,
};
use denali_protocol::{
    bundle::{Content, ContentError},
    job::{Channel, Limits, Outcome, Usage, VmId},
    receipt::StartPath,
};
use std::{
    cell::RefCell,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A program ready to be run in fresh VMs.
#[derive(Debug)]
pub struct Program {
    host: Host,
    template: Arc<Template>,
    limits: Limits,
    alarm: Alarm,
    touched: Vec<u64>,
    frame: RefCell<Vec<u8>>,
}

/// Virtual hardware, made before it is needed.
#[derive(Debug)]
pub struct Machine(Hardware);

/// What one run showed.
#[derive(Debug)]
pub struct Run {
    /// From the job to its output.
    pub took: Duration,
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
    /// It waits for something that never comes.
    #[error("the program waits without end")]
    Waits,
    /// It made no CHECKPOINT.
    #[error("the program makes no CHECKPOINT")]
    NoCheckpoint,
    /// The host failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<HardwareError> for MeasureError {
    fn from(error: HardwareError) -> Self {
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
        kvm::install_signal_handlers()?;
        Ok(Self {
            host,
            template: Arc::new(Template::cold(image)?),
            limits,
            alarm: Alarm::new()?,
            touched: Vec::new(),
            frame: RefCell::default(),
        })
    }

    /// From now on VMs start from a copy taken at the program's first CHECKPOINT.
    ///
    /// # Errors
    /// [`MeasureError`] when it makes none, or the host can't make the copy.
    pub fn warm(&mut self) -> Result<(), MeasureError> {
        let hardware = Hardware::new(&self.host, &self.template)?;
        let (job, _) = self.job(&[], &[]);
        let frame = &mut *self.frame.borrow_mut();
        let (path, begun) = (StartPath::New, Instant::now());
        let mut vm = Vm::start(&self.host, hardware, job, path, Given::NothingYet, begun, frame)?;
        kvm::forget_interruption();
        let Stop::Checkpoint = vm.run(&self.alarm, SLICE, frame) else { return Err(MeasureError::NoCheckpoint) };
        self.template = Arc::new(vm.capture(&self.host)?);
        Ok(())
    }

    /// Makes virtual hardware as a worker does before a job needs it.
    ///
    /// # Errors
    /// [`MeasureError`] when the host can't.
    pub fn make(&self) -> Result<Machine, MeasureError> {
        Ok(Machine(make_fresh(&self.host, &self.template, &self.touched)?))
    }

    /// From now on hardware made before has those pages mapped that the job in this one touched.
    ///
    /// # Errors
    /// [`MeasureError`] when the host can't tell them.
    pub fn learn(&mut self, machine: &mut Machine) -> Result<(), MeasureError> {
        self.touched = machine.0.own_pages(&self.host.pagemap)?;
        Ok(())
    }

    /// Puts hardware back to the program's start, whatever ran in it.
    ///
    /// # Errors
    /// [`MeasureError`] when the host can't.
    pub fn reset(&self, machine: &mut Machine) -> Result<(), MeasureError> {
        Ok(machine.0.reset(&self.host.pagemap)?)
    }

    /// Runs it in a VM of its own: built, run, its output taken.
    ///
    /// # Errors
    /// [`MeasureError`] when the host can't build the VM.
    pub fn run(&self, arguments: &[String], input: &[u8]) -> Result<(Run, Machine), MeasureError> {
        let begun = Instant::now();
        self.run_since(begun, Hardware::new(&self.host, &self.template)?, arguments, input)
    }

    /// Runs it in hardware that is as its start, and gives that back.
    ///
    /// # Errors
    /// [`MeasureError`] when the host can't start the VM.
    pub fn run_in(&self, machine: Machine, arguments: &[String], input: &[u8]) -> Result<(Run, Machine), MeasureError> {
        self.run_since(Instant::now(), machine.0, arguments, input)
    }

    fn run_since(
        &self,
        begun: Instant,
        hardware: Hardware,
        arguments: &[String],
        input: &[u8],
    ) -> Result<(Run, Machine), MeasureError> {
        let (job, collected) = self.job(arguments, input);
        let frame = &mut *self.frame.borrow_mut();
        let mut vm = Vm::start(&self.host, hardware, job, StartPath::New, Given::Job, begun, frame)?;
        let outcome = loop {
            kvm::forget_interruption();
            match vm.run(&self.alarm, SLICE, frame) {
                Stop::Ended(outcome) => break outcome,
                Stop::Idle(until) => {
                    let until = until.ok_or(MeasureError::Waits)?;
                    std::thread::sleep(until.saturating_duration_since(Instant::now()));
                }
                Stop::Slice | Stop::Checkpoint | Stop::NoCheckpoint => {}
            }
        };
        let (outcome, usage) = vm.finish(&self.host, outcome, frame);
        let output = std::mem::take(&mut *collected.0.lock().unwrap_or_else(PoisonError::into_inner));
        let run = Run { took: begun.elapsed(), outcome, usage, output };
        Ok((run, Machine(vm.into_hardware())))
    }

    fn job(&self, arguments: &[String], input: &[u8]) -> (Assignment, Collected) {
        let collected = Collected::default();
        let feed = Feed::bytes_of(input.to_vec());
        let sink = Box::new(collected.clone());
        let job = Assignment { vm: VmId(0), arguments: arguments.to_vec(), limits: self.limits, input: feed, sink };
        (job, collected)
    }
}
