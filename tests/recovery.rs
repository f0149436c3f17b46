//! `kill -9` of a worker and of the node at the worst of times: no accepted job is lost, none counts twice.

use crate::harness::{Done, Node, Place, eventually, is_alive, number, send, text};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;

/// About a second of CPU time each.
const PRIMES: [&str; 2] = ["--", "1000000000"];
const ANSWER: &str = "50847534\n";

/// Submits an array of slow jobs and does not wait.
fn submit(node: &Node, place: &Place, jobs: u32) {
    let array = format!("0-{}", jobs - 1);
    node.submit(place, place.image("primes")).args(["--id", "array", "--array", &array]).args(PRIMES).succeed();
}

/// Waits for all of the array; gives a line for each.
fn results(node: &Node, place: &Place) -> Done {
    node.ask(place, ["logs", "array", "-f"]).succeed();
    node.ask(place, ["result", "array", "--json"]).run()
}

/// Waits until some jobs of the array have ended and some run.
fn in_the_middle(node: &Node, place: &Place) {
    eventually("the middle of the array", || {
        let status = node.status(place, "array");
        (number(&status, "succeeded") > 0 && number(&status, "running") > 0).then_some(())
    });
    let status = node.status(place, "array");
    assert!(number(&status, "queued") > 0, "it is over before it began: {status}");
}

fn indices(lines: &[Value]) -> Vec<u64> {
    let indices: BTreeSet<_> = lines.iter().map(|line| number(line, "index")).collect();
    assert_eq!(indices.len(), lines.len(), "a job has two results");
    indices.into_iter().collect()
}

fn check_receipts(node: &Node, place: &Place, lines: &[Value]) {
    let write = |line: &Value| place.write(&format!("{}.txt", line["index"]), text(line, "receipt"));
    place.denali(["verify", "--node", node.id()]).args(lines.iter().map(write)).succeed();
}

#[test]
fn a_killed_worker_costs_no_job() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\nslots = 2\n");
    submit(&node, &place, 10);
    in_the_middle(&node, &place);
    send(node.busy_worker(&[]), Signal::KILL);

    let lines = results(&node, &place).lines();
    assert_eq!(indices(&lines), (0..10).collect::<Vec<_>>());
    for line in &lines {
        let right = text(line, "outcome") == "exited" && line["stdout"] == ANSWER;
        assert!(right || text(line, "outcome") == "lost", "{line}");
    }
    check_receipts(&node, &place, &lines);
    node.serves(&place);
    assert!(node.log().contains("a worker was lost"), "the volunteer is told: {}", node.log());
}

#[test]
fn a_job_whose_workers_always_die_is_reported_lost() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let waiter = node.submit(&place, place.image("hostile/sleeper")).args(["--id", "array", "--json"]).start();
    eventually("the job's end", || {
        node.workers().into_iter().for_each(|worker| {
            // Another may have ended it in the meantime.
            if is_alive(worker) {
                send(worker, Signal::KILL);
            }
        });
        // Its next worker needs time to get ready.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let listed = node.ask(&place, ["list", "--json"]).succeed().lines();
        listed.iter().any(|line| text(line, "state") == "failed").then_some(())
    });
    let done = waiter.finish();
    assert_eq!(done.status.code(), Some(125), "{done}");
    assert_eq!(text(&done.line(), "outcome"), "lost", "{done}");
    check_receipts(&node, &place, &done.lines());
    node.serves(&place);
}

#[test]
fn one_clients_worker_dies_alone() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\nslots = 4\n");
    submit(&node, &place, 6);
    let first = node.busy_worker(&[]);
    let (key, _) = place.key("other.key");
    let other = |arguments: [&str; 3]| node.ask(&place, arguments).arg("--key").arg(&key);
    other(["submit", "--id", "other"]).arg(place.image("hostile/spin")).succeed();
    send(node.busy_worker(&[first]), Signal::KILL);

    let lines = results(&node, &place).lines();
    assert!(lines.len() == 6 && lines.iter().all(|line| line["stdout"] == ANSWER), "{lines:?}");
    assert!(is_alive(first), "its worker was not touched");
    // The other one's job got another worker, and its limit.
    other(["logs", "other", "-f"]).succeed();
    let line = other(["result", "other", "--json"]).end_with(124).line();
    assert_eq!(text(&line, "outcome"), "time-limit", "{line}");
}

#[test]
fn an_announced_result_survives_the_node() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let announced = node.submit(&place, place.image("hello")).args(["--id", "array", "--json"]).succeed().line();
    let node = node.crash(&place);
    assert_eq!(node.ask(&place, ["result", "array", "--json"]).succeed().line(), announced);
    assert_eq!(text(&node.status(&place, "array"), "state"), "succeeded");
    check_receipts(&node, &place, std::slice::from_ref(&announced));
    // Nor does it run again for whoever asks again.
    let again = node.submit(&place, place.image("hello")).args(["--id", "array", "--json"]).succeed().line();
    assert_eq!(again, announced);
}

#[test]
fn a_killed_node_goes_on_where_it_was() {
    let place = Place::new();
    let policy = "[node]\nslots = 2\n";
    let node = Node::start(&place, policy);
    let array = ["--id", "array", "--array", "0-7", "--json"];
    let waiter = node.submit(&place, place.image("primes")).args(array).args(PRIMES).start();
    waiter.hear("\n");
    in_the_middle(&node, &place);
    let workers = node.workers();
    let node = node.crash(&place);
    for worker in workers {
        eventually("the end of a worker without a node", || (!is_alive(worker)).then_some(()));
    }

    // The client that waited has found the node again, and has each result once.
    let waited = waiter.finish();
    assert!(waited.status.success() && waited.stderr.contains("connected again"), "{waited}");
    let lines = waited.lines();
    assert_eq!(indices(&lines), (0..8).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line["stdout"] == ANSWER), "{lines:?}");
    check_receipts(&node, &place, &lines);
    // And they are the ones that the node keeps.
    let mut kept = results(&node, &place).lines();
    let mut seen = lines;
    for list in [&mut kept, &mut seen] {
        list.sort_by_key(|line| number(line, "index"));
    }
    assert_eq!(kept, seen);
}

#[test]
fn a_node_ends_in_order_and_takes_up_what_it_had() {
    let place = Place::new();
    let policy = "[node]\nslots = 2\n";
    let node = Node::start(&place, policy);
    submit(&node, &place, 6);
    in_the_middle(&node, &place);
    let workers = node.workers();
    let (done, data) = node.terminate();
    assert_eq!(done.status.code(), Some(0), "{done}");
    assert!(workers.iter().all(|worker| !is_alive(*worker)), "it left workers behind");

    let node = Node::start_on(&place, data, policy);
    let lines = results(&node, &place).lines();
    assert_eq!(indices(&lines), (0..6).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line["stdout"] == ANSWER), "{lines:?}");
    check_receipts(&node, &place, &lines);
}

#[test]
fn a_cancelled_array_stays_cancelled() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\nslots = 1\n");
    submit(&node, &place, 50);
    node.wait_for(&place, "array", "running");
    node.ask(&place, ["cancel", "array"]).succeed();
    let node = node.crash(&place);
    let lines = results(&node, &place).lines();
    assert_eq!(indices(&lines), (0..50).collect::<Vec<_>>());
    let cancelled = lines.iter().filter(|line| text(line, "outcome") == "cancelled").count();
    assert!(cancelled >= 48, "{cancelled} of 50");
}
