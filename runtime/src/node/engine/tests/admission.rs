//! Clients submit and cancel, runs put out something and end or are lost, results expire, the node starts anew, in any
//! order: no job is lost or doubled on its way from the queue to a worker to the disk, limits hold, and of what is refused
//! nothing is left.
//!
//! Workers are such as are never ready, so that runs end when a step says so; the writer waits while jobs are taken, so
//! that what can start does before it is known whether the disk has them. The disk takes no output while it is busy.

use super::*;
use crate::node::{
    job::Run,
    policy::{Clients, NodeShare},
    store::files::Pin,
};
use denali_vmm::worker::message::RunId;
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::atomic::Ordering};

const CLIENTS: u8 = 3;
const SLOTS: u32 = 4;
const NODE_JOBS: u32 = 12;
const CLIENT_JOBS: u32 = 7;
/// Of the first client, which is granted less.
const FEW_JOBS: u32 = 5;
/// What a run may put out.
const OUTPUT: u64 = 640 << 10;
/// What one puts out that goes to a file, and its length there.
const LARGE: usize = 300 << 10;
const FILE: u64 = LARGE as u64 + 10;
/// Runs that may wait for the disk before no more are started, on a node where others do already.
const FEW_FILES: u32 = 2;

#[derive(Clone, Copy, Debug)]
struct New {
    client: u8,
    name: u8,
    jobs: u32,
    vms: u32,
}

/// What a run puts out.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Output {
    None,
    Inline,
    File,
    /// The disk does not take the last of it.
    Unkept,
}

impl Output {
    fn length(self) -> usize {
        match self {
            Self::None => 0,
            Self::Inline => 1000,
            Self::File | Self::Unkept => LARGE,
        }
    }

    fn is_in_file(self) -> bool {
        self.length() == LARGE
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Jobs are taken before the disk has any of them, and the run of this number may end before that.
    Take(Vec<New>, Option<(usize, Output)>),
    Cancel(u8, u8),
    /// One that runs, or the worker that has it, comes to this end.
    End(usize, u8, Output),
    Lose(usize, Output),
    /// From here on the disk takes no output files, or takes them again.
    Disk(bool),
    Expire,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let new = (0..CLIENTS, 0..4_u8, 1..4_u32, 1..4_u32);
    let new = new.prop_map(|(client, name, jobs, vms)| New { client, name, jobs, vms });
    let output = prop_oneof![Just(Output::None), Just(Output::Inline), Just(Output::File), Just(Output::Unkept)];
    let early = prop::option::of((any::<usize>(), output.clone()));
    let step = prop_oneof![
        6 => (prop::collection::vec(new, 1..4), early).prop_map(|(new, early)| Step::Take(new, early)),
        2 => (0..CLIENTS, 0..4_u8).prop_map(|(client, name)| Step::Cancel(client, name)),
        12 => (any::<usize>(), 0..2_u8, output.clone()).prop_map(|(n, status, output)| Step::End(n, status, output)),
        3 => (any::<usize>(), output).prop_map(|(n, output)| Step::Lose(n, output)),
        3 => any::<bool>().prop_map(Step::Disk),
        1 => Just(Step::Expire),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Clone, PartialEq, Debug)]
enum Index {
    Waits,
    Runs,
    /// Its output waits for the disk.
    Concludes,
    Ended(Outcome),
}

/// What is known of a job that the disk has.
#[derive(Debug)]
struct Job {
    ticket: Ticket,
    vms: u32,
    indices: Vec<Index>,
    lost: BTreeMap<u32, u32>,
    cancelled: bool,
    /// Results whose output is in a file.
    files: u64,
}

impl Job {
    fn count(&self, what: &Index) -> u32 {
        self.indices.iter().filter(|index| *index == what).count() as u32
    }

    /// Results that are not there.
    fn left(&self) -> u32 {
        self.count(&Index::Waits) + self.count(&Index::Runs) + self.count(&Index::Concludes)
    }

