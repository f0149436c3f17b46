//! One virtual machine of KVM with its one virtual CPU.

use super::{Host, cpuid, memory::GuestMemory, thread::time_stamp};
use crate::machine::{
    layout::{self, GDT, GDT_BYTES, IDT, KERNEL_CODE, KERNEL_DATA, PML4, TASK, TSS, TSS_BYTES, at},
    stubs::SYSCALL_STUB,
};
use denali_abi::{instruction::KICK, memory::STACK_TOP, memory::SUPERVISOR_BASE};
use denali_protocol::bundle::CpuModel;
pub(crate) use kvm_bindings::kvm_regs as Registers;
use kvm_bindings::{
    KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, Msrs, kvm_device_attr, kvm_msr_entry, kvm_segment, kvm_sregs,
    kvm_userspace_memory_region, kvm_xcr, kvm_xcrs,
};
use kvm_ioctls::{IoEventAddress, NoDatamatch, SyncReg, VcpuExit, VcpuFd, VmFd};
use std::{
    io,
    os::fd::{FromRawFd, IntoRawFd, OwnedFd},
    sync::Arc,
};
use vmm_sys_util::{eventfd::EventFd, ioctl::ioctl_with_ref, ioctl_iow_nr};

ioctl_iow_nr!(KVM_SET_DEVICE_ATTR, kvm_bindings::KVMIO, 0xe1, kvm_device_attr);

/// A KVM call for a VM failed. The host is at fault.
#[derive(Debug, thiserror::Error)]
#[error("the host could not {what}: {error}")]
pub(crate) struct MachineError {
    what: &'static str,
    error: io::Error,
}

fn failed(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> MachineError {
    move |error| MachineError { what, error: io::Error::from_raw_os_error(error.errno()) }
}

/// Why the virtual CPU stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// `out` of `bytes` to a port.
    Out {
        /// The port.
        port: u16,
        /// Width of the access, in bytes.
        bytes: usize,
    },
    /// `in` from a port.
    In {
        /// The port.
        port: u16,
    },
    /// An access to an address with no memory.
    Mmio {
        /// The address.
        address: u64,
    },
    /// A signal.
    Interrupted,
    /// It can't go on.
    Shutdown,
    /// The host failed to run it: it has no memory left, for one.
    Host {
        /// The kernel's error number.
        errno: i32,
    },
}

/// A virtual machine with memory and one virtual CPU.
#[derive(Debug)]
pub(crate) struct VirtualMachine {
    vcpu: VcpuFd,
    system: kvm_sregs,
    // Dropped after the virtual CPU; KVM uses the memory as long as either lives.
    vm: VmFd,
    memory: Arc<GuestMemory>,
}

const PROTECTED_MODE: u64 = 1 << 0;
const MONITOR: u64 = 1 << 1;
const EXTENSION_TYPE: u64 = 1 << 4;
const NUMERIC_ERROR: u64 = 1 << 5;
const WRITE_PROTECT: u64 = 1 << 16;
const PAGING: u64 = 1 << 31;

const PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
const GLOBAL_PAGES: u64 = 1 << 7;
const FXSAVE: u64 = 1 << 9;
const SIMD_EXCEPTIONS: u64 = 1 << 10;
const FSGSBASE: u64 = 1 << 16;
const XSAVE: u64 = 1 << 18;

const EFER_SYSCALL: u64 = 1 << 0;
const EFER_LONG_MODE: u64 = 1 << 8 | 1 << 10;
const EFER_NO_EXECUTE: u64 = 1 << 11;

const MSR_TSC: u32 = 0x10;
const MSR_STAR: u32 = 0xc000_0081;
const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_FMASK: u32 = 0xc000_0084;

impl VirtualMachine {
    /// Makes a VM that will enter `entry` at CPL 3.
    pub(crate) fn new(
        host: &Host,
        memory: Arc<GuestMemory>,
        model: CpuModel,
        entry: u64,
    ) -> Result<Self, MachineError> {
        let vm = host.kvm.create_vm().map_err(failed("create a VM"))?;
        add_memory(&vm, 0, 0, &memory.ram)?;
        add_memory(&vm, 1, SUPERVISOR_BASE, &memory.supervisor)?;
        let mut vcpu = vm.create_vcpu(0).map_err(failed("create a virtual CPU"))?;
        vcpu.set_cpuid2(&cpuid::leaves(model)).map_err(failed("set CPUID"))?;
        set_xcr0(&vcpu, model)?;
        set_syscall_target(&vcpu)?;
        show_host_tsc(&vcpu)?;

        let mut system = vcpu.get_sregs().map_err(failed("read system registers"))?;
        system_registers(&mut system);
        vcpu.set_sync_valid_reg(SyncReg::Register);
        let mut machine = Self { vcpu, system, vm, memory };
        machine.enter_user();
        // RFLAGS bit 1 is always set; interrupts are off and the I/O privilege level is 0.
        machine.set_registers(Registers { rip: entry, rsp: STACK_TOP, rflags: 1 << 1, ..Registers::default() });
        Ok(machine)
    }

