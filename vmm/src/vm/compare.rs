//! Whether hardware is as its template, as the VMM sees it: every byte is looked at, so this is for attacks and tests.

use super::Hardware;
use denali_abi::memory::PAGE_BYTES;
use vm_memory::{Bytes, VolatileSlice};

/// The pages in which hardware differs from its template: of guest memory, and of the VMM's own.
pub(crate) fn differing_pages(hardware: &Hardware) -> (Vec<u64>, Vec<u64>) {
    let (memory, master) = (hardware.machine.memory(), &hardware.template.master);
    (differing(&memory.ram(), &master.ram()), differing(&memory.supervisor(), &master.supervisor()))
}

fn differing(a: &VolatileSlice<'_>, b: &VolatileSlice<'_>) -> Vec<u64> {
    let page = |memory: &VolatileSlice<'_>, at: usize| {
        let mut page = [0; PAGE_BYTES as usize];
        // Both are whole pages long: a page of neither can't be out of range.
        let _ = memory.read_slice(&mut page, at);
        page
    };
    let pages = (0..a.len().max(b.len())).step_by(PAGE_BYTES as usize);
    pages.filter(|at| page(a, *at) != page(b, *at)).map(|at| at as u64).collect()
}
