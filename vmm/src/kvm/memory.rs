//! A VM's memory: private to it, populated on first touch, copy-on-write from its image.
//!
//! Guest memory and the supervisor slot behind it are one mapping, and one memory slot for KVM: the kernel's tables for a
//! second one take six pages.

use super::pagemap::Pagemap;
use crate::machine::{
    image::{Image, Part},
    layout::{Tables, physical},
};
use denali_abi::{
    memory::{CONTROL, PAGE_BYTES, REGISTERS},
    registers::{Control, VirtualRegisters},
};
use std::{io, ops::Range};
use vm_memory::{
    ByteValued, Bytes, VolatileMemory, VolatileSlice,
    mmap::{MmapRegion, MmapRegionBuilder},
    volatile_memory,
};

/// Guest memory, and the supervisor slot behind it.
#[derive(Debug)]
pub(crate) struct GuestMemory {
    pub(super) region: MmapRegion,
    ram_bytes: usize,
}

/// Private pages up to which a VM's memory is put back page by page, which keeps them mapped. Beyond, they are given back
/// to the host: copying would cost more than the next job's faults, and hold memory that it may not want.
const COPIED_PAGES: u64 = 512;

impl GuestMemory {
    /// Maps memory for one VM of `image`. Nothing is copied until it is written.
    pub(crate) fn new(image: &Image) -> io::Result<Self> {
        let region = map(physical(image.memory_bytes, Tables::of(image.memory_bytes).bytes()))?;
        for part in &image.ram {
            overlay(&region, part, 0..image.memory_bytes)?;
        }
        for part in &image.supervisor {
            overlay(&region, part, image.memory_bytes..region.size() as u64)?;
        }
        Ok(Self { region, ram_bytes: image.memory_bytes as usize })
    }

    /// All guest memory; an offset is a guest address.
    pub(crate) fn ram(&self) -> VolatileSlice<'_> {
        self.parts().0
    }

    /// The supervisor slot.
    pub(crate) fn supervisor(&self) -> VolatileSlice<'_> {
        self.parts().1
    }

    fn parts(&self) -> (VolatileSlice<'_>, VolatileSlice<'_>) {
        let whole = self.region.as_volatile_slice();
        whole.split_at(self.ram_bytes).unwrap_or_else(|_| unreachable!("the region is larger"))
    }

    /// Bytes of guest memory.
    pub(super) fn ram_bytes(&self) -> u64 {
        self.ram_bytes as u64
    }

    /// Writes the virtual registers as they stand at the start.
    pub(crate) fn write_registers(&self, registers: VirtualRegisters) -> Result<(), volatile_memory::Error> {
        self.ram().write_obj(RegisterPage(registers), REGISTERS as usize)
    }

    /// The virtual registers as they stand.
    pub(crate) fn registers(&self) -> Result<VirtualRegisters, volatile_memory::Error> {
        self.ram().read_obj::<RegisterPage>(REGISTERS as usize).map(|page| page.0)
    }

    /// The control page as it stands: hostile input.
    pub(crate) fn control(&self) -> Control {
        // A constant address inside of every guest's memory, here and below: the access can't fail.
        self.ram().read_obj::<ControlPage>(CONTROL as usize).map_or(Control::default(), |page| page.0)
    }

    /// Writes the control page of a guest that does not run meanwhile.
    pub(crate) fn set_control(&self, control: Control) {
        let _ = self.ram().write_obj(ControlPage(control), CONTROL as usize);
    }

    /// Writes 64-bit words into the supervisor slot.
    pub(crate) fn write_supervisor(&self, offset: u64, words: &[u64]) -> Result<(), volatile_memory::Error> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.supervisor().write_slice(&bytes, offset as usize)
    }

    /// Reads 64-bit words from the supervisor slot.
    pub(crate) fn read_supervisor<const N: usize>(&self, offset: u64) -> Result<[u64; N], volatile_memory::Error> {
        let mut words = [0; N];
        for (n, word) in words.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            self.supervisor().read_slice(&mut bytes, offset as usize + 8 * n)?;
            *word = u64::from_le_bytes(bytes);
        }
        Ok(words)
    }

    /// Runs of pages of guest memory that belong to this VM alone, in ascending order.
    pub(crate) fn private_ram(&self, pagemap: &Pagemap) -> io::Result<Vec<Range<u64>>> {
        runs(&self.ram(), pagemap)
    }

    /// The same of the supervisor slot.
    pub(crate) fn private_supervisor(&self, pagemap: &Pagemap) -> io::Result<Vec<Range<u64>>> {
        runs(&self.supervisor(), pagemap)
    }

    /// Makes `pages` of guest memory, all that belong to this VM alone, what they are in `master`, the memory of its
    /// image that no VM runs in.
    pub(crate) fn restore(&self, pages: &[Range<u64>], master: &Self) -> Result<(), volatile_memory::Error> {
        if pages.iter().map(|run| run.end - run.start).sum::<u64>() > COPIED_PAGES * PAGE_BYTES && self.forget().is_ok()
        {
            return Ok(());
        }
        pages.iter().try_for_each(|run| copy_run(&self.ram(), &master.ram(), run))
    }

    /// Gives all private pages of guest memory back to the host: it is the image again.
    fn forget(&self) -> io::Result<()> {
        // SAFETY: the range is the start of this region's mapping, private to this VM. Its pages become the file's, or zero,
        // which is a change of contents like any that the guest makes; no reference into guest memory is ever held.
        unsafe {
            rustix::mm::madvise(self.region.as_ptr().cast(), self.ram_bytes, rustix::mm::Advice::LinuxDontNeed)?;
        }
        Ok(())
    }
}

