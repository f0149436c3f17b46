//! One user, whose commands are killed.

use super::All;
use crate::harness::{DEADLINE, Denali, Dice, Done, Node, Place, noise, number, text};
use denali_protocol::digest::Digest;
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

/// Workers that a job must have lost before it may be lost itself: the node tries it again twice.
pub(super) const LOST_AFTER: u64 = 3;

/// Jobs that one killed worker may have had: a slot each.
pub(super) const MOST_JOBS: u64 = 5;

pub(super) struct Client<'a> {
    all: &'a All,
    place: Place,
    number: usize,
    dice: Dice,
    jobs: Vec<(String, Vec<Value>)>,
}

/// What a job is, and what its result must be.
struct Work {
    file: PathBuf,
    options: Vec<String>,
    jobs: u64,
    right: Box<dyn Fn(&Value) -> bool>,
}

/// What a client has seen of its jobs.
pub(super) struct Finished {
    place: Place,
    jobs: Vec<(String, Vec<Value>)>,
}

impl<'a> Client<'a> {
    pub(super) fn new(all: &'a All, number: usize, dice: Dice) -> Self {
        Self { all, place: Place::new(), number, dice, jobs: Vec::new() }
    }

    /// Hands in jobs, one after the other, until no one is killed any more.
    pub(super) fn work(mut self) -> Finished {
        while !self.all.enough.load(Relaxed) {
            let id = format!("c{}-{}", self.number, self.jobs.len());
            let workers = self.all.told.workers.load(Relaxed);
            let work = self.choose();
            self.submit(&id, &work);
            let lines = self.results(&id, &work);
            self.check(&lines, &work, workers);
            self.jobs.push((id, lines));
        }
        Finished { place: self.place, jobs: self.jobs }
    }

    fn choose(&mut self) -> Work {
        let some = |options: &[&str]| options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>();
        let array = |jobs: u64| format!("0-{}", jobs - 1);
        match self.dice.below(8) {
            0..3 => {
                let jobs = 1 + self.dice.below(40);
                let right = |line: &Value| line["stdout"] == format!("Hello, {}!\n", line["index"]);
                let options = some(&["--array", &array(jobs), "--", "{index}"]);
                Work { file: self.place.image("hello"), options, jobs, right: Box::new(right) }
            }
            3..5 => {
                let jobs = 1 + self.dice.below(3);
                let options = some(&["--array", &array(jobs), "--", "100000000"]);
                let right = |line: &Value| line["stdout"] == "5761455\n";
                Work { file: self.place.image("primes"), options, jobs, right: Box::new(right) }
            }
            5..7 => self.echo(),
            // They idle, and leave memory to others.
            _ => {
                let bundle = self.place.path("hostile-sleeper.denali");
                if !bundle.exists() {
                    self.place.pack("hostile/sleeper", ["--wall-time", "400ms", "--memory", "16MiB"]);
                }
                let jobs = 1 + self.dice.below(8);
                let right = |line: &Value| text(line, "outcome") == "time-limit";
                Work { file: bundle, options: some(&["--array", &array(jobs)]), jobs, right: Box::new(right) }
            }
        }
    }

    /// Up to two megabytes in, and the same out: both in files of the node, or in its database.
    fn echo(&mut self) -> Work {
        let most = 1 << self.dice.below(22);
        let mut bytes = noise(1 + self.dice.below(most) as usize);
        bytes[0] = self.jobs.len() as u8;
        let input = self.place.write("input", &bytes);
        let options = ["--array", "0-0", "--input", input.to_str().expect("a path")].map(str::to_owned);
        let digest = Digest::of(&bytes).to_string();
        // The client has compared it with what it got.
        let right = move |line: &Value| line["outputs"][0]["digest"] == digest;
        Work { file: self.place.image("echo"), options: options.into(), jobs: 1, right: Box::new(right) }
    }

    /// Runs a command, which may be killed: nothing then.
    fn run(&self, command: Denali) -> Option<Done> {
        let end = Instant::now() + DEADLINE;
        let victim = || self.all.victims[self.number].lock().expect("the killer did not fail");
        *victim() = Some(command.start());
        loop {
            if let Some(ended) = victim().take_if(|running| !running.is_running()) {
                return Some(ended.finish()).filter(|done| done.status.code().is_some());
            }
            assert!(Instant::now() < end, "a command is stuck");
            thread::sleep(Duration::from_millis(3));
        }
    }

