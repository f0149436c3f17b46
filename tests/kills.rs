//! `kill -9` of every kind of process at any moment of a job's life: the node, also while it starts; its workers; clients
//! that submit, wait, and fetch. At the end every accepted job has one result, the right one, with a receipt that holds; the
//! files are whole; and nothing is left of those that were killed.
//!
//! ```text
//! KILLS=1000 KILLS_SEED=7 cargo test -p denali --test whole --release -- --ignored --nocapture kills
//! ```
//!
//! The seed decides who is killed and when, and what clients do; not how far the machine is by then. So a failure is replayed
//! roughly.
//!
//! | module | what |
//! |---|---|
//! | [`client`] | one user, whose commands are killed |
//! | [`files`] | what a node leaves on the disk |

mod client;
mod files;

use crate::harness::{Dice, Figures, Life, Node, Place, Running, eventually, kill, seed, setting};
use client::Client;
use std::{
    collections::HashSet,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Kills where nobody says how many: some of each kind.
const FEW: u64 = 24;

const CLIENTS: usize = 3;

/// Worker processes, of the policy.
const WORKERS: usize = 5;

/// Memory for a few VMs, so that others sleep on disk, or wait.
const POLICY: &str = "[node]\nslots = 5\nworkers = 5\ncpus = 2\nmemory = \"4MiB\"\nswap = \"64MiB\"\n";

/// The longest time between two kills, in ms.
const PAUSE_MS: u64 = 500;

/// Of a hundred kills, the last so many leave the node alone: what they leak is seen.
const LAST: u64 = 30;

#[test]
fn kills_of_each_kind_cost_no_job() {
    go(FEW);
}

#[test]
#[ignore = "takes about a second for three kills"]
fn kills_by_the_thousand_cost_no_job() {
    go(setting("KILLS").unwrap_or(1000));
}

/// A node that was killed while it made its key, its store and its directories makes the rest when it starts again.
#[test]
fn a_node_that_is_killed_at_its_first_start_starts_again() {
    let (place, mut dice) = (Place::new(), Dice::new(seed("KILLS_SEED")));
    for n in 0..FEW {
        let data = place.path(&format!("data-{n}"));
        let first = place.denali(["node", "--listen", "127.0.0.1:0", "--data"]).arg(&data).start();
        thread::sleep(Duration::from_millis(dice.below(100)));
        first.kill();
        Node::start_on(&place, data, "").serves(&place);
    }
}

fn go(kills: u64) {
    let seed = seed("KILLS_SEED");
    eprintln!("kills: KILLS={kills} KILLS_SEED={seed}");
    let place = Place::new();
    let node = Node::start(&place, POLICY);
    node.serves(&place);
    let all = All::new(&node);
    let (node, mut old, results) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let (all, dice) = (&all, Dice::new(seed.wrapping_add(n as u64)));
                scope.spawn(move || Client::new(all, n, dice).work())
            })
            .collect();
        let mut killer = Killer { all: &all, place: &place, dice: Dice::new(!seed), old: HashSet::new() };
        let (node, begin) = killer.kill(node, kills);
        all.enough.store(true, Relaxed);
        let results: Vec<_> = clients.into_iter().map(|client| client.join().expect("a client failed")).collect();
        has_let_go(&node, &begin);
        (node, killer.old, results)
    });
    eprintln!("kills: {}; every result is asked for again", all.told);
    results.iter().for_each(|client| client.check(&node));
    node.serves(&place);

    let log = node.log();
    assert!(!log.contains("panicked"), "{log}");
    old.extend(node.workers().into_iter().filter_map(Life::of));
    let (done, data) = node.terminate();
    assert_eq!(done.status.code(), Some(0), "{done}");
    files::check(&data);
    for worker in old {
        eventually("the end of a worker whose node is gone", || (!worker.lasts()).then_some(()));
    }
    let (told, lost) = (&all.told, all.told.lost.load(Relaxed));
    assert!(lost * client::LOST_AFTER <= told.workers.load(Relaxed) * client::MOST_JOBS, "{told}");
}

/// What clients and killer share.
struct All {
    node: String,
    /// The command that each client runs at the moment.
    victims: [Mutex<Option<Running>>; CLIENTS],
    /// No one is killed any more.
    enough: AtomicBool,
    told: Told,
}

