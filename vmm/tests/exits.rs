//! The virtual instructions, on KVM: what they do, and what they refuse.

mod guest;

use denali_abi::{
    instruction::{
        CHECKPOINT, IDLE, IDLE_FOREVER, KICK, PROTECT, RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE, STATUS_OUT_OF_MEMORY,
        TERMINATE,
    },
    memory::{CONTROL, IMAGE_BASE, REGISTERS, STACK_BOTTOM, STACK_TOP, SUPERVISOR_BASE},
};
use denali_protocol::job::{Access, FaultCause, Outcome};
use guest::{Asm, DATA, Reg, fault, run};

const PAGE: u64 = 4096;

/// A page of the data segment that nothing uses.
const TARGET: u64 = DATA + 16 * PAGE;

fn protect(address: u64, bytes: u64, rights: u64) -> Asm {
    Asm::new().instruction(PROTECT, address, bytes, rights)
}

#[test]
fn terminate_gives_its_status() {
    for status in [0u8, 7, 255] {
        assert_eq!(run(&Asm::new().terminate(status.into())).outcome, Outcome::Exited(status));
    }
    let outcome = run(&Asm::new().terminate(STATUS_OUT_OF_MEMORY)).outcome;
    assert_eq!(outcome, Outcome::MemoryLimit { limit_bytes: 8 << 20 });
}

#[test]
fn terminate_refuses_a_status_out_of_range() {
    for status in [0x101, 1 << 32, u64::MAX] {
        let (cause, _) = fault(&Asm::new().terminate(status));
        assert!(matches!(&cause, FaultCause::VirtualInstruction { name, .. } if name == "TERMINATE"), "{cause:?}");
    }
}

/// Code that writes `count` items of its memory to the port of TERMINATE.
fn outs(count: u64, instruction: &[u8]) -> Asm {
    Asm::new().mov(Reg::Rdx, TERMINATE.into()).mov(Reg::Rsi, DATA).mov(Reg::Rcx, count).raw(instruction)
}

#[test]
fn other_ports_and_widths_are_faults() {
    let codes = [
        Asm::new().raw(&[0xe6, TERMINATE as u8]),       // out TERMINATE, al
        Asm::new().raw(&[0x66, 0xe7, TERMINATE as u8]), // out TERMINATE, ax
        Asm::new().raw(&[0xe5, TERMINATE as u8]),       // in eax, TERMINATE
        Asm::new().raw(&[0xe6, 0xe0]),                  // out of the fault stubs' port
        Asm::new().mov(Reg::Rdx, 0xffff).raw(&[0xee]),  // out dx, al
        Asm::new().mov(Reg::Rdx, 0x3f8).raw(&[0xec]),   // in al, dx
        Asm::new().mov(Reg::Rdx, 0x7e).raw(&[0xee]),    // out dx, al
        Asm::new().mov(Reg::Rdx, 0xcf8).raw(&[0xef]),   // out dx, eax
        outs(4, &[0xf3, 0x6e]),                         // rep outsb: four bytes, but not at once
        outs(2, &[0x66, 0xf3, 0x6f]),                   // rep outsw
    ];
    for code in codes {
        let (cause, at) = fault(&code.clone().spin());
        assert!(matches!(cause, FaultCause::UnknownPort { .. }), "{cause:?}");
        assert!((IMAGE_BASE..=IMAGE_BASE + code.0.len() as u64).contains(&at), "{at:#x}");
    }
}

#[test]
fn checkpoint_returns() {
    let code = Asm::new().mov(Reg::Rax, 5).out(CHECKPOINT).keep_rax(0).send_result().terminate(3);
    let ended = run(&code);
    assert_eq!((ended.outcome.clone(), ended.word(0)), (Outcome::Exited(3), 0));
    assert_eq!(ended.usage.exits.checkpoint, 1);
}

#[test]
fn kick_changes_nothing_however_it_is_made() {
    let code = Asm::new()
        .mov(Reg::Rax, 5)
        .out(KICK)
        .raw(&[0xe6, KICK as u8]) // out KICK, al
        .out(KICK)
        .keep_rax(0)
        .mov(Reg::Rdx, KICK.into())
        .mov(Reg::Rsi, DATA)
        .mov(Reg::Rcx, 3)
        .raw(&[0xf3, 0x6f]) // rep outsd
        .send_result()
        .terminate(3);
    let ended = run(&code);
    assert_eq!((ended.outcome.clone(), ended.word(0)), (Outcome::Exited(3), 5));
}

