//! Programs of real compilers, rewritten and run on the host: they must print and return what they did before.
//!
//! gcc with static C and C++ libraries is needed. Further programs are tried where there is a compiler for them, or where
//! `DENALI_REWRITE` names static programs, separated by colons.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod handler;
mod image;
mod programs;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use handler::Handler;

/// Runs a rewritten copy of `program`.
fn rewritten(program: &Path, handler: &Handler, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = image::rewrite(program, handler, directory.path());
    run(&path, arguments)
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    // No preemption by signals: the test's handler keeps an address where a signal's frame would be.
    let mut command = Command::new(program);
    command.args(arguments).env("GODEBUG", "asyncpreemptoff=1");
    loop {
        match command.output() {
            // Another test started a process while this copy was written: it has the file open until it runs its own program.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => return output.unwrap(),
        }
    }
}

/// Compares a program with its rewritten copy.
fn compare(program: &Path, handler: &Handler, arguments: &[&str]) {
    let (was, is) = (run(program, arguments), rewritten(program, handler, arguments));
    assert_eq!(was.status, is.status, "{program:?} {arguments:?} {is:?}");
    assert_eq!(String::from_utf8_lossy(&was.stdout), String::from_utf8_lossy(&is.stdout), "{program:?} {arguments:?}");
}

#[test]
fn programs_do_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let programs = programs::all(directory.path());
    assert!(!programs.is_empty());
    for program in programs {
        image::assert_all_patched(&program);
        compare(&program, &Handler::serving(), &["one", "two"]);
    }
}

#[test]
fn calls_go_through_the_handler() {
    let directory = tempfile::tempdir().unwrap();
    let program = programs::c(directory.path());
    let output = rewritten(&program, &Handler::failing(), &[]);
    assert_eq!(output.status.signal(), Some(4), "SIGILL, which the handler raises");
}

#[test]
fn busybox_does_the_same() {
    let busybox = Path::new("/bin/busybox");
    if !busybox.exists() {
        return;
    }
    image::assert_all_patched(busybox);
    let script = "seq 1 20000 | md5sum; (echo b; echo a) | sort; exit 3";
    let pipeline = "ls / | wc -l; cat /proc/version; trap 'echo trapped' USR1; kill -USR1 $$; x=$(expr 3 + 4); echo $x";
    let applets = "for a in 1 2 3; do awk \"BEGIN { print $a * 2 }\"; done; tar cf - /etc/hostname 2>/dev/null | sha256sum; sleep 0.01";
    for script in [script, pipeline, applets] {
        compare(busybox, &Handler::serving_one_thread(), &["sh", "-c", script]);
    }
}
