//! PROTECT without KVM: any registers, planned and written as for a guest, against a model of which page is where.

use super::{Change, ChangeError};
use crate::{
    kvm::Registers,
    machine::{
        layout::{PML4, Tables, at, physical},
        paging::{self, Rights},
        window::PageTables,
    },
};
use arbitrary::{Result, Unstructured};
use denali_abi::{
    instruction::{PAGES_IN_PLACE, PAGES_RETURN},
    memory::{CONTROL, IMAGE_BASE, PAGE_BYTES as PAGE, REGISTERS, STACK_BOTTOM, STACK_TOP, WINDOW_END, WINDOW_START},
};
use std::{cell::RefCell, collections::BTreeMap};
use vm_memory::VolatileSlice;

const MEMORY: u64 = 4 << 20;
const HEAP: u64 = IMAGE_BASE + 16 * PAGE;
/// What a VM starts with.
const RANGES: [(u64, u64, Rights); 5] = [
    (REGISTERS, REGISTERS + PAGE, Rights::Read),
    (CONTROL, CONTROL + PAGE, Rights::Write),
    (STACK_BOTTOM, STACK_TOP, Rights::Write),
    (IMAGE_BASE, HEAP, Rights::Execute),
    (HEAP, MEMORY, Rights::Write),
];
/// Most steps of one guest.
const STEPS: usize = 64;

/// Makes the PROTECTs that `data` describe. After each, a CPU finds each page at the one address, with the rights, that the
/// calls so far gave it; and what was refused could not be.
pub fn protect(data: &[u8]) {
    thread_local! {
        static MACHINE: RefCell<Machine> = RefCell::new(Machine::new());
    }
    MACHINE.with_borrow_mut(|machine| {
        machine.reset();
        // It ends where the bytes do.
        let _ = machine.run(&mut Unstructured::new(data));
    });
}

struct Machine {
    slot: Vec<u8>,
    at_start: Vec<u8>,
    /// Pages of the slot that were written.
    written: Vec<usize>,
    /// Rights of each page of memory at its own address; `None` of one that is in the window.
    own: Vec<Option<Rights>>,
    /// Address to page and rights.
    window: BTreeMap<u64, (u64, Rights)>,
}

impl Machine {
    fn new() -> Self {
        let tables = Tables::of(MEMORY);
        let mut slot = vec![0; tables.bytes() as usize];
        paging::write(&mut slot[..tables.filled_bytes() as usize], MEMORY, &RANGES);
        Self { at_start: slot.clone(), slot, written: Vec::new(), own: Vec::new(), window: BTreeMap::new() }
    }

    fn reset(&mut self) {
        for page in self.written.drain(..) {
            let page = page * PAGE as usize..(page + 1) * PAGE as usize;
            self.slot[page.clone()].copy_from_slice(&self.at_start[page]);
        }
        self.window.clear();
        self.own = vec![Some(Rights::None); (MEMORY / PAGE) as usize];
        for (start, end, rights) in RANGES {
            self.own[(start / PAGE) as usize..(end / PAGE) as usize].fill(Some(rights));
        }
    }

    fn run(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        for _ in 0..STEPS {
            if u.is_empty() {
                break;
            }
            let (rdi, rsi) = (address(u)?, bytes(u)?);
            let rdx = if u.ratio(1, 16)? { u.arbitrary()? } else { u.int_in_range(0..=7)? };
            let r10 = match u.int_in_range(0..=3)? {
                0 => PAGES_IN_PLACE,
                1 => PAGES_RETURN,
                _ => address(u)?,
            };
            let rflags = if u.ratio(1, 32)? { u.arbitrary()? } else { 2 };
            let asked = Registers { rdi, rsi, rdx, r10, rflags, ..Registers::default() };
            if let Err(error) = self.protect(asked) {
                assert_ne!(error.to_string(), "");
                self.check();
                // The VM has ended.
                return Ok(());
            }
            self.check();
        }
        Ok(())
    }

