//! Capabilities, files, resource limits.

use crate::{
    jail::namespaces::note,
    worker::message::{Lack, Measure},
};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs,
    },
};
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// What a worker needs none of: it leaves no core with guests' memory in it, and locks no memory.
const NONE: [Resource; 4] = [Resource::Core, Resource::Memlock, Resource::Msgqueue, Resource::Rtprio];

/// The latest version of Landlock that is known here. Older kernels give less of it.
const LANDLOCK: ABI = ABI::V6;

/// Everything outside.
pub(super) fn all() -> BitFlags<Scope> {
    Scope::from_all(LANDLOCK)
}

/// Gives up everything that a process can give up for ever. What depends on the host is noted where it is refused; an error
/// is none of that. `scope` is what it may not reach outside: the death of a process is a signal to its child too.
pub(super) fn give_up(lacks: &mut Vec<Lack>, scope: BitFlags<Scope>) -> io::Result<()> {
    for resource in NONE {
        setrlimit(resource, Rlimit { current: Some(0), maximum: Some(0) })?;
    }
    // Others of the same user can't look into it by /proc or ptrace.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_no_new_privs(true)?;
    note(lacks, Measure::Landlock, allow_no_files(scope));
    clear_ambient_capability_set()?;
    for capability in CapabilitySet::all() {
        // Only who has that right may; a process that can't gain any does not need it.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

/// Closes what whoever started the process may have left open, but for the standard descriptors.
pub(super) fn close_all_but(socket: BorrowedFd<'_>) -> io::Result<()> {
    let socket = socket.as_raw_fd().unsigned_abs();
    for range in [3..socket.max(3), socket.saturating_add(1).max(3)..u32::MAX] {
        // SAFETY: the process has just been started, and has opened nothing but the socket.
        if !range.is_empty() && unsafe { libc::close_range(range.start, range.end - 1, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// No file may be opened, no port bound or connected to, nothing of this `scope` reached outside.
fn allow_no_files(scope: BitFlags<Scope>) -> io::Result<()> {
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(scope)?
            .create()?
            .restrict_self()
    };
    match restrict().map_err(io::Error::other)?.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => Err(io::Error::other("this kernel gives a part: use Linux 6.12 or later")),
        RulesetStatus::NotEnforced => Err(io::Error::other("this kernel has no Landlock, or it is switched off")),
    }
}
