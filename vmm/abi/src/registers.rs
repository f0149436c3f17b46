//! Virtual registers: one page that the VMM writes and the guest reads, one the other way round. Neither takes an exit.

use crate::memory::PAGE_BYTES;

/// First word of [`VirtualRegisters`]: the bytes `DENALIVM`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"DENALIVM");

/// What the VMM tells the guest, at [`crate::memory::REGISTERS`]. Fixed from the VM's start, except where it says so.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualRegisters {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`crate::VERSION`].
    pub abi_version: u32,
    /// Level of the x86-64 psABI that the CPU model offers: 2 or 3.
    pub cpu_level: u32,
    /// Name of this VM; no other VM of the node ever has it.
    pub vm_id: u64,
    /// Changes whenever the VM continues from a copy: cached randomness and clocks are stale then.
    pub generation: u64,
    /// Bytes of guest memory; its end.
    pub memory_bytes: u64,
    /// First address of the heap, which reaches to the end of memory. Zeroed pages, costing nothing until touched.
    pub heap_start: u64,
    /// Address of the table of [`crate::memory::Module`]s.
    pub modules: u64,
    /// Number of modules.
    pub module_count: u64,
    /// Frequency of the time-stamp counter, in Hz.
    pub tsc_hz: u64,
    /// Time-stamp counter at zero of the VM's clock.
    pub tsc_base: u64,
    /// Nanoseconds per tick, as a fraction of 2³²: the VM's clock is `((tsc - tsc_base) * tsc_to_ns) >> 32`.
    pub tsc_to_ns: u64,
    /// Nanoseconds since 1970 (UTC) at zero of the VM's clock.
    pub realtime_base_ns: u64,
    /// CPU time that the VM may use, in microseconds.
    pub cpu_limit_us: u64,
    /// CPU time used when the VM was last entered, in microseconds. Changes.
    pub cpu_used_us: u64,
    /// What happened since an IDLE last returned, or since the start: bits of [`pending`]. Written at each entry.
    pub pending: u64,
    /// Address of the transmit ring.
    pub transmit_ring: u64,
    /// Its bytes, a power of two.
    pub transmit_bytes: u64,
    /// Address of the receive ring.
    pub receive_ring: u64,
    /// Its bytes, a power of two.
    pub receive_bytes: u64,
    /// Consumer's position in the transmit ring. Changes at any time.
    pub transmit_tail: u64,
    /// Producer's position in the receive ring. Changes at any time.
    pub receive_head: u64,
    /// 1 while the VMM wants a KICK for new frames in the transmit ring. Changes at any time.
    pub kick_wanted: u32,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// The VM's Ethernet address; two bytes of padding follow.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved_mac: [u8; 2],
    /// The gateway's Ethernet address.
    pub gateway_mac: [u8; 6],
    /// Zero.
    pub reserved_gateway_mac: [u8; 2],
    /// The VM's IPv4 address.
    pub ip: [u8; 4],
    /// The gateway's IPv4 address, on the same link.
    pub gateway_ip: [u8; 4],
    /// Fresh random bytes for this VM and generation.
    pub random_seed: [u8; 32],
    /// 1 while the VMM would take a copy at a CHECKPOINT; otherwise a guest may save itself the exit. Changes only at a
    /// CHECKPOINT.
    pub checkpoint_wanted: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bits of [`VirtualRegisters::pending`] and of [`Control::causes`]. Events are batched and late: a bit says that something
/// happened, not when nor how often.
pub mod pending {
    /// Frames are in the receive ring.
    pub const RECEIVE: u64 = 1 << 0;
    /// The VMM took frames from the transmit ring.
    pub const TRANSMIT: u64 = 1 << 1;
    /// The time given to IDLE, or [`super::Control::timer_ns`], has come.
    pub const TIMER: u64 = 1 << 2;
    /// The VM is about to be stopped: no more than [`super::STOPPING_NOTICE_MS`] are left of its CPU or wall time.
    pub const STOPPING: u64 = 1 << 3;
    /// All of them.
    pub const ALL: u64 = RECEIVE | TRANSMIT | TIMER | STOPPING;
}

/// How long before a limit of time [`pending::STOPPING`] says so, in milliseconds.
pub const STOPPING_NOTICE_MS: u64 = 50;

/// The timer interrupts a VM that runs no more often than this, in microseconds.
pub const TICK_US_MIN: u64 = 500;

/// The bit of RFLAGS (ID) that the VMM sets when it makes a VM continue at an upcall: while it is set, none is made. The
/// instruction that restores the interrupted flags, instruction pointer and stack pointer, `iretq`, allows the next.
pub const IN_UPCALL: u64 = 1 << 21;

