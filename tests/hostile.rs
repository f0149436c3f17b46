//! Hosts that give no whole jail: a node says so, or does not start. Workers that lose a part of theirs: their jobs are run again.

use crate::harness::{Node, Place, Running, children, eventually, is_alive, send, text};
use denali_vmm::jail::Role;
use rustix::process::{Signal, geteuid};
use std::{collections::BTreeSet, fs};

/// Starts a node where no process may make a namespace of users.
fn without_users(place: &Place, policy: &str) -> Running {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    place
        .denali(["node", "--listen", "127.0.0.1:0", "--data"])
        .arg(place.path("data"))
        .arg("--policy")
        .arg(place.write("policy.toml", policy))
        .through("sh", ["-c", script, "sh"])
        .through("unshare", ["--user", "--map-root-user", "--"])
        .start()
}

fn may_try() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("not tried: only root can keep its own processes from namespaces and open /dev/kvm then");
    }
    root
}

#[test]
fn what_a_host_does_not_give_for_the_jail_is_told() {
    if !may_try() {
        return;
    }
    let place = Place::new();
    let node = without_users(&place, "");
    let name = node.hear("\n").lines().next().expect("a line").to_owned();
    let status = place.denali(["status", "--json", "--node", &name]).succeed().line();
    let lacks = status["jail_lacks"].as_array().expect("a list");
    assert!(lacks.iter().any(|lack| lack.as_str().is_some_and(|lack| lack.contains("users of its own"))), "{status}");
    let shown = place.denali(["status", "--node", &name]).succeed().text();
    assert!(shown.contains("jail     lacks users of its own"), "{shown}");
    assert!(node.stderr().contains("users of its own"), "{}", node.stderr());
    // What it has of the jail, it has: jobs run.
    let done =
        place.denali(["submit", "--node", &name]).arg(place.image("hello")).args(["--json", "--", "you"]).succeed();
    assert_eq!(text(&done.line(), "outcome"), "exited");
}

#[test]
fn a_node_that_insists_on_a_jail_does_not_start_without() {
    if !may_try() {
        return;
    }
    for jail in ["whole", "limited"] {
        let place = Place::new();
        let done = without_users(&place, &format!("[node]\njail = \"{jail}\"\n")).finish();
        assert_eq!(done.status.code(), Some(125), "{done}");
        assert!(done.stderr.contains("users of its own") && done.stderr.contains("hint: "), "{done}");
    }
}

/// A host with control groups that can be used starts the node; the others are told why.
#[test]
fn limits_are_insisted_on_or_told() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let unbounded = node.ask(&place, ["status", "--json"]).succeed().line()["unbounded"].clone();
    let shown = node.ask(&place, ["status"]).succeed().text();
    let policy = place.write("limited.toml", "[node]\njail = \"limited\"\n");
    let limited = || {
        let data = place.path("limited");
        place.denali(["node", "--listen", "127.0.0.1:0", "--data"]).arg(data).arg("--policy").arg(&policy)
    };
    if let Some(why) = unbounded.as_str() {
        assert!(shown.contains(&format!("limits   of no control group: {why}")), "{shown}");
        limited().fail_with(["limits by a control group", why]);
    } else {
        assert!(shown.contains("limits   of a control group for each worker"), "{shown}");
        limited().start().hear("@");
        for worker in node.workers() {
            let group = fs::read_to_string(format!("/proc/{worker}/cgroup")).expect("it lives");
            assert!(group.contains("/denali-worker-"), "{group}");
        }
    }
}

#[test]
fn a_worker_that_can_not_enter_its_group_does_not_start() {
    let place = Place::new();
    place.denali(["worker", "--cgroup", "/no/such/group"]).fail_with(["/no/such/group/cgroup.procs"]);
}

/// Whatever a worker does, its files grow no further than what the policy has it write.
#[test]
fn a_worker_writes_no_files_beyond_what_the_policy_gives_it() {
    let place = Place::new();
    let most = |policy: &str| {
        let node = Node::start(&place, policy);
        node.submit(&place, place.image("hello")).args(["--", "you"]).succeed();
        let processes = node.workers();
        let limits =
            fs::read_to_string(format!("/proc/{}/limits", processes.first().expect("a worker"))).expect("it lives");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max file size")).expect("it has that limit");
        let values: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert!(matches!(values[..], [soft, hard] if soft == hard), "{limits}");
        values[0]
    };
    let gib = 1 << 30;
    // An image of the largest VM, with its tables; or a part of the disk for VMs that idle.
    assert!((gib..gib + gib / 10).contains(&most("[unsigned]\nmemory = \"1GiB\"\n")));
    assert_eq!(most("[node]\nslots = 1\nswap = \"25GiB\"\n"), 5 * gib);
}

/// What waits for a worker outside of its namespaces is not there to be taken from it.
#[test]
fn a_worker_whose_launcher_is_killed_costs_no_job() {
    let place = Place::new();
    let node = Node::start(&place, "[node]\nslots = 1\n");
    let job = ["--id", "primes", "--", "1000000000"];
    node.submit(&place, place.image("primes")).args(job).succeed();
    let worker = node.busy_worker(&[]);
    let launcher = children(node.process()).into_iter().find(|launcher| children(*launcher).contains(&worker));
    send(launcher.expect("it has a launcher"), Signal::KILL);
    eventually("the worker is gone too", || (!is_alive(worker)).then_some(()));
    assert_eq!(node.ask(&place, ["logs", "primes", "-f"]).succeed().text(), "50847534\n");
    node.ask(&place, ["result", "primes"]).succeed();
}

#[test]
fn what_is_said_of_system_calls_is_so() {
    let text = include_str!("../SECURITY.md");
    let said = |thread: &str| {
        let row = text.lines().find(|line| line.starts_with(&format!("| {thread}"))).expect("a row of the table");
        row.split('|').nth(2).expect("its number").trim().parse::<usize>().expect("a number")
    };
    let of = |role: Role| role.rules().iter().map(|rule| rule.call).collect::<BTreeSet<_>>();
    let roles =
        [("runner", Role::Runner), ("keeper", Role::Keeper), ("reporter", Role::Reporter), ("main", Role::Main)];
    for (thread, role) in roles {
        assert_eq!(said(thread), of(role).len(), "{thread}");
    }
    assert_eq!(said("launcher: another"), of(Role::Launcher).len());
    let all: BTreeSet<i64> = roles.into_iter().flat_map(|(_, role)| of(role)).collect();
    assert_eq!(said("worker in all"), all.len());
}
