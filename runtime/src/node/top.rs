//! What the node does at this moment: for each client as a whole and as far as it is its own, for operators by client.

use super::{
    engine::Engine,
    tenant::{Census, Row},
};
use denali_protocol::{
    identity::PublicKey,
    limits::TOP_CLIENTS,
    wire::top::{Durations, Share, Starts, Swaps, Top},
};
use denali_vmm::worker::message::Histogram;
use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long what was found out is good for: however often clients ask, the node counts no more often.
const FRESH: Duration = Duration::from_millis(100);

/// What the node does, as it was found out last.
#[derive(Debug)]
pub(crate) struct Watcher {
    since: Instant,
    last: Mutex<Option<(Instant, Arc<View>)>>,
}

/// The node at one moment.
#[derive(Debug)]
struct View {
    top: Top,
    clients: HashMap<PublicKey, Share>,
}

impl Watcher {
    /// Of a node that starts now.
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), last: Mutex::new(None) }
    }
}

impl Engine {
    /// Whether this client is told of all others.
    pub(crate) fn is_operator(&self, client: PublicKey) -> bool {
        client == self.key.public() || self.policy.is_operator(client)
    }

    /// What the node does, as far as it concerns this client.
    pub(crate) fn top(&self, client: PublicKey) -> Top {
        let view = self.view();
        let own = view.clients.get(&client).copied().unwrap_or_default();
        let by_client = self.is_operator(client).then(|| {
            let mut clients: Vec<_> = view.clients.iter().map(|(client, share)| (*client, *share)).collect();
            clients.sort_by_key(|(client, share)| (Reverse(share.cpu_us), *client));
            clients.truncate(TOP_CLIENTS);
            clients
        });
        Top { own, by_client, ..view.top.clone() }
    }

    fn view(&self) -> Arc<View> {
        // Held while it is found out: who asks meanwhile gets the same.
        let mut last = self.watcher.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, view)) = &*last
            && at.elapsed() < FRESH
        {
            return Arc::clone(view);
        }
        let view = Arc::new(self.look());
        *last = Some((Instant::now(), Arc::clone(&view)));
        view
    }

    fn look(&self) -> View {
        let Census { clients, all, counts } = self.tenants.census();
        let mut shares: HashMap<_, _> = clients.into_iter().map(|(client, row)| (client, share(row))).collect();
        let mut all = share(all);
        let queued = self.queued();
        let busy = queued.len();
        for (client, waiting, running) in queued {
            let share = shares.entry(client).or_default();
            (share.jobs_queued, share.jobs_running) = (waiting, running);
            all.jobs_queued = all.jobs_queued.saturating_add(waiting);
            all.jobs_running = all.jobs_running.saturating_add(running);
        }
        let durations = |Histogram(places): Histogram| Durations(places);
        let node = &self.policy.node;
        let top = Top {
            uptime_us: u64::try_from(self.watcher.since.elapsed().as_micros()).unwrap_or(u64::MAX),
            slots: node.slots,
            cpus: node.cpus,
            clients: u32::try_from(busy).unwrap_or(u32::MAX),
            all,
            memory_bytes: node.memory,
            swap_bytes: node.swap,
            starts: Starts {
                // Those that were ready are among the new ones.
                new: counts.new.saturating_sub(counts.ready),
                ready: counts.ready,
                reimaged: counts.reimaged,
            },
            swaps: Swaps { out: counts.swapped_out, back: counts.swapped_in, failed: counts.swap_failures },
            exits: counts.exits,
            start: durations(counts.start),
            wake: durations(counts.wake),
            swap_in: durations(counts.swap_in),
            swap_out: durations(counts.swap_out),
            own: Share::default(),
            by_client: None,
        };
        View { top, clients: shares }
    }
}

/// What is known of workers, with nothing of the queue.
fn share(row: Row) -> Share {
    Share {
        workers: row.workers,
        runnable: row.runnable,
        running: row.running,
        idle: row.idle,
        swapped: row.swapped,
        memory_bytes: row.memory_kib.saturating_mul(1024),
        swap_bytes: row.swap_bytes,
        cpu_us: row.used.cpu_us,
        jobs_queued: 0,
        jobs_running: 0,
        jobs_ended: row.used.ended,
        jobs_lost: row.used.lost,
    }
}
