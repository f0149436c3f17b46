//! Generated programs break no promise; where one is broken on purpose, it is found.

use super::*;
use crate::sabotage::{Item, sabotaged};
use denali_protocol::job::{Access, Fault, FaultCause, Outcome};

/// What a campaign of one thread finds.
fn campaign(seed: u64, programs: u64) -> Vec<Reproduction> {
    let mut attacker = Attacker::new(&of_seed(seed, 0)).expect("these tests need KVM");
    let mut found: Vec<_> =
        (0..programs).filter_map(|n| attacker.run(&of_seed(seed, n)).expect("the host goes on")).collect();
    found.extend(attacker.finish().expect("the host goes on"));
    assert_eq!(attacker.tally().programs, programs);
    found
}

#[test]
fn generated_programs_break_no_promise() {
    assert_eq!(campaign(1, 3000), []);
}

#[test]
fn an_external_fuzzers_bytes_break_no_promise() {
    let mut target = Target::new().expect("these tests need KVM");
    let mut byte = 1u8;
    for length in [0, 1, 2, 3, 5, 8, 13, 50, 200, 1000, 5000] {
        for _ in 0..20 {
            let bytes = std::iter::repeat_with(|| {
                byte = byte.wrapping_mul(5).wrapping_add(113);
                byte ^ byte >> 3
            });
            let verdict = target.run(&of_bytes(&bytes.take(length).collect::<Vec<_>>())).expect("the host goes on");
            assert_eq!(verdict.findings, []);
            assert!(verdict.features.iter().all(|feature| usize::from(*feature) < FEATURES));
            byte = byte.wrapping_add(1);
        }
    }
}

#[test]
fn the_same_program_ends_alike() {
    let mut target = Target::new().expect("these tests need KVM");
    let repeatable = (0..200).filter(|n| {
        let case = of_seed(2, *n);
        let [first, second] = [0; 2].map(|_| target.run(&case).expect("the host goes on"));
        same_end(&first.outcome, &second.outcome) && first.trace.differs_at(&second.trace).is_none()
    });
    // Those that time decides are few.
    let repeatable = repeatable.count();
    assert!(repeatable > 180, "{repeatable} of 200");
}

/// KVM goes on with an `in` at the next entry, whatever the virtual CPU was set to meanwhile.
#[test]
fn an_unfinished_in_is_not_met_by_the_next_program() {
    let mut target = Target::new().expect("these tests need KVM");
    for width in [Width::Byte, Width::Half, Width::Word] {
        for string in [None, Some(1), Some(2), Some(7)] {
            let main = vec![Op::Port { port: 0x99, input: true, width, string }];
            let case = Case::of(Program::Pieces { main, handler: Vec::new() });
            assert_eq!(target.run(&case).expect("the host goes on").findings, []);
            for status in 1..4 {
                let case = Case::of(Program::Pieces { main: vec![Op::End(status)], handler: Vec::new() });
                let verdict = target.run(&case).expect("the host goes on");
                assert_eq!(verdict.outcome, Outcome::Exited(status as u8), "{width:?}, {string:?}");
            }
        }
    }
}

/// What reaches beyond the last port is no access to a port.
#[test]
fn the_last_ports_end_a_program_as_is_forecast() {
    let mut target = Target::new().expect("these tests need KVM");
    for port in 0xfff8..=0xffff {
        for width in [Width::Byte, Width::Half, Width::Word] {
            for input in [false, true] {
                let main = vec![Op::Port { port, input, width, string: None }];
                let case = Case::of(Program::Pieces { main, handler: Vec::new() });
                assert_eq!(target.run(&case).expect("the host goes on").findings, []);
            }
        }
    }
}

/// A `syscall` whose handler can't be continued at was said to be at the instruction after it.
#[test]
fn a_system_call_with_a_bad_fault_entry_is_reported_where_it_is() {
    let main = vec![Op::Control(4, 1 << 40), Op::Bytes(vec![0x0f, 0x05])];
    let case = Case::of(Program::Pieces { main, handler: Vec::new() });
    let verdict = Target::new().expect("these tests need KVM").run(&case).expect("the host goes on");
    let Outcome::Fault(fault) = &verdict.outcome else { panic!("{}", verdict.outcome) };
    // After the store, two moves of ten bytes and one of three.
    assert_eq!((fault.instruction_pointer, verdict.findings), (0x20_0000 + 23, vec![]));
}

