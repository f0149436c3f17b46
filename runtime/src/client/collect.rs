//! The events of a followed job, checked and put in order. No I/O.
//!
//! A node sends a job's events from the start each time it is followed, and starts a job again whose worker died. So
//! pieces of output may come twice; here each byte is passed on once, and a result only after its receipt was verified.

use super::{
    check::{self, Expectation, Lie},
    open_job::{Kept, News, OpenJob, Void},
};
use denali_protocol::{
    job::{Channel, Indices},
    limits,
    receipt::Statement,
    wire::message::{Event, JobResult},
};
use std::collections::{HashMap, HashSet};

/// Most bytes kept of all jobs that have not ended. What a node opens beyond it is refused.
const BUDGET_BYTES: usize = 256 * 1024 * 1024;

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
        /// What was passed on before was of a lost try; the bytes are those of the new one from its start.
        void: Option<Void>,
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

/// Which jobs a submission has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Jobs {
    /// These: it was submitted here.
    Known(Indices),
    /// So many, by the node's word.
    Counted(u32),
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
    /// Output that was passed on is not of this result: it has less.
    pub(crate) void: Option<Void>,
}

/// Collects the events of one job or array.
pub(crate) struct Collector {
    expectation: Expectation,
    jobs: Jobs,
    open: HashMap<u32, OpenJob>,
    ended: HashSet<u32>,
    cost_bytes: usize,
}

impl Collector {
    /// A collector for a submission with these `jobs`, of which `expectation` is known.
    pub(crate) fn new(expectation: Expectation, jobs: Jobs) -> Self {
        Self { expectation, jobs, open: HashMap::new(), ended: HashSet::new(), cost_bytes: 0 }
    }

    /// The job is followed anew: its events come again from the start.
    pub(crate) fn restart(&mut self) {
        for open in self.open.values_mut() {
            open.replayed = true;
            self.cost_bytes -= open.forget();
        }
    }

    /// Takes in an event. Gives what there is to show of it, if anything.
    pub(crate) fn event(&mut self, event: Event) -> Result<Option<Seen>, Lie> {
        let index = match &event {
            Event::Done => return self.done().map(Some),
            Event::Started { index } | Event::Output { index, .. } | Event::Progress { index, .. } => *index,
            Event::Ended(result) => result.index,
        };
        // All of an ended array comes again when it is followed anew.
        if self.ended.contains(&index) {
            return Ok(None);
        }
        self.check_index(index)?;
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
        let there = match self.jobs {
            Jobs::Known(indices) => indices.contains(index),
            Jobs::Counted(jobs) => {
                let seen = self.ended.len() + self.open.len();
                self.open.contains_key(&index) || seen < jobs.min(limits::ARRAY_JOBS) as usize
            }
        };
        if there { Ok(()) } else { Err(Lie::Index(index)) }
    }

    fn started(&mut self, index: u32) -> Option<Seen> {
        let open = self.open.entry(index).or_default();
        self.cost_bytes -= open.forget();
        if std::mem::take(&mut open.replayed) {
            return None;
        }
        let (again, freed_bytes) = open.start_anew();
        self.cost_bytes -= freed_bytes;
        Some(Seen::Started { index, again })
    }

    fn output(&mut self, index: u32, channel: Channel, bytes: &[u8]) -> Result<Option<Seen>, Lie> {
        let open = self.open.entry(index).or_default();
        self.cost_bytes += open.keep(&channel, bytes)?;
        if self.cost_bytes > BUDGET_BYTES {
            return Err(Lie::TooMuch);
        }
        let News { bytes, void } = open.arrive(&channel, bytes);
        let seen = void.is_some() || !bytes.is_empty();
        Ok(seen.then_some(Seen::Output { index, channel, bytes, void }))
    }

    fn end(&mut self, result: JobResult) -> Result<Seen, Lie> {
        let statement = self.expectation.check_result(&result)?;
        let open = self.open.remove(&result.index).unwrap_or_default();
        self.cost_bytes -= open.cost_bytes();
        check::check_bytes(&result.outputs, open.arrived())?;
        self.ended.insert(result.index);
        let void = open.leftover();
        let OpenJob { stdout, stderr, .. } = open;
        Ok(Seen::Ended(Box::new(Finished { result, statement, stdout, stderr, void })))
    }

