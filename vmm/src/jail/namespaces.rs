//! A world of its own: namespaces, and an empty root directory.
//!
//! Source: Linux `namespaces(7)`, `user_namespaces(7)`, `pid_namespaces(7)`, `pivot_root(2)`.

use crate::{
    jail::{filter, rights},
    worker::message::{Lack, Measure},
};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount},
    process::{Pid, Signal, WaitOptions, chdir, getgid, getuid, pivot_root, waitpid},
    thread::UnshareFlags,
};
use std::{fs, io};

/// What the process leaves one by one, so that each is told of that this host does not give. New processes are born in a
/// namespace of processes; the caller is not moved.
const SPACES: [(UnshareFlags, Measure); 6] = [
    (UnshareFlags::NEWNS, Measure::Mounts),
    (UnshareFlags::NEWNET, Measure::Network),
    (UnshareFlags::NEWIPC, Measure::Ipc),
    (UnshareFlags::NEWUTS, Measure::Uts),
    (UnshareFlags::NEWCGROUP, Measure::ControlGroups),
    (UnshareFlags::NEWPID, Measure::Processes),
];

/// Its user there: one that owns nothing.
const NOBODY: u32 = 65_534;

/// Enters all of them that this host gives.
pub(super) fn enter(lacks: &mut Vec<Lack>) -> io::Result<()> {
    note(lacks, Measure::Users, enter_users());
    for (space, measure) in SPACES {
        note(lacks, measure, unshare(space));
    }
    if lacks.iter().any(|lack| lack.measure == Measure::Processes) {
        return Ok(());
    }
    match fork()? {
        None => {
            // Whoever waits for it is the node's handle on it.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            Ok(())
        }
        Some(child) => wait_for(child),
    }
}

/// Notes a measure that was refused.
pub(super) fn note(lacks: &mut Vec<Lack>, measure: Measure, taken: io::Result<()>) {
    if let Err(error) = taken {
        lacks.push(Lack { measure, why: error.to_string() });
    }
}

fn enter_users() -> io::Result<()> {
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    unshare(UnshareFlags::NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{NOBODY} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{NOBODY} {group} 1"))
}

fn unshare(space: UnshareFlags) -> io::Result<()> {
    // SAFETY: none of the spaces is the table of descriptors, the only one whose parting can leave a thread with
    // descriptors that another one has closed.
    unsafe { rustix::thread::unshare_unsafe(space) }.map_err(io::Error::from)
}

/// Makes a copy of this process; nothing in the copy.
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: there is one thread, so no lock is held by another in the child, which may go on as the parent would have.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}

/// Waits for the worker, with no descriptor, no right and hardly a system call, and ends as it ended.
fn wait_for(child: Pid) -> ! {
    // SAFETY: nothing in this process uses a descriptor from here on.
    unsafe { libc::close_range(0, u32::MAX, 0) };
    let given_up = rights::give_up(&mut Vec::new(), landlock::Scope::AbstractUnixSocket.into());
    if given_up.and_then(|()| filter::apply(super::Role::Launcher)).is_err() {
        // The worker dies with it.
        super::exit(125);
    }
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(Some((_, status))) => end_as(status),
            // There is no such child, which can't be.
            _ => super::exit(125),
        }
    }
}

fn end_as(status: rustix::process::WaitStatus) -> ! {
    if let Some(signal) = status.terminating_signal() {
        // SAFETY: plain numbers; at worst the signal is ignored.
        unsafe { libc::raise(signal) };
        super::exit(128 + signal);
    }
    super::exit(status.exit_status().unwrap_or(125))
}

/// Leaves the file system for an empty directory that can't be written, in a namespace of mounts.
pub(super) fn leave_files(lacks: &mut Vec<Lack>) {
    if !lacks.iter().any(|lack| lack.measure == Measure::Mounts) {
        note(lacks, Measure::Root, enter_empty_root());
    }
}

fn enter_empty_root() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // A directory that is there on every machine with /proc.
    mount("none", "/proc", "tmpfs", flags, c"size=4k,nr_inodes=1,mode=0")?;
    chdir("/proc")?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    mount_remount("/", flags | MountFlags::RDONLY, c"")?;
    Ok(())
}
