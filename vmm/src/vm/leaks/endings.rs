//! The ways in which a writer ends.

use super::guest::MEMORY_BYTES;
use denali_protocol::job::{Clock, FaultCause, Limits, Outcome};

/// A way to end.
pub(super) struct Ending {
    pub(super) name: &'static str,
    /// What the writer is told by the second letter of its argument.
    pub(super) letter: char,
    pub(super) limits: Limits,
    /// Whether it is cancelled when it stops running first.
    pub(super) cancelled: bool,
    /// Whether it is swapped out when it idles first, and brought back.
    pub(super) swapped: bool,
    pub(super) expected: fn(&Outcome) -> bool,
    /// What may become of its hardware.
    pub(super) after: After,
}

/// What may become of hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It is put back for the next job.
    Reimaged,
    /// The job ended well, but in a state that no ordinary guest ends in: it is destroyed.
    Unquiet,
    /// It is destroyed, because the job ended badly.
    Destroyed,
}

/// The limits of a job that is to reach none.
pub(super) const AMPLE: Limits =
    Limits { memory_bytes: MEMORY_BYTES, cpu_time_us: 10_000_000, wall_time_us: 10_000_000, output_bytes: 1 << 20 };

/// Enough to write everything first, in a test build on a busy host.
pub(super) const TIME_US: u64 = 80_000;

fn is_fault(outcome: &Outcome, cause: fn(&FaultCause) -> bool) -> bool {
    matches!(outcome, Outcome::Fault(fault) if cause(&fault.cause))
}

/// All of them.
pub(super) fn all() -> Vec<Ending> {
    let exits = |name, letter, expected| Ending {
        name,
        letter,
        limits: AMPLE,
        cancelled: false,
        swapped: false,
        expected,
        after: After::Reimaged,
    };
    let fault = |name, letter, expected| Ending { after: After::Destroyed, ..exits(name, letter, expected) };
    let cpu_limit = Limits { cpu_time_us: TIME_US, ..AMPLE };
    let wall_limit = Limits { wall_time_us: TIME_US, ..AMPLE };
    // It has to idle before that.
    let long_wall_limit = Limits { wall_time_us: 4 * TIME_US, ..AMPLE };
    let output_limit = Limits { output_bytes: 100, ..AMPLE };
    let cpu = |outcome: &Outcome| matches!(outcome, Outcome::TimeLimit { clock: Clock::Cpu, .. });
    let wall = |outcome: &Outcome| matches!(outcome, Outcome::TimeLimit { clock: Clock::Wall, .. });
    let output = |outcome: &Outcome| matches!(outcome, Outcome::OutputLimit { .. });
    let cancelled = |outcome: &Outcome| matches!(outcome, Outcome::Cancelled);
    let protection = |outcome: &Outcome| is_fault(outcome, |cause| matches!(cause, FaultCause::Protection));
    vec![
        exits("TERMINATE", 't', |outcome| *outcome == Outcome::Exited(0x5a)),
        exits("TERMINATE for want of memory", 'm', |outcome| matches!(outcome, Outcome::MemoryLimit { .. })),
        exits("TERMINATE by outs", 's', |outcome| *outcome == Outcome::Exited(0x5a)),
        Ending { limits: cpu_limit, ..exits("CPU limit", 'x', cpu) },
        Ending { limits: wall_limit, ..exits("wall limit while running", 'x', wall) },
        Ending { limits: wall_limit, ..exits("wall limit while idle", 'i', wall) },
        Ending { limits: long_wall_limit, swapped: true, ..exits("wall limit after a time on disk", 'i', wall) },
        Ending {
            swapped: true,
            ..exits("TERMINATE after a time on disk", 'v', |outcome| *outcome == Outcome::Exited(0x5a))
        },
        Ending { limits: output_limit, ..exits("output limit by TERMINATE", 't', output) },
        Ending { limits: output_limit, ..exits("output limit by KICK", 'k', output) },
        Ending { cancelled: true, ..exits("cancelled while running", 'x', cancelled) },
        Ending { cancelled: true, ..exits("cancelled while idle", 'i', cancelled) },
        Ending { cancelled: true, ..exits("cancelled in the middle of a PROTECT", 'p', cancelled) },
        Ending { cancelled: true, ..exits("cancelled while pages are moved", 'q', cancelled) },
        Ending {
            after: After::Unquiet,
            ..exits("TERMINATE with the trap flag", 'f', |outcome| *outcome == Outcome::Exited(0x5a))
        },
        fault("#PF", '0', |outcome| is_fault(outcome, |cause| matches!(cause, FaultCause::Page { address: 0x10, .. }))),
        fault("#UD", 'u', |outcome| is_fault(outcome, |cause| matches!(cause, FaultCause::InvalidInstruction))),
        fault("#DE", '1', |outcome| is_fault(outcome, |cause| matches!(cause, FaultCause::Divide))),
        fault("#GP", '2', protection),
        fault("unknown port", '3', |outcome| {
            is_fault(outcome, |cause| matches!(cause, FaultCause::UnknownPort { port: 0x99 }))
        }),
        fault("debug register", '4', protection),
        fault("control register", '5', protection),
        fault("wrmsr", '6', protection),
        fault("xsetbv", '7', protection),
    ]
}
