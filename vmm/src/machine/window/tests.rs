use super::{PageTables, Plan, WindowError};
use crate::machine::{
    layout::{PML4, Tables, at, physical},
    paging::{self, Rights},
};
use denali_abi::memory::{IMAGE_BASE, PAGE_BYTES as PAGE, WINDOW_END, WINDOW_START};
use proptest::prelude::*;
use std::collections::BTreeMap;
use vm_memory::VolatileSlice;

const MEMORY_BYTES: u64 = 4 << 20;
const HEAP: u64 = IMAGE_BASE + 16 * PAGE;
const HEAP_PAGES: u64 = 160;

/// The page tables of a VM, and what they should be.
struct Machine {
    slot: Vec<u8>,
    at_start: Vec<u8>,
    /// Address to page and rights, of guest memory that can be accessed.
    model: BTreeMap<u64, (u64, Rights)>,
    /// The same of all that is in the window.
    window: BTreeMap<u64, (u64, Rights)>,
}

impl Machine {
    fn new() -> Self {
        let tables = Tables::of(MEMORY_BYTES);
        let mut slot = vec![0; tables.bytes() as usize];
        let filled = tables.filled_bytes() as usize;
        paging::write(&mut slot[..filled], MEMORY_BYTES, &[(HEAP, HEAP + HEAP_PAGES * PAGE, Rights::Write)]);
        let model = (0..HEAP_PAGES).map(|n| (HEAP + n * PAGE, (HEAP + n * PAGE, Rights::Write))).collect();
        Self { at_start: slot.clone(), slot, model, window: BTreeMap::new() }
    }

