//! The engine under a disk and a host that fail: nothing is lost, nothing counts twice, nothing hangs.

mod admission;
mod conclusion;

use super::*;
use crate::node::policy::Jail;
use crate::{
    node::{
        job::Acceptance,
        policy::Grant,
        store::{Applied, JobRecord, OutputPlace, ResultRecord, StoreError, files::Kind},
    },
    worker::{Reports, SpawnError, Worker, fake},
};
use denali_protocol::{
    digest::Digest,
    job::{Channel, Indices, Limits, Outcome, OutputDigests, Usage},
    receipt::Receipt,
    wire::message::{JobResult, Submit},
};
use std::{pin::Pin, time::Duration};

const LIMITS: Limits =
    Limits { memory_bytes: 1 << 20, cpu_time_us: 1_000_000, wall_time_us: 1_000_000, output_bytes: 4 << 20 };

struct Bench {
    data: tempfile::TempDir,
    engine: Arc<Engine>,
}

fn key(name: &str) -> JobKey {
    JobKey { client: PublicKey([1; 32]), job: name.parse().unwrap() }
}

fn bundle() -> Digest {
    Digest::of(b"bundle")
}

/// A job of these arguments, as a request that was checked.
fn new_job(key: JobKey, words: &str, input: &[u8], indices: Indices, grant: Grant) -> NewJob {
    let submit = Submit {
        job: key.job.clone(),
        bundle: bundle(),
        bundle_bytes: 6,
        signatures: Vec::new(),
        arguments: words.split(' ').map(str::to_owned).collect(),
        indices,
        input_bytes: input.len() as u64,
        input: Digest::of(input),
        attach: false,
    };
    NewJob { key, submit, input: Input::Inline(input.to_vec()), grant, name: "test".to_owned() }
}

impl Bench {
    fn new() -> Self {
        Self::with(Policy::default(), Launcher(fake::launch, Jail::Partial))
    }

    fn with(policy: Policy, launcher: Launcher) -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let mut upload = store.files.receive(Kind::Bundle, bundle()).unwrap();
        upload.write(b"bundle").unwrap();
        upload.keep().unwrap();
        let key = KeyPair::from_seed(&[9; 32]);
        Self { data, engine: Engine::new(key, policy, store, launcher) }
    }

    fn take(&self, name: &str, words: &str, input: &[u8]) -> Result<Arc<LiveJob>, Refusal> {
        let grant = Grant { limits: LIMITS, vms: 1, queue_jobs: 10 };
        self.engine.take(new_job(key(name), words, input, Indices::SINGLE, grant)).map(Option::unwrap)
    }

    /// A job of that name gets onto the disk behind the engine's back.
    async fn put(&self, name: &str) {
        let record = JobRecord {
            bundle: bundle(),
            name: "another".to_owned(),
            arguments: Vec::new(),
            indices: Indices::SINGLE,
            input_bytes: 0,
            input: Digest::of(b""),
            limits: LIMITS,
            vms: 1,
            accepted_unix_us: 1,
        };
        let op = Op::Accept { key: key(name), record, input: Vec::new(), patient: false };
        assert_eq!(self.engine.store.write_and_wait(op).await, Ok(Applied::Done));
    }

    fn outcome(&self, name: &str) -> Option<Outcome> {
        self.engine.store.result(&key(name), 0).unwrap().map(|(record, _)| record.result.outcome)
    }

    fn output_files(&self) -> usize {
        std::fs::read_dir(self.data.path().join("outputs")).unwrap().count()
    }
}

/// With one thread for what blocks: it stands for the disk where output goes to files.
fn on_one_disk<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(1).build().unwrap().block_on(test)
}

/// Keeps that disk busy until it is dropped.
fn busy_disk() -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || released.recv());
    release
}

type Launched = Result<(Worker, Reports), SpawnError>;

/// A worker that is never ready.
fn never() -> Pin<Box<dyn Future<Output = Launched> + Send>> {
    Box::pin(std::future::pending())
}

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it did not happen");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runs_of_a_job_that_was_refused_write_nothing_for_another_of_its_name() {
    for words in ["hang", "print 1000000"] {
        let bench = Bench::new();
        bench.put("j").await;
        let twin = bench.take("j", words, b"").unwrap();
        assert_eq!(twin.accepted().await, Ok(Acceptance::Never));
        until(|| bench.engine.is_idle() && twin.state().running.is_empty()).await;
        until(|| bench.output_files() == 0).await;
        assert_eq!(bench.outcome("j"), None);
        assert_eq!(bench.engine.state().held_bytes, 0);
        assert_eq!(bench.engine.store.files.bytes(), 6);
    }
}

