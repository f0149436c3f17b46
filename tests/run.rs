//! `denali run`: the streams are the job's, the exit status is the job's, the report is true.

use crate::harness::{Place, children, eventually, is_alive, json, noise, number, send, text};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Exits to the VMM by kind, but for kicks, which stay in the kernel.
fn exits(report: &Value) -> Vec<(&String, u64)> {
    let exits = report["exits"].as_object().expect("an object");
    let counted = exits.iter().map(|(kind, count)| (kind, count.as_u64().expect("a number")));
    counted.filter(|(kind, count)| *count > 0 && *kind != "kicks" && *kind != "interrupted").collect()
}

#[test]
fn primes_are_counted_with_one_exit() {
    let place = Place::new();
    let run = place.denali(["run", "--report", "r.json"]).arg(place.image("primes"));
    assert_eq!(run.args(["--", "10000000"]).succeed().text(), "664579\n");
    let report = json(&place.path("r.json"));
    assert_eq!(exits(&report), [(&"terminate".to_owned(), 1)]);
    assert_eq!((text(&report, "outcome"), number(&report, "status")), ("exited", 0));
    for key in ["cpu_us", "wall_us", "start_us", "memory_peak_kib"] {
        assert!(number(&report, key) > 0, "{key} in {report}");
    }
    assert_eq!((text(&report, "name"), text(&report, "vm").len()), ("primes", 16));
    assert!(report.get("fault").is_none(), "{report}");
    assert_eq!(report.get("receipt"), Some(&Value::Null), "no node signs for a run without one");
}

/// Five megabytes of words of all lengths, with all the white space of ASCII between them.
fn book() -> String {
    let mut book = String::new();
    for (at, byte) in noise(1_000_000).into_iter().enumerate() {
        let space = [" ", "  ", "\n", "\t", " \r\n", "\u{b}", "\u{c}"][usize::from(byte) % 7];
        write!(book, "{:x}{space}", at * usize::from(byte)).expect("a string takes it");
    }
    book
}

#[test]
fn wordcount_agrees_with_wc_on_a_large_text() {
    let place = Place::new();
    let book = book();
    assert!(book.len() > 5_000_000);
    let file = place.write("book.txt", &book);
    let stdin = std::fs::File::open(&file).expect("the book");
    let wc = Command::new("wc").arg("-w").env("LC_ALL", "C").stdin(stdin).output().expect("there is wc");
    let counted = String::from_utf8(wc.stdout).expect("text");

    let run = |place: &Place| place.denali(["run", "--report", "r.json"]).arg(place.image("wordcount"));
    assert_eq!(run(&place).run_on(&file).text().trim(), counted.trim());
    assert_eq!(exits(&json(&place.path("r.json"))), [(&"terminate".to_owned(), 1)]);
    let words = run(&place).input("to be\tor not\n to be ").succeed();
    assert_eq!(words.text(), "6\n");
}

#[test]
fn echo_gives_back_every_byte() {
    let place = Place::new();
    let bytes = noise(5_000_000);
    let file = place.write("noise", &bytes);
    let image = place.image("echo");
    let done = place.denali(["run"]).arg(&image).run_on(&file);
    assert!(done.status.success() && done.stdout == bytes, "from a file: {} bytes", done.stdout.len());
    let done = place.denali(["run"]).arg(&image).input(bytes.clone()).succeed();
    assert!(done.stdout == bytes, "from a pipe: {} bytes", done.stdout.len());
    let done = place.denali(["run"]).arg(&image).run_on(Path::new("/dev/null"));
    assert!(done.status.success() && done.stdout.is_empty(), "{done}");
}

#[test]
fn output_comes_before_the_input_ends() {
    let place = Place::new();
    let mut echo = place.denali(["run"]).arg(place.image("echo")).start();
    for line in ["first\n", "second\n"] {
        echo.say(line.as_bytes());
        echo.hear(line);
        assert!(echo.is_running());
    }
    assert_eq!(echo.finish().text(), "first\nsecond\n");
}

#[test]
fn the_exit_status_tells_how_the_job_ended() {
    let place = Place::new();
    let run = |sample: &str| place.denali(["run"]).arg(place.image(sample));
    run("hello").end_with(0);
    let failed = run("primes").end_with(1);
    assert!(failed.stdout.is_empty() && failed.stderr.contains("a number below 10^12"), "{failed}");
    let limited = run("hostile/spin").args(["--cpu-time", "50ms"]).end_with(124);
    assert!(limited.stderr.contains("hint: ") && limited.stderr.contains("--cpu-time"), "{limited}");
    run("hostile/sleeper").args(["--wall-time", "50ms"]).end_with(124);
    run("hostile/memory-hog").args(["--memory", "8MiB"]).end_with(137);
    run("hostile/output-flood").args(["--output-limit", "10KiB"]).end_with(137);
    run("hostile/wild-write").end_with(139);
    place.denali(["run", "missing.denali"]).fail_with(["missing.denali", "No such file"]);
    place.denali(["run"]).fail_with(["denali: ", "hint: "]);
    run("hello").args(["--memory", "1KiB"]).fail_with(["memory"]);
}