    fn tables(&mut self) -> PageTables<'_> {
        PageTables::new(VolatileSlice::from(&mut self.slot[..]), MEMORY_BYTES)
    }

    fn write(&mut self, plan: &Plan) {
        for write in &plan.writes {
            assert!(8 * write.entries.len() as u64 <= PAGE, "what the staging page holds");
            let bytes: Vec<u8> = write.entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
            self.slot[write.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
    }

    fn show(&mut self, address: u64, page: u64, pages: u64, rights: Rights) -> Result<bool, WindowError> {
        let mut done = 0;
        while done < pages {
            let (address, page) = (address + done * PAGE, page + done * PAGE);
            let Some(plan) = self.tables().show(address, page, pages - done, rights)? else { return Ok(false) };
            self.write(&plan);
            for n in 0..plan.pages {
                self.model.remove(&(page + n * PAGE));
                self.window.insert(address + n * PAGE, (page + n * PAGE, rights));
            }
            done += plan.pages;
        }
        Ok(true)
    }

    fn hide(&mut self, address: u64, pages: u64) -> Result<(), WindowError> {
        let mut done = 0;
        while done < pages {
            let plan = self.tables().hide(address + done * PAGE, pages - done)?;
            self.write(&plan);
            for n in done..done + plan.pages {
                let (page, _) = self.window.remove(&(address + n * PAGE)).expect("it was shown");
                self.model.insert(page, (page, Rights::Write));
            }
            done += plan.pages;
        }
        Ok(())
    }

    /// What a CPU finds: address to page and rights, of all but the VMM's own pages.
    fn walk(&self) -> BTreeMap<u64, (u64, Rights)> {
        let mut found = BTreeMap::new();
        self.descend(PML4, 3, 0, &mut found);
        found
    }

    fn descend(&self, table: u64, level: u32, base: u64, found: &mut BTreeMap<u64, (u64, Rights)>) {
        const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
        for n in 0..512u64 {
            let place = (table + 8 * n) as usize;
            let entry = u64::from_le_bytes(self.slot[place..place + 8].try_into().expect("eight bytes"));
            let address = base + (n << (12 + 9 * level));
            if entry & 1 == 0 || (at(0)..at(1 << 30)).contains(&address) {
                continue;
            }
            if level == 0 {
                assert!(paging::rights(entry) != Rights::None && entry & (1 << 1) == 0 || entry >> 63 == 1, "W^X");
                assert!(found.insert(address, (entry & ADDRESS, paging::rights(entry))).is_none());
            } else {
                self.descend((entry & ADDRESS) - physical(MEMORY_BYTES, 0), level - 1, address, found);
            }
        }
    }

    /// That the tables are as they should be.
    fn check(&self) {
        let shown = self.window.iter().chain(&self.model).filter(|(_, (_, rights))| *rights != Rights::None);
        assert_eq!(self.walk(), shown.map(|(address, at)| (*address, *at)).collect());
        if self.window.is_empty() {
            let [is, was] =
                [&self.slot, &self.at_start].map(|slot| &slot[Tables::of(MEMORY_BYTES).window_table(0) as usize..]);
            assert!(
                is == was && self.slot[PML4 as usize..][..4096] == self.at_start[PML4 as usize..][..4096],
                "no table is left"
            );
        }
    }
}

/// Addresses far apart and close together, at the ends of tables of each level.
fn address() -> impl Strategy<Value = u64> {
    let bases = [
        WINDOW_START,
        WINDOW_START + (2 << 20),
        WINDOW_START + (1 << 30),
        WINDOW_START + (1 << 39),
        WINDOW_END - 8 * PAGE,
    ];
    (prop::sample::select(bases.to_vec()), 0..8u64, any::<bool>()).prop_map(|(base, n, below)| match base {
        base if below && base > WINDOW_START => base - (n + 1) * PAGE,
        base => base + n * PAGE,
    })
}

fn rights() -> impl Strategy<Value = Rights> {
    prop::sample::select(vec![Rights::None, Rights::Read, Rights::Write, Rights::Execute])
}

#[derive(Clone, Debug)]
enum Step {
    Show(u64, u64, u64, Rights),
    Hide(u64, u64),
    Protect(u64, u64, Rights),
}

fn step() -> impl Strategy<Value = Step> {
    let heap = || (0..HEAP_PAGES).prop_map(|n| HEAP + n * PAGE);
    prop_oneof![
        (address(), heap(), 1..10u64, rights()).prop_map(|(a, p, n, r)| Step::Show(a, p, n, r)),
        (address(), 1..10u64).prop_map(|(a, n)| Step::Hide(a, n)),
        (prop_oneof![address(), heap()], 1..10u64, rights()).prop_map(|(a, n, r)| Step::Protect(a, n, r)),
    ]
}

proptest! {
    /// Whatever a guest does: a CPU finds each page at one address, with the rights that it was given there.
    #[test]
    fn each_page_is_at_one_address(steps in prop::collection::vec(step(), 1..40)) {
        let mut machine = Machine::new();
        for step in steps {
            match step {
                Step::Show(address, page, pages, rights) => {
                    let pages = pages.min((HEAP + HEAP_PAGES * PAGE - page) / PAGE).min((WINDOW_END - address) / PAGE);
                    let possible = (0..pages).all(|n| !machine.window.contains_key(&(address + n * PAGE))
                        && machine.model.contains_key(&(page + n * PAGE)));
                    prop_assert_eq!(machine.show(address, page, pages, rights).ok(), possible.then_some(true));
                }
                Step::Hide(address, pages) => {
                    let hole = (0..pages).map(|n| address + n * PAGE).find(|at| !machine.window.contains_key(at));
                    let done = machine.hide(address, pages);
                    prop_assert_eq!(done, hole.map_or(Ok(()), |address| Err(WindowError::Empty { address })));
                }
                Step::Protect(address, pages, rights) => {
                    let pages = pages.min(if address < WINDOW_START { (HEAP + HEAP_PAGES * PAGE - address) / PAGE } else { pages });
                    let plan = machine.tables().protect(address, pages, rights);
                    let model = if address < WINDOW_START { &mut machine.model } else { &mut machine.window };
                    let Ok(plan) = plan else {
                        prop_assert!((0..pages).any(|n| !model.contains_key(&(address + n * PAGE))));
                        continue;
                    };
                    (0..plan.pages).for_each(|n| model.get_mut(&(address + n * PAGE)).expect("it is there").1 = rights);
                    machine.write(&plan);
                }
            }
            machine.check();
        }
    }
}

/// A page in each GiB needs two tables. Where there are none left, nothing was changed by the attempt.
#[test]
fn tables_run_out_and_come_back() {
    let mut machine = Machine::new();
    // But for the table of the first 512 GiB.
    let most = (Tables::of(MEMORY_BYTES).window_tables - 1) / 2;
    let place = |n: u64| (WINDOW_START + (n << 30), HEAP + n * PAGE);
    let mut show = |n: u64| machine.show(place(n).0, place(n).1, 1, Rights::Write);
    (0..most).for_each(|n| assert_eq!(show(n), Ok(true), "{n}"));
    let before = machine.slot.clone();
    assert_eq!(machine.show(place(most).0, place(most).1, 1, Rights::Write), Ok(false));
    assert!(machine.slot == before);
    machine.hide(place(5).0, 1).expect("it is shown");
    assert_eq!(machine.show(place(most).0, place(most).1, 1, Rights::Write), Ok(true));
    machine.check();
}
