//! Pages for the reserve: which there are, and which are behind what addresses. For embedders whose memory can be moved there, to
//! serve [`super::Pages::back`] and [`super::Pages::release`].

use super::runs::Runs;
use alloc::vec::Vec;
use core::ops::Range;

/// What is in a page that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Zeros,
    Leftovers,
}

/// Pages, each free or behind an address of the reserve.
#[derive(Debug)]
pub struct Pool {
    free: Runs<Content>,
    /// By address in the reserve: the page's own address minus that, modulo 2⁶⁴, so that neighbours have equal values.
    backing: Runs<u64>,
}

/// Pages that go behind reserved addresses, in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first reserved address.
    pub address: u64,
    /// The pages, by their own addresses.
    pub pages: Range<u64>,
    /// Whether they are zeros; else they may contain anything.
    pub zeroed: bool,
}

impl Pool {
    /// A pool of `pages`, which are zeros.
    #[must_use]
    pub fn new(pages: &Range<u64>) -> Self {
        let mut free = Runs::new();
        free.set(pages, Content::Zeros);
        Self { free, backing: Runs::new() }
    }

    /// Takes pages for `range`, where there are none: pieces in ascending order. `None` if there are not enough.
    pub fn take(&mut self, range: &Range<u64>) -> Option<Vec<Piece>> {
        let mut left = range.clone();
        let mut pieces = Vec::new();
        while !left.is_empty() && self.free.total() >= left.end - left.start {
            let piece = self.piece(&left)?;
            left.start += piece.pages.end - piece.pages.start;
            self.free.remove(&piece.pages);
            self.backing.set(&(piece.address..left.start), piece.pages.start.wrapping_sub(piece.address));
            pieces.push(piece);
        }
        left.is_empty().then_some(pieces)
    }

    /// Takes back the pages behind `range`, whatever is in them now.
    pub fn give(&mut self, range: &Range<u64>) {
        let pages = |(addresses, bias): (Range<u64>, &u64)| {
            addresses.start.wrapping_add(*bias)..addresses.end.wrapping_add(*bias)
        };
        let given: Vec<_> = self.backing.within(range).map(pages).collect();
        self.backing.remove(range);
        for pages in given {
            self.free.set(&pages, Content::Leftovers);
        }
    }

    /// Pages for the start of `range`: the lowest that are enough for all of it, or the most in one piece.
    fn piece(&self, range: &Range<u64>) -> Option<Piece> {
        let bytes = range.end - range.start;
        let runs = self.free.from(0);
        let run = runs.iter().find(|run| run.end - run.start >= bytes);
        let run = run.or_else(|| runs.iter().max_by_key(|run| run.end - run.start))?;
        let pages = run.start..run.end.min(run.start + bytes);
        Some(Piece { address: range.start, pages, zeroed: run.value == Content::Zeros })
    }
}

#[cfg(test)]
mod tests;
