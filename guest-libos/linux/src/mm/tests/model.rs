//! The address space against a naive one, in which each page stands alone.

use super::machine::{ARENA, ARENA_PAGES, Machine, PROGRAM_PAGES, RESERVE, areas, pages};
use super::step::{FIXED, NOREPLACE, Step, address, step};
use crate::errno::Errno;
use crate::mm::{Access, Areas, Backing, File, PAGE_BYTES, Request, Rights, Space};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

const ANONYMOUS: u64 = 0x20;

/// A mapped page of the naive space.
#[derive(Clone, Debug, PartialEq)]
struct Page {
    rights: Rights,
    /// `Some` place in the file minus address, of a file.
    bias: Option<u64>,
    heap: bool,
    bytes: Vec<u8>,
}

struct Model {
    areas: Areas,
    space: Space<Machine>,
    mapped: BTreeMap<u64, Page>,
    /// Pages that something may ever have been written to.
    written: BTreeSet<u64>,
    brk: u64,
}

impl Model {
    fn new(areas: Areas) -> Self {
        let space = Space::new(areas.clone(), Machine::new(usize::MAX / 2)).expect("areas as they should be");
        Self { areas, space, mapped: BTreeMap::new(), written: BTreeSet::new(), brk: ARENA }
    }

    fn in_area(&self, range: &Range<u64>) -> bool {
        let Areas { program, arena, reserve } = &self.areas;
        [program, arena, reserve].iter().any(|a| a.start <= range.start && range.end <= a.end)
    }

    fn free(&self, range: &Range<u64>) -> bool {
        self.mapped.range(range.clone()).next().is_none()
    }

    fn covered(&self, range: &Range<u64>) -> bool {
        pages(range.clone()).all(|at| self.mapped.contains_key(&at))
    }

    /// Whether the arena or the reserve has a gap of so many bytes.
    fn has_gap(&self, bytes: u64) -> bool {
        [&self.areas.arena, &self.areas.reserve]
            .into_iter()
            .any(|area| pages(area.clone()).any(|at| at + bytes <= area.end && self.free(&(at..at + bytes))))
    }

    fn unmap(&mut self, range: Range<u64>) {
        for at in pages(range) {
            self.mapped.remove(&at);
        }
    }

    fn map(&mut self, range: Range<u64>, page: &Page) {
        for at in pages(range) {
            if page.rights == Rights::Write || page.bytes.iter().any(|&byte| byte != 0) {
                self.written.insert(at);
            }
            self.mapped.insert(at, page.clone());
        }
    }

    fn step(&mut self, step: &Step) {
        if let Step::Unmap { place, .. } | Step::Protect { place, .. } | Step::Remap { place, .. } = *step {
            // What is found here must be forgotten if it changes.
            for access in [Access::Read, Access::Write] {
                let _ = self.space.check_bytes(address(place), 1, access);
            }
            self.forgotten_step(step);
            self.check_at(address(place));
        } else {
            self.forgotten_step(step);
        }
    }

    fn forgotten_step(&mut self, step: &Step) {
        match *step {
            Step::Map { place, pages, prot, flags, file } => self.map_step(place, pages, prot, flags, file),
            Step::Unmap { place, pages } => {
                let range = address(place)..address(place) + pages * PAGE_BYTES;
                assert_eq!(self.space.munmap(range.start, pages * PAGE_BYTES - 7), Ok(()));
                self.unmap(range);
            }
            Step::Protect { place, pages, prot } => self.protect_step(place, pages, prot),
            Step::Remap { place, old, new, flags, to } => self.remap_step(place, old, new, flags, to),
            Step::DontNeed { place, pages } => self.dontneed_step(place, pages),
            Step::Brk { pages } => self.brk_step(pages),
            Step::Write { place, byte } => {
                let at = address(place);
                if let Some(page) = self.mapped.get_mut(&at).filter(|page| page.rights == Rights::Write) {
                    page.bytes[9] = byte;
                    self.space.pages().writable(at).bytes[9] = byte;
                }
            }
        }
    }

