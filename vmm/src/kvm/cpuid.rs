//! The CPU models: what CPUID shows. The psABI level asked for and nothing of the host: no brand, topology, cache or
//! hypervisor leaf, so that a program takes the same code paths on every node.
//!
//! Source: x86-64 psABI, "Micro-Architecture Levels"; Intel SDM volume 2, CPUID.

use denali_protocol::bundle::CpuModel;
use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};
use std::arch::x86_64::__cpuid_count;

/// A register of a CPUID leaf.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Register {
    Ebx,
    Ecx,
    Edx,
}
use Register::{Ebx, Ecx, Edx};

/// A feature: its leaf, register and bit, its name, and the model that has it first.
struct Feature(u32, Register, u8, &'static str, CpuModel);

use CpuModel::{V2, V3};

/// All features that a model shows, in the order of CPUID.
const FEATURES: [Feature; 46] = [
    Feature(1, Ecx, 0, "SSE3", V2),
    Feature(1, Ecx, 1, "PCLMULQDQ", V3),
    Feature(1, Ecx, 9, "SSSE3", V2),
    Feature(1, Ecx, 12, "FMA", V3),
    Feature(1, Ecx, 13, "CMPXCHG16B", V2),
    Feature(1, Ecx, 19, "SSE4.1", V2),
    Feature(1, Ecx, 20, "SSE4.2", V2),
    Feature(1, Ecx, 22, "MOVBE", V3),
    Feature(1, Ecx, 23, "POPCNT", V2),
    Feature(1, Ecx, 25, "AES", V3),
    Feature(1, Ecx, 26, "XSAVE", V2),
    Feature(1, Ecx, 28, "AVX", V3),
    Feature(1, Ecx, 29, "F16C", V3),
    Feature(1, Edx, 0, "FPU", V2),
    Feature(1, Edx, 3, "PSE", V2),
    Feature(1, Edx, 4, "TSC", V2),
    Feature(1, Edx, 5, "MSR", V2),
    Feature(1, Edx, 6, "PAE", V2),
    Feature(1, Edx, 8, "CMPXCHG8B", V2),
    Feature(1, Edx, 11, "SEP", V2),
    Feature(1, Edx, 13, "PGE", V2),
    Feature(1, Edx, 15, "CMOV", V2),
    Feature(1, Edx, 16, "PAT", V2),
    Feature(1, Edx, 19, "CLFSH", V2),
    Feature(1, Edx, 23, "MMX", V2),
    Feature(1, Edx, 24, "FXSR", V2),
    Feature(1, Edx, 25, "SSE", V2),
    Feature(1, Edx, 26, "SSE2", V2),
    Feature(7, Ebx, 0, "FSGSBASE", V2),
    Feature(7, Ebx, 3, "BMI1", V3),
    Feature(7, Ebx, 5, "AVX2", V3),
    Feature(7, Ebx, 8, "BMI2", V3),
    Feature(7, Ebx, 9, "ERMS", V3),
    Feature(0x8000_0001, Ecx, 0, "LAHF_SAHF", V2),
    Feature(0x8000_0001, Ecx, 5, "LZCNT", V3),
    Feature(0x8000_0001, Edx, 11, "SYSCALL", V2),
    Feature(0x8000_0001, Edx, 20, "NX", V2),
    Feature(0x8000_0001, Edx, 29, "LM", V2),
    // The basic features again, where AMD's CPUID repeats them.
    Feature(0x8000_0001, Edx, 0, "FPU", V2),
    Feature(0x8000_0001, Edx, 4, "TSC", V2),
    Feature(0x8000_0001, Edx, 5, "MSR", V2),
    Feature(0x8000_0001, Edx, 6, "PAE", V2),
    Feature(0x8000_0001, Edx, 8, "CMPXCHG8B", V2),
    Feature(0x8000_0001, Edx, 15, "CMOV", V2),
    Feature(0x8000_0001, Edx, 23, "MMX", V2),
    Feature(0x8000_0001, Edx, 24, "FXSR", V2),
];

/// `OSXSAVE`: not a feature of the CPU but of CR4, shown because XSAVE is on.
const OSXSAVE: u32 = 1 << 27;

/// The vendor string. No real vendor's, so that no program picks a code path for one.
const VENDOR: &[u8; 12] = b"DenaliDenali";

/// The XSAVE components that a model has: x87 and SSE, and AVX from v3 on.
pub(super) fn xcr0(model: CpuModel) -> u64 {
    if model >= V3 { 0b111 } else { 0b011 }
}

/// The first feature of `model` that this host's CPU lacks.
///
/// A guest's instructions run on the CPU itself at CPL 3, so the CPU decides, not `KVM_GET_SUPPORTED_CPUID`: software KVM
/// leaves out there what it does not emulate, SSE3 among it, though guests have it.
pub(super) fn missing(model: CpuModel) -> Option<&'static str> {
    let has = |f: &Feature| {
        // The repeats of leaf 1 are AMD's alone; Intel hosts need not have them.
        let repeated = f.0 == 0x8000_0001 && FEATURES.iter().any(|g| g.0 == 1 && g.3 == f.3);
        let leaf = __cpuid_count(f.0, 0);
        let value = match f.1 {
            Ebx => leaf.ebx,
            Ecx => leaf.ecx,
            Edx => leaf.edx,
        };
        repeated || value >> f.2 & 1 == 1
    };
    FEATURES.iter().filter(|f| f.4 <= model).find(|f| !has(f)).map(|f| f.3)
}

