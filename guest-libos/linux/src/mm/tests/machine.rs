//! Pages in a map. They panic where real ones would fault.

use crate::errno::Errno;
use crate::mm::{Areas, PAGE_BYTES, Pages, Rights};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub(super) const PROGRAM: u64 = 0x40_0000;
pub(super) const ARENA: u64 = 0x50_0000;
pub(super) const RESERVE: u64 = 1 << 40;
pub(super) const PROGRAM_PAGES: u64 = 4;
pub(super) const ARENA_PAGES: u64 = 24;
pub(super) const RESERVE_PAGES: u64 = 96;

pub(super) fn areas() -> Areas {
    let area = |start, pages| start..start + pages * PAGE_BYTES;
    Areas {
        program: area(PROGRAM, PROGRAM_PAGES),
        arena: area(ARENA, ARENA_PAGES),
        reserve: area(RESERVE, RESERVE_PAGES),
    }
}

/// A page's rights and bytes.
#[derive(Clone)]
pub(super) struct Page {
    pub(super) rights: Rights,
    pub(super) bytes: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Machine {
    pub(super) pages: BTreeMap<u64, Page>,
    /// Calls of protect, back and release: exits.
    pub(super) exits: usize,
    /// Pages that zero was called for.
    pub(super) zeroed: BTreeSet<u64>,
    /// Pages that may yet be backed.
    pub(super) spare: usize,
    /// Protect fails once this many more calls were made.
    pub(super) protects: Option<usize>,
}

impl Machine {
    pub(super) fn new(spare: usize) -> Self {
        let areas = areas();
        let memory = [areas.program, areas.arena].into_iter().flat_map(pages);
        let page = Page { rights: Rights::Write, bytes: vec![0; PAGE_BYTES as usize] };
        Self { pages: memory.map(|at| (at, page.clone())).collect(), spare, ..Self::default() }
    }

    /// The page at `at`, which a program or the library OS writes to.
    pub(super) fn writable(&mut self, at: u64) -> &mut Page {
        let page = self.pages.get_mut(&at).unwrap_or_else(|| panic!("no page at {at:#x}"));
        assert_eq!(page.rights, Rights::Write, "{at:#x}");
        page
    }
}

/// The addresses of the pages of a range.
pub(super) fn pages(range: Range<u64>) -> impl Iterator<Item = u64> {
    assert!((range.start | range.end).is_multiple_of(PAGE_BYTES));
    range.step_by(PAGE_BYTES as usize)
}

impl Pages for Machine {
    fn protect(&mut self, range: Range<u64>, rights: Rights) -> Result<(), Errno> {
        assert!(!range.is_empty());
        self.exits += 1;
        if let Some(left) = &mut self.protects {
            *left = left.checked_sub(1).ok_or(Errno::ENOMEM)?;
        }
        for at in pages(range) {
            let page = self.pages.get_mut(&at).expect("a page that is there");
            assert!(rights != Rights::Execute || page.rights == Rights::Write, "{at:#x} is rewritten");
            page.rights = rights;
        }
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>) {
        assert!(!range.is_empty());
        for at in pages(range) {
            self.writable(at).bytes.fill(0);
            self.zeroed.insert(at);
        }
    }

    fn copy(&mut self, from: u64, to: u64, bytes: u64) {
        let source: Vec<_> = pages(from..from + bytes).map(|at| self.pages[&at].clone()).collect();
        for (page, at) in source.into_iter().zip(pages(to..to + bytes)) {
            assert_ne!(page.rights, Rights::None);
            self.writable(at).bytes = page.bytes;
        }
    }

    fn fill(&mut self, to: u64, bytes: &[u8]) {
        for (at, byte) in (to..).zip(bytes) {
            let page = at / PAGE_BYTES * PAGE_BYTES;
            self.writable(page).bytes[(at - page) as usize] = *byte;
        }
    }

    fn back(&mut self, range: Range<u64>, rights: Rights) -> Result<(), Errno> {
        assert!(!range.is_empty() && rights != Rights::None);
        self.exits += 1;
        let count = ((range.end - range.start) / PAGE_BYTES) as usize;
        self.spare = self.spare.checked_sub(count).ok_or(Errno::ENOMEM)?;
        for at in pages(range) {
            let fresh = Page { rights, bytes: vec![0; PAGE_BYTES as usize] };
            assert!(self.pages.insert(at, fresh).is_none(), "{at:#x} is backed already");
        }
        Ok(())
    }

    fn release(&mut self, range: Range<u64>) {
        self.exits += 1;
        for at in pages(range) {
            assert!(at >= RESERVE && self.pages.remove(&at).is_some(), "{at:#x} is not backed");
            self.spare += 1;
        }
    }
}