    fn map_step(&mut self, place: u64, count: u64, prot: u64, flags: u64, file: Option<usize>) {
        let (at, bytes) = (address(place), count * PAGE_BYTES);
        let contents = vec![0xf1; file.unwrap_or(0)];
        let (first, second) = contents.split_at(contents.len() / 3);
        let contents = [first, second];
        let file = file.map(|_| File { name: "f".into(), offset: at, contents: &contents, writable: false });
        let anonymous = if file.is_some() { 0 } else { ANONYMOUS };
        let request = Request { address: at, bytes: bytes - 5, prot, flags: flags | anonymous | 2, file: file.clone() };
        let wanted = at..at + bytes;
        let result = match self.space.mmap(&request) {
            Ok(result) => result,
            Err(Errno::EEXIST) => return assert!(flags == NOREPLACE && !self.free(&wanted)),
            Err(error) if flags == 0 => return assert!(error == Errno::ENOMEM && !self.has_gap(bytes)),
            Err(error) => return assert!(error == Errno::ENOMEM && !self.in_area(&wanted)),
        };
        let range = result..result + bytes;
        assert!(self.in_area(&range));
        assert!(flags == 0 || range == wanted);
        assert!(flags == FIXED || self.free(&range));
        self.unmap(range.clone());
        let rights = Rights::from_prot(prot).unwrap();
        let bias = file.map(|file| file.offset.wrapping_sub(result));
        for page in pages(range) {
            let all = contents.concat();
            let mut bytes: Vec<u8> = all.into_iter().skip((page - result) as usize).take(4096).collect();
            bytes.resize(4096, 0);
            self.map(page..page + PAGE_BYTES, &Page { rights, bias, heap: false, bytes });
        }
    }

    fn protect_step(&mut self, place: u64, count: u64, prot: u64) {
        let range = address(place)..address(place) + count * PAGE_BYTES;
        let result = self.space.mprotect(range.start, range.end - range.start, prot);
        assert_eq!(result, if self.covered(&range) { Ok(()) } else { Err(Errno::ENOMEM) });
        if result.is_ok() {
            let rights = Rights::from_prot(prot).unwrap();
            for at in pages(range) {
                let page = Page { rights, ..self.mapped[&at].clone() };
                self.map(at..at + PAGE_BYTES, &page);
            }
        }
    }

    fn remap_step(&mut self, place: u64, old: u64, new: u64, flags: u64, to: u64) {
        let (at, to) = (address(place), address(to));
        let (old, bytes) = (at..at + old * PAGE_BYTES, new * PAGE_BYTES);
        let kind = |page: &Page| (page.rights, page.bias, page.heap);
        let first = self.mapped.get(&at).cloned();
        let one =
            self.covered(&old) && pages(old.clone()).all(|p| first.as_ref().map(kind) == Some(kind(&self.mapped[&p])));
        let result = match self.space.mremap(at, old.end - at, bytes, flags, to) {
            Ok(result) => result,
            Err(Errno::EINVAL) => return assert!(flags == 2 || flags == 3 && to < old.end && at < to + bytes),
            Err(Errno::EFAULT) => return assert!(!one),
            Err(error) => {
                assert_eq!(error, Errno::ENOMEM);
                let file = first.is_some_and(|page| page.bias.is_some()) && bytes > old.end - at;
                let target =
                    if flags == 3 { self.in_area(&(to..to + bytes)) } else { flags == 1 && self.has_gap(bytes) };
                return assert!(file || !target);
            }
        };
        assert!(one && (flags != 3 || result == to) && (flags != 0 || result == at));
        let kept: Vec<Page> = pages(old.clone()).take(new as usize).map(|p| self.mapped[&p].clone()).collect();
        self.unmap(old);
        assert!(flags == 3 || self.free(&(result..result + bytes)));
        let template = first.expect("it was mapped");
        let bias = template.bias.map(|bias| bias.wrapping_add(at).wrapping_sub(result));
        for (i, page) in pages(result..result + bytes).enumerate() {
            if self.written.contains(&(at + i as u64 * PAGE_BYTES)) {
                // It may be copied, whatever it contains.
                self.written.insert(page);
            }
            let bytes = kept.get(i).map_or_else(|| vec![0; 4096], |page| page.bytes.clone());
            self.map(page..page + PAGE_BYTES, &Page { bytes, bias, ..template.clone() });
        }
    }

