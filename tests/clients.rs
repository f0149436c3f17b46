//! Clients that vanish, stall or send rubbish: each harms nobody but itself.

use crate::harness::{Node, Place, eventually, noise, text};
use rustix::process::Signal;
use std::{
    fs,
    net::UdpSocket,
    path::Path,
    time::{Duration, Instant},
};

#[test]
fn a_job_goes_on_when_its_client_vanishes() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let bundle = place.pack("hostile/sleeper", ["--wall-time", "2s"]);
    let client = node.submit(&place, bundle).args(["--id", "orphan", "--wait"]).start();
    eventually("the job", || {
        let listed = node.ask(&place, ["list", "--json"]).succeed().lines();
        listed.iter().any(|line| text(line, "state") == "running").then_some(())
    });
    client.kill();
    node.wait_for(&place, "orphan", "failed");
    let line = node.ask(&place, ["result", "orphan", "--json"]).end_with(124).line();
    assert_eq!(text(&line, "outcome"), "time-limit");
    let receipt = place.write("orphan.txt", text(&line, "receipt"));
    place.denali(["verify", "--node", node.id()]).arg(receipt).succeed();
}

/// Bytes of what a node is just receiving.
fn receiving(node: &Node) -> u64 {
    let files = fs::read_dir(node.data().join("tmp")).expect("a directory").flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

#[test]
fn a_client_that_stalls_in_the_middle_of_its_input_is_given_up() {
    let place = Place::new();
    let node = Node::start(&place, "");
    // As large as an input may be, so that it is under way for a while. It takes no room on the disk here.
    let input = place.path("input");
    fs::File::create(&input).and_then(|file| file.set_len(256 << 20)).expect("a file with a hole");
    let (key, _) = place.key("slow.key");
    let client = node.submit(&place, place.image("echo")).args(["--id", "slow", "--input"]).arg(&input);
    let client = client.arg("--key").arg(&key).start();
    eventually("some of the input", || (receiving(&node) > 1 << 20).then_some(()));
    client.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(200));
    let held = receiving(&node);
    assert!(held > 0 && held < 256 << 20, "it was not stopped in the middle: {held} bytes");

    // Others notice nothing, also those that send much.
    let small = place.write("small", noise(2 << 20));
    let begun = Instant::now();
    node.submit(&place, place.image("wordcount")).args(["--wait", "--input"]).arg(&small).succeed();
    node.serves(&place);
    assert!(begun.elapsed() < Duration::from_secs(25), "others waited for it");
    // What it sent is forgotten, and it has no job.
    eventually("what it sent is removed", || (receiving(&node) == 0).then_some(()));
    let listed = node.ask(&place, ["list", "--json", "--key"]).arg(&key).succeed();
    assert!(listed.stdout.is_empty(), "{listed}");
}

#[test]
fn a_script_may_ask_again_and_again() {
    let place = Place::new();
    let node = Node::start(&place, "");
    // More commands than a client may have connections, sooner than one is given up for being idle.
    for _ in 0..150 {
        node.ask(&place, ["list"]).succeed();
    }
}

#[test]
fn rubbish_on_the_port_changes_nothing() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for (at, piece) in noise(600_000).chunks(1200).enumerate() {
        let mut datagram = piece.to_vec();
        // Every other one looks like the first packet of a QUIC connection (RFC 9000, section 17.2.2).
        if at % 2 == 0 {
            datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        }
        socket.send_to(&datagram[..datagram.len() - at % 1199], node.address()).expect("it is sent");
    }
    node.serves(&place);
}

#[test]
fn an_input_above_the_limit_is_refused_before_it_is_sent() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let input = place.path("input");
    fs::File::create(&input).and_then(|file| file.set_len((256 << 20) + 1)).expect("a file with a hole");
    node.submit(&place, place.image("echo")).arg("--input").arg(input).fail_with(["larger than 256", "hint: "]);
}

#[test]
fn nobody_answers_and_the_client_says_so() {
    let place = Place::new();
    let node = Node::start(&place, "");
    let name = node.name().to_owned();
    node.kill();
    let begun = Instant::now();
    place.denali(["list", "--node", &name]).fail_with(["no answer", "hint: "]);
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(!Path::new(&place.path("home/known_nodes")).exists(), "it was never reached");
}
