//! One virtual machine of KVM with its one virtual CPU.

use super::{
    Host, cpuid,
    exit::Exit,
    memory::GuestMemory,
    mishap::{ask, spoil},
    recorder::Recorder,
    selectors,
    state::{self, CpuState},
    thread::{self, time_stamp},
};
use crate::{
    machine::{
        layout::{self, KERNEL_CODE, KERNEL_DATA, at},
        stubs::SYSCALL_STUB,
    },
    sabotage::left_out,
};
use denali_protocol::bundle::CpuModel;
pub(crate) use kvm_bindings::kvm_regs as Registers;
use kvm_bindings::{
    KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, Msrs, kvm_device_attr, kvm_msr_entry, kvm_sregs,
    kvm_userspace_memory_region, kvm_vcpu_events, kvm_xcr, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, SyncReg, VcpuFd, VmFd};
use std::io;
use vmm_sys_util::{ioctl::ioctl_with_ref, ioctl_iow_nr};

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

/// A virtual machine with memory and one virtual CPU.
#[derive(Debug)]
pub(crate) struct VirtualMachine {
    vcpu: VcpuFd,
    /// As KVM gave them.
    initial: kvm_sregs,
    /// As KVM gave them: there are none.
    no_events: kvm_vcpu_events,
    /// The guest's, while a stub runs at CPL 0.
    system: kvm_sregs,
    /// Whether the next entry has to complete the `out` of the last exit.
    unfinished: bool,
    /// Whether it would first complete an `in`, or an access to where no memory is, with what that would have read.
    reading: bool,
    /// Told of all exits, in attacks.
    recorder: Option<Box<Recorder>>,
    // Dropped after the virtual CPU; KVM uses the memory as long as either lives.
    _vm: VmFd,
    memory: GuestMemory,
}

/// RFLAGS: a debug exception follows each instruction.
pub(crate) const TRAP_FLAG: u64 = 1 << 8;

const MSR_TSC: u32 = 0x10;
const MSR_STAR: u32 = 0xc000_0081;
const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_FMASK: u32 = 0xc000_0084;

impl VirtualMachine {
    /// Makes a VM. Its virtual CPU has no state yet, see [`VirtualMachine::set_state`].
    pub(crate) fn new(host: &Host, memory: GuestMemory, model: CpuModel) -> Result<Self, MachineError> {
        // An alarm of this thread's last VM may interrupt it.
        let vm = loop {
            match ask(|| host.kvm.create_vm()) {
                Err(error) if error.errno() == libc::EINTR => {}
                made => break made.map_err(failed("create a VM"))?,
            }
        };
        deny_msrs(&vm)?;
        add_memory(&vm, &memory.region)?;
        let mut vcpu = ask(|| vm.create_vcpu(0)).map_err(failed("create a virtual CPU"))?;
        ask(|| vcpu.set_cpuid2(&cpuid::leaves(model))).map_err(failed("set CPUID"))?;
        set_xcr0(&vcpu, model)?;
        set_syscall_target(&vcpu)?;
        show_host_tsc(&vcpu)?;
        let initial = ask(|| vcpu.get_sregs()).map_err(failed("read system registers"))?;
        let no_events = ask(|| vcpu.get_vcpu_events()).map_err(failed("read pending events"))?;
        for kind in [SyncReg::Register, SyncReg::SystemRegister, SyncReg::VcpuEvents] {
            vcpu.set_sync_valid_reg(kind);
        }
        Ok(Self {
            vcpu,
            initial,
            no_events,
            system: initial,
            unfinished: false,
            reading: false,
            recorder: None,
            _vm: vm,
            memory,
        })
    }

    /// The memory.
    pub(crate) fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The state of a virtual CPU about to execute the first instruction, at `entry`.
    pub(crate) fn state_at_entry(&self, entry: u64) -> CpuState {
        CpuState::at_entry(self.initial, entry, self.memory.ram_bytes())
    }

