//! Worker processes that end while a writer's VM is there, and what readers find in the next one: nothing.
//!
//! The process is this test binary, asked for [`a_worker`] alone; all from its socket on is as a node has it.

use super::{
    endings::{AMPLE, TIME_US},
    sight::Sight,
    worker::{Bundle, Worker},
};
use crate::worker::{self, message::Report};
use std::{
    env, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// How a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By SIGKILL.
    Killed,
    /// Its node is gone.
    Closed,
}

#[test]
#[ignore = "the worker process of the other tests here: its socket is where standard input would be"]
fn a_worker() {
    let socket = io::stdin().as_fd().try_clone_to_owned().expect("a descriptor");
    let _ = worker::serve_here(socket);
}

fn start(bundle: &Bundle) -> (Worker, Child) {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let process = Command::new(env::current_exe().expect("this binary"))
        .args(["--ignored", "--exact", "vm::leaks::restart::a_worker"])
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .spawn();
    (Worker::ready(ours, bundle.clone()), process.expect("a process"))
}

fn end(worker: Worker, mut process: Child, how: End) {
    if how == End::Killed {
        process.kill().expect("it is a child of ours");
    }
    drop(worker);
    process.wait().expect("it ends");
}

/// What the first readers of a worker see: at the entry point, on the way to a CHECKPOINT, and in what comes of that.
fn sights(worker: &mut Worker) -> [Sight; 3] {
    [(); 3].map(|()| worker.run("R", AMPLE, false).sight())
}

/// A writer that goes on, or idles, once it wrote everything.
fn write(worker: &mut Worker, argument: &str) {
    let run = worker.begin(argument, AMPLE);
    while !matches!(worker.report(), Report::Started { run: started, .. } if started == run) {}
    thread::sleep(Duration::from_micros(TIME_US));
}

fn nothing_outlives_a_worker(makes_checkpoints: bool) {
    let bundle = Bundle::new(makes_checkpoints);
    let (mut clean, process) = start(&bundle);
    let fresh = sights(&mut clean);
    end(clean, process, End::Closed);
    for how in [End::Killed, End::Closed] {
        let (mut worker, process) = start(&bundle);
        sights(&mut worker);
        ["Wx", "Wi"].into_iter().for_each(|argument| write(&mut worker, argument));
        end(worker, process, how);

        let (mut next, process) = start(&bundle);
        for (n, (sight, fresh)) in sights(&mut next).iter().zip(&fresh).enumerate() {
            let mut leaks = sight.leaks(fresh);
            // Each process counts them for itself: a copy does not outlive it either.
            leaks.retain(|leak| leak != "virtual register generation");
            assert_eq!(leaks, [""; 0], "reader {n} after a worker was {how:?}");
        }
        end(next, process, End::Closed);
    }
}

#[test]
fn nothing_outlives_a_worker_into_cold_starts() {
    nothing_outlives_a_worker(false);
}

#[test]
fn nothing_outlives_a_worker_into_warm_starts() {
    nothing_outlives_a_worker(true);
}
