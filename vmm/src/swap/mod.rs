//! Where whole idle VMs wait on disk: their private pages, and a blob of CPU state that means nothing here.
//!
//! A `SwapSpace` is one file, set aside on the disk at the start so that no VM finds the disk full later. An image is one
//! extent of it, so it is written and read in one go, and it leaves in memory only its `Place`.
//!
//! What comes back is what was stored for this VM last, or an error: the checksum of an image is also in its place, and
//! checksum, VM and sequence number are checked first. This finds what disks do wrong. It is no signature: whoever may
//! write the file and means harm can forge an image, though none that makes this module panic.
//!
//! | module | what |
//! |---|---|
//! | `space` | images in a file |
//! | `block` | the format: what one write holds |
//! | `holes` | which parts of the file are free |

#![forbid(unsafe_code)]

mod block;
mod holes;
mod space;

pub(crate) use space::{Place, SwapSpace};
#[cfg(feature = "testing")]
pub use {block::fuzz::swap_block, holes::fuzz::swap_holes, space::fuzz::swap_space};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::{fs::File, io, path::Path};

/// A page of guest memory.
pub(crate) type Page = [u8; 4096];

/// Most bytes of CPU state in an image.
pub(crate) const STATE_BYTES_MAX: usize = 64 << 10;

/// Why a VM could not be stored or loaded. The space stays usable after each.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwapError {
    /// The file can't be made as large as it has to be.
    #[error(
        "can't set aside {bytes} bytes of disk for idle VMs: {error}; make room, ask for less, or choose a directory on a \
         file system that has fallocate (ext4, XFS, Btrfs, tmpfs)"
    )]
    Allocate {
        /// Bytes asked for.
        bytes: u64,
        /// What the system said.
        error: io::Error,
    },
    /// The host has no memory to put images together in.
    #[error("no memory for images of idle VMs: {0}; end other programs, or allow fewer workers")]
    Memory(#[source] io::Error),
    /// More CPU state than any VM has.
    #[error("{bytes} bytes of CPU state; an image holds at most {STATE_BYTES_MAX}")]
    State {
        /// Bytes of state.
        bytes: usize,
    },
    /// No hole is large enough. The VM has to stay in memory.
    #[error(
        "no room on disk for an idle VM: it needs at least {needed} bytes in one piece, the largest piece has {largest}, \
         and {free} are free in all; keep it in memory, or set aside more"
    )]
    Full {
        /// Bytes of the image, as far as it was looked at: all of a small one.
        needed: u64,
        /// Bytes of the largest hole.
        largest: u64,
        /// Bytes of all holes.
        free: u64,
    },
    /// The disk failed.
    #[error("the disk that holds idle VMs failed: {0}; look for its faults in the kernel's log")]
    Disk(#[source] io::Error),
    /// What was read is not what was stored. If pages were handed on already, they are good, but not all there are.
    #[error("the image of VM {vm} on disk is not what was stored: {why}; end this VM, and check the disk")]
    Corrupt {
        /// The VM.
        vm: u64,
        /// What was found.
        why: &'static str,
    },
}

/// Makes a file for a `SwapSpace`: without a name, so that it goes with the last process that has it open, and past the
/// page cache where the file system can do that, for a VM's image is read once and the cache would only hold it twice.
///
/// # Errors
/// When the directory takes no files.
pub fn create(directory: &Path) -> io::Result<File> {
    let file = tempfile::tempfile_in(directory)?;
    // A file system that can't do without the cache refuses the flag, and works all the same.
    let _ = fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::DIRECT);
    Ok(file)
}
