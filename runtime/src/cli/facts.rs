//! How a job ended and what it used, as JSON: the keys that `run --report`, `submit --json`, `result --json` and
//! `verify --json` share.

use denali_protocol::job::{Access, Exits, Fault, FaultCause, Outcome, Usage, VmId};
use serde::Serialize;

/// The facts of one job.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Facts {
    outcome: &'static str,
    status: u8,
    message: String,
    cpu_us: u64,
    wall_us: u64,
    start_us: u64,
    vm: Option<String>,
    exits: Exits,
    memory_peak_kib: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<FaultFacts>,
}

/// A fault. Addresses are hexadecimal text: JSON readers lose digits of large numbers.
#[derive(Clone, Debug, Serialize)]
struct FaultFacts {
    cause: &'static str,
    message: String,
    instruction_pointer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<&'static str>,
}

impl Facts {
    /// The facts of a job that ended so.
    pub(crate) fn new(outcome: &Outcome, usage: &Usage, vm: Option<VmId>) -> Self {
        let fault = match outcome {
            Outcome::Fault(fault) => Some(fault.into()),
            _ => None,
        };
        Self {
            outcome: outcome.word(),
            status: outcome.exit_status(),
            message: outcome.to_string(),
            cpu_us: usage.cpu_us,
            wall_us: usage.wall_us,
            start_us: usage.start_us,
            vm: vm.map(|vm| vm.to_string()),
            exits: usage.exits,
            memory_peak_kib: usage.memory_peak_kib,
            fault,
        }
    }
}

impl From<&Fault> for FaultFacts {
    fn from(fault: &Fault) -> Self {
        let (address, access) = match &fault.cause {
            FaultCause::Page { address, access } => (Some(*address), Some(access_word(*access))),
            FaultCause::StackOverflow { address } => (Some(*address), None),
            _ => (None, None),
        };
        Self {
            cause: cause_word(&fault.cause),
            message: fault.to_string(),
            instruction_pointer: format!("{:#x}", fault.instruction_pointer),
            address: address.map(|address| format!("{address:#x}")),
            access,
        }
    }
}

fn access_word(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Execute => "execute",
    }
}

fn cause_word(cause: &FaultCause) -> &'static str {
    match cause {
        FaultCause::Page { .. } => "page",
        FaultCause::StackOverflow { .. } => "stack-overflow",
        FaultCause::Divide => "divide",
        FaultCause::InvalidInstruction => "invalid-instruction",
        FaultCause::Protection => "protection",
        FaultCause::SystemCall => "system-call",
        FaultCause::Exception { .. } => "exception",
        FaultCause::UnknownPort { .. } => "unknown-port",
        FaultCause::VirtualInstruction { .. } => "virtual-instruction",
        FaultCause::Nic { .. } => "nic",
        FaultCause::JobChannel { .. } => "job-channel",
        FaultCause::Shutdown => "shutdown",
        FaultCause::Upcall { .. } => "upcall",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_cause_and_place() {
        let cause = FaultCause::Page { address: 0xdead_0000, access: Access::Write };
        let outcome = Outcome::Fault(Fault { cause, instruction_pointer: 0x40_1000 });
        let facts = serde_json::to_value(Facts::new(&outcome, &Usage::default(), Some(VmId(5)))).unwrap();
        assert_eq!(facts["outcome"], "fault");
        assert_eq!(facts["status"], 139);
        assert_eq!(facts["vm"], "0000000000000005");
        assert_eq!(facts["fault"]["cause"], "page");
        assert_eq!(facts["fault"]["address"], "0xdead0000");
        assert_eq!(facts["fault"]["access"], "write");
        assert_eq!(facts["fault"]["instruction_pointer"], "0x401000");
    }
}
