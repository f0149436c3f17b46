use super::{PROTECT, PROTECT_STUB, REPORT, SYSCALL_STUB, Stub, stub_at, write};
use crate::machine::layout::{GDT, IDT, KERNEL_CODE, STUBS, TABLES, TSS, TSS_BYTES, at};

/// Software KVM reports the address after the `out`, hardware that of the `out`: both are the stub.
#[test]
fn a_stub_is_known_before_and_after_its_report() {
    for vector in 0..32u8 {
        let start = at(STUBS + 16 * u64::from(vector));
        for address in [start, start + REPORT.len() as u64] {
            assert_eq!(stub_at(address), Some(Stub::Exception(vector)));
        }
    }
    for address in [at(SYSCALL_STUB), at(SYSCALL_STUB) + 2] {
        assert_eq!(stub_at(address), Some(Stub::SystemCall));
    }
    let report = at(PROTECT_STUB) + PROTECT.len() as u64;
    for address in [report - 2, report] {
        assert_eq!(stub_at(address), Some(Stub::Protected));
    }
}

#[test]
fn nothing_else_is_a_stub() {
    for offset in [0, STUBS - 1, STUBS + 512, SYSCALL_STUB - 1, SYSCALL_STUB + 16, PROTECT_STUB + 16, STUBS + 4096] {
        assert_eq!(stub_at(at(offset)), None, "{offset:#x}");
    }
    for address in [0, 0x20_0000, at(0) - 1, u64::MAX] {
        assert_eq!(stub_at(address), None, "{address:#x}");
    }
}

#[test]
fn gates_lead_to_stubs_and_no_program_may_call_them() {
    let mut slot = vec![0; TABLES as usize];
    write(&mut slot);
    let word =
        |offset: u64| u64::from_le_bytes(slot[offset as usize..offset as usize + 8].try_into().expect("8 bytes"));
    for vector in 0..32 {
        let (low, high) = (word(IDT + 16 * vector), word(IDT + 16 * vector + 8));
        let target = low & 0xffff | low >> 32 & 0xffff_0000 | high << 32;
        assert_eq!(stub_at(target), Some(Stub::Exception(vector as u8)));
        assert_eq!(target, at(STUBS + 16 * vector));
        assert_eq!(low >> 16 & 0xffff, u64::from(KERNEL_CODE));
        assert_eq!(low >> 32 & 0xffff, 0x8e00, "present, privilege level 0, an interrupt gate");
    }
    assert_eq!(word(GDT), 0);
    assert!(slot[TSS as usize + 104..(TSS + TSS_BYTES - 1) as usize].iter().all(|byte| *byte == 0), "all ports exit");
    assert_eq!(slot[(TSS + TSS_BYTES - 1) as usize], 0xff);
}
