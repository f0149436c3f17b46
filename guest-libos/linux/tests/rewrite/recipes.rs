//! Each recipe, and each refusal.

use denali_linux::rewrite::{Functions, Handlers, Patch, Reason, Rewrite, StubArea, Text, Trap, plan};

use crate::follow::check;
use crate::{CODE, HANDLERS, RUN_UP, STUBS, after_run_up, planned};

const SYSCALL: [u8; 2] = [0x0f, 0x05];
const CPUID: [u8; 2] = [0x0f, 0xa2];
const MOV_1_EAX: [u8; 5] = [0xb8, 1, 0, 0, 0];
/// mov %rbx, %rdi
const MOV_RBX_RDI: [u8; 3] = [0x48, 0x89, 0xdf];
/// mov %esi, %eax
const MOV_ESI_EAX: [u8; 2] = [0x89, 0xf0];
const RET: [u8; 1] = [0xc3];
/// call *%rax: what comes after can't be displaced with what is before.
const CALL: [u8; 2] = [0xff, 0xd0];

fn rewritten(parts: &[&[u8]], known: bool) -> (Vec<u8>, Rewrite) {
    let bytes = after_run_up(&parts.concat());
    let rewrite = planned(&bytes, known);
    check(&bytes, &rewrite);
    (bytes, rewrite)
}

/// Where the only patch is, after the run-up, and its length.
fn only_patch(parts: &[&[u8]], known: bool) -> (u64, usize) {
    let (_, rewrite) = rewritten(parts, known);
    let [Patch { address, bytes }] = &rewrite.patches[..] else { panic!("{:?}", rewrite.report) };
    assert_eq!(rewrite.report.refused, []);
    (address - CODE - RUN_UP, bytes.len())
}

fn only_refusal(parts: &[&[u8]], known: bool) -> Reason {
    let (_, rewrite) = rewritten(parts, known);
    assert_eq!(rewrite.patches, []);
    assert_eq!(rewrite.stubs, []);
    let [refused] = &rewrite.report.refused[..] else { panic!("{:?}", rewrite.report) };
    refused.reason
}

#[test]
fn the_mov_before_becomes_the_jump_and_the_trap_stays() {
    for known in [false, true] {
        assert_eq!(only_patch(&[&CALL, &MOV_1_EAX, &SYSCALL, &RET], known), (2, 5));
        assert_eq!(only_patch(&[&CALL, &MOV_1_EAX, &CPUID, &RET], known), (2, 5));
        assert_eq!(only_patch(&[&CALL, &[0x48, 0xc7, 0xc0, 1, 0, 0, 0], &SYSCALL, &RET], known), (2, 7));
    }
}

#[test]
fn stubs_lead_to_their_handlers() {
    let (_, rewrite) = rewritten(&[&MOV_1_EAX, &SYSCALL, &MOV_1_EAX, &CPUID, &RET], false);
    assert_eq!((rewrite.report.syscalls, rewrite.report.cpuids), (1, 1));
    // mov; lea to the address after the trap; jmp.
    let site = CODE + RUN_UP + 5;
    let back = u32::try_from(site + 2).unwrap().wrapping_sub(0x1000_000c).to_le_bytes();
    let handler = 0x20_0000_u32.wrapping_sub(0x1000_0011).to_le_bytes();
    let stub = [&MOV_1_EAX[..], &[0x48, 0x8d, 0x0d], &back, &[0xe9], &handler].concat();
    assert_eq!(rewrite.stubs[..17], stub);
    assert_eq!(rewrite.stubs[17 + 5..17 + 8], [0x48, 0x8d, 0x15]);
}

#[test]
fn a_long_instruction_further_before_serves_too() {
    assert_eq!(only_patch(&[&CALL, &MOV_1_EAX, &MOV_RBX_RDI, &SYSCALL, &RET], true), (2, 5));
}

#[test]
fn an_operand_relative_to_rip_stays_the_same() {
    // lea 0x100(%rip), %rsi
    assert_eq!(only_patch(&[&[0x48, 0x8d, 0x35, 0, 1, 0, 0], &SYSCALL, &RET], false), (0, 7));
}

#[test]
fn short_instructions_before_are_displaced_together() {
    assert_eq!(only_patch(&[&CALL, &MOV_RBX_RDI, &MOV_ESI_EAX, &SYSCALL, &RET], true), (2, 5));
    assert_eq!(only_patch(&[&CALL, &MOV_RBX_RDI, &SYSCALL, &RET], true), (2, 5));
}

#[test]
fn instructions_after_are_displaced_where_there_are_none_before() {
    // cmp $-4095, %rax
    assert_eq!(only_patch(&[&CALL, &SYSCALL, &[0x48, 0x3d, 1, 0xf0, 0xff, 0xff], &RET], true), (2, 8));
    // test %eax, %eax; je: the jump goes along.
    assert_eq!(only_patch(&[&CALL, &CPUID, &[0x85, 0xc0, 0x74, 0], &RET], true), (2, 6));
}

#[test]
fn the_jump_back_stands_for_what_comes_after() {
    let (_, rewrite) = rewritten(&[&CALL, &SYSCALL, &[0x48, 0x3d, 1, 0xf0, 0xff, 0xff], &RET], true);
    let (site, end) = (CODE + RUN_UP + 2, CODE + RUN_UP + 10);
    // lea, jmp, cmp, jmp.
    let told: Vec<_> = [0, 7, 12, 18].into_iter().map(|place| rewrite.origins.original(STUBS + place)).collect();
    assert_eq!(told, [Some(site), Some(site), Some(site + 2), Some(end)]);
    assert_eq!(rewrite.origins.original(STUBS + rewrite.stubs.len() as u64), None);
    assert_eq!(rewrite.origins.resume(site + 2), Some(STUBS + 12));
}

