//! Each sample ends as its `expect.toml` says, alone and on a node with a well-behaved job beside it.

use crate::harness::{Node, Place, json, number, text};
use denali_kernels::mandelbrot::Tile;
use denali_samples::Sample;
use serde::Deserialize;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// How a run must end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expectation {
    pub(crate) outcome: String,
    pub(crate) status: u8,
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    #[serde(default)]
    input: String,
    /// Relative to the repository's root.
    input_file: Option<PathBuf>,
    pub(crate) output: Option<String>,
    output_bytes: Option<usize>,
    /// Part of the outcome's message.
    message: Option<String>,
    #[serde(default = "default_cpu_time_ms")]
    pub(crate) cpu_time_ms: u64,
    #[serde(default = "default_wall_time_ms")]
    pub(crate) wall_time_ms: u64,
    memory_mib: Option<u64>,
    output_limit: Option<usize>,
}

/// The defaults of `denali pack`.
fn default_cpu_time_ms() -> u64 {
    10_000
}

fn default_wall_time_ms() -> u64 {
    60_000
}

/// How late a limit of time may be enforced.
const LATE_MS: u64 = 100;

impl Expectation {
    /// The expectation of a sample; none for a program that only measures.
    fn of(sample: &Sample) -> Option<Self> {
        let parsed = || toml::from_str(sample.expectation).unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        (!sample.expectation.is_empty()).then(parsed)
    }

    pub(crate) fn input(&self) -> Vec<u8> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        match &self.input_file {
            Some(file) => fs::read(root.join(file)).expect("the input file"),
            None => self.input.clone().into_bytes(),
        }
    }

    pub(crate) fn memory(&self) -> String {
        format!("{}MiB", self.memory_mib.unwrap_or(64))
    }

    /// Compares with what `run --report` and `submit --json` say.
    fn check(&self, name: &str, facts: &Value, stdout_bytes: usize) {
        assert_eq!(text(facts, "outcome"), self.outcome, "{name}: {facts}");
        assert_eq!(number(facts, "status"), u64::from(self.status), "{name}: {facts}");
        let message = self.message.as_deref().unwrap_or_default();
        assert!(text(facts, "message").contains(message), "{name}: no {message:?} in {facts}");
        assert_eq!(facts["fault"].is_object(), self.outcome == "fault", "{name}: {facts}");
        if let Some(bytes) = self.output_bytes {
            assert_eq!(stdout_bytes, bytes, "{name}");
        }
        let (cpu_us, wall_us) = (number(facts, "cpu_us"), number(facts, "wall_us"));
        assert!(cpu_us <= (self.cpu_time_ms + LATE_MS) * 1000, "{name} had too much CPU time: {facts}");
        assert!(wall_us <= (self.wall_time_ms + LATE_MS) * 1000, "{name} had too much time: {facts}");
        if self.outcome == "time-limit" {
            let early = cpu_us < self.cpu_time_ms * 1000 && wall_us < self.wall_time_ms * 1000;
            assert!(!early, "{name} was ended before its limit: {facts}");
        }
    }
}

/// All samples that have an expectation.
pub(crate) fn expected() -> impl Iterator<Item = (&'static Sample, Expectation)> {
    denali_samples::ALL.iter().filter_map(|sample| Some((sample, Expectation::of(sample)?)))
}

#[test]
fn every_sample_ends_as_expected() {
    let place = Place::new();
    place.denali(["samples", "samples"]).succeed();
    for (sample, expectation) in expected() {
        let bundle = place.path("samples").join(format!("{}.denali", sample.name));
        let (cpu_time, wall_time) =
            (format!("{}ms", expectation.cpu_time_ms), format!("{}ms", expectation.wall_time_ms));
        let mut command = place.denali(["run", "--report", "report.json", "--cpu-time", &cpu_time]);
        command = command.args(["--wall-time", &wall_time, "--memory", &expectation.memory()]).arg(&bundle);
        if let Some(limit) = expectation.output_limit {
            command = command.args(["--output-limit", &limit.to_string()]);
        }
        let done = command.arg("--").args(&expectation.arguments).input(expectation.input()).run();
        assert_eq!(done.status.code(), Some(expectation.status.into()), "{done}");
        if let Some(output) = &expectation.output {
            assert_eq!(&done.text(), output, "{done}");
        }
        // What went wrong is for people to read, too.
        if expectation.outcome != "exited" {
            assert!(done.stderr.contains(expectation.message.as_deref().unwrap_or_default()), "{done}");
        }
        expectation.check(sample.name, &json(&place.path("report.json")), done.stdout.len());
    }
}

#[test]
fn the_samples_that_were_promised_are_there() {
    for name in ["hello", "echo", "primes", "mandelbrot", "wordcount", "nbody", "c-sort"] {
        assert!(expected().any(|(sample, _)| sample.name == name), "{name}");
    }
    let hostile = expected().filter(|(sample, _)| sample.name.starts_with("hostile/")).count();
    assert!(hostile >= 8, "only {hostile} hostile ones");
}

#[test]
fn a_tile_of_the_picture_is_what_the_host_computes() {
    let place = Place::new();
    let done = place.denali(["run"]).arg(place.image("mandelbrot")).args(["--", "27", "8", "512"]).succeed();
    let tile = Tile { index: 27, per_side: 8, size: 512 };
    assert!(done.stdout == tile.render(), "another picture");
}

/// The attackers run one after the other in the worker that also holds the job they may not disturb.
#[test]
fn attackers_end_as_expected_while_a_job_beside_them_goes_on() {
    let place = Place::new();
    let limit =
        expected().filter_map(|(_, expectation)| expectation.output_limit).min().expect("one floods its output");
    let policy = format!("[node]\nslots = 4\n[unsigned]\noutput = {limit}\ncpu_time = \"10m\"\nwall_time = \"20m\"\n");
    let node = Node::start(&place, &policy);
    // Some ten seconds of computing, the attackers need about three; on a busy machine both need more.
    let bundle = place.pack("primes", ["--cpu-time", "5m", "--wall-time", "10m"]);
    node.submit(&place, bundle).args(["--id", "good", "--", "10000000000"]).succeed();
    node.wait_for(&place, "good", "running");

    for (sample, expectation) in expected().filter(|(sample, _)| sample.name.starts_with("hostile/")) {
        let (cpu_time, wall_time) =
            (format!("{}ms", expectation.cpu_time_ms), format!("{}ms", expectation.wall_time_ms));
        let memory = expectation.memory();
        let options = ["--memory", &memory, "--cpu-time", &cpu_time, "--wall-time", &wall_time];
        let bundle = place.pack(sample.name, options);
        let line = node.submit(&place, bundle).arg("--json").end_with(expectation.status.into()).line();
        if let Some(output) = &expectation.output {
            assert_eq!(text(&line, "stdout"), output, "{}", sample.name);
        }
        let stdout = line["outputs"].as_array().expect("a list").iter().find(|output| output["channel"] == "stdout");
        expectation.check(sample.name, &line, stdout.map_or(0, |output| number(output, "bytes") as usize));
        assert_eq!(text(&node.status(&place, "good"), "state"), "running", "nothing was beside {}", sample.name);
    }

    let good = node.ask(&place, ["logs", "good", "-f"]).succeed();
    assert_eq!(good.text(), "455052511\n", "{good}");
    node.ask(&place, ["result", "good"]).succeed();
    assert!(!node.log().contains("a worker was lost"), "{}", node.log());
}
