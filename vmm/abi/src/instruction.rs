//! The five virtual instructions: `out` of 32 bits to a port, arguments in registers, result in `rax`.
//!
//! Every register but `rax` keeps its value. Any other port, any `in`, another width than 32 bits (but for KICK), and
//! every privileged instruction end the VM.
//!
//! | port | instruction | `rdi` | `rsi` | `rdx` | `rax` after |
//! |---|---|---|---|---|---|
//! | [`IDLE`] | give up the CPU | until, ns of the VM's clock | | | 0 |
//! | [`TERMINATE`] | end the VM | status | | | – |
//! | [`KICK`] | the transmit ring has work | | | | unchanged |
//! | [`PROTECT`] | change page rights | address | bytes | rights | 0 |
//! | [`CHECKPOINT`] | a good place for a copy | | | | 0 |

/// IDLE-with-timeout: continue when something happened (see [`crate::registers::pending`]) since an IDLE last returned, or
/// when the VM's clock reaches `rdi`, whichever is first. So a guest that looks at its rings, finds nothing to do, and
/// idles misses nothing that happened in between. [`IDLE_FOREVER`] sets no time. With an upcall entry it also ends as soon
/// as there is a cause of an upcall.
pub const IDLE: u16 = 0xd0;

/// TERMINATE: end the VM with the status in `rdi`: 0 to 255, or [`STATUS_OUT_OF_MEMORY`].
pub const TERMINATE: u16 = 0xd1;

/// KICK: the transmit ring has frames and the VMM asked to be told (see
/// [`crate::registers::VirtualRegisters::kick_wanted`]). Never needed for correctness: the VMM looks at every exit, and
/// from time to time.
pub const KICK: u16 = 0xd2;

/// PROTECT: give the pages of `rsi` bytes at `rdi` (both multiples of the page size, within the stack or above
/// [`crate::memory::IMAGE_BASE`]) the rights in `rdx`: [`RIGHT_READ`], [`RIGHT_WRITE`], [`RIGHT_EXECUTE`], or none.
/// Write and execute together are refused.
pub const PROTECT: u16 = 0xd3;

/// CHECKPOINT: the VMM may copy the VM here. It continues either way; a copy continues with another
/// [`crate::registers::VirtualRegisters::generation`].
pub const CHECKPOINT: u16 = 0xd4;

/// The `until` of an IDLE that waits for an event alone.
pub const IDLE_FOREVER: u64 = u64::MAX;

/// The status of a guest that wanted more memory than the VM has.
pub const STATUS_OUT_OF_MEMORY: u64 = 0x100;

/// Pages may be read. Implied by the others.
pub const RIGHT_READ: u64 = 1;
/// Pages may be written.
pub const RIGHT_WRITE: u64 = 2;
/// Pages may be executed.
pub const RIGHT_EXECUTE: u64 = 4;

const _: () = assert!(CHECKPOINT <= 0xff, "ports fit the immediate form of `out`");
