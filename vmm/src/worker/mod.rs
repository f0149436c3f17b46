//! The worker: a process that holds the VMs of one tenant.
//!
//! It is started by a node with a Unix stream socket and nothing else: no key, no network, no file system of its own.
//! It trusts the node; the node trusts nothing that it says. When the socket closes, it ends, and all its VMs with it.
//! Nor can it take more: before its first guest it goes to [jail](crate::jail).

mod ending;
mod images;
mod keeper;
mod kernel;
pub mod message;
mod reporter;
mod shelf;
mod socket;
mod source;

pub use crate::kvm::cpu_time_of;
pub(crate) use keeper::make as make_fresh;
#[cfg(feature = "testing")]
pub use socket::fuzz::commands;

use crate::{
    jail::{self, Isolated, Jail},
    kvm::{self, Host, HostError},
};
use denali_protocol::wire::frame;
use message::Report;
use reporter::Reporter;
use socket::Commands;
use std::{
    io::Write,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
};

/// Serves the node at the other end of `socket`, a Unix stream socket, until it closes. The process is a worker from now on, and
/// nothing else: it gives up all other rights, and ends when this is over. To be called before there is another thread, by a
/// process whose standard input is that socket or nothing.
#[must_use]
pub fn serve(socket: OwnedFd) -> ExitCode {
    let jailed = kvm::install_signal_handlers().and_then(|()| jail::isolate(socket.as_fd()));
    // Runners alone hear kicks, whoever sends them.
    let jailed = jailed.and_then(|isolated| kvm::hear_kicks(false).map(|()| isolated));
    lay_out_memory();
    // What is opened here stays open.
    let host = Host::open();
    match jailed.and_then(Isolated::confine) {
        Ok(jail) => serve_with(socket, host, Some(&jail)),
        Err(error) => refuse(socket, format!("a worker can't be jailed: {error}")),
    }
}

/// Serves as a part of the calling process, with all of its rights: for tests of guests that one trusts.
#[must_use]
pub fn serve_here(socket: OwnedFd) -> ExitCode {
    match kvm::install_signal_handlers() {
        Ok(()) => serve_with(socket, Host::open(), None),
        Err(error) => refuse(socket, error.to_string()),
    }
}

fn serve_with(socket: OwnedFd, host: Result<Host, HostError>, jail: Option<&Jail>) -> ExitCode {
    let host = match host {
        Ok(host) => host,
        Err(error) => return refuse(socket, error.to_string()),
    };
    let stream = UnixStream::from(socket);
    let Ok(reporter) = stream.try_clone().and_then(|stream| Reporter::start(stream, jail)) else {
        return ExitCode::from(125);
    };
    let served = kernel::serve(host, Commands::new(stream), reporter.clone(), jail);
    reporter.close();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ending::tell(&error);
            ExitCode::from(125)
        }
    }
}

/// Has the allocator (mimalloc) set up what it needs to know of the gibibyte of addresses that it reserves in one piece: it does
/// so where blocks begin, for 512 MiB at a time, by a system call that threads with guests can't make.
fn lay_out_memory() {
    const BLOCK: usize = 32 << 20;
    let blocks: Vec<Vec<u8>> = (0..30).map(|_| Vec::with_capacity(BLOCK)).collect();
    drop(std::hint::black_box(blocks));
}

/// Tells the node why there is no worker.
fn refuse(socket: OwnedFd, reason: String) -> ExitCode {
    // A node that is gone need not know.
    if let Ok(frame) = frame::encode(&Report::Ready(Err(reason))) {
        let _ = UnixStream::from(socket).write_all(&frame);
    }
    ExitCode::from(125)
}

/// Held by each thread that serves VMs. A panic there is a mistake of ours that a guest found, or may find again: the
/// worker ends at once, and the node learns of it, instead of VMs that no one stops or reports any more. In the jail, where a
/// thread can't even do that, see [`ending`].
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
