//! The events of a followed job, checked and put in order. No I/O.
//!
//! A node sends a job's events from the start each time it is followed, and starts a job again whose worker died. So
//! pieces of output may come twice; here each byte is passed on once, and a result only after its receipt was verified.

use super::check::{self, Expectation, Lie, Tally};
use denali_protocol::{
    job::{Channel, Indices},
    limits,
    receipt::Statement,
    wire::message::{Event, JobResult},
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Most bytes of standard output, and of standard error, that are kept of each job.
pub(crate) const KEPT_BYTES: usize = 64 * 1024;

/// Most bytes kept of all jobs that have not ended. What a node opens beyond it is refused.
const BUDGET_BYTES: usize = 256 * 1024 * 1024;

/// What a channel costs of the budget, in bytes, whatever it holds.
const CHANNEL_BYTES: usize = 1024;

/// Something to show.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A VM was started.
    Started {
        /// The index.
        index: u32,
        /// Output of an earlier try was passed on, and is void.
        again: bool,
    },
    /// The next bytes of a channel, each passed on once.
    Output {
        /// The index.
        index: u32,
        /// The channel.
        channel: Channel,
        /// The bytes.
        bytes: Vec<u8>,
        /// They follow other bytes than were passed on before: those were of a lost try.
        diverged: bool,
    },
    /// How far the job is, in thousandths.
    Progress {
        /// Thousandths done.
        permille: u16,
    },
    /// A job ended, and its receipt holds.
    Ended(Box<Finished>),
    /// All have ended.
    Done,
}

/// A verified result.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// The result.
    pub(crate) result: JobResult,
    /// What its receipt states.
    pub(crate) statement: Statement,
    /// The start of standard output.
    pub(crate) stdout: Kept,
    /// The start of standard error.
    pub(crate) stderr: Kept,
}

/// The start of a channel's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// At most [`KEPT_BYTES`].
    pub(crate) bytes: Vec<u8>,
    /// Whether more came.
    pub(crate) truncated: bool,
}

impl Kept {
    /// Keeps what fits of `bytes`; says how many that is.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> usize {
        let room = KEPT_BYTES - self.bytes.len();
        let kept = &bytes[..bytes.len().min(room)];
        self.bytes.extend_from_slice(kept);
        self.truncated |= kept.len() < bytes.len();
        kept.len()
    }
}

/// A job that has not ended.
#[derive(Default)]
struct Open {
    arrived: BTreeMap<Channel, Tally>,
    /// What was passed on. Ahead of `arrived` while events are sent again.
    shown: BTreeMap<Channel, Tally>,
    stdout: Kept,
    stderr: Kept,
    cost_bytes: usize,
    /// Followed anew since the last event of this job.
    replayed: bool,
}

/// Collects the events of one job or array.
pub(crate) struct Collector {
    expectation: Expectation,
    indices: Option<Indices>,
    open: HashMap<u32, Open>,
    ended: HashSet<u32>,
    cost_bytes: usize,
}

impl Collector {
    /// A collector for a job of which `expectation` is known, and its `indices` if it was submitted here.
    pub(crate) fn new(expectation: Expectation, indices: Option<Indices>) -> Self {
        Self { expectation, indices, open: HashMap::new(), ended: HashSet::new(), cost_bytes: 0 }
    }

    /// The job is followed anew: its events come again from the start.
    pub(crate) fn restart(&mut self) {
        for open in self.open.values_mut() {
            open.replayed = true;
            forget(open, &mut self.cost_bytes);
        }
    }

    /// Takes in an event. Gives what there is to show of it, if anything.
    pub(crate) fn event(&mut self, event: Event) -> Result<Option<Seen>, Lie> {
        let index = match &event {
            Event::Done => return self.done().map(Some),
            Event::Started { index } | Event::Output { index, .. } | Event::Progress { index, .. } => *index,
            Event::Ended(result) => result.index,
        };
        self.check_index(index)?;
        if self.ended.contains(&index) {
            return Ok(None);
        }
        match event {
            Event::Started { .. } => Ok(self.started(index)),
            Event::Output { channel, bytes, .. } => self.output(index, channel, &bytes),
            Event::Progress { permille, .. } if permille > 1000 => Err(Lie::Progress(permille)),
            Event::Progress { permille, .. } => Ok(Some(Seen::Progress { permille })),
            Event::Ended(result) => self.end(result).map(Some),
            Event::Done => Ok(None),
        }
    }

