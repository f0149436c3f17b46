//! Which worker gets a run, with a few clients: every step from every shape of the roll that steps lead to.

use super::*;
use std::collections::HashSet;

const CLIENTS: u8 = 3;

/// Of each client, the workers from the oldest on: their runs, or none of one that is closed and on the roll still.
type Shape = Vec<Vec<Option<usize>>>;

/// Tenants of that shape. Their workers are never ready.
fn tenants(bench: &Bench, node: &NodeShare, shape: &Shape) -> Tenants {
    let tenants = Tenants::new(node, bench.engine.tenants.launcher);
    for (n, workers) in (0..).zip(shape) {
        for runs in workers {
            let id = WorkerId(tenants.next.fetch_add(1, Ordering::Relaxed));
            let process = Process::new(id, client(n), Arc::clone(&tenants.shares));
            for _ in 0..runs.unwrap_or(0) {
                assert!(process.take(assignment(bench, n)).is_none());
            }
            if runs.is_none() {
                process.close();
            }
            tenants.roll().by_client.entry(client(n)).or_default().push(process);
        }
    }
    tenants
}

fn assignment(bench: &Bench, n: u8) -> Assignment {
    bench.assignment(bench.run(client(n), Instant::now()), "hang")
}

/// The shape of these, and what holds of any.
fn shape(tenants: &Tenants, node: &NodeShare) -> Shape {
    let roll = tenants.roll();
    let of = |process: &Arc<Process>| {
        let state = process.state();
        assert!(state.runs.values().all(|given| given.run.pick.client == process.client), "no one else's run");
        assert!(state.runs.len() <= node.worker_vms as usize);
        (!state.closed).then_some(state.runs.len())
    };
    let shape: Shape = (0..CLIENTS)
        .map(|n| roll.by_client.get(&client(n)).map(|workers| workers.iter().map(of).collect()).unwrap_or_default())
        .collect();
    let live = shape.iter().flatten().flatten().count();
    assert!(live <= tenants.most, "{live} workers, not {}", tenants.most);
    assert!(roll.by_client.values().all(|workers| !workers.is_empty()));
    shape
}

/// What a run of client `n` may make of a shape.
fn assigned(n: usize, before: &Shape, most: usize, worker_vms: u32) -> Vec<Shape> {
    let without = |(n, at): (usize, usize)| {
        let mut shape = before.clone();
        shape[n].remove(at);
        shape
    };
    let room = before[n].iter().flatten().filter(|runs| **runs < worker_vms as usize).max();
    if let Some(fullest) = room {
        let mut shape = before.clone();
        let oldest = shape[n].iter_mut().find(|runs| **runs == Some(*fullest));
        oldest.into_iter().for_each(|runs| *runs = Some(fullest + 1));
        return vec![shape];
    }
    // Where there are too many, one of those goes that have nothing to do.
    let places = before.iter().enumerate().flat_map(|(n, workers)| (0..workers.len()).map(move |at| (n, at)));
    let idle = places.filter(|(n, at)| before[*n][*at] == Some(0));
    let mut shapes: Vec<Shape> = idle.map(without).collect();
    if before.iter().flatten().count() < most || shapes.is_empty() {
        shapes = vec![before.clone()];
    }
    shapes.iter_mut().for_each(|shape| shape[n].push(Some(1)));
    shapes
}

/// Every shape that one step leads to.
fn next(bench: &Bench, node: &NodeShare, before: &Shape) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let runs: usize = before.iter().flatten().flatten().sum();
    if runs < node.slots as usize {
        for n in 0..CLIENTS {
            let tenants = tenants(bench, node, before);
            tenants.assign(&bench.engine, assignment(bench, n));
            assert_eq!(tenants.runs(), runs + 1);
            let after = shape(&tenants, node);
            let may_be = assigned(n.into(), before, tenants.most, node.worker_vms);
            assert!(may_be.contains(&after), "client {n}: {before:?} {after:?}");
            shapes.extend(may_be);
        }
    }
    for (n, at) in (0..).zip(before).flat_map(|(n, workers)| (0..workers.len()).map(move |at| (n, at))) {
        let step = |step: &dyn Fn(&Tenants, &Arc<Process>)| {
            let tenants = tenants(bench, node, before);
            let process = Arc::clone(&tenants.roll().by_client[&client(n)][at]);
            step(&tenants, &process);
            shape(&tenants, node)
        };
        match before[usize::from(n)][at] {
            None => shapes.push(step(&|tenants, process| tenants.strike(process))),
            Some(runs) => {
                // It dies; it gives up one run, or itself where it has none.
                shapes.push(step(&|_, process| assert_eq!(process.close().len(), runs)));
                shapes.push(step(&|_, process| {
                    assert_eq!(process.retire(Duration::ZERO), runs == 0);
                    let run = process.state().runs.keys().next().copied();
                    run.inspect(|run| assert!(process.release(*run, 0).is_some()));
                }));
            }
        }
    }
    shapes
}

#[tokio::test]
async fn no_worker_serves_two_clients_and_none_has_too_much() {
    for (slots, workers, worker_vms) in [(3, 1, 2), (4, 1, 2), (3, 5, 1), (4, 5, 3)] {
        let node = NodeShare { slots, workers, worker_vms, ..NodeShare::default() };
        let bench = Bench::with(&node, Launcher(|| Box::pin(std::future::pending()), Jail::Partial));
        let empty: Shape = vec![Vec::new(); CLIENTS.into()];
        let (mut seen, mut left) = (HashSet::from([empty.clone()]), vec![empty]);
        while let Some(before) = left.pop() {
            for mut after in next(&bench, &node, &before) {
                // Clients are alike; and of those that are closed and on the roll, one is enough.
                after.sort_unstable();
                if after.iter().flatten().filter(|runs| runs.is_none()).count() <= 1 && seen.insert(after.clone()) {
                    left.push(after);
                }
            }
        }
        eprintln!("{} shapes of {slots} slots, {workers} workers of {worker_vms} VMs", seen.len());
    }
}
