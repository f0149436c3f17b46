//! What the node believes of a worker, and for how long it bears with one.

mod assignment;

use super::*;
use crate::{
    node::{
        job::{JobState, LiveJob},
        policy::{self, Policy},
        queue::{Pick, Ticket},
        shares,
        spool::Spool,
        store::{JobKey, JobRecord, Store},
    },
    worker::fake,
};
use denali_protocol::{
    digest::Digest,
    identity::KeyPair,
    job::{Exits, Indices, Limits, Usage},
    wire::frame,
};
use denali_vmm::worker::message::{Report, RunId};
use std::{fs::File, io::Write, time::Instant};

const LIMITS: Limits =
    Limits { memory_bytes: 1 << 24, cpu_time_us: 1_000_000, wall_time_us: 1_000_000, output_bytes: 1_000_000 };

/// An engine whose client has so many VMs a worker, and what holds its data.
struct Bench {
    _data: tempfile::TempDir,
    engine: Arc<Engine>,
    next: AtomicU64,
}

impl Bench {
    fn new(node: &NodeShare) -> Self {
        Self::with(node, Launcher(fake::launch, Jail::Partial))
    }

    fn with(node: &NodeShare, launcher: Launcher) -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let swap_directory = Some(data.path().to_owned());
        let policy = Policy { node: NodeShare { swap_directory, ..node.clone() }, ..Policy::default() };
        let engine = Engine::new(KeyPair::from_seed(&[2; 32]), policy, store, launcher);
        Self { _data: data, engine, next: AtomicU64::new(1) }
    }

    fn run(&self, client: PublicKey, deadline: Instant) -> Arc<Run> {
        let record = JobRecord {
            bundle: Digest::of(b""),
            name: "test".to_owned(),
            arguments: Vec::new(),
            indices: Indices::SINGLE,
            input_bytes: 0,
            input: Digest::of(b""),
            limits: LIMITS,
            vms: 1,
            accepted_unix_us: 0,
        };
        let key = JobKey { client, job: "j".parse().unwrap() };
        let job = Arc::new(LiveJob::new(key, Ticket(1), record, None, JobState::default()));
        let pick = Pick { client, ticket: Ticket(1), index: 0 };
        let spool = Spool::new(Arc::clone(&self.engine.store.files));
        let id = RunId(self.next.fetch_add(1, Ordering::Relaxed));
        Arc::new(Run::new(id, pick, job, deadline, spool))
    }

    fn assignment(&self, run: Arc<Run>, words: &str) -> Assignment {
        let start = Start {
            run: run.id,
            bundle: Digest::of(b""),
            arguments: words.split(' ').map(str::to_owned).collect(),
            limits: LIMITS,
            input: denali_vmm::worker::message::Input::Descriptor,
            reimage: true,
        };
        let nothing = || OwnedFd::from(File::open("/dev/null").unwrap());
        Assignment { run, start, bundle: nothing(), input: Some(nothing()) }
    }

    /// Starts a run, as the engine does.
    fn start(&self, client: PublicKey, words: &str) -> Arc<Run> {
        let run = self.run(client, Instant::now() + Duration::from_secs(60));
        self.engine.tenants.assign(&self.engine, self.assignment(Arc::clone(&run), words));
        run
    }

    /// The runs of each worker of a client.
    fn runs(&self, client: PublicKey) -> Vec<usize> {
        let roll = self.engine.tenants.roll();
        let workers = roll.by_client.get(&client).map_or(&[][..], Vec::as_slice);
        workers.iter().map(|process| process.state().runs.len()).collect()
    }

    /// What a client's worker was told, once it was told all of `expected`.
    async fn is_told(&self, client: PublicKey, expected: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let run = self.start(client, "told");
            until(|| !output(&run).is_empty()).await;
            let told = output(&run);
            if told == expected {
                return;
            }
            assert!(Instant::now() < end, "{told}, not {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Tenants {
    /// The runs of all workers.
    pub(crate) fn given(&self) -> Vec<Arc<Run>> {
        let roll = self.roll();
        let of = |process: &Arc<Process>| process.state().runs.values().map(|given| Arc::clone(&given.run)).collect();
        roll.processes().flat_map(|process| -> Vec<_> { of(process) }).collect()
    }

    /// Takes a run from the one worker that has it.
    pub(crate) fn take_back(&self, id: RunId) {
        let taken = self.roll().processes().filter_map(|process| process.release(id, 0)).count();
        assert_eq!(taken, 1, "one worker has it");
    }
}

/// What a run put out so far.
fn output(run: &Run) -> String {
    let bytes = run.spool().read(&mut Default::default()).unwrap();
    bytes.map_or_else(String::new, |(_, bytes)| String::from_utf8(bytes).unwrap())
}

fn client(seed: u8) -> PublicKey {
    KeyPair::from_seed(&[seed; 32]).public()
}

fn node(slots: u32, worker_vms: u32) -> NodeShare {
    NodeShare { slots, workers: 1, worker_vms, ..NodeShare::default() }
}

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it did not happen");
}

