//! The generator: from choices to a guest program and what happens to its VM.

use super::{
    case::{CPU_TIME_US, Case, Event, Happening, Program},
    frames,
    layout::{DATA, HANDLER, HEAP, TEXT},
    op::{Branch, Op, Width},
    source::Source,
    special::{EXTENDED, SPECIAL},
};
use denali_abi::{
    instruction::{CHECKPOINT, IDLE, KICK, PAGES_RETURN, PROTECT, TERMINATE},
    memory::{PAGE_BYTES, WINDOW_START},
};

/// Most pieces of a program.
const OPS: usize = 64;

/// The program that a seed's choices make.
#[must_use]
pub fn of_seed(seed: u64, program: u64) -> Case {
    case(&mut Source::of_seed(seed, program))
}

/// The program that an external fuzzer's bytes make.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> Case {
    case(&mut Source::Bytes(bytes))
}

fn case(source: &mut Source<'_>) -> Case {
    let mut case = Case::of(Program::Pieces { main: Vec::new(), handler: Vec::new() });
    let hostile = source.below(4) == 3;
    if hostile {
        upset(source, &mut case);
    }
    let handler = if hostile { handler(source) } else { Vec::new() };
    case.random_seed[..8].copy_from_slice(&source.word().to_le_bytes());
    if source.once_in(4) {
        case.events = (0..1 + source.below(3)).map(|_| event(source)).collect();
    }
    if source.once_in(16) {
        let count = source.below(200);
        case.input = source.bytes(count);
    }
    let status = if source.once_in(8) { source.value() } else { u64::from(source.byte()) };
    let most = match source {
        Source::Seed(_) => 1 + source.below(10),
        Source::Bytes(_) => OPS,
    };
    // Last, for they take all that is left of an external fuzzer's bytes.
    let mut main = Vec::new();
    while main.len() < most && !source.is_empty() {
        main.push(op(source));
    }
    main.push(Op::End(status));
    case.program = Program::Pieces { main, handler };
    case
}

/// What is not as it should be at the entry already.
fn upset(source: &mut Source<'_>, case: &mut Case) {
    if source.once_in(2) {
        case.control.extend([(3, entry(source)), (2, u64::from(source.byte() & 1))]);
    }
    if source.once_in(2) {
        case.control.push((4, entry(source)));
    }
    if source.once_in(4) {
        case.control.push((11, source.value()));
    }
    if source.once_in(4) {
        case.control.extend([(5, source.value()), (6, source.value())]);
    }
    if source.once_in(3) {
        let (bytes, head) = frames::frames(source);
        case.transmit = bytes;
        case.control.push((0, if source.once_in(4) { source.value() } else { head }));
        case.output_bytes = u64::from(source.byte()) * 16;
    }
    if source.once_in(8) {
        case.control.push((source.byte() % 18, source.value()));
    }
    if source.once_in(4) {
        case.registers = (0..1 + source.below(4)).map(|_| (source.byte() & 15, source.value())).collect();
    }
    case.cpu_time_us = CPU_TIME_US;
}

/// Where upcalls or faults continue.
fn entry(source: &mut Source<'_>) -> u64 {
    match source.below(6) {
        0..=3 => HANDLER,
        4 => TEXT,
        _ => source.address(),
    }
}

fn handler(source: &mut Source<'_>) -> Vec<Op> {
    let mut ops: Vec<Op> = (0..source.below(3)).map(|_| op(source)).collect();
    ops.push(match source.below(5) {
        0 => Op::Resume(None),
        1 | 2 => Op::Resume(Some(source.one_of(&[0, 1, 2, 3, 10, 13]))),
        3 => op(source),
        _ => Op::End(u64::from(source.byte())),
    });
    ops
}

fn event(source: &mut Source<'_>) -> Event {
    let what = match source.below(8) {
        0..=3 => Happening::Interruption,
        4..=6 => {
            let count = source.below(64);
            Happening::Input { bytes: source.bytes(count), end: source.once_in(3) }
        }
        _ => Happening::Cancel,
    };
    Event { entry: source.below(6) as u32, what }
}

