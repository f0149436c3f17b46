//! All that a few clients with small jobs can make of the queue, against plain lists: every step in every state that steps
//! lead to.

use super::*;
use std::collections::BTreeMap;

/// Indices of a job, at the most.
const MOST: u32 = 2;

/// Most clients.
const CLIENTS: u8 = 3;

/// What is explored.
#[derive(Debug)]
struct Bounds {
    clients: u8,
    slots: u32,
    /// Jobs at once.
    jobs: usize,
    /// What a job's grant may say.
    vms: &'static [u32],
}

/// A job that waits in its client's line: its grant, and the indices that wait, in order.
type Waiting = (Ticket, u32, Vec<u32>);

#[derive(Clone, Debug)]
struct World {
    queue: Queue,
    lines: BTreeMap<u8, Vec<Waiting>>,
    /// Those that run: client, job, its grant and index.
    running: Vec<(u8, Ticket, u32, u32)>,
    /// How often each client was passed by each other one since it could start a job.
    passed: BTreeMap<(u8, u8), u8>,
}

/// Worlds of the same are the same, but for the names of their jobs.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    lines: Vec<Vec<(usize, u32, Vec<u32>)>>,
    running: Vec<(u8, usize, u32, u32)>,
    passed: BTreeMap<(u8, u8), u8>,
    ring: Vec<PublicKey>,
}

impl World {
    fn line(&mut self, client: u8) -> &mut Vec<Waiting> {
        self.lines.entry(client).or_default()
    }

    fn runs(&self, client: u8) -> u32 {
        self.running.iter().filter(|run| run.0 == client).count() as u32
    }

    /// Clients that may have one more VM, and have a job for it.
    fn can_start(&self) -> Vec<u8> {
        let can = |(client, line): (&u8, &Vec<Waiting>)| {
            line.first().is_some_and(|(_, vms, _)| self.runs(*client) < *vms).then_some(*client)
        };
        self.lines.iter().filter_map(can).collect()
    }

