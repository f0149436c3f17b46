//! Who is not served, and is told why; and nodes that do not start.

use crate::harness::{Node, Place};
use std::fs;

#[test]
fn unsigned_bundles_run_only_where_the_policy_says_so() {
    let place = Place::new();
    let (key, public) = place.key("alice.key");
    let node = Node::start(&place, &format!("[unsigned]\nallow = false\n[[signer]]\nkey = \"{public}\"\n"));
    let bundle = place.pack("hello", []);
    node.submit(&place, &bundle).arg("--wait").fail_with(["refused", "unsigned", "hint: "]);
    place.denali(["sign", "--key"]).args([&key, &bundle]).succeed();
    node.submit(&place, &bundle).arg("--wait").succeed();
    // Who signed the bundle and who submits it are two questions.
    let (other, _) = place.key("bob.key");
    node.submit(&place, &bundle).arg("--wait").arg("--key").arg(other).succeed();
}

#[test]
fn a_signer_that_the_node_does_not_know_is_named() {
    let place = Place::new();
    let (key, public) = place.key("alice.key");
    let node = Node::start(&place, "");
    let bundle = place.pack("hello", []);
    place.denali(["sign", "--key"]).args([&key, &bundle]).succeed();
    node.submit(&place, &bundle).arg("--wait").fail_with(["refused", &public]);
    assert_eq!(fs::read_dir(node.data().join("bundles")).expect("a directory").count(), 0, "nothing is kept of it");
    node.serves(&place);
}

#[test]
fn a_manifest_above_the_grant_is_refused_with_the_numbers() {
    let place = Place::new();
    let (key, public) = place.key("alice.key");
    let policy = format!("[unsigned]\nmemory = \"32MiB\"\n[[signer]]\nkey = \"{public}\"\nmemory = \"128MiB\"\n");
    let node = Node::start(&place, &policy);
    let submit = |options: [&str; 2]| node.submit(&place, place.pack("hello", options)).arg("--wait");
    submit(["--memory", "33MiB"]).fail_with(["34603008 bytes of memory", "33554432"]);
    submit(["--cpu-time", "11s"]).fail_with(["hint: "]);
    submit(["--wall-time", "2h"]).fail_with(["hint: "]);
    submit(["--memory", "32MiB"]).succeed();
    let bundle = place.pack("hello", ["--memory", "128MiB"]);
    place.denali(["sign", "--key"]).args([&key, &bundle]).succeed();
    node.submit(&place, &bundle).arg("--wait").succeed();
    // What a dry run says of it is true.
    let bundle = place.pack("hello", ["--memory", "129MiB"]);
    assert!(!node.submit(&place, &bundle).arg("--dry-run").run().status.success());
    assert!(node.ask(&place, ["list", "--json"]).succeed().lines().len() == 2);
}

#[test]
fn a_client_that_is_not_on_the_list_is_refused() {
    let place = Place::new();
    let (key, public) = place.key("alice.key");
    let node = Node::start(&place, &format!("[clients]\nallow = [\"{public}\"]\n"));
    node.submit(&place, place.image("hello")).arg("--wait").fail_with(["refused", "allow"]);
    node.ask(&place, ["list"]).fail_with(["refused"]);
    node.submit(&place, place.image("hello")).arg("--wait").arg("--key").arg(key).succeed();
}

#[test]
fn more_jobs_than_a_client_may_have_are_refused() {
    let place = Place::new();
    let node = Node::start(&place, "[clients]\nqueue_jobs = 10\n");
    node.submit(&place, place.image("hello")).args(["--wait", "--array", "0-10"]).fail_with(["10 jobs", "hint: "]);
    node.submit(&place, place.image("hello")).args(["--wait", "--array", "0-9"]).succeed();
    node.submit(&place, place.image("hello")).args(["--array", "0-100000"]).fail_with(["100000"]);
    node.submit(&place, place.image("hello")).args(["--array", "5-4"]).fail_with(["5"]);
}

#[test]
fn a_node_with_another_key_is_not_trusted() {
    let place = Place::new();
    let (node, other) = (Node::start(&place, ""), Node::start(&place, ""));
    let mistaken = format!("{}@{}", other.id(), node.address());
    let submit = |name: &str| place.denali(["submit", "--wait", "--node", name]).arg(place.image("hello"));
    submit(&mistaken).fail_with([node.id(), other.id(), "hint: "]);
    // Nor is a node without an id, before it was reached once.
    submit(&node.address()).fail_with(["not known", "hint: "]);
    submit(node.name()).succeed();
    submit(&node.address()).succeed();
    submit("127.0.0.1").fail_with(["not known"]);
    submit("nobody@127.0.0.1:1").fail_with(["node id"]);
}

#[test]
fn a_second_node_on_the_same_directory_does_not_start() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let done = node.twin(&place).fail_with(["another node", "--data"]);
    assert!(done.stdout.is_empty(), "{done}");
    node.serves(&place);
    // A directory is free again however its node ended.
    node.crash(&place).serves(&place);
}

#[test]
fn a_policy_that_is_none_is_refused_with_its_line() {
    let place = Place::new();
    for (policy, word) in [
        ("[unsigned]\nalow = true\n", "alow"),
        ("[unsigned]\nmemory = \"lots\"\n", "lots"),
        ("[[signer]]\nkey = \"abc\"\n", "line 2"),
        ("[unsigned\n", "line 1"),
    ] {
        let file = place.write("policy.toml", policy);
        let node = place.denali(["node", "--data", "data", "--listen", "127.0.0.1:0", "--policy"]).arg(file);
        node.fail_with(["policy.toml", word]);
    }
    let node = place.denali(["node", "--data", "data", "--listen", "127.0.0.1:0", "--policy", "missing.toml"]);
    node.fail_with(["missing.toml"]);
}
