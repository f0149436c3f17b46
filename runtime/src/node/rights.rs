//! What a node gives up before it serves. It is little beside the jail of its workers, for a node needs files, a network and
//! processes: what it holds from then on is what its user may do, and nothing that root may.

use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs,
    },
};
use std::{fs, io};

/// Settings of the kernel, and what each says where a process without rights can't make a namespace of users.
const REFUSALS: [(&str, &str); 3] = [
    ("/proc/sys/user/max_user_namespaces", "0"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
];

/// Gives up, for this thread and all that it will make: new rights, core dumps, others of the same user that look into this
/// process, which has a key; and of root's capabilities all but a few. To be called before there is another thread.
///
/// # Errors
/// What the kernel says. Nothing of this takes a right.
pub(crate) fn give_up() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    let keeps = needed();
    for capability in CapabilitySet::all().difference(keeps) {
        // Only who has that right may; a process that can't gain any does not need it.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let keeps = capabilities(None)?.permitted.intersection(keeps);
    set_capabilities(None, CapabilitySets { effective: keeps, permitted: keeps, inheritable: CapabilitySet::empty() })?;
    Ok(())
}

/// What binds a port below 1024; what lets root's workers be someone else in a namespace of users (`user_namespaces(7)`); and,
/// where only root can make one, what that takes.
fn needed() -> CapabilitySet {
    let refused = |(setting, says)| fs::read_to_string(setting).is_ok_and(|text: String| text.trim() == says);
    let administers = if REFUSALS.into_iter().any(refused) { CapabilitySet::SYS_ADMIN } else { CapabilitySet::empty() };
    CapabilitySet::NET_BIND_SERVICE | CapabilitySet::SETFCAP | administers
}
