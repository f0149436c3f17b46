//! What a guest sees of the machine: the CPU model, a fresh register file, and nothing of others.

mod guest;

use denali_abi::registers::VirtualRegisters;
use denali_abi::{
    memory::{REGISTERS, STACK_TOP},
    registers::MAGIC,
};
use denali_protocol::{bundle::CpuModel, job::Outcome};
use guest::{Asm, Ended, Job, Reg, Worker};
use std::mem::offset_of;

/// EAX, EBX, ECX, EDX.
type Leaf = [u32; 4];

fn run(code: &Asm, cpu: CpuModel) -> Ended {
    let mut job = Job::new(code);
    job.cpu = cpu;
    Worker::start().run(job)
}

fn cpuid(cpu: CpuModel, leaves: &[(u32, u32)]) -> Vec<Leaf> {
    let mut code = Asm::new();
    for (n, (leaf, index)) in leaves.iter().enumerate() {
        let n = n as u64;
        code = code
            .mov(Reg::Rax, (*leaf).into())
            .mov(Reg::Rcx, (*index).into())
            .raw(&[0x0f, 0xa2]) // cpuid
            .raw(&[0x48, 0x89, 0xde]) // mov rsi, rbx
            .keep_rax(4 * n)
            .raw(&[0x48, 0x89, 0xf0]) // mov rax, rsi
            .keep_rax(4 * n + 1)
            .raw(&[0x48, 0x89, 0xc8]) // mov rax, rcx
            .keep_rax(4 * n + 2)
            .raw(&[0x48, 0x89, 0xd0]) // mov rax, rdx
            .keep_rax(4 * n + 3);
    }
    let ended = run(&code.send_result().terminate(0), cpu);
    (0..leaves.len()).map(|n| [0, 1, 2, 3].map(|word| ended.word(4 * n + word) as u32)).collect()
}

/// Whether KVM shows guests the CPUID it was given. Software KVM can't where the CPU has no CPUID faulting: CPUID runs
/// unseen at CPL 3, and shows the host's. The model is then a promise about what programs may use, not what they see.
fn cpuid_is_virtual() -> bool {
    let host = std::arch::x86_64::__cpuid(0);
    let [_, ebx, ecx, edx] = cpuid(CpuModel::V2, &[(0, 0)])[0];
    if [ebx, ecx, edx] == [host.ebx, host.ecx, host.edx] {
        // Elsewhere than on software KVM this is our own mistake, not the host's.
        assert!(std::path::Path::new("/sys/module/kvm_pvm").exists(), "hardware KVM shows guests the host's CPUID");
        println!("this KVM does not virtualise CPUID: guests see the host's");
        return false;
    }
    true
}

#[test]
fn cpuid_shows_the_model_and_nothing_of_the_host() {
    if !cpuid_is_virtual() {
        return;
    }
    for (cpu, level) in [(CpuModel::V2, 2), (CpuModel::V3, 3)] {
        let asked = [
            (0, 0),
            (1, 0),
            (7, 0),
            (0xd, 0),
            (0x8000_0000, 0),
            (0x8000_0008, 0),
            (2, 0),
            (4, 0),
            (6, 0),
            (0xb, 0),
            (7, 1),
            (0x8000_0002, 0),
            (0x8000_0006, 0),
            (0x1f, 0),
            (0x4000_0000, 0),
            (0x8000_001e, 0),
        ];
        let shown = cpuid(cpu, &asked);
        let [_, ebx, ecx, edx] = shown[0];
        assert_eq!((shown[0][0], [ebx, edx, ecx].map(u32::to_le_bytes).concat()), (0xd, b"DenaliDenali".to_vec()));
        assert_eq!((shown[1][0], shown[1][1], shown[1][2] >> 31), (0x600, 0x0800, 0), "no hypervisor, no APIC");
        assert_eq!((shown[1][2] >> 28 & 1, shown[2][1] >> 5 & 1), (level - 2, level - 2), "AVX and AVX2");
        assert_eq!(shown[3][0], if level == 3 { 7 } else { 3 });
        assert_eq!((shown[4][0], shown[5][0]), (0x8000_0008, 0x3027));
        for n in 6..13 {
            assert_eq!(shown[n], [0; 4], "leaf {:x?}", asked[n]);
        }
        // Beyond the highest leaf KVM may answer as the highest does, as Intel's CPUs do.
        for n in 13..asked.len() {
            assert!(shown[n] == [0; 4] || shown[n] == shown[3], "leaf {:x?}: {:x?}", asked[n], shown[n]);
        }
    }
}