    fn check_index(&self, index: u32) -> Result<(), Lie> {
        let there = self.indices.is_none_or(|indices| indices.contains(index));
        let countable = self.ended.len() < limits::ARRAY_JOBS as usize;
        if there && countable { Ok(()) } else { Err(Lie::Index(index)) }
    }

    fn started(&mut self, index: u32) -> Option<Seen> {
        let open = self.open.entry(index).or_default();
        forget(open, &mut self.cost_bytes);
        let replayed = std::mem::take(&mut open.replayed);
        if replayed {
            return None;
        }
        let again = !open.shown.is_empty();
        open.shown.clear();
        Some(Seen::Started { index, again })
    }

    fn output(&mut self, index: u32, channel: Channel, bytes: &[u8]) -> Result<Option<Seen>, Lie> {
        let open = self.open.entry(index).or_default();
        let kept = match channel {
            Channel::Output => open.stdout.add(bytes),
            Channel::Error => open.stderr.add(bytes),
            Channel::File(_) => 0,
        };
        let cost_bytes = kept + if open.arrived.contains_key(&channel) { 0 } else { CHANNEL_BYTES };
        open.cost_bytes += cost_bytes;
        self.cost_bytes += cost_bytes;
        if self.cost_bytes > BUDGET_BYTES {
            return Err(Lie::TooMuch);
        }

        let arrived = open.arrived.entry(channel.clone()).or_default();
        let shown = open.shown.entry(channel.clone()).or_default();
        // The part that was passed on before, if events are sent again.
        let old_bytes = usize::try_from(shown.bytes - arrived.bytes).unwrap_or(usize::MAX).min(bytes.len());
        let (old, new) = bytes.split_at(old_bytes);
        arrived.add(old);
        let caught_up = arrived.bytes == shown.bytes;
        let diverged = caught_up && old_bytes > 0 && arrived.digest() != shown.digest();
        if diverged {
            *shown = arrived.clone();
        }
        if new.is_empty() && !diverged {
            return Ok(None);
        }
        arrived.add(new);
        shown.add(new);
        Ok(Some(Seen::Output { index, channel, bytes: new.to_vec(), diverged }))
    }

    fn end(&mut self, result: JobResult) -> Result<Seen, Lie> {
        let statement = self.expectation.check_result(&result)?;
        let open = self.open.remove(&result.index).unwrap_or_default();
        self.cost_bytes -= open.cost_bytes;
        check::check_bytes(&result.outputs, &open.arrived)?;
        self.ended.insert(result.index);
        let Open { stdout, stderr, .. } = open;
        Ok(Seen::Ended(Box::new(Finished { result, statement, stdout, stderr })))
    }

    fn done(&self) -> Result<Seen, Lie> {
        let expected = self.indices.map_or(0, |indices| indices.count());
        let missing = expected.saturating_sub(self.ended.len() as u32);
        if missing > 0 { Err(Lie::Unfinished { missing }) } else { Ok(Seen::Done) }
    }
}

