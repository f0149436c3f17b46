//! The program's memory beside its files: borrowed apart from each other, so that bytes go from one to the other at once.

use super::Machine;
use crate::{
    errno::Errno,
    fs::{Buffers, limits::PATH_MAX},
    mm::{Access, Space},
};
use alloc::vec::Vec;

/// Most pieces of one vector (`IOV_MAX`).
pub(super) const PIECES_MOST: u64 = 1024;

/// Bytes to be read.
#[inline]
pub(super) fn input<M: Machine>(space: &Space<M>, address: u64, bytes: u64) -> Result<&[u8], Errno> {
    space.check_bytes(address, bytes, Access::Read)?;
    // No bytes may lie anywhere, also where nothing can.
    Ok(if bytes == 0 { &[] } else { space.machine().bytes(address..address + bytes) })
}

/// Bytes to be written.
#[inline]
pub(super) fn output<M: Machine>(space: &mut Space<M>, address: u64, bytes: u64) -> Result<&mut [u8], Errno> {
    space.check_bytes(address, bytes, Access::Write)?;
    Ok(if bytes == 0 { &mut [] } else { space.pages().bytes_mut(address..address + bytes) })
}

/// A string without its NUL: a path or a name. `ENAMETOOLONG` from `PATH_MAX` on.
pub(super) fn text<M: Machine>(space: &Space<M>, address: u64) -> Result<&[u8], Errno> {
    let reach = space.accessible(address, PATH_MAX as u64, Access::Read);
    let bytes = input(space, address, reach)?;
    match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => Ok(&bytes[..end]),
        None if bytes.len() == PATH_MAX => Err(Errno::ENAMETOOLONG),
        None => Err(Errno::EFAULT),
    }
}

/// The pieces of a `struct iovec` array: address and bytes of each, all accessible.
pub(super) fn vector<M: Machine>(
    space: &Space<M>,
    address: u64,
    count: u64,
    access: Access,
) -> Result<Vec<(u64, u64)>, Errno> {
    if count > PIECES_MOST {
        return Err(Errno::EINVAL);
    }
    let (words, _) = input(space, address, 16 * count)?.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    let mut room = crate::fs::limits::MAX_TRANSFER as u64;
    let pieces = pairs.iter().map(|pair| {
        let [address, bytes] = pair.map(u64::from_le_bytes);
        if bytes > i64::MAX.cast_unsigned() {
            return Err(Errno::EINVAL);
        }
        let bytes = bytes.min(room);
        room -= bytes;
        space.check_bytes(address, bytes, access).map(|()| (address, bytes))
    });
    pieces.collect()
}

/// What pieces hold, but for the first `skip` bytes.
pub(super) fn parts<'a, M: Machine>(
    space: &'a Space<M>,
    pieces: &[(u64, u64)],
    mut skip: u64,
) -> Result<Vec<&'a [u8]>, Errno> {
    let parts = pieces.iter().map(|&(address, length)| {
        let skipped = skip.min(length);
        skip -= skipped;
        input(space, address + skipped, length - skipped)
    });
    parts.collect()
}

/// Pieces that are read into.
pub(super) struct Pieces<'a, M: Machine>(pub(super) &'a mut Space<M>, pub(super) &'a [(u64, u64)]);

impl<M: Machine> Buffers for Pieces<'_, M> {
    fn buffer(&mut self, place: usize) -> Option<&mut [u8]> {
        let (address, bytes) = *self.1.get(place)?;
        output(self.0, address, bytes).ok()
    }
}
