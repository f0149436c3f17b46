//! A look at a node as JSON. `docs/cli.md` lists the keys.

use denali_protocol::{
    identity::PublicKey,
    job::Exits,
    wire::top::{Durations, Share, Starts, Swaps, Top},
};
use serde::Serialize;

/// One look.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    node: String,
    uptime_us: u64,
    slots: u32,
    cpus: u32,
    memory_limit_bytes: u64,
    swap_limit_bytes: u64,
    clients: u32,
    all: Share,
    own: Share,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_client: Option<Vec<Client>>,
    starts: Starts,
    swaps: Swaps,
    exits: Exits,
    start: Quantiles,
    wake: Quantiles,
    swap_in: Quantiles,
    swap_out: Quantiles,
}

#[derive(Debug, Serialize)]
struct Client {
    client: String,
    #[serde(flatten)]
    share: Share,
}

/// Latencies since the node's start.
#[derive(Debug, Serialize)]
struct Quantiles {
    count: u64,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
}

impl From<&Durations> for Quantiles {
    fn from(durations: &Durations) -> Self {
        Self { count: durations.count(), p50_us: durations.quantile_us(500), p99_us: durations.quantile_us(990) }
    }
}

impl Line {
    /// What `node` does.
    pub(super) fn new(node: PublicKey, top: &Top) -> Self {
        let by_client = top.by_client.as_ref().map(|clients| {
            clients.iter().map(|(client, share)| Client { client: client.to_string(), share: *share }).collect()
        });
        Self {
            node: node.to_string(),
            uptime_us: top.uptime_us,
            slots: top.slots,
            cpus: top.cpus,
            memory_limit_bytes: top.memory_bytes,
            swap_limit_bytes: top.swap_bytes,
            clients: top.clients,
            all: top.all,
            own: top.own,
            by_client,
            starts: top.starts,
            swaps: top.swaps,
            exits: top.exits,
            start: (&top.start).into(),
            wake: (&top.wake).into(),
            swap_in: (&top.swap_in).into(),
            swap_out: (&top.swap_out).into(),
        }
    }
}
