//! A VM's memory: private to it, populated on first touch, copy-on-write from its image.

use crate::machine::{image::Image, layout::Tables};
use denali_abi::{
    memory::{IMAGE_BASE, PAGE_BYTES, REGISTERS},
    registers::VirtualRegisters,
};
use std::{fs::File, io, os::unix::fs::FileExt};
use vm_memory::{
    ByteValued, Bytes, VolatileMemory, VolatileSlice,
    mmap::{MmapRegion, MmapRegionBuilder},
    volatile_memory,
};

/// Guest memory, and the supervisor slot beside it.
#[derive(Debug)]
pub(crate) struct GuestMemory {
    pub(super) ram: MmapRegion,
    pub(super) supervisor: MmapRegion,
}

impl GuestMemory {
    /// Maps memory for one VM of `image`. Nothing is copied until it is written.
    pub(crate) fn new(image: &Image) -> io::Result<Self> {
        let ram = map(image.memory_bytes)?;
        for range in &image.filled {
            overlay(&ram, range.start, range.end - range.start, &image.file, range.start - IMAGE_BASE)?;
        }
        let tables = Tables::of(image.memory_bytes);
        let supervisor = map(tables.bytes())?;
        overlay(&supervisor, 0, tables.bytes(), &image.file, image.supervisor_offset())?;
        Ok(Self { ram, supervisor })
    }

    /// All guest memory; an offset is a guest address.
    pub(crate) fn ram(&self) -> VolatileSlice<'_> {
        self.ram.as_volatile_slice()
    }

    /// Writes the virtual registers as they stand at the start.
    pub(crate) fn write_registers(&self, registers: VirtualRegisters) -> Result<(), volatile_memory::Error> {
        self.ram().write_obj(RegisterPage(registers), REGISTERS as usize)
    }

    /// Writes 64-bit words into the supervisor slot.
    pub(crate) fn write_supervisor(&self, offset: u64, words: &[u64]) -> Result<(), volatile_memory::Error> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.supervisor.as_volatile_slice().write_slice(&bytes, offset as usize)
    }

    /// Reads 64-bit words from the supervisor slot.
    pub(crate) fn read_supervisor<const N: usize>(&self, offset: u64) -> Result<[u64; N], volatile_memory::Error> {
        let mut words = [0; N];
        for (n, word) in words.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            self.supervisor.as_volatile_slice().read_slice(&mut bytes, offset as usize + 8 * n)?;
            *word = u64::from_le_bytes(bytes);
        }
        Ok(words)
    }

    /// KiB of pages that belong to this VM alone: touched by it, or copied from the image. Memory is only ever added
    /// while a VM runs, so at its end this is the peak. `pagemap` is this process's.
    pub(crate) fn resident_kib(&self, pagemap: &File) -> io::Result<u64> {
        let pages = private_pages(pagemap, &self.ram)? + private_pages(pagemap, &self.supervisor)?;
        Ok(pages * PAGE_BYTES / 1024)
    }
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct RegisterPage(VirtualRegisters);

// SAFETY: `VirtualRegisters` is `repr(C)`, made of integers and arrays of them, without padding (its fields' sizes add up
// to its size), so every byte pattern is a value and every value has all its bytes set.
unsafe impl ByteValued for RegisterPage {}

/// Counts pages that are in memory or swapped out, and not of a file (Linux `Documentation/admin-guide/mm/pagemap.rst`).
fn private_pages(pagemap: &File, region: &MmapRegion) -> io::Result<u64> {
    const PRESENT: u64 = 1 << 63;
    const SWAPPED: u64 = 1 << 62;
    const FILE_OR_SHARED: u64 = 1 << 61;
    let first = region.as_ptr() as u64 / PAGE_BYTES;
    let count = region.size() as u64 / PAGE_BYTES;
    let mut pages = 0;
    let mut buffer = vec![0; 64 * 1024];
    let mut done = 0;
    while done < count {
        let chunk = ((count - done) as usize * 8).min(buffer.len());
        let read = pagemap.read_at(&mut buffer[..chunk], (first + done) * 8)?;
        if read < 8 {
            break;
        }
        pages += buffer[..read / 8 * 8]
            .as_chunks::<8>()
            .0
            .iter()
            .map(|entry| u64::from_le_bytes(*entry))
            .filter(|entry| entry & (PRESENT | SWAPPED) != 0 && entry & FILE_OR_SHARED == 0)
            .count() as u64;
        done += read as u64 / 8;
    }
    Ok(pages)
}

fn map(bytes: u64) -> io::Result<MmapRegion> {
    MmapRegionBuilder::new(bytes as usize)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE)
        .build()
        .map_err(|error| match error {
            vm_memory::mmap::MmapRegionError::Mmap(error) => error,
            other => io::Error::other(other.to_string()),
        })
}

/// Maps `bytes` of `file` over the region from `at` on, copy-on-write.
fn overlay(region: &MmapRegion, at: u64, bytes: u64, file: &File, offset: u64) -> io::Result<()> {
    let inside = at.checked_add(bytes).is_some_and(|end| end <= region.size() as u64);
    if !inside || !bytes.is_multiple_of(PAGE_BYTES) {
        return Err(io::Error::other("the image does not fit the memory it was prepared for"));
    }
    // SAFETY: `at` lies inside of the region's mapping, as just checked, so the pointer stays within one allocation.
    let address = unsafe { region.as_ptr().add(at as usize) };
    // SAFETY: MAP_FIXED replaces exactly `bytes` from `address`, which lie inside of the region just made for this VM:
    // no one else has a reference into it yet. The region unmaps its whole range when dropped, this part included. The
    // file is sealed, so it can't shrink below the mapping and raise SIGBUS.
    let mapped = unsafe {
        rustix::mm::mmap(
            address.cast(),
            bytes as usize,
            rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
            rustix::mm::MapFlags::PRIVATE | rustix::mm::MapFlags::FIXED | rustix::mm::MapFlags::NORESERVE,
            file,
            offset,
        )
    };
    mapped.map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests;