/// Copies a run of pages between two memories of the same layout.
pub(crate) fn copy_run(
    to: &VolatileSlice<'_>,
    from: &VolatileSlice<'_>,
    run: &Range<u64>,
) -> Result<(), volatile_memory::Error> {
    let (start, bytes) = (run.start as usize, (run.end - run.start) as usize);
    from.subslice(start, bytes)?.copy_to_volatile_slice(to.subslice(start, bytes)?);
    Ok(())
}

fn runs(memory: &VolatileSlice<'_>, pagemap: &Pagemap) -> io::Result<Vec<Range<u64>>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    pagemap.private(memory, |run| match found.last_mut() {
        Some(last) if last.end == run.start => last.end = run.end,
        _ => found.push(run),
    })?;
    Ok(found)
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct RegisterPage(VirtualRegisters);

// SAFETY: `VirtualRegisters` is `repr(C)`, made of integers and arrays of them, without padding (its fields' sizes add up
// to its size), so every byte pattern is a value and every value has all its bytes set.
unsafe impl ByteValued for RegisterPage {}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct ControlPage(Control);

// SAFETY: `Control` is `repr(C)` and made of 64-bit integers alone, also in its structures, so every byte pattern is a value
// and every value has all its bytes set.
unsafe impl ByteValued for ControlPage {}

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

/// Maps a part of an image over the region's bytes `of`, copy-on-write.
fn overlay(region: &MmapRegion, part: &Part, of: Range<u64>) -> io::Result<()> {
    let (start, end) = (of.start.saturating_add(part.pages.start), of.start.saturating_add(part.pages.end));
    if start > end || end > of.end || of.end > region.size() as u64 || !(start | end).is_multiple_of(PAGE_BYTES) {
        return Err(io::Error::other("the image does not fit the memory it was prepared for"));
    }
    // SAFETY: `start` lies inside of the region's mapping, as just checked, so the pointer stays within one allocation.
    let address = unsafe { region.as_ptr().add(start as usize) };
    // SAFETY: MAP_FIXED replaces exactly the part's bytes from `address`, which lie inside of the region just made for this
    // VM: no one else has a reference into it yet. The region unmaps its whole range when dropped, this part included. The
    // file is sealed, so it can't shrink below the mapping and raise SIGBUS.
    let mapped = unsafe {
        rustix::mm::mmap(
            address.cast(),
            (end - start) as usize,
            rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE,
            rustix::mm::MapFlags::PRIVATE | rustix::mm::MapFlags::FIXED | rustix::mm::MapFlags::NORESERVE,
            &part.file,
            part.offset,
        )
    };
    mapped.map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests;
