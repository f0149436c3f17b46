//! Jobs on a node: waited for, followed, looked at, cancelled, named.

use crate::harness::{Denali, Node, Place, Running, noise, number, text};
use serde_json::Value;
use std::fs;

#[test]
fn a_job_is_run_and_its_status_passed_on() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let done = node.submit(&place, place.pack("hello", [])).arg("--wait").succeed();
    assert!(done.text().contains("exited with status 0"), "{done}");
    let failed = node.submit(&place, place.image("primes")).args(["--json", "--", "many"]).end_with(1).line();
    assert!(text(&failed, "stderr").contains("a number below 10^12"), "{failed}");
    let done = node.submit(&place, place.image("hostile/wild-write")).arg("--wait").end_with(139);
    assert!(done.stderr.contains("0x4000008000"), "{done}");
    let all = node.submit(&place, place.image("primes")).args(["--array", "1-3", "--wait", "--", "{index}0"]).succeed();
    assert!(all.text().contains("3 jobs, 3 succeeded, 0 failed"), "{all}");
    // One bad job makes a bad array: only the second is given a number.
    let some = node.submit(&place, place.image("primes")).args(["--array", "0-1", "--wait", "--", "{index}{index}x"]);
    some.end_with(1);
    // Once known, a node needs no id.
    let address = node.address();
    place.denali(["submit", "--wait", "--node", &address]).arg(place.image("hello")).succeed();
}

#[test]
fn input_and_output_of_megabytes_come_through_whole() {
    let place = Place::new();
    let node = Node::start(&place, "[unsigned]\noutput = \"8MiB\"\n");
    let bytes = noise(5_000_000);
    let input = place.write("input", &bytes);
    let done = node.submit(&place, place.image("echo")).args(["--id", "big", "--follow", "--input"]).arg(&input);
    assert!(done.succeed().stdout == bytes, "followed");
    assert!(node.ask(&place, ["result", "big"]).succeed().stdout == bytes, "fetched");
    assert!(node.ask(&place, ["logs", "big"]).succeed().stdout == bytes, "as logs");
    let line = node.ask(&place, ["result", "big", "--json"]).succeed().line();
    assert_eq!(line["stdout_truncated"], true);

    let small =
        node.submit(&place, place.image("echo")).args(["--array", "5-6", "--output-dir", "out", "--input", "-"]);
    small.input("for each").succeed();
    for index in [5, 6] {
        assert_eq!(fs::read(place.path(&format!("out/{index}.stdout"))).expect("its output"), b"for each");
    }
}

/// Computes for minutes, after a first line of output.
fn long_job(node: &Node, place: &Place) -> Denali {
    let bundle = place.pack("nbody", ["--cpu-time", "5m", "--wall-time", "5m"]);
    node.submit(place, bundle)
}

const LONG_POLICY: &str = "[node]\nslots = 1\n[unsigned]\ncpu_time = \"10m\"\nwall_time = \"10m\"\n";
const LONG: [&str; 2] = ["--", "4000000000"];

#[test]
fn output_of_a_running_job_is_followed() {
    let place = Place::new();
    let node = Node::start(&place, LONG_POLICY);
    let mut follower = long_job(&node, &place).args(["--id", "long", "--follow"]).args(LONG).start();
    follower.hear("-0.169075164\n");
    assert_eq!(text(&node.status(&place, "long"), "state"), "running");
    assert!(follower.is_running());
    // Someone who comes later sees it too, and what has ended is not claimed.
    assert_eq!(node.ask(&place, ["logs", "long"]).succeed().text(), "-0.169075164\n");
    node.ask(&place, ["result", "long"]).fail_with(["hint: ", "logs long -f"]);
    node.ask(&place, ["cancel", "long"]).succeed();
    let done = follower.finish();
    assert_eq!(done.status.code(), Some(125), "{done}");
    assert!(done.stderr.contains("cancelled"), "{done}");
}

