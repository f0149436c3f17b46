//! Everything at once, for as long as one likes: clients that submit, cancel, vanish and ask again; guests that attack;
//! workers and the node killed at any time. Every accepted job ends once, with a right result and a receipt that holds; and
//! afterwards the node is as it was.
//!
//! ```text
//! SOAK_SECONDS=300 SOAK_SEED=7 cargo test -p denali --test whole --release -- --ignored --nocapture soak
//! ```
//!
//! With `SOAK_FAULTS=1` the host fails too: the node and its workers are short of descriptors now and then, and VMs that idle do
//! not all find room on disk. Then a submission may be refused, and is made again; and a job may be lost to that.
//!
//! On a machine that others use too, `SOAK_SHARED=1` leaves the memory of the host out of account.
//!
//! The seed decides what each client and the killer do, not when the machine gets to it: a failure is replayed roughly.

use crate::{
    harness::{
        DEADLINE, Denali, Dice, Done, Figures, Node, Place, Shortage, is_alive, kill, noise, number, seed, setting,
        text,
    },
    samples::{Expectation, expected},
};
use denali_samples::Sample;
use serde_json::Value;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

const CLIENTS: u64 = 4;

/// Worker processes, of the policy.
const WORKERS: usize = 6;

/// Workers that a job must have lost before it may be lost itself: the node tries it again twice.
const LOST_AFTER: u64 = 3;

/// The policy: memory for some VMs, so that others sleep on disk.
const POLICY: &str =
    "[node]\nslots = 6\nworkers = 6\ncpus = 2\nmemory = \"24MiB\"\nswap = \"256MiB\"\nresults_expire = \"60s\"\n";

/// The same where the host fails: VMs that idle do not all find room on disk.
const POLICY_OF_FAULTS: &str =
    "[node]\nslots = 6\nworkers = 6\ncpus = 2\nmemory = \"12MiB\"\nswap = \"6MiB\"\nresults_expire = \"60s\"\n";

/// How long a process is short of something at the most, in ms.
const SHORTAGE_MS: u64 = 1500;

/// How long results may take to expire: their time, and the time between two looks.
const EXPIRY: Duration = Duration::from_secs(150);

