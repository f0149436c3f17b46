//! What the node believes of a worker, and for how long it bears with one.

use super::*;
use crate::{
    node::{
        job::{JobState, LiveJob},
        policy::Policy,
        queue::{Pick, Ticket},
        spool::Spool,
        store::{JobKey, JobRecord, Store},
    },
    worker::fake,
};
use denali_protocol::{
    digest::Digest,
    identity::KeyPair,
    job::{Exits, Indices, Limits, Usage},
};
use std::fs::File;

const LIMITS: Limits =
    Limits { memory_bytes: 1 << 24, cpu_time_us: 1_000_000, wall_time_us: 1_000_000, output_bytes: 1_000_000 };

fn run(engine: &Engine, client: PublicKey, deadline: Instant) -> Arc<Run> {
    let record = JobRecord {
        bundle: Digest::of(b""),
        name: "test".to_owned(),
        arguments: Vec::new(),
        indices: Indices::SINGLE,
        input_bytes: 0,
        input: Digest::of(b""),
        limits: LIMITS,
        vms: 1,
        accepted_unix_ms: 0,
    };
    let key = JobKey { client, job: "j".parse().unwrap() };
    let job = Arc::new(LiveJob::new(key, Ticket(1), record, None, JobState::default()));
    let pick = Pick { client, ticket: Ticket(1), index: 0 };
    Arc::new(Run::new(RunId(1), pick, job, deadline, Spool::new(Arc::clone(&engine.store.files))))
}

#[tokio::test]
async fn a_worker_that_never_stops_talking_does_not_outlast_a_run_s_deadline() {
    let data = tempfile::tempdir().unwrap();
    let client = KeyPair::from_seed(&[1; 32]).public();
    let store = Store::open(data.path()).unwrap();
    let engine = Engine::new(KeyPair::from_seed(&[2; 32]), Policy::default(), store, Launcher(fake::launch));
    let (worker, reports) = fake::launch().await.unwrap();
    let state = TenantState {
        worker: Some(worker.clone()),
        waiting: Vec::new(),
        runs: HashMap::new(),
        last_used: Instant::now(),
        closed: false,
    };
    let tenant = Tenant { client, state: Mutex::new(state) };
    let start = Start {
        run: RunId(1),
        bundle: Digest::of(b""),
        arguments: vec!["chatter".to_owned()],
        limits: LIMITS,
        input: denali_vmm::worker::message::InputKind::Descriptor,
        reimage: true,
    };
    let nothing = || OwnedFd::from(File::open("/dev/null").unwrap());
    let run = run(&engine, client, Instant::now());
    assert!(tenant.take(Assignment { run, start, bundle: nothing(), input: nothing() }).is_none());
    // It is well under way when the node listens, so that there is always a report to read.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let weak = Arc::downgrade(&engine);
    let read = serve::read(&weak, &tenant, reports);
    let since = Instant::now();
    let why = read.await;
    assert!(why.contains("did not end job j in time"), "{why}");
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    worker.kill();
}

#[test]
fn no_more_time_is_believed_than_passed() {
    let exits = Exits { kicks: 3, ..Exits::default() };
    let claimed = Usage { cpu_us: u64::MAX, wall_us: 900, start_us: u64::MAX, memory_peak_kib: 5, exits };
    let usage = serve::possible(claimed, Duration::from_millis(1));
    assert_eq!(usage, Usage { cpu_us: 1000, wall_us: 900, start_us: 1000, memory_peak_kib: 5, exits });
}
