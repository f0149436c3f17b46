//! The rules for what a worker may report, run by run. No I/O.

use super::TEXT_BYTES;
use denali_protocol::{
    job::{Channel, FaultCause, Limits, Outcome},
    limits,
};
use denali_vmm::worker::message::{Report, RunId};
use std::collections::{HashMap, HashSet};

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
    /// Output or progress of a run before `Started`.
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
    /// More output files than a run may have.
    #[error("more than {} output files", limits::FILES)]
    Files,
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
    limit_bytes: u64,
    left_bytes: u64,
    files: HashSet<String>,
}

/// The runs of one worker.
#[derive(Debug, Default)]
pub(super) struct Runs {
    ready: bool,
    runs: HashMap<RunId, Run>,
}

impl Runs {
    /// A run is about to be started.
    pub(super) fn begin(&mut self, run: RunId, limits: Limits) {
        let bytes = limits.output_bytes;
        self.runs.insert(run, Run { started: false, limit_bytes: bytes, left_bytes: bytes, files: HashSet::new() });
    }

    /// Checks one report; texts in it come back clipped and printable.
    pub(super) fn admit(&mut self, report: Report) -> Result<Report, Violation> {
        match report {
            Report::Ready(_) if self.ready => Err(Violation::ReadyTwice),
            Report::Ready(result) => {
                self.ready = true;
                Ok(Report::Ready(result.map_err(|text| clip(&text))))
            }
            Report::Started { run, vm } => {
                let state = self.run(run)?;
                if std::mem::replace(&mut state.started, true) {
                    return Err(Violation::StartedTwice(run));
                }
                Ok(Report::Started { run, vm })
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
                self.runs.remove(&run).ok_or(Violation::UnknownRun(run))?;
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
            if !is_file_name(name) {
                return Err(Violation::FileName);
            }
            if state.files.len() == limits::FILES {
                return Err(Violation::Files);
            }
            state.files.insert(name.clone());
        }
        let over = Violation::OutputLimit { run, limit_bytes: state.limit_bytes };
        state.left_bytes = state.left_bytes.checked_sub(bytes as u64).ok_or(over)?;
        Ok(())
    }
}

/// Whether `name` is a relative path that stays below where it is put, and can be shown.
fn is_file_name(name: &str) -> bool {
    name.len() <= limits::NAME_BYTES
        && !name.chars().any(char::is_control)
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
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
                other => other,
            };
            Outcome::Fault(fault)
        }
        other => other,
    }
}
