//! No leak is found after any ending, and each one made on purpose is.

use super::{
    bench::{Bench, Start},
    endings::{self, After, Ending},
    guest::{MEMORY_BYTES, SPARE, TEXT},
    sight::Sight,
};
use crate::{
    kvm::Host,
    sabotage::{Item, sabotaged},
    vm::{Hardware, differing_pages},
};
use denali_abi::memory::{CONTROL, PAGE_BYTES, REGISTERS, STACK_BOTTOM};
use denali_protocol::{
    bundle::CpuModel,
    job::{Access, FaultCause, Outcome},
};

/// The writer fills every page, or every eighth: so little that it is put back page by page.
const EVERYTHING: char = 'W';
const LITTLE: char = 'w';

fn reference(bench: &mut Bench) -> Sight {
    match bench.read(bench.fresh()) {
        (Ok(sight), _) => sight,
        (Err(outcome), _) => panic!("a reader in fresh hardware: {outcome:?}"),
    }
}

/// What a reader in this hardware finds that it should not. The hardware afterwards.
fn leaks(bench: &mut Bench, hardware: Hardware, fresh: &Sight) -> (Vec<String>, Hardware) {
    match bench.read(hardware) {
        (Ok(sight), hardware) => (sight.leaks(fresh), hardware),
        (Err(outcome), hardware) => (vec![format!("reader: {outcome:?}")], hardware),
    }
}

fn nothing_leaks(cpu: CpuModel, start: Start) {
    if Host::offers(cpu).is_err() {
        return;
    }
    let mut bench = Bench::new(cpu, start);
    let fresh = reference(&mut bench);
    for ending in endings::all() {
        for letter in [EVERYTHING, LITTLE] {
            nothing_leaks_after(&mut bench, &fresh, letter, &ending);
        }
    }
}

/// Hardware of jobs that ended badly is put back too, though no worker does that: it would be no leak either.
fn nothing_leaks_after(bench: &mut Bench, fresh: &Sight, letter: char, ending: &Ending) {
    let name = ending.name;
    let mut hardware = bench.write(bench.fresh(), letter, ending);
    match (bench.reset(&mut hardware), ending.after) {
        (Ok(()), After::Reimaged | After::Destroyed) => {}
        (Err(_), After::Unquiet | After::Destroyed) => return,
        (reset, after) => panic!("{name}: {reset:?}, not {after:?}"),
    }
    assert_eq!(differing_pages(&hardware), (vec![], vec![]), "{name}, {letter}: pages that differ from the template");
    let (leaks, mut hardware) = leaks(bench, hardware, fresh);
    assert_eq!(leaks, [""; 0], "{name}, {letter}");
    // No reader can try this and go on.
    bench.reset(&mut hardware).expect("it is put back");
    let outcome = bench.touch_program(hardware);
    assert!(
        matches!(&outcome, Outcome::Fault(f) if f.cause == FaultCause::Page { address: SPARE, access: Access::Write }),
        "{name}, {letter}: {outcome:?}"
    );
}

#[test]
fn nothing_leaks_into_cold_starts() {
    nothing_leaks(CpuModel::V3, Start::Cold);
}

#[test]
fn nothing_leaks_into_warm_starts() {
    nothing_leaks(CpuModel::V3, Start::Warm);
}

/// On software KVM its guests have what the host has, whatever their model.
#[test]
fn nothing_leaks_between_guests_of_the_smaller_model() {
    nothing_leaks(CpuModel::V2, Start::Cold);
}

/// What the suite finds with `item` left out between a writer and a reader.
fn found(item: Item, letter: char, start: Start) -> Vec<String> {
    let mut bench = Bench::new(CpuModel::V2, start);
    let fresh = reference(&mut bench);
    sabotaged(item, || {
        let mut hardware = bench.write(bench.fresh(), letter, &endings::all()[0]);
        bench.reset(&mut hardware).expect("it is put back");
        leaks(&mut bench, hardware, &fresh).0
    })
}

/// Asserts that all of `names` are found with `item` left out, in cold and in warm starts.
fn finds(item: Item, letter: char, names: &[&str]) {
    for start in [Start::Cold, Start::Warm] {
        let found = found(item, letter, start);
        for name in names {
            assert!(found.iter().any(|leak| leak.starts_with(name)), "{item:?}, {start:?}: {name} not in {found:?}");
        }
    }
}

/// Asserts that all of `names` are found in cold starts, and nothing else.
fn finds_only(item: Item, letter: char, names: &[&str]) {
    let found = found(item, letter, Start::Cold);
    for name in names {
        assert!(found.iter().any(|leak| leak.starts_with(name)), "{item:?}: {name} not in {found:?}");
    }
    assert!(found.iter().all(|leak| names.iter().any(|name| leak.starts_with(name))), "{item:?}: {found:?}");
}

#[test]
fn general_registers_left_are_found() {
    let names = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];
    let more = ["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
    finds_only(Item::GeneralRegisters, LITTLE, &[names, more].concat());
}

#[test]
fn flags_left_are_found() {
    finds_only(Item::Flags, LITTLE, &["flags"]);
}

