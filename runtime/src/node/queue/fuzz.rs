//! What clients make of the queue, in any order, against a list of what waits and what runs.

use super::{Pick, Queue, Ticket};
use arbitrary::{Result, Unstructured};
use denali_protocol::{identity::PublicKey, job::Indices};
use std::collections::BTreeMap;

/// Most jobs and arrays, and most steps, of one input.
const TICKETS: u64 = 40;
const STEPS: usize = 200;
const CLIENTS: u8 = 4;

/// Submits, picks, ends, loses and cancels as `data` say. Every job is picked once, and once more each time that it is lost; bounds hold;
/// no client waits for another's bound; an empty queue holds nothing.
pub fn queue(data: &[u8]) {
    // It ends where the bytes do.
    let _ = run(&mut Unstructured::new(data));
}

/// What waits of a job: its owner, and a bit for each index.
struct Job {
    client: u8,
    vms: u32,
    waiting: u32,
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let slots = u.int_in_range(1..=4)?;
    let mut queue = Queue::new(slots);
    let (mut jobs, mut running) = (BTreeMap::<u64, Job>::new(), Vec::<Pick>::new());
    let mut next = 0;
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        match u.int_in_range(0..=9u8)? {
            0 | 1 if next < TICKETS => {
                let (client, vms) = (u.int_in_range(0..=CLIENTS - 1)?, u.int_in_range(0..=3)?);
                let waiting: u32 = if u.ratio(1, 8)? { 0 } else { u.arbitrary::<u16>()?.into() };
                queue.submit(
                    key(client),
                    Ticket(next),
                    (0..16).filter(|n| waiting >> n & 1 == 1).map(one).collect(),
                    vms,
                );
                jobs.insert(next, Job { client, vms: vms.max(1), waiting });
                next += 1;
            }
            2..=5 => pick(&mut queue, slots, &mut jobs, &mut running),
            6 | 7 if !running.is_empty() => {
                let pick = running.swap_remove(u.choose_index(running.len())?);
                queue.ended(pick.client);
            }
            8 if !running.is_empty() => {
                let pick = running.swap_remove(u.choose_index(running.len())?);
                let job = jobs.get_mut(&pick.ticket.0).expect("it was submitted");
                job.waiting |= 1 << pick.index;
                queue.retry(pick, job.vms);
            }
            _ => {
                let ticket = u.int_in_range(0..=TICKETS)?;
                let client =
                    if u.ratio(1, 8)? { u.arbitrary()? } else { jobs.get(&ticket).map_or(0, |job| job.client) };
                let taken = queue.cancel(key(client), Ticket(ticket));
                let taken: u32 = taken.iter().flat_map(Indices::iter).map(|index| 1 << index).sum();
                let expected = jobs.get_mut(&ticket).filter(|job| job.client == client);
                assert_eq!(taken, expected.map_or(0, |job| std::mem::take(&mut job.waiting)));
            }
        }
        let waiting: u32 = jobs.values().map(|job| job.waiting.count_ones()).sum();
        assert_eq!(queue.len(), waiting + running.len() as u32);
        for client in 0..CLIENTS {
            let own = jobs.values().filter(|job| job.client == client).map(|job| job.waiting.count_ones()).sum::<u32>();
            let runs = running.iter().filter(|run| run.client == key(client)).count() as u32;
            assert_eq!(queue.len_of(key(client)), own + runs);
        }
    }
    for pick in running {
        queue.ended(pick.client);
    }
    jobs.iter().for_each(|(ticket, job)| drop(queue.cancel(key(job.client), Ticket(*ticket))));
    while queue.pick().is_some() {}
    assert!(queue.len() == 0 && queue.clients.is_empty() && queue.ring.is_empty());
    Ok(())
}

fn pick(queue: &mut Queue, slots: u32, jobs: &mut BTreeMap<u64, Job>, running: &mut Vec<Pick>) {
    let busy = |client: u8| running.iter().filter(|run| run.client == key(client)).count() as u32;
    let Some(pick) = queue.pick() else {
        // Whoever waits has as many as the most modest of its jobs allows, or all slots are taken.
        let held = |job: &Job| {
            job.waiting == 0 || {
                let least = jobs
                    .values()
                    .filter(|other| other.client == job.client && other.waiting > 0)
                    .map(|other| other.vms);
                busy(job.client) >= least.min().unwrap_or(0)
            }
        };
        assert!(running.len() as u32 == slots || jobs.values().all(held));
        return;
    };
    let job = jobs.get_mut(&pick.ticket.0).expect("it was submitted");
    assert!(pick.client == key(job.client) && job.waiting >> pick.index & 1 == 1);
    assert!((running.len() as u32) < slots && busy(job.client) < job.vms);
    job.waiting &= !(1 << pick.index);
    running.push(pick);
}

fn key(client: u8) -> PublicKey {
    PublicKey([client; 32])
}

fn one(index: u32) -> Indices {
    Indices { first: index, last: index }
}
