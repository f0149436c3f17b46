//! The seeds of all bodies: small, valid, and made here.
//!
//! After a change of format: `cargo test -p denali-fuzz --test seeds -- --ignored`

mod linux;

use denali_protocol::{
    bundle::{self, BundleSignature, CpuModel, PackRequest},
    codec,
    digest::Digest,
    identity::KeyPair,
    job::{
        Access, Channel, ChannelDigest, Fault, FaultCause, Indices, JobId, Limits, Outcome, OutputDigests, Usage, VmId,
    },
    limits::FRAME_BYTES,
    receipt::{Receipt, StartPath, Statement, arguments_digest},
    wire::{
        frame,
        message::{Event, JobResult, Refusal, RefusalKind, Request, Response, Submit, Top},
        top::{Durations, Share},
    },
};
use denali_vmm::worker::message::{Command, Histogram, Input, Report, RunId, Start, Status};
use serde::Serialize;
use std::{fs, path::PathBuf};

#[test]
fn the_corpus_holds_the_seeds() {
    for (path, bytes) in seeds() {
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept == bytes, "{} is not what this format gives; write the seeds again", path.display());
    }
}

#[test]
#[ignore = "writes the seeds"]
fn write() {
    for (path, bytes) in seeds() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        fs::write(path, bytes).expect("the seed is written");
    }
}

fn seeds() -> Vec<(PathBuf, Vec<u8>)> {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let (plain, signed) = bundles();
    let stream = [frame::encode(&Request::Info), frame::encode(&Request::Submit(submit()))];
    let stream = stream.map(|frame| frame.expect("a short frame")).concat();
    let mut seeds = vec![
        ("bundle/plain", plain),
        ("bundle/signed", signed),
        ("frames/two", stream),
        ("messages/submit", encoded(&Request::Submit(submit()))),
        ("receipt/whole", receipt(Outcome::Exited(0)).0),
        ("receipt/body", encoded(&statement(Outcome::Exited(0)))),
        ("receipt/fault", receipt(fault()).0),
    ];
    seeds.extend(guests());
    seeds.extend(linux::seeds());
    seeds.extend(responses());
    seeds.extend(worker());
    seeds.into_iter().map(|(name, bytes)| (corpus.join(name), bytes)).collect()
}

fn encoded(message: &impl Serialize) -> Vec<u8> {
    codec::encode(message, FRAME_BYTES).expect("a short message")
}

fn key(number: u8) -> KeyPair {
    KeyPair::from_seed(&[number; 32])
}

fn job() -> JobId {
    "job-1".parse().expect("a job id")
}

/// An unsigned bundle, and one with two files and two signatures.
fn bundles() -> (Vec<u8>, Vec<u8>) {
    let files = [("a".to_owned(), b"one".to_vec()), ("b/c".to_owned(), b"two".to_vec())];
    let request = PackRequest {
        name: "seed",
        cpu: CpuModel::V2,
        memory_bytes: 4 << 20,
        cpu_time_us: 1_000_000,
        wall_time_us: 1_000_000,
        program: b"\x7fELF",
        files: &[],
    };
    let plain = bundle::pack(&request).expect("it packs");
    let content = bundle::pack(&PackRequest { files: &files, ..request }).expect("it packs");
    let digest = Digest::of(&content);
    let signatures = [BundleSignature::sign(&digest, &key(1), u64::MAX), BundleSignature::sign(&digest, &key(2), 1)];
    let file = |content: &[u8], signatures| bundle::assemble(content, signatures).expect("it assembles");
    (file(&plain, &[]), file(&content, &signatures))
}

fn submit() -> Submit {
    let bundle = Digest::of(b"bundle");
    Submit {
        job: job(),
        bundle,
        bundle_bytes: 1000,
        signatures: vec![BundleSignature::sign(&bundle, &key(1), u64::MAX)],
        arguments: vec!["--index".to_owned(), "{index}".to_owned()],
        indices: Indices { first: 1, last: 9 },
        input_bytes: 5,
        input: Digest::of(b"input"),
        attach: true,
    }
}

fn fault() -> Outcome {
    let cause = FaultCause::Page { address: 0x1000, access: Access::Write };
    Outcome::Fault(Fault { cause, instruction_pointer: 0x20_0000 })
}