    fn is_live(&self) -> bool {
        self.left() > 0
    }
}

/// A job whose name another had before it, as only the disk knows.
#[derive(Debug)]
struct Twin {
    name: (u8, u8),
    vms: u32,
    /// Jobs of it that count as long as it is not refused.
    held: u32,
}

/// A run that has ended and whose output waits for the disk.
struct Concluding {
    name: (u8, u8),
    ticket: Ticket,
    index: u32,
    outcome: Outcome,
    output: Output,
}

struct World {
    bench: Bench,
    jobs: BTreeMap<(u8, u8), Job>,
    twins: HashMap<Ticket, Twin>,
    running: BTreeMap<RunId, Arc<Run>>,
    concluding: Vec<Concluding>,
    /// Whether the disk takes no output now.
    busy: Option<std::sync::mpsc::Sender<()>>,
    scarce: Scarce,
    /// The bundle stays, though for a time no job may want it.
    pins: Vec<Pin>,
}

/// What there is little of.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Scarce {
    Nothing,
    Room,
    Files,
}

fn name(client: u8, name: u8) -> JobKey {
    JobKey { client: PublicKey([client; 32]), job: format!("j{name}").parse().unwrap() }
}

/// The numbers that a name is made of.
fn numbers(key: &JobKey) -> (u8, u8) {
    (key.client.0[0], key.job.to_string()[1..].parse().unwrap())
}

type Checked = Result<(), TestCaseError>;

impl World {
    fn new(scarce: Scarce) -> Self {
        let node = NodeShare {
            slots: SLOTS,
            worker_vms: 2,
            queue_jobs: NODE_JOBS,
            store: if scarce == Scarce::Room { OUTPUT * 3 / 2 } else { 1 << 40 },
            results_expire: Duration::ZERO,
            ..NodeShare::default()
        };
        let clients = Clients { queue_jobs: CLIENT_JOBS, ..Clients::default() };
        let policy = Policy { node, clients, ..Policy::default() };
        let bench = Bench::with(policy, Launcher(never, Jail::Partial));
        let mut world = Self {
            bench,
            jobs: BTreeMap::new(),
            twins: HashMap::new(),
            running: BTreeMap::new(),
            concluding: Vec::new(),
            busy: None,
            scarce,
            pins: Vec::new(),
        };
        world.begin();
        world
    }

    /// A node has started.
    fn begin(&mut self) {
        let engine = &self.bench.engine;
        self.pins.push(engine.store.files.pin(Kind::Bundle, bundle()));
        if self.scarce == Scarce::Files {
            engine.concluding.store(UNWRITTEN - FEW_FILES, Ordering::SeqCst);
        }
    }

    /// Most runs at once.
    fn most(&self) -> usize {
        if self.scarce == Scarce::Room { 2 } else { SLOTS as usize }
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.bench.engine
    }

    /// Jobs that wait or run: of one client, or of all.
    fn held(&self, client: Option<u8>) -> u32 {
        let own = |of: u8| client.is_none_or(|client| client == of);
        let jobs = self.jobs.iter().filter(|((of, _), _)| own(*of)).map(|(_, job)| job);
        let jobs = jobs.map(|job| job.count(&Index::Waits) + job.count(&Index::Runs)).sum::<u32>();
        let twins = self.twins.values().filter(|twin| own(twin.name.0)).map(|twin| twin.held).sum::<u32>();
        let refused = |run: &&Arc<Run>| self.twins.get(&run.job.ticket).is_some_and(|twin| twin.held == 0);
        let runs = self.running.values().filter(|run| own(run.pick.client.0[0])).filter(refused).count() as u32;
        jobs + twins + runs
    }

    /// All that a job leaves in memory and on the disk.
    fn traces(&self) -> (u32, u64, [usize; 3], u64, u64) {
        let (engine, state) = (self.engine(), self.engine().state());
        let sizes = [state.by_key.len(), state.by_ticket.len(), state.queue.clients().count()];
        (state.queue.len(), state.held_bytes, sizes, engine.reserved.load(Ordering::Relaxed), engine.store.bytes())
    }