#[test]
#[ignore = "takes as long as SOAK_SECONDS says"]
fn soak() {
    let time = Duration::from_secs(setting("SOAK_SECONDS").unwrap_or(60));
    let seed = seed("SOAK_SEED");
    let faults = setting("SOAK_FAULTS").is_some_and(|faults| faults > 0);
    eprintln!("soak: SOAK_SEED={seed} SOAK_SECONDS={} SOAK_FAULTS={}", time.as_secs(), u64::from(faults));

    let place = Place::new();
    let node = Node::start(&place, if faults { POLICY_OF_FAULTS } else { POLICY });
    node.serves(&place);
    let (begin, begun) = (Figures::of(&node), Instant::now());
    let (end, failed, told) = (begun + time, AtomicBool::new(false), Told::default());
    let soak = Soak { node: node.name().to_owned(), end, faults, failed, told };
    let mut peak = begin;
    let node = thread::scope(|scope| {
        let mut node = node;
        for client in 0..CLIENTS {
            let (soak, dice) = (&soak, Dice::new(seed.wrapping_add(client)));
            scope.spawn(move || soak.be_client(client, dice));
        }
        let mut dice = Dice::new(!seed);
        let mut next_line = begun + Duration::from_secs(10);
        while soak.goes_on() {
            thread::sleep(Duration::from_millis(dice.below(1500)));
            match dice.below(40) {
                0 => {
                    soak.told.nodes.fetch_add(1, Relaxed);
                    node = node.crash(&place);
                }
                1..16 => soak.kill_worker(&node, &mut dice),
                16..24 if faults => soak.withhold_descriptors(&node, &mut dice),
                _ => {}
            }
            peak = peak.max(Figures::of(&node));
            if Instant::now() >= next_line {
                next_line += Duration::from_secs(10);
                let asked = Instant::now();
                node.serves(&place);
                let (seconds, answer) = (begun.elapsed().as_secs(), asked.elapsed().as_millis());
                eprintln!("soak: {seconds} s: {}; a job took {answer} ms; {}", soak.told, Figures::of(&node));
            }
        }
        node
    });
    assert!(!soak.failed.load(Relaxed), "a client failed, see above; SOAK_SEED={seed}");

    // What is left has to end, to be fetched or not, and to expire.
    let until = Instant::now() + EXPIRY;
    let mut end = Figures::of(&node);
    let shared = setting("SOAK_SHARED").is_some_and(|shared| shared > 0);
    while !end.is_like(&begin, WORKERS, shared) && Instant::now() < until {
        thread::sleep(Duration::from_secs(2));
        end = Figures::of(&node);
    }
    node.serves(&place);
    eprintln!("soak: {}\nsoak: begin {begin}\nsoak: peak  {peak}\nsoak: end   {end}", soak.told);
    assert!(end.is_like(&begin, WORKERS, shared), "more is left than there was; SOAK_SEED={seed}");
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

/// What all clients share.
struct Soak {
    node: String,
    end: Instant,
    /// Whether the host fails.
    faults: bool,
    failed: AtomicBool,
    told: Told,
}

/// What happened so far.
#[derive(Default)]
struct Told {
    /// Results that were right.
    right: AtomicU64,
    /// Jobs that were lost with their workers.
    lost: AtomicU64,
    cancelled: AtomicU64,
    /// Clients that were killed while they waited.
    vanished: AtomicU64,
    /// Workers killed.
    workers: AtomicU64,
    /// Nodes killed.
    nodes: AtomicU64,
    /// Times that a process was short of descriptors.
    shortages: AtomicU64,
    /// Of them, those that are over.
    relieved: AtomicU64,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { right, lost, cancelled, vanished, workers, nodes, shortages, .. } = self;
        let [right, lost, cancelled, vanished, workers, nodes, shortages] =
            [right, lost, cancelled, vanished, workers, nodes, shortages].map(|count| count.load(Relaxed));
        write!(
            f,
            "{right} results right, {cancelled} cancelled, {lost} lost; killed {vanished} clients, {workers} workers, \
             {nodes} nodes; short of descriptors {shortages} times"
        )
    }
}

/// Tells the others when a client fails.
struct Failing<'a>(&'a AtomicBool);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(thread::panicking(), Relaxed);
    }
}

impl Soak {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end && !self.failed.load(Relaxed)
    }

    fn kill_worker(&self, node: &Node, dice: &mut Dice) {
        let workers = node.workers();
        if workers.is_empty() {
            return;
        }
        let worker = workers[dice.below(workers.len() as u64) as usize];
        self.told.workers.fetch_add(u64::from(kill(worker)), Relaxed);
    }

    /// The node or one of its workers gets few descriptors, or none, for a while.
    fn withhold_descriptors(&self, node: &Node, dice: &mut Dice) {
        let processes = [vec![node.process()], node.workers()].concat();
        let process = processes[dice.below(processes.len() as u64) as usize];
        if is_alive(process) {
            self.told.shortages.fetch_add(1, Relaxed);
            let shortage = Shortage::of_descriptors(process, dice.below(8));
            thread::sleep(Duration::from_millis(dice.below(SHORTAGE_MS)));
            drop(shortage);
            self.told.relieved.fetch_add(1, Relaxed);
        }
    }

    fn be_client(&self, client: u64, dice: Dice) {
        let _failing = Failing(&self.failed);
        let mut client = Client {
            soak: self,
            place: Place::new(),
            name: client,
            jobs: 0,
            killed_before: 0,
            relieved_before: 0,
            dice,
        };
        let samples: Vec<_> = expected().collect();
        while self.goes_on() {
            client.do_something(&samples);
        }
    }
}

/// One key.
struct Client<'a> {
    soak: &'a Soak,
    place: Place,
    name: u64,
    jobs: u64,
    /// Workers that had been killed when it submitted its latest job.
    killed_before: u64,
    /// Shortages that were over by then.
    relieved_before: u64,
    dice: Dice,
}

