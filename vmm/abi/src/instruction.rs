//! The five virtual instructions: `out` of 32 bits to a port, arguments in registers, result in `rax`.
//!
//! Every register but `rax` keeps its value. Any other port, any `in`, another width than 32 bits (but for KICK), and
//! every privileged instruction end the VM.
//!
//! | port | instruction | `rdi` | `rsi` | `rdx` | `r10` | `rax` after |
//! |---|---|---|---|---|---|---|
//! | [`IDLE`] | give up the CPU | until, ns of the VM's clock | | | | 0 |
//! | [`TERMINATE`] | end the VM | status | | | | – |
//! | [`KICK`] | the transmit ring has work | | | | | unchanged |
//! | [`PROTECT`] | change page rights, move pages | address | bytes | rights | pages | bytes not moved |
//! | [`CHECKPOINT`] | a good place for a copy | | | | | 0 |

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

/// PROTECT: give the pages of `rsi` bytes at `rdi` (both multiples of the page size) the rights in `rdx`: [`RIGHT_READ`],
/// [`RIGHT_WRITE`], [`RIGHT_EXECUTE`], or none. Write and execute together are refused. `r10` says which pages these are:
///
/// - [`PAGES_IN_PLACE`]: those that are there. The addresses lie within the stack, from [`crate::memory::IMAGE_BASE`] to the
///   end of memory, or within the window. Refused are addresses whose pages were moved away, or that none was moved to.
/// - An address in the heap, a multiple of the page size: those from there on. They are moved to `rdi`, in the window. Refused are pages
///   that were moved away already, and addresses that have one.
/// - [`PAGES_RETURN`]: those that were moved to `rdi`, in the window, go back to where they were, readable and writable whatever
///   `rdx` says.
///
/// Contents stay. A page is at one address at any time: where it was before is not mapped meanwhile. `rax` is 0, or the bytes,
/// at the end of the range, that are as before since there are no more page tables for the window (see
/// [`crate::memory::WINDOW_TABLES_MIN`]).
pub const PROTECT: u16 = 0xd3;

/// CHECKPOINT: the VMM may copy the VM here. It continues either way; a copy continues with another
/// [`crate::registers::VirtualRegisters::generation`].
pub const CHECKPOINT: u16 = 0xd4;

/// The pages of a PROTECT that only changes rights.
pub const PAGES_IN_PLACE: u64 = 0;

/// The pages of a PROTECT that takes them out of the window.
pub const PAGES_RETURN: u64 = u64::MAX;

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
