//! Tests of the file system: each call with its documented errors, and all together against the host's.
mod calls;
mod differential;
mod host;
mod model;
mod ours;
mod progress;
mod streams;
mod tree;
mod waiting;

use super::{Buffers, Console, Events, Fs, Input, Now, Setup, Stream, World};
use crate::bundle::Tree;
use std::{cell::RefCell, collections::VecDeque, rc::Rc};

/// What the streams of a test have: shared with the test.
#[derive(Default)]
pub(crate) struct Streams {
    input: VecDeque<u8>,
    input_ends: bool,
    output: Vec<u8>,
    /// Bytes of output that are still taken.
    room: usize,
    now: Now,
    has_job: bool,
    /// Thousandths, as they were told.
    progress: Vec<u16>,
}

impl Buffers for Vec<&mut [u8]> {
    fn buffer(&mut self, place: usize) -> Option<&mut [u8]> {
        self.get_mut(place).map(|buffer| &mut **buffer)
    }
}

struct Desk(Rc<RefCell<Streams>>);

impl Console for Desk {
    fn read(&mut self, buffer: &mut [u8]) -> Input {
        let mut streams = self.0.borrow_mut();
        let count = buffer.len().min(streams.input.len());
        if count == 0 {
            return if streams.input_ends { Input::End } else { Input::Pending };
        }
        for (to, from) in buffer.iter_mut().zip(streams.input.drain(..count)) {
            *to = from;
        }
        Input::Bytes(count)
    }

    fn readable(&self) -> bool {
        let streams = self.0.borrow();
        streams.input_ends || !streams.input.is_empty()
    }

    fn write(&mut self, _: Stream, bytes: &[u8]) -> usize {
        let mut streams = self.0.borrow_mut();
        let count = bytes.len().min(streams.room);
        streams.room -= count;
        streams.output.extend(&bytes[..count]);
        count
    }

    fn writable(&self, _: Stream) -> bool {
        self.0.borrow().room > 0
    }
}

impl World for Desk {
    fn now(&self) -> Now {
        self.0.borrow().now
    }

    fn random(&mut self, buffer: &mut [u8]) {
        buffer.fill(4);
    }

    fn progress(&mut self, permille: u16) -> bool {
        let mut streams = self.0.borrow_mut();
        if streams.has_job {
            streams.progress.push(permille);
        }
        streams.has_job
    }
}

const NOW: Now = Now { monotonic_ns: 1_000_000_000, realtime_ns: 1_700_000_000_000_000_000 };
const FILES: &[(&str, &[u8])] =
    &[("bin/program", b"\x7fELF"), ("in/data/numbers", b"0123456789"), ("etc/hosts", b"127.0.0.1 me\n")];

/// A file system with a small bundle and `memory` bytes.
pub(crate) fn with_memory(memory: usize) -> (Fs, Rc<RefCell<Streams>>) {
    let streams = Rc::new(RefCell::new(Streams { room: 1 << 20, now: NOW, ..Streams::default() }));
    let setup = Setup { files: FILES, tree: &Tree::default(), program: b"/bin/program", pid: 7, memory };
    (Fs::new(&setup, Box::new(Desk(streams.clone()))).unwrap(), streams)
}

pub(crate) fn new() -> (Fs, Rc<RefCell<Streams>>) {
    with_memory(64 << 20)
}
