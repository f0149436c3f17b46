//! Follows code as a processor does, and tells what it did: so that original and rewritten code can be compared.

use denali_linux::rewrite::Rewrite;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};

use crate::{CODE, HANDLERS, STUBS, patched};

/// What one instruction does. Operands that are relative to rip are the addresses they stand for; a jump is the same in each length.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    Trap(Code),
    Jump(Mnemonic, u64),
    Other(Instruction),
}

/// An original program, or a rewritten one with its stubs.
pub(crate) struct Memory {
    code: Vec<u8>,
    stubs: Vec<u8>,
}

impl Memory {
    pub(crate) fn original(bytes: &[u8]) -> Self {
        Self { code: bytes.to_vec(), stubs: Vec::new() }
    }

    pub(crate) fn rewritten(bytes: &[u8], rewrite: &Rewrite) -> Self {
        Self { code: patched(bytes, rewrite), stubs: rewrite.stubs.clone() }
    }

    fn decode(&self, address: u64) -> Instruction {
        let (start, bytes) = if address >= STUBS { (STUBS, &self.stubs) } else { (CODE, &self.code) };
        let place = usize::try_from(address - start).unwrap();
        Decoder::with_ip(64, &bytes[place..], address, DecoderOptions::NONE).decode()
    }

    /// What is executed from `start` until `end` in the program, conditional jumps not taken; and where it was fetched.
    pub(crate) fn follow(&self, start: u64, end: u64) -> Vec<(Action, u64)> {
        let (mut done, mut address, mut link) = (Vec::new(), start, 0);
        while address != end {
            assert!(done.len() < 64, "did not come to {end:#x}, is at {address:#x}");
            let instruction = self.decode(address);
            assert!(!instruction.is_invalid(), "no instruction at {address:#x}");
            let next = instruction.next_ip();
            let in_stub = address >= STUBS;
            let target = instruction.near_branch_target();
            match instruction.mnemonic() {
                Mnemonic::Jmp if target == HANDLERS.syscall || target == HANDLERS.cpuid => {
                    let trap = if target == HANDLERS.syscall { Code::Syscall } else { Code::Cpuid };
                    done.push((Action::Trap(trap), address));
                    address = link;
                    continue;
                }
                // To a stub, or back from it.
                Mnemonic::Jmp if in_stub || target >= STUBS => {
                    address = target;
                    continue;
                }
                Mnemonic::Lea if in_stub && self.leads_to_handler(&instruction) => {
                    link = instruction.memory_displacement64();
                    address = next;
                    continue;
                }
                Mnemonic::Syscall | Mnemonic::Cpuid => done.push((Action::Trap(instruction.code()), address)),
                mnemonic if target != 0 => done.push((Action::Jump(mnemonic, target), address)),
                _ => done.push((Action::Other(instruction), address)),
            }
            address = next;
        }
        done
    }

    /// Whether this is the `lea` that a stub's jump to a handler follows, and not a displaced one.
    fn leads_to_handler(&self, lea: &Instruction) -> bool {
        let next = self.decode(lea.next_ip());
        let (target, register) = (next.near_branch_target(), lea.op0_register());
        (target == HANDLERS.syscall && register == Register::RCX)
            || (target == HANDLERS.cpuid && register == Register::RDX)
    }
}

/// Checks that each patch of `rewrite` does what `bytes` did, and that its stub's addresses are told truly.
pub(crate) fn check(bytes: &[u8], rewrite: &Rewrite) {
    let (original, rewritten) = (Memory::original(bytes), Memory::rewritten(bytes, rewrite));
    for patch in &rewrite.patches {
        // Beyond the patch and its trap, whichever comes later.
        let mut end = patch.address;
        let (mut trapped, overwritten) = (false, patch.address + patch.bytes.len() as u64);
        while !trapped || end < overwritten {
            let instruction = original.decode(end);
            trapped |= matches!(instruction.code(), Code::Syscall | Code::Cpuid);
            end = instruction.next_ip();
        }
        let (was, is) = (original.follow(patch.address, end), rewritten.follow(patch.address, end));
        assert_eq!(was.len(), is.len(), "{patch:x?}");
        for ((was, from), (is, at)) in was.iter().zip(&is) {
            assert_eq!(was, is, "{from:#x}");
            assert_eq!(rewrite.origins.original(*at), Some(*from));
            let resumed = rewrite.origins.resume(*from);
            assert!(resumed.is_some() || !(patch.address + 1..overwritten).contains(from));
            assert!(resumed.is_none_or(|at| rewrite.origins.original(at) == Some(*from)));
        }
    }
}
