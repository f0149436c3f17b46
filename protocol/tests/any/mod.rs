//! Values for tests: strategies for messages, and one small bundle.
#![allow(dead_code, reason = "each test file uses its part")]

use denali_protocol::{
    bundle::{self, BundleSignature, CpuModel, PackRequest},
    digest::Digest,
    identity::{KeyPair, PublicKey},
    job::{
        Access, Channel, ChannelDigest, Clock, Exits, Fault, FaultCause, Indices, JobId, Limits, Outcome,
        OutputDigests, Usage, VmId,
    },
    receipt::{Receipt, StartPath, Statement},
    wire::message::{Event, JobResult, JobStatus, NodeInfo, Refusal, RefusalKind, Request, Response, Submit},
};
use proptest::{collection::vec, prelude::*};

/// A small request to pack, with two files out of order.
pub(crate) const REQUEST: PackRequest<'static> = PackRequest {
    name: "hello",
    cpu: CpuModel::V2,
    memory_bytes: 16 << 20,
    cpu_time_us: 1_000_000,
    wall_time_us: 2_000_000,
    program: b"\x7fELF program",
    files: &[],
};

/// The files that go with [`REQUEST`].
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    vec![("b/data".to_owned(), b"some data".to_vec()), ("a.txt".to_owned(), Vec::new())]
}

/// The content of [`REQUEST`] with [`files`].
pub(crate) fn content() -> Vec<u8> {
    bundle::pack(&PackRequest { files: &files(), ..REQUEST }).expect("the sample packs")
}

/// A key of its own for each number.
pub(crate) fn key(number: u8) -> KeyPair {
    KeyPair::from_seed(&[number; 32])
}

pub(crate) fn statement() -> Statement {
    Statement {
        node: key(1).public(),
        client: key(2).public(),
        job: "job".parse().expect("a job id"),
        index: 3,
        bundle: Digest::of(b"bundle"),
        arguments: Digest::of(b"arguments"),
        input: Digest::of(b"input"),
        vm: Some(VmId(7)),
        start: StartPath::New,
        outcome: Outcome::Exited(0),
        usage: Usage::default(),
        output: OutputDigests::default().digest(),
        ended_unix_ms: 1_700_000_000_000,
    }
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn public_key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey)
}

fn job_id() -> impl Strategy<Value = JobId> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,63}".prop_map(|text| text.parse().expect("a job id"))
}

fn indices() -> impl Strategy<Value = Indices> {
    (any::<u32>(), 0..100_000_u32).prop_map(|(first, more)| Indices { first, last: first.saturating_add(more) })
}

fn channel() -> impl Strategy<Value = Channel> {
    prop_oneof![Just(Channel::Output), Just(Channel::Error), ".{0,20}".prop_map(Channel::File)]
}

fn fault_cause() -> impl Strategy<Value = FaultCause> {
    let access = prop_oneof![Just(Access::Read), Just(Access::Write), Just(Access::Execute)];
    prop_oneof![
        (any::<u64>(), access).prop_map(|(address, access)| FaultCause::Page { address, access }),
        any::<u64>().prop_map(|address| FaultCause::StackOverflow { address }),
        Just(FaultCause::SystemCall),
        any::<u8>().prop_map(|vector| FaultCause::Exception { vector }),
        any::<u16>().prop_map(|port| FaultCause::UnknownPort { port }),
        (".{0,9}", ".{0,9}").prop_map(|(name, detail)| FaultCause::VirtualInstruction { name, detail }),
        ".{0,9}".prop_map(|detail| FaultCause::Upcall { detail }),
    ]
}

pub(crate) fn outcome() -> impl Strategy<Value = Outcome> {
    let clock = prop_oneof![Just(Clock::Cpu), Just(Clock::Wall)];
    prop_oneof![
        any::<u8>().prop_map(Outcome::Exited),
        (clock, any::<u64>()).prop_map(|(clock, limit_us)| Outcome::TimeLimit { clock, limit_us }),
        any::<u64>().prop_map(|limit_bytes| Outcome::MemoryLimit { limit_bytes }),
        (fault_cause(), any::<u64>())
            .prop_map(|(cause, instruction_pointer)| Outcome::Fault(Fault { cause, instruction_pointer })),
        Just(Outcome::Cancelled),
        ".{0,40}".prop_map(Outcome::Lost),
    ]
}

