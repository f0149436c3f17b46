//! Random code, plausible and not.

use std::ops::Range;

use denali_linux::rewrite::{Functions, Handlers, Reason, StubArea, Text, plan};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction};
use proptest::prelude::*;

use crate::follow::check;
use crate::{CODE, HANDLERS, STUBS, after_run_up, planned};

/// Instructions as they stand around traps, and some that must not move. Displacements are replaced by random ones.
const POOL: [&[u8]; 24] = [
    &[0x0f, 0x05],
    &[0x0f, 0x05],
    &[0x0f, 0xa2],
    &[0xb8, 1, 0, 0, 0],
    &[0xb8, 15, 0, 0, 0],
    &[0x48, 0xc7, 0xc0, 60, 0, 0, 0],
    &[0x31, 0xc0],
    &[0x89, 0xf0],
    &[0x48, 0x89, 0xdf],
    &[0x4c, 0x8b, 0x44, 0x24, 8],
    &[0x48, 0x8d, 0x35, 0x0f, 0x05, 0, 0],
    &[0xc7, 0x05, 0, 1, 0, 0, 0x0f, 0xa2, 0, 0],
    &[0x48, 0x3d, 1, 0xf0, 0xff, 0xff],
    &[0x85, 0xc0],
    &[0x74, 0],
    &[0x75, 0],
    &[0x0f, 0x84, 0, 0, 0, 0],
    &[0xeb, 0],
    &[0x50],
    &[0xff, 0xd0],
    &[0xf0, 0x0f, 0xb1, 0x4f, 16],
    &[0x0f, 0x1f, 0x40, 0],
    &[0xc3],
    &[0xff, 0xe0],
];

/// Code of instructions of the pool, whose jumps go to random instructions nearby.
fn assembled(choices: &[(usize, i8)]) -> Vec<u8> {
    let items: Vec<_> = choices.iter().map(|(choice, _)| POOL[choice % POOL.len()]).collect();
    let starts: Vec<i32> =
        items.iter().scan(0, |sum, item| Some(std::mem::replace(sum, *sum + item.len() as i32))).collect();
    let mut bytes = Vec::new();
    for (index, (item, (_, step))) in items.iter().zip(choices).enumerate() {
        let target = (index as i32 + i32::from(*step)).clamp(0, starts.len() as i32 - 1) as usize;
        let distance = starts[target] - (starts[index] + item.len() as i32);
        let start = bytes.len();
        bytes.extend(*item);
        match item {
            [0x74 | 0x75 | 0xeb, 0] => bytes[start + 1] = i8::try_from(distance).unwrap_or(0).cast_unsigned(),
            [0x0f, 0x84, ..] => bytes[start + 2..].copy_from_slice(&distance.to_le_bytes()),
            _ => {}
        }
    }
    after_run_up(&bytes)
}

fn instructions(bytes: &[u8]) -> Vec<Instruction> {
    Decoder::with_ip(64, bytes, CODE, DecoderOptions::NONE).into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// In a function that is known, every trap is patched or reported, and patched code does what it did.
    #[test]
    fn rewritten_code_does_the_same(choices in prop::collection::vec((0_usize..24, -12_i8..12), 1..60), known: bool) {
        let bytes = assembled(&choices);
        let rewrite = planned(&bytes, known);
        check(&bytes, &rewrite);
        let instructions = instructions(&bytes);
        let traps = instructions.iter().filter(|one| matches!(one.code(), Code::Syscall | Code::Cpuid)).count();
        prop_assert_eq!(rewrite.report.sites() + rewrite.report.count(Reason::SignalReturn), traps);
        let insides: Vec<Range<u64>> =
            rewrite.patches.iter().map(|patch| patch.address + 1..patch.address + patch.bytes.len() as u64).collect();
        prop_assert!(insides.windows(2).all(|pair| pair[0].end < pair[1].start));
        for target in instructions.iter().map(Instruction::near_branch_target) {
            prop_assert!(!insides.iter().any(|inside| inside.contains(&target)), "a jump lands in a patch, at {target:#x}");
        }
    }

    /// Whatever the bytes, addresses and facts, it ends, and stays within what it was given.
    #[test]
    fn hostile_bytes_do_no_harm(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x0f), Just(0x05), Just(0xa2)], 0..600),
        address in prop_oneof![Just(CODE), Just(0), any::<u64>()],
        extents in prop::collection::vec((any::<u16>(), any::<u16>()), 0..6),
        stubs in prop_oneof![Just(STUBS), any::<u64>()],
        size in 0_usize..2000,
        syscall: u64,
    ) {
        let Some(text) = Text::new(address, &bytes) else { return Ok(()) };
        let Some(area) = StubArea::new(stubs, size) else { return Ok(()) };
        let near = |offset| address.wrapping_add(u64::from(offset) % 700);
        let functions = Functions::new(extents.iter().map(|(start, end)| near(*start)..near(*end)));
        let rewrite = plan(text, &functions, area, Handlers { syscall, ..HANDLERS });
        prop_assert!(rewrite.stubs.len() <= size);
        for patch in &rewrite.patches {
            prop_assert!(patch.address >= address && patch.address + patch.bytes.len() as u64 <= address + bytes.len() as u64);
        }
        prop_assert!(rewrite.report.refused.is_sorted_by_key(|refused| refused.address));
        let _ = (rewrite.origins.original(address), rewrite.origins.resume(address));
    }
}
