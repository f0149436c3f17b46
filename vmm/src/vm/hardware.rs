//! The virtual hardware of one VM: made from a template, and put back to it for the next job of the same bundle.

use super::{
    protect::{self, ProtectError},
    template::Template,
};
use crate::{
    kvm::{GuestMemory, Host, HostError, MachineError, Pagemap, VirtualMachine, copy_run},
    machine::layout::PML4,
    sabotage::left_out,
};
use denali_abi::memory::PAGE_BYTES;
use std::{io, ops::Range, sync::Arc};
use vm_memory::{Bytes, VolatileMemoryError};

/// Virtual hardware in which a guest can run.
#[derive(Debug)]
pub(crate) struct Hardware {
    pub(super) machine: VirtualMachine,
    pub(super) template: Arc<Template>,
    /// Whether anything in the supervisor slot may have changed: page rights, or the frame of an exception.
    pub(super) supervisor_changed: bool,
    /// The private pages of guest memory, where nothing ran since they were looked for.
    private: Option<Vec<Range<u64>>>,
}

/// The host could not make virtual hardware, or put it back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HardwareError {
    /// The host can't be what the bundle asks for.
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error("the host could not map memory for a VM: {0}")]
    Memory(#[from] io::Error),
    #[error("the host could not write a VM's memory: {0}")]
    Write(#[from] VolatileMemoryError),
    #[error("a VM's page tables could not be put back: {0}")]
    Tables(#[from] ProtectError),
    #[error("the host has no random numbers")]
    Random,
    #[error("a VM was left in the middle of an exception")]
    Unquiet,
}

impl Hardware {
    /// Makes hardware that no job has used.
    pub(crate) fn new(host: &Host, template: &Arc<Template>) -> Result<Self, HardwareError> {
        Host::offers(template.image.cpu)?;
        let memory = GuestMemory::new(&template.image)?;
        let machine = VirtualMachine::new(host, memory, template.image.cpu)?;
        let mut hardware = Self { machine, template: Arc::clone(template), supervisor_changed: false, private: None };
        hardware.reset_cpu()?;
        Ok(hardware)
    }

    /// KiB of memory that belong to this hardware alone.
    pub(super) fn private_kib(&mut self, pagemap: &Pagemap) -> io::Result<u64> {
        // What an earlier call found may not be all any more, should this one fail.
        self.private = None;
        let memory = self.machine.memory();
        let pages = memory.private_ram(pagemap)?;
        let supervisor = if self.supervisor_changed { memory.private_supervisor(pagemap)? } else { Vec::new() };
        let bytes: u64 = pages.iter().chain(&supervisor).map(|run| run.end - run.start).sum();
        self.private = Some(pages);
        Ok(bytes / 1024)
    }

    /// A guest is about to run.
    pub(super) fn forget_private(&mut self) {
        self.private = None;
    }

    /// What it is made from.
    pub(crate) fn template(&self) -> &Arc<Template> {
        &self.template
    }

    /// Puts back everything that a guest can change, whatever that guest did: each of its private pages, its page rights,
    /// and the state of the virtual CPU. After an error it must not be used again.
    pub(crate) fn reset(&mut self, pagemap: &Pagemap) -> Result<(), HardwareError> {
        if !self.machine.is_quiet() {
            return Err(HardwareError::Unquiet);
        }
        #[cfg(test)]
        super::leaks::remember(&self.machine);
        let pages = match self.private.take() {
            Some(pages) => pages,
            None => self.machine.memory().private_ram(pagemap)?,
        };
        #[cfg(test)]
        let pages = super::leaks::pages_without_left_out(pages, &self.template.image);
        self.machine.memory().restore(&pages, &self.template.master)?;
        if self.supervisor_changed && !left_out!(PageRights) {
            self.reset_supervisor(pagemap)?;
        }
        self.reset_cpu()
    }

    fn reset_cpu(&mut self) -> Result<(), HardwareError> {
        let at_entry;
        let state = match &self.template.checkpoint {
            Some(state) => state,
            None => {
                at_entry = self.machine.state_at_entry(self.template.image.entry);
                &at_entry
            }
        };
        #[cfg(test)]
        let state = &super::leaks::cpu_with_left_out(state);
        Ok(self.machine.set_state(state)?)
    }

    /// Page tables are put back by the stub: software KVM does not see what is written to them from outside. The stub
    /// leaves entries on the staging page, so the other pages come after them.
    fn reset_supervisor(&mut self, pagemap: &Pagemap) -> Result<(), HardwareError> {
        let runs = self.machine.memory().private_supervisor(pagemap)?;
        let tables = runs.iter().flat_map(|run| (run.start.max(PML4)..run.end).step_by(PAGE_BYTES as usize));
        for table in tables {
            for entries in differing(self.machine.memory(), &self.template.master, table)? {
                protect::write_tables(
                    &mut self.machine,
                    table + 8 * entries.start as u64,
                    &entries_of(&self.template.master, table, entries)?,
                )?;
            }
        }
        for run in &runs {
            let plain = run.start..run.end.min(PML4);
            if !plain.is_empty() {
                copy_run(&self.machine.memory().supervisor(), &self.template.master.supervisor(), &plain)?;
            }
        }
        self.supervisor_changed = false;
        Ok(())
    }
}

const ENTRIES: usize = PAGE_BYTES as usize / 8;

fn words(memory: &GuestMemory, table: u64) -> Result<[u64; ENTRIES], VolatileMemoryError> {
    let mut bytes = [0; PAGE_BYTES as usize];
    memory.supervisor().read_slice(&mut bytes, table as usize)?;
    let mut words = [0; ENTRIES];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    Ok(words)
}

fn entries_of(memory: &GuestMemory, table: u64, entries: Range<usize>) -> Result<Vec<u64>, VolatileMemoryError> {
    Ok(words(memory, table)?[entries].to_vec())
}

/// Where two page tables differ, from the first to the last entry of each stretch.
fn differing(a: &GuestMemory, b: &GuestMemory, table: u64) -> Result<Vec<Range<usize>>, VolatileMemoryError> {
    let (a, b) = (words(a, table)?, words(b, table)?);
    let mut found: Vec<Range<usize>> = Vec::new();
    for n in (0..ENTRIES).filter(|n| a[*n] != b[*n]) {
        match found.last_mut() {
            // A stub run costs as much as copying a dozen entries.
            Some(last) if n - last.end < 12 => last.end = n + 1,
            _ => found.push(n..n + 1),
        }
    }
    Ok(found)
}
