//! A machine of plain memory, and the world around it.

use crate::{
    call::{Extended, Machine},
    errno::Errno,
    fs::{Console, Input, Now, Stream, World},
    mm::{PAGE_BYTES, Pages, Rights},
    rewrite::Functions,
    thread::NEVER,
};
use std::{cell::RefCell, collections::VecDeque, ops::Range, rc::Rc};

/// Where the program lies, where everything else does, and where memory ends.
pub const PROGRAM: u64 = 0x40_0000;
/// See [`PROGRAM`].
pub const ARENA: u64 = 0x50_0000;
/// See [`PROGRAM`].
pub const END: u64 = 0x60_0000;

/// What a test and the world share.
#[derive(Default)]
pub struct Outside {
    /// The time, in ns.
    pub now_ns: u64,
    /// What is there to be read.
    pub input: VecDeque<u8>,
    /// Whether no more comes.
    pub input_ended: bool,
    /// What comes in, one after the other, while nobody can run.
    pub arrivals: VecDeque<Vec<u8>>,
    /// What was written.
    pub output: Vec<u8>,
}

/// Shared with the test.
pub type Shared = Rc<RefCell<Outside>>;

/// The payload of the panic that ends a program in which nobody will ever run again.
#[derive(Debug)]
pub struct WaitsForEver;

/// Memory from [`PROGRAM`] to [`END`], and none elsewhere. It holds its user to the promises of [`Pages`] and [`Machine`]: what is
/// read or written against the rights of a page, or outside of all, is a panic.
pub struct Memory {
    bytes: Vec<u8>,
    /// Of each page.
    rights: Vec<Rights>,
    outside: Shared,
    fs_base: u64,
    /// It was idle since it was last asked for input.
    idled: bool,
    /// When it is to interrupt; 0 for never.
    pub timer_ns: u64,
}

fn place(range: &Range<u64>) -> Range<usize> {
    (range.start - PROGRAM) as usize..(range.end - PROGRAM) as usize
}

fn pages(range: &Range<u64>) -> Range<usize> {
    let Range { start, end } = place(range);
    start / PAGE_BYTES as usize..end.div_ceil(PAGE_BYTES as usize)
}

impl Memory {
    /// Zeros that can be written, as a program finds them.
    #[must_use]
    pub fn new(outside: Shared) -> Self {
        let bytes = vec![0; (END - PROGRAM) as usize];
        let rights = vec![Rights::Write; pages(&(PROGRAM..END)).len()];
        Self { bytes, rights, outside, fs_base: 0, idled: false, timer_ns: 0 }
    }

    /// Writes as the program itself might have done, whatever the rights.
    pub fn poke(&mut self, to: u64, bytes: &[u8]) {
        self.bytes[place(&(to..to + bytes.len() as u64))].copy_from_slice(bytes);
    }

    /// What lies there, whatever the rights.
    #[must_use]
    pub fn peek(&self, range: Range<u64>) -> &[u8] {
        &self.bytes[place(&range)]
    }

    fn readable(&self, range: &Range<u64>) -> Range<usize> {
        let readable = self.rights[pages(range)].iter().all(|rights| *rights != Rights::None);
        assert!(readable, "{range:x?} is not readable");
        place(range)
    }

    fn writable(&self, range: &Range<u64>) -> Range<usize> {
        let writable = self.rights[pages(range)].iter().all(|rights| *rights == Rights::Write);
        assert!(writable, "{range:x?} is not writable");
        place(range)
    }
}

impl Pages for Memory {
    fn protect(&mut self, range: Range<u64>, rights: Rights) -> Result<(), Errno> {
        let rewritten = rights == Rights::Execute;
        assert!(!rewritten || self.rights[pages(&range)].iter().all(|rights| *rights == Rights::Write), "{range:x?}");
        self.rights[pages(&range)].fill(rights);
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>) {
        let place = self.writable(&range);
        self.bytes[place].fill(0);
    }

    fn copy(&mut self, from: u64, to: u64, bytes: u64) {
        let (from, to) = (self.readable(&(from..from + bytes)), self.writable(&(to..to + bytes)));
        self.bytes.copy_within(from, to.start);
    }

