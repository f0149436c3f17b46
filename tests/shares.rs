//! Clients with many VMs beside clients with few: each gets its part of the machine.

use crate::harness::{Node, Place, eventually, number};
use serde_json::Value;
use std::path::Path;

/// How long each VM computes, by the clock.
const WALL: [&str; 4] = ["--wall-time", "5s", "--cpu-time", "60s"];

/// CPU time of an array's jobs, by their own results.
fn cpu_us(lines: &[Value]) -> u64 {
    lines.iter().map(|line| number(line, "cpu_us")).sum()
}

#[test]
fn a_crowd_over_several_workers_leaves_another_client_its_half() {
    let place = Place::new();
    let policy = "[node]\nslots = 102\nworker_vms = 30\ncpus = 2\n[unsigned]\nvms = 100\ncpu_time = \"60s\"\n";
    let node = Node::start(&place, policy);
    let spin = place.pack("hostile/spin", WALL);
    let (crowd, honest) = (place.key("crowd.key").0, place.key("honest.key").0);
    let submit = |indices: &str, key: &Path| {
        node.submit(&place, &spin).args(["--json", "--array", indices, "--key"]).arg(key).start()
    };
    let attackers = submit("0-99", &crowd);
    eventually("a hundred VMs", || {
        let top = node.ask(&place, ["top", "--once", "--json"]).succeed().line();
        // Each has a place on one of four workers.
        (number(&top["all"], "jobs_running") == 100).then(|| assert_eq!(number(&top["all"], "workers"), 4))
    });
    let friend = submit("0-1", &honest);
    let (attackers, friend) = (attackers.finish(), friend.finish());
    let (theirs, own) = (cpu_us(&attackers.lines()), cpu_us(&friend.lines()));
    assert_eq!((attackers.lines().len(), friend.lines().len()), (100, 2));
    // Two VMs on one CPU each, against a hundred on the other. Both sides compute for as long, one a little later.
    let share = own as f64 / (own + theirs) as f64;
    println!("the honest client had {:.1} % of {} ms", share * 100.0, (own + theirs) / 1000);
    assert!(share >= 0.45, "{own} of {} us", own + theirs);
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