/// Also where the run ends before it is known that the disk has another of that name.
#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_job_that_was_refused_is_not_that_of_another_of_its_name() {
    let bench = Bench::new();
    bench.put("j").await;
    let (blocked, release) = block(&bench.engine.store);
    blocked.recv().unwrap();
    let before = bench.engine.store.unwritten();
    let twin = bench.take("j", "exit 0", b"").unwrap();
    until(|| bench.engine.store.unwritten() == before + 2).await;
    drop(release);
    assert_eq!(twin.accepted().await, Ok(Acceptance::Never));
    until(|| bench.engine.is_idle()).await;
    bench.engine.store.settled().await;
    assert_eq!(bench.outcome("j"), None);
    let status = bench.engine.status(&key("j")).unwrap();
    assert_eq!((status.queued, status.succeeded), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_result_was_there_before_ends_all_the_same() {
    let bench = Bench::new();
    let result = JobResult {
        index: 0,
        outcome: Outcome::Exited(0),
        usage: Usage::default(),
        vm: None,
        outputs: OutputDigests::default(),
        receipt: Receipt(Vec::new()),
    };
    let record = Box::new(ResultRecord { result, run: None, place: OutputPlace::Inline });
    // Its own result comes after this one.
    let job = bench.take("j", "print 1000000", b"").unwrap();
    let op = Op::Finish {
        key: key("j"),
        accepted_unix_us: job.record.accepted_unix_us,
        record,
        output: Vec::new(),
        file_bytes: 0,
        ended_unix_ms: 1,
        patient: false,
    };
    assert_eq!(bench.engine.store.write_and_wait(op).await, Ok(Applied::Done));
    assert_eq!(job.accepted().await, Ok(Acceptance::New));
    until(|| bench.engine.live(&key("j")).is_none()).await;
    assert_eq!(bench.engine.status(&key("j")).unwrap().succeeded, 1);
    assert_eq!((bench.output_files(), bench.engine.store.files.bytes()), (0, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_where_the_host_cannot_give_it_files_and_is_lost_where_they_are_gone() {
    let bench = Bench::new();
    let path = bench.data.path().join("bundles").join(bundle().to_string());
    let aside = bench.data.path().join("aside");
    std::fs::rename(&path, &aside).unwrap();
    // Opening it fails, as it would without descriptors.
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let job = bench.take("j", "exit 0", b"").unwrap();
    job.accepted().await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!((bench.outcome("j"), job.status().queued), (None, 1));
    std::fs::remove_file(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    until(|| bench.outcome("j") == Some(Outcome::Exited(0))).await;
    std::fs::remove_file(&path).unwrap();
    bench.take("k", "exit 0", b"").unwrap();
    until(|| matches!(bench.outcome("k"), Some(Outcome::Lost(_)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_start_before_the_disk_has_its_input() {
    let bench = Bench::new();
    let (blocked, release) = block(&bench.engine.store);
    blocked.recv().unwrap();
    let input = vec![b'x'; 60_000];
    let job = bench.take("j", "echo", &input).unwrap();
    until(|| job.status().running == 1).await;
    drop(release);
    until(|| bench.outcome("j") == Some(Outcome::Exited(0))).await;
    assert!(job.state().unwritten_input.is_none());
}

/// Keeps the writer waiting until the second is dropped; the first says when it does.
fn block(store: &Store) -> (std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let ((blocked, is_blocked), (release, released)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    store.write(Op::Cancel { key: key("nothing") }, move |_, _| {
        blocked.send(()).unwrap();
        let _ = released.recv();
        None
    });
    (is_blocked, release)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_disk_is_bounded() {
    let bench = Bench::new();
    let (blocked, release) = block(&bench.engine.store);
    blocked.recv().unwrap();
    let input = vec![0; 4 << 20];
    for _ in 0..33 {
        let op = Op::Finish {
            key: key("nothing"),
            accepted_unix_us: 1,
            record: Box::new(ResultRecord {
                result: JobResult {
                    index: 0,
                    outcome: Outcome::Exited(0),
                    usage: Usage::default(),
                    vm: None,
                    outputs: OutputDigests::default(),
                    receipt: Receipt(Vec::new()),
                },
                run: None,
                place: OutputPlace::Inline,
            }),
            output: input.clone(),
            file_bytes: 0,
            ended_unix_ms: 1,
            patient: false,
        };
        bench.engine.store.write(op, |_, _| None);
    }
    assert_eq!(bench.take("j", "exit 0", b"").unwrap_err().kind, RefusalKind::Busy);
    drop(release);
    until(|| bench.engine.store.unwritten_bytes() == 0).await;
    bench.take("j", "exit 0", b"").unwrap();
    until(|| bench.outcome("j") == Some(Outcome::Exited(0))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_closed_refuses_jobs_and_holds_nothing_up() {
    let bench = Bench::new();
    bench.engine.store.close().await;
    let job = bench.take("j", "exit 0", b"").unwrap();
    assert_eq!(job.accepted().await, Err(StoreError::Closed));
    until(|| bench.engine.store.unwritten() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_grant_allows_in_the_queue_is_checked_when_a_job_is_taken() {
    let bench = Bench::new();
    for n in 0..10 {
        bench.take(&format!("j{n}"), "hang", b"").unwrap();
    }
    assert_eq!(bench.take("one-more", "hang", b"").unwrap_err().kind, RefusalKind::Busy);
}
