//! `denali top`: what a node does, to those that may know.

use crate::harness::{Node, Place, eventually, number, text};
use serde_json::Value;

/// A job of one VM that does nothing until it is cancelled.
const LONG: [&str; 2] = ["--wall-time", "60s"];

fn top(node: &Node, place: &Place) -> Value {
    node.ask(place, ["top", "--once", "--json"]).succeed().line()
}

#[test]
fn a_client_sees_sums_and_itself() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\nslots = 3\ncpus = 1\nmemory = \"1GiB\"\n[unsigned]\nvms = 3\n");
    let before = top(&node, &place);
    assert_eq!(text(&before, "node"), node.id());
    let limits = ["slots", "cpus", "memory_limit_bytes", "swap_limit_bytes", "clients"];
    assert_eq!(limits.map(|key| number(&before, key)), [3, 1, 1 << 30, 0, 0]);
    assert!(before.get("by_client").is_none(), "{before}");

    node.submit(&place, place.image("primes")).args(["--array", "1-4", "--wait", "--", "1000"]).succeed();
    node.submit(&place, place.pack("hostile/sleeper", LONG)).args(["--id", "long", "--array", "0-4"]).succeed();
    let during = eventually("three jobs that run", || {
        Some(top(&node, &place)).filter(|top| number(&top["own"], "jobs_running") == 3)
    });
    for share in [&during["own"], &during["all"]] {
        let counts = ["jobs_queued", "jobs_running", "jobs_ended", "jobs_lost", "workers"];
        assert_eq!(counts.map(|key| number(share, key)), [2, 3, 4, 0, 1], "{during}");
    }
    assert_eq!(number(&during, "clients"), 1);
    assert!(number(&during, "uptime_us") > number(&before, "uptime_us"));

    // Another client is not told whose they are.
    let (key, _) = place.key("other.key");
    let other = node.ask(&place, ["top", "--once", "--json", "--key"]).arg(key).succeed().line();
    assert_eq!((number(&other["all"], "jobs_running"), number(&other["own"], "jobs_running")), (3, 0), "{other}");
    assert!(other.get("by_client").is_none(), "{other}");
    node.ask(&place, ["cancel", "long"]).succeed();
}

#[test]
fn an_operator_sees_the_clients() {
    let place = Place::new();
    let ((operator, public), (client, named)) = (place.key("operator.key"), place.key("client.key"));
    let policy = format!("[clients]\nallow = [\"{named}\"]\noperators = [\"{public}\"]\n");
    let node = Node::start(&place, &policy);
    let spin = place.pack("hostile/spin", ["--cpu-time", "200ms"]);
    node.submit(&place, spin).arg("--wait").arg("--key").arg(&client).end_with(124);
    // One that the policy names, though it may submit nothing; and whoever has the node's own key.
    for key in [&operator, &node.data().join("node.key")] {
        let seen = node.ask(&place, ["top", "--once", "--json", "--key"]).arg(key).succeed().line();
        let clients = seen["by_client"].as_array().expect("clients");
        assert_eq!(clients.iter().map(|client| text(client, "client")).collect::<Vec<_>>(), [&named], "{seen}");
        assert!((200_000..60_000_000).contains(&number(&clients[0], "cpu_us")), "{seen}");
        assert_eq!(number(&clients[0], "jobs_ended"), 1, "{seen}");
    }
    node.submit(&place, place.image("hello")).arg("--key").arg(&operator).fail_with(["not on this node's list"]);
    // A stranger is told nothing at all.
    let (stranger, _) = place.key("stranger.key");
    node.ask(&place, ["top", "--once", "--key"]).arg(&stranger).fail_with(["not on this node's list"]);
}

#[test]
fn a_view_is_printed_once_on_a_pipe_and_json_goes_on() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\nslots = 7\n");
    let view = node.ask(&place, ["top"]).succeed().text();
    for words in ["denali top", "of 7 slots", "CPU", "Memory", "Jobs", "Starts/s", "Latency", "CLIENT", "(you)"] {
        assert!(view.contains(words), "no {words:?} in\n{view}");
    }
    assert!(!view.contains('\x1b'), "{view}");
    node.ask(&place, ["top", "--interval", "1ms"]).fail_with(["expected 100ms to 30s"]);
    let watching = node.ask(&place, ["top", "--json", "--interval", "250ms"]).start();
    eventually("a few lines", || (watching.hear("\n").lines().count() > 3).then_some(()));
    watching.signal(rustix::process::Signal::INT);
    let done = watching.finish();
    assert!(done.status.success(), "{done}");
    let times: Vec<_> = done.lines().iter().map(|line| number(line, "uptime_us")).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
}

#[test]
fn what_workers_say_of_their_vms_is_shown() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\nslots = 4\n[unsigned]\nvms = 4\n");
    node.submit(&place, place.image("hello")).args(["--array", "0-9", "--wait", "--", "you"]).succeed();
    node.submit(&place, place.pack("hostile/sleeper", LONG)).args(["--id", "sleeps", "--array", "0-1"]).succeed();
    node.submit(&place, place.pack("hostile/spin", ["--cpu-time", "10s"])).args(["--id", "spins"]).succeed();
    // One that is yet to be made is runnable too, so the number of starts says that all were.
    let seen = eventually("two VMs that idle and one that runs", || {
        let seen = top(&node, &place);
        let all = &seen["all"];
        let states = [number(all, "idle"), number(all, "running") + number(all, "runnable")];
        (states == [2, 1] && number(&seen["start"], "count") >= 13).then_some(seen)
    });
    let starts = &seen["starts"];
    assert_eq!(["new", "ready", "reimaged"].iter().map(|path| number(starts, path)).sum::<u64>(), 13, "{seen}");
    assert!(number(&seen["exits"], "terminate") >= 10, "{seen}");
    assert_eq!(number(&seen["start"], "count"), 13, "{seen}");
    assert!(number(&seen["start"], "p50_us") <= number(&seen["start"], "p99_us"), "{seen}");
    assert!(number(&seen["all"], "memory_bytes") > 0, "{seen}");
    for job in ["sleeps", "spins"] {
        node.ask(&place, ["cancel", job]).succeed();
    }
}
