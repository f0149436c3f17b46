//! The virtual instruction PROTECT that moves pages, on KVM: pages that are somewhere else than in memory, and what of it is refused.

mod guest;

use denali_abi::{
    instruction::{CHECKPOINT, PAGES_RETURN, PROTECT, RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE},
    memory::{
        CONTROL, IMAGE_BASE, REGISTERS, STACK_BOTTOM, SUPERVISOR_BASE, WINDOW_END, WINDOW_START, WINDOW_TABLES_MIN,
    },
    registers::Control,
};
use denali_protocol::{
    job::{Access, FaultCause, Outcome},
    receipt::StartPath,
};
use denali_vmm::worker::message::Report;
use guest::{Asm, DATA, Job, Worker, fault, run};
use std::{mem::offset_of, time::Duration};

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

/// Pages of the heap.
const HEAP: u64 = 6 * MIB;

/// End of memory.
const MEMORY: u64 = 8 * MIB;

/// Where Go likes its heap to be, more or less.
const FAR: u64 = WINDOW_START + 0xc0_0000_0000;

const WRITE: u64 = RIGHT_READ | RIGHT_WRITE;
const CODE: u64 = RIGHT_READ | RIGHT_EXECUTE;

fn map(address: u64, bytes: u64, rights: u64, pages: u64) -> Asm {
    Asm::new().map(address, bytes, rights, pages)
}

fn page(address: u64, access: Access) -> FaultCause {
    FaultCause::Page { address, access }
}

#[test]
fn pages_keep_their_contents_on_the_way_there_and_back() {
    let code = Asm::new()
        .mov(guest::Reg::Rax, 0x1234)
        .store_rax(HEAP + 5 * PAGE + 8)
        .map(FAR - 3 * PAGE, 16 * PAGE, WRITE, HEAP)
        .keep_rax(0)
        .load_rax(FAR + 2 * PAGE + 8)
        .keep_rax(1)
        .store_rax(FAR + 12 * PAGE)
        .map(FAR - 3 * PAGE, 16 * PAGE, 0, PAGES_RETURN)
        .keep_rax(2)
        .load_rax(HEAP + 15 * PAGE)
        .keep_rax(3)
        .store_rax(HEAP)
        .send_result()
        .terminate(3);
    let ended = run(&code);
    assert_eq!(ended.outcome, Outcome::Exited(3));
    assert_eq!([0, 1, 2, 3].map(|n| ended.word(n)), [0, 0x1234, 0, 0x1234]);
    assert_eq!(ended.usage.exits.protect, 2);
}

#[test]
fn a_page_is_at_one_address() {
    let there = map(FAR, PAGE, WRITE, HEAP).load_rax(FAR).store_rax(FAR);
    assert_eq!(fault(&there.clone().load_rax(HEAP)).0, page(HEAP, Access::Read));
    assert_eq!(fault(&there.clone().load_rax(FAR + PAGE)).0, page(FAR + PAGE, Access::Read));
    let back = there.map(FAR, PAGE, 0, PAGES_RETURN).load_rax(HEAP).store_rax(HEAP);
    assert_eq!(fault(&back.clone().load_rax(FAR)).0, page(FAR, Access::Read));
    // And to another place.
    let code = back.map(FAR + PAGE, PAGE, WRITE, HEAP).load_rax(FAR + PAGE).store_rax(FAR);
    assert_eq!(fault(&code).0, page(FAR, Access::Write));
}