impl Client<'_> {
    fn do_something(&mut self, samples: &[(&Sample, Expectation)]) {
        self.jobs += 1;
        self.killed_before = self.soak.told.workers.load(Relaxed);
        self.relieved_before = self.soak.told.relieved.load(Relaxed);
        let id = format!("c{}-{}", self.name, self.jobs);
        match self.dice.below(10) {
            0..4 => {
                let (sample, expectation) = &samples[self.dice.below(samples.len() as u64) as usize];
                self.sample(&id, sample, expectation);
            }
            4 => self.array(&id),
            5 => self.echo(&id),
            6 => self.cancel(&id),
            7 => self.vanish(&id),
            8 => self.ask_twice(&id),
            _ => self.idlers(&id),
        }
    }

    fn ask<const N: usize>(&self, arguments: [&str; N]) -> Denali {
        let (command, rest) = arguments.split_first().expect("a command");
        self.place.denali([command]).args(["--node", &self.soak.node]).args(rest)
    }

    fn submit(&self, id: &str, file: &Path) -> Denali {
        self.ask(["submit", "--id", id]).arg(file)
    }

    /// A bundle of a sample, packed once for each choice of limits.
    fn pack(&self, sample: &str, cpu_ms: u64, wall_ms: u64, memory: &str) -> PathBuf {
        let bundle = self.place.path(&format!("{}-{cpu_ms}-{wall_ms}-{memory}.denali", sample.replace('/', "-")));
        if !bundle.exists() {
            let (cpu, wall) = (format!("{cpu_ms}ms"), format!("{wall_ms}ms"));
            let limits = ["--cpu-time", &cpu, "--wall-time", &wall, "--memory", memory];
            self.place.denali(["pack"]).arg(self.place.image(sample)).arg("-o").arg(&bundle).args(limits).succeed();
        }
        bundle
    }

    /// Each job of `id` has one result, with a receipt that holds, and it is right or says that it was lost.
    fn check(&self, done: &Done, jobs: u64, right: impl Fn(&Value) -> bool) {
        let lines = done.lines();
        assert_eq!(lines.len() as u64, jobs, "{done}");
        let mut indices: Vec<_> = lines.iter().map(|line| number(line, "index")).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..jobs).collect::<Vec<_>>(), "{done}");
        let told = &self.soak.told;
        let may_be_lost = told.workers.load(Relaxed) >= self.killed_before + LOST_AFTER
            || told.shortages.load(Relaxed) > self.relieved_before;
        let mut receipts = Vec::new();
        for line in &lines {
            let count = match text(line, "outcome") {
                "lost" if may_be_lost => &told.lost,
                "cancelled" if right(line) => &told.cancelled,
                _ if right(line) => &told.right,
                _ => panic!("not right: {line}\n{done}"),
            };
            count.fetch_add(1, Relaxed);
            receipts.push(self.place.write(&format!("{}.receipt", line["index"]), text(line, "receipt")));
        }
        let (id, _) = self.soak.node.split_once('@').expect("both parts");
        self.place.denali(["verify", "--node", id]).args(receipts).succeed();
    }

    /// Runs a command; where the host fails, again and again until it is not refused.
    fn insist(&self, command: impl Fn() -> Denali) -> Done {
        let end = Instant::now() + DEADLINE;
        loop {
            let done = command().run();
            let refused = done.status.code() == Some(125) && done.stdout.is_empty();
            if !self.soak.faults || !refused || Instant::now() > end {
                return done;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits for a job's end by asking for it, and fetches its results.
    fn fetch(&self, id: &str) -> Done {
        self.insist(|| self.ask(["logs", id, "-f"]));
        self.insist(|| self.ask(["result", id, "--json"]))
    }

    fn sample(&mut self, id: &str, sample: &Sample, expectation: &Expectation) {
        let memory = expectation.memory();
        let bundle = self.pack(sample.name, expectation.cpu_time_ms, expectation.wall_time_ms, &memory);
        let input = self.place.write("input", expectation.input());
        let command = || self.submit(id, &bundle).arg("--json").arg("--input").arg(&input).arg("--");
        let done = self.insist(|| command().args(&expectation.arguments));
        self.check(&done, 1, |line| {
            let output = expectation.output.as_deref().is_none_or(|output| line["stdout"] == output);
            text(line, "outcome") == expectation.outcome
                && number(line, "status") == u64::from(expectation.status)
                && output
        });
    }

    fn array(&mut self, id: &str) {
        let jobs = 1 + self.dice.below(60);
        let array = format!("0-{}", jobs - 1);
        let options = ["--json", "--array", &array, "--", "{index}"];
        let done = self.insist(|| self.submit(id, &self.place.image("hello")).args(options));
        self.check(&done, jobs, |line| line["stdout"] == format!("Hello, {}!\n", line["index"]));
    }

    /// Megabytes in, and the same megabytes out.
    fn echo(&mut self, id: &str) {
        let mut bytes = noise(1 + self.dice.below(3 << 20) as usize);
        bytes[0] = self.jobs as u8;
        let input = self.place.write("input", &bytes);
        let output = self.place.path(&format!("{id}.out"));
        let options = ["--json", "--array", "0-0", "--input"];
        let command = || self.submit(id, &self.place.image("echo")).args(options).arg(&input);
        let done = self.insist(|| command().arg("--output-dir").arg(&output));
        self.check(&done, 1, |line| {
            text(line, "outcome") == "exited" && fs::read(output.join("0.stdout")).is_ok_and(|got| got == bytes)
        });
        // Nothing is there of one that was lost.
        let _ = fs::remove_dir_all(output);
    }

    fn cancel_all(&self, id: &str) {
        let done = self.insist(|| self.ask(["cancel", id]));
        assert!(done.status.success(), "{done}");
    }

    /// Jobs that are cancelled after a while, if they have not ended by then.
    fn cancel(&mut self, id: &str) {
        let jobs = 1 + self.dice.below(12);
        let array = format!("0-{}", jobs - 1);
        let options = ["--array", &array, "--", "300000000"];
        let done = self.insist(|| self.submit(id, &self.place.image("primes")).args(options));
        assert!(done.status.success(), "{done}");
        thread::sleep(Duration::from_millis(self.dice.below(2000)));
        self.cancel_all(id);
        self.check(&self.fetch(id), jobs, |line| {
            text(line, "outcome") == "cancelled" || line["stdout"] == "16252325\n"
        });
    }

    /// A client that is killed while it waits. What the node has accepted ends all the same.
    fn vanish(&mut self, id: &str) {
        let bundle = self.pack("hostile/sleeper", 1000, 1500, "16MiB");
        let client = self.submit(id, &bundle).arg("--wait").start();
        thread::sleep(Duration::from_millis(self.dice.below(700)));
        client.kill();
        self.soak.told.vanished.fetch_add(1, Relaxed);
        // The node may not have got it: who asks again is the one or the other.
        let done = self.insist(|| self.submit(id, &bundle).arg("--json"));
        self.check(&done, 1, |line| text(line, "outcome") == "time-limit");
    }

    /// The same name twice, at the same time: it runs once.
    fn ask_twice(&mut self, id: &str) {
        let submit = || self.submit(id, &self.place.image("primes")).args(["--json", "--", "10000000"]);
        let (first, second) = thread::scope(|scope| {
            let second = scope.spawn(|| self.insist(submit));
            (self.insist(submit), second.join().expect("it does not panic"))
        });
        assert_eq!(first.line(), second.line(), "{first}\n{second}");
        assert_eq!(first.line(), self.insist(|| self.ask(["result", id, "--json"])).line());
        self.check(&first, 1, |line| line["stdout"] == "664579\n");
    }

    /// Jobs that do nothing for long, most of which are cancelled.
    fn idlers(&mut self, id: &str) {
        let jobs = 1 + self.dice.below(8);
        let array = format!("0-{}", jobs - 1);
        let bundle = self.pack("hostile/sleeper", 1000, 4000, "16MiB");
        let done = self.insist(|| self.submit(id, &bundle).args(["--array", &array]));
        assert!(done.status.success(), "{done}");
        thread::sleep(Duration::from_millis(self.dice.below(3000)));
        if self.dice.below(4) > 0 {
            self.cancel_all(id);
        }
        self.check(&self.fetch(id), jobs, |line| matches!(text(line, "outcome"), "cancelled" | "time-limit"));
    }
}
