//! The rules for what a worker may report, run by run. No I/O.

use super::{TEXT_BYTES, pace::Pace};
use denali_protocol::{
    bundle::path,
    job::{Channel, Clock, FaultCause, Limits, Outcome, VmId},
    limits,
    receipt::StartPath,
};
use denali_vmm::worker::message::{Lack, Report, RunId, Start};
use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

/// VMs of a worker are named upwards; of two that are started at once either may be reported first. No name comes
/// further behind the highest one than this.
const VMS_BEHIND: i64 = 4096;

/// Nor further ahead: VMs that could not be built took the names between.
const VMS_AHEAD: i64 = 1 << 32;

/// Measures that a jail can lack, and more.
const LACKS: usize = 32;

/// A report that no honest worker sends.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Another report before `Ready`.
    #[error("its first report was not that it is ready")]
    NotReady,
    /// `Ready` a second time.
    #[error("it said twice that it is ready")]
    ReadyTwice,
    /// A run that was never started, or has ended.
    #[error("it reported on run {}, which it does not have", .0.0)]
    UnknownRun(RunId),
    /// `Started` a second time.
    #[error("it started run {} twice", .0.0)]
    StartedTwice(RunId),
    /// A VM's name that it gave to another one, or that is far from those it gave.
    #[error("it named VM {0}, which it did before or could not do yet")]
    Vm(VmId),
    /// Output, progress, or an end as only a VM comes to it, of a run before `Started`.
    #[error("run {} said something before it was started", .0.0)]
    NotStarted(RunId),
    /// More output than the run may have.
    #[error("run {} put out more than its limit of {limit_bytes} bytes", .run.0)]
    OutputLimit {
        /// The run.
        run: RunId,
        /// Its limit, in bytes.
        limit_bytes: u64,
    },
    /// An empty piece, or one that is too long.
    #[error("a piece of {bytes} output bytes, allowed are 1 to {}", limits::OUTPUT_PIECE_BYTES)]
    Piece {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// A name that no output file may have.
    #[error("a bad name of an output file")]
    FileName,
    /// A name that is a file and a directory at once.
    #[error("an output file that is also a directory of others")]
    FileAndDirectory,
    /// More output files than a run may have.
    #[error("more than {} output files", limits::FILES)]
    Files,
    /// It ran in a used VM, and was to have a new one.
    #[error("run {} was given a VM that was used before", .0.0)]
    Reimaged(RunId),
    /// An end at a limit that the run does not have.
    #[error("run {} ended at a limit that it does not have", .0.0)]
    OtherLimit(RunId),
    /// [`Report::Status`] far more often than agreed: each costs the node a little.
    #[error("it told its state too often")]
    Pace,
    /// More than all of it done.
    #[error("progress of {permille} thousandths")]
    Progress {
        /// Thousandths reported.
        permille: u16,
    },
}

#[derive(Debug)]
struct Run {
    started: bool,
    reimage: bool,
    limits: Limits,
    left_bytes: u64,
    files: BTreeSet<String>,
}

/// The names that a worker gave to VMs, relative to the first one. Bounded, and none passes twice.
#[derive(Debug, Default)]
struct Vms {
    first: Option<VmId>,
    highest: i64,
    recent: BTreeSet<i64>,
}

impl Vms {
    fn admit(&mut self, vm: VmId) -> Result<(), Violation> {
        let first = *self.first.get_or_insert(vm);
        let place = vm.0.wrapping_sub(first.0).cast_signed();
        let lowest = self.highest - VMS_BEHIND;
        if place <= lowest || place > self.highest.saturating_add(VMS_AHEAD) || !self.recent.insert(place) {
            return Err(Violation::Vm(vm));
        }
        self.highest = self.highest.max(place);
        while self.recent.first().is_some_and(|place| *place <= self.highest - VMS_BEHIND) {
            self.recent.pop_first();
        }
        Ok(())
    }
}

/// The runs of one worker.
#[derive(Debug)]
pub(super) struct Runs {
    ready: bool,
    pace: Pace,
    runs: HashMap<RunId, Run>,
    vms: Vms,
}

impl Default for Runs {
    fn default() -> Self {
        Self { ready: false, pace: Pace::new(Instant::now()), runs: HashMap::new(), vms: Vms::default() }
    }
}

impl Runs {
    /// A run is about to be started.
    pub(super) fn begin(&mut self, start: &Start) {
        let Start { limits, reimage, .. } = *start;
        let left_bytes = limits.output_bytes;
        self.runs.insert(start.run, Run { started: false, reimage, limits, left_bytes, files: BTreeSet::new() });
    }