#[test]
fn rights_are_those_that_the_page_was_given_last() {
    let code = map(FAR, PAGE, RIGHT_READ, HEAP).load_rax(FAR).store_rax(FAR);
    assert_eq!(fault(&code).0, page(FAR, Access::Write));
    let code = map(FAR, PAGE, WRITE, HEAP).store_rax(FAR).instruction(PROTECT, FAR, PAGE, 0).load_rax(FAR);
    assert_eq!(fault(&code).0, page(FAR, Access::Read));
    // `ud2` in a page that becomes code; the jump is to an address, through RAX.
    let jump = |code: Asm| code.mov(guest::Reg::Rax, FAR).raw(&[0xff, 0xe0]);
    let written = map(FAR, PAGE, WRITE, HEAP).mov(guest::Reg::Rax, 0x0b0f).store_rax(FAR);
    assert_eq!(fault(&jump(written.clone())).0, page(FAR, Access::Execute));
    let code = written.instruction(PROTECT, FAR, PAGE, CODE);
    assert_eq!(fault(&jump(code.clone())), (FaultCause::InvalidInstruction, FAR));
    assert_eq!(fault(&code.store_rax(FAR)).0, page(FAR, Access::Write));
    // Rights at its own address don't matter, and are not what it comes back with.
    let code = Asm::new().instruction(PROTECT, HEAP, PAGE, 0).map(FAR, PAGE, WRITE, HEAP).store_rax(FAR);
    let code = code.instruction(PROTECT, FAR, PAGE, 0).map(FAR, PAGE, 0, PAGES_RETURN).store_rax(HEAP).terminate(7);
    assert_eq!(run(&code).outcome, Outcome::Exited(7));
}

#[test]
fn what_is_not_the_guests_heap_is_refused() {
    let registers_too_large = (FAR, PAGE, WRITE, u64::MAX - PAGE + 1);
    for (address, bytes, rights, pages) in [
        (FAR, PAGE, RIGHT_WRITE | RIGHT_EXECUTE, HEAP),
        (FAR, PAGE, 8, HEAP),
        (FAR, PAGE, 1 << 63 | 1, HEAP),
        (FAR + 1, PAGE, WRITE, HEAP),
        (FAR, PAGE + 1, WRITE, HEAP),
        (FAR, PAGE, WRITE, HEAP + 8),
        // Not in the window.
        (HEAP + PAGE, PAGE, WRITE, HEAP),
        (0, PAGE, WRITE, HEAP),
        (WINDOW_START - PAGE, 2 * PAGE, WRITE, HEAP),
        (WINDOW_END - PAGE, 2 * PAGE, WRITE, HEAP),
        (WINDOW_END, PAGE, WRITE, HEAP),
        (SUPERVISOR_BASE, PAGE, WRITE, HEAP),
        (1 << 47, PAGE, WRITE, HEAP),
        (u64::MAX - PAGE + 1, PAGE, WRITE, HEAP),
        (u64::MAX - PAGE + 1, 2 * PAGE, WRITE, HEAP),
        (FAR, u64::MAX - PAGE + 1, WRITE, HEAP),
        (WINDOW_START - PAGE, PAGE, 0, PAGES_RETURN),
        // Not in the heap.
        (FAR, PAGE, WRITE, 0),
        (FAR, PAGE, WRITE, REGISTERS),
        (FAR, PAGE, RIGHT_READ, CONTROL),
        (FAR, PAGE, WRITE, STACK_BOTTOM),
        (FAR, PAGE, WRITE, IMAGE_BASE),
        (FAR, PAGE, WRITE, DATA),
        // The last page of the receive ring, which is a mebibyte behind image and transmit ring.
        (FAR, PAGE, WRITE, DATA + 32 * PAGE + MIB / 4 + MIB - PAGE),
        (FAR, PAGE, WRITE, MEMORY),
        (FAR, 2 * PAGE, WRITE, MEMORY - PAGE),
        (FAR, PAGE, WRITE, SUPERVISOR_BASE),
        (FAR, PAGE, WRITE, FAR),
        registers_too_large,
        // Nothing is there.
        (FAR, PAGE, 0, PAGES_RETURN),
    ] {
        let (cause, at) = fault(&map(address, bytes, rights, pages).terminate(0));
        let refused = matches!(&cause, FaultCause::VirtualInstruction { name, .. } if name == "PROTECT");
        assert!(refused, "{bytes:#x} bytes at {pages:#x} to {address:#x} with {rights:#x}: {cause:?}");
        assert!((IMAGE_BASE..IMAGE_BASE + 0x100).contains(&at), "{at:#x}");
    }
    // Of nothing.
    assert_eq!(run(&map(FAR, 0, WRITE, MEMORY).map(FAR, 0, 0, PAGES_RETURN).terminate(1)).outcome, Outcome::Exited(1));
    let first = DATA + 32 * PAGE + MIB / 4 + MIB;
    assert_eq!(run(&map(WINDOW_END - PAGE, PAGE, WRITE, first).terminate(1)).outcome, Outcome::Exited(1));
}

