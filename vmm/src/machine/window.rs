//! The window: addresses above all memory to which PROTECT moves pages of a guest's memory. Plans what changes in the page tables;
//! who holds the VM writes it (`vm::change`).
//!
//! Kept true: a page of memory is at one address, its own or one of the window, so no page is writable at one and executable at
//! another. A table of the window is in use if and only if it has an entry that is not zero. There are no books beside the
//! tables: what copies or puts back the VMM's pages of a VM has copied or put back all of this.

use super::{
    layout::{PML4, PT_SPAN, Tables, physical},
    paging::{AWAY, Rights, table_entry, table_of, window_entry, window_page},
};
use denali_abi::memory::{PAGE_BYTES, WINDOW_START};
use vm_memory::{Bytes, VolatileSlice};

/// Entries of a table.
const ENTRIES: u64 = PAGE_BYTES / 8;

/// Most pages that one plan moves.
const MOVED_PAGES: u64 = 256;

/// Most stretches of pages that one plan moves back: each is a write of its own.
const STRETCHES: usize = 16;

/// Entries to be written, one after the other, from an offset of the supervisor slot on; no more than a page of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) offset: u64,
    pub(crate) entries: Vec<u64>,
}

/// A part of what a guest asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) writes: Vec<Write>,
    /// Pages that it is about, from the first on; at least one.
    pub(crate) pages: u64,
}

/// The guest asks for what can't be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum WindowError {
    #[error("the page {page:#x} was moved to the window")]
    Away { page: u64 },
    #[error("a page was moved to {address:#x} already")]
    Taken { address: u64 },
    #[error("no page was moved to {address:#x}")]
    Empty { address: u64 },
}

/// The page tables of a VM that does not run meanwhile.
pub(crate) struct PageTables<'a> {
    slot: VolatileSlice<'a>,
    memory_bytes: u64,
    tables: Tables,
}

impl<'a> PageTables<'a> {
    /// Those in `slot`, the supervisor slot of a VM with `memory_bytes`.
    pub(crate) fn new(slot: VolatileSlice<'a>, memory_bytes: u64) -> Self {
        Self { slot, memory_bytes, tables: Tables::of(memory_bytes) }
    }

    /// Moves up to `pages` pages from `page` on to `address` in the window. `None` if there are no tables left for it.
    pub(crate) fn show(
        &self,
        address: u64,
        page: u64,
        pages: u64,
        rights: Rights,
    ) -> Result<Option<Plan>, WindowError> {
        let pages = pages.min(MOVED_PAGES).min(left_in_table(address));
        let own = self.tables.guest_pte(page);
        if let Some(n) = position(&self.words(own, pages), |entry| entry == AWAY) {
            return Err(WindowError::Away { page: page + n * PAGE_BYTES });
        }
        let mut path = self.path(address);
        if path.len() == LEVELS
            && let Some(n) = position(&self.words(path[LEVELS - 1], pages), |entry| entry != 0)
        {
            return Err(WindowError::Taken { address: address + n * PAGE_BYTES });
        }
        let mut writes = vec![Write { offset: own, entries: vec![AWAY; pages as usize] }];
        let mut free = self.free_tables();
        while let (Some(parent), true) = (path.last(), path.len() < LEVELS) {
            let Some(table) = free.next() else { return Ok(None) };
            let link = table_entry(physical(self.memory_bytes, table));
            writes.push(Write { offset: *parent, entries: vec![link] });
            path.push(entry_of(table, address, path.len()));
        }
        let entries = (0..pages).map(|n| window_entry(rights, page + n * PAGE_BYTES)).collect();
        writes.push(Write { offset: path[LEVELS - 1], entries });
        Ok(Some(Plan { writes, pages }))
    }

    /// Moves up to `pages` pages from `address` of the window on back to where they were.
    pub(crate) fn hide(&self, address: u64, pages: u64) -> Result<Plan, WindowError> {
        let (path, shown) = self.shown(address, pages.min(MOVED_PAGES))?;
        let mut writes: Vec<Write> = Vec::new();
        let mut pages = 0;
        for page in shown {
            let offset = self.tables.guest_pte(page);
            let entry = Rights::Write.entry(page);
            let room = writes.len() < STRETCHES;
            match writes.last_mut().filter(|last| last.offset + 8 * last.entries.len() as u64 == offset) {
                Some(last) => last.entries.push(entry),
                None if room => writes.push(Write { offset, entries: vec![entry] }),
                None => break,
            }
            pages += 1;
        }
        let mut emptied = Write { offset: path[LEVELS - 1], entries: vec![0; pages as usize] };
        for parent in path.iter().rev().skip(1) {
            let empty = self.has_no_others(&emptied);
            writes.push(std::mem::replace(&mut emptied, Write { offset: *parent, entries: vec![0] }));
            if !empty {
                return Ok(Plan { writes, pages });
            }
        }
        // Only the root is left, which has entries of other tables too.
        writes.push(emptied);
        Ok(Plan { writes, pages })
    }

