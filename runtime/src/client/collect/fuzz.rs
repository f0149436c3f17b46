//! What a hostile node says of a job, event by event: against what a person would see.

use super::{Collector, Jobs, OpenJob, Seen};
use crate::client::check::Expectation;
use arbitrary::{Result, Unstructured};
use denali_protocol::{
    digest::Digest,
    identity::{KeyPair, PublicKey},
    job::{Channel, ChannelDigest, Indices, Outcome, OutputDigests, Usage},
    receipt::{Receipt, StartPath, Statement, arguments_digest},
    wire::message::{Event, JobResult},
};
use std::{collections::BTreeMap, sync::LazyLock};

/// Most events of one node.
const STEPS: usize = 100;
/// What jobs of the node really put out, which it signed for.
const TEXTS: [&[u8]; 4] = [b"", b"a", b"ab", b"abb"];
const INDICES: Indices = Indices { first: 0, last: 2 };

/// Results of the node, all well signed: an honest one of each index with each text, then ones that are of something else, or of output that
/// is not as it should be. To sign takes longer than all else.
static RESULTS: LazyLock<Vec<JobResult>> = LazyLock::new(|| {
    let honest = INDICES.iter().flat_map(|index| TEXTS.map(|text| result(index, &[(Channel::Output, text)], |_| ())));
    let mut results: Vec<JobResult> = honest.collect();
    let changes: [fn(&mut Statement); 7] = [
        |statement| statement.client = PublicKey([3; 32]),
        |statement| statement.job = "k".parse().expect("a name"),
        |statement| statement.index = 1,
        |statement| statement.bundle = Digest::of(b"another"),
        |statement| statement.arguments = arguments_digest(&[]),
        |statement| statement.input = Digest::of(b"another"),
        |statement| statement.usage.cpu_us = 1,
    ];
    results.extend(changes.map(|change| result(0, &[(Channel::Output, b"a")], change)));
    let file = || Channel::File("f".to_owned());
    let (out, error) = (Channel::Output, Channel::Error);
    results.push(result(0, &[(out.clone(), b""), (error, b"ab"), (file(), b"a")], |_| ()));
    results.push(result(0, &[(out.clone(), b"a"), (out, b"a")], |_| ()));
    results.push(result(0, &[], |_| ()));
    results
});

/// Takes in the events that `data` describe. Each byte is shown once, unless it is said to be void; a result is shown only if it is one that
/// was signed, of the bytes that arrived; and the books of what is held are right.
pub fn collector(data: &[u8]) {
    // It ends where the bytes do.
    let _ = run(&mut Unstructured::new(data));
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let known = u.arbitrary()?;
    let jobs = if known { Jobs::Known(INDICES) } else { Jobs::Counted(u.int_in_range(0..=3)?) };
    let mut collector = Collector::new(expectation(known), jobs);
    // What stands on a person's screen: standard output of each job that has not ended.
    let mut screen = BTreeMap::<u32, Vec<u8>>::new();
    let mut ended = 0;
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        if u.ratio(1, 10)? {
            collector.restart();
        }
        let event = event(u)?;
        match collector.event(event.clone()) {
            Ok(seen) => ended += u32::from(show(&event, seen, &mut screen)),
            Err(lie) => {
                assert_ne!(lie.to_string(), "");
                return Ok(());
            }
        }
        let cost_bytes: usize = collector.open.values().map(OpenJob::cost_bytes).sum();
        assert_eq!(collector.cost_bytes, cost_bytes);
        assert!(collector.ended.len() as u32 == ended && ended <= INDICES.count());
    }
    Ok(())
}

