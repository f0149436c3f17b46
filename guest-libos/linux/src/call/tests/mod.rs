//! Calls made as a program makes them: by number, with registers, on memory of its own.

mod files;
mod hostile;
mod itself;
mod names;
mod sockets;
mod waiting;

use super::{Extended, Frame, Machine, Next, Process};
use crate::{
    bundle::Tree,
    errno::Errno,
    fs::{Console, Fs, Input, Now, Setup, Stream, World},
    mm::{Areas, PAGE_BYTES, Pages, Rights, Space},
    rewrite::Functions,
    thread::NEVER,
};
use linux_raw_sys::general as nr;
use std::{cell::RefCell, collections::VecDeque, ops::Range, rc::Rc};

const PROGRAM: u64 = 0x40_0000;
const ARENA: u64 = 0x50_0000;
const END: u64 = 0x60_0000;

/// Where a test puts strings, and where it puts everything else.
const TEXT: u64 = ARENA + 0x1_0000;
const DATA: u64 = ARENA + 0x2_0000;
/// Nothing is mapped there.
const NOWHERE: u64 = 0x1000;
const CWD: u64 = nr::AT_FDCWD as u64;

/// What a test and the world share.
#[derive(Default)]
struct Outside {
    now_ns: u64,
    input: VecDeque<u8>,
    input_ended: bool,
    /// What comes in, one after the other, while nobody can run.
    arrivals: VecDeque<Vec<u8>>,
    output: Vec<u8>,
}

type Shared = Rc<RefCell<Outside>>;

struct Memory {
    bytes: Vec<u8>,
    outside: Shared,
    fs_base: u64,
    /// It was idle since it was last asked for input.
    idled: bool,
}

fn place(range: &Range<u64>) -> Range<usize> {
    (range.start - PROGRAM) as usize..(range.end - PROGRAM) as usize
}

impl Pages for Memory {
    fn protect(&mut self, _: Range<u64>, _: Rights) -> Result<(), Errno> {
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>) {
        self.bytes[place(&range)].fill(0);
    }

    fn copy(&mut self, from: u64, to: u64, bytes: u64) {
        self.bytes.copy_within(place(&(from..from + bytes)), place(&(to..to)).start);
    }

    fn fill(&mut self, to: u64, bytes: &[u8]) {
        self.bytes[place(&(to..to + bytes.len() as u64))].copy_from_slice(bytes);
    }

    fn back(&mut self, _: Range<u64>, _: Rights) -> Result<(), Errno> {
        Err(Errno::ENOMEM)
    }

    fn release(&mut self, _: Range<u64>) {}
}

impl Machine for Memory {
    fn bytes(&self, range: Range<u64>) -> &[u8] {
        if range.is_empty() { &[] } else { &self.bytes[place(&range)] }
    }

    fn bytes_mut(&mut self, range: Range<u64>) -> &mut [u8] {
        if range.is_empty() { &mut [] } else { &mut self.bytes[place(&range)] }
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

    fn set_timer(&mut self, _: u64, _: bool) {}

    fn take_attention(&mut self) -> bool {
        false
    }

    fn take_input(&mut self) -> bool {
        core::mem::take(&mut self.idled)
    }

    fn idle(&mut self, until_ns: u64) {
        self.idled = true;
        let mut outside = self.outside.borrow_mut();
        if let Some(bytes) = outside.arrivals.pop_front() {
            outside.input.extend(bytes);
            return;
        }
        assert_ne!(until_ns, NEVER, "it waits for ever");
        outside.now_ns = outside.now_ns.max(until_ns);
    }

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(4);
    }
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
    fn random(&mut self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

/// A process, the frame of the thread that runs, and the outside.
struct Program {
    process: Process<Memory>,
    frame: Frame,
    outside: Shared,
}

impl Program {
    fn new() -> Self {
        let outside = Shared::default();
        let areas = Areas { program: PROGRAM..ARENA, arena: ARENA..END, reserve: 1 << 40..1 << 41 };
        let memory =
            Memory { bytes: vec![0; (END - PROGRAM) as usize], outside: outside.clone(), fs_base: 0, idled: false };
        let mut space = Space::new(areas, memory).unwrap();
        let backing = crate::mm::Backing::Stack;
        space.load(&(ARENA..END - 64 * PAGE_BYTES), Rights::Write, backing, (ARENA, &[])).unwrap();
        let setup = Setup {
            files: &[("bin/program", b"\x7fELF"), ("in/numbers", b"0123456789")],
            tree: &Tree::default(),
            program: b"/bin/program",
            pid: 1,
            memory: 1 << 20,
            now: Now::default(),
        };
        let files = Fs::new(&setup, Box::new(Desk(outside.clone()))).unwrap();
        let mut process = Process::new(space, files, b"/bin/program".to_vec());
        process.identity.set(&[b"program", b"-x"], &[b"A=b"]);
        let frame = Frame { rsp: ARENA + 0x8000, rip: PROGRAM + 0x100, rcx: PROGRAM + 0x100, ..Frame::default() };
        Self { process, frame, outside }
    }

    /// Makes a call, and gives RAX of the thread that goes on then.
    fn call<const N: usize>(&mut self, number: u32, arguments: [u64; N]) -> u64 {
        let mut all = [0; 6];
        all[..N].copy_from_slice(&arguments);
        let frame = &mut self.frame;
        frame.rax = number.into();
        [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9] = all;
        let next = self.process.call(frame);
        assert!(matches!(next, Next::Return | Next::Restore), "{next:?}");
        frame.rax
    }

    /// The same: what it answered, or its error.
    fn try_call<const N: usize>(&mut self, number: u32, arguments: [u64; N]) -> Result<u64, Errno> {
        match self.call(number, arguments) {
            error @ 0xffff_ffff_ffff_f001.. => Err(Errno((error as i64).unsigned_abs() as i32)),
            value => Ok(value),
        }
    }

    /// Puts a string with its NUL at `TEXT` plus `at`, and gives its address.
    fn text(&mut self, at: u64, text: &str) -> u64 {
        let address = TEXT + at;
        let machine = self.process.space.pages();
        machine.fill(address, text.as_bytes());
        machine.fill(address + text.len() as u64, &[0]);
        address
    }

    fn put(&mut self, address: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.process.space.pages().fill(address, &bytes);
    }

    fn bytes(&mut self, address: u64, count: u64) -> Vec<u8> {
        self.process.space.pages().bytes(address..address + count).to_vec()
    }

    fn word(&mut self, address: u64) -> u64 {
        u64::from_le_bytes(self.bytes(address, 8).try_into().unwrap())
    }

    fn open(&mut self, path: &str, flags: u32) -> u64 {
        let path = self.text(0xe000, path);
        self.try_call(nr::__NR_open, [path, flags.into(), 0o644]).unwrap()
    }

    /// Everything that a file says.
    fn contents(&mut self, path: &str) -> String {
        let descriptor = self.open(path, nr::O_RDONLY);
        let mut all = Vec::new();
        loop {
            let count = self.try_call(nr::__NR_read, [descriptor, DATA, 100]).unwrap();
            if count == 0 {
                self.try_call(nr::__NR_close, [descriptor]).unwrap();
                return String::from_utf8(all).unwrap();
            }
            all.extend(self.bytes(DATA, count));
        }
    }
}
