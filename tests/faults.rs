//! A host that fails: no descriptors, no memory, no room for VMs that idle, processes that stop, a clock that jumps. What can
//! go on goes on, and what cannot is tried again or said to be lost; no bundle is blamed for it, and no result is wrong.

use crate::{
    disk::TinyDisk,
    harness::{Node, Place, Shortage, eventually, is_alive, number, send, text},
};
use rustix::process::Signal;
use serde_json::Value;
use std::{path::Path, thread, time::Duration};

/// Each job of `id` has a result, which is right, or says that it was lost.
fn right_or_lost(node: &Node, place: &Place, id: &str, right: impl Fn(&Value) -> bool) -> u64 {
    node.ask(place, ["logs", id, "-f"]).run();
    let lines = node.ask(place, ["result", id, "--json"]).run().lines();
    let status = node.status(place, id);
    assert_eq!(lines.len() as u64, number(&status, "succeeded") + number(&status, "failed"), "{status}");
    let lost = lines.iter().filter(|line| !right(line));
    lost.inspect(|line| assert_eq!(text(line, "outcome"), "lost", "{line}")).count() as u64
}

fn greets(line: &Value) -> bool {
    line["stdout"] == format!("Hello, {}!\n", line["index"])
}

fn submit(node: &Node, place: &Place, id: &str, jobs: u32) {
    let array = format!("0-{}", jobs - 1);
    node.submit(place, place.image("hello")).args(["--id", id, "--array", &array, "--", "{index}"]).succeed();
}

/// A worker of this node that has run this job.
fn used_worker(node: &Node, place: &Place, id: &str) -> u32 {
    let bundle = place.pack("hostile/spin", ["--cpu-time", "1s"]);
    node.submit(place, bundle).args(["--id", id]).succeed();
    let worker = node.busy_worker(&[]);
    node.wait_for(place, id, "failed");
    worker
}

#[test]
fn a_node_without_descriptors_goes_on_when_it_has_some() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\nslots = 1\n");
    let bundle = place.pack("hostile/spin", ["--cpu-time", "1s"]);
    node.submit(&place, bundle).args(["--id", "spin"]).succeed();
    submit(&node, &place, "array", 20);
    node.busy_worker(&[]);
    let shortage = Shortage::of_descriptors(node.process(), 0);
    node.submit(&place, place.image("echo")).arg("--wait").fail_with(["refused", "open files"]);
    eventually("the node says why no job starts", || node.log().contains("no job can be started").then_some(()));
    drop(shortage);
    assert_eq!(right_or_lost(&node, &place, "array", greets), 0, "{}", node.log());
    assert!(!node.log().contains("panicked"), "{}", node.log());
    node.serves(&place);
}

/// It has none for a command, none for a VM, or one for the one or the other. A worker that misses a command's descriptors ends,
/// and its jobs run in another one.
#[test]
fn a_worker_without_descriptors_loses_jobs_and_blames_no_bundle() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\nslots = 2\nreimage = false\n");
    for more in 0..6 {
        let worker = used_worker(&node, &place, &format!("spin-{more}"));
        let _shortage = Shortage::of_descriptors(worker, more);
        let id = format!("short-{more}");
        submit(&node, &place, &id, 3);
        right_or_lost(&node, &place, &id, greets);
    }
    submit(&node, &place, "after", 20);
    assert_eq!(right_or_lost(&node, &place, "after", greets), 0, "{}", node.log());
    node.serves(&place);
}

#[test]
fn a_worker_without_memory_loses_jobs_and_blames_no_bundle() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\nslots = 2\n");
    for more in [0, 1 << 20, 20 << 20] {
        // One that ends for want of memory is lost with its jobs, which another one runs.
        let worker = used_worker(&node, &place, &format!("spin-{more}"));
        let _shortage = Shortage::of_addresses(worker, more);
        let id = format!("short-{more}");
        submit(&node, &place, &id, 3);
        right_or_lost(&node, &place, &id, greets);
    }
    submit(&node, &place, "after", 20);
    assert_eq!(right_or_lost(&node, &place, "after", greets), 0, "{}", node.log());
    node.serves(&place);
}