    fn take(&mut self, new: New) -> Checked {
        let New { client, name, jobs, vms } = new;
        let key = self::name(client, name);
        let most = if client == 0 { FEW_JOBS } else { CLIENT_JOBS };
        let (all, own) = (self.held(None) + jobs, self.held(Some(client)) + jobs);
        prop_assert_eq!(self.engine().room(&key, jobs).is_ok(), all <= NODE_JOBS && own <= CLIENT_JOBS);
        let before = self.traces();
        let grant = Grant { limits: Limits { output_bytes: OUTPUT, ..LIMITS }, vms, queue_jobs: most };
        let indices = Indices { first: 0, last: jobs - 1 };
        let taken = self.engine().take(new_job(key, "hang", b"", indices, grant));
        let fits = all <= NODE_JOBS && own <= most;
        prop_assert_eq!(taken.is_ok(), fits);
        let known = self.jobs.get(&(client, name));
        let is_live = known.is_some_and(Job::is_live)
            || self.twins.values().any(|twin| twin.name == (client, name) && twin.held > 0);
        let live = match taken {
            Ok(Some(live)) => live,
            other => {
                prop_assert!(!fits || is_live, "its name is free");
                prop_assert_eq!(self.traces(), before, "nothing is left of it");
                if let Err(refusal) = other {
                    let limit = if all > NODE_JOBS { NODE_JOBS } else { most };
                    prop_assert_eq!(refusal.kind, RefusalKind::Busy);
                    prop_assert!(refusal.message.contains(&format!("of {limit} jobs")), "{}", refusal.message);
                }
                return Ok(());
            }
        };
        prop_assert!(!is_live, "its name is taken");
        let ticket = live.ticket;
        if known.is_some() {
            self.twins.insert(ticket, Twin { name: (client, name), vms, held: jobs });
        } else {
            let indices = vec![Index::Waits; jobs as usize];
            let job = Job { ticket, vms, indices, lost: BTreeMap::new(), cancelled: false, files: 0 };
            self.jobs.insert((client, name), job);
        }
        Ok(())
    }

    /// The node stops, whatever runs, and another one takes up what it left.
    async fn restart(&mut self) {
        let engine = self.engine();
        engine.store.close().await;
        // What comes now is written by nobody.
        self.free_disk().await;
        let engine = self.engine();
        let (policy, data) = (engine.policy.clone(), self.bench.data.path());
        let key = KeyPair::from_seed(&[9; 32]);
        let store = Store::open(data).unwrap();
        self.bench.engine = Engine::new(key, policy, store, Launcher(never, Jail::Partial));
        self.begin();
        self.engine().take_up().unwrap();
        self.running.clear();
        self.twins.clear();
        self.concluding.clear();
        for ((client, name), job) in &mut self.jobs {
            let back = if job.cancelled { Index::Ended(Outcome::Cancelled) } else { Index::Waits };
            let under_way = job.indices.iter_mut().filter(|index| matches!(index, Index::Runs | Index::Concludes));
            under_way.for_each(|index| *index = back.clone());
            job.lost.clear();
            // Tickets start anew: that of one that has ended is another's.
            let live = self.bench.engine.live(&self::name(*client, *name));
            job.ticket = live.map_or(Ticket(u64::MAX), |live| live.ticket);
        }
    }

    /// A run comes to this end, or is lost.
    fn end(&mut self, n: usize, status: Option<u8>, output: Output) {
        let Some(id) = self.running.keys().nth(n % self.running.len().max(1)).copied() else { return };
        let run = self.running.remove(&id).unwrap();
        self.engine().tenants.take_back(id);
        run.spool().append(Channel::Output, &vec![b'x'; output.length()]).unwrap();
        run.unkept.store(output == Output::Unkept, Ordering::Relaxed);
        let mut outcome = status.map_or_else(|| Outcome::Lost("gone".to_owned()), Outcome::Exited);
        let (name, ticket, index) = (numbers(&run.job.key), run.job.ticket, run.pick.index);
        let mut waits = false;
        if let Some(job) = self.jobs.get_mut(&name).filter(|job| job.ticket == ticket) {
            let lost = job.lost.entry(index).or_default();
            *lost += u32::from(status.is_none());
            if job.cancelled {
                outcome = Outcome::Cancelled;
            }
            waits = status.is_none() && *lost <= 2 && !job.cancelled;
            job.indices[index as usize] = match output.is_in_file() {
                _ if waits => Index::Waits,
                true => Index::Concludes,
                false => Index::Ended(outcome.clone()),
            };
        } else if let Some(twin) = self.twins.get_mut(&ticket) {
            twin.held = twin.held.saturating_sub(1);
        }
        if output.is_in_file() && !waits {
            let lost = || Outcome::Lost("its output could not be kept: the node's disk is full".to_owned());
            let outcome = if output == Output::Unkept { lost() } else { outcome.clone() };
            self.concluding.push(Concluding { name, ticket, index, outcome, output });
        }
        match status {
            Some(_) => self.engine().ended(&run, outcome, Usage::default()),
            None => self.engine().lost(&run, "gone", Usage::default()),
        }
    }