#[tokio::test]
async fn a_worker_that_never_stops_talking_does_not_outlast_a_run_s_deadline() {
    let bench = Bench::new(&NodeShare::default());
    let (worker, reports) = fake::launch().await.unwrap();
    let process = Process::new(WorkerId(1), client(1), Arc::clone(&bench.engine.tenants.shares));
    process.adopt(worker.clone());
    let run = bench.run(client(1), Instant::now());
    assert!(process.take(bench.assignment(run, "chatter")).is_none());
    // It is well under way when the node listens, so that there is always a report to read.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let weak = Arc::downgrade(&bench.engine);
    let read = serve::read(&weak, &process, reports);
    let since = Instant::now();
    let why = read.await;
    assert!(why.contains("did not end job j in time"), "{why}");
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    worker.kill();
}

/// Its memory may be short for as long as others of its worker run; a worker with none that run has no such reason.
#[tokio::test]
async fn a_run_without_a_vm_is_overdue_once_no_other_has_one() {
    const HOUR: Duration = Duration::from_secs(3600);
    let bench = Bench::new(&NodeShare::default());
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    theirs.write_all(&frame::encode(&Report::Ready(Ok(Vec::new()))).unwrap()).unwrap();
    let (worker, _reports) = Worker::adopt(ours, None).await.unwrap();
    let process = Process::new(WorkerId(1), client(1), Arc::clone(&bench.engine.tenants.shares));
    let take = |deadline| {
        let run = bench.run(client(1), deadline);
        assert!(process.take(bench.assignment(Arc::clone(&run), "")).is_none());
        run.id
    };
    let overdue = |now| process.overdue(now).map(|run| run.id);
    let since = Instant::now();
    let waits = take(since);
    // The time until the worker is ready is not the run's.
    assert_eq!(overdue(since + 2 * HOUR), None);
    process.adopt(worker);
    assert_eq!(overdue(since + HOUR / 2), None);
    assert_eq!(overdue(since + 2 * HOUR), Some(waits));
    // As long as these run it may wait for their memory.
    let [first, long] = [since + 3 * HOUR, since + 9 * HOUR].map(take);
    process.start(first).unwrap();
    process.start(long).unwrap();
    assert_eq!(overdue(since + 2 * HOUR), None);
    // They have to end.
    assert_eq!(overdue(since + 4 * HOUR), Some(first));
    process.release(first, 0).unwrap();
    assert_eq!(overdue(since + 8 * HOUR), None);
    assert_eq!(overdue(since + 10 * HOUR), Some(long));
    // The last of them ends after hours, and leaves it time to start.
    let early = Instant::now().checked_sub(8 * HOUR).unwrap();
    process.state().runs.get_mut(&waits).unwrap().sent = Some(early);
    process.release(long, 0).unwrap();
    let ended = Instant::now();
    assert_eq!(overdue(ended + HOUR / 2), None);
    assert_eq!(overdue(ended + 2 * HOUR), Some(waits));
    // It has a VM now, and stays too long.
    process.start(waits).unwrap();
    assert_eq!(overdue(Instant::now() + HOUR / 2), Some(waits));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_another_worker_where_all_of_its_are_full() {
    let bench = Bench::new(&node(20, 3));
    let runs: Vec<_> = (0..7).map(|_| bench.start(client(1), "hang")).collect();
    let other = bench.start(client(2), "hang");
    assert_eq!((bench.runs(client(1)), bench.runs(client(2))), (vec![3, 3, 1], vec![1]));
    until(|| runs.iter().chain([&other]).all(|run| run.vm.get().is_some())).await;
    // Each is cancelled where it is.
    let end = |run: &Arc<Run>| {
        run.job.change(|state| state.totals.cancelled = true);
        bench.engine.tenants.cancel(run);
    };
    [0, 3, 4].iter().for_each(|n| end(&runs[*n]));
    until(|| bench.runs(client(1)) == [2, 1, 1]).await;
    // The fullest with room is filled, so that the others empty.
    let _more = [bench.start(client(1), "hang"), bench.start(client(1), "hang")];
    assert_eq!(bench.runs(client(1)), [3, 2, 1]);
    end(&runs[6]);
    until(|| bench.runs(client(1)) == [3, 2, 0]).await;
    assert_eq!(bench.engine.tenants.runs(), 6);
    // What is empty goes, at the latest when others need its place.
    let crowd: Vec<_> = (3..=20).map(|seed| bench.start(client(seed), "hang")).collect();
    assert_eq!(bench.runs(client(1)), [3, 2]);
    until(|| crowd.iter().all(|run| run.vm.get().is_some())).await;
    bench.engine.tenants.close();
    assert_eq!(bench.engine.tenants.runs(), 0);
    assert!(bench.engine.tenants.roll().by_client.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_takes_its_own_runs_along() {
    let bench = Bench::new(&node(20, 2));
    let kept = [bench.start(client(1), "hang"), bench.start(client(1), "rest")];
    let lost = bench.start(client(1), "rest");
    until(|| bench.engine.tenants.census().counts.new >= 2).await;
    bench.start(client(1), "die");
    until(|| lost.job.state().lost.get(&0) == Some(&1)).await;
    assert_eq!(bench.runs(client(1)), [2]);
    assert!(kept.iter().all(|run| run.job.state().lost.is_empty()));
    // What it did is not forgotten, what it held is.
    let census = bench.engine.tenants.census();
    assert_eq!((census.counts.new, census.all.idle, census.all.workers), (2, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_told_what_they_may_use() {
    let two = NodeShare { cpus: 2, memory: 1 << 30, swap: 1 << 20, ..node(20, 3) };
    let bench = Bench::new(&two);
    let shares = Arc::clone(&bench.engine.tenants.shares);
    let rounds = tokio::spawn(async move { shares.pass_on().await });
    // Alone it has all; of CPUs it is told only where that is not all of the host's.
    let all = if shares::host_cpus() == 2 { "None" } else { "Some(2)" };
    bench.is_told(client(1), &format!("({all}, Some(1073741824), None)")).await;
    let runs: Vec<_> = [1, 1, 2].map(|seed| bench.start(client(seed), "hang")).into();
    bench.is_told(client(1), "(Some(1), Some(536870912), None)").await;
    bench.is_told(client(2), "(Some(1), Some(536870912), None)").await;
    // One of the second's idles: it wants no more than its other one, and gets disk.
    let resting = bench.start(client(2), "rest");
    let swap = two_to_the(20) / u64::from(bench.engine.policy.node.swap_workers());
    bench.is_told(client(2), &format!("(Some(1), Some(536870912), Some({swap}))")).await;
    for run in runs.iter().chain([&resting]).filter(|run| run.pick.client == client(2)) {
        run.job.change(|state| state.totals.cancelled = true);
        bench.engine.tenants.cancel(run);
    }
    // The first has two VMs that want CPUs, and nobody else wants one.
    until(|| bench.runs(client(2)) == [0]).await;
    bench.is_told(client(1), "(Some(2), Some(536870912), None)").await;
    rounds.abort();
}

fn two_to_the(n: u32) -> u64 {
    1 << n
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_boasts_harms_nobody() {
    let bench = Bench::new(&NodeShare { swap: 1 << 30, ..node(20, 3) });
    bench.start(client(1), "boast");
    until(|| bench.engine.tenants.census().all.idle > 0).await;
    let census = bench.engine.tenants.census();
    assert_eq!((census.all.idle, census.all.running, census.all.swap_bytes), (3, 3, 1 << 30));
    assert!(census.all.memory_kib <= policy::host_memory() / 1024 && census.counts.new < 1 << 40);
    // Another client's job runs all the same.
    let run = bench.start(client(2), "told");
    until(|| !output(&run).is_empty()).await;
    bench.engine.tenants.close();
    until(|| bench.engine.tenants.census().all.workers == 0).await;
    assert_eq!(bench.engine.tenants.census().counts.new, census.counts.new);
}

#[test]
fn no_more_time_is_believed_than_passed() {
    let exits = Exits { kicks: 3, ..Exits::default() };
    let claimed = Usage { cpu_us: u64::MAX, wall_us: 900, start_us: u64::MAX, memory_peak_kib: 5, exits };
    let usage = serve::possible(claimed, Duration::from_millis(1));
    assert_eq!(usage, Usage { cpu_us: 1000, wall_us: 900, start_us: 1000, memory_peak_kib: 5, exits });
}

/// Workers that [`counted`] started.
static STARTED: AtomicU64 = AtomicU64::new(0);

fn counted() -> Pin<Box<dyn Future<Output = Spawned> + Send>> {
    STARTED.fetch_add(1, Ordering::SeqCst);
    fake::launch()
}

/// However many workers are started at once, one more is for whoever comes next.
#[tokio::test]
async fn one_spare_worker_is_enough() {
    let bench = Bench::with(&NodeShare { workers: 8, ..node(8, 8) }, Launcher(counted, Jail::Partial));
    for n in 1..=4 {
        bench.start(client(n), "hang");
    }
    let all_run = || (1..=4).all(|n| bench.engine.tenants.roll().by_client[&client(n)][0].state().worker.is_some());
    until(all_run).await;
    until(|| bench.engine.tenants.spare().worker.is_some()).await;
    assert_eq!(STARTED.load(Ordering::SeqCst), 5);
    bench.start(client(5), "hang");
    until(|| STARTED.load(Ordering::SeqCst) == 6 && bench.engine.tenants.spare().worker.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_worker_that_died_costs_no_try() {
    let bench = Bench::new(&node(2, 2));
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    theirs.write_all(&frame::encode(&Report::Ready(Ok(Vec::new()))).unwrap()).unwrap();
    let spare = Worker::adopt(ours, None).await.unwrap();
    drop(theirs);
    bench.engine.tenants.keep_spare(spare);
    let run = bench.start(client(1), "hang");
    until(|| run.vm.get().is_some()).await;
    assert!(run.job.state().lost.is_empty());
}

/// The first worker has no group, as where the host was short for a moment.
fn first_unbounded() -> Pin<Box<dyn Future<Output = Spawned> + Send>> {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    if STARTED.fetch_add(1, Ordering::SeqCst) == 0 { fake::launch_unbounded() } else { fake::launch() }
}

#[tokio::test]
async fn a_worker_without_a_group_is_told_of_though_it_was_no_spare_one() {
    let bench = Bench::with(&node(2, 2), Launcher(first_unbounded, Jail::Partial));
    assert_eq!(bench.engine.tenants.unbounded(), None);
    let run = bench.start(client(1), "hang");
    until(|| run.vm.get().is_some()).await;
    assert_eq!(bench.engine.tenants.unbounded(), Some("in its group it died"));
}
