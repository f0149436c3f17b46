//! A program in memory, whose calls a test makes.

use super::memory::{ARENA, END, Memory, PROGRAM, Shared, console};
use crate::{
    bundle::Tree,
    call::{Frame, Next, Process},
    fs::{Fs, Setup},
    mm::{Areas, PAGE_BYTES, Rights, Space},
};

/// A process, the frame of the thread that runs, and the outside.
pub struct Program {
    /// The process.
    pub process: Process<Memory>,
    /// The registers of the thread that runs.
    pub frame: Frame,
    /// What it shares with the world.
    pub outside: Shared,
}

impl Default for Program {
    /// A program with one thread, whose stack reaches up to 64 pages before [`END`], and two files.
    fn default() -> Self {
        let outside = Shared::default();
        let areas = Areas { program: PROGRAM..ARENA, arena: ARENA..END, reserve: 1 << 40..1 << 41 };
        let mut space = Space::new(areas, Memory::new(outside.clone())).unwrap();
        let backing = crate::mm::Backing::Stack;
        space.load(&(ARENA..END - 64 * PAGE_BYTES), Rights::Write, backing, (ARENA, &[])).unwrap();
        let setup = Setup {
            files: &[("bin/program", b"\x7fELF"), ("in/numbers", b"0123456789")],
            tree: &Tree::default(),
            program: b"/bin/program",
            pid: 1,
            memory: 1 << 20,
        };
        let files = Fs::new(&setup, console(outside.clone())).unwrap();
        let mut process = Process::new(space, files, b"/bin/program".to_vec());
        process.identity.set(&[b"program", b"-x"], &[b"A=b"], b"vector".to_vec());
        let frame = Frame { rsp: ARENA + 0x8000, rip: PROGRAM + 0x100, rcx: PROGRAM + 0x100, ..Frame::default() };
        Self { process, frame, outside }
    }
}

impl Program {
    /// Makes a call with these six words, in the thread that runs.
    pub fn make(&mut self, number: u32, arguments: [u64; 6]) -> Next {
        let frame = &mut self.frame;
        frame.rax = number.into();
        [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9] = arguments;
        self.process.call(frame)
    }
}