#[test]
fn running_and_queued_jobs_are_cancelled() {
    let place = Place::new();
    let node = Node::start(&place, LONG_POLICY);
    long_job(&node, &place).args(["--id", "runs"]).args(LONG).succeed();
    node.wait_for(&place, "runs", "running");
    // The one slot is taken, so this array waits.
    node.submit(&place, place.image("hello")).args(["--id", "waits", "--array", "0-4"]).succeed();
    let queued = node.status(&place, "waits");
    assert_eq!((text(&queued, "state"), number(&queued, "queued")), ("queued", 5));

    for job in ["waits", "runs"] {
        node.ask(&place, ["cancel", job]).succeed();
        node.wait_for(&place, job, "failed");
    }
    let ended = node.ask(&place, ["result", "waits", "--json"]).end_with(1).lines();
    assert_eq!(ended.len(), 5);
    assert!(ended.iter().all(|line| text(line, "outcome") == "cancelled" && line["vm"].is_null()), "{ended:?}");
    let ended = node.ask(&place, ["result", "runs", "--json"]).end_with(125).line();
    assert_eq!((text(&ended, "outcome"), number(&ended, "status")), ("cancelled", 125));
    // The slot is free again, and cancelling what has ended changes nothing.
    node.serves(&place);
    node.ask(&place, ["cancel", "runs"]).succeed();
    assert_eq!(node.ask(&place, ["result", "runs", "--json"]).end_with(125).line(), ended);
}

#[test]
fn one_name_runs_once() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let submit =
        |argument: &str| node.submit(&place, place.image("hello")).args(["--id", "name", "--json", "--", argument]);
    let first = submit("a").succeed().line();
    let second = submit("a").succeed().line();
    assert_eq!(first, second, "the same VM, usage and receipt");
    submit("b").fail_with(["name", "hint: choose another --id"]);
    let other_bundle = node.submit(&place, place.image("echo")).args(["--id", "name", "--json", "--", "a"]);
    other_bundle.fail_with(["hint: choose another --id"]);
    // At the same time, too.
    let both = [(), ()].map(|()| submit_together(&node, &place));
    let lines = both.map(|running| running.finish().line());
    assert_eq!(lines[0], lines[1]);
    assert_eq!(node.ask(&place, ["list", "--json"]).succeed().lines().len(), 2);
}

fn submit_together(node: &Node, place: &Place) -> Running {
    node.submit(place, place.image("primes")).args(["--id", "together", "--json", "--", "1000000"]).start()
}

#[test]
fn jobs_are_shown_to_their_client_alone() {
    let place = Place::new();
    let node = Node::start(&place, "");
    for id in ["b", "a", "c"] {
        node.submit(&place, place.image("hello")).args(["--wait", "--id", id, "--", id]).succeed();
    }
    let listed = node.ask(&place, ["list", "--json"]).succeed().lines();
    assert_eq!(listed.iter().map(|line| text(line, "job")).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(listed.iter().all(|line| text(line, "state") == "succeeded" && text(line, "name") == "hello"));
    assert_eq!(node.ask(&place, ["result", "b"]).succeed().text(), "Hello, b!\n");
    assert_eq!(node.ask(&place, ["logs", "b"]).succeed().text(), "Hello, b!\n");

    let (stranger, _) = place.key("stranger.key");
    let asked = |command: [&str; 2]| node.ask(&place, command).arg("--key").arg(&stranger);
    for command in ["status", "logs", "result", "cancel"] {
        asked([command, "b"]).fail_with(["hint: "]);
    }
    let seen: Vec<Value> = node.ask(&place, ["list", "--json", "--key"]).arg(&stranger).succeed().lines();
    assert!(seen.is_empty(), "{seen:?}");
    // A name is taken for one client, not for all.
    asked(["submit", "--json"]).arg(place.image("hello")).args(["--id", "b", "--", "z"]).succeed();
    assert_eq!(node.ask(&place, ["result", "b"]).succeed().text(), "Hello, b!\n");
}
