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
    let submit = |indices: &str, wall: &str, key: &Path| {
        let spin = place.pack("hostile/spin", ["--cpu-time", "60s", "--wall-time", wall]);
        node.submit(&place, &spin).args(["--json", "--array", indices, "--key"]).arg(key).start()
    };
    let attackers = submit("0-99", "60s", &crowd);
    eventually("a hundred VMs on four workers", || {
        let all = &top(&node, &place)["all"];
        (number(all, "jobs_running") == 100 && number(all, "workers") == 4).then_some(())
    });
    let friend = submit("0-1", "10s", &honest);
    // Both at work: what happens at their start and end is left out.
    let begin = eventually("two more", || Some(top(&node, &place)).filter(|top| cpu_of(top, &honest_id) > 100_000));
    std::thread::sleep(Duration::from_secs(4));
    let end = top(&node, &place);
    let used = |client: &str| cpu_of(&end, client) - cpu_of(&begin, client);
    let (own, theirs) = (used(&honest_id), used(&crowd_id));
    let share = own as f64 / (own + theirs) as f64;
    println!("the honest client had {:.1} % of {} ms", share * 100.0, (own + theirs) / 1000);
    // Two VMs on one CPU, against a hundred on the other.
    assert!(share >= 0.45, "{own} of {} us", own + theirs);
    // Its jobs say the same of themselves, beyond what was looked at.
    let own_lines = friend.finish().lines();
    assert!(own_lines.len() == 2 && cpu_us(&own_lines) >= own, "{own} us, {own_lines:?}");
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
