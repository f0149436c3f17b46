//! Workers come and go in any order: at rest each knows its part, and the parts are no more than the whole.

use super::*;
use crate::worker::Reports;
use denali_protocol::wire::frame;
use denali_vmm::worker::message::Report;
use proptest::prelude::*;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    pin::pin,
};

const MEMORY: u64 = 1 << 30;
const SWAP: u64 = 7 << 20;
const CPUS: u32 = 3;

fn client(n: u64) -> PublicKey {
    PublicKey([n as u8; 32])
}

/// A worker that does nothing, and all that it was told.
struct Told {
    worker: Worker,
    _reports: Reports,
    socket: UnixStream,
    unread: Vec<u8>,
    memory: Option<u64>,
    cpus: u32,
}

impl Told {
    async fn new() -> Self {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&frame::encode(&Report::Ready(Ok(Vec::new()))).unwrap()).unwrap();
        let (worker, reports) = Worker::adopt(ours, None).await.unwrap();
        theirs.set_nonblocking(true).unwrap();
        Self { worker, _reports: reports, socket: theirs, unread: Vec::new(), memory: None, cpus: host_cpus() }
    }

    fn listen(&mut self) {
        // It ends where there is no more.
        let _ = self.socket.read_to_end(&mut self.unread);
        while let Some((header, rest)) = self.unread.split_first_chunk()
            && let Some(body) = rest.get(..frame::body_length(*header).unwrap())
        {
            let frame_bytes = frame::HEADER_BYTES + body.len();
            match frame::decode(body).unwrap() {
                Command::Memory(bytes) => self.memory = Some(bytes),
                Command::Cpus(cpus) => self.cpus = cpus,
                Command::Swap(bytes) => assert_eq!(bytes, SWAP / 5),
                other => panic!("{other:?}"),
            }
            self.unread.drain(..frame_bytes);
        }
    }
}

/// What happens to the worker of a number; a round, if there is to be one.
#[derive(Clone, Copy, Debug)]
enum Step {
    Join,
    Ready(usize),
    Leave(usize),
    Demand(usize, u32),
    Idles(usize),
    Round,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Join),
        3 => any::<usize>().prop_map(Step::Ready),
        2 => any::<usize>().prop_map(Step::Leave),
        2 => (any::<usize>(), 0..4_u32).prop_map(|(n, vms)| Step::Demand(n, vms)),
        1 => any::<usize>().prop_map(Step::Idles),
        3 => Just(Step::Round),
    ];
    prop::collection::vec(step, 0..60)
}

struct Bench {
    shares: Arc<Shares>,
    next: u64,
    /// Those that there are; nothing was said to those that are not ready.
    members: Vec<(WorkerId, Option<Told>)>,
}

impl Bench {
    /// Whether a round was asked for. It is taken then.
    fn is_round_due(&self) -> bool {
        pin!(self.shares.changed.notified()).as_mut().enable()
    }

    async fn take(&mut self, step: Step) {
        let of = self.members.len().max(1);
        match step {
            Step::Join => {
                self.next += 1;
                let id = WorkerId(self.next);
                self.shares.join(client(self.next % 3), id);
                self.members.push((id, None));
            }
            Step::Ready(n) => {
                if let Some((id, told @ None)) = self.members.get_mut(n % of) {
                    let new = Told::new().await;
                    self.shares.ready(*id, &new.worker);
                    *told = Some(new);
                }
            }
            Step::Leave(n) if !self.members.is_empty() => {
                let (id, _) = self.members.remove(n % of);
                self.shares.leave(id);
            }
            Step::Demand(n, vms) => {
                self.members.get(n % of).inspect(|(id, _)| self.shares.demand(*id, vms));
            }
            Step::Idles(n) => {
                self.members.get(n % of).inspect(|(id, _)| self.shares.idles(*id));
            }
            Step::Round if self.is_round_due() => self.shares.turn(),
            Step::Leave(_) | Step::Round => {}
        }
        self.members.iter_mut().filter_map(|(_, told)| told.as_mut()).for_each(Told::listen);
    }

    fn ready(&self) -> impl Iterator<Item = &Told> {
        self.members.iter().filter_map(|(_, told)| told.as_ref())
    }
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let policy = NodeShare {
        slots: 4,
        worker_vms: 4,
        cpus: CPUS,
        memory: MEMORY,
        swap: SWAP,
        swap_directory: Some(directory.path().to_owned()),
        ..NodeShare::default()
    };
    let mut bench = Bench { shares: Arc::new(Shares::new(&policy)), next: 0, members: Vec::new() };
    for step in steps {
        bench.take(step).await;
        prop_assert!(bench.ready().map(|told| told.cpus).sum::<u32>() <= CPUS, "of CPUs there are never more");
        let state = bench.shares.state();
        prop_assert!(state.swapping.len() <= 5 && state.swapping.iter().all(|id| state.members.contains_key(id)));
    }
    for _ in 0..100 {
        if bench.is_round_due() {
            bench.shares.turn();
        }
    }
    bench.members.iter_mut().filter_map(|(_, told)| told.as_mut()).for_each(Told::listen);
    let part = MEMORY / (bench.members.len().max(1) as u64);
    let told: Vec<_> = bench.ready().map(|told| told.memory).collect();
    prop_assert!(told.iter().all(|memory| *memory == Some(part)), "{told:?} of {MEMORY}, {} each", part);
    let leases: Vec<_> = bench.shares.state().members.values().map(|member| member.cpus).collect();
    prop_assert!(leases.iter().sum::<u32>() <= CPUS, "{leases:?}");
    Ok(())
}

proptest! {
    #[test]
    fn whoever_comes_and_goes_all_know_their_parts(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps))?;
    }
}

/// One was ready when it was nearly alone, and others came within the same round.
#[tokio::test]
async fn parts_that_changed_between_two_rounds_are_told() {
    for steps in [
        // It was told of all, and has half.
        vec![Step::Join, Step::Join, Step::Round, Step::Leave(0), Step::Ready(0), Step::Join, Step::Ready(1)],
        // It was told of half, and has all.
        vec![Step::Join, Step::Join, Step::Ready(0), Step::Leave(1)],
    ] {
        run(steps).await.unwrap();
    }
}
