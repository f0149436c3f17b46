//! The virtual hardware of one VM: made from a template, and put back to it for the next job of the same bundle.

use super::{
    change::{self, ChangeError},
    template::Template,
};
use crate::{
    kvm::{Exit, GuestMemory, Host, HostError, MachineError, Pagemap, Registers, VirtualMachine, copy_run},
    machine::{
        layout::{PML4, Tables, at},
        paging::{self, Rights},
        stubs::{TOUCH_STUB, TOUCHED},
    },
    sabotage::left_out,
};
use denali_abi::{
    memory::{PAGE_BYTES, REGISTERS},
    registers::VirtualRegisters,
};
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
    Tables(#[from] ChangeError),
    #[error("so much of a VM's memory changed that a new VM costs less")]
    Large,
    #[error("touching a VM's pages before its start ended with {0:?}")]
    Touch(Exit),
    #[error("a VM was left in the middle of an exception")]
    Unquiet,
}

/// Private memory up to which hardware is put back. Beyond, whoever did it would hold up others.
const RESET_BYTES: u64 = 64 << 20;

/// The same of page tables and what else the supervisor slot has.
const RESET_SUPERVISOR_BYTES: u64 = 32 * PAGE_BYTES;

/// Page table entries that changed up to which they are put back: 3 ms, where a new VM takes one.
const RESET_ENTRIES: usize = 2048;

/// Where the list of pages to touch lies for the moment: behind the virtual registers.
const TOUCH_LIST: u64 = REGISTERS + PAGE_BYTES / 2;

/// Pages that are touched before a start: as many as the list has room for.
const TOUCHED_MOST: usize = (PAGE_BYTES / 2 / 8) as usize;

const _: () = assert!(size_of::<VirtualRegisters>() as u64 <= PAGE_BYTES / 2);

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

    /// The machine itself, for attacks.
    pub(crate) fn machine(&mut self) -> &mut VirtualMachine {
        &mut self.machine
    }

    /// What it is made from.
    pub(crate) fn template(&self) -> &Arc<Template> {
        &self.template
    }

    /// Maps `pages` before a guest needs them, as far as it may touch them: its first touch of each would cost it some
    /// microseconds. Their contents stay; those that it may write become its own.
    pub(crate) fn touch(&mut self, pages: &[u64]) -> Result<(), HardwareError> {
        let tables = Tables::of(self.template.image.memory_bytes);
        let mut list = Vec::with_capacity(TOUCHED_MOST);
        for page in pages.iter().take(TOUCHED_MOST) {
            let [entry] = self.template.master.read_supervisor(tables.guest_pte(*page))?;
            match paging::rights(entry) {
                Rights::None => {}
                Rights::Write => list.push(page | 1),
                Rights::Read | Rights::Execute => list.push(*page),
            }
        }
        if list.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = list.iter().flat_map(|page| page.to_le_bytes()).collect();
        self.machine.memory().ram().write_slice(&bytes, TOUCH_LIST as usize)?;
        let registers = self.machine.registers();
        let rcx = list.len() as u64;
        self.machine.set_registers(Registers { rip: at(TOUCH_STUB), rsi: TOUCH_LIST, rcx, ..registers });
        match self.machine.run_stub() {
            Exit::Out { .. } if self.machine.registers().rip == at(TOUCHED) => Ok(()),
            // Hardware KVM completes an `out` at the next entry.
            Exit::Out { .. } if self.machine.registers().rip == at(TOUCHED) - 2 => Ok(()),
            exit => Err(HardwareError::Touch(exit)),
        }
    }

    /// The pages that belong to this hardware alone, as far as [`Hardware::touch`] takes them.
    pub(crate) fn own_pages(&mut self, pagemap: &Pagemap) -> io::Result<Vec<u64>> {
        let runs = match &self.private {
            Some(runs) => runs.clone(),
            None => self.machine.memory().private_ram(pagemap)?,
        };
        Ok(runs.into_iter().flat_map(|run| run.step_by(PAGE_BYTES as usize)).take(TOUCHED_MOST).collect())
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
        if pages.iter().map(|run| run.end - run.start).sum::<u64>() > RESET_BYTES {
            return Err(HardwareError::Large);
        }
        self.machine.memory().restore(&pages, &self.template.master)?;
        if self.supervisor_changed && !left_out!(PageRights) {
            self.reset_supervisor(pagemap)?;
        }
        self.reset_cpu()
    }

    /// Writes a page of the supervisor slot that a guest's doings had changed.
    pub(super) fn write_supervisor(
        &mut self,
        offset: u64,
        page: &[u8; PAGE_BYTES as usize],
    ) -> Result<(), HardwareError> {
        self.supervisor_changed = true;
        if offset < PML4 {
            return Ok(self.machine.memory().supervisor().write_slice(page, offset as usize)?);
        }
        let is = words(self.machine.memory(), offset)?;
        let shall = words_of(page);
        Ok(write_differing(&mut self.machine, offset, &is, &shall)?)
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
        if runs.iter().map(|run| run.end - run.start).sum::<u64>() > RESET_SUPERVISOR_BYTES {
            return Err(HardwareError::Large);
        }
        let tables = runs.iter().flat_map(|run| (run.start.max(PML4)..run.end).step_by(PAGE_BYTES as usize));
        #[cfg(test)]
        let tables = super::leaks::tables_without_left_out(tables, &self.template.image);
        let pairs = |table| Ok((table, words(self.machine.memory(), table)?, words(&self.template.master, table)?));
        let tables: Vec<(u64, Words, Words)> = tables.map(pairs).collect::<Result<_, VolatileMemoryError>>()?;
        let differ =
            |(_, is, shall): &(u64, Words, Words)| is.iter().zip(shall).filter(|(is, shall)| is != shall).count();
        if tables.iter().map(differ).sum::<usize>() > RESET_ENTRIES {
            return Err(HardwareError::Large);
        }
        for (table, is, shall) in tables {
            write_differing(&mut self.machine, table, &is, &shall)?;
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

type Words = [u64; ENTRIES];

fn words(memory: &GuestMemory, table: u64) -> Result<Words, VolatileMemoryError> {
    let mut bytes = [0; PAGE_BYTES as usize];
    memory.supervisor().read_slice(&mut bytes, table as usize)?;
    Ok(words_of(&bytes))
}

fn words_of(bytes: &[u8; PAGE_BYTES as usize]) -> Words {
    let mut words = [0; ENTRIES];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// Makes a page table what it shall be, by runs of the stub over stretches of entries that differ.
fn write_differing(machine: &mut VirtualMachine, table: u64, is: &Words, shall: &Words) -> Result<(), ChangeError> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for n in (0..ENTRIES).filter(|n| is[*n] != shall[*n]) {
        match found.last_mut() {
            // A run of the stub costs as much as copying a dozen entries.
            Some(last) if n - last.end < 12 => last.end = n + 1,
            _ => found.push(n..n + 1),
        }
    }
    found.into_iter().try_for_each(|run| change::write_tables(machine, table + 8 * run.start as u64, &shall[run]))
}