/// Shows what is to be shown of an event, and says whether a job ended.
fn show(event: &Event, seen: Option<Seen>, screen: &mut BTreeMap<u32, Vec<u8>>) -> bool {
    match seen {
        Some(Seen::Started { index, again }) => {
            assert!(again || !screen.contains_key(&index));
            screen.remove(&index);
        }
        Some(Seen::Output { index, channel, bytes, void }) => {
            assert!(void.is_some() || !bytes.is_empty());
            if channel == Channel::Output {
                let shown = screen.entry(index).or_default();
                if void.is_some() {
                    shown.clear();
                }
                shown.extend(bytes);
            } else {
                // That something was shown, if only of another channel.
                screen.entry(index).or_default();
            }
        }
        Some(Seen::Ended(finished)) => {
            let Event::Ended(said) = event else { panic!("an end of {event:?}") };
            assert!(RESULTS.contains(said) && finished.result == *said);
            let shown = screen.remove(&said.index).unwrap_or_default();
            let signed = said.outputs.0.iter().find(|row| row.channel == Channel::Output);
            assert_eq!(finished.stdout.bytes.len() as u64, signed.map_or(0, |row| row.bytes));
            assert!(finished.void.is_some() || shown == finished.stdout.bytes);
            return true;
        }
        Some(Seen::Progress { permille }) => assert!(permille <= 1000),
        Some(Seen::Done) => assert_eq!(*event, Event::Done),
        None => {}
    }
    false
}

fn event(u: &mut Unstructured<'_>) -> Result<Event> {
    let index = u.int_in_range(0..=3)?;
    Ok(match u.int_in_range(0..=9u8)? {
        0 => Event::Started { index },
        1..=5 => {
            let bytes = (*u.choose(&[&b"a"[..], b"b", b"ab", b""])?).to_vec();
            let file = || Channel::File("f".to_owned());
            let channel = *u.choose(&[0, 0, 0, 0, 0, 0, 1, 2, 3])?;
            let channel = [Channel::Output, Channel::Error, file(), Channel::File("../f".to_owned())][channel].clone();
            Event::Output { index, channel, bytes }
        }
        6 => Event::Progress { index, permille: u.int_in_range(0..=1003)? },
        7 if u.ratio(1, 4)? => Event::Done,
        _ => {
            let mut result = u.choose(&RESULTS)?.clone();
            match u.int_in_range(0..=31u8)? {
                0 => result.index = u.arbitrary()?,
                1 => result.usage.cpu_us = u.arbitrary()?,
                2 => result.outputs.0.clear(),
                3 => result.outcome = Outcome::Exited(u.arbitrary()?),
                4 => {
                    let at = u.choose_index(result.receipt.0.len())?;
                    result.receipt.0[at] ^= u.arbitrary::<u8>()?;
                }
                _ => {}
            }
            Event::Ended(result)
        }
    })
}

fn node() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

fn expectation(whole: bool) -> Expectation {
    Expectation {
        node: node().public(),
        client: PublicKey([2; 32]),
        job: "j".parse().expect("a name"),
        bundle: whole.then(|| Digest::of(b"")),
        arguments: whole.then(|| vec!["{index}".to_owned()]),
        input: whole.then(|| Digest::of(b"")),
    }
}

fn result(index: u32, channels: &[(Channel, &[u8])], change: fn(&mut Statement)) -> JobResult {
    let row = |(channel, text): &(Channel, &[u8])| {
        let (bytes, digest) = (text.len() as u64, Digest::of(text));
        ChannelDigest { channel: channel.clone(), bytes, digest }
    };
    let (outputs, usage) = (OutputDigests(channels.iter().map(row).collect()), Usage::default());
    let Expectation { node: key, client, job, .. } = expectation(false);
    let mut statement = Statement {
        node: key,
        client,
        job,
        index,
        bundle: Digest::of(b""),
        arguments: arguments_digest(&[index.to_string()]),
        input: Digest::of(b""),
        vm: None,
        start: StartPath::New,
        outcome: Outcome::Exited(0),
        usage,
        output: outputs.digest(),
        ended_unix_ms: 0,
    };
    change(&mut statement);
    let receipt = Receipt::sign(&statement, &node()).expect("a short statement");
    JobResult { index, outcome: Outcome::Exited(0), usage, vm: None, outputs, receipt }
}