    /// All that the guest can change of the virtual CPU, after a [`VirtualMachine::complete_exit`].
    pub(crate) fn state(&self) -> Result<CpuState, MachineError> {
        let extended = ask(|| self.vcpu.get_xsave()).map_err(failed("read the extended state"))?.region.to_vec();
        let synced = self.vcpu.sync_regs();
        Ok(CpuState { registers: synced.regs, system: synced.sregs, extended })
    }

    /// Sets all that the guest can change of the virtual CPU.
    pub(crate) fn set_state(&mut self, state: &CpuState) -> Result<(), MachineError> {
        // An `out` that ended the last run is completed by the next entry, which would skip an instruction where the
        // instruction pointer happens to be the same.
        if self.registers().rip == state.registers.rip {
            self.complete_exit();
        }
        let mut extended = kvm_xsave::default();
        for (word, of_state) in extended.region.iter_mut().zip(&state.extended) {
            *word = *of_state;
        }
        if !left_out!(Extended) {
            // SAFETY: the state is a whole `kvm_xsave`, and no component beyond its 4096 bytes is enabled for guests:
            // those need ARCH_REQ_XCOMP_GUEST_PERM, which this program never asks for.
            ask(|| unsafe { self.vcpu.set_xsave(&extended) }).map_err(failed("set the extended state"))?;
        }
        // Nor is an exception that KVM was about to inject again.
        self.vcpu.sync_regs_mut().events = self.no_events;
        self.vcpu.set_sync_dirty_reg(SyncReg::VcpuEvents);
        self.system = state.system;
        self.sync_system();
        self.set_registers(state.registers);
        Ok(())
    }

    /// Whether nothing is under way that KVM keeps beside the state of [`VirtualMachine::set_state`]: no exception,
    /// interrupt or the like that the guest has not taken, none that it is in the middle of, no single step, no
    /// instruction that holds such things up (a load of SS), and no `in` or the like that KVM goes on with, whatever was set since.
    pub(crate) fn is_quiet(&self) -> bool {
        let synced = self.vcpu.sync_regs();
        let events = synced.events;
        !self.reading
            && events.exception.injected == 0
            && events.exception.pending == 0
            && events.interrupt.injected == 0
            && events.interrupt.shadow == 0
            && events.nmi.injected == 0
            && events.nmi.pending == 0
            && events.smi.pending == 0
            && synced.regs.rflags & TRAP_FLAG == 0
            && synced.sregs.cs.selector & 3 == 3
    }

    /// Runs until the next exit, or until this thread is interrupted.
    pub(crate) fn run(&mut self) -> Exit {
        if let Some(recorder) = &mut self.recorder {
            recorder.enters();
        }
        let immediate_exit = &raw mut self.vcpu.get_kvm_run().immediate_exit;
        let exit = thread::uninterrupted(immediate_exit, || self.enter());
        // An interruption that came just after an exit is remembered by the thread.
        self.vcpu.set_kvm_immediate_exit(0);
        if !left_out!(Selectors) {
            selectors::clear();
        }
        let exit = exit.unwrap_or(Exit::Interrupted);
        if let Some(recorder) = &mut self.recorder {
            let synced = self.vcpu.sync_regs();
            recorder.left(exit, synced.regs, synced.sregs.cr2, &self.memory);
        }
        exit
    }

    /// From now on `recorder`, if any, is told of all exits but those of stubs that the VMM runs. The one before.
    pub(crate) fn record(&mut self, recorder: Option<Box<Recorder>>) -> Option<Box<Recorder>> {
        std::mem::replace(&mut self.recorder, recorder)
    }