#[test]
fn a_bundle_and_its_bare_image_run_alike() {
    let place = Place::new();
    let (image, bundle) = (place.image("hello"), place.pack("hello", []));
    for file in [image, bundle] {
        let done = place.denali(["run", "--report", "r.json"]).arg(file).args(["--", "a", "b c"]).succeed();
        assert_eq!(done.text(), "Hello, a b c!\n");
        assert_eq!(text(&json(&place.path("r.json")), "name"), "hello");
    }
}

#[test]
fn a_bundle_brings_its_limits_and_options_replace_them() {
    let place = Place::new();
    let bundle = place.pack("hostile/sleeper", ["--wall-time", "70ms"]);
    let limit = |options: &[&str]| {
        let done = place.denali(["run"]).arg(&bundle).args(options).end_with(124);
        assert!(done.stderr.contains(" ms wall time"), "{done}");
        done.stderr
    };
    assert!(limit(&[]).contains("70 ms"));
    assert!(limit(&["--wall-time", "90ms"]).contains("90 ms"));
}

#[test]
fn a_reader_that_goes_away_ends_the_job() {
    let place = Place::new();
    let begun = Instant::now();
    let status = Command::new("sh")
        .args(["-c", "\"$0\" run \"$1\" --wall-time 90s --cpu-time 90s; echo $? >&2"])
        .args([Path::new(env!("CARGO_BIN_EXE_denali")), &place.image("hostile/output-flood")])
        .env("DENALI_HOME", place.path("home"))
        .stdin(Stdio::null())
        .stdout(closed())
        .output()
        .expect("a shell");
    assert_eq!(String::from_utf8_lossy(&status.stderr), "141\n");
    assert!(begun.elapsed() < Duration::from_secs(60), "it went on without a reader");
}

/// A pipe that nobody reads from.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[test]
fn named_output_files_are_listed_and_kept() {
    let place = Place::new();
    let run = place.denali(["run", "--report", "r.json", "--output-dir", "out"]).arg(place.image("nbody"));
    run.args(["--", "1000"]).succeed();
    let course = std::fs::read_to_string(place.path("out/energy.csv")).expect("the file was kept");
    assert_eq!((course.lines().next(), course.lines().count()), (Some("step,energy"), 101));
    let report = json(&place.path("r.json"));
    let outputs = report["outputs"].as_array().expect("a list");
    let listed = outputs.iter().find(|output| text(output, "channel") == "file").expect("it is listed");
    assert_eq!(text(listed, "name"), "energy.csv");
    assert_eq!(number(listed, "bytes"), course.len() as u64);
}

#[test]
fn an_interrupted_run_is_cancelled() {
    let place = Place::new();
    let run = place.denali(["run", "--report", "r.json"]).arg(place.image("hostile/sleeper")).start();
    let worker = eventually("a worker", || children(run.id()).first().copied());
    // The worker is there before its VM is; either way the run must end.
    std::thread::sleep(Duration::from_millis(200));
    run.signal(Signal::INT);
    let done = run.finish();
    assert_eq!(done.status.code(), Some(125), "{done}");
    assert_eq!(text(&json(&place.path("r.json")), "outcome"), "cancelled");
    eventually("the worker's end", || (!is_alive(worker)).then_some(()));
}

#[test]
fn a_worker_does_not_outlive_its_run() {
    let place = Place::new();
    let run = place.denali(["run"]).arg(place.image("hostile/spin")).args(["--cpu-time", "10m"]).start();
    let worker = eventually("a worker", || children(run.id()).first().copied());
    std::thread::sleep(Duration::from_millis(200));
    run.kill();
    eventually("the worker's end", || (!is_alive(worker)).then_some(()));
}

#[test]
fn a_worker_that_dies_is_reported() {
    let place = Place::new();
    let run = place.denali(["run"]).arg(place.image("hostile/sleeper")).start();
    let worker = eventually("a worker", || children(run.id()).first().copied());
    std::thread::sleep(Duration::from_millis(200));
    send(worker, Signal::KILL);
    let done = run.finish();
    assert_eq!(done.status.code(), Some(125), "{done}");
    assert!(done.stderr.contains("worker"), "{done}");
}
