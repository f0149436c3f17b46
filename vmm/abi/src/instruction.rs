//! The six virtual instructions: `out` of 32 bits to a port, arguments in registers, result in `rax`.
//!
//! Every register but `rax` keeps its value. Any other port, any `in`, another width than 32 bits (but for KICK), and
//! every privileged instruction end the VM.
//!
//! | port | instruction | `rdi` | `rsi` | `rdx` | `r10` | `rax` after |
//! |---|---|---|---|---|---|---|
//! | [`IDLE`] | give up the CPU | until, ns of the VM's clock | | | | 0 |
//! | [`TERMINATE`] | end the VM | status | | | | – |
//! | [`KICK`] | the transmit ring has work | | | | | unchanged |
//! | [`PROTECT`] | change page rights | address | bytes | rights | | 0 |
//! | [`CHECKPOINT`] | a good place for a copy | | | | | 0 |
//! | [`MAP`] | move pages to the window, or back | address | bytes | rights | pages | bytes not moved |

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

/// PROTECT: give the pages of `rsi` bytes at `rdi` (both multiples of the page size, within the stack, from
/// [`crate::memory::IMAGE_BASE`] to the end of memory, or within the window) the rights in `rdx`: [`RIGHT_READ`],
/// [`RIGHT_WRITE`], [`RIGHT_EXECUTE`], or none. Write and execute together are refused, and addresses whose pages MAP moved away,
/// or that no page was moved to.
pub const PROTECT: u16 = 0xd3;

/// CHECKPOINT: the VMM may copy the VM here. It continues either way; a copy continues with another
/// [`crate::registers::VirtualRegisters::generation`].
pub const CHECKPOINT: u16 = 0xd4;

/// MAP: move the pages of `rsi` bytes at `r10`, in the heap, to `rdi`, in the window, and give them the rights in `rdx`; or,
/// where `rdx` is 0, move the pages at `rdi` back to where they were, readable and writable. All three are multiples of the
/// page size. Contents stay. A page is at one address at any time: where it was before is not mapped meanwhile.
///
/// `rax` is 0, or the bytes, at the end of the range, that are as before since there are no more page tables for the window
/// (see [`crate::memory::WINDOW_TABLES_MIN`]). Pages of the heap that are not there, addresses of the window that are taken, and with
/// `rdx` 0 those that are not, are refused.
pub const MAP: u16 = 0xd5;

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

const _: () = assert!(MAP <= 0xff, "ports fit the immediate form of `out`");