#[test]
fn returns_from_signals_are_left_alone() {
    assert_eq!(only_refusal(&[&[0xb8, 15, 0, 0, 0], &SYSCALL], true), Reason::SignalReturn);
    assert_eq!(only_refusal(&[&[0x48, 0xc7, 0xc0, 15, 0, 0, 0], &SYSCALL], false), Reason::SignalReturn);
}

#[test]
fn a_jump_inside_refuses() {
    // jmp to the trap; call; mov; trap, which a patch would have to overwrite.
    assert_eq!(only_refusal(&[&[0xeb, 5], &CALL, &MOV_RBX_RDI, &SYSCALL, &RET], true), Reason::JumpInside);
}

#[test]
fn a_jump_from_another_function_refuses() {
    let parts = [&CALL[..], &MOV_RBX_RDI, &SYSCALL, &RET, &[0xe9], &(-8_i32).to_le_bytes()];
    let bytes = after_run_up(&parts.concat());
    let split = CODE + RUN_UP + 8;
    let functions = Functions::new([CODE..split, split..split + 5]);
    let area = StubArea::new(STUBS, 1 << 16).unwrap();
    let rewrite = plan(Text::new(CODE, &bytes).unwrap(), &functions, area, HANDLERS);
    assert_eq!(rewrite.report.count(Reason::JumpInside), 1);
}

#[test]
fn a_jump_to_the_trap_alone_does_no_harm() {
    // Displacing together would overwrite the trap, so the jump is at the mov, and who jumps to the trap traps.
    assert_eq!(only_patch(&[&[0xeb, 7], &CALL, &MOV_1_EAX, &SYSCALL, &RET], true), (4, 5));
}

#[test]
fn a_computed_jump_refuses_but_for_single_instructions() {
    let jump = [0xff, 0xe0];
    assert_eq!(only_refusal(&[&jump, &MOV_RBX_RDI, &SYSCALL, &RET], true), Reason::ComputedJump);
    assert_eq!(only_patch(&[&jump, &MOV_1_EAX, &MOV_RBX_RDI, &SYSCALL, &RET], true), (2, 5));
}

#[test]
fn too_little_code_refuses() {
    assert_eq!(only_refusal(&[&CALL, &SYSCALL, &RET], true), Reason::Crowded);
}

#[test]
fn prefixes_refuse() {
    assert_eq!(only_refusal(&[&MOV_1_EAX, &[0x48], &SYSCALL, &RET], true), Reason::Prefixed);
}

#[test]
fn bytes_inside_of_other_instructions_are_no_sites() {
    let (_, rewrite) = rewritten(&[&[0xb8, 0x0f, 0x05, 0x0f, 0xa2], &RET], true);
    assert_eq!((rewrite.report.sites(), rewrite.report.false_sites), (0, 2));
}

#[test]
fn what_a_lock_prefix_begins_is_not_displaced() {
    // lock cmpxchg %ecx, 16(%rdi): old C libraries jump over the prefix.
    assert_eq!(only_refusal(&[&[0xf0, 0x0f, 0xb1, 0x4f, 16], &SYSCALL, &RET], true), Reason::Crowded);
}

#[test]
fn a_full_area_refuses_the_rest() {
    let bytes = after_run_up(&[&MOV_1_EAX[..], &SYSCALL, &MOV_1_EAX, &SYSCALL].concat());
    let area = StubArea::new(STUBS, 20).unwrap();
    let rewrite = plan(Text::new(CODE, &bytes).unwrap(), &Functions::unknown(), area, HANDLERS);
    assert_eq!((rewrite.report.patched(), rewrite.report.count(Reason::AreaFull)), (1, 1));
    assert_eq!(rewrite.stubs.len(), 17);
}

#[test]
fn a_far_area_refuses_and_a_far_handler_does_not() {
    let bytes = after_run_up(&[&MOV_1_EAX[..], &SYSCALL].concat());
    let text = Text::new(CODE, &bytes).unwrap();
    let far = StubArea::new(1 << 40, 1 << 16).unwrap();
    let rewrite = plan(text, &Functions::unknown(), far, HANDLERS);
    assert_eq!(rewrite.report.count(Reason::OutOfReach), 1);
    let handlers = Handlers { syscall: 0x7fff_1234_5678, ..HANDLERS };
    let near = StubArea::new(STUBS, 1 << 16).unwrap();
    let rewrite = plan(text, &Functions::unknown(), near, handlers);
    assert_eq!(rewrite.report.patched(), 1);
    assert!(rewrite.stubs.ends_with(&handlers.syscall.to_le_bytes()));
}

#[test]
fn refusals_tell_which_trap() {
    let (_, rewrite) = rewritten(&[&CALL, &CPUID, &RET], true);
    assert_eq!(rewrite.report.refused[0].trap, Trap::Cpuid);
    assert_eq!(rewrite.report.refused[0].address, CODE + RUN_UP + 2);
}

#[test]
fn a_function_is_decoded_once_for_all_of_its_sites() {
    // Each site asks for all of the function, which ends in data. Decoded for each anew it would take a minute.
    let bytes = [[&MOV_RBX_RDI[..], &SYSCALL, &CALL].concat().repeat(9000), vec![0x06]].concat();
    let start = std::time::Instant::now();
    let rewrite = planned(&bytes, true);
    assert_eq!(rewrite.report.count(Reason::UnknownFunction), 9000);
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
}
