//! System calls, as a hostile program might make them.

use denali_linux::{
    call::Next,
    testing::{ARENA, END, PROGRAM, Program, WaitsForEver},
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Most calls of one program.
const CALLS: usize = 200;

/// Where a program puts paths and structures; and what hostile programs like.
const DATA: u64 = ARENA + 0x2_0000;
const WORDS: [u64; 32] = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    16,
    24,
    64,
    100,
    4096,
    0x10_0000,
    DATA,
    DATA + 64,
    DATA + 128,
    DATA + 4095,
    ARENA,
    END - 9,
    END,
    PROGRAM,
    0x1000,
    1 << 31,
    1 << 40,
    1 << 47,
    1 << 63,
    u32::MAX as u64,
    u64::MAX,
    u64::MAX - 99,
    u64::MAX - 4095,
];

/// Makes the calls that `data` describe, in a program with some memory and files. None panics, touches what the program may not, or
/// makes more descriptors or mappings than there may be.
pub fn linux_calls(data: &[u8]) {
    let mut program = Program::default();
    let mut input = Bytes(data);
    for _ in 0..CALLS {
        let Some(first) = input.next() else { break };
        let number = u32::from(first) | u32::from(input.byte() & 1) << 8;
        let arguments = [(); 6].map(|()| input.word());
        let (at, count) = (u64::from(input.byte()), usize::from(input.byte() % 64));
        // What the program itself writes.
        let bytes = input.take(count);
        program.process.space.pages().poke(DATA + at, bytes);
        match catch_unwind(AssertUnwindSafe(|| program.make(number, arguments))) {
            Ok(Next::Return | Next::Restore) => {}
            Ok(Next::Exit(_) | Next::Killed(_)) => break,
            Err(payload) if payload.is::<WaitsForEver>() => return,
            Err(payload) => resume_unwind(payload),
        }
        check(&mut program);
    }
}

/// What holds after every call.
fn check(program: &mut Program) {
    let Program { process, frame, outside } = program;
    // The reserve is a tebibyte of addresses.
    assert!(process.space.mapped() <= process.space.memory() + (1 << 40));
    assert!(process.unserved.len() <= CALLS && frame.rip < 1 << 47);
    let mut outside = outside.borrow_mut();
    outside.output.clear();
    // What may wait finds something, now and then.
    outside.arrivals = [vec![1]].into();
}

/// What is left of the input.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn next(&mut self) -> Option<u8> {
        self.take(1).first().copied()
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or_default()
    }

    /// A word that hostile programs like, or any.
    fn word(&mut self) -> u64 {
        let choice = usize::from(self.byte());
        WORDS.get(choice).copied().unwrap_or_else(|| {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(self.take(choice % 9)).for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(bytes)
        })
    }
}