pub(crate) fn outputs() -> impl Strategy<Value = OutputDigests> {
    let one = (channel(), any::<u64>(), digest());
    vec(one.prop_map(|(channel, bytes, digest)| ChannelDigest { channel, bytes, digest }), 0..4).prop_map(OutputDigests)
}

fn usage() -> impl Strategy<Value = Usage> {
    any::<[u64; 5]>().prop_map(|[cpu_us, wall_us, start_us, memory_peak_kib, kicks]| Usage {
        cpu_us,
        wall_us,
        start_us,
        memory_peak_kib,
        exits: Exits { kicks, ..Exits::default() },
    })
}

fn job_result() -> impl Strategy<Value = JobResult> {
    (any::<u32>(), outcome(), usage(), proptest::option::of(any::<u64>()), outputs(), vec(any::<u8>(), 0..99)).prop_map(
        |(index, outcome, usage, vm, outputs, receipt)| JobResult {
            index,
            outcome,
            usage,
            vm: vm.map(VmId),
            outputs,
            receipt: Receipt(receipt),
        },
    )
}

fn submit() -> impl Strategy<Value = Submit> {
    let signature = (0..9_u8, digest(), any::<u64>());
    let signature = signature.prop_map(|(seed, digest, expiry)| BundleSignature::sign(&digest, &key(seed), expiry));
    (job_id(), digest(), any::<[u64; 2]>(), vec(signature, 0..2), vec(".{0,9}", 0..4), indices(), any::<bool>())
        .prop_map(|(job, bundle, [bundle_bytes, input_bytes], signatures, arguments, indices, attach)| Submit {
            job,
            bundle,
            bundle_bytes,
            signatures,
            arguments,
            indices,
            input_bytes,
            input: bundle,
            attach,
        })
}

/// Any request.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::Info),
        submit().prop_map(Request::Submit),
        job_id().prop_map(Request::Follow),
        proptest::option::of(job_id()).prop_map(|after| Request::List { after }),
        (job_id(), any::<u32>()).prop_map(|(job, index)| Request::Result { job, index }),
        vec(any::<u8>(), 0..200).prop_map(Request::Echo),
    ]
}

/// Any response.
pub(crate) fn response() -> impl Strategy<Value = Response> {
    let event = prop_oneof![
        any::<u32>().prop_map(|index| Event::Started { index }),
        (any::<u32>(), channel(), vec(any::<u8>(), 0..200)).prop_map(|(index, channel, bytes)| Event::Output {
            index,
            channel,
            bytes
        }),
        job_result().prop_map(Event::Ended),
        Just(Event::Done),
    ];
    prop_oneof![
        (public_key(), ".{0,9}", any::<[u64; 4]>()).prop_map(|(node, version, [a, b, c, d])| {
            let unsigned = Limits { memory_bytes: a, cpu_time_us: b, wall_time_us: c, output_bytes: d };
            Response::Info(NodeInfo {
                node,
                version,
                cpu: CpuModel::V3,
                slots: 2,
                unsigned: Some(unsigned),
                jail_lacks: vec!["Landlock: no".to_owned()],
                unbounded: Some("no control groups".to_owned()),
            })
        }),
        any::<bool>().prop_map(|new| Response::Accepted { new }),
        vec(job_status(), 0..3).prop_map(|jobs| Response::List { jobs, more: true }),
        event.prop_map(Response::Event),
        ".{0,40}".prop_map(|message| Response::Refused(Refusal { kind: RefusalKind::Denied, message })),
    ]
}

fn job_status() -> impl Strategy<Value = JobStatus> {
    (job_id(), digest(), ".{0,20}", any::<[u32; 4]>()).prop_map(
        |(job, bundle, name, [queued, running, succeeded, failed])| JobStatus {
            job,
            bundle,
            name,
            queued,
            running,
            succeeded,
            failed,
            accepted_unix_ms: 1,
        },
    )
}