    /// From now on KICK writes `doorbell`, an eventfd, and does not exit.
    ///
    /// For VMs that kick: destroying one with a doorbell takes 16 ms rather than 0.4 ms on current kernels (it waits for
    /// a grace period), so a VM gets its doorbell at its first KICK.
    pub(crate) fn set_doorbell(&self, doorbell: OwnedFd) -> Result<(), MachineError> {
        // SAFETY: `doorbell` is an open eventfd that this call owns and gives up.
        let doorbell = unsafe { EventFd::from_raw_fd(doorbell.into_raw_fd()) };
        let address = IoEventAddress::Pio(u64::from(KICK));
        self.vm.register_ioevent(&doorbell, &address, NoDatamatch).map_err(failed("register the doorbell"))
    }

    /// The memory.
    pub(crate) fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Runs until the next exit.
    pub(crate) fn run(&mut self) -> Exit {
        match self.vcpu.run() {
            Ok(VcpuExit::IoOut(port, data)) => Exit::Out { port, bytes: data.len() },
            Ok(VcpuExit::IoIn(port, _)) => Exit::In { port },
            Ok(VcpuExit::MmioRead(address, _) | VcpuExit::MmioWrite(address, _)) => Exit::Mmio { address },
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => Exit::Interrupted,
            Ok(_) => Exit::Shutdown,
            Err(error) => Exit::Host { errno: error.errno() },
        }
    }

    /// The general registers at the last exit.
    pub(crate) fn registers(&self) -> Registers {
        self.vcpu.sync_regs().regs
    }

    /// Sets the general registers for the next entry.
    pub(crate) fn set_registers(&mut self, registers: Registers) {
        self.vcpu.sync_regs_mut().regs = registers;
        self.vcpu.set_sync_dirty_reg(SyncReg::Register);
    }

    /// The address of the last page fault (CR2).
    pub(crate) fn fault_address(&self) -> Result<u64, MachineError> {
        Ok(self.vcpu.get_sregs().map_err(failed("read system registers"))?.cr2)
    }

    /// Makes the next entry run at CPL 3, with all other system registers as they were at the last
    /// [`VirtualMachine::enter_supervisor`], or at the start.
    pub(crate) fn enter_user(&mut self) {
        self.enter(layout::USER_CODE, layout::USER_DATA, 3);
    }

    /// Makes the next entry run one of the stubs, at CPL 0. The guest's segments, which hold the bases of its FS and GS,
    /// are kept for [`VirtualMachine::enter_user`].
    pub(crate) fn enter_supervisor(&mut self) -> Result<(), MachineError> {
        self.system = self.vcpu.get_sregs().map_err(failed("read system registers"))?;
        self.enter(KERNEL_CODE, KERNEL_DATA, 0);
        Ok(())
    }

    fn enter(&mut self, code: u16, data: u16, level: u8) {
        self.system.cs = segment(code, CODE, level);
        self.system.ss = segment(data, DATA, level);
        self.vcpu.sync_regs_mut().sregs = self.system;
        self.vcpu.set_sync_dirty_reg(SyncReg::SystemRegister);
    }

    /// Completes a pending `out` without running on, so that the instruction pointer lies after it: hardware KVM
    /// advances it at the next entry only.
    pub(crate) fn complete_exit(&mut self) {
        self.vcpu.set_kvm_immediate_exit(1);
        // It returns at once with EINTR; a guest that can't go on shows at the next real entry.
        let _ = self.vcpu.run();
        self.vcpu.set_kvm_immediate_exit(0);
    }
}

fn add_memory(vm: &VmFd, slot: u32, guest: u64, region: &vm_memory::MmapRegion) -> Result<(), MachineError> {
    let region = kvm_userspace_memory_region {
        slot,
        flags: 0,
        guest_phys_addr: guest,
        memory_size: region.size() as u64,
        userspace_addr: region.as_ptr() as u64,
    };
    // SAFETY: the region is a mapping of this process of exactly that size, and `VirtualMachine` keeps it alive for as
    // long as the VM; the two slots lie apart in guest-physical memory, since guest memory ends below SUPERVISOR_BASE.
    unsafe { vm.set_user_memory_region(region) }.map_err(failed("give the VM its memory"))
}

