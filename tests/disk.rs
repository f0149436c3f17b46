//! A disk that is full: the node says so to whom it concerns, and goes on with what fits.

use crate::harness::{Node, Place, eventually, text};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// A small file system in memory. Unmounted when this is dropped, so declare what uses it later.
pub(crate) struct TinyDisk(PathBuf);

impl TinyDisk {
    /// Only root may mount one; none elsewhere.
    pub(crate) fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).expect("a directory");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(&at).output();
        if mount.is_ok_and(|done| done.status.success()) {
            return Some(Self(at));
        }
        eprintln!("skipped: no file system can be mounted here, so no disk can be filled");
        None
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).expect("a file");
        for size in [64 * 1024, 1024, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // Lazily, in case that a process has not let go of it yet.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn what_does_not_fit_on_the_disk_is_refused_and_the_rest_goes_on() {
    let place = Place::new();
    let Some(disk) = TinyDisk::mount(place.path("disk"), "size=24m") else { return };
    let node = Node::start_on(&place, disk.0.join("data"), "[unsigned]\noutput = \"64MiB\"\n");
    node.serves(&place);

    let before = room(&disk.0);
    // An input that is too large, and output that is.
    let input = place.path("input");
    File::create(&input).and_then(|file| file.set_len(40 << 20)).expect("a file with a hole");
    let big = node.submit(&place, place.image("wordcount")).args(["--wait", "--input"]).arg(&input);
    big.fail_with(["refused", "disk"]);
    node.serves(&place);
    let flood = node.submit(&place, place.image("hostile/output-flood")).args(["--id", "flood", "--json"]);
    let line = flood.end_with(125).line();
    assert_eq!(text(&line, "outcome"), "lost", "{line}");
    assert!(text(&line, "message").contains("disk"), "{line}");
    node.serves(&place);

    eventually("its room is free again", || (room(&disk.0) + (1 << 20) > before).then_some(()));

    // Not a byte left, and results of more than the store's files have room for. What the node has accepted goes on when
    // there is room; what it cannot accept it refuses.
    let filler = disk.fill();
    let long = "x".repeat(24 << 10);
    let array = ["--id", "array", "--array", "0-399", "--json", "--timeout", "5s", "--", "{index}", &long];
    let done = node.submit(&place, place.image("hello")).args(array).fail_with([]);
    let accepted = done.stderr.contains("job array goes on");
    assert!(accepted || done.stderr.contains("the node's disk is full"), "{done}");
    node.submit(&place, place.image("echo")).arg("--wait").fail_with(["refused", "the node's disk is full"]);
    node.ask(&place, ["list"]).succeed();

    fs::remove_file(filler).expect("it is ours");
    if accepted {
        node.ask(&place, ["logs", "array", "-f"]).succeed();
        let lines = node.ask(&place, ["result", "array", "--json"]).succeed().lines();
        assert_eq!(lines.len(), 400);
        let right = |line: &Value| text(line, "stdout") == format!("Hello, {} {long}!\n", line["index"]);
        assert!(lines.iter().all(right));
    }
    node.serves(&place);
    let again = node.ask(&place, ["result", "flood", "--json"]).end_with(125).line();
    assert_eq!(again, line, "nothing is forgotten");
}

/// Free bytes of a file system.
fn room(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).expect("it is mounted");
    stat.f_bavail * stat.f_frsize
}