    fn done(&self) -> Result<Seen, Lie> {
        let expected = match self.jobs {
            Jobs::Known(indices) => indices.count(),
            Jobs::Counted(jobs) => jobs,
        };
        let missing = expected.saturating_sub(self.ended.len() as u32);
        if missing > 0 { Err(Lie::Unfinished { missing }) } else { Ok(Seen::Done) }
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests {
    use super::{super::open_job::KEPT_BYTES, *};
    use crate::client::check::tests::{expectation, result};

    fn collector(indices: &str) -> Collector {
        Collector::new(expectation(), Jobs::Known(indices.parse().unwrap()))
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
        // The new try from its start, whatever of it arrived before it was seen to differ.
        assert_eq!(shown(&mut collector, output(0, "z")), None);
        let seen = collector.event(output(0, "zz")).unwrap();
        let Some(Seen::Output { bytes, void: Some(Void { skipped_bytes: 0 }), .. }) = seen else { panic!("{seen:?}") };
        assert_eq!(bytes, b"zzz");
        let ended = collector.event(Event::Ended(result(0, b"zzz"))).unwrap();
        assert!(matches!(ended, Some(Seen::Ended(finished)) if finished.void.is_none()));
    }

    #[test]
    fn a_lost_try_that_wrote_more_is_said_to_be_void_at_the_end() {
        for text in ["abc", "ab", ""] {
            let mut collector = collector("0");
            collector.event(output(0, "abc")).unwrap();
            collector.restart();
            assert_eq!(shown(&mut collector, output(0, text)), None);
            let ended = collector.event(Event::Ended(result(0, text.as_bytes()))).unwrap();
            let Some(Seen::Ended(finished)) = ended else { panic!("{ended:?}") };
            assert_eq!(finished.void, (text != "abc").then_some(Void { skipped_bytes: 0 }));
            assert_eq!(finished.stdout.bytes, text.as_bytes());
            assert_eq!(collector.cost_bytes, 0);
        }
    }

    #[test]
    fn an_array_of_another_client_ends_with_as_many_results_as_it_has_jobs() {
        let mut collector = Collector::new(expectation(), Jobs::Counted(2));
        for index in [7, 9] {
            assert_eq!(
                collector.event(Event::Done).err(),
                Some(Lie::Unfinished { missing: if index == 7 { 2 } else { 1 } })
            );
            collector.event(output(index, "a")).unwrap();
            collector.event(Event::Ended(result(index, b"a"))).unwrap();
        }
        assert_eq!(collector.event(Event::Started { index: 8 }).err(), Some(Lie::Index(8)));
        // What comes again of those that ended is no further job.
        collector.restart();
        assert!(collector.event(Event::Ended(result(7, b"a"))).unwrap().is_none());
        assert!(matches!(collector.event(Event::Done), Ok(Some(Seen::Done))));
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
        let mut collector = Collector::new(expectation(), Jobs::Counted(limits::ARRAY_JOBS));
        let piece = "x".repeat(KEPT_BYTES);
        let mut lies = (0..).map(|index| collector.event(output(index, &piece)).err());
        let opened = lies.position(|lie| lie == Some(Lie::TooMuch)).unwrap();
        assert!(opened < BUDGET_BYTES / KEPT_BYTES + 1);
    }

    #[test]
    fn names_of_files_are_checked_and_cost() {
        let file = |index: u32, name: String| {
            let channel = Channel::File(name);
            Event::Output { index, channel, bytes: b"x".to_vec() }
        };
        for name in ["../x".to_owned(), "a\u{202e}".to_owned(), "x".repeat(200_000)] {
            assert!(matches!(collector("0").event(file(0, name)), Err(Lie::Name { .. })));
        }
        // Over lost connections too, since what was shown is remembered.
        let mut collector = collector("0");
        let mut lies = (0..).map(|number| {
            if number % 1000 == 0 {
                collector.restart();
            }
            collector.event(file(0, format!("{number:0>255}"))).err()
        });
        let opened = lies.position(|lie| lie == Some(Lie::TooMuch)).unwrap();
        assert!(opened < BUDGET_BYTES / (2 * 255));
    }
}