    async fn step(&mut self, step: Step) -> Checked {
        match step {
            Step::Take(new, early) => {
                let (blocked, release) = block(&self.engine().store);
                blocked.recv().unwrap();
                for new in new {
                    self.take(new)?;
                }
                self.observe()?;
                if let Some((n, output)) = early {
                    self.end(n, Some(0), output);
                    self.take_output().await;
                }
                drop(release);
            }
            Step::Cancel(client, name) => {
                let cancelled = self.engine().cancel(&self::name(client, name)).await;
                let job = self.jobs.get_mut(&(client, name));
                prop_assert_eq!(cancelled.is_ok(), job.is_some());
                if let Some(job) = job.filter(|job| job.is_live()) {
                    job.cancelled = true;
                    let waits = job.indices.iter_mut().filter(|index| **index == Index::Waits);
                    waits.for_each(|index| *index = Index::Ended(Outcome::Cancelled));
                }
            }
            Step::End(n, status, output) => self.end(n, Some(status), output),
            Step::Lose(n, output) => self.end(n, None, output),
            Step::Disk(false) => self.free_disk().await,
            Step::Disk(true) => _ = self.busy.get_or_insert_with(busy_disk),
            Step::Expire => self.expire().await,
            Step::Restart => self.restart().await,
        }
        self.rest().await;
        self.observe()?;
        self.check()
    }

    async fn free_disk(&mut self) {
        self.busy = None;
        self.take_output().await;
    }

    /// The disk takes what output there is for it, unless it is busy.
    async fn take_output(&self) {
        if self.busy.is_none() {
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        }
    }

    /// Nobody wants results that are there.
    async fn expire(&mut self) {
        self.free_disk().await;
        self.rest().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.engine().expire().await.unwrap();
        self.jobs.retain(|_, job| job.is_live());
    }

    /// All is done that needs neither a worker nor a busy disk.
    async fn rest(&mut self) {
        for _ in 0..3 {
            self.take_output().await;
            tokio::task::yield_now().await;
            self.engine().store.settled().await;
        }
        self.twins.values_mut().for_each(|twin| twin.held = 0);
        if self.busy.is_none() {
            for ended in self.concluding.drain(..) {
                if let Some(job) = self.jobs.get_mut(&ended.name).filter(|job| job.ticket == ended.ticket) {
                    job.indices[ended.index as usize] = Index::Ended(ended.outcome);
                    job.files += u64::from(ended.output == Output::File);
                }
            }
        }
    }

    /// Looks what was started.
    fn observe(&mut self) -> Checked {
        let given = self.engine().tenants.given();
        let mut running = BTreeMap::new();
        let mut most: BTreeMap<PublicKey, u32> = BTreeMap::new();
        for run in given {
            if !self.running.contains_key(&run.id) {
                let job = self.jobs.get_mut(&numbers(&run.job.key)).filter(|job| job.ticket == run.job.ticket);
                let vms = match job {
                    Some(job) => {
                        let before = std::mem::replace(&mut job.indices[run.pick.index as usize], Index::Runs);
                        prop_assert_eq!(before, Index::Waits);
                        job.vms
                    }
                    None => self.twins[&run.job.ticket].vms,
                };
                let bound = most.entry(run.pick.client).or_default();
                *bound = vms.max(*bound);
            }
            prop_assert!(running.insert(run.id, run).is_none(), "no two workers have it");
        }
        prop_assert!(self.running.keys().all(|id| running.contains_key(id)), "none ends by itself");
        self.running = running;
        for (client, bound) in most {
            let runs = self.running.values().filter(|run| run.pick.client == client).count() as u32;
            prop_assert!(runs <= bound, "{runs} of {bound}");
        }
        Ok(())
    }

    fn check(&self) -> Checked {
        let engine = self.engine();
        prop_assert!(self.running.len() <= self.most());
        let live = self.jobs.values().filter(|job| job.is_live()).count();
        let (held, held_bytes, [by_key, by_ticket, _], ..) = self.traces();
        prop_assert_eq!(held, self.held(None));
        prop_assert_eq!((by_key, by_ticket, held_bytes), (live, live, live as u64 * 1028));
        self.check_room()?;
        for client in 0..CLIENTS {
            prop_assert_eq!(engine.state().queue.len_of(PublicKey([client; 32])), self.held(Some(client)));
        }
        let next = engine.state().queue.clone().pick();
        prop_assert!(next.is_none() || !self.may_start(), "{next:?} could start");
        for ((client, name), job) in &self.jobs {
            let key = self::name(*client, *name);
            for (n, index) in (0..).zip(&job.indices) {
                let result = engine.result(&key, n).unwrap().map(|(record, _)| Index::Ended(record.result.outcome));
                prop_assert_eq!(result.as_ref(), Some(index).filter(|index| matches!(index, Index::Ended(_))));
            }
            let status = engine.status(&key).unwrap();
            let succeeded = job.count(&Index::Ended(Outcome::Exited(0)));
            let left = job.left();
            let failed = job.indices.len() as u32 - left - succeeded;
            prop_assert_eq!((status.queued, status.succeeded, status.failed), (left, succeeded, failed));
        }
        Ok(())
    }

