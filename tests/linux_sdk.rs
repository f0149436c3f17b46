//! Programs for Linux that know Denali: in a VM they say what they say on the host, and more.

use crate::harness::{Node, Place, number, text};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const POLICY: &str = "[node]\nslots = 1\n[unsigned]\nmemory = \"256MiB\"\n";

/// It says what is known before there is a job and after it, and whether its arguments are the job's. Its clocks never go back.
const BEFORE: &str = r#"
#include "denali.h"
#include <sys/random.h>
#include <time.h>
static double clocks(void) {
    struct timespec a, b;
    if (clock_gettime(CLOCK_MONOTONIC, &a) < 0 || clock_gettime(CLOCK_REALTIME, &b) < 0) return -1;
    return a.tv_sec < b.tv_sec ? a.tv_sec + a.tv_nsec / 1e9 : -2;
}
int main(int argc, char **argv) {
    unsigned before = 0, after = 0, spent = 0;
    if (getrandom(&before, sizeof before, 0) < 0) return 1;
    for (volatile unsigned i = 0; i < 50000000; i++) spent += i;
    denali_progress(0.9);
    double begun = clocks();
    if (denali_ready(&argc, &argv) < 0) return 2;
    if (clocks() < begun) return 4;
    if (getrandom(&after, sizeof after, 0) < 0) return 3;
    denali_progress(0.25);
    if (argc > 1 && strcmp(argv[1], "slowly") == 0) sleep(1);
    printf("%08x %08x", before, after);
    for (int i = 1; i < argc; i++) printf(" <%s>", argv[i]);
    return spent != 1283106752u || argv[argc] != NULL;
}
"#;

/// It says what may be written to the device, and tells progress far more often than anyone can look.
const WRITES: &str = r#"
#include "denali.h"
int main(void) {
    static const char *const texts[] = {"", "x", "1001", "-1", "0.5", "12 ", "7\n7", "0", "12\n", "1000"};
    int device = open("/dev/denali/progress", O_WRONLY);
    for (unsigned i = 0; i < sizeof texts / sizeof *texts - 1; i++)
        printf("%d ", write(device, texts[i], strlen(texts[i])) < 0 ? errno : 0);
    for (int i = 0; i <= 10000000; i++) denali_progress(i / 1e7);
    puts(denali_result("../name") || denali_result("/name") || denali_result("") ? "taken" : "refused");
    return 0;
}
"#;

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn build(command: &mut Command) {
    let built = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(built.status.success(), "{command:?}: {}", String::from_utf8_lossy(&built.stderr));
}

/// A program in C, with a compiler and its options.
fn compiled(place: &Place, source_file: &Path, compiler: &[&str]) -> PathBuf {
    let (compiler, options) = compiler.split_first().expect("a compiler");
    let program = place.path(&format!("{compiler}-program"));
    let mut command = Command::new(compiler);
    command.args(["-O2", "-Wall", "-Wextra", "-Werror", "-I"]).arg(source("guest-libos/linux/sdk"));
    build(command.args(options).arg("-o").arg(&program).arg(source_file));
    program
}

fn in_rust(place: &Place) -> PathBuf {
    let target = place.path("target");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--offline", "--package", "goldbach", "--target-dir"]).arg(&target);
    build(cargo.arg("--manifest-path").arg(source("Cargo.toml")));
    target.join("release/goldbach")
}

/// What a program says on the host, and its named result.
fn on_host(place: &Place, program: &Path, out: Option<&str>) -> (Vec<u8>, String) {
    let mut command = Command::new(program);
    command.arg("7").current_dir(place.path("")).env_remove("DENALI_OUT");
    if let Some(out) = out {
        command.env("DENALI_OUT", place.path(out));
    }
    let done = command.output().expect("it can be started");
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
    (done.stdout, ways(place, out.unwrap_or("out")))
}

fn ways(place: &Place, directory: &str) -> String {
    fs::read_to_string(place.path(directory).join("ways.csv")).expect("the result")
}

/// Runs a sample on the host, in a VM, and on a node for several jobs.
fn holds(place: &Place, node: &Node, program: &Path) {
    let host = on_host(place, program, Some("deep/native"));
    assert_eq!(on_host(place, program, None), host, "it goes to `out` as well");
    assert_eq!(host.0, b"block 7: 104885 ways\n");
    let run = place.denali(["run", "--force", "--output-dir", "vm"]).arg(program);
    assert_eq!((run.arg("7").succeed().stdout, ways(place, "vm")), host);
    let jobs = node.submit(place, program).args(["--ready", "--array", "5-9", "--force", "--output-dir", "jobs"]);
    jobs.arg("{index}").succeed();
    assert_eq!((fs::read(place.path("jobs/7.stdout")).expect("output"), ways(place, "jobs/7")), host);
    let wrong = place.denali(["run"]).arg(program).args(["--", "900000"]).end_with(1);
    assert!(wrong.stderr.contains("below 900000"), "{wrong}");
}

