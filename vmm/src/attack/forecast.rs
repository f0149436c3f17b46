//! The oracle of forecasts: how a program must end whose pieces are all well understood. What the trace can't tell, whether
//! the virtual CPU did what the program says, this does: a page that must not be read, for one, was not.

use super::{
    assembler::Code,
    case::{Case, Happening, Program},
    layout::{STUBS, TEXT, Zone, zone},
    op::{Branch, Op, Width},
    special::{SPECIAL, Sure},
};
use denali_abi::{
    instruction::{CHECKPOINT, IDLE, KICK, PROTECT, STATUS_OUT_OF_MEMORY, TERMINATE},
    memory::PAGE_BYTES,
};
use denali_protocol::job::{Access, Fault, FaultCause, Outcome};
use std::ops::RangeInclusive;

/// How a program must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forecast {
    end: End,
    /// Where the last instruction is.
    at: RangeInclusive<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Exited(u8),
    OutOfMemory,
    Sure(Sure),
    Port(u16),
    Page(u64, Access),
    Refused(&'static str),
}

enum Effect {
    Goes,
    Ends(End),
    Unknown,
}

use Effect::{Ends, Goes, Unknown};

/// How it must end, where that can be told.
pub(super) fn forecast(case: &Case) -> Option<Forecast> {
    let Program::Pieces { main, .. } = &case.program else { return None };
    if !case.control.is_empty() {
        return None;
    }
    let mut code = Code::default();
    for op in main {
        let start = TEXT + code.0.len() as u64;
        op.assemble(&mut code);
        let at = start..=TEXT + code.0.len() as u64;
        match effect(op) {
            Goes => {}
            Ends(End::Page(address, Access::Execute)) => {
                return Some(Forecast { end: End::Page(address, Access::Execute), at: address..=address });
            }
            Ends(end) => return Some(Forecast { end, at }),
            Unknown => return None,
        }
    }
    let end = TEXT + code.0.len() as u64;
    Some(Forecast { end: End::Exited(0), at: end..=end + 16 })
}

impl Forecast {
    /// Whether a program may end so, or was ended by others before.
    pub(super) fn allows(&self, outcome: &Outcome, case: &Case) -> bool {
        match (outcome, &self.end) {
            (Outcome::Cancelled, _) => case.events.iter().any(|event| event.what == Happening::Cancel),
            (Outcome::Exited(status), End::Exited(expected)) => status == expected,
            // Whether a limit of time was reached is checked elsewhere.
            (Outcome::MemoryLimit { .. }, End::OutOfMemory) | (Outcome::TimeLimit { .. }, _) => true,
            (Outcome::Fault(fault), _) => self.at.contains(&fault.instruction_pointer) && self.is_cause(fault),
            _ => false,
        }
    }

    fn is_cause(&self, fault: &Fault) -> bool {
        match (&fault.cause, &self.end) {
            (FaultCause::Divide, End::Sure(sure)) => *sure == Sure::Divide,
            (FaultCause::InvalidInstruction, End::Sure(sure)) => *sure == Sure::Invalid,
            (FaultCause::Protection, End::Sure(sure)) => *sure == Sure::Protection,
            (FaultCause::SystemCall, End::Sure(sure)) => *sure == Sure::SystemCall,
            (FaultCause::UnknownPort { port }, End::Port(expected)) => port == expected,
            (FaultCause::Page { address, access }, End::Page(expected, kind)) => (address, access) == (expected, kind),
            (FaultCause::StackOverflow { address }, End::Page(expected, _)) => address == expected,
            (FaultCause::VirtualInstruction { name, .. }, End::Refused(expected)) => name == expected,
            _ => false,
        }
    }
}

fn effect(op: &Op) -> Effect {
    match op {
        Op::Instruction(port, arguments) => instruction(u16::from(*port), arguments),
        Op::End(status) => terminate(*status),
        Op::Port { port, input, width, string: None } => match (*port, width) {
            // It reaches beyond the last port, and the bits that allow ports end with one that does not.
            (0xffff, Width::Half) | (0xfffd..=0xffff, Width::Word) => Ends(End::Sure(Sure::Protection)),
            (KICK, _) if !input => Goes,
            (IDLE | TERMINATE..=CHECKPOINT, Width::Word) if !input => Unknown,
            _ => Ends(End::Port(*port)),
        },
        Op::Load(address) => access(*address, Access::Read, &[Zone::Read, Zone::Write, Zone::Execute]),
        Op::Store(address, _) if zone(*address) == Zone::Write && *address < super::layout::DATA => Unknown,
        Op::Store(address, _) => access(*address, Access::Write, &[Zone::Write]),
        Op::Branch(Branch::Jump, address) => match zone(*address) {
            Zone::Nothing | Zone::Read | Zone::Write if !STUBS.contains(address) => {
                Ends(End::Page(*address, Access::Execute))
            }
            _ => Unknown,
        },
        Op::Register(register, _) if register & 15 != 4 => Goes,
        Op::Flags(flags) if flags & !0xcd5 == 0 => Goes,
        Op::Base { value, .. } => match zone(*value) {
            Zone::Impossible => Ends(End::Sure(Sure::Protection)),
            _ => Goes,
        },
        Op::Special(n) => match SPECIAL[usize::from(*n) % SPECIAL.len()].2 {
            Sure::Nothing => Goes,
            Sure::Differs => Unknown,
            sure => Ends(End::Sure(sure)),
        },
        Op::Spin(rounds) if (1..10_000).contains(rounds) => Goes,
        _ => Unknown,
    }
}

/// An access of eight bytes: one that straddles zones is left to others.
fn access(address: u64, kind: Access, allowed: &[Zone]) -> Effect {
    match zone(address) {
        _ if address % PAGE_BYTES > PAGE_BYTES - 8 || STUBS.contains(&address) => Unknown,
        Zone::Impossible => Ends(End::Sure(Sure::Protection)),
        zone if allowed.contains(&zone) => Goes,
        _ => Ends(End::Page(address, kind)),
    }
}

fn instruction(port: u16, arguments: &[u64; 4]) -> Effect {
    let [first, second, ..] = arguments;
    match port {
        IDLE if *first == 0 => Goes,
        KICK | CHECKPOINT => Goes,
        TERMINATE => terminate(*first),
        PROTECT if !(first | second).is_multiple_of(PAGE_BYTES) => Ends(End::Refused("PROTECT")),
        IDLE | PROTECT => Unknown,
        port => Ends(End::Port(port)),
    }
}

fn terminate(status: u64) -> Effect {
    Ends(match (u8::try_from(status), status) {
        (Ok(status), _) => End::Exited(status),
        (_, STATUS_OUT_OF_MEMORY) => End::OutOfMemory,
        _ => End::Refused("TERMINATE"),
    })
}