/// What the guest tells the VMM, at [`crate::memory::CONTROL`]. All zero at the start. Hostile input. The VMM changes it
/// between an exit and an entry only: to the guest, which does not run then, each of its own instructions is atomic.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Producer's position in the transmit ring.
    pub transmit_head: u64,
    /// Consumer's position in the receive ring.
    pub receive_tail: u64,
    /// Whether upcalls are welcome: any value but zero.
    pub interrupts_enabled: u64,
    /// Where upcalls continue; 0 for none.
    pub upcall_entry: u64,
    /// Where faults continue; 0 for nowhere: they end the VM.
    pub fault_entry: u64,
    /// Time of the VM's clock, in nanoseconds, when [`pending::TIMER`] is wanted; 0 and `u64::MAX` for never. When it has come
    /// the VMM adds [`Control::timer_period_ns`] until it lies ahead again, or sets it to 0.
    pub timer_ns: u64,
    /// Nanoseconds between one TIMER and the next; 0 for one alone.
    pub timer_period_ns: u64,
    /// Bits of [`pending`]: what happened and no upcall has taken yet. The VMM sets bits, the guest takes them with `xchg`.
    pub causes: u64,
    /// Where the last upcall interrupted the program. Written by the VMM.
    pub interrupted: Interrupted,
    /// 1 from the VMM when a fault is delivered, 0 from the guest when it is done with it. A fault in between ends the VM.
    pub in_fault: u64,
    /// The last fault delivered. Written by the VMM.
    pub fault: FaultRecord,
}

/// What a handler can't find in registers of the program that it interrupted; all others hold what they held.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupted {
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
}

/// A fault, as the CPU describes it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRecord {
    /// Where it happened: RIP is that of the instruction at fault (of the one after it, for a breakpoint and a system call).
    pub at: Interrupted,
    /// The exception's vector, or [`SYSTEM_CALL`]: one of [`DELIVERED_FAULTS`].
    pub vector: u64,
    /// The error code that the CPU gives with it, or 0.
    pub error_code: u64,
    /// The address touched, for a page fault (vector 14); otherwise 0.
    pub address: u64,
}

/// Stands for the vector where the instruction was `syscall`: the CPU has none for it. RCX and R11 are as `syscall` leaves
/// them.
pub const SYSTEM_CALL: u64 = 32;

/// A bit for each vector that is delivered to [`Control::fault_entry`]: #DE, #BP, #UD, #NP, #SS, #GP, #PF, #MF, #AC, #XM and
/// [`SYSTEM_CALL`].
pub const DELIVERED_FAULTS: u64 =
    1 << 0 | 1 << 3 | 1 << 6 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 16 | 1 << 17 | 1 << 19 | 1 << SYSTEM_CALL;

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<VirtualRegisters>() == 240 && size_of::<VirtualRegisters>() as u64 <= PAGE_BYTES);
    assert!(size_of::<Control>() == 144 && size_of::<Control>() as u64 <= PAGE_BYTES);
    assert!(offset_of!(VirtualRegisters, vm_id) == 16);
    assert!(offset_of!(VirtualRegisters, heap_start) == 40);
    assert!(offset_of!(VirtualRegisters, tsc_hz) == 64);
    assert!(offset_of!(VirtualRegisters, cpu_limit_us) == 96);
    assert!(offset_of!(VirtualRegisters, pending) == 112);
    assert!(offset_of!(VirtualRegisters, transmit_ring) == 120);
    assert!(offset_of!(VirtualRegisters, transmit_tail) == 152);
    assert!(offset_of!(VirtualRegisters, receive_head) == 160);
    assert!(offset_of!(VirtualRegisters, kick_wanted) == 168);
    assert!(offset_of!(VirtualRegisters, mac) == 176);
    assert!(offset_of!(VirtualRegisters, ip) == 192);
    assert!(offset_of!(VirtualRegisters, random_seed) == 200);
    assert!(offset_of!(VirtualRegisters, checkpoint_wanted) == 232);
    assert!(offset_of!(Control, transmit_head) == 0);
    assert!(offset_of!(Control, receive_tail) == 8);
    assert!(offset_of!(Control, interrupts_enabled) == 16);
    assert!(offset_of!(Control, upcall_entry) == 24);
    assert!(offset_of!(Control, fault_entry) == 32);
    assert!(offset_of!(Control, timer_ns) == 40);
    assert!(offset_of!(Control, timer_period_ns) == 48);
    assert!(offset_of!(Control, causes) == 56);
    assert!(offset_of!(Control, interrupted) == 64);
    assert!(offset_of!(Control, in_fault) == 88);
    assert!(offset_of!(Control, fault) == 96);
    assert!(size_of::<Interrupted>() == 24 && size_of::<FaultRecord>() == 48);
};