/// What CPUID shows for `model`.
pub(super) fn leaves(model: CpuModel) -> CpuId {
    let word = |at: usize| u32::from_le_bytes([VENDOR[at], VENDOR[at + 1], VENDOR[at + 2], VENDOR[at + 3]]);
    let leaf = |function, index| kvm_cpuid_entry2 {
        function,
        index,
        flags: if matches!(function, 7 | 0xd) { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 },
        ebx: bits(model, function, Ebx),
        ecx: bits(model, function, Ecx),
        edx: bits(model, function, Edx),
        ..Default::default()
    };
    let mut leaves = vec![
        kvm_cpuid_entry2 { eax: 0xd, ebx: word(0), edx: word(4), ecx: word(8), ..leaf(0, 0) },
        // Family 6, no model or stepping; cache lines of 64 bytes (8 × 8) for CLFLUSH.
        kvm_cpuid_entry2 { eax: 0x600, ebx: 0x0800, ecx: bits(model, 1, Ecx) | OSXSAVE, ..leaf(1, 0) },
        leaf(7, 0),
        // Legacy area and header; AVX adds its 256 bytes.
        kvm_cpuid_entry2 { eax: xcr0(model) as u32, ebx: xsave_bytes(model), ecx: xsave_bytes(model), ..leaf(0xd, 0) },
        leaf(0xd, 1),
        kvm_cpuid_entry2 { eax: 0x8000_0008, ..leaf(0x8000_0000, 0) },
        leaf(0x8000_0001, 0),
        // 39 physical and 48 linear address bits.
        kvm_cpuid_entry2 { eax: 0x3027, ..leaf(0x8000_0008, 0) },
    ];
    if model >= V3 {
        leaves.push(kvm_cpuid_entry2 { eax: 256, ebx: 576, ..leaf(0xd, 2) });
    }
    CpuId::from_entries(&leaves).unwrap_or_else(|_| unreachable!("nine entries fit KVM_MAX_CPUID_ENTRIES"))
}

fn xsave_bytes(model: CpuModel) -> u32 {
    if model >= V3 { 576 + 256 } else { 576 }
}

fn bits(model: CpuModel, function: u32, register: Register) -> u32 {
    FEATURES.iter().filter(|f| f.4 <= model && f.0 == function && f.1 == register).fold(0, |bits, f| bits | 1 << f.2)
}

#[cfg(test)]
mod tests;
