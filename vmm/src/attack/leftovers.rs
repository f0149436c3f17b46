//! What is left of a program where nothing may be: in memory as the VMM sees it, in the virtual CPU as a guest sees it, and
//! in the rights of pages, which software KVM keeps where the VMM can't look.

use super::{
    assembler::{Code, RAX},
    case::{Case, Program},
    layout::{DATA, MEMORY_BYTES, TEXT},
    op::{Branch, Op},
    trace::{Left, Trace},
    verdict::{AttackError, Finding, Oracle},
};
use crate::{
    kvm::GuestMemory,
    vm::{Hardware, differing_pages},
};
use denali_abi::{
    instruction::{PROTECT, TERMINATE},
    memory::{PAGE_BYTES, WINDOW_END},
};
use denali_protocol::job::Outcome;
use vm_memory::Bytes;

/// Bytes of the virtual CPU's state that a guest stores: general registers, flags, bases, selectors, XCR0; from
/// [`EXTENDED`] on what XSAVE stores.
const SIGHT_BYTES: usize = 0x400 + 4096;
const EXTENDED: u64 = 0x400;

/// The virtual CPU as a guest found it at its entry.
pub(super) type Sight = Vec<u8>;

/// Pages in which hardware that was put back differs from its image.
pub(super) fn pages(hardware: &Hardware) -> Vec<Finding> {
    let (ram, supervisor) = differing_pages(hardware);
    let finding = |what: &str, pages: Vec<u64>| {
        let first = *pages.first()?;
        let detail = format!("{} pages of {what} are not as in the image, the first at {first:#x}", pages.len());
        Some(Finding::new(Oracle::Leftovers, detail))
    };
    [finding("memory", ram), finding("the VMM's own", supervisor)].into_iter().flatten().collect()
}

/// A guest that stores its virtual CPU with its first instructions.
pub(super) fn looker() -> Case {
    let mut code = Code::default();
    let store = |code: &mut Code, register: u8, place: u64| {
        code.raw(&[0x48 | register >> 3 << 2, 0x89, 0x04 | (register & 7) << 3, 0x25]);
        code.raw(&((DATA + place) as u32).to_le_bytes());
    };
    for register in 0..16 {
        store(&mut code, register, 8 * u64::from(register));
    }
    let others: [&[u8]; 10] = [
        &[0x9c, 0x58],                                     // pushfq; pop rax
        &[0xf3, 0x48, 0x0f, 0xae, 0xc0],                   // rdfsbase rax
        &[0xf3, 0x48, 0x0f, 0xae, 0xc8],                   // rdgsbase rax
        &[0x8c, 0xd8],                                     // mov eax, ds
        &[0x8c, 0xc0],                                     // mov eax, es
        &[0x8c, 0xe0],                                     // mov eax, fs
        &[0x8c, 0xe8],                                     // mov eax, gs
        &[0x8c, 0xd0],                                     // mov eax, ss
        &[0x8c, 0xc8],                                     // mov eax, cs
        &[0x31, 0xc9, 0x0f, 0x01, 0xd0, 0x83, 0xe0, 0xff], // xor ecx, ecx; xgetbv; and eax, -1
    ];
    for (n, instructions) in (0..).zip(others) {
        code.raw(instructions);
        store(&mut code, RAX, 128 + 8 * n);
    }
    // or eax, -1; or edx, -1; xsave [place]
    code.raw(&[0x83, 0xc8, 0xff, 0x83, 0xca, 0xff, 0x0f, 0xae, 0x24, 0x25]);
    code.raw(&((DATA + EXTENDED) as u32).to_le_bytes());
    code.instruction(TERMINATE as u8, [0; 4]);
    let mut case = Case::of(Program::Pieces { main: vec![Op::Bytes(code.0)], handler: Vec::new() });
    case.cpu_time_us = 10_000_000;
    case
}

/// What the looker stored.
pub(super) fn sight(memory: &GuestMemory) -> Result<Sight, AttackError> {
    let mut bytes = vec![0; SIGHT_BYTES];
    memory.ram().read_slice(&mut bytes, DATA as usize)?;
    Ok(bytes)
}

/// How the looker's sight differs from that in hardware that no program used.
pub(super) fn differences(outcome: &Outcome, sight: &Sight, fresh: &Sight) -> Option<Finding> {
    let detail = match sight.iter().zip(fresh).position(|(is, was)| is != was) {
        _ if *outcome != Outcome::Exited(0) => format!("the end of a guest that looks at its virtual CPU: {outcome}"),
        None => return None,
        Some(place) if place < 128 => format!("general register {} is not as at the start", place / 8),
        Some(place) if place < 208 => {
            let names = ["flags", "FS base", "GS base", "DS", "ES", "FS selector", "GS selector", "SS", "CS", "XCR0"];
            format!("{} not as at the start", names[(place - 128) / 8])
        }
        Some(place) => format!("the extended state is not as at the start, from byte {} on", place - EXTENDED as usize),
    };
    Some(Finding::new(Oracle::Leftovers, detail))
}

/// Programs that try the pages whose rights another one changed: each has a forecast, as at the start.
pub(super) fn tries(trace: &Trace) -> Vec<Case> {
    const MOST: usize = 8;
    let changed = trace.steps.iter().filter_map(|step| match step.left {
        Left::Out(PROTECT, true, [address, bytes, _, from]) => {
            Some([address, address.wrapping_add(bytes).wrapping_sub(PAGE_BYTES), from])
        }
        _ => None,
    });
    let page = |address: &u64| address.is_multiple_of(PAGE_BYTES) && (DATA..WINDOW_END).contains(address);
    let pages = changed.flatten().filter(|address| page(address) && !(MEMORY_BYTES..1 << 40).contains(address));
    let tries = pages.flat_map(|page| {
        let inside = page + 8;
        [Op::Load(inside), Op::Store(inside, 0), Op::Branch(Branch::Jump, inside)]
    });
    tries.take(MOST).map(|op| Case::of(Program::Pieces { main: vec![op], handler: Vec::new() })).collect()
}

const _: () = assert!(TEXT < DATA && DATA < 1 << 31 && EXTENDED.is_multiple_of(64));