#[test]
fn idle_until_a_time_long_past_returns_at_once() {
    let code = Asm::new().instruction(IDLE, 0, 0, 0).instruction(IDLE, 1, 0, 0).terminate(3);
    assert_eq!(run(&code).outcome, Outcome::Exited(3));
}

#[test]
fn idle_for_ever_ends_at_the_wall_limit() {
    for until in [IDLE_FOREVER, u64::MAX - 1, 1 << 63] {
        let code = Asm::new().instruction(IDLE, until, 0, 0).terminate(3);
        let mut job = guest::Job::new(&code);
        job.limits.wall_time_us = 200_000;
        let ended = guest::Worker::start().run(job);
        assert!(
            matches!(ended.outcome, Outcome::TimeLimit { limit_us: 200_000, .. }),
            "{until:#x}: {:?}",
            ended.outcome
        );
    }
}

#[test]
fn a_page_made_read_only_can_be_read_and_not_written() {
    let code = protect(TARGET, PAGE, RIGHT_READ).load_rax(TARGET).store_rax(TARGET + 8);
    assert_eq!(fault(&code).0, FaultCause::Page { address: TARGET + 8, access: Access::Write });
}

#[test]
fn a_page_without_rights_can_not_be_read() {
    // Touched before, so that a stale translation would show.
    let code = Asm::new().store_rax(TARGET).instruction(PROTECT, TARGET, PAGE, 0).load_rax(TARGET);
    assert_eq!(fault(&code).0, FaultCause::Page { address: TARGET, access: Access::Read });
}

#[test]
fn rights_come_back_with_the_contents() {
    let code = Asm::new()
        .mov(Reg::Rax, 77)
        .store_rax(TARGET)
        .instruction(PROTECT, TARGET, PAGE, 0)
        .instruction(PROTECT, TARGET, PAGE, RIGHT_READ | RIGHT_WRITE)
        .load_rax(TARGET)
        .store_rax(TARGET + 8)
        .keep_rax(0)
        .send_result()
        .terminate(0);
    assert_eq!(run(&code).word(0), 77);
}

#[test]
fn a_page_made_executable_runs_and_can_not_be_written() {
    let inner = Asm::new().terminate(42).0;
    let mut code = Asm::new();
    for (n, chunk) in inner.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        code = code.mov(Reg::Rax, u64::from_le_bytes(word)).store_rax(TARGET + 8 * n as u64);
    }
    let code = code.instruction(PROTECT, TARGET, PAGE, RIGHT_READ | RIGHT_EXECUTE);
    let jump = code.clone().mov(Reg::Rax, TARGET).raw(&[0xff, 0xe0]);
    assert_eq!(run(&jump).outcome, Outcome::Exited(42));
    assert_eq!(fault(&code.store_rax(TARGET)).0, FaultCause::Page { address: TARGET, access: Access::Write });
}

#[test]
fn data_does_not_run() {
    let code = Asm::new().mov(Reg::Rax, TARGET).raw(&[0xff, 0xe0]);
    assert_eq!(fault(&code).0, FaultCause::Page { address: TARGET, access: Access::Execute });
}

#[test]
fn pages_of_the_stack_can_be_protected() {
    let code = protect(STACK_BOTTOM, PAGE, RIGHT_READ).store_rax(STACK_BOTTOM);
    assert_eq!(fault(&code).0, FaultCause::Page { address: STACK_BOTTOM, access: Access::Write });
}

#[test]
fn the_stack_ends_in_a_guard() {
    let code = Asm::new().mov(Reg::Rsp, STACK_BOTTOM).raw(&[0x50]);
    assert_eq!(fault(&code).0, FaultCause::StackOverflow { address: STACK_BOTTOM - 8 });
}

