//! Clients with many VMs beside clients with few: each gets its part of the machine.

use crate::harness::{Node, Place, eventually, number, text};
use serde_json::Value;
use std::{path::Path, time::Duration};

/// CPU time of an array's jobs, by their own results.
fn cpu_us(lines: &[Value]) -> u64 {
    lines.iter().map(|line| number(line, "cpu_us")).sum()
}

/// What a node does, as its operator sees it.
fn top(node: &Node, place: &Place) -> Value {
    node.ask(place, ["top", "--once", "--json", "--key"]).arg(node.data().join("node.key")).succeed().line()
}

/// CPU time that the workers of one client took.
fn cpu_of(top: &Value, client: &str) -> u64 {
    let clients = top["by_client"].as_array().expect("clients");
    clients.iter().find(|row| text(row, "client") == client).map_or(0, |row| number(row, "cpu_us"))
}

#[test]
fn a_crowd_over_several_workers_leaves_another_client_its_half() {
    let place = Place::new();
    let policy = "[node]\nslots = 102\nworker_vms = 30\ncpus = 2\n[unsigned]\nvms = 100\ncpu_time = \"60s\"\n";
    let node = Node::start(&place, policy);
    let ((crowd, crowd_id), (honest, honest_id)) = (place.key("crowd.key"), place.key("honest.key"));
    let spin = place.pack("hostile/spin", ["--cpu-time", "60s", "--wall-time", "60s"]);
    let submit = |id: &str, indices: &str, key: &Path| {
        node.submit(&place, &spin).args(["--json", "--id", id, "--array", indices, "--key"]).arg(key).start()
    };
    let attackers = submit("crowd", "0-99", &crowd);
    eventually("a hundred VMs on four workers", || {
        let all = &top(&node, &place)["all"];
        (number(all, "jobs_running") == 100 && number(all, "workers") == 4).then_some(())
    });
    let friend = submit("friend", "0-1", &honest);
    // Both at work: what happens at their start and end is left out.
    let mut begin = eventually("two more", || Some(top(&node, &place)).filter(|top| cpu_of(top, &honest_id) > 100_000));
    // Two VMs on one CPU, against a hundred on the other. What else goes on in this machine may blur one look, not four.
    let (mut seen, mut shares) = (0, Vec::new());
    while shares.last().is_none_or(|share| *share < 0.45) {
        assert!(shares.len() < 4, "the honest client had too little: {shares:?}");
        std::thread::sleep(Duration::from_secs(3));
        let end = top(&node, &place);
        let used = |client: &str| cpu_of(&end, client) - cpu_of(&begin, client);
        let (own, theirs) = (used(&honest_id), used(&crowd_id));
        println!("the honest client used {} ms, the crowd {} ms", own / 1000, theirs / 1000);
        shares.push(own as f64 / (own + theirs) as f64);
        seen += own;
        begin = end;
    }
    node.ask(&place, ["cancel", "friend", "--key"]).arg(&honest).succeed();
    // Its jobs say the same of themselves, beyond what was looked at.
    let lines = friend.finish().lines();
    assert!(lines.len() == 2 && cpu_us(&lines) >= seen, "{seen} us, {lines:?}");
    drop(attackers);
}

#[test]
fn no_more_vms_run_at_once_than_there_are_cpus() {
    let place = Place::new();
    let policy = "[node]\nslots = 8\nworker_vms = 2\ncpus = 1\n[unsigned]\nvms = 4\ncpu_time = \"60s\"\n";
    let node = Node::start(&place, policy);
    let spin = place.pack("hostile/spin", ["--wall-time", "3s", "--cpu-time", "60s"]);
    let keys = ["one.key", "two.key"].map(|name| place.key(name).0);
    let clients =
        keys.map(|key| node.submit(&place, &spin).args(["--json", "--array", "0-3", "--key"]).arg(key).start());
    let begun = std::time::Instant::now();
    let used = clients.map(|client| cpu_us(&client.finish().lines()));
    let passed = begun.elapsed().as_micros() as u64;
    println!("{used:?} us of {passed} us");
    // One CPU for all of the time, and a little while it was passed on.
    assert!(used.iter().sum::<u64>() < passed * 11 / 10, "{used:?} in {passed}");
    let least = used.iter().min().copied().unwrap_or(0);
    assert!(least * 100 >= used.iter().sum::<u64>() * 40, "{used:?}");
}

#[test]
fn vms_that_idle_make_room_in_memory() {
    let place = Place::new();
    let policy = "[node]\nslots = 12\nmemory = \"2MiB\"\nswap = \"64MiB\"\n[unsigned]\nvms = 12\n";
    let node = Node::start(&place, policy);
    let sleeper = place.pack("hostile/sleeper", ["--wall-time", "60s"]);
    node.submit(&place, sleeper).args(["--id", "sleeps", "--array", "0-11"]).succeed();
    let seen = eventually("some of twelve on disk", || {
        let seen = top(&node, &place);
        let all = &seen["all"];
        (number(all, "swapped") > 0 && number(all, "idle") + number(all, "swapped") == 12).then_some(seen)
    });
    assert!(number(&seen["all"], "swap_bytes") > 0, "{seen}");
    assert!(number(&seen["swaps"], "out") > 0 && number(&seen["swaps"], "failed") == 0, "{seen}");
    assert!(number(&seen["swap_out"], "count") > 0, "{seen}");
    // They end as any other does.
    node.ask(&place, ["cancel", "sleeps"]).succeed();
    eventually("no more of them", || {
        let all = &top(&node, &place)["all"];
        (number(all, "jobs_ended") == 12 && number(all, "swap_bytes") == 0).then_some(())
    });
}
