//! Holds a result against its receipt, against what was asked for, and against the bytes that arrived. No I/O.

use denali_protocol::{
    digest::{Digest, Hasher},
    identity::PublicKey,
    job::{Channel, ChannelDigest, JobId, OutputDigests},
    receipt::{ReceiptError, Statement, arguments_digest},
    wire::message::JobResult,
};
use std::collections::BTreeMap;

/// What the client knows of a job, and so what a receipt must state. What another command submitted is known in part.
#[derive(Clone, Debug)]
pub(crate) struct Expectation {
    /// The node that was asked.
    pub(crate) node: PublicKey,
    /// The client itself.
    pub(crate) client: PublicKey,
    /// The job.
    pub(crate) job: JobId,
    /// The bundle.
    pub(crate) bundle: Option<Digest>,
    /// The arguments, before `{index}` was put in.
    pub(crate) arguments: Option<Vec<String>>,
    /// The input.
    pub(crate) input: Option<Digest>,
}

/// What a node claims and what is not so. The node is at fault, or someone between it and its signature.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Lie {
    /// The receipt does not hold.
    #[error("its receipt does not hold: {0}")]
    Receipt(#[from] ReceiptError),
    /// The receipt is genuine and of something else.
    #[error("its receipt is for another {what}: it states {stated}, expected was {expected}")]
    Other {
        /// What differs.
        what: &'static str,
        /// As the receipt has it.
        stated: String,
        /// As it should be.
        expected: String,
    },
    /// The result differs from the receipt that comes with it.
    #[error("it reports another {0} than its receipt states")]
    Differs(&'static str),
    /// The bytes that arrived are not those of the receipt.
    #[error(
        "the bytes of {channel} that arrived are not those it signed for ({signed} bytes signed, {arrived} arrived)"
    )]
    Bytes {
        /// The channel.
        channel: String,
        /// Bytes signed for.
        signed: u64,
        /// Bytes that arrived.
        arrived: u64,
    },
    /// A channel is listed twice.
    #[error("it lists {0} twice")]
    Twice(String),
    /// Bytes arrived for a channel that the receipt does not list.
    #[error("it sent bytes of {0}, which it did not sign for")]
    Unsigned(String),
    /// An index that the job does not have.
    #[error("it reports on index {0}, which the job does not have")]
    Index(u32),
    /// It says that all jobs have ended, and they have not.
    #[error("it says that all is done, with {missing} jobs not reported")]
    Unfinished {
        /// Jobs without a result.
        missing: u32,
    },
    /// A file's name that leads elsewhere, or misleads.
    #[error("it sends an output file {name:?}, a name that {fault}")]
    Name {
        /// The start of the name.
        name: String,
        /// The rule it breaks.
        fault: denali_protocol::bundle::path::PathError,
    },
    /// Progress beyond the end.
    #[error("it reports progress of {0} thousandths")]
    Progress(u16),
    /// More open at once than a client can hold.
    #[error("it sends output of more jobs and files at once than this client holds")]
    TooMuch,
}

/// The bytes of one channel that arrived.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    /// How many.
    pub(crate) bytes: u64,
    hasher: Hasher,
}

impl Tally {
    /// Counts `bytes` in.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    /// Their digest so far.
    pub(crate) fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }
}

/// A channel as people know it.
pub(crate) fn channel_name(channel: &Channel) -> String {
    match channel {
        Channel::Output => "standard output".to_owned(),
        Channel::Error => "standard error".to_owned(),
        Channel::File(name) => format!("file {name:?}"),
    }
}

impl Expectation {
    /// Checks everything that a receipt states but the outputs' bytes.
    pub(crate) fn check_result(&self, result: &JobResult) -> Result<Statement, Lie> {
        let statement = result.receipt.verify()?;
        self.check_identity(&statement, result.index)?;
        if let Some(bundle) = self.bundle {
            same("bundle", &statement.bundle, &bundle)?;
        }
        if let Some(arguments) = &self.arguments {
            same("argument list", &statement.arguments, &arguments_of(arguments, result.index))?;
        }
        if let Some(input) = self.input {
            same("input", &statement.input, &input)?;
        }
        for (what, holds) in [
            ("outcome", statement.outcome == result.outcome),
            ("usage", statement.usage == result.usage),
            ("VM", statement.vm == result.vm),
            ("output", statement.output == result.outputs.digest()),
        ] {
            if !holds {
                return Err(Lie::Differs(what));
            }
        }
        Ok(statement)
    }

    fn check_identity(&self, statement: &Statement, index: u32) -> Result<(), Lie> {
        same("node", &statement.node, &self.node)?;
        same("client", &statement.client, &self.client)?;
        same("job", &statement.job, &self.job)?;
        same("index", &statement.index, &index)
    }
}

fn same<T: PartialEq + ToString>(what: &'static str, stated: &T, expected: &T) -> Result<(), Lie> {
    if stated == expected {
        return Ok(());
    }
    Err(Lie::Other { what, stated: stated.to_string(), expected: expected.to_string() })
}

/// The digest of the arguments that the job of this index gets.
fn arguments_of(arguments: &[String], index: u32) -> Digest {
    let index = index.to_string();
    let given: Vec<_> = arguments.iter().map(|argument| argument.replace("{index}", &index)).collect();
    arguments_digest(&given)
}