    /// All jobs that wait or run.
    fn tickets(&self) -> Vec<Ticket> {
        let waiting = self.lines.values().flatten().map(|(ticket, ..)| *ticket);
        let mut all: Vec<Ticket> = waiting.chain(self.running.iter().map(|run| run.1)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn submit(&mut self, client: u8, jobs: u32, vms: u32) {
        let last = self.tickets().last().map_or(0, |ticket| ticket.0);
        let ticket = Ticket(last + 1);
        self.queue.submit(super::client(client), ticket, range(0, jobs - 1), vms);
        self.line(client).push((ticket, vms, (0..jobs).collect()));
    }

    fn pick(&mut self, slots: u32) {
        let before = self.can_start();
        let Some(pick) = self.queue.pick() else {
            assert!(before.is_empty() || self.running.len() as u32 == slots, "no one is left out");
            return;
        };
        assert!((self.running.len() as u32) < slots);
        let client = pick.client.0[0];
        assert!(before.contains(&client), "a client has no more than its bound");
        let line = self.line(client);
        let (ticket, vms, waiting) = &mut line[0];
        assert_eq!((pick.ticket, pick.index), (*ticket, waiting.remove(0)), "in order");
        let (ticket, vms) = (*ticket, *vms);
        if line[0].2.is_empty() {
            line.remove(0);
        }
        self.running.push((client, ticket, vms, pick.index));
        for other in before.into_iter().filter(|other| *other != client) {
            let passed = self.passed.entry((other, client)).or_default();
            *passed += 1;
            assert!(*passed <= 1, "clients take turns");
        }
        self.passed.retain(|(waits, _), _| *waits != client);
    }

    fn retry(&mut self, n: usize) {
        let (client, ticket, vms, index) = self.running.remove(n);
        self.queue.retry(Pick { client: super::client(client), ticket, index }, vms);
        let line = self.line(client);
        match line.iter_mut().find(|(waits, ..)| *waits == ticket) {
            Some((.., waiting)) => waiting.insert(0, index),
            None => line.insert(0, (ticket, vms, vec![index])),
        }
    }

    fn cancel(&mut self, client: u8, ticket: Ticket) {
        let line = self.line(client);
        let at = line.iter().position(|(waits, ..)| *waits == ticket);
        let expected = at.map(|at| line.remove(at).2).unwrap_or_default();
        let taken = self.queue.cancel(super::client(client), ticket);
        assert_eq!(taken.iter().flat_map(Indices::iter).collect::<Vec<_>>(), expected);
    }

    /// What holds between any two steps. Afterwards, only what matters is left of it.
    fn check(&mut self) {
        self.lines.retain(|_, line| !line.is_empty());
        let can_start = self.can_start();
        self.passed.retain(|(waits, _), _| can_start.contains(waits));
        let waiting = |line: &[Waiting]| line.iter().map(|(.., waiting)| waiting.len() as u32).sum::<u32>();
        let all: u32 = self.lines.values().map(|line| waiting(line)).sum();
        assert_eq!(self.queue.len(), all + self.running.len() as u32);
        let mut books: Vec<_> = self.queue.clients().collect();
        books.sort_unstable();
        let known = |client: &u8| self.lines.contains_key(client) || self.runs(*client) > 0;
        let plain = (0..CLIENTS).filter(known).map(|n| {
            let waits = self.lines.get(&n).map_or(0, |line| waiting(line));
            assert_eq!(self.queue.len_of(client(n)), waits + self.runs(n));
            (client(n), waits, self.runs(n))
        });
        let plain: Vec<_> = plain.collect();
        assert!(
            books.iter().all(|book| plain.contains(book) || (book.1, book.2) == (0, 0)),
            "{books:?}, not {plain:?}"
        );
        assert!(plain.iter().all(|book| books.contains(book)));
        for (n, line) in &self.lines {
            let held = &self.queue.clients[&client(*n)].entries;
            let held = held.iter().map(|e| (e.ticket, e.vms, e.waiting.iter().flat_map(Indices::iter).collect()));
            assert_eq!(held.collect::<Vec<Waiting>>(), *line);
        }
        if self.lines.is_empty() && self.running.is_empty() {
            // What is left of a client, its next turn forgets.
            let mut queue = self.queue.clone();
            assert!(queue.pick().is_none() && queue.clients.is_empty() && queue.ring.is_empty());
        }
    }

    fn likeness(&self) -> Likeness {
        let tickets = self.tickets();
        let name = |ticket: &Ticket| tickets.iter().position(|known| known == ticket).unwrap_or(usize::MAX);
        let line = |n: u8| {
            let line = self.lines.get(&n).map_or(&[][..], Vec::as_slice);
            line.iter().map(|(ticket, vms, waiting)| (name(ticket), *vms, waiting.clone())).collect()
        };
        let mut running: Vec<_> =
            self.running.iter().map(|(client, ticket, vms, index)| (*client, name(ticket), *vms, *index)).collect();
        running.sort_unstable();
        Likeness {
            lines: (0..CLIENTS).map(line).collect(),
            running,
            passed: self.passed.clone(),
            ring: self.queue.ring.iter().copied().collect(),
        }
    }

    /// Every world that one step leads to.
    fn next(&self, bounds: &Bounds) -> Vec<Self> {
        let mut worlds = Vec::new();
        let mut add = |step: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            step(&mut world);
            world.check();
            worlds.push(world);
        };
        add(&|world| world.pick(bounds.slots));
        if self.tickets().len() < bounds.jobs {
            for client in 0..bounds.clients {
                for (jobs, vms) in (1..=MOST).flat_map(|jobs| bounds.vms.iter().map(move |vms| (jobs, *vms))) {
                    add(&|world| world.submit(client, jobs, vms));
                }
            }
        }
        for n in 0..self.running.len() {
            add(&|world| {
                let (client, ..) = world.running.remove(n);
                world.queue.ended(super::client(client));
            });
            add(&|world| world.retry(n));
        }
        for (client, (ticket, ..)) in self.lines.iter().flat_map(|(client, line)| line.iter().map(|job| (*client, job)))
        {
            add(&|world| world.cancel(client, *ticket));
        }
        worlds
    }
}

fn explore(all: &[Bounds]) {
    for bounds in all {
        let queue = Queue::new(bounds.slots);
        let world = World { queue, lines: BTreeMap::new(), running: Vec::new(), passed: BTreeMap::new() };
        let mut seen = HashSet::from([world.likeness()]);
        let mut left = vec![world];
        while let Some(world) = left.pop() {
            left.extend(world.next(bounds).into_iter().filter(|next| seen.insert(next.likeness())));
        }
        eprintln!("{} states of {bounds:?}", seen.len());
    }
}

#[test]
fn whatever_clients_do_bounds_hold_and_all_get_their_turns() {
    explore(&[
        Bounds { clients: 3, slots: 2, jobs: 2, vms: &[1, 2] },
        Bounds { clients: 3, slots: 1, jobs: 3, vms: &[1] },
        Bounds { clients: 2, slots: 2, jobs: 3, vms: &[2] },
        Bounds { clients: 2, slots: 3, jobs: 2, vms: &[1, 2, 3] },
    ]);
}

#[test]
#[ignore = "takes minutes: more clients and jobs of the same"]
fn whatever_more_clients_do_too() {
    explore(&[
        Bounds { clients: 3, slots: 2, jobs: 3, vms: &[1, 2] },
        Bounds { clients: 2, slots: 3, jobs: 3, vms: &[1, 2, 3] },
    ]);
}
