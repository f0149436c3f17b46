//! What to tell a person of a job that did not exit by itself.

use crate::client::session::printable;
use denali_protocol::job::{Clock, FaultCause, Outcome};

/// Where the limits of a job come from, and so where to raise them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Options of the command.
    Options,
    /// The bundle's manifest, and the node's policy.
    Bundle,
}

/// Why the job ended, in one line; none if it exited by itself. Parts of it may be a guest's or a node's own words.
pub(crate) fn reason(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Exited(_) => None,
        // Their words are part of the text already.
        Outcome::Fault(_) | Outcome::Cancelled | Outcome::Lost(_) => Some(printable(&outcome.to_string())),
        _ => Some(printable(&format!("{}: {outcome}", outcome.word()))),
    }
}

/// What to do about it, where something can be done.
pub(crate) fn hint(outcome: &Outcome, origin: Origin) -> Option<String> {
    let raise = |option: &str| match origin {
        Origin::Options => format!("if it needs more, raise {option}"),
        Origin::Bundle => format!("if it needs more, pack it again with a higher {option}, within the node's policy"),
    };
    match outcome {
        Outcome::TimeLimit { clock: Clock::Cpu, .. } => Some(raise("--cpu-time")),
        Outcome::TimeLimit { clock: Clock::Wall, .. } => Some(raise("--wall-time")),
        Outcome::MemoryLimit { .. } => Some(raise("--memory")),
        Outcome::OutputLimit { .. } if origin == Origin::Options => Some(raise("--output-limit")),
        Outcome::OutputLimit { .. } => {
            Some("the node's policy sets this limit: write less, or ask the volunteer".into())
        }
        Outcome::Fault(fault) => match fault.cause {
            FaultCause::SystemCall => Some("link the program with the Denali library OS".to_owned()),
            FaultCause::InvalidInstruction => {
                Some("if the program needs AVX2, ask for the CPU with --cpu x86-64-v3".to_owned())
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use denali_protocol::job::Fault;

    #[test]
    fn limits_name_the_option_to_raise() {
        let outcome = Outcome::TimeLimit { clock: Clock::Cpu, limit_us: 10_000_000 };
        assert!(hint(&outcome, Origin::Options).unwrap().contains("--cpu-time"));
        assert!(hint(&outcome, Origin::Bundle).unwrap().contains("pack it again"));
        assert!(reason(&outcome).unwrap().starts_with("time-limit: "));
    }

    #[test]
    fn a_fault_starts_with_its_word() {
        let outcome = Outcome::Fault(Fault { cause: FaultCause::Divide, instruction_pointer: 1 });
        assert_eq!(reason(&outcome).unwrap(), "fault: division error at instruction 0x1");
        assert_eq!(reason(&Outcome::Exited(3)), None);
    }
}