    fn protect(&mut self, asked: Registers) -> std::result::Result<(), ChangeError> {
        let mut change = Change::of(asked, HEAP, MEMORY)?;
        let possible = self.is_possible(&asked);
        let (mut done, bytes) = (0, asked.rsi);
        loop {
            let tables = PageTables::new(VolatileSlice::from(&mut self.slot[..]), MEMORY);
            let plan = match change.plan(&tables) {
                Ok(Some(plan)) => plan,
                Ok(None) => break,
                Err(error) => {
                    assert!(!possible, "{asked:x?} was refused: {error}");
                    return Err(error);
                }
            };
            assert!(plan.pages > 0 && done + plan.pages * PAGE <= bytes);
            for write in &plan.writes {
                assert!(8 * write.entries.len() as u64 <= PAGE, "what the staging page holds");
                let entries: Vec<u8> = write.entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
                let (start, end) = (write.offset as usize, write.offset as usize + entries.len());
                self.slot[start..end].copy_from_slice(&entries);
                self.written.extend(start / PAGE as usize..=(end - 1) / PAGE as usize);
            }
            (0..plan.pages).for_each(|n| self.note(&asked, done + n * PAGE));
            done += plan.pages * PAGE;
        }
        assert_eq!(change.left(), bytes - done);
        assert!(possible || done < bytes || bytes == 0, "{asked:x?} was done");
        Ok(())
    }

    /// Whether each page and each address is one that may be asked for.
    fn is_possible(&self, asked: &Registers) -> bool {
        (0..asked.rsi).step_by(PAGE as usize).all(|n| {
            let address = asked.rdi + n;
            let own = |page: u64| self.own[(page / PAGE) as usize].is_some();
            match asked.r10 {
                PAGES_IN_PLACE if address < MEMORY => own(address),
                PAGES_IN_PLACE | PAGES_RETURN => self.window.contains_key(&address),
                from => !self.window.contains_key(&address) && own(from + n),
            }
        })
    }

    /// Counts the page at `offset` of what was asked for as done.
    fn note(&mut self, asked: &Registers, offset: u64) {
        let address = asked.rdi + offset;
        let rights = Rights::from_bits(asked.rdx).unwrap_or(Rights::None);
        match asked.r10 {
            PAGES_IN_PLACE if address < MEMORY => self.own[(address / PAGE) as usize] = Some(rights),
            PAGES_IN_PLACE => self.window.get_mut(&address).expect("it is there").1 = rights,
            PAGES_RETURN => {
                let (page, _) = self.window.remove(&address).expect("it is there");
                assert_eq!(self.own[(page / PAGE) as usize].replace(Rights::Write), None);
            }
            from => {
                assert!(from >= HEAP && self.own[((from + offset) / PAGE) as usize].take().is_some());
                assert_eq!(self.window.insert(address, (from + offset, rights)), None);
            }
        }
    }

    /// A CPU finds what the model says, and no more.
    fn check(&self) {
        let mut found = 0;
        self.descend(PML4, 3, 0, &mut found);
        let own = self.own.iter().filter(|rights| !matches!(rights, None | Some(Rights::None)));
        let shown = self.window.values().filter(|(_, rights)| *rights != Rights::None);
        assert_eq!(found, own.count() + shown.count());
    }

    fn descend(&self, table: u64, level: u32, base: u64, found: &mut usize) {
        const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
        for (n, entry) in (0..).zip(self.slot[table as usize..][..PAGE as usize].as_chunks::<8>().0) {
            let (entry, address) = (u64::from_le_bytes(*entry), base + (n << (12 + 9 * level)));
            if entry & 1 == 0 || (at(0)..at(1 << 30)).contains(&address) {
                continue;
            }
            if level > 0 {
                self.descend((entry & ADDRESS) - physical(MEMORY, 0), level - 1, address, found);
                continue;
            }
            assert!(entry & (1 << 1) == 0 || entry >> 63 == 1, "writable and executable: {address:#x}");
            let own = || (address, self.own[(address / PAGE) as usize].expect("it is in the window"));
            let (page, rights) = if address < MEMORY { own() } else { self.window[&address] };
            assert_eq!((entry & ADDRESS, paging::rights(entry)), (page, rights), "at {address:#x}");
            *found += 1;
        }
    }
}

/// Addresses at the ends of what there is and of tables of each level, and any.
fn address(u: &mut Unstructured<'_>) -> Result<u64> {
    const BASES: [u64; 9] = [
        HEAP,
        MEMORY,
        STACK_BOTTOM,
        STACK_TOP,
        WINDOW_START,
        WINDOW_START + (2 << 20),
        WINDOW_START + (1 << 30),
        WINDOW_START + (1 << 39),
        WINDOW_END,
    ];
    if u.ratio(1, 32)? {
        return u.arbitrary();
    }
    let base = *u.choose(&BASES)?;
    Ok(base.wrapping_add_signed(i64::from(u.int_in_range(-24..=24i8)?) * PAGE.cast_signed()))
}

fn bytes(u: &mut Unstructured<'_>) -> Result<u64> {
    match u.int_in_range(0..=15u8)? {
        0 => u.arbitrary(),
        1 => Ok(u.int_in_range(0..=1200)? * PAGE),
        _ => Ok(u.int_in_range(0..=20)? * PAGE),
    }
}
