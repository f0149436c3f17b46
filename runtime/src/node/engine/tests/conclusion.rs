//! From the end of a run to its result: what it put out takes room meanwhile, the runs on this way are bounded, and
//! what waits for them goes on once they are through. Workers are never ready, so runs end when a test says so.

use super::*;
use crate::node::{job::Run, policy::NodeShare, spool::Spool};
use std::sync::atomic::Ordering;

/// What a run may put out.
const LIMIT: u64 = 1 << 20;
/// What one puts out that writes to a file.
const LARGE: usize = 300 << 10;

impl Bench {
    fn narrow(store: u64) -> Self {
        let node = NodeShare { slots: 1, store, ..NodeShare::default() };
        Self::with(Policy { node, ..Policy::default() }, Launcher(never, Jail::Partial))
    }

    fn array(&self, name: &str, jobs: u32) -> Arc<LiveJob> {
        let grant = Grant { limits: Limits { output_bytes: LIMIT, ..LIMITS }, vms: 1, queue_jobs: 10 };
        let indices = Indices { first: 0, last: jobs - 1 };
        self.engine.take(new_job(key(name), "hang", b"", indices, grant)).unwrap().unwrap()
    }

    /// The one run that was started, if one was; no worker has it any more.
    fn started(&self) -> Option<Arc<Run>> {
        let run = self.engine.tenants.given().pop()?;
        self.engine.tenants.take_back(run.id);
        Some(run)
    }

    fn end(&self, run: &Arc<Run>, output: usize) {
        run.spool().append(Channel::Output, &vec![b'x'; output]).unwrap();
        self.engine.ended(run, Outcome::Exited(0), Usage::default());
    }

    fn reserved(&self) -> u64 {
        self.engine.reserved.load(Ordering::Relaxed)
    }

    /// Whether nothing is left of runs.
    fn is_at_rest(&self) -> bool {
        self.engine.is_idle() && self.reserved() == 0
    }
}

#[test]
fn output_that_waits_for_the_disk_takes_room_as_it_will_there() {
    on_one_disk(async {
        let bench = Bench::narrow(LIMIT);
        bench.array("j", 10).accepted().await.unwrap();
        let disk = busy_disk();
        let mut ended = 0;
        while let Some(run) = bench.started() {
            bench.end(&run, LARGE);
            ended += 1;
        }
        assert_eq!(ended, 4, "the first three leave room, and then there is none");
        drop(disk);
        until(|| bench.is_at_rest()).await;
        assert!(bench.engine.store.files.bytes() > 4 * LARGE as u64);
        assert!(bench.started().is_none());
    });
}

#[test]
fn output_that_waits_for_the_writer_takes_room_as_it_will_in_the_store() {
    on_one_disk(async {
        let bench = Bench::narrow(100 << 10);
        bench.array("j", 10).accepted().await.unwrap();
        let (blocked, release) = block(&bench.engine.store);
        blocked.recv().unwrap();
        let mut ended = 0;
        while let Some(run) = bench.started() {
            bench.end(&run, 60 << 10);
            ended += 1;
        }
        assert_eq!(ended, 2);
        drop(release);
        until(|| bench.is_at_rest()).await;
        assert!(bench.engine.store.bytes() > 120 << 10);
        assert!(bench.started().is_none());
    });
}

#[test]
fn as_many_runs_conclude_as_results_may_be_unwritten() {
    on_one_disk(async {
        let bench = Bench::narrow(1 << 30);
        bench.array("j", 10).accepted().await.unwrap();
        // Others.
        bench.engine.concluding.store(UNWRITTEN, Ordering::SeqCst);
        bench.end(&bench.started().unwrap(), 100);
        let disk = busy_disk();
        let next = bench.started().expect("results that are inline wait for no file");
        until(|| bench.engine.store.unwritten() == 0).await;
        bench.end(&next, LARGE);
        assert!(bench.started().is_none());
        drop(disk);
        until(|| bench.started().is_some()).await;
        assert_eq!(bench.engine.concluding.load(Ordering::SeqCst), UNWRITTEN);
    });
}

/// For a file it waits for the disk, inline for nobody.
#[test]
fn what_waits_for_the_room_of_a_refused_job_goes_on_when_its_output_is_gone() {
    for output in [LARGE, 20 << 10] {
        on_one_disk(async {
            let bench = Bench::narrow(10 << 10);
            // As by a request: it stays where room is made.
            let _pin = bench.engine.store.files.pin(Kind::Bundle, bundle());
            bench.put("j").await;
            let (blocked, release) = block(&bench.engine.store);
            blocked.recv().unwrap();
            let twin = bench.array("j", 1);
            let run = bench.started().unwrap();
            drop(release);
            assert_eq!(twin.accepted().await, Ok(Acceptance::Never));
            bench.engine.store.settled().await;
            bench.array("k", 1).accepted().await.unwrap();
            let disk = busy_disk();
            bench.end(&run, output);
            assert!(bench.started().is_none());
            drop(disk);
            until(|| bench.engine.tenants.runs() == 1).await;
            // Whoever still looks at it keeps nothing of it.
            assert_eq!((bench.output_files(), bench.reserved(), bench.outcome("j")), (0, LIMIT, None));
            assert_eq!(run.spool().bytes(), Spool::new(Arc::clone(&bench.engine.store.files)).bytes());
        });
    }
}

#[test]
fn output_that_the_disk_does_not_take_leaves_its_room() {
    for is_full in [true, false] {
        on_one_disk(async {
            let bench = Bench::narrow(1 << 30);
            bench.array("j", 1).accepted().await.unwrap();
            let run = bench.started().unwrap();
            let disk = busy_disk();
            bench.end(&run, LARGE);
            assert_eq!(bench.reserved(), run.spool().bytes());
            run.unkept.store(is_full, Ordering::Relaxed);
            let (outputs, aside) = (bench.data.path().join("outputs"), bench.data.path().join("aside"));
            if !is_full {
                std::fs::rename(&outputs, &aside).unwrap();
            }
            drop(disk);
            until(|| bench.is_at_rest()).await;
            assert!(matches!(bench.outcome("j"), Some(Outcome::Lost(_))));
            assert_eq!((bench.engine.store.files.bytes(), run.spool().is_in_file()), (6, false));
            assert!(!is_full || bench.output_files() == 0);
        });
    }
}

#[test]
fn the_output_of_a_lost_run_is_gone_before_it_is_tried_again() {
    on_one_disk(async {
        let bench = Bench::narrow(1 << 30);
        bench.array("j", 1).accepted().await.unwrap();
        let run = bench.started().unwrap();
        run.spool().append(Channel::Output, &[b'x'; LARGE]).unwrap();
        assert_eq!(bench.output_files(), 1);
        bench.engine.lost(&run, "gone", Usage::default());
        assert_eq!((bench.output_files(), bench.reserved()), (0, LIMIT));
        bench.end(&bench.started().unwrap(), LARGE);
        until(|| bench.is_at_rest()).await;
        assert_eq!(bench.outcome("j"), Some(Outcome::Exited(0)));
    });
}

#[test]
fn a_node_that_stops_waits_for_output_on_its_way_to_the_disk() {
    on_one_disk(async {
        let bench = Bench::narrow(1 << 30);
        bench.array("j", 1).accepted().await.unwrap();
        let disk = busy_disk();
        bench.end(&bench.started().unwrap(), LARGE);
        assert!(!bench.engine.is_idle());
        drop(disk);
        until(|| bench.engine.is_idle()).await;
        bench.engine.store.settled().await;
        assert_eq!(bench.outcome("j"), Some(Outcome::Exited(0)));
    });
}
