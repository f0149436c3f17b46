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

/// Bits of [`VirtualRegisters::pending`]. Events are batched and late: a bit says that something happened, not when nor
/// how often.
pub mod pending {
    /// Frames are in the receive ring.
    pub const RECEIVE: u64 = 1 << 0;
    /// The VMM took frames from the transmit ring.
    pub const TRANSMIT: u64 = 1 << 1;
    /// The time given to IDLE has come.
    pub const TIMER: u64 = 1 << 2;
}

/// What the guest tells the VMM, at [`crate::memory::CONTROL`]. All zero at the start. Hostile input.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Producer's position in the transmit ring.
    pub transmit_head: u64,
    /// Consumer's position in the receive ring.
    pub receive_tail: u64,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<VirtualRegisters>() == 240 && size_of::<VirtualRegisters>() as u64 <= PAGE_BYTES);
    assert!(size_of::<Control>() == 16);
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
};
