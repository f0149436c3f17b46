//! `clone`: which of its flags make a thread of this process. There is no other process to make.
use crate::errno::Errno;
use linux_raw_sys::general as raw;

/// What a thread of the same process shares, and so must ask to share.
const SHARED: u32 = raw::CLONE_VM | raw::CLONE_FS | raw::CLONE_FILES | raw::CLONE_SIGHAND | raw::CLONE_THREAD;

/// What else may be asked for. CLONE_SYSVSEM and CLONE_IO change nothing here, the others nothing on Linux without a tracer.
const MORE: u32 = raw::CLONE_SYSVSEM
    | raw::CLONE_SETTLS
    | raw::CLONE_PARENT_SETTID
    | raw::CLONE_CHILD_SETTID
    | raw::CLONE_CHILD_CLEARTID
    | raw::CLONE_DETACHED
    | raw::CLONE_IO
    | raw::CLONE_PTRACE
    | raw::CLONE_UNTRACED
    | raw::CSIGNAL;

/// A thread that may be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewThread {
    /// Where its number goes for the parent (CLONE_PARENT_SETTID).
    pub parent_tid: Option<u64>,
    /// Where its number goes for itself (CLONE_CHILD_SETTID): one address space, so the same.
    pub child_tid: Option<u64>,
    /// What is cleared and woken at its end (CLONE_CHILD_CLEARTID).
    pub clear_tid: Option<u64>,
    /// Its FS base, if not the parent's (CLONE_SETTLS).
    pub tls: Option<u64>,
}

/// Calls that were refused because they ask for more than a thread, for the job's report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Another process: `fork`, `vfork`, no CLONE_VM or no CLONE_THREAD.
    pub processes: u64,
    /// A thread with its own files or directories, or with namespaces.
    pub unshared: u64,
}

impl NewThread {
    /// Reads the arguments of `clone` but the stack. `fork` is flags SIGCHLD alone.
    ///
    /// # Errors
    /// `EINVAL` where Linux says so; `ENOSYS` for what a Denali VM doesn't have, which `refused` counts.
    pub fn parse(flags: u64, parent_tid: u64, child_tid: u64, tls: u64, refused: &mut Refused) -> Result<Self, Errno> {
        let thread = flags & u64::from(raw::CLONE_THREAD) != 0;
        let sighand = flags & u64::from(raw::CLONE_SIGHAND) != 0;
        let vm = flags & u64::from(raw::CLONE_VM) != 0;
        if (thread && !sighand) || (sighand && !vm) || (thread && flags & u64::from(raw::CLONE_PIDFD) != 0) {
            return Err(Errno::EINVAL);
        }
        if !thread {
            refused.processes = refused.processes.saturating_add(1);
            return Err(Errno::ENOSYS);
        }
        if flags & u64::from(SHARED) != u64::from(SHARED) || flags & !u64::from(SHARED | MORE) != 0 {
            refused.unshared = refused.unshared.saturating_add(1);
            return Err(Errno::ENOSYS);
        }
        let given = |flag: u32, value| (flags & u64::from(flag) != 0).then_some(value);
        Ok(Self {
            parent_tid: given(raw::CLONE_PARENT_SETTID, parent_tid),
            child_tid: given(raw::CLONE_CHILD_SETTID, child_tid),
            clear_tid: given(raw::CLONE_CHILD_CLEARTID, child_tid),
            tls: given(raw::CLONE_SETTLS, tls),
        })
    }
}
