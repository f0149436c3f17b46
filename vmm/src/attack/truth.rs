//! The oracle of truth: whether what a VM is said to have done is what its virtual CPU did.

use super::trace::{Left, Step, Trace};
use denali_abi::{
    instruction::{CHECKPOINT, IDLE, KICK, PROTECT, STATUS_OUT_OF_MEMORY, TERMINATE},
    memory::{CONTROL, PAGE_BYTES, STACK_BOTTOM},
};
use denali_protocol::job::{Access, Clock, Exits, Fault, FaultCause, Limits, Outcome, Usage};

/// All that is known of a run.
pub(super) struct Run<'a> {
    pub(super) outcome: &'a Outcome,
    pub(super) usage: &'a Usage,
    pub(super) trace: &'a Trace,
    pub(super) limits: &'a Limits,
    /// Whether it was cancelled.
    pub(super) cancelled: bool,
    /// Bytes of output that came.
    pub(super) output: u64,
}

/// What is not true; none if all is.
pub(super) fn untruths(run: &Run<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if let Err(why) = outcome(run) {
        let last = run.trace.last.map_or("nothing".to_owned(), |step| step.to_string());
        found.push(format!("the report says: {}; {why}; the last exit: {last}", run.outcome));
    }
    if run.output > run.limits.output_bytes {
        found.push(format!("{} bytes of output came, more than the {} allowed", run.output, run.limits.output_bytes));
    }
    let counted = counted(run);
    if run.trace.is_whole() && counted != run.usage.exits {
        found.push(format!("exits are said to be {:?}, and were {counted:?}", run.usage.exits));
    }
    found
}

fn outcome(run: &Run<'_>) -> Result<(), String> {
    let last = run.trace.last;
    match run.outcome {
        Outcome::Exited(status) => terminated(last, u64::from(*status)),
        Outcome::MemoryLimit { limit_bytes } if *limit_bytes == run.limits.memory_bytes => {
            terminated(last, STATUS_OUT_OF_MEMORY)
        }
        Outcome::OutputLimit { limit_bytes } => {
            need(*limit_bytes == run.limits.output_bytes && run.output == *limit_bytes, "not at the limit's byte")
        }
        Outcome::TimeLimit { clock: Clock::Cpu, limit_us } => {
            need(*limit_us == run.limits.cpu_time_us && run.usage.cpu_us >= *limit_us, "the limit was not reached")
        }
        Outcome::TimeLimit { clock: Clock::Wall, limit_us } => {
            need(*limit_us == run.limits.wall_time_us && run.usage.wall_us >= *limit_us, "the limit was not reached")
        }
        Outcome::Cancelled => need(run.cancelled, "no one cancelled it"),
        Outcome::Fault(fault) => match last {
            Some(step) => self::fault(fault, &step),
            None => need(matches!(fault.cause, FaultCause::Upcall { .. }), "it never ran"),
        },
        Outcome::MemoryLimit { .. } => Err("it has another limit".to_owned()),
        Outcome::Lost(_) | Outcome::Unstartable(_) => Err("a guest made it so, and must not be able to".to_owned()),
    }
}

fn need(is: bool, why: &str) -> Result<(), String> {
    if is { Ok(()) } else { Err(why.to_owned()) }
}

fn terminated(last: Option<Step>, status: u64) -> Result<(), String> {
    let is = matches!(last, Some(Step { left: Left::Out(TERMINATE, true, [rdi, ..]), .. }) if rdi == status);
    need(is, "its last exit was no such TERMINATE")
}

fn fault(fault: &Fault, step: &Step) -> Result<(), String> {
    need(fault.instruction_pointer == step.rip, "its last exit was elsewhere")?;
    let is = match (&fault.cause, step.left) {
        (FaultCause::Page { address, access }, Left::Exception(14, code, cr2)) => {
            *address == cr2 && *access == access_of(code, cr2, step.rip)
        }
        (FaultCause::Page { address, .. }, Left::Mmio(at)) => *address == at,
        (FaultCause::StackOverflow { address }, Left::Exception(14, _, cr2)) => {
            *address == cr2 && (CONTROL + PAGE_BYTES..STACK_BOTTOM).contains(&cr2)
        }
        (FaultCause::Exception { vector }, Left::Exception(was, ..)) => {
            *vector == was && ![0, 6, 8, 13, 14].contains(vector)
        }
        (FaultCause::UnknownPort { port }, Left::Out(was, ..) | Left::In(was)) => *port == was,
        (FaultCause::VirtualInstruction { name, .. }, Left::Out(port, true, _)) => {
            matches!((name.as_str(), port), ("PROTECT", PROTECT) | ("TERMINATE", TERMINATE))
        }
        // What is wrong was written before, at any time.
        (FaultCause::Nic { .. } | FaultCause::JobChannel { .. }, left) => serves(left),
        (FaultCause::Divide, Left::Exception(0, ..))
        | (FaultCause::InvalidInstruction, Left::Exception(6, ..))
        | (FaultCause::Protection, Left::Exception(13, ..))
        | (FaultCause::SystemCall, Left::SystemCall)
        | (FaultCause::Shutdown, Left::Shutdown | Left::Exception(8, ..))
        | (FaultCause::Upcall { .. }, _) => true,
        _ => false,
    };
    need(is, "its last exit was of another kind")
}

/// Whether the VMM looks at the rings at such an exit.
fn serves(left: Left) -> bool {
    matches!(left, Left::Interrupted | Left::Out(KICK, ..) | Left::Out(IDLE | TERMINATE, true, _))
}

/// As a page fault's error code tells it (Intel SDM volume 3, 4.7); where it does not tell a fetch, that is no write.
fn access_of(code: u64, address: u64, rip: u64) -> Access {
    match code {
        _ if code & 2 != 0 => Access::Write,
        _ if code & 0x10 != 0 || address == rip => Access::Execute,
        _ => Access::Read,
    }
}

/// Exits by kind, counted from the trace.
fn counted(run: &Run<'_>) -> Exits {
    let mut exits = Exits::default();
    for step in &run.trace.steps {
        let count = match step.left {
            Left::Out(IDLE, true, _) => &mut exits.idle,
            Left::Out(TERMINATE, true, _) => &mut exits.terminate,
            Left::Out(PROTECT, true, _) => &mut exits.protect,
            Left::Out(CHECKPOINT, true, _) => &mut exits.checkpoint,
            Left::Out(KICK, ..) => &mut exits.kicks,
            Left::Interrupted => &mut exits.interrupted,
            Left::Host => continue,
            _ => &mut exits.fault,
        };
        *count += 1;
    }
    // A refused instruction counts as both.
    if let Outcome::Fault(Fault { cause: FaultCause::VirtualInstruction { .. }, .. }) = run.outcome {
        exits.fault += 1;
    }
    exits
}
