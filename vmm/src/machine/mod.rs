//! The virtual machine as bytes: descriptor and page tables, program layout, CPU model. No KVM here.

pub mod elf;
pub mod image;
pub(crate) mod layout;
pub mod paging;
pub(crate) mod stubs;
pub(crate) mod window;
