//! A whole node on loopback, with workers in the test process.

use super::*;
use crate::node::policy::Jail;
use crate::{
    transport::{connect, read_frame, write_body, write_frame},
    worker::fake,
};
use denali_protocol::{
    bundle::{BundleSignature, CpuModel, PackRequest, pack},
    digest::Digest,
    identity::KeyPair,
    job::{Channel, Indices, JobId, Outcome},
    wire::message::{Event, JobResult, JobStatus, Refusal, RefusalKind, Request, Response, Submit, Top},
};
use quinn::{Connection, RecvStream, SendStream};
use std::{collections::BTreeMap, net::Ipv4Addr};

mod hostile;
mod jobs;
mod restart;
mod server;

const FAKE: Launcher = Launcher(fake::launch, Jail::Partial);

struct Grid {
    data: tempfile::TempDir,
    node: Node,
}

fn policy(data: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = data.path().join("policy.toml");
    std::fs::write(&path, text).unwrap();
    path
}

impl Grid {
    async fn start(text: &str) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), text).await
    }

    async fn start_on(data: tempfile::TempDir, text: &str) -> Self {
        let options = NodeOptions {
            data: data.path().join("data"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            policy: Some(policy(&data, text)),
        };
        let node = Node::start_with(options, FAKE).await.unwrap();
        Self { data, node }
    }

    async fn client(&self, seed: u8) -> Peer {
        let key = KeyPair::from_seed(&[seed; 32]);
        Peer(connect(self.node.address(), self.node.key(), &key).await.unwrap())
    }

    /// As after `kill -9`, and with another policy.
    async fn crash_and_start(self, text: &str) -> Self {
        self.node.kill().await;
        Self::start_on(self.data, text).await
    }
}

struct Peer(Connection);

/// What a client has seen of one job.
#[derive(Debug, Default)]
struct Seen {
    output: BTreeMap<Channel, Vec<u8>>,
    started: u32,
    result: Option<JobResult>,
}

fn content() -> Vec<u8> {
    let request = PackRequest {
        name: "test",
        cpu: CpuModel::V2,
        memory_bytes: 16 << 20,
        cpu_time_us: 1_000_000,
        wall_time_us: 5_000_000,
        program: b"no program, the workers here pretend",
        files: &[],
    };
    pack(&request).unwrap()
}

fn job(name: &str, words: &str) -> Submit {
    let content = content();
    Submit {
        job: name.parse().unwrap(),
        bundle: Digest::of(&content),
        bundle_bytes: content.len() as u64,
        signatures: Vec::new(),
        arguments: words.split(' ').map(str::to_owned).collect(),
        indices: Indices::SINGLE,
        input_bytes: 0,
        input: Digest::of(b""),
        attach: true,
    }
}

fn array(name: &str, words: &str, last: u32) -> Submit {
    Submit { indices: Indices { first: 0, last }, ..job(name, words) }
}

fn with_input(submit: Submit, input: &[u8]) -> Submit {
    Submit { input_bytes: input.len() as u64, input: Digest::of(input), ..submit }
}

impl Peer {
    async fn ask(&self, request: &Request) -> (SendStream, RecvStream) {
        let (mut send, receive) = self.0.open_bi().await.unwrap();
        write_frame(&mut send, request).await.unwrap();
        (send, receive)
    }

    async fn answer(&self, request: &Request) -> Response {
        read_frame(&mut self.ask(request).await.1).await.unwrap()
    }

    async fn submit(&self, submit: &Submit, input: &[u8]) -> Result<(bool, RecvStream), Refusal> {
        let (mut send, mut receive) = self.ask(&Request::Submit(submit.clone())).await;
        write_body(&mut send, input).await.unwrap();
        let mut response = read_frame(&mut receive).await.unwrap();
        if response == Response::NeedBundle {
            write_body(&mut send, &content()).await.unwrap();
            response = read_frame(&mut receive).await.unwrap();
        }
        match response {
            Response::Accepted { new } => Ok((new, receive)),
            Response::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    async fn run(&self, submit: &Submit, input: &[u8]) -> Seen {
        let mut all = events(self.submit(submit, input).await.unwrap().1).await;
        assert_eq!(all.len(), 1);
        all.remove(&0).unwrap()
    }

    async fn status(&self, name: &str) -> JobStatus {
        match self.answer(&Request::Status(name.parse().unwrap())).await {
            Response::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    async fn follow(&self, name: &str) -> BTreeMap<u32, Seen> {
        events(self.ask(&Request::Follow(name.parse().unwrap())).await.1).await
    }
}

/// All events up to the last, checked for order.
async fn events(mut receive: RecvStream) -> BTreeMap<u32, Seen> {
    let mut all: BTreeMap<u32, Seen> = BTreeMap::new();
    loop {
        match read_frame(&mut receive).await.unwrap() {
            Response::Event(Event::Started { index }) => {
                let seen = all.entry(index).or_default();
                assert!(seen.result.is_none());
                seen.started += 1;
                seen.output.clear();
            }
            Response::Event(Event::Output { index, channel, bytes }) => {
                let seen = all.get_mut(&index).unwrap();
                assert!(seen.result.is_none() && seen.started > 0);
                seen.output.entry(channel).or_default().extend(bytes);
            }
            Response::Event(Event::Progress { .. }) => {}
            Response::Event(Event::Ended(result)) => {
                let seen = all.entry(result.index).or_default();
                for row in &result.outputs.0 {
                    let bytes = seen.output.get(&row.channel).cloned().unwrap_or_default();
                    assert_eq!((row.bytes, row.digest), (bytes.len() as u64, Digest::of(&bytes)), "{:?}", row.channel);
                }
                assert!(seen.result.replace(result).is_none());
            }
            Response::Event(Event::Done) => return all,
            other => panic!("{other:?}"),
        }
    }
}