#[test]
fn xgetbv_shows_the_models_components() {
    if !cpuid_is_virtual() {
        return;
    }
    // xor ecx, ecx; xgetbv
    let code = Asm::new().raw(&[0x31, 0xc9, 0x0f, 0x01, 0xd0]).keep_rax(0).send_result().terminate(0);
    assert_eq!(run(&code, CpuModel::V2).word(0), 3);
    assert_eq!(run(&code, CpuModel::V3).word(0), 7);
}

#[test]
fn registers_are_fresh() {
    let mut code = Asm::new();
    // or rax, each of the others
    for modrm in [0xc8, 0xd0, 0xd8, 0xe8, 0xf0, 0xf8] {
        code = code.raw(&[0x48, 0x09, modrm]);
    }
    for modrm in [0xc0, 0xc8, 0xd0, 0xd8, 0xe0, 0xe8, 0xf0, 0xf8] {
        code = code.raw(&[0x4c, 0x09, modrm]);
    }
    code = code.keep_rax(0);
    for n in 0..16u8 {
        // Both halves: movq rax, xmm; movhlps xmm, xmm; movq rcx, xmm; or rax, rcx
        let (high, low) = (n >> 3, n & 7);
        code = code
            .raw(&[0x66, 0x48 | high << 2, 0x0f, 0x7e, 0xc0 | low << 3])
            .raw(&[0x40 | (high * 5), 0x0f, 0x12, 0xc0 | low << 3 | low])
            .raw(&[0x66, 0x48 | high << 2, 0x0f, 0x7e, 0xc1 | low << 3])
            .raw(&[0x48, 0x09, 0xc8])
            .keep_rax(1 + u64::from(n));
    }
    let code = code
        .raw(&[0x50, 0x0f, 0xae, 0x1c, 0x24, 0x58, 0x89, 0xc0]) // push rax; stmxcsr [rsp]; pop rax; mov eax, eax
        .keep_rax(17)
        .raw(&[0x6a, 0, 0x9b, 0xd9, 0x3c, 0x24, 0x58]) // push 0; fstcw [rsp]; pop rax
        .keep_rax(18)
        .raw(&[0xf3, 0x48, 0x0f, 0xae, 0xc0]) // rdfsbase rax
        .keep_rax(19)
        .raw(&[0xf3, 0x48, 0x0f, 0xae, 0xc8]) // rdgsbase rax
        .keep_rax(20)
        .raw(&[0x48, 0x89, 0xe0]) // mov rax, rsp
        .keep_rax(21)
        .load_rax(REGISTERS)
        .keep_rax(22)
        .send_result()
        .terminate(0);
    let ended = run(&code, CpuModel::V2);
    let words: Vec<u64> = (0..23).map(|n| ended.word(n)).collect();
    assert_eq!(words[..17], [0; 17], "general registers and XMM");
    assert_eq!(words[17..], [0x1f80, 0x37f, 0, 0, STACK_TOP, MAGIC]);
}

/// One guest fills its heap, registers and stack; the next one of the same worker finds zeros everywhere.
#[test]
fn nothing_is_left_of_an_earlier_guest() {
    let heap = REGISTERS + offset_of!(VirtualRegisters, heap_start) as u64;
    let whole_heap = |code: Asm| {
        code.load_rax(heap)
            .raw(&[0x48, 0x89, 0xc7]) // mov rdi, rax
            .mov(Reg::Rcx, 8 << 20)
            .raw(&[0x48, 0x29, 0xf9]) // sub rcx, rdi
    };
    let fill = whole_heap(Asm::new()).mov(Reg::Rax, 0xaa).raw(&[0xf3, 0xaa]).terminate(1); // rep stosb
    let scan = whole_heap(Asm::new())
        .raw(&[0x31, 0xc0, 0xf3, 0xae]) // xor eax, eax; repe scasb
        .raw(&[0x0f, 0x95, 0xc0]) // setne al
        .raw(&[0x0f, 0xb6, 0xf8]) // movzx edi, al
        .out(denali_abi::instruction::TERMINATE);
    let mut worker = Worker::start();
    for _ in 0..3 {
        assert_eq!(worker.run(Job::new(&fill)).outcome, Outcome::Exited(1));
        assert_eq!(worker.run(Job::new(&scan)).outcome, Outcome::Exited(0));
    }
}
