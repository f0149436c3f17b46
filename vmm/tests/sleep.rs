//! VMs that sleep on disk: what wakes them finds them as they were, or they end with a report.

mod guest;

use denali_protocol::{
    bundle::CpuModel,
    job::{Channel, Limits, Outcome},
};
use denali_vmm::{
    swap::create,
    worker::message::{Command, Report, RunId, Status},
};
use guest::Worker;
use std::{
    collections::HashMap,
    fs::File,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::FileExt,
    },
    time::{Duration, Instant},
};

const LIMITS: Limits =
    Limits { memory_bytes: 8 << 20, cpu_time_us: 60_000_000, wall_time_us: 60_000_000, output_bytes: 1 << 20 };

/// Echoes that may wait on disk.
struct Echoes {
    worker: Worker,
    runs: Vec<RunId>,
    /// What each has answered that was not looked at.
    answers: HashMap<RunId, Vec<u8>>,
    ends: HashMap<RunId, Outcome>,
    status: Status,
}

impl Echoes {
    /// So many VMs in a worker that may hold `memory_bytes`, and `swap_bytes` in `file`.
    fn start(count: usize, memory_bytes: u64, file: Option<(&File, u64)>) -> Self {
        let mut worker = Worker::start();
        worker.send(&Command::Memory(memory_bytes), &[]);
        if let Some((file, bytes)) = file {
            worker.send(&Command::Swap(bytes), &[file.as_fd()]);
        }
        let mut echoes =
            Self { worker, runs: Vec::new(), answers: HashMap::new(), ends: HashMap::new(), status: Status::default() };
        for _ in 0..count {
            echoes.begin();
        }
        echoes
    }

    fn begin(&mut self) -> RunId {
        let echo = denali_samples::ALL.iter().find(|sample| sample.name == "echo").expect("there is an echo");
        let run = self.worker.begin_program(echo.elf, CpuModel::V2, LIMITS, Vec::new(), None);
        self.runs.push(run);
        run
    }

    fn say(&mut self, run: RunId, text: &str) {
        self.worker.send(&Command::Input { run, bytes: text.as_bytes().to_vec(), end: false }, &[]);
    }

    /// Takes reports until `enough`, or for ten seconds.
    fn take_until(&mut self, enough: impl Fn(&Self) -> bool) -> bool {
        let begun = Instant::now();
        while !enough(self) {
            if begun.elapsed() > Duration::from_secs(10) {
                return false;
            }
            match self.worker.report_within(Duration::from_millis(200)) {
                Some(Report::Output { run, channel: Channel::Output, bytes }) => {
                    self.answers.entry(run).or_default().extend(bytes);
                }
                Some(Report::Ended { run, outcome, .. }) => {
                    self.ends.insert(run, outcome);
                }
                Some(Report::Status(status)) => self.status = *status,
                _ => {}
            }
        }
        true
    }

    /// What a VM answers to a text.
    fn answer(&mut self, run: RunId, text: &str) -> String {
        self.answers.remove(&run);
        self.say(run, text);
        let bytes = text.len();
        let came = self.take_until(|e| {
            e.answers.get(&run).is_some_and(|answer| answer.len() >= bytes) || e.ends.contains_key(&run)
        });
        assert!(came, "no answer; {:?}", self.status);
        String::from_utf8(self.answers.remove(&run).unwrap_or_default()).expect("text")
    }
}

fn disk() -> File {
    create(&std::env::temp_dir()).expect("a file")
}

#[test]
fn vms_wake_as_they_were() {
    let file = disk();
    let mut echoes = Echoes::start(12, 2 << 20, Some((&file, 64 << 20)));
    let runs = echoes.runs.clone();
    for round in 0..3 {
        for (n, run) in runs.iter().enumerate() {
            let text = format!("VM {n} in round {round}");
            assert_eq!(echoes.answer(*run, &text), text);
        }
    }
    assert!(echoes.take_until(|e| e.status.counts.swapped_in >= 16 && e.status.swapped >= 6), "{:?}", echoes.status);
    assert_eq!(echoes.status.counts.swap_failures, 0);
    for run in &runs {
        echoes.worker.send(&Command::Input { run: *run, bytes: Vec::new(), end: true }, &[]);
    }
    assert!(echoes.take_until(|e| e.ends.len() == runs.len()), "{:?}", echoes.status);
    assert!(echoes.ends.values().all(|outcome| *outcome == Outcome::Exited(0)), "{:?}", echoes.ends);
    assert!(echoes.take_until(|e| e.status.swap_bytes == 0 && e.status.memory_kib == 0), "{:?}", echoes.status);
}

