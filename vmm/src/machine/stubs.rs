//! The only code of the VMM's that runs in a VM, nearly all of it at CPL 0, and the descriptor tables that lead to it.
//!
//! Software KVM emulates CPL 0 at 1.4 µs an instruction, so there is next to none: a fault stub is one `out`, which
//! hands the exception frame to the VMM. Nothing returns from a fault stub: the VMM sets the registers anew.

use super::layout::{
    EXCEPTION_STACK_TOP, GDT, GDT_BYTES, IDT, KERNEL_CODE, STUBS, TASK, TSS, TSS_BYTES, USER_STUBS, at,
};

/// Port on which the stubs report. Only meant so when the instruction pointer lies in the stub page.
pub(crate) const STUB_PORT: u8 = 0xe0;

/// Bytes from one fault stub to the next; the vector is `(rip - stub page) / 16`.
const FAULT_STUB_BYTES: u64 = 16;

/// Vectors of the CPU's exceptions.
const VECTORS: u64 = 32;

/// Target of the `syscall` instruction. Hardware arrives here at CPL 0 and runs the `out`; software KVM stays at CPL 3
/// and faults on the fetch. Either way the VMM sees this address.
pub(crate) const SYSCALL_STUB: u64 = STUBS + 0x400;

/// Copies `rcx` page table entries from `rsi` to `rdi` and reloads CR3, so that shadow page tables see the change.
pub(crate) const PROTECT_STUB: u64 = STUBS + 0x500;

/// `out STUB_PORT, al`
const REPORT: [u8; 2] = [0xe6, STUB_PORT];

/// `rep movsq; mov rax, cr3; mov cr3, rax; out STUB_PORT, al`
const PROTECT: [u8; 11] = [0xf3, 0x48, 0xa5, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, REPORT[0], REPORT[1]];

/// Touches pages at CPL 3, so that they are mapped before a guest needs them: `rcx` addresses (at least one) from the list at
/// `rsi`. A page whose address has bit 0 set is written to, without changing it.
pub(crate) const TOUCH_STUB: u64 = USER_STUBS;

/// Where the instruction pointer is when all pages were touched.
pub(crate) const TOUCHED: u64 = TOUCH_STUB + TOUCH.len() as u64;

/// `1: mov rdi, [rsi]; btr rdi, 0; jc 2f; mov al, [rdi]; jmp 3f; 2: lock or byte ptr [rdi], 0; 3: add rsi, 8; dec rcx;
/// jnz 1b; out STUB_PORT, al`
const TOUCH: [u8; 29] = [
    0x48, 0x8b, 0x3e, 0x48, 0x0f, 0xba, 0xf7, 0x00, 0x72, 0x04, 0x8a, 0x07, 0xeb, 0x04, 0xf0, 0x80, 0x0f, 0x00, 0x48,
    0x83, 0xc6, 0x08, 0x48, 0xff, 0xc9, 0x75, 0xe5, REPORT[0], REPORT[1],
];

/// What the stub at an instruction pointer had to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stub {
    /// A CPU exception.
    Exception(u8),
    /// A `syscall` instruction.
    SystemCall,
    /// Page table entries were copied.
    Protected,
}

/// The stub that `rip` (after the `out`) lies in, if any.
pub(crate) fn stub_at(rip: u64) -> Option<Stub> {
    let offset = rip.checked_sub(at(0))?;
    match offset {
        _ if (STUBS..STUBS + VECTORS * FAULT_STUB_BYTES).contains(&offset) => {
            Some(Stub::Exception(((offset - STUBS) / FAULT_STUB_BYTES) as u8))
        }
        _ if (SYSCALL_STUB..SYSCALL_STUB + 16).contains(&offset) => Some(Stub::SystemCall),
        _ if (PROTECT_STUB..PROTECT_STUB + 16).contains(&offset) => Some(Stub::Protected),
        _ => None,
    }
}

/// Whether the CPU pushes an error code for `vector` (Intel SDM volume 3, table 6-1; AMD APM volume 2, section 8.2).
pub(crate) fn has_error_code(vector: u8) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

/// Writes the descriptor tables and stubs into `slot`, the bytes of a supervisor slot that is all zero.
pub(crate) fn write(slot: &mut [u8]) {
    write_gdt(slot);
    write_idt(slot);
    write_tss(slot);
    for vector in 0..VECTORS {
        put(slot, STUBS + vector * FAULT_STUB_BYTES, &REPORT);
    }
    put(slot, SYSCALL_STUB, &REPORT);
    put(slot, PROTECT_STUB, &PROTECT);
    put(slot, TOUCH_STUB, &TOUCH);
}

fn put(slot: &mut [u8], offset: u64, bytes: &[u8]) {
    slot[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
}

fn write_gdt(slot: &mut [u8]) {
    let tss = at(TSS);
    let entries: [u64; GDT_BYTES as usize / 8] = [
        0,
        0x00af_9b00_0000_ffff, // kernel code, 64 bits
        0x00cf_9300_0000_ffff, // kernel data
        0x00cf_f300_0000_ffff, // user data
        0x00af_fb00_0000_ffff, // user code, 64 bits
        // A busy 64-bit TSS: limit, base 0-23, type, limit 16-19, base 24-31; then base 32-63.
        ((TSS_BYTES - 1) & 0xffff) | (tss & 0xff_ffff) << 16 | 0x8b << 40 | (tss >> 24 & 0xff) << 56,
        tss >> 32,
    ];
    for (n, entry) in entries.iter().enumerate() {
        put(slot, GDT + 8 * n as u64, &entry.to_le_bytes());
    }
}

fn write_idt(slot: &mut [u8]) {
    for vector in 0..VECTORS {
        let target = at(STUBS + vector * FAULT_STUB_BYTES);
        // An interrupt gate that only CPL 0 may call by `int`.
        let low = (target & 0xffff) | u64::from(KERNEL_CODE) << 16 | 0x8e00 << 32 | (target >> 16 & 0xffff) << 48;
        put(slot, IDT + 16 * vector, &low.to_le_bytes());
        put(slot, IDT + 16 * vector + 8, &(target >> 32).to_le_bytes());
    }
}

/// Every port is allowed by the bitmap (zero bits), so that each access exits to the VMM, which names the port in its
/// fault report. The bitmap works on software KVM, which ignores the I/O privilege level.
fn write_tss(slot: &mut [u8]) {
    put(slot, TSS + 4, &at(EXCEPTION_STACK_TOP).to_le_bytes());
    put(slot, TSS + 102, &104u16.to_le_bytes());
    put(slot, TSS + TSS_BYTES - 1, &[0xff]);
}

const _: () = assert!(TASK as u64 + 16 == GDT_BYTES);

#[cfg(test)]
mod tests;