#[test]
fn a_node_that_stops_for_a_while_goes_on() {
    let place = Place::new();
    let node = Node::start(&place, "");
    submit(&node, &place, "array", 200);
    for _ in 0..3 {
        send(node.process(), Signal::STOP);
        thread::sleep(Duration::from_secs(1));
        send(node.process(), Signal::CONT);
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(right_or_lost(&node, &place, "array", greets), 0, "{}", node.log());
}

/// It holds its jobs, and says nothing any more: the node gives it up once they should have ended.
#[test]
fn a_worker_that_stops_for_good_is_given_up() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let bundle = place.pack("hostile/spin", ["--cpu-time", "5s", "--wall-time", "5s"]);
    node.submit(&place, bundle).args(["--id", "spin"]).succeed();
    let worker = node.busy_worker(&[]);
    send(worker, Signal::STOP);
    eventually("the end of a worker that does not move", || (!is_alive(worker)).then_some(()));
    // Another one takes its job.
    node.wait_for(&place, "spin", "failed");
    let line = node.ask(&place, ["result", "spin", "--json"]).end_with(124).line();
    assert_eq!(text(&line, "outcome"), "time-limit", "{line}");
    assert!(node.log().contains("in time"), "{}", node.log());
}

/// VMs that idle find no place: on the disk, which is smaller than the policy says; or in what the policy gives.
#[test]
fn vms_that_find_no_room_on_disk_stay_in_memory() {
    let place = Place::new();
    let Some(disk) = TinyDisk::mount(place.path("disk"), "size=8m") else { return };
    for swap in ["64MiB", "6MiB"] {
        let directory = disk.path().display();
        let policy =
            format!("[node]\nslots = 12\nmemory = \"6MiB\"\nswap = \"{swap}\"\nswap_directory = \"{directory}\"\n");
        let node = Node::start(&place, &policy);
        let bundle = place.pack("hostile/sleeper", ["--wall-time", "2s", "--memory", "16MiB"]);
        node.submit(&place, bundle).args(["--id", "sleepers", "--array", "0-11"]).succeed();
        submit(&node, &place, "array", 40);
        assert_eq!(right_or_lost(&node, &place, "array", greets), 0, "{}", node.log());
        let ends = |line: &Value| text(line, "outcome") == "time-limit";
        assert_eq!(right_or_lost(&node, &place, "sleepers", ends), 0, "{}", node.log());
        node.serves(&place);
    }
}

/// As on a full disk.
#[test]
fn a_log_that_takes_nothing_ends_no_node() {
    let place = Place::new();
    let node = Node::start_logging_to(&place, Path::new("/dev/full"), "");
    submit(&node, &place, "array", 20);
    assert_eq!(right_or_lost(&node, &place, "array", greets), 0);
    let (done, _) = node.terminate();
    assert!(done.status.success(), "{done}");
}

/// The clock that only goes forward starts elsewhere when a host is started again: what was accepted and what has a result is
/// as it was.
#[test]
fn a_clock_that_starts_elsewhere_changes_nothing() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\nslots = 1\n");
    submit(&node, &place, "before", 3);
    assert_eq!(right_or_lost(&node, &place, "before", greets), 0);
    let bundle = place.pack("hostile/sleeper", ["--wall-time", "2s"]);
    node.submit(&place, bundle).args(["--id", "sleepers", "--array", "0-2"]).succeed();
    let kept = node.ask(&place, ["result", "before", "--json"]).succeed().lines();
    let Some(node) = node.crash_into(&place, Duration::from_secs(400 * 24 * 3600)) else { return };
    assert_eq!(node.ask(&place, ["result", "before", "--json"]).succeed().lines(), kept);
    submit(&node, &place, "there", 3);
    assert_eq!(right_or_lost(&node, &place, "there", greets), 0, "{}", node.log());
    // And back again, which is earlier.
    let node = node.crash(&place);
    assert_eq!(node.ask(&place, ["result", "before", "--json"]).succeed().lines(), kept);
    let ends = |line: &Value| text(line, "outcome") == "time-limit";
    assert_eq!(right_or_lost(&node, &place, "sleepers", ends), 0, "{}", node.log());
    node.serves(&place);
}