#[test]
fn samples_say_the_same_everywhere() {
    let place = Place::new();
    // Two slots, so that one VM prepares itself for its job alone, while the other is to be copied.
    let node = Node::start(&place, &POLICY.replace("slots = 1", "slots = 2"));
    let sample = source("samples/linux/goldbach.c");
    holds(&place, &node, &compiled(&place, &sample, &["gcc", "-static"]));
    holds(&place, &node, &compiled(&place, &sample, &["g++", "-std=c++11", "-x", "c++"]));
    holds(&place, &node, &in_rust(&place));
}

/// Each line of a job that ran `BEFORE`: its two random numbers, and its other words.
fn words(line: &Value) -> [&str; 3] {
    let mut words = text(line, "stdout").splitn(3, ' ');
    std::array::from_fn(|_| words.next().expect("three words"))
}

#[test]
fn what_comes_before_ready_runs_once_for_many_jobs() {
    let place = Place::new();
    let node = Node::start(&place, POLICY);
    let program =
        compiled(&place, &place.write("before.c", BEFORE), &["gcc", "-std=c99", "-D_DEFAULT_SOURCE", "-static"]);
    let submit = |options: &[&str]| {
        let jobs = node.submit(&place, &program).args(options).args(["--json", "--array", "0-9", "--"]);
        let mut lines = jobs.args(["{index}", "", "a b"]).succeed().lines();
        lines.sort_by_key(|line| number(line, "index"));
        lines
    };
    // One slot: the first job of a bundle starts like any, and the second comes to the place where the VM is copied.
    let [cold, _, warm] = [&[][..], &["--ready"], &["--ready"]].map(submit);
    for (index, line) in cold.iter().chain(&warm).enumerate() {
        assert_eq!(words(line)[2], format!("<{}> <> <a b>", index % 10));
    }
    let distinct =
        |lines: &[Value], word: usize| lines.iter().map(|line| words(line)[word]).collect::<BTreeSet<_>>().len();
    assert_eq!([distinct(&cold, 0), distinct(&cold, 1)], [10, 10]);
    assert_eq!([distinct(&warm, 0), distinct(&warm, 1)], [1, 10]);
    let most = warm.iter().map(|line| number(line, "cpu_us")).max().expect("jobs");
    let least = cold.iter().map(|line| number(line, "cpu_us")).min().expect("jobs");
    assert!(most < least, "{most} us of CPU time for a copy, {least} us for all of it");
}

/// What a command writes to its terminal.
fn on_terminal(place: &Place, command: &str) -> String {
    let mut script = Command::new("script");
    script.args(["-qec", command, "/dev/null"]).current_dir(place.path("")).env("DENALI_HOME", place.path("home"));
    let done = script.stdin(Stdio::null()).output().expect("there is script(1)");
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn progress_is_seen_by_who_waits() {
    let place = Place::new();
    let node = Node::start(&place, POLICY);
    let program = compiled(&place, &place.write("before.c", BEFORE), &["gcc", "-static"]);
    let (denali, node, program) = (env!("CARGO_BIN_EXE_denali"), node.name(), program.display());
    let seen = on_terminal(&place, &format!("{denali} submit --node {node} {program} --ready --wait slowly"));
    assert!(seen.contains("250/1000"), "{seen:?}");
    assert!(!seen.contains("900/1000"), "that was before there was a job: {seen:?}");
}

#[test]
fn progress_is_thousandths_and_nothing_else() {
    let place = Place::new();
    let program = compiled(&place, &place.write("writes.c", WRITES), &["gcc", "-static"]);
    let done = place.denali(["run", "--cpu-time", "5s"]).arg(&program).succeed();
    assert_eq!(done.text(), "22 22 22 22 22 22 22 0 0 refused\n");
}

#[test]
fn progress_is_drawn_on_terminals() {
    let place = Place::new();
    let steps: String = (1..=10).map(|tenth| format!("\r{:5.1} %", f64::from(tenth) * 10.0)).collect();
    for program in [compiled(&place, &source("samples/linux/goldbach.c"), &["gcc"]), in_rust(&place)] {
        let seen = on_terminal(&place, &format!("{} 7", program.display()));
        assert_eq!(seen, steps.clone() + "\r\nblock 7: 104885 ways\r\n");
    }
}