    /// Checks one report; texts in it come back clipped and printable.
    pub(super) fn admit(&mut self, report: Report) -> Result<Report, Violation> {
        match report {
            Report::Ready(_) if self.ready => Err(Violation::ReadyTwice),
            Report::Ready(result) => {
                self.ready = true;
                let clipped = |lack: Lack| Lack { why: clip(&lack.why), ..lack };
                let result = result.map(|lacks| lacks.into_iter().take(LACKS).map(clipped).collect());
                Ok(Report::Ready(result.map_err(|text| clip(&text))))
            }
            Report::Status(_) if !self.ready => Err(Violation::NotReady),
            // Its numbers are only numbers: whoever uses them bounds them.
            Report::Status(_) if self.pace.admit(Instant::now()) => Ok(report),
            Report::Status(_) => Err(Violation::Pace),
            Report::Started { run, vm, path } => {
                let state = self.run(run)?;
                if path == StartPath::Reimaged && !state.reimage {
                    return Err(Violation::Reimaged(run));
                }
                if std::mem::replace(&mut state.started, true) {
                    return Err(Violation::StartedTwice(run));
                }
                self.vms.admit(vm)?;
                Ok(Report::Started { run, vm, path })
            }
            Report::Output { run, channel, bytes } => {
                self.output(run, &channel, bytes.len())?;
                Ok(Report::Output { run, channel, bytes })
            }
            Report::Progress { run, permille } => {
                if !self.run(run)?.started {
                    return Err(Violation::NotStarted(run));
                }
                if permille > 1000 { Err(Violation::Progress { permille }) } else { Ok(report) }
            }
            Report::Ended { run, outcome, usage } => {
                let state = self.runs.remove(&run).ok_or(Violation::UnknownRun(run))?;
                state.check_end(run, &outcome)?;
                Ok(Report::Ended { run, outcome: clipped(outcome), usage })
            }
        }
    }

    fn run(&mut self, run: RunId) -> Result<&mut Run, Violation> {
        match self.runs.get_mut(&run) {
            _ if !self.ready => Err(Violation::NotReady),
            Some(state) => Ok(state),
            None => Err(Violation::UnknownRun(run)),
        }
    }

    fn output(&mut self, run: RunId, channel: &Channel, bytes: usize) -> Result<(), Violation> {
        let state = self.run(run)?;
        if !state.started {
            return Err(Violation::NotStarted(run));
        }
        // A file may be empty, and an empty piece says so. Elsewhere it says nothing.
        let least = usize::from(!matches!(channel, Channel::File(_)));
        if !(least..=limits::OUTPUT_PIECE_BYTES).contains(&bytes) {
            return Err(Violation::Piece { bytes });
        }
        if let Channel::File(name) = channel
            && !state.files.contains(name)
        {
            path::check(name).map_err(|_| Violation::FileName)?;
            if path::is_file_and_directory(&state.files, name) {
                return Err(Violation::FileAndDirectory);
            }
            if state.files.len() == limits::FILES {
                return Err(Violation::Files);
            }
            state.files.insert(name.clone());
        }
        let over = Violation::OutputLimit { run, limit_bytes: state.limits.output_bytes };
        state.left_bytes = state.left_bytes.checked_sub(bytes as u64).ok_or(over)?;
        Ok(())
    }
}

impl Run {
    /// Whether the run can have ended so.
    fn check_end(&self, run: RunId, outcome: &Outcome) -> Result<(), Violation> {
        let Limits { memory_bytes, cpu_time_us, wall_time_us, output_bytes } = self.limits;
        let own = match outcome {
            Outcome::Unstartable(_) | Outcome::Lost(_) | Outcome::Cancelled => return Ok(()),
            _ if !self.started => return Err(Violation::NotStarted(run)),
            Outcome::Exited(_) | Outcome::Fault(_) => return Ok(()),
            Outcome::TimeLimit { clock: Clock::Cpu, limit_us } => *limit_us == cpu_time_us,
            Outcome::TimeLimit { clock: Clock::Wall, limit_us } => *limit_us == wall_time_us,
            Outcome::MemoryLimit { limit_bytes } => *limit_bytes == memory_bytes,
            Outcome::OutputLimit { limit_bytes } => *limit_bytes == output_bytes,
        };
        if own { Ok(()) } else { Err(Violation::OtherLimit(run)) }
    }
}

fn clip(text: &str) -> String {
    let mut clipped: String = text.chars().take(TEXT_BYTES).map(|c| if c.is_control() { ' ' } else { c }).collect();
    while clipped.len() > TEXT_BYTES {
        clipped.pop();
    }
    clipped
}

fn clipped(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Unstartable(text) => Outcome::Unstartable(clip(&text)),
        Outcome::Lost(text) => Outcome::Lost(clip(&text)),
        Outcome::Fault(mut fault) => {
            fault.cause = match fault.cause {
                FaultCause::VirtualInstruction { name, detail } => {
                    FaultCause::VirtualInstruction { name: clip(&name), detail: clip(&detail) }
                }
                FaultCause::Nic { detail } => FaultCause::Nic { detail: clip(&detail) },
                FaultCause::JobChannel { detail } => FaultCause::JobChannel { detail: clip(&detail) },
                FaultCause::Upcall { detail } => FaultCause::Upcall { detail: clip(&detail) },
                other => other,
            };
            Outcome::Fault(fault)
        }
        other => other,
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
