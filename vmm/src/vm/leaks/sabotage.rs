//! What is left of an earlier job where a test leaves out a part of starting over.

use crate::{
    kvm::{CpuState, VirtualMachine},
    machine::{
        image::Image,
        layout::{PML4, Tables},
    },
    sabotage::{Item, is_left_out, left_out},
};
use denali_abi::{
    memory::{CONTROL, PAGE_BYTES},
    registers::VirtualRegisters,
};
use std::{
    cell::{Cell, RefCell},
    ops::Range,
};

thread_local! {
    /// The virtual CPU that the last job on this thread left.
    static OLD_CPU: RefCell<Option<CpuState>> = const { RefCell::new(None) };
    /// The virtual registers that it left.
    static OLD: Cell<Option<VirtualRegisters>> = const { Cell::new(None) };
}

/// This hardware is about to be put back.
pub(in crate::vm) fn remember(machine: &VirtualMachine) {
    OLD_CPU.set(machine.state().ok());
    OLD.set(machine.memory().registers().ok());
}

/// The state to give the virtual CPU.
pub(in crate::vm) fn cpu_with_left_out(new: &CpuState) -> CpuState {
    OLD_CPU.with_borrow(|old| old.as_ref().map_or_else(|| new.clone(), |old| new.sabotaged(old)))
}

/// The pages to put back.
pub(in crate::vm) fn pages_without_left_out(pages: Vec<Range<u64>>, image: &Image) -> Vec<Range<u64>> {
    let item = |page: u64| match page {
        CONTROL => Item::ControlPage,
        page if image.ram.iter().any(|part| part.pages.contains(&page)) => Item::ImagePages,
        _ => Item::ZeroPages,
    };
    if left_out!(Memory) {
        // Positions left on the control page would end the next VM before it can look.
        return std::iter::once(CONTROL..CONTROL + PAGE_BYTES).collect();
    }
    if ![Item::ControlPage, Item::ImagePages, Item::ZeroPages].into_iter().any(is_left_out) {
        return pages;
    }
    let pages = pages.into_iter().flat_map(|run| run.step_by(PAGE_BYTES as usize));
    pages.filter(|page| !is_left_out(item(*page))).map(|page| page..page + PAGE_BYTES).collect()
}

/// The page tables to put back.
pub(in crate::vm) fn tables_without_left_out(
    tables: impl Iterator<Item = u64>,
    image: &Image,
) -> impl Iterator<Item = u64> {
    let windows = Tables::of(image.memory_bytes).filled_bytes();
    tables.filter(move |table| !left_out!(Window) || *table != PML4 && *table < windows)
}

/// The virtual registers to start with.
pub(in crate::vm) fn registers_with_left_out(mut new: VirtualRegisters) -> VirtualRegisters {
    let Some(old) = OLD.get() else { return new };
    if left_out!(VirtualRegisters) {
        return old;
    }
    if left_out!(RingPositions) {
        (new.transmit_tail, new.receive_head) = (old.transmit_tail, old.receive_head);
    }
    if left_out!(RandomSeed) {
        new.random_seed = old.random_seed;
    }
    if left_out!(Generation) {
        new.generation = old.generation;
    }
    new
}
