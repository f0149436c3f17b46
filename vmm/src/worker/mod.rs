//! The worker: a process that holds the VMs of one tenant.
//!
//! It is started by a node with a Unix stream socket and nothing else: no key, no network, no file system of its own.
//! It trusts the node; the node trusts nothing that it says. When the socket closes, it ends, and all its VMs with it.
//! A jail (seccomp, namespaces) belongs between opening the hypervisor and the first command, in [`serve`].

mod images;
mod keeper;
mod kernel;
pub mod message;
mod reporter;
mod shelf;
mod socket;

pub(crate) use keeper::make as make_fresh;
#[cfg(feature = "testing")]
pub use socket::fuzz::commands;

use crate::kvm::{self, Host};
use message::Report;
use reporter::Reporter;
use socket::Commands;
use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::ExitCode,
};

/// Serves the node at the other end of `socket`, a Unix stream socket, until it closes.
#[must_use]
pub fn serve(socket: OwnedFd) -> ExitCode {
    let stream = UnixStream::from(socket);
    let Ok(reporter) = stream.try_clone().and_then(Reporter::start) else { return ExitCode::from(125) };
    let commands = Commands::new(stream);
    let host = match Host::open().map_err(|e| e.to_string()).and_then(|host| {
        kvm::install_signal_handlers().map_err(|e| format!("no signal handler: {e}"))?;
        Ok(host)
    }) {
        Ok(host) => host,
        Err(reason) => {
            let _ = reporter.send(&Report::Ready(Err(reason)));
            reporter.flush();
            return ExitCode::from(125);
        }
    };
    if reporter.send(&Report::Ready(Ok(()))).is_err() {
        return ExitCode::from(125);
    }
    reporter.flush();
    let served = kernel::serve(host, commands, reporter.clone());
    reporter.close();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("denali worker: {error}");
            ExitCode::from(125)
        }
    }
}

/// Held by each thread that serves VMs. A panic there is a mistake of ours that a guest found, or may find again: the
/// worker ends at once, and the node learns of it, instead of VMs that no one stops or reports any more.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