fn set_xcr0(vcpu: &VcpuFd, model: CpuModel) -> Result<(), MachineError> {
    let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..kvm_xcrs::default() };
    xcrs.xcrs[0] = kvm_xcr { xcr: 0, reserved: 0, value: cpuid::xcr0(model) };
    vcpu.set_xcrs(&xcrs).map_err(failed("set XCR0"))
}

fn set_syscall_target(vcpu: &VcpuFd) -> Result<(), MachineError> {
    let entry = |index, data| kvm_msr_entry { index, data, ..kvm_msr_entry::default() };
    let entries = [
        entry(MSR_STAR, u64::from(KERNEL_CODE) << 32 | u64::from(KERNEL_DATA | 3) << 48),
        entry(MSR_LSTAR, at(SYSCALL_STUB)),
        entry(MSR_FMASK, 0xffff_ffff & !(1 << 1)),
    ];
    set_msrs(vcpu, &entries, "set the system call target")
}

/// Makes the guest's time-stamp counter the host's, so that one base serves both. KVM starts it at zero.
fn show_host_tsc(vcpu: &VcpuFd) -> Result<(), MachineError> {
    let offset = 0u64;
    let attribute = kvm_device_attr {
        group: KVM_VCPU_TSC_CTRL,
        attr: u64::from(KVM_VCPU_TSC_OFFSET),
        addr: &raw const offset as u64,
        flags: 0,
    };
    // SAFETY: the descriptor is a virtual CPU's; KVM reads the attribute and, through its address, the eight bytes of
    // `offset`, both of which outlive the call.
    let result = unsafe { ioctl_with_ref(vcpu, KVM_SET_DEVICE_ATTR(), &attribute) };
    if result == 0 {
        return Ok(());
    }
    // Linux before 5.16 has no such attribute. A written counter is late by the time of the call, a microsecond or so.
    let entry = kvm_msr_entry { index: MSR_TSC, data: time_stamp(), ..kvm_msr_entry::default() };
    set_msrs(vcpu, &[entry], "set the time-stamp counter")
}

fn set_msrs(vcpu: &VcpuFd, entries: &[kvm_msr_entry], what: &'static str) -> Result<(), MachineError> {
    let msrs = Msrs::from_entries(entries).unwrap_or_else(|_| unreachable!("a few entries fit"));
    match vcpu.set_msrs(&msrs).map_err(failed(what))? {
        written if written == entries.len() => Ok(()),
        _ => Err(MachineError { what, error: io::Error::other("MSR refused") }),
    }
}

/// Segment types: code that was read, data that was written.
const CODE: u8 = 0xb;
const DATA: u8 = 0x3;

fn segment(selector: u16, kind: u8, level: u8) -> kvm_segment {
    let code = u8::from(kind == CODE);
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_: kind,
        present: 1,
        dpl: level,
        db: 1 - code,
        s: 1,
        l: code,
        g: 1,
        ..kvm_segment::default()
    }
}

/// Long mode, paging on, all of it set before the first instruction: nothing boots.
fn system_registers(system: &mut kvm_sregs) {
    let data = segment(layout::USER_DATA, DATA, 3);
    (system.ds, system.es, system.fs, system.gs) = (data, data, data, data);
    system.tr = kvm_segment {
        base: at(TSS),
        limit: (TSS_BYTES - 1) as u32,
        selector: TASK,
        type_: 0xb,
        present: 1,
        ..kvm_segment::default()
    };
    // KVM starts with a local descriptor table at address 0, present and 64 KiB long: the guest writes the control page
    // in there, and a call gate that it made would lead to CPL 0. There is no such table.
    system.ldt = kvm_segment { unusable: 1, ..kvm_segment::default() };
    (system.gdt.base, system.gdt.limit) = (at(GDT), (GDT_BYTES - 1) as u16);
    (system.idt.base, system.idt.limit) = (at(IDT), 32 * 16 - 1);
    system.cr0 = PROTECTED_MODE | MONITOR | EXTENSION_TYPE | NUMERIC_ERROR | WRITE_PROTECT | PAGING;
    system.cr3 = at(PML4);
    system.cr4 = PHYSICAL_ADDRESS_EXTENSION | GLOBAL_PAGES | FXSAVE | SIMD_EXCEPTIONS | FSGSBASE | XSAVE;
    system.efer = EFER_SYSCALL | EFER_LONG_MODE | EFER_NO_EXECUTE;
}