/// A write of an instruction to where that instruction is was said to be a jump to there.
#[test]
fn a_write_to_the_instruction_itself_is_no_jump() {
    let at = 0x20_0000 + 20;
    let case = Case::of(Program::Pieces { main: vec![Op::Store(at, 0)], handler: Vec::new() });
    let verdict = Target::new().expect("these tests need KVM").run(&case).expect("the host goes on");
    let cause = FaultCause::Page { address: at, access: Access::Write };
    assert_eq!(verdict.outcome, Outcome::Fault(Fault { cause, instruction_pointer: at }));
    assert_eq!(verdict.findings, []);
}

/// The first promise that is found to be broken with an item left out, of programs with an inspection each.
fn found_by(item: Item, mut cases: impl Iterator<Item = Case>) -> Finding {
    let mut target = Target::new().expect("these tests need KVM");
    let found = sabotaged(item, || {
        cases.find_map(|case| {
            let mut findings = target.run(&case).expect("the host goes on").findings;
            findings.extend(target.inspect().expect("the host goes on"));
            findings.pop()
        })
    });
    found.unwrap_or_else(|| panic!("{item:?} is not found"))
}

fn found(item: Item) -> Finding {
    found_by(item, (0..400).map(|n| of_seed(3, n)))
}

#[test]
fn what_is_left_for_the_next_program_is_found() {
    for item in [
        Item::GeneralRegisters,
        Item::Flags,
        Item::Bases,
        Item::Extended,
        Item::ImagePages,
        Item::ZeroPages,
        Item::ControlPage,
        Item::PageRights,
        Item::Window,
    ] {
        let finding = found(item);
        assert!([Oracle::Leftovers, Oracle::Forecast].contains(&finding.oracle), "{item:?}: {finding:?}");
    }
}

/// Few programs load a selector that the CPU takes.
#[test]
fn selectors_left_for_the_next_program_are_found() {
    let loads = [0, 3, 4, 5].map(|segment| Op::Segment(segment, 0x2b)).to_vec();
    let case = Case::of(Program::Pieces { main: loads, handler: Vec::new() });
    assert_eq!(found_by(Item::Selectors, std::iter::once(case)).oracle, Oracle::Leftovers);
}

#[test]
fn wrong_fault_reports_are_found() {
    for item in [Item::FaultAddress, Item::FaultInstruction] {
        let finding = found(item);
        assert!([Oracle::Truth, Oracle::Forecast].contains(&finding.oracle), "{item:?}: {finding:?}");
    }
}

/// The reproduction of a finding is as small as can be, and says which promise it was.
#[test]
fn a_finding_is_made_small() {
    let found = sabotaged(Item::FaultAddress, || campaign(4, 60));
    let smallest = found.iter().map(|found| match &found.case.program {
        Program::Pieces { main, handler } => main.len() + handler.len(),
        Program::Elf(_) => usize::MAX,
    });
    assert!(smallest.min().is_some_and(|pieces| pieces <= 1), "{found:?}");
    assert!(found.iter().all(|found| found.findings[0].0 == Oracle::Truth), "{found:?}");
}

#[test]
fn a_raw_guest_runs() {
    // mov edi, 7; out 0xd1, eax
    let case = Case::flat(vec![0xbf, 7, 0, 0, 0, 0xe7, 0xd1]).expect("it fits");
    let verdict = Target::new().expect("these tests need KVM").run(&case).expect("the host goes on");
    assert_eq!((verdict.outcome, verdict.findings, verdict.trace.entries), (Outcome::Exited(7), vec![], 1));
    assert_eq!(Case::flat(vec![0; (64 << 10) + 1]), Err(TooLong { bytes: (64 << 10) + 1 }));
}
