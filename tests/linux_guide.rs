//! `docs/linux.md` as its readers try it: the commands of each part in an empty directory, in one shell, with a node.

use crate::harness::Place;
use std::{
    path::Path,
    process::{Command, Stdio},
};

const GUIDE: &str = include_str!("../docs/linux.md");

/// The part whose commands come before those of any other.
const NODE: &str = "A node to try it with";

/// Most seconds that a part takes; builders may be slow.
const PATIENCE: &str = "300";

/// Compares what a command printed, its lines with `; ` between them, with what the guide says.
const SAID: &str = r#"
said() {
    local said
    said=$(awk 'NR > 1 { printf "; " } { printf "%s", $0 }' "$SAID")
    [ "$said" = "$1" ] || { printf 'promised: %s\nprinted:  %s\n' "$1" "$said" >&2; exit 1; }
}
set -e
"#;

/// A part of the guide: its heading, and a script of its commands.
struct Part {
    heading: &'static str,
    script: String,
    promises: usize,
}

impl Part {
    fn new(text: &'static str) -> Self {
        let (heading, text) = text.split_once('\n').unwrap_or_default();
        let (mut script, mut promises) = (String::new(), 0);
        let (mut in_block, mut in_document) = (false, false);
        for line in text.lines() {
            match line {
                "```sh" => in_block = true,
                "```" => in_block = false,
                _ if !in_block => {}
                _ => {
                    let promise = line.rsplit_once(" # ").filter(|_| !in_document);
                    in_document = line != "END" && (in_document || line.ends_with("<<'END'"));
                    script += &promise.map_or_else(|| format!("{line}\n"), |(command, said)| checked(command, said));
                    promises += usize::from(promise.is_some());
                }
            }
        }
        Self { heading, script, promises }
    }
}

/// A command that has to print this.
fn checked(command: &str, said: &str) -> String {
    let said = said.trim().replace('\'', r"'\''");
    format!("set +e; {{ {command}\n}} > \"$SAID\"; set -e; said '{said}'\n")
}

fn parts() -> Vec<Part> {
    GUIDE.split("\n##").map(|text| Part::new(text.trim_start_matches(['#', ' ']))).collect()
}

/// Runs what a part says after what the part about nodes says.
fn try_out(part: &Part) {
    let place = Place::new();
    let node = parts().into_iter().find(|part| part.heading == NODE).expect("the part about nodes").script;
    let script = format!("{SAID}mkdir node part; cd node\n{node}\ntrap \"kill $!\" EXIT\ncd ../part\n{}", part.script);
    let denali = Path::new(env!("CARGO_BIN_EXE_denali")).parent().expect("a directory").display();
    let path = format!("{denali}:{}", std::env::var("PATH").expect("a path"));
    let mut bash = Command::new("timeout");
    bash.args([PATIENCE, "bash", "-c", &script]).current_dir(place.path("")).stdin(Stdio::null());
    bash.env("PATH", path).env("SAID", place.path("said")).env("DENALI_HOME", place.path("home"));
    bash.env("DENALI", Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).env_remove("RUSTFLAGS");
    let done = bash.env_remove("CARGO_TARGET_DIR").env_remove("DENALI_OUT").output().expect("there is bash");
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {}\n{errors}", part.heading, done.status);
}

/// Tries the parts for a language, of which there are so many, where a command says that this machine has what they need.
fn language(name: &str, needs: &[&str], count: usize) {
    let parts: Vec<Part> = parts().into_iter().filter(|part| part.heading.contains(name)).collect();
    assert_eq!(parts.len(), count, "{name}");
    if !Command::new(needs[0]).args(&needs[1..]).output().is_ok_and(|said| said.status.success()) {
        eprintln!("left out, there is no {}", needs.join(" "));
        return;
    }
    for part in parts {
        assert!(part.promises >= 2, "{}: {} promises", part.heading, part.promises);
        try_out(&part);
    }
}

#[test]
fn the_parts_about_c_hold() {
    language("C and C++", &["gcc", "--version"], 2);
}

#[test]
fn the_parts_about_rust_hold() {
    language("Rust", &["cargo", "--version"], 2);
}

#[test]
fn the_parts_about_go_hold() {
    language("Go", &["go", "version"], 2);
}

#[test]
fn the_parts_about_python_hold() {
    language("Python", &["/usr/bin/python3.11", "-c", "import ctypes, hashlib, json, ssl"], 2);
}
