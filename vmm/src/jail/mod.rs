//! The jail of a worker: what its process gives up before its first guest runs.
//!
//! A guest that took over its worker finds a process without files, network, other processes or rights, whose threads may
//! make a handful of system calls. What this host can't give is told ([`Lack`]), and the node decides whether it is enough.
//!
//! | module | what |
//! |---|---|
//! | `namespaces` | a world of its own: user, mounts, network, processes |
//! | `rights` | capabilities, files, resource limits |
//! | `calls` | the system calls of each kind of thread, with the reason for each |
//! | `filter` | seccomp programs made of them |

mod calls;
mod filter;
mod namespaces;
mod rights;

pub use calls::{Only, Role, Rule};

use crate::{kvm, worker::message::Lack};
use std::{io, os::fd::BorrowedFd};

/// A worker's process alone in its namespaces, on its way to the jail.
#[derive(Debug)]
pub(crate) struct Isolated {
    lacks: Vec<Lack>,
}

/// A process that gave up everything but the system calls of its threads, which each of them gives up by itself.
#[derive(Clone, Debug)]
pub(crate) struct Jail {
    /// What this host could not give.
    pub(crate) lacks: Vec<Lack>,
}

/// Moves the process into namespaces of its own, with no descriptor beside `socket` and the standard ones. To be called before
/// there is another thread. Goes on in a child process where there is a namespace of processes; the caller's process then ends
/// as that one does.
pub(crate) fn isolate(socket: BorrowedFd<'_>) -> io::Result<Isolated> {
    rights::close_all_but(socket)?;
    kvm::leave_crashes_alone()?;
    let mut lacks = Vec::new();
    namespaces::enter(&mut lacks)?;
    Ok(Isolated { lacks })
}

impl Isolated {
    /// Gives up files and rights. What is open stays so.
    pub(crate) fn confine(self) -> io::Result<Jail> {
        let mut lacks = self.lacks;
        namespaces::leave_files(&mut lacks);
        rights::give_up(&mut lacks, rights::all())?;
        Ok(Jail { lacks })
    }
}

impl Jail {
    /// Leaves the calling thread the system calls of its role, for ever. Any other ends the process.
    pub(crate) fn enter(&self, role: Role) -> io::Result<()> {
        #[cfg(feature = "planted-exploit")]
        if std::env::var_os("WITHOUT_SECCOMP").is_some() {
            return Ok(());
        }
        filter::apply(role)
    }
}

/// Ends the process, and runs nothing of it any more.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: it takes a plain number. Nothing that is left undone outlives the process.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests;
