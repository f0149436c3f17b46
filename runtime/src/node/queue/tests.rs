//! Fairness and bounds, whatever happens in whatever order.

mod exploration;

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn client(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

fn range(first: u32, last: u32) -> VecDeque<Indices> {
    [Indices { first, last }].into()
}

#[test]
fn clients_take_turns_and_each_is_served_in_order() {
    let mut queue = Queue::new(100);
    queue.submit(client(1), Ticket(1), range(0, 2), 100);
    queue.submit(client(1), Ticket(2), range(0, 0), 100);
    queue.submit(client(2), Ticket(3), range(5, 6), 100);
    let order: Vec<(u64, u32)> = std::iter::from_fn(|| queue.pick()).map(|pick| (pick.ticket.0, pick.index)).collect();
    assert_eq!(order, [(1, 0), (3, 5), (1, 1), (3, 6), (1, 2), (2, 0)]);
}

#[test]
fn a_client_waits_for_its_own_bound_alone() {
    let mut queue = Queue::new(100);
    queue.submit(client(1), Ticket(1), range(0, 9), 1);
    queue.submit(client(2), Ticket(2), range(0, 1), 2);
    let picked: Vec<u64> = std::iter::from_fn(|| queue.pick()).map(|pick| pick.ticket.0).collect();
    assert_eq!(picked, [1, 2, 2]);
    queue.ended(client(1));
    assert_eq!(queue.pick().map(|pick| (pick.ticket.0, pick.index)), Some((1, 1)));
}

#[test]
fn a_lost_run_goes_first_again() {
    let mut queue = Queue::new(1);
    queue.submit(client(1), Ticket(1), range(0, 3), 1);
    let lost = queue.pick().unwrap();
    queue.retry(lost, 1);
    assert_eq!(queue.pick(), Some(lost));
    assert_eq!(queue.len(), 4);
}

#[test]
fn cancelling_unblocks_what_is_behind() {
    let mut queue = Queue::new(8);
    queue.submit(client(1), Ticket(1), range(0, 5), 1);
    queue.submit(client(1), Ticket(2), range(0, 0), 8);
    assert!(queue.pick().is_some() && queue.pick().is_none());
    assert_eq!(queue.cancel(client(1), Ticket(1)), range(1, 5));
    assert_eq!(queue.pick().map(|pick| pick.ticket.0), Some(2));
}

#[derive(Clone, Debug)]
enum Step {
    Submit { client: u8, jobs: u32, vms: u32 },
    Pick,
    End(usize),
    Lose(usize),
    Cancel(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4_u8, 1..6_u32, 1..4_u32).prop_map(|(client, jobs, vms)| Step::Submit { client, jobs, vms }),
        Just(Step::Pick),
        Just(Step::Pick),
        any::<usize>().prop_map(Step::End),
        any::<usize>().prop_map(Step::Lose),
        (0..20_u64).prop_map(Step::Cancel),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// Every job is picked once (and once more for each time it is lost) or cancelled; bounds hold; nothing that may
    /// start is left; an empty queue holds nothing.
    #[test]
    fn no_job_is_lost_or_doubled(steps in steps(), slots in 1..5_u32) {
        let mut queue = Queue::new(slots);
        let mut waiting = HashSet::new();
        let mut running: Vec<Pick> = Vec::new();
        let mut owners = Vec::new();
        for step in steps {
            match step {
                Step::Submit { client: n, jobs, vms } => {
                    let ticket = owners.len() as u64;
                    owners.push((n, vms));
                    waiting.extend((0..jobs).map(|index| (ticket, index)));
                    queue.submit(client(n), Ticket(ticket), range(0, jobs - 1), vms);
                }
                Step::Pick => match queue.pick() {
                    Some(pick) => {
                        prop_assert!(waiting.remove(&(pick.ticket.0, pick.index)));
                        let vms = owners[pick.ticket.0 as usize].1;
                        prop_assert!((running.iter().filter(|run| run.client == pick.client).count() as u32) < vms);
                        running.push(pick);
                        prop_assert!(running.len() as u32 <= slots);
                    }
                    None => {
                        // Each client's front is at its bound, or the slots are.
                        let first = |n: u8| waiting.iter().filter(|(t, _)| owners[*t as usize].0 == n).map(|w| w.0).min();
                        for n in 0..4 {
                            let busy = running.iter().filter(|run| run.client == client(n)).count() as u32;
                            let least = first(n).map(|_| {
                                waiting.iter().filter(|(t, _)| owners[*t as usize].0 == n)
                                    .map(|(t, _)| owners[*t as usize].1).min().unwrap_or(0)
                            });
                            prop_assert!(running.len() as u32 == slots || least.is_none_or(|vms| busy >= vms));
                        }
                    }
                },
                Step::End(n) if !running.is_empty() => {
                    let pick = running.swap_remove(n % running.len());
                    queue.ended(pick.client);
                }
                Step::Lose(n) if !running.is_empty() => {
                    let pick = running.swap_remove(n % running.len());
                    waiting.insert((pick.ticket.0, pick.index));
                    queue.retry(pick, owners[pick.ticket.0 as usize].1);
                }
                Step::Cancel(ticket) => {
                    let owner = owners.get(ticket as usize).map_or(0, |owner| owner.0);
                    for range in queue.cancel(client(owner), Ticket(ticket)) {
                        for index in range.iter() {
                            prop_assert!(waiting.remove(&(ticket, index)));
                        }
                    }
                    prop_assert!(!waiting.iter().any(|(t, _)| *t == ticket));
                }
                Step::End(_) | Step::Lose(_) => {}
            }
            prop_assert_eq!(queue.len() as usize, waiting.len() + running.len());
        }
        // Drain: with runs ending, everything gets its turn.
        loop {
            while let Some(pick) = queue.pick() {
                prop_assert!(waiting.remove(&(pick.ticket.0, pick.index)));
                running.push(pick);
            }
            let Some(pick) = running.pop() else { break };
            queue.ended(pick.client);
        }
        prop_assert!(waiting.is_empty());
        prop_assert_eq!(queue.len(), 0);
        prop_assert!(queue.clients.is_empty() && queue.ring.is_empty());
    }
}