#[test]
fn no_page_is_shown_twice_nor_covered() {
    let shown = || map(FAR, 4 * PAGE, WRITE, HEAP);
    let refused = [
        shown().map(FAR + 4 * PAGE, PAGE, WRITE, HEAP + 2 * PAGE),
        shown().map(FAR + 4 * PAGE, 8 * PAGE, CODE, HEAP - 5 * PAGE),
        shown().map(FAR + 3 * PAGE, PAGE, WRITE, HEAP + 4 * PAGE),
        shown().map(FAR - 600 * PAGE, 601 * PAGE, WRITE, HEAP - 610 * PAGE),
        shown().map(FAR, 5 * PAGE, 0, PAGES_RETURN),
        shown().map(FAR - PAGE, 2 * PAGE, 0, PAGES_RETURN),
        shown().instruction(PROTECT, HEAP, PAGE, WRITE),
        shown().instruction(PROTECT, HEAP - 4 * PAGE, 8 * PAGE, CODE),
        shown().instruction(PROTECT, FAR, 5 * PAGE, RIGHT_READ),
        Asm::new().instruction(PROTECT, FAR, PAGE, RIGHT_READ),
        Asm::new().instruction(PROTECT, WINDOW_END - PAGE, 2 * PAGE, RIGHT_READ),
    ];
    for (n, code) in refused.into_iter().enumerate() {
        let cause = fault(&code.terminate(0)).0;
        let refused = matches!(&cause, FaultCause::VirtualInstruction { name, .. } if name == "PROTECT");
        assert!(refused, "{n}: {cause:?}");
    }
}

/// One page in each GiB takes two tables.
#[test]
fn where_tables_run_out_the_guest_is_told() {
    let tables = WINDOW_TABLES_MIN + MEMORY / (2 * MIB);
    let most = (tables - 1) / 2;
    let mut code = Asm::new();
    for n in 0..most {
        code = code.map(WINDOW_START + (n << 30), PAGE, WRITE, HEAP + n * PAGE);
    }
    let more = (WINDOW_START + (most << 30) - PAGE, HEAP + most * PAGE);
    // The first page still fits: tables lead there, but for the last.
    code =
        code.map(more.0, 3 * PAGE, WRITE, more.1).keep_rax(0).map(more.0 + PAGE, PAGE, WRITE, HEAP - PAGE).keep_rax(1);
    code = code.map(WINDOW_START, PAGE, 0, PAGES_RETURN).map(more.0 + PAGE, PAGE, WRITE, HEAP - PAGE).keep_rax(2);
    let ended = run(&code.store_rax(more.0 + PAGE).send_result().terminate(0));
    assert_eq!(ended.outcome, Outcome::Exited(0));
    let left = if tables.is_multiple_of(2) { 2 * PAGE } else { 3 * PAGE };
    assert_eq!([0, 1, 2].map(|n| ended.word(n)), [left, PAGE, 0]);
    let kib = ended.usage.memory_peak_kib;
    assert!(kib >= 4 * tables - 8, "{kib} KiB: the tables are the VM's own memory");
}

#[test]
fn a_fault_there_is_delivered() {
    let field = |offset: usize| CONTROL + offset as u64;
    let code = |handler| {
        let entry = Asm::new().mov(guest::Reg::Rax, handler).store_rax(field(offset_of!(Control, fault_entry)));
        entry.map(FAR, PAGE, RIGHT_READ, HEAP).store_rax(FAR + 16)
    };
    let handler = IMAGE_BASE + code(0).0.len() as u64;
    let code = code(handler)
        .load_rax(field(offset_of!(Control, fault.address)))
        .keep_rax(0)
        .load_rax(field(offset_of!(Control, fault.vector)))
        .keep_rax(1);
    let ended = run(&code.send_result().terminate(0));
    assert_eq!((ended.outcome.clone(), ended.word(0), ended.word(1)), (Outcome::Exited(0), FAR + 16, 14));
}