/// Checks that the bytes that arrived are those that the node signed for, neither more nor less.
pub(crate) fn check_bytes(outputs: &OutputDigests, arrived: &BTreeMap<Channel, Tally>) -> Result<(), Lie> {
    let none = Tally::default();
    for (position, ChannelDigest { channel, bytes, digest }) in outputs.0.iter().enumerate() {
        if outputs.0[..position].iter().any(|earlier| earlier.channel == *channel) {
            return Err(Lie::Twice(channel_name(channel)));
        }
        let tally = arrived.get(channel).unwrap_or(&none);
        if tally.bytes != *bytes || tally.digest() != *digest {
            return Err(Lie::Bytes { channel: channel_name(channel), signed: *bytes, arrived: tally.bytes });
        }
    }
    let unsigned = arrived.keys().find(|channel| !outputs.0.iter().any(|listed| listed.channel == **channel));
    unsigned.map_or(Ok(()), |channel| Err(Lie::Unsigned(channel_name(channel))))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use denali_protocol::{
        identity::KeyPair,
        job::{Outcome, Usage, VmId},
        receipt::{Receipt, StartPath},
    };

    pub(crate) fn node_key() -> KeyPair {
        KeyPair::from_seed(&[1; 32])
    }

    pub(crate) fn expectation() -> Expectation {
        Expectation {
            node: node_key().public(),
            client: PublicKey([2; 32]),
            job: "j".parse().unwrap(),
            bundle: Some(Digest::of(b"bundle")),
            arguments: Some(vec!["{index}".to_owned()]),
            input: Some(Digest::of(b"")),
        }
    }

    fn statement(index: u32, outputs: &OutputDigests) -> Statement {
        Statement {
            node: node_key().public(),
            client: PublicKey([2; 32]),
            job: "j".parse().unwrap(),
            index,
            bundle: Digest::of(b"bundle"),
            arguments: arguments_digest(&[index.to_string()]),
            input: Digest::of(b""),
            vm: Some(VmId(9)),
            start: StartPath::New,
            outcome: Outcome::Exited(0),
            usage: Usage::default(),
            output: outputs.digest(),
            ended_unix_ms: 0,
        }
    }

    /// An honest result of index `index` that wrote `text` on standard output.
    pub(crate) fn result(index: u32, text: &[u8]) -> JobResult {
        let channel = ChannelDigest { channel: Channel::Output, bytes: text.len() as u64, digest: Digest::of(text) };
        let outputs = OutputDigests(vec![channel]);
        signed(&statement(index, &outputs), outputs)
    }

    fn signed(statement: &Statement, outputs: OutputDigests) -> JobResult {
        JobResult {
            index: statement.index,
            outcome: statement.outcome.clone(),
            usage: statement.usage,
            vm: statement.vm,
            outputs,
            receipt: Receipt::sign(statement, &node_key()).unwrap(),
        }
    }

    #[test]
    fn an_honest_result_passes() {
        assert_eq!(expectation().check_result(&result(3, b"x")).unwrap().index, 3);
    }

    #[test]
    fn a_receipt_for_anything_else_is_a_lie() {
        let honest = statement(3, &OutputDigests::default());
        let other = Digest::of(b"other");
        type Change = fn(&mut Statement, Digest);
        let changes: [(&str, Change); 6] = [
            ("client", |s, _| s.client = PublicKey([3; 32])),
            ("job", |s, _| s.job = "k".parse().unwrap()),
            ("bundle", |s, d| s.bundle = d),
            ("argument list", |s, d| s.arguments = d),
            ("input", |s, d| s.input = d),
            ("node", |s, _| s.node = KeyPair::from_seed(&[5; 32]).public()),
        ];
        for (changed, change) in changes {
            let mut statement = honest.clone();
            change(&mut statement, other);
            let mut result = signed(&statement, OutputDigests::default());
            if changed == "node" {
                result.receipt = Receipt::sign(&statement, &KeyPair::from_seed(&[5; 32])).unwrap();
            }
            match expectation().check_result(&result) {
                Err(Lie::Other { what, .. }) => assert_eq!(what, changed),
                verdict => panic!("{changed}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn a_result_that_differs_from_its_receipt_is_a_lie() {
        let mut wrong = result(3, b"x");
        wrong.outcome = Outcome::Exited(1);
        assert_eq!(expectation().check_result(&wrong), Err(Lie::Differs("outcome")));
        let mut wrong = result(3, b"x");
        wrong.usage.cpu_us += 1;
        assert_eq!(expectation().check_result(&wrong), Err(Lie::Differs("usage")));
        let mut wrong = result(3, b"x");
        wrong.outputs.0.clear();
        assert_eq!(expectation().check_result(&wrong), Err(Lie::Differs("output")));
        let mut wrong = result(3, b"x");
        wrong.index = 4;
        assert!(matches!(expectation().check_result(&wrong), Err(Lie::Other { what: "index", .. })));
    }

    #[test]
    fn the_bytes_must_be_those_signed_for() {
        let outputs = result(0, b"abc").outputs;
        let arrived = |channel: Channel, bytes: &[u8]| {
            let mut tally = Tally::default();
            tally.add(bytes);
            BTreeMap::from([(channel, tally)])
        };
        assert_eq!(check_bytes(&outputs, &arrived(Channel::Output, b"abc")), Ok(()));
        assert!(matches!(check_bytes(&outputs, &arrived(Channel::Output, b"abd")), Err(Lie::Bytes { .. })));
        assert!(matches!(check_bytes(&outputs, &arrived(Channel::Error, b"abc")), Err(Lie::Bytes { .. })));
        let mut both = arrived(Channel::Output, b"abc");
        both.extend(arrived(Channel::Error, b"x"));
        assert_eq!(check_bytes(&outputs, &both), Err(Lie::Unsigned("standard error".to_owned())));
        let twice = OutputDigests(vec![outputs.0[0].clone(), outputs.0[0].clone()]);
        let tallies = arrived(Channel::Output, b"abc");
        assert!(matches!(check_bytes(&twice, &tallies), Err(Lie::Twice(_))));
    }
}
