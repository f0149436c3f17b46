//! What every VM of a bundle starts from: its image, or a copy taken at a CHECKPOINT.

use super::hardware::Hardware;
use crate::{
    kvm::{CpuState, GuestMemory, Host},
    machine::image::{Image, Part, memory_file, seal},
};
use denali_abi::memory::{PAGE_BYTES, REGISTERS};
use std::{
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use vm_memory::{Bytes, VolatileSlice};

/// What every VM of a bundle starts from.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) image: Image,
    /// The image in memory, with no VM in it: re-imaging copies from here.
    pub(super) master: GuestMemory,
    /// The virtual CPU at a CHECKPOINT; absent where VMs start at the image's entry point.
    pub(super) checkpoint: Option<Box<CpuState>>,
    /// What the VM's clock shows there: that of a copy goes on from it.
    pub(super) clock: Duration,
}

/// The generation of the next VM of this process. Not one count for each template: a copy would start over with numbers
/// that the guest in it has seen.
static NEXT_GENERATION: AtomicU64 = AtomicU64::new(1);

/// Pages of the image that are copied along where private pages lie so close together, rather than mapped apart: a process
/// has 65,530 mappings for all its VMs.
const GAP: u64 = 16 * PAGE_BYTES;

/// Most parts of a copy, of each of the two memories.
const PARTS: usize = 32;

impl Template {
    /// VMs start at the image's entry point.
    pub(crate) fn cold(image: Image) -> io::Result<Self> {
        Ok(Self { master: GuestMemory::new(&image)?, image, checkpoint: None, clock: Duration::ZERO })
    }

    /// VMs continue where this one is, at a CHECKPOINT, where its clock shows `clock`. Nothing of a job may be in it.
    pub(super) fn warm(host: &Host, hardware: &Hardware, checkpoint: CpuState, clock: Duration) -> io::Result<Self> {
        let memory = hardware.machine.memory();
        let mut image = hardware.template.image.clone();
        let (mut ram, supervisor) = (memory.private_ram(&host.pagemap)?, memory.private_supervisor(&host.pagemap)?);
        // The virtual registers are written anew at each start.
        ram.retain(|run| *run != (REGISTERS..REGISTERS + PAGE_BYTES));
        image.ram.extend(copy(&memory.ram(), ram)?);
        image.supervisor.extend(copy(&memory.supervisor(), supervisor)?);
        Ok(Self { checkpoint: Some(Box::new(checkpoint)), clock, ..Self::cold(image)? })
    }

    /// The image in memory, in which no VM runs.
    pub(crate) fn master(&self) -> &GuestMemory {
        &self.master
    }

    /// Whether VMs continue from a CHECKPOINT.
    pub(crate) fn is_warm(&self) -> bool {
        self.checkpoint.is_some()
    }
}

/// A number that no other VM of this process has.
pub(super) fn next_generation() -> u64 {
    NEXT_GENERATION.fetch_add(1, Ordering::Relaxed)
}

/// Copies runs of pages into a sealed file.
fn copy(memory: &VolatileSlice<'_>, runs: Vec<Range<u64>>) -> io::Result<Vec<Part>> {
    let runs = merged(runs);
    let file = memory_file()?;
    let mut places = Vec::with_capacity(runs.len());
    let mut end = 0;
    let mut page = vec![0; PAGE_BYTES as usize];
    for run in runs {
        places.push((run.clone(), end));
        for at in run.step_by(PAGE_BYTES as usize) {
            memory.read_slice(&mut page, at as usize).map_err(io::Error::other)?;
            file.write_all_at(&page, end)?;
            end += PAGE_BYTES;
        }
    }
    let file = seal(file)?;
    Ok(places.into_iter().map(|(pages, offset)| Part { pages, file: Arc::clone(&file), offset }).collect())
}

/// Joins runs that are close together, ascending.
fn merged(mut runs: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut gap = GAP;
    loop {
        runs.dedup_by(|next, last| {
            let close = next.start - last.end <= gap;
            if close {
                last.end = next.end;
            }
            close
        });
        if runs.len() <= PARTS {
            return runs;
        }
        gap *= 2;
    }
}

#[cfg(test)]
mod tests;