fn statement(outcome: Outcome) -> Statement {
    Statement {
        node: key(1).public(),
        client: key(2).public(),
        job: job(),
        index: 1,
        bundle: Digest::of(b"bundle"),
        arguments: arguments_digest(&[]),
        input: Digest::of(b"input"),
        vm: Some(VmId(1)),
        start: StartPath::New,
        outcome,
        usage: Usage::default(),
        output: OutputDigests::default().digest(),
        ended_unix_ms: 1_700_000_000_000,
    }
}

fn receipt(outcome: Outcome) -> Receipt {
    Receipt::sign(&statement(outcome), &key(1)).expect("a short statement")
}

fn responses() -> [(&'static str, Vec<u8>); 5] {
    let channel = Channel::File("out".to_owned());
    let outputs = OutputDigests(vec![ChannelDigest { channel: channel.clone(), bytes: 3, digest: Digest::of(b"out") }]);
    let (usage, receipt) = (Usage::default(), receipt(fault()));
    let result = JobResult { index: 1, outcome: fault(), usage, vm: Some(VmId(1)), outputs, receipt };
    let output = Event::Output { index: 1, channel, bytes: b"out".to_vec() };
    let own = Share { running: 2, cpu_us: 1000, ..Share::default() };
    let by_client = Some(vec![(key(2).public(), own)]);
    let top = Top { slots: 4, all: own, own, wake: Durations([1; 32]), by_client, ..Top::default() };
    let refusal = Refusal { kind: RefusalKind::Busy, message: "full".to_owned() };
    [
        ("messages/result", encoded(&Response::Result(result))),
        ("messages/output", encoded(&Response::Event(output))),
        ("messages/refusal", encoded(&Response::Refused(refusal))),
        ("messages/top-asked", encoded(&Request::Top)),
        ("messages/top", encoded(&Response::Top(Box::new(top)))),
    ]
}

/// Programs of one and of three segments, and guests that keep the rules of their rings.
fn guests() -> [(&'static str, Vec<u8>); 4] {
    let code = (5, 0x20_0000, 100, 100);
    [
        ("elf/code", elf(&[code])),
        ("elf/whole", elf(&[code, (4, 0x20_1000, 40, 40), (6, 0x20_3010, 50, 9000)])),
        ("ring/send", ring(&[(1, 72), (1, 0), (4, 9), (1, 24)])),
        ("ring/receive", ring(&[(3, 0), (3, 0), (3, 8), (2, 1 << 40)])),
    ]
}

/// An ELF file with these loadable segments: flags, address, bytes in the file, bytes in memory.
fn elf(segments: &[(u32, u64, u64, u64)]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([0x20_0000u64, 64, 0].map(u64::to_le_bytes).concat());
    file.extend([0u16, 0, 64, 56, segments.len() as u16, 64, 0, 0].map(u16::to_le_bytes).concat());
    let mut offset = 64 + 56 * segments.len() as u64;
    for (flags, address, file_bytes, bytes) in segments {
        file.extend([1u32, *flags].map(u32::to_le_bytes).concat());
        file.extend([offset, *address, *address, *file_bytes, *bytes, 4096].map(u64::to_le_bytes).concat());
        offset += file_bytes;
    }
    file.resize(offset as usize, 0x90);
    file
}

/// A ring that starts with a record of 64 bytes, and these steps. The first byte says the ring's size, 1 KiB, and is the
/// length's lowest; a first step that publishes nothing leaves the others zero.
fn ring(steps: &[(u8, u64)]) -> Vec<u8> {
    let mut data = vec![64];
    for (step, position) in [(0, 0)].iter().chain(steps) {
        data.push(*step);
        data.extend(position.to_le_bytes());
    }
    data
}

fn worker() -> [(&'static str, Vec<u8>); 5] {
    let run = RunId(1);
    let limits = Limits { memory_bytes: 4 << 20, cpu_time_us: 1, wall_time_us: 1, output_bytes: 1 };
    let start = Start {
        run,
        bundle: Digest::of(b"bundle"),
        arguments: vec!["a".to_owned()],
        limits,
        input: Input::Descriptor,
        reimage: true,
    };
    let mut status = Status { idle: 3, ..Status::default() };
    status.counts.wake = Histogram([1; 32]);
    [
        ("messages/start", encoded(&Command::Start(start))),
        ("messages/ready", encoded(&Report::Ready(Err("no KVM".to_owned())))),
        ("messages/swap", encoded(&Command::Swap(1 << 30))),
        ("messages/status", encoded(&Report::Status(Box::new(status)))),
        ("messages/ended", encoded(&Report::Ended { run, outcome: fault(), usage: Usage::default() })),
    ]
}