#[test]
fn protect_refuses_what_is_not_the_guests() {
    let memory = 8 << 20;
    let wrong = [
        (TARGET, PAGE, RIGHT_WRITE | RIGHT_EXECUTE),
        (TARGET, PAGE, 8),
        (TARGET, PAGE, u64::MAX),
        (TARGET + 1, PAGE, RIGHT_READ),
        (TARGET, 1, RIGHT_READ),
        (REGISTERS, PAGE, RIGHT_WRITE),
        (CONTROL, PAGE, 0),
        (0, PAGE, RIGHT_READ),
        (STACK_BOTTOM - PAGE, PAGE, RIGHT_READ),
        (STACK_TOP - PAGE, 2 * PAGE, RIGHT_READ),
        (memory, PAGE, RIGHT_READ),
        (memory - PAGE, 2 * PAGE, RIGHT_READ),
        (IMAGE_BASE, u64::MAX - PAGE + 1, 0),
        (IMAGE_BASE, u64::MAX - IMAGE_BASE - PAGE + 1, 0),
        (SUPERVISOR_BASE, PAGE, RIGHT_WRITE),
        (u64::MAX - PAGE + 1, PAGE, RIGHT_WRITE),
    ];
    for (address, bytes, rights) in wrong {
        let (cause, _) = fault(&protect(address, bytes, rights).terminate(0));
        let refused = matches!(&cause, FaultCause::VirtualInstruction { name, .. } if name == "PROTECT");
        assert!(refused, "{address:#x}, {bytes:#x}, {rights:#x}: {cause:?}");
    }
}

/// `pushfq; or dword [rsp], 0x100; popfq`: a debug exception is due after each instruction that follows.
#[test]
fn stepping_through_a_protect_is_the_guests_fault() {
    let code = Asm::new().raw(&[0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d]).instruction(PROTECT, TARGET, PAGE, 0);
    let outcome = run(&code.terminate(0)).outcome;
    assert!(matches!(outcome, Outcome::Fault(_)), "{outcome:?}");
}

#[test]
fn protect_of_nothing_and_of_much_is_done() {
    // Stack and program keep their rights; all of the heap loses and regains them.
    let code = protect(TARGET, 0, RIGHT_READ)
        .store_rax(TARGET)
        .instruction(PROTECT, 6 << 20, 2 << 20, 0)
        .instruction(PROTECT, 6 << 20, 2 << 20, RIGHT_WRITE)
        .store_rax((8 << 20) - 8)
        .terminate(0);
    assert_eq!(run(&code).outcome, Outcome::Exited(0));
}

/// All of the register file that a program uses, before and after.
#[test]
fn virtual_instructions_change_rax_alone() {
    let all = [
        Asm::new().instruction(PROTECT, TARGET, PAGE, RIGHT_READ).0,
        Asm::new().instruction(CHECKPOINT, 0, 0, 0).0,
        Asm::new().instruction(IDLE, 0, 0, 0).0,
    ];
    for instruction in all {
        let code = Asm::new()
            .mov(Reg::Rax, 0x1111_2222_3333)
            .raw(&[0xf3, 0x48, 0x0f, 0xae, 0xd0]) // wrfsbase rax
            .raw(&[0xf3, 0x48, 0x0f, 0xae, 0xd8]) // wrgsbase rax
            .raw(&[0x66, 0x48, 0x0f, 0x6e, 0xf8]) // movq xmm7, rax
            .raw(&[0x49, 0x89, 0xc7]) // mov r15, rax
            .raw(&[0x48, 0x89, 0xc5]) // mov rbp, rax
            .mov(Reg::Rcx, 9)
            .raw(&[0xfd, 0xf9]) // std; stc
            .raw(&instruction)
            .raw(&[0x9c]) // pushfq
            .keep_rax(0)
            .raw(&[0xf3, 0x48, 0x0f, 0xae, 0xc0]) // rdfsbase rax
            .keep_rax(1)
            .raw(&[0xf3, 0x48, 0x0f, 0xae, 0xc8]) // rdgsbase rax
            .keep_rax(2)
            .raw(&[0x66, 0x48, 0x0f, 0x7e, 0xf8]) // movq rax, xmm7
            .keep_rax(3)
            .raw(&[0x4c, 0x89, 0xf8]) // mov rax, r15
            .keep_rax(4)
            .raw(&[0x48, 0x89, 0xe8]) // mov rax, rbp
            .keep_rax(5)
            .raw(&[0x48, 0x89, 0xc8]) // mov rax, rcx
            .keep_rax(6)
            .raw(&[0x58]) // pop rax
            .keep_rax(7)
            .raw(&[0x48, 0x89, 0xe0]) // mov rax, rsp
            .keep_rax(8)
            .send_result()
            .terminate(0);
        let ended = run(&code);
        let words: Vec<u64> = (0..9).map(|n| ended.word(n)).collect();
        assert_eq!(
            words[..7],
            [0, 0x1111_2222_3333, 0x1111_2222_3333, 0x1111_2222_3333, 0x1111_2222_3333, 0x1111_2222_3333, 9]
        );
        assert_eq!(words[7] & 0x401, 0x401, "carry and direction");
        assert_eq!(words[8], STACK_TOP);
    }
}