    fn dontneed_step(&mut self, place: u64, count: u64) {
        let range = address(place)..address(place) + count * PAGE_BYTES;
        let result = self.space.madvise(range.start, range.end - range.start, 4);
        assert_eq!(result.is_ok(), self.covered(&range));
        for (_, page) in self.mapped.range_mut(range).filter(|(_, page)| page.bias.is_none()) {
            page.bytes.fill(0);
        }
    }

    fn brk_step(&mut self, count: u64) {
        let end = ARENA + count * PAGE_BYTES;
        let result = self.space.brk(end);
        if result != end {
            assert!(result == self.brk && end > self.brk && !self.free(&(self.brk..end)));
            return;
        }
        if end < self.brk {
            self.unmap(end..self.brk);
        } else {
            assert!(self.free(&(self.brk..end)));
            let page = Page { rights: Rights::Write, bias: None, heap: true, bytes: vec![0; 4096] };
            self.map(self.brk..end, &page);
        }
        self.brk = end;
    }

    /// Compares what a system call may do with the page at `at`.
    fn check_at(&self, at: u64) {
        let page = self.mapped.get(&at);
        for access in [Access::Read, Access::Write] {
            let allowed = self.space.check_bytes(at + 1, PAGE_BYTES - 1, access).is_ok();
            assert_eq!(allowed, page.is_some_and(|page| page.rights.allow(access)), "{at:#x} {access:?}");
        }
    }

    /// Compares the two spaces.
    fn compare(&mut self) {
        assert_eq!(self.space.mapped(), self.mapped.len() as u64 * PAGE_BYTES);
        let areas = areas();
        for at in [areas.program, areas.arena, areas.reserve].into_iter().flat_map(pages) {
            self.check_at(at);
            let page = self.mapped.get(&at);
            let run = self.space.mappings.from(at).first().filter(|run| run.start <= at);
            let bias = run.and_then(|run| match run.value.backing {
                Backing::File { bias, .. } => Some(bias),
                _ => None,
            });
            assert_eq!(bias, page.and_then(|page| page.bias));
            let real = self.space.pages().pages.get(&at);
            match (page, real) {
                (Some(page), Some(real)) => {
                    assert_eq!(page.rights, real.rights, "{at:#x}");
                    assert!(page.rights == Rights::None || page.bytes == real.bytes, "contents at {at:#x}");
                }
                (Some(page), None) => assert_eq!(page.rights, Rights::None),
                (None, Some(_)) => assert!(at < RESERVE, "{at:#x} is backed, but not mapped"),
                (None, None) => {}
            }
        }
        assert!(self.space.pages().zeroed.is_subset(&self.written), "a page was touched that never was used");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_space_is_an_array_of_pages(steps in prop::collection::vec(step(), 1..40), reserve: bool) {
        let end = if reserve { areas().reserve.end } else { RESERVE };
        let mut model = Model::new(Areas { reserve: RESERVE..end, ..areas() });
        for step in &steps {
            model.step(step);
            model.compare();
        }
        // Nothing leaks: all memory can be had again in one piece, as zeros.
        super::unmap_all(&mut model.space);
        let arena = areas().arena;
        let bytes = arena.end - arena.start;
        prop_assert_eq!(model.space.mapped(), 0);
        let request = Request { bytes, prot: 3, flags: ANONYMOUS | 2, ..Request::default() };
        prop_assert_eq!(model.space.mmap(&request), Ok(arena.start));
        let machine = model.space.pages();
        prop_assert_eq!(machine.pages.len() as u64, PROGRAM_PAGES + ARENA_PAGES);
        prop_assert!(pages(arena).all(|at| machine.pages[&at].bytes.iter().all(|&byte| byte == 0)));
    }
}