    fn fill(&mut self, to: u64, bytes: &[u8]) {
        let place = self.writable(&(to..to + bytes.len() as u64));
        self.bytes[place].copy_from_slice(bytes);
    }

    fn back(&mut self, _: Range<u64>, _: Rights) -> Result<(), Errno> {
        Err(Errno::ENOMEM)
    }

    fn release(&mut self, _: Range<u64>) {}
}

impl Machine for Memory {
    fn bytes(&self, range: Range<u64>) -> &[u8] {
        if range.is_empty() { &[] } else { &self.bytes[self.readable(&range)] }
    }

    fn bytes_mut(&mut self, range: Range<u64>) -> &mut [u8] {
        if range.is_empty() {
            return &mut [];
        }
        let place = self.writable(&range);
        &mut self.bytes[place]
    }

    fn fs_base(&self) -> u64 {
        self.fs_base
    }

    fn set_fs_base(&mut self, base: u64) {
        self.fs_base = base;
    }

    fn save(&mut self) -> Extended {
        Extended::new(Extended::LEAST_BYTES)
    }

    fn restore(&mut self, _: &Extended) {}

    fn extended_bytes(&self) -> usize {
        Extended::LEAST_BYTES
    }

    fn features(&self) -> u64 {
        3
    }

    fn ready(&mut self) -> Vec<String> {
        vec!["a".to_owned(), "b c".to_owned()]
    }

    fn expect_code(&mut self, _: Functions) {}

    fn original(&self, rip: u64) -> u64 {
        rip
    }

    fn resume(&self, rip: u64) -> u64 {
        rip
    }

    fn entry(&self) -> u64 {
        PROGRAM
    }

    fn now(&self) -> (u64, u64) {
        let now_ns = self.outside.borrow().now_ns;
        (now_ns, 1_700_000_000_000_000_000 + now_ns)
    }

    fn cpu_ns(&self) -> u64 {
        self.outside.borrow().now_ns
    }

    fn set_timer(&mut self, at_ns: u64, _: bool) {
        self.timer_ns = at_ns;
    }

    fn take_attention(&mut self) -> bool {
        false
    }

    fn take_input(&mut self) -> bool {
        core::mem::take(&mut self.idled)
    }

    fn idle(&mut self, until_ns: u64) {
        (self.idled, self.timer_ns) = (true, 0);
        let mut outside = self.outside.borrow_mut();
        if let Some(bytes) = outside.arrivals.pop_front() {
            outside.input.extend(bytes);
            return;
        }
        if until_ns == NEVER {
            // No failure, so that no hook is asked: whoever runs a hostile program expects it.
            std::panic::resume_unwind(Box::new(WaitsForEver));
        }
        outside.now_ns = outside.now_ns.max(until_ns);
    }

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(4);
    }
}

/// The streams of a test, and chance.
#[must_use]
pub fn console(outside: Shared) -> Box<dyn World> {
    Box::new(Desk(outside))
}

struct Desk(Shared);

impl Console for Desk {
    fn read(&mut self, buffer: &mut [u8]) -> Input {
        let mut outside = self.0.borrow_mut();
        let count = buffer.len().min(outside.input.len());
        for (to, from) in buffer.iter_mut().zip(outside.input.drain(..count)) {
            *to = from;
        }
        match count {
            0 if outside.input_ended => Input::End,
            0 => Input::Pending,
            _ => Input::Bytes(count),
        }
    }

    fn readable(&self) -> bool {
        let outside = self.0.borrow();
        outside.input_ended || !outside.input.is_empty()
    }

    fn write(&mut self, _: Stream, bytes: &[u8]) -> usize {
        self.0.borrow_mut().output.extend_from_slice(bytes);
        bytes.len()
    }

    fn writable(&self, _: Stream) -> bool {
        true
    }
}

impl World for Desk {
    fn now(&self) -> Now {
        let monotonic_ns = self.0.borrow().now_ns;
        Now { monotonic_ns, realtime_ns: 1_700_000_000_000_000_000 + monotonic_ns }
    }

    fn random(&mut self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}