    fn ask<const N: usize>(&self, arguments: [&str; N]) -> Denali {
        let (command, rest) = arguments.split_first().expect("a command");
        self.place.denali([command]).args(["--node", &self.all.node]).args(rest)
    }

    /// Hands a job in until the node says that it has it; and sometimes once more.
    fn submit(&mut self, id: &str, work: &Work) {
        let end = Instant::now() + 2 * DEADLINE;
        let mut more = 1 + u32::from(self.dice.below(4) == 0);
        while more > 0 {
            // Who waits is told of results beside; who is killed then finds them later.
            let waits: &[&str] = if self.dice.below(3) == 0 { &["--wait"] } else { &[] };
            let command = self.ask(["submit", "--id", id]).args(waits).arg(&work.file).args(&work.options);
            match self.run(command) {
                // A job that failed was accepted before.
                Some(done) if matches!(done.status.code(), Some(0 | 1 | 124)) => more -= 1,
                Some(done) if done.stderr.contains("has job") => more -= 1,
                Some(done) => {
                    assert!(done.status.code() == Some(125) && !done.stderr.contains("panicked"), "{done}");
                    assert!(Instant::now() < end, "it is never accepted: {done}");
                    thread::sleep(Duration::from_millis(100));
                }
                None => {}
            }
        }
    }

    /// Asks for the results of a job that was accepted, until they are all there.
    fn results(&mut self, id: &str, work: &Work) -> Vec<Value> {
        let end = Instant::now() + 2 * DEADLINE;
        loop {
            if self.dice.below(4) == 0 {
                self.run(self.ask(["logs", id, "-f"]));
            }
            if let Some(done) = self.run(self.ask(["result", id, "--json"])) {
                assert!(!done.stderr.contains(&format!("no job {id}")) && !done.stderr.contains("panicked"), "{done}");
                // The status is the job's own where there is one, and 125 where that was lost.
                let lines = done.lines();
                if lines.len() as u64 == work.jobs {
                    return lines;
                }
                assert!(Instant::now() < end, "{id} does not end: {done}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Each job has one result, with a receipt that holds; and it is right, or says that three workers were lost.
    fn check(&self, lines: &[Value], work: &Work, workers_before: u64) {
        let mut indices: Vec<_> = lines.iter().map(|line| number(line, "index")).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..work.jobs).collect::<Vec<_>>(), "{lines:?}");
        let told = &self.all.told;
        for line in lines {
            if !(work.right)(line) {
                let killed = told.workers.load(Relaxed) - workers_before;
                assert!(text(line, "outcome") == "lost" && killed >= LOST_AFTER, "not right: {line}");
                told.lost.fetch_add(1, Relaxed);
            }
            told.jobs.fetch_add(1, Relaxed);
        }
        let write = |line: &Value| self.place.write(&format!("{}.receipt", line["index"]), text(line, "receipt"));
        let (node, _) = self.all.node.split_once('@').expect("both parts");
        self.place.denali(["verify", "--node", node]).args(lines.iter().map(write)).succeed();
    }
}

impl Finished {
    /// The node has the jobs that this client handed in, no other, and the results that it was given.
    pub(super) fn check(&self, node: &Node) {
        let sorted = |mut lines: Vec<Value>| {
            lines.sort_by_key(|line| number(line, "index"));
            lines
        };
        let mut listed: Vec<_> = node.ask(&self.place, ["list", "--json"]).succeed().lines();
        listed.retain(|line| {
            let ended = matches!(text(line, "state"), "succeeded" | "failed");
            let known = self.jobs.iter().any(|(id, _)| id == text(line, "job"));
            !(ended && known)
        });
        assert!(listed.is_empty(), "jobs of nobody, or without an end: {listed:?}");
        for (id, lines) in &self.jobs {
            let kept = node.ask(&self.place, ["result", id, "--json"]).run().lines();
            assert_eq!(sorted(kept), sorted(lines.clone()), "{id}");
        }
    }
}