impl All {
    fn new(node: &Node) -> Self {
        let (enough, told) = (AtomicBool::new(false), Told::default());
        Self { node: node.name().to_owned(), victims: Default::default(), enough, told }
    }
}

/// What happened so far.
#[derive(Default)]
struct Told {
    nodes: AtomicU64,
    workers: AtomicU64,
    clients: AtomicU64,
    /// Jobs that were accepted, an array's each by itself, and have ended.
    jobs: AtomicU64,
    /// Of them, those that were reported lost with three workers.
    lost: AtomicU64,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, workers, clients, jobs, lost } = self;
        let [nodes, workers, clients, jobs, lost] =
            [nodes, workers, clients, jobs, lost].map(|count| count.load(Relaxed));
        write!(f, "killed {nodes} nodes, {workers} workers, {clients} clients; {jobs} jobs ended, {lost} of them lost")
    }
}

/// Who kills.
struct Killer<'a> {
    all: &'a All,
    place: &'a Place,
    dice: Dice,
    /// Workers of nodes that were killed.
    old: HashSet<Life>,
}

impl Killer<'_> {
    /// Kills so many processes. Gives what the node took when it had been killed for the last time.
    fn kill(&mut self, mut node: Node, kills: u64) -> (Node, Figures) {
        let (begun, mut begin) = (Instant::now(), Figures::of(&node));
        let (mut done, mut nodes, mut next_line) = (0, true, begun);
        while done < kills {
            thread::sleep(Duration::from_millis(self.dice.below(PAUSE_MS)));
            if nodes && done * 100 >= kills * (100 - LAST) {
                node.serves(self.place);
                (nodes, begin) = (false, Figures::of(&node));
            }
            done += match self.dice.below(10) {
                0..3 if nodes => {
                    let killed;
                    (node, killed) = self.kill_node(node, kills - done);
                    killed
                }
                3..7 => self.kill_worker(&node),
                _ => self.kill_client(),
            };
            if Instant::now() >= next_line {
                next_line += Duration::from_secs(10);
                eprintln!("kills: {} s: {done} kills: {}", begun.elapsed().as_secs(), self.all.told);
            }
        }
        (node, begin)
    }

    fn kill_node(&mut self, node: Node, most: u64) -> (Node, u64) {
        let log = node.log();
        assert!(!log.contains("panicked"), "{log}");
        self.old.retain(|worker| worker.lasts());
        self.old.extend(node.workers().into_iter().filter_map(Life::of));
        let twice = most > 1 && self.dice.below(3) == 0;
        let after = Duration::from_millis(self.dice.below(120));
        let node = if twice { node.crash_twice(self.place, after) } else { node.crash(self.place) };
        let kills = 1 + u64::from(twice);
        self.all.told.nodes.fetch_add(kills, Relaxed);
        (node, kills)
    }

    /// One, or all at once, as when the host runs out of memory.
    fn kill_worker(&mut self, node: &Node) -> u64 {
        let workers = node.workers();
        let chosen = self.dice.below(workers.len() as u64 + 1) as usize;
        let victims = workers.get(chosen..=chosen).unwrap_or(&workers);
        let kills = victims.iter().filter(|worker| kill(**worker)).count() as u64;
        self.all.told.workers.fetch_add(kills, Relaxed);
        kills
    }

    fn kill_client(&mut self) -> u64 {
        let victim = &self.all.victims[self.dice.below(CLIENTS as u64) as usize];
        let mut victim = victim.lock().expect("no client failed");
        let killed = victim.as_mut().is_some_and(|running| running.is_running() && kill(running.id()));
        self.all.told.clients.fetch_add(u64::from(killed), Relaxed);
        u64::from(killed)
    }
}

/// A node whose workers and clients were killed has let go of all that was theirs.
fn has_let_go(node: &Node, begin: &Figures) {
    let mut end = Figures::of(node);
    let is_like = |end: &Figures| end.process_is_like(begin, WORKERS + 1);
    let until = Instant::now() + Duration::from_secs(60);
    while !is_like(&end) && Instant::now() < until {
        thread::sleep(Duration::from_millis(500));
        end = Figures::of(node);
    }
    eprintln!("kills: before the last part: {begin}\nkills: after it:           {end}");
    assert!(is_like(&end), "more is left than there was");
}