fn op(source: &mut Source<'_>) -> Op {
    match source.below(32) {
        0..=3 => instruction(source),
        4..=6 => protect(source),
        7..=9 => port(source),
        10..=12 => Op::Load(source.address()),
        13..=15 => Op::Store(source.address(), source.value()),
        16 | 17 => branch(source),
        18 if source.once_in(2) => Op::Special(source.below(EXTENDED) as u8),
        18 => Op::Register(source.byte() & 15, source.value()),
        19 => Op::Flags(flags(source)),
        20 => Op::Segment(source.byte() & 7, selector(source)),
        21 => Op::Base { gs: source.once_in(2), value: source.value() },
        22 => interrupt_return(source),
        23 | 24 => Op::Special(source.byte() % SPECIAL.len() as u8),
        25 | 26 => Op::Control(source.byte() % 18, source.value()),
        27 => Op::Copy(source.address(), source.address(), u32::from(source.byte()) * 17, source.once_in(4)),
        28 => {
            let count = 1 + source.below(16);
            let page = if source.once_in(4) { source.page() } else { source.heap_page() };
            Op::Rewrite(page, source.bytes(count))
        }
        29 => match source.below(64) {
            63 => Op::Spin(0),
            _ => Op::Spin(1 + u32::from(source.byte()) * 8),
        },
        30 => {
            let count = 1 + source.below(15);
            Op::Bytes(source.bytes(count))
        }
        _ => Op::Instruction(KICK as u8, [0; 4]),
    }
}

fn instruction(source: &mut Source<'_>) -> Op {
    let port = source.one_of(&[IDLE, IDLE, TERMINATE, KICK, PROTECT, CHECKPOINT]);
    let first = match port {
        IDLE if !source.once_in(4) => u64::from(source.byte()) * 100,
        _ => source.value(),
    };
    Op::Instruction(port as u8, [first, source.value(), source.value(), source.value()])
}

/// PROTECTs that are likely to be granted, and others.
fn protect(source: &mut Source<'_>) -> Op {
    let pages = PAGE_BYTES * u64::from(source.one_of(&[1u16, 1, 2, 3, 16, 255, 512, 4096]));
    let rights = if source.once_in(8) { source.value() } else { u64::from(source.one_of(&[0u8, 1, 2, 4, 5, 3])) };
    let window = WINDOW_START + (u64::from(source.byte() & 7) << 30) + PAGE_BYTES * u64::from(source.byte() & 15);
    let (address, page) = match source.below(8) {
        0..=2 => (source.heap_page(), 0),
        3 | 4 => (window, source.heap_page()),
        5 => (window, PAGES_RETURN),
        6 => (source.page(), source.page()),
        _ => (source.page(), 0),
    };
    let bytes = if source.once_in(8) { source.value() } else { pages };
    Op::Instruction(PROTECT as u8, [address, bytes, rights, page])
}

fn port(source: &mut Source<'_>) -> Op {
    let port = match source.below(4) {
        0 => source.one_of(&[IDLE, TERMINATE, KICK, PROTECT, CHECKPOINT, 0xe0, 0x60, 0x70, 0xcf8, 0x5658, 0xb2, 0x3f8]),
        _ => source.word() as u16,
    };
    let width = source.one_of(&[Width::Byte, Width::Half, Width::Word]);
    let string = source.once_in(4).then(|| u16::from(source.byte() & 7));
    // After an `in` hardware can't be put back, and new one takes ten times as long.
    Op::Port { port, input: source.once_in(12), width, string }
}

fn selector(source: &mut Source<'_>) -> u16 {
    match source.below(4) {
        0 => u16::from(source.byte()),
        1 | 2 => source.one_of(&[0, 3, 0x08, 0x0b, 0x10, 0x13, 0x1b, 0x23, 0x28, 0x2b, 0x33, 0x38, 0x07, 0x0f, 0xffff]),
        _ => source.word() as u16,
    }
}

fn branch(source: &mut Source<'_>) -> Op {
    let kind = match source.below(8) {
        0..=3 => Branch::Jump,
        4 => Branch::Call,
        5 => Branch::FarJump(selector(source)),
        6 => Branch::FarCall(selector(source)),
        _ => Branch::FarReturn(selector(source)),
    };
    Op::Branch(kind, source.address())
}

fn flags(source: &mut Source<'_>) -> u64 {
    match source.below(6) {
        0..=2 => source.word() & 0xcd5,
        3 => 1 << source.below(22),
        4 if source.once_in(4) => source.word(),
        _ => source.word() & 0x24_0cd5,
    }
}

fn interrupt_return(source: &mut Source<'_>) -> Op {
    let rip = if source.once_in(3) { source.address() } else { TEXT + u64::from(source.byte()) };
    let code = if source.once_in(2) { selector(source) } else { 0x23 };
    let stack = if source.once_in(2) { selector(source) } else { 0x1b };
    let rsp = source.one_of(&[DATA + PAGE_BYTES, HEAP + PAGE_BYTES, 0, u64::MAX]);
    Op::InterruptReturn([rip, u64::from(code), flags(source), rsp, u64::from(stack)])
}