/// Drops what arrived of a job, but not the memory of what was passed on.
fn forget(open: &mut Open, cost_bytes: &mut usize) {
    *cost_bytes -= std::mem::take(&mut open.cost_bytes);
    open.arrived.clear();
    (open.stdout, open.stderr) = Default::default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::check::tests::{expectation, result};

    fn collector(indices: &str) -> Collector {
        Collector::new(expectation(), Some(indices.parse().unwrap()))
    }

    fn output(index: u32, text: &str) -> Event {
        Event::Output { index, channel: Channel::Output, bytes: text.as_bytes().to_vec() }
    }

    /// The text passed on for an event, if any.
    fn shown(collector: &mut Collector, event: Event) -> Option<String> {
        match collector.event(event).unwrap() {
            Some(Seen::Output { bytes, .. }) => Some(String::from_utf8(bytes).unwrap()),
            _ => None,
        }
    }

    #[test]
    fn a_job_is_followed_to_its_end() {
        let mut collector = collector("0-1");
        for index in [1, 0] {
            assert!(matches!(collector.event(Event::Started { index }), Ok(Some(Seen::Started { again: false, .. }))));
            assert_eq!(shown(&mut collector, output(index, "ab")).as_deref(), Some("ab"));
            assert_eq!(shown(&mut collector, output(index, "c")).as_deref(), Some("c"));
            let Ok(Some(Seen::Ended(finished))) = collector.event(Event::Ended(result(index, b"abc"))) else {
                panic!("index {index} did not end");
            };
            assert_eq!(finished.stdout, Kept { bytes: b"abc".to_vec(), truncated: false });
        }
        assert!(matches!(collector.event(Event::Done), Ok(Some(Seen::Done))));
        assert_eq!(collector.cost_bytes, 0);
    }

    #[test]
    fn each_byte_is_shown_once_over_a_lost_connection() {
        let mut collector = collector("0");
        assert_eq!(shown(&mut collector, output(0, "abcd")).as_deref(), Some("abcd"));
        collector.restart();
        assert!(collector.event(Event::Started { index: 0 }).unwrap().is_none());
        assert_eq!(shown(&mut collector, output(0, "ab")), None);
        assert_eq!(shown(&mut collector, output(0, "cdef")).as_deref(), Some("ef"));
        assert!(collector.event(Event::Ended(result(0, b"abcdef"))).is_ok());
        // What comes again of an ended job is of no interest.
        collector.restart();
        assert!(collector.event(output(0, "zzz")).unwrap().is_none());
    }

    #[test]
    fn a_lost_try_is_said_to_be_void() {
        let mut collector = collector("0");
        collector.event(Event::Started { index: 0 }).unwrap();
        collector.event(output(0, "abcd")).unwrap();
        assert!(matches!(collector.event(Event::Started { index: 0 }), Ok(Some(Seen::Started { again: true, .. }))));
        assert_eq!(shown(&mut collector, output(0, "xy")).as_deref(), Some("xy"));
        collector.restart();
        let seen = collector.event(output(0, "zz")).unwrap();
        assert!(matches!(seen, Some(Seen::Output { diverged: true, .. })), "{seen:?}");
        assert!(collector.event(Event::Ended(result(0, b"zz"))).is_ok());
    }

    #[test]
    fn lies_are_found() {
        let lie = |event| collector("0-1").event(event).err();
        assert_eq!(lie(Event::Started { index: 2 }), Some(Lie::Index(2)));
        assert_eq!(lie(Event::Done), Some(Lie::Unfinished { missing: 2 }));
        assert_eq!(lie(Event::Progress { index: 0, permille: 1001 }), Some(Lie::Progress(1001)));
        assert!(matches!(lie(Event::Ended(result(0, b"never sent"))), Some(Lie::Bytes { .. })));
    }

    #[test]
    fn long_output_is_cut_and_the_whole_is_checked() {
        let mut collector = collector("0");
        let long = "x".repeat(KEPT_BYTES + 1);
        collector.event(output(0, &long)).unwrap();
        let Ok(Some(Seen::Ended(finished))) = collector.event(Event::Ended(result(0, long.as_bytes()))) else {
            panic!("not ended");
        };
        assert!(finished.stdout.truncated);
        assert_eq!(finished.stdout.bytes.len(), KEPT_BYTES);
    }

    #[test]
    fn a_node_cannot_fill_the_clients_memory() {
        let mut collector = Collector::new(expectation(), None);
        let piece = "x".repeat(KEPT_BYTES);
        let mut lies = (0..).map(|index| collector.event(output(index, &piece)).err());
        let opened = lies.position(|lie| lie == Some(Lie::TooMuch)).unwrap();
        assert!(opened < BUDGET_BYTES / KEPT_BYTES + 1);
    }
}
