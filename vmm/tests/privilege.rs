//! What a guest may not do, on KVM: each attempt ends the VM with a report, and none hangs it.

mod guest;

use denali_abi::memory::{CONTROL, REGISTERS, SUPERVISOR_BASE};
use denali_protocol::job::{Access, FaultCause, Outcome};
use guest::{Asm, DATA, Job, Reg, Worker, fault};

/// Runs code that is followed by an endless loop, for at most half a second of its time.
fn outcome(code: &Asm) -> Outcome {
    let code = code.clone().spin();
    let mut job = Job::new(&code);
    job.limits.cpu_time_us = 500_000;
    Worker::start().run(job).outcome
}

fn cause(code: &Asm) -> Option<FaultCause> {
    match outcome(code) {
        Outcome::Fault(fault) => Some(fault.cause),
        Outcome::TimeLimit { .. } => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn privileged_instructions_are_protection_faults() {
    let instructions: [(&str, &[u8]); 26] = [
        ("hlt", &[0xf4]),
        ("cli", &[0xfa]),
        ("sti", &[0xfb]),
        ("rdmsr", &[0x0f, 0x32]),
        ("wrmsr", &[0x0f, 0x30]),
        ("rdpmc", &[0x0f, 0x33]),
        ("invd", &[0x0f, 0x08]),
        ("wbinvd", &[0x0f, 0x09]),
        ("clts", &[0x0f, 0x06]),
        ("swapgs", &[0x0f, 0x01, 0xf8]),
        ("sysretq", &[0x48, 0x0f, 0x07]),
        ("xsetbv", &[0x0f, 0x01, 0xd1]),
        ("mov rax, cr0", &[0x0f, 0x20, 0xc0]),
        ("mov cr0, rax", &[0x0f, 0x22, 0xc0]),
        ("mov rax, cr3", &[0x0f, 0x20, 0xd8]),
        ("mov cr3, rax", &[0x0f, 0x22, 0xd8]),
        ("mov cr4, rax", &[0x0f, 0x22, 0xe0]),
        ("mov cr8, rax", &[0x44, 0x0f, 0x22, 0xc0]),
        ("mov rax, dr0", &[0x0f, 0x21, 0xc0]),
        ("mov dr7, rax", &[0x0f, 0x23, 0xf8]),
        ("lgdt [rsp]", &[0x0f, 0x01, 0x14, 0x24]),
        ("lidt [rsp]", &[0x0f, 0x01, 0x1c, 0x24]),
        ("lldt ax", &[0x0f, 0x00, 0xd0]),
        ("ltr ax", &[0x0f, 0x00, 0xd8]),
        ("lmsw ax", &[0x0f, 0x01, 0xf0]),
        ("invlpg [rsp]", &[0x0f, 0x01, 0x3c, 0x24]),
    ];
    for (name, bytes) in instructions {
        // The stack pointer is lowered first, so that operands and pushes have room.
        let code = Asm::new().raw(&[0x48, 0x83, 0xec, 0x40]).raw(bytes);
        assert_eq!(cause(&code), Some(FaultCause::Protection), "{name}");
    }
}

#[test]
fn other_ways_to_the_kernel_are_faults() {
    let attempts: [(&str, &[u8]); 10] = [
        // Software KVM reports invalid instructions here, hardware protection faults.
        ("int 0x80", &[0xcd, 0x80]),
        ("int 0x20", &[0xcd, 0x20]),
        ("int 14", &[0xcd, 0x0e]),
        ("int3", &[0xcc]),
        ("syscall", &[0x0f, 0x05]),
        ("sysenter", &[0x0f, 0x34]),
        ("ud2", &[0x0f, 0x0b]),
        ("icebp", &[0xf1]),
        // Single steps: pushfq; or dword [rsp], 0x100; popfq; nop
        ("trap flag", &[0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d, 0x90, 0x90]),
        // A divide error: xor ecx, ecx; div ecx
        ("div", &[0x31, 0xc9, 0xf7, 0xf1]),
    ];
    for (name, bytes) in attempts {
        assert!(cause(&Asm::new().raw(bytes)).is_some(), "{name} went on");
    }
    assert_eq!(cause(&Asm::new().raw(&[0x0f, 0x05])), Some(FaultCause::SystemCall));
    assert_eq!(cause(&Asm::new().raw(&[0x31, 0xc9, 0xf7, 0xf1])), Some(FaultCause::Divide));
}

/// KVM answers a hypercall from CPL 3 with an error in RAX or a fault; it must do one of them, and grant nothing.
#[test]
fn hypercalls_give_nothing_and_do_not_hang() {
    for bytes in [[0x0f, 0x01, 0xc1], [0x0f, 0x01, 0xd9]] {
        for number in [0, 1, 5, 9, 11, 12, 1 << 32] {
            let code = Asm::new().mov(Reg::Rax, number).raw(&bytes).keep_rax(0).send_result().terminate(0);
            let ended = guest::run(&code);
            match &ended.outcome {
                Outcome::Fault(_) => {}
                Outcome::Exited(0) => assert!((ended.word(0) as i64) < 0, "{number}: {:#x}", ended.word(0)),
                other => panic!("{number}: {other:?}"),
            }
        }
    }
}

/// Interrupt returns and far jumps into the kernel's segments, by selector and by stub address.
#[test]
fn the_kernels_segments_can_not_be_entered() {
    let push = |value: u64| Asm::new().mov(Reg::Rax, value).raw(&[0x50]).0;
    for (code_segment, stack_segment) in [(0x08, 0x10), (0x08, 0x1b), (0x23, 0x10), (0x0b, 0x13), (0x28, 0x1b)] {
        for target in [SUPERVISOR_BASE + 0x5000, denali_abi::memory::IMAGE_BASE] {
            let frame = [push(stack_segment), push(DATA + 0x8000), push(2), push(code_segment), push(target)].concat();
            let code = Asm::new().raw(&frame).raw(&[0x48, 0xcf]);
            assert_eq!(cause(&code), Some(FaultCause::Protection), "iretq to {code_segment:#x}");
            let code = Asm::new().raw(&[push(code_segment), push(target)].concat()).raw(&[0x48, 0xcb]);
            // A return to the guest's own segment, at the stub's address, is a jump there.
            let expected = match code_segment {
                0x23 if target > SUPERVISOR_BASE => FaultCause::Page { address: target, access: Access::Execute },
                0x23 => continue,
                _ => FaultCause::Protection,
            };
            assert_eq!(cause(&code), Some(expected), "retfq to {code_segment:#x}");
        }
    }
}

/// A local descriptor table at address 0 would hold the control page, which the guest writes.
#[test]
fn there_is_no_local_descriptor_table() {
    // A writable data segment of privilege level 3, and a call gate to the kernel's code segment.
    let data = 0x00cf_f300_0000_ffffu64;
    let place = CONTROL + 0x100;
    let selector = place | 7;
    let load = Asm::new().mov(Reg::Rax, data).store_rax(place).mov(Reg::Rax, selector).raw(&[0x8e, 0xd8]);
    assert_eq!(cause(&load), Some(FaultCause::Protection), "mov ds, ax");

    let target = denali_abi::memory::IMAGE_BASE;
    let gate = (target & 0xffff) | 0x08 << 16 | 0xec00 << 32 | (target >> 16 & 0xffff) << 48;
    let far = DATA + 0x8000;
    let call = Asm::new()
        .mov(Reg::Rax, gate)
        .store_rax(place)
        .mov(Reg::Rax, target >> 32)
        .store_rax(place + 8)
        .mov(Reg::Rax, selector << 32)
        .store_rax(far)
        .mov(Reg::Rbx, far)
        .raw(&[0xff, 0x1b]); // call far [rbx]
    assert_eq!(cause(&call), Some(FaultCause::Protection), "call far");
}

#[test]
fn the_vmms_pages_can_be_neither_read_nor_written_nor_run() {
    for offset in [0, 0x1000, 0x2000, 0x5000, 0x6ff8, 0x7000, 0x8000, 0x9000, 0xa000, 0xc000, 0x1_0000] {
        let address = SUPERVISOR_BASE + offset;
        let read = Asm::new().load_rax(address);
        assert_eq!(fault(&read).0, FaultCause::Page { address, access: Access::Read });
        let write = Asm::new().store_rax(address);
        assert_eq!(fault(&write).0, FaultCause::Page { address, access: Access::Write });
        let jump = Asm::new().mov(Reg::Rax, address).raw(&[0xff, 0xe0]);
        assert_eq!(fault(&jump).0, FaultCause::Page { address, access: Access::Execute });
    }
}

/// One page holds code of the VMM's for CPL 3. A guest that runs it gains nothing: its report is a port like any other.
#[test]
fn the_vmms_own_code_for_guests_is_of_no_use_to_them() {
    let address = SUPERVISOR_BASE + 0xb000;
    let write = Asm::new().load_rax(address).store_rax(address);
    assert_eq!(fault(&write).0, FaultCause::Page { address, access: Access::Write });
    let list = DATA + 0x100;
    let touch = Asm::new()
        .mov(Reg::Rax, DATA)
        .store_rax(list)
        .mov(Reg::Rsi, list)
        .mov(Reg::Rcx, 1)
        .mov(Reg::Rax, address)
        .raw(&[0xff, 0xe0]);
    assert_eq!(fault(&touch).0, FaultCause::UnknownPort { port: 0xe0 });
}

#[test]
fn nothing_else_is_mapped() {
    let memory = 8 << 20;
    for address in [
        0,
        0xff8,
        0x3000,
        0xf_f000,
        0x20_1000,
        memory,
        memory + 0x1000,
        1 << 32,
        0xfee0_0000,
        SUPERVISOR_BASE - 8,
        SUPERVISOR_BASE + (1 << 30),
        0x7fff_ffff_e000,
        // The host kernel's half: text, direct map, per-CPU entry area, vsyscall page.
        0xffff_ffff_8100_0000,
        0xffff_8880_0000_0000,
        0xffff_fe00_0000_0000,
        0xffff_ffff_ff60_0000,
    ] {
        let (cause, _) = fault(&Asm::new().load_rax(address));
        assert!(
            matches!(cause, FaultCause::Page { address: at, access: Access::Read } if at == address)
                || matches!(cause, FaultCause::StackOverflow { .. }),
            "{address:#x}: {cause:?}"
        );
    }
    assert_eq!(fault(&Asm::new().load_rax(1 << 52)).0, FaultCause::Protection, "not canonical");
}

#[test]
fn the_virtual_registers_are_read_only() {
    assert_eq!(
        fault(&Asm::new().load_rax(REGISTERS).store_rax(REGISTERS)).0,
        FaultCause::Page { address: REGISTERS, access: Access::Write }
    );
}
