//! Programs for Linux: what their files ask for, where they come to lie, and the stack they start with.
//!
//! Pure. The loader of the image calls [`parse`], for the program and for the dynamic loader that it may name, has
//! [`Placed`] choose a [`Layout`] of each, calls [`Program::load`], and writes the [`Start`] to the stack. Whoever packs
//! calls the same, and so knows how much room to leave. The file is hostile: whatever it says, a [`Program`] keeps the
//! rules that its documentation names.
//!
//! Sources: the System V ABI for x86-64, `fs/binfmt_elf.c` of Linux.

mod dependencies;
mod functions;
mod layout;
mod load;
mod parse;
mod placed;
mod stack;
mod symbol;

pub use dependencies::{Dependencies, dependencies};
pub use functions::{functions, mapped_functions};
pub use layout::{Layout, LayoutError};
pub use parse::{ElfError, Program, Segment, code, parse};
pub use placed::{PROGRAM_BASE, Placed};
pub(crate) use stack::TICKS_PER_SECOND;
pub use stack::{Image, Start};
pub use symbol::symbol;

#[cfg(test)]
mod tests;