    /// What output takes that the store does not count.
    fn reserved(&self) -> u64 {
        self.running.len() as u64 * OUTPUT + self.concluding.len() as u64 * FILE
    }

    fn may_start(&self) -> bool {
        let engine = self.engine();
        let is_room = engine.store.bytes() + self.reserved() <= engine.policy.node.store;
        is_room && (self.scarce != Scarce::Files || self.concluding.len() <= FEW_FILES as usize)
    }

    /// Output has room from a run's start until its result expires, and nothing has room that is gone.
    fn check_room(&self) -> Checked {
        let engine = self.engine();
        prop_assert_eq!(engine.reserved.load(Ordering::Relaxed), self.reserved());
        let files = self.jobs.values().map(|job| job.files).sum::<u64>();
        prop_assert_eq!(engine.store.files.bytes(), 6 + files * FILE);
        prop_assert_eq!(self.bench.output_files(), files as usize + self.concluding.len());
        prop_assert!(files * FILE + self.reserved() <= engine.policy.node.store + OUTPUT, "beyond the policy's bound");
        let (ended, runs) = (self.concluding.len(), self.running.len());
        if self.scarce == Scarce::Files {
            prop_assert!(ended + runs <= (FEW_FILES + SLOTS) as usize, "{ended} wait for the disk, {runs} run");
        } else {
            prop_assert_eq!(engine.is_idle(), ended + runs == 0);
        }
        Ok(())
    }

    /// All that waits gets its turn, unless the results of unfinished arrays fill the store; and once nobody wants the
    /// results, nothing is left.
    async fn finish(mut self) -> Checked {
        self.step(Step::Disk(false)).await?;
        loop {
            while !self.running.is_empty() {
                self.step(Step::End(0, 0, Output::None)).await?;
            }
            self.step(Step::Expire).await?;
            if !self.running.is_empty() {
                continue;
            }
            let Some((client, name)) = self.jobs.keys().next().copied() else { break };
            prop_assert_eq!(self.scarce, Scarce::Room);
            self.step(Step::Cancel(client, name)).await?;
        }
        self.pins.clear();
        self.engine().expire().await.unwrap();
        prop_assert_eq!(self.traces(), (0, 0, [0; 3], 0, 0));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_clients_and_workers_do_each_job_has_one_end(
        steps in steps(),
        scarce in prop_oneof![Just(Scarce::Nothing), Just(Scarce::Room), Just(Scarce::Files)],
    ) {
        on_one_disk(async {
            let mut world = World::new(scarce);
            for step in steps {
                world.step(step).await?;
            }
            world.finish().await
        })?;
    }
}

fn new(client: u8, name: u8, jobs: u32, vms: u32) -> New {
    New { client, name, jobs, vms }
}

/// What a refused job held back is not left until something else ends.
#[tokio::test]
async fn a_refused_job_holds_up_none_behind_it() {
    let mut world = World::new(Scarce::Nothing);
    for step in [
        Step::Take(vec![new(1, 0, 1, 1)], None),
        Step::End(0, 0, Output::None),
        Step::Take(vec![new(1, 1, 1, 1)], None),
        // The second of its name is refused once it is known that there was a first.
        Step::Take(vec![new(1, 0, 1, 1), new(1, 2, 1, 2)], None),
    ] {
        world.step(step).await.unwrap();
    }
    assert_eq!(world.running.len(), 2);
}

/// Between the look whether there is room for more output and the start, another task may look.
#[tokio::test]
async fn tasks_that_start_jobs_at_once_share_the_room_for_output() {
    let mut world = World::new(Scarce::Room);
    world.engine().stop_starting();
    world.take(new(1, 0, 3, 3)).unwrap();
    let engine = world.engine();
    engine.stopping.store(false, Ordering::Relaxed);
    let started: Vec<_> = std::iter::from_fn(|| engine.next_start()).collect();
    assert_eq!(started.len(), world.most());
}