    /// Gives up to `pages` pages from `address` on, in memory or in the window, other rights.
    pub(crate) fn protect(&self, address: u64, pages: u64, rights: Rights) -> Result<Plan, WindowError> {
        let pages = pages.min(ENTRIES);
        if address >= WINDOW_START {
            let (path, shown) = self.shown(address, pages)?;
            let pages = shown.len() as u64;
            let entries = shown.into_iter().map(|page| window_entry(rights, page)).collect();
            return Ok(Plan { writes: vec![Write { offset: path[LEVELS - 1], entries }], pages });
        }
        let offset = self.tables.guest_pte(address);
        if let Some(n) = position(&self.words(offset, pages), |entry| entry == AWAY) {
            return Err(WindowError::Away { page: address + n * PAGE_BYTES });
        }
        let entries = (0..pages).map(|n| rights.entry(address + n * PAGE_BYTES)).collect();
        Ok(Plan { writes: vec![Write { offset, entries }], pages })
    }

    /// The path to `address`, and which pages are there and behind it, up to `pages` and to the end of the table.
    fn shown(&self, address: u64, pages: u64) -> Result<(Vec<u64>, Vec<u64>), WindowError> {
        let path = self.path(address);
        let Some(leaf) = path.get(LEVELS - 1) else { return Err(WindowError::Empty { address }) };
        let entries = self.words(*leaf, pages.min(left_in_table(address)));
        let shown: Vec<u64> = entries.iter().copied().map_while(window_page).collect();
        if shown.len() < entries.len() {
            return Err(WindowError::Empty { address: address + shown.len() as u64 * PAGE_BYTES });
        }
        Ok((path, shown))
    }

    /// The places of the entries that lead to `address`, from the root's on, as far as there are tables.
    fn path(&self, address: u64) -> Vec<u64> {
        let mut path = vec![entry_of(PML4, address, 0)];
        while path.len() < LEVELS {
            let Some(table) = path.last().and_then(|entry| table_of(self.words(*entry, 1)[0])) else { break };
            path.push(entry_of(table - physical(self.memory_bytes, 0), address, path.len()));
        }
        path
    }

    /// The tables of the window that are not in use.
    fn free_tables(&self) -> impl Iterator<Item = u64> {
        let tables = (0..self.tables.window_tables).map(|n| self.tables.window_table(n));
        // Most that are in use show it by their first entry.
        let is_free =
            |table: &u64| self.words(*table, 1)[0] == 0 && self.words(*table, ENTRIES).iter().all(|entry| *entry == 0);
        tables.filter(is_free)
    }

    /// Whether the table in which these entries lie has no others that are not zero.
    fn has_no_others(&self, write: &Write) -> bool {
        let table = write.offset / PAGE_BYTES * PAGE_BYTES;
        let first = ((write.offset - table) / 8) as usize;
        let own = first..first + write.entries.len();
        self.words(table, ENTRIES).iter().enumerate().all(|(n, entry)| *entry == 0 || own.contains(&n))
    }

    fn words(&self, offset: u64, count: u64) -> Vec<u64> {
        let mut bytes = vec![0; 8 * count as usize];
        // Offsets come from the slot's own tables, so this can't fail.
        let _ = self.slot.read_slice(&mut bytes, offset as usize);
        bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
    }
}

/// Levels of tables.
const LEVELS: usize = 4;

/// The place of the entry for `address` in a table that is so many levels below the root.
fn entry_of(table: u64, address: u64, depth: usize) -> u64 {
    table + (address >> (12 + 9 * (LEVELS - 1 - depth)) & (ENTRIES - 1)) * 8
}

/// Pages from `address` to the end of what its table maps.
fn left_in_table(address: u64) -> u64 {
    (PT_SPAN - address % PT_SPAN) / PAGE_BYTES
}

fn position(entries: &[u64], is: impl Fn(u64) -> bool) -> Option<u64> {
    entries.iter().position(|entry| is(*entry)).map(|n| n as u64)
}

#[cfg(test)]
mod tests;