/// A disk that forgets: VMs on it end with a report, no VM goes on with other bytes, and the worker goes on.
#[test]
fn a_vm_whose_image_is_broken_ends_with_a_report() {
    let file = disk();
    let mut echoes = Echoes::start(8, 1 << 20, Some((&file, 64 << 20)));
    let runs = echoes.runs.clone();
    for run in &runs {
        assert_eq!(echoes.answer(*run, "before"), "before");
    }
    assert!(echoes.take_until(|e| e.status.swapped >= 4), "{:?}", echoes.status);
    let bytes = file.metadata().expect("a file").len();
    let junk = vec![0xa5; 1 << 20];
    // Another descriptor, that asks for no alignment.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let disk = File::options().write(true).open(path).expect("it can be opened again");
    for at in (0..bytes).step_by(junk.len()) {
        disk.write_all_at(&junk, at).expect("it can be written");
    }
    disk.sync_all().expect("it can be written");
    let mut lost = 0;
    for run in &runs {
        let answer = echoes.answer(*run, "after");
        match echoes.ends.get(run) {
            Some(Outcome::Lost(why)) => {
                assert!(why.contains("not what was stored"), "{why}");
                lost += 1;
            }
            _ => assert_eq!(answer, "after"),
        }
    }
    assert!(lost >= 4, "{lost} were on disk");
    let run = echoes.begin();
    assert_eq!(echoes.answer(run, "a new one"), "a new one");
}

/// Without room on disk VMs stay, and who has none yet waits for memory.
#[test]
fn without_disk_jobs_wait_for_memory() {
    let file = disk();
    for disk in [None, Some((&file, 4 << 10))] {
        let mut echoes = Echoes::start(6, 1 << 20, disk);
        let runs = echoes.runs.clone();
        assert!(!echoes.take_until_some_start(6), "six VMs in a megabyte and a page of disk: {:?}", echoes.status);
        for run in &runs {
            echoes.worker.send(&Command::Input { run: *run, bytes: b"x".to_vec(), end: true }, &[]);
        }
        assert!(echoes.take_until(|e| e.ends.len() == runs.len()), "{:?}", echoes.status);
        assert!(echoes.ends.values().all(|outcome| *outcome == Outcome::Exited(0)), "{:?}", echoes.ends);
    }
}

/// Those that sleep can be cancelled, and their space is free again.
#[test]
fn sleepers_can_be_cancelled() {
    let file = disk();
    let mut echoes = Echoes::start(8, 1 << 20, Some((&file, 64 << 20)));
    let runs = echoes.runs.clone();
    for run in &runs {
        assert_eq!(echoes.answer(*run, "x"), "x");
    }
    assert!(echoes.take_until(|e| e.status.swapped >= 4), "{:?}", echoes.status);
    for run in &runs {
        echoes.worker.send(&Command::Cancel(*run), &[]);
    }
    assert!(echoes.take_until(|e| e.ends.len() == runs.len()), "{:?}", echoes.status);
    assert!(echoes.ends.values().all(|outcome| *outcome == Outcome::Cancelled), "{:?}", echoes.ends);
    assert!(echoes.take_until(|e| e.status.swap_bytes == 0 && e.status.memory_kib == 0), "{:?}", echoes.status);
}

impl Echoes {
    /// Whether `count` VMs are alive within a second.
    fn take_until_some_start(&mut self, count: u32) -> bool {
        let begun = Instant::now();
        self.take_until(|e| e.status.idle + e.status.swapped >= count || begun.elapsed() > Duration::from_secs(1));
        self.status.idle + self.status.swapped >= count
    }
}