/// What is in the window at a CHECKPOINT is there in each copy, and in hardware that is put back; what a job did to it is not.
#[test]
fn copies_and_hardware_that_is_put_back_have_the_window_of_the_checkpoint() {
    let code = Asm::new()
        .mov(guest::Reg::Rax, 77)
        .store_rax(HEAP)
        .map(FAR, 2 * PAGE, WRITE, HEAP)
        .out(CHECKPOINT)
        .load_rax(FAR)
        .keep_rax(0)
        .store_rax(FAR + PAGE)
        .mov(guest::Reg::Rax, 78)
        .store_rax(FAR)
        .map(FAR + (1 << 30), PAGE, WRITE, HEAP + 2 * PAGE)
        .store_rax(FAR + (1 << 30))
        .map(FAR + PAGE, PAGE, 0, PAGES_RETURN)
        .load_rax(HEAP + PAGE)
        .keep_rax(1)
        .instruction(PROTECT, FAR, PAGE, RIGHT_READ)
        .send_result()
        .terminate(0);
    let runs = paths(&code, 8 * MIB);
    for (_, output) in &runs {
        assert_eq!(output[..16], [77u64, 77].map(u64::to_le_bytes).concat());
    }
    assert!(runs.iter().any(|(path, _)| *path == StartPath::Reimaged));
}

/// To put back so many page table entries would take longer than a new VM.
#[test]
fn hardware_of_which_much_is_in_the_window_is_not_used_again() {
    let code = Asm::new().map(FAR, 1000 * PAGE, WRITE, HEAP).terminate(0);
    assert!(paths(&code, 16 * MIB).iter().any(|(path, _)| *path == StartPath::Reimaged));
    let code = Asm::new().map(FAR, 1100 * PAGE, WRITE, HEAP).terminate(0);
    assert!(paths(&code, 16 * MIB).iter().all(|(path, _)| *path == StartPath::New));
}

/// How each of some jobs in one worker started, and its output. All end well.
fn paths(code: &Asm, memory_bytes: u64) -> Vec<(StartPath, Vec<u8>)> {
    let mut worker = Worker::start();
    let mut run = || {
        let mut job = Job::new(code);
        job.limits.memory_bytes = memory_bytes;
        let run = worker.begin(job);
        let (mut started, mut output) = (None, Vec::new());
        loop {
            match worker.report() {
                Report::Started { path, .. } => started = Some(path),
                Report::Output { bytes, .. } => output.extend(bytes),
                Report::Ended { run: of, outcome, .. } if of == run => {
                    assert_eq!(outcome, Outcome::Exited(0));
                    // Its hardware is put back after the report.
                    std::thread::sleep(Duration::from_millis(20));
                    return (started.expect("it was started"), output);
                }
                _ => {}
            }
        }
    };
    (0..8).map(|_| run()).collect()
}

/// `ud2` unless RAX is `value`.
fn expect(code: Asm, value: u64) -> Asm {
    code.mov(guest::Reg::Rcx, value).raw(&[0x48, 0x39, 0xc8, 0x74, 0x02, 0x0f, 0x0b]) // cmp rax, rcx; je 1f; ud2; 1:
}

/// Pages move from place to place, through tables that led elsewhere just before.
#[test]
fn tables_that_are_used_again_lead_where_they_should() {
    const PAGES: u64 = 24;
    let mut code = Asm::new();
    for n in 0..PAGES {
        code = code.mov(guest::Reg::Rax, n).store_rax(HEAP + n * PAGE);
    }
    for round in 0..8 {
        let stride = [PAGE, 2 * MIB, 1 << 30, 40 << 30][round as usize % 4];
        let place = |n: u64| WINDOW_START + (n * 7 + round * 5) % PAGES * stride;
        for n in 0..PAGES {
            code = code.map(place(n), PAGE, WRITE, HEAP + n * PAGE);
        }
        for n in 0..PAGES {
            code = expect(code.load_rax(place(n)), n + round * PAGES);
            code = code.mov(guest::Reg::Rax, n + (round + 1) * PAGES).store_rax(place(n));
        }
        for n in 0..PAGES {
            code = code.map(place(n), PAGE, 0, PAGES_RETURN);
            code = expect(code.load_rax(HEAP + n * PAGE), n + (round + 1) * PAGES);
        }
    }
    let ended = run(&code.terminate(9));
    assert_eq!(ended.outcome, Outcome::Exited(9));
    assert_eq!(ended.usage.exits.protect, 2 * 8 * PAGES);
}