#[test]
fn selectors_left_are_found() {
    finds_only(Item::Selectors, LITTLE, &["DS", "ES", "FS", "GS"]);
}

#[test]
fn segment_bases_left_are_found() {
    finds_only(Item::Bases, LITTLE, &["FS base", "GS base"]);
}

#[test]
fn extended_state_left_is_found() {
    let mut names = vec!["x87 control", "x87 and MMX", "MXCSR", "SSE"];
    let xcr0 = reference(&mut Bench::new(CpuModel::V2, Start::Cold)).xcr0();
    let others = [(1 << 2, "AVX"), (1 << 5, "AVX-512 masks"), (1 << 6, "AVX-512")];
    names.extend(others.into_iter().filter(|(component, _)| xcr0 & component != 0).map(|(_, name)| name));
    finds(Item::Extended, LITTLE, &names);
    // After a CHECKPOINT all of them are in use anyway.
    names.push("components in use");
    finds_only(Item::Extended, LITTLE, &names);
}

#[test]
fn mxcsr_left_is_found() {
    finds_only(Item::Mxcsr, LITTLE, &["MXCSR"]);
}

#[test]
fn pages_left_are_found() {
    finds_only(Item::ImagePages, LITTLE, &["data page", "program page", "words of the pattern"]);
    let zeros = ["stack page", "transmit ring page", "receive ring page", "heap page", "words of the pattern"];
    finds(Item::ZeroPages, LITTLE, &zeros);
    finds(Item::Memory, EVERYTHING, &[&zeros[..], &["data page"]].concat());
}

#[test]
fn a_control_page_left_is_found() {
    finds_only(Item::ControlPage, LITTLE, &["reader: Fault(Fault { cause: Nic"]);
}

#[test]
fn page_rights_left_are_found() {
    finds_only(Item::PageRights, LITTLE, &["reader: Fault(Fault { cause: Page"]);
}

#[test]
fn a_window_left_is_found() {
    finds_only(Item::Window, LITTLE, &["window"]);
    finds(Item::Window, EVERYTHING, &["window"]);
}

/// The VMM publishes its positions anew whenever it looks at the rings: on a busy host even before the first instruction.
#[test]
fn ring_positions_left_are_found() {
    let found = || found(Item::RingPositions, LITTLE, Start::Cold);
    let found = (0..20).map(|_| found()).find(|leaks| !leaks.is_empty());
    assert_eq!(found.expect("a leak"), ["virtual register transmit_tail"]);
}

/// These are to differ from one VM to the next, so that they are found where two readers see the same.
#[test]
fn virtual_registers_left_are_found() {
    let unique = ["virtual register vm_id", "virtual register generation", "virtual register random_seed"];
    let clocks = ["virtual register tsc_base", "virtual register realtime_base_ns"];
    for (item, names) in [
        (Item::RandomSeed, &unique[2..]),
        (Item::Generation, &unique[1..2]),
        (Item::VirtualRegisters, &[&unique[..], &clocks].concat()),
    ] {
        let mut bench = Bench::new(CpuModel::V2, Start::Cold);
        let (fresh, mut hardware) = bench.read(bench.fresh());
        let fresh = fresh.expect("a report");
        let (mut leaks, _) = sabotaged(item, || {
            bench.reset(&mut hardware).expect("it is put back");
            leaks(&mut bench, hardware, &fresh)
        });
        leaks.retain(|leak| leak != "virtual register transmit_tail");
        assert_eq!(leaks, names, "{item:?}");
    }
}

/// A guest seeds its random numbers anew only when the generation changes: a copy must have another than the VM that it was
/// taken of, which others of its bundle may have seen.
#[test]
fn no_two_vms_have_the_same_seed_or_generation() {
    let mut bench = Bench::new(CpuModel::V2, Start::Warm);
    let mut seen = vec![bench.captured()];
    for _ in 0..4 {
        seen.push(reference(&mut bench).identity());
    }
    for n in 1..seen.len() {
        assert!(seen[..n].iter().all(|(generation, seed)| *generation != seen[n].0 && *seed != seen[n].1), "{seen:?}");
    }
}

/// Everything that the suite relies on a writer to have done.
#[test]
fn a_writer_fills_everything() {
    let mut bench = Bench::new(CpuModel::V2, Start::Cold);
    let pages = |bench: &mut Bench, letter| {
        let hardware = bench.write(bench.fresh(), letter, &endings::all()[0]);
        let (ram, supervisor) = differing_pages(&hardware);
        assert!(!supervisor.is_empty());
        ram
    };
    let [everything, little] = [EVERYTHING, LITTLE].map(|letter| pages(&mut bench, letter));
    let writable = [REGISTERS, CONTROL].into_iter().chain((STACK_BOTTOM..MEMORY_BYTES).step_by(PAGE_BYTES as usize));
    let program = TEXT..SPARE;
    assert_eq!(everything, writable.filter(|page| !program.contains(page)).collect::<Vec<_>>());
    assert!((200..500).contains(&little.len()), "{} pages are put back one by one", little.len());
}
