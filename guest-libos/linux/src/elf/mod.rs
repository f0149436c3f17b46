//! Programs for Linux: what their files ask for, where they come to lie, and the stack they start with.
//!
//! Pure. The loader of the image calls [`parse`], chooses a [`Layout`], calls [`Program::load`], and writes the [`Start`]
//! to the stack. The file is hostile: whatever it says, a [`Program`] keeps the rules that its documentation names.
//!
//! Sources: the System V ABI for x86-64, `fs/binfmt_elf.c` of Linux.

mod functions;
mod layout;
mod load;
mod parse;
mod stack;
mod symbol;

pub use functions::functions;
pub use layout::{Layout, LayoutError};
pub use parse::{ElfError, Program, Segment, parse};
pub use stack::{Image, Start};
pub use symbol::symbol;

#[cfg(test)]
mod tests;
