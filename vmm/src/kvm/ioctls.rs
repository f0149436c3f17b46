//! The device calls that a jailed worker makes, by number.
//!
//! Source: Linux `include/uapi/linux/kvm.h`, `include/uapi/asm-generic/ioctl.h`.

use super::pagemap::PAGEMAP_SCAN_CALL;
use kvm_bindings::{
    KVMIO, kvm_cpuid2, kvm_device_attr, kvm_msr_filter, kvm_msrs, kvm_sregs, kvm_userspace_memory_region,
    kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};

const NONE: u64 = 0;
const WRITE: u64 = 1;
const READ: u64 = 2;

/// The number of a call of KVM that takes a structure of so many bytes.
const fn kvm(direction: u64, number: u64, bytes: usize) -> u64 {
    direction << 30 | (bytes as u64) << 16 | (KVMIO as u64) << 8 | number
}

const RUN: u64 = kvm(NONE, 0x80, 0);
const GET_XSAVE: u64 = kvm(READ, 0xa4, size_of::<kvm_xsave>());
const SET_XSAVE: u64 = kvm(WRITE, 0xa5, size_of::<kvm_xsave>());

/// What threads call that run guests.
pub(crate) const OF_A_RUNNER: &[u64] = &[RUN, SET_XSAVE, PAGEMAP_SCAN_CALL];

/// What threads call that make VMs. They run no guest but the stubs that put page tables back.
pub(crate) const OF_A_KEEPER: &[u64] = &[
    RUN,
    GET_XSAVE,
    SET_XSAVE,
    PAGEMAP_SCAN_CALL,
    kvm(NONE, 0x01, 0),                                         // KVM_CREATE_VM
    kvm(NONE, 0x04, 0),                                         // KVM_GET_VCPU_MMAP_SIZE
    kvm(NONE, 0x41, 0),                                         // KVM_CREATE_VCPU
    kvm(WRITE, 0x46, size_of::<kvm_userspace_memory_region>()), // KVM_SET_USER_MEMORY_REGION
    kvm(READ, 0x83, size_of::<kvm_sregs>()),                    // KVM_GET_SREGS
    kvm(WRITE, 0x89, size_of::<kvm_msrs>()),                    // KVM_SET_MSRS
    kvm(WRITE, 0x90, size_of::<kvm_cpuid2>()),                  // KVM_SET_CPUID2
    kvm(READ, 0x9f, size_of::<kvm_vcpu_events>()),              // KVM_GET_VCPU_EVENTS
    kvm(WRITE, 0xa7, size_of::<kvm_xcrs>()),                    // KVM_SET_XCRS
    kvm(WRITE, 0xc6, size_of::<kvm_msr_filter>()),              // KVM_X86_SET_MSR_FILTER
    kvm(WRITE, 0xe1, size_of::<kvm_device_attr>()),             // KVM_SET_DEVICE_ATTR
];
