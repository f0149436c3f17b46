//! A thousand jobs, each with its result, its VM and its receipt; and receipts that somebody changed.

use crate::harness::{Node, Place, flipped, number, text};
use serde_json::Value;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

#[test]
fn a_thousand_jobs_have_a_thousand_results_and_receipts() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let bundle = place.pack("hello", []);
    let submit = node.submit(&place, bundle).args(["--array", "0-999", "--wait", "--json", "--receipts", "receipts"]);
    let lines = submit.args(["--", "number {index}"]).succeed().lines();

    let unique = |key: &str| lines.iter().map(|line| line[key].to_string()).collect::<HashSet<_>>().len();
    assert_eq!((lines.len(), unique("index"), unique("vm"), unique("receipt")), (1000, 1000, 1000, 1000));
    for line in &lines {
        let index = number(line, "index");
        assert_eq!((text(line, "outcome"), number(line, "status")), ("exited", 0), "{line}");
        assert_eq!(text(line, "stdout"), format!("Hello, number {index}!\n"));
        assert_eq!(number(&line["exits"], "terminate"), 1, "{line}");
    }

    let files: Vec<_> =
        fs::read_dir(place.path("receipts")).expect("a directory").flatten().map(|f| f.path()).collect();
    let verified = place.denali(["verify", "--json", "--node", node.id()]).args(&files).succeed().lines();
    assert_eq!(verified.len(), 1000);
    let stated: HashSet<_> = verified.iter().map(|line| statement(line, &lines)).collect();
    assert_eq!(stated.len(), 1000);
}

/// Compares a statement with the line of its job; gives its index.
fn statement(verified: &Value, lines: &[Value]) -> u64 {
    assert!(verified["holds"] == true && verified["node_compared"] == true, "{verified}");
    let statement = &verified["statement"];
    let index = number(statement, "index");
    let line = lines.iter().find(|line| number(line, "index") == index).expect("its line");
    for key in ["job", "outcome", "status", "cpu_us", "wall_us", "vm", "exits", "output", "memory_peak_kib"] {
        assert_eq!(statement[key], line[key], "{key} of index {index}");
    }
    index
}

/// Runs one job; gives its receipt's file, and the receipt in base64.
fn one_receipt(place: &Place, node: &Node) -> (PathBuf, String) {
    let submit = node.submit(place, place.image("hello")).args(["--id", "one", "--receipts", ".", "--json"]);
    let line = submit.succeed().line();
    (place.path("one-0.receipt"), text(&line, "receipt").to_owned())
}

#[test]
fn a_receipt_with_one_flipped_bit_does_not_hold() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let (binary, base64) = one_receipt(&place, &node);
    let text = place.write("one.txt", format!("{base64}\n"));
    let verify = |file: &Path| place.denali(["verify", "--node", node.id()]).arg(file).run();
    for file in [&binary, &text] {
        let done = verify(file);
        assert!(done.status.success() && done.text().contains(": holds"), "{done}");
        let whole = fs::read(file).expect("the receipt");
        let bits = whole.len() * 8;
        for at in 0..16 {
            let changed = place.write("changed.receipt", flipped(&whole, at * (bits - 1) / 15));
            let done = verify(&changed);
            assert_eq!(done.status.code(), Some(1), "bit {}: {done}", at * (bits - 1) / 15);
            assert!(done.text().contains("DOES NOT HOLD"), "{done}");
        }
        for changed in [&whole[..whole.len() - 2], &[&whole[..], b"A"].concat(), b""] {
            assert_eq!(verify(&place.write("changed.receipt", changed)).status.code(), Some(1));
        }
    }
    // From a pipe, and one bad among good ones.
    place.denali(["verify", "-"]).input(base64).succeed();
    let bad = place.write("bad.receipt", b"");
    let done = place.denali(["verify"]).args([&binary, &bad, &text]).end_with(1);
    assert_eq!(done.text().matches(": holds").count(), 2, "{done}");
}

#[test]
fn a_receipt_of_another_node_does_not_hold() {
    let place = Place::new();
    let (node, other) = (Node::start(&place, ""), Node::start(&place, ""));
    let (receipt, _) = one_receipt(&place, &node);
    let done = place.denali(["verify", "--node", other.id()]).arg(&receipt).end_with(1);
    assert!(done.text().contains(node.id()) && done.text().contains(other.id()), "{done}");
    // Without a node to compare with it says so.
    assert!(place.denali(["verify"]).arg(&receipt).succeed().text().contains("not compared"));
    place.denali(["verify", "missing.receipt"]).fail_with(["missing.receipt"]);
}
