//! Seccomp programs, made of the lists in `calls`.

use super::calls::{FORGIVEN, Only, Role, Rule};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::{collections::BTreeMap, io};

/// Leaves the calling thread the system calls of `role`.
pub(super) fn apply(role: Role) -> io::Result<()> {
    let allowed = program(role)?;
    // Of several filters the strictest answer counts: these calls pass the last one, and are answered by theirs.
    for (error, calls) in FORGIVEN {
        let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
        let answer = SeccompAction::Errno(error);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, TargetArch::x86_64);
        let forgives: BpfProgram = filter.and_then(BpfProgram::try_from).map_err(io::Error::other)?;
        seccompiler::apply_filter(&forgives).map_err(io::Error::other)?;
    }
    seccompiler::apply_filter(&allowed).map_err(io::Error::other)
}

fn program(role: Role) -> io::Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in role.rules() {
        rules.entry(rule.call).or_default().extend(conditions(rule)?);
    }
    rules.extend(FORGIVEN.iter().flat_map(|(_, calls)| *calls).map(|call| (*call, Vec::new())));
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::x86_64);
    filter.and_then(BpfProgram::try_from).map_err(io::Error::other)
}

/// The ways in which a call may be made; none for any way.
fn conditions(rule: &Rule) -> io::Result<Vec<SeccompRule>> {
    ways(&rule.only)?.into_iter().map(|way| SeccompRule::new(way).map_err(io::Error::other)).collect()
}

fn ways(only: &Only) -> io::Result<Vec<Vec<SeccompCondition>>> {
    use SeccompCmpArgLen::{Dword, Qword};
    let one = |argument, length, operator, value| {
        SeccompCondition::new(argument, length, operator, value).map_err(io::Error::other)
    };
    let dword = |argument, value| one(argument, Dword, SeccompCmpOp::Eq, value);
    Ok(match *only {
        Only::Any => Vec::new(),
        Only::OneOf(argument, values) => {
            values.iter().map(|value| Ok(vec![dword(argument, *value)?])).collect::<io::Result<_>>()?
        }
        Only::Except(argument, value) => vec![vec![one(argument, Dword, SeccompCmpOp::Ne, value)?]],
        Only::Null(argument) => vec![vec![one(argument, Qword, SeccompCmpOp::Eq, 0)?]],
        Only::Without(argument, bits) => vec![vec![one(argument, Qword, SeccompCmpOp::MaskedEq(bits), 0)?]],
        Only::Both(one, other) => {
            let (one, other) = (ways(one)?, ways(other)?);
            one.iter().flat_map(|one| other.iter().map(move |other| [&one[..], other].concat())).collect()
        }
        Only::OwnSignal(signal) => {
            let own = u64::from(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs());
            vec![vec![dword(0, own)?, dword(2, signal)?]]
        }
    })
}