    /// The one that is told of all exits.
    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_deref()
    }

    /// Runs a stub to its exit. It is short, so an interruption waits.
    pub(crate) fn run_stub(&mut self) -> Exit {
        loop {
            match self.enter() {
                Exit::Interrupted => {}
                exit => return exit,
            }
        }
    }

    fn enter(&mut self) -> Exit {
        self.unfinished = false;
        let failure = ask(|| self.vcpu.run().map(drop)).err();
        let exit = match failure {
            None => {
                let run = self.vcpu.get_kvm_run();
                spoil(run);
                Exit::of(run)
            }
            Some(error) => Exit::failed(error.errno()),
        };
        self.unfinished = exit != Exit::Interrupted;
        self.reading = matches!(exit, Exit::In { .. } | Exit::Mmio { .. });
        exit
    }

    /// Whether the next entry runs code at CPL 3, with nothing in between: not a stub, and no exception on its way to one.
    pub(crate) fn is_in_program(&self) -> bool {
        let system = self.vcpu.sync_regs().sregs;
        system.cs.selector & 3 == 3 && system.ss.dpl == 3 && self.is_quiet()
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
    pub(crate) fn fault_address(&self) -> u64 {
        self.vcpu.sync_regs().sregs.cr2
    }

    /// Makes the next entry run at CPL 3 again, with the system registers kept by the last
    /// [`VirtualMachine::enter_supervisor`].
    pub(crate) fn enter_user(&mut self) {
        state::enter(&mut self.system, layout::USER_CODE, layout::USER_DATA, 3);
        self.sync_system();
    }

    /// As [`VirtualMachine::enter_user`], from a stub that an exception of the guest led to.
    pub(crate) fn leave_stub(&mut self) {
        self.system = self.vcpu.sync_regs().sregs;
        self.enter_user();
    }

    /// Makes the next entry run one of the stubs, at CPL 0. The guest's segments, which hold the bases of its FS and GS,
    /// are kept for [`VirtualMachine::enter_user`].
    pub(crate) fn enter_supervisor(&mut self) {
        self.system = self.vcpu.sync_regs().sregs;
        let guest = self.system;
        state::enter(&mut self.system, KERNEL_CODE, KERNEL_DATA, 0);
        self.sync_system();
        self.system = guest;
    }

    fn sync_system(&mut self) {
        self.vcpu.sync_regs_mut().sregs = self.system;
        self.vcpu.set_sync_dirty_reg(SyncReg::SystemRegister);
    }

    /// Completes a pending `out` without running on, so that the instruction pointer lies after it: hardware KVM
    /// advances it at the next entry only.
    pub(crate) fn complete_exit(&mut self) {
        if !std::mem::take(&mut self.unfinished) {
            return;
        }
        self.vcpu.set_kvm_immediate_exit(1);
        // It returns at once with EINTR; a guest that can't go on shows at the next real entry.
        let _ = self.vcpu.run();
        self.vcpu.set_kvm_immediate_exit(0);
    }
}

fn add_memory(vm: &VmFd, region: &vm_memory::MmapRegion) -> Result<(), MachineError> {
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: region.size() as u64,
        userspace_addr: region.as_ptr() as u64,
    };
    // SAFETY: the region is a mapping of this process of exactly that size, and `VirtualMachine` keeps it alive for as
    // long as the VM; there is no other slot.
    ask(|| unsafe { vm.set_user_memory_region(region) }).map_err(failed("give the VM its memory"))
}

/// The guest may read and write none. It can't anyway, at CPL 3: this holds should it ever get out of there.
fn deny_msrs(vm: &VmFd) -> Result<(), MachineError> {
    // KVM takes no filter without a range. This one allows nothing either.
    let flags = MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE;
    let none = MsrFilterRange { flags, base: 0, msr_count: 1, bitmap: &[0] };
    vm.set_msr_filter(MsrFilterDefaultAction::DENY, &[none]).map_err(failed("deny a VM its MSRs"))
}

fn set_xcr0(vcpu: &VcpuFd, model: CpuModel) -> Result<(), MachineError> {
    let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..kvm_xcrs::default() };
    xcrs.xcrs[0] = kvm_xcr { xcr: 0, reserved: 0, value: cpuid::xcr0(model) };
    ask(|| vcpu.set_xcrs(&xcrs)).map_err(failed("set XCR0"))
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
    match ask(|| vcpu.set_msrs(&msrs)).map_err(failed(what))? {
        written if written == entries.len() => Ok(()),
        _ => Err(MachineError { what, error: io::Error::other("MSR refused") }),
    }
}
