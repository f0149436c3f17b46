//! What is really in the pages: their rights, and whether anything was ever written there.
//!
//! Two kinds of addresses. *Memory* (program and arena) has a page behind each address, which starts as zeros that can be
//! written. *Reserve* has nothing behind it until it is backed.
//!
//! A change of rights is an exit of some 30 µs. So freed memory keeps its rights, most of it is used again for the same
//! purpose without an exit, and a change is one exit however many mappings it spans. Pages that were never writable are
//! zero still and are never touched; others are zeroed when they are used again, not when they are freed.

use super::{PAGE_BYTES, Rights, runs::Runs};
use crate::errno::Errno;
use alloc::vec::Vec;
use core::ops::Range;

/// What the embedder does for an address space. Ranges are of whole pages.
///
/// `zero`, `copy` and `fill` write only where the last rights were [`Rights::Write`], and read only where there were
/// any; and what becomes [`Rights::Execute`] by `protect` had [`Rights::Write`]. Memory starts as zeros with these.
pub trait Pages {
    /// Changes the rights of pages that are there. To code, it is the moment to rewrite it.
    ///
    /// # Errors
    /// `ENOMEM` if it can't be done; nothing has changed then.
    fn protect(&mut self, range: Range<u64>, rights: Rights) -> Result<(), Errno>;

    /// Writes zeros.
    fn zero(&mut self, range: Range<u64>);

    /// Copies `bytes` from one address to another; the two places may overlap.
    fn copy(&mut self, from: u64, to: u64, bytes: u64);

    /// Writes `bytes` at the address, which need not be that of a page.
    fn fill(&mut self, to: u64, bytes: &[u8]);

    /// Puts zeroed pages behind reserved addresses, now or as they are touched.
    ///
    /// # Errors
    /// `ENOMEM` if there are none; nothing has changed then.
    fn back(&mut self, range: Range<u64>, rights: Rights) -> Result<(), Errno>;

    /// Takes away the pages that [`Pages::back`] gave.
    fn release(&mut self, range: Range<u64>);
}

/// What a page contains. Others contain zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Something that its mapping may see.
    Live,
    /// Leftovers: it is zero to whoever comes to see it.
    Stale,
}

/// The pages and the books about them.
#[derive(Debug)]
pub(super) struct Store<P> {
    pub(super) pages: P,
    reserve: Range<u64>,
    /// Rights that the pages have. Not listed: [`Rights::Write`] in memory, no page in the reserve.
    rights: Runs<Rights>,
    content: Runs<Content>,
}

impl<P: Pages> Store<P> {
    pub(super) fn new(pages: P, reserve: Range<u64>) -> Self {
        Self { pages, reserve, rights: Runs::new(), content: Runs::new() }
    }

    /// Shows `range` with `rights`: what is live in it, and zeros elsewhere.
    pub(super) fn expose(&mut self, range: &Range<u64>, rights: Rights) -> Result<(), Errno> {
        if rights != Rights::None {
            self.freshen(range)?;
        }
        self.settle(range, rights)?;
        if rights == Rights::Write {
            self.content.set(range, Content::Live);
        }
        Ok(())
    }

    /// Forgets what is in `range`.
    pub(super) fn discard(&mut self, range: &Range<u64>) {
        if !self.reserved(range) {
            self.forget(range);
            return;
        }
        for (piece, _) in self.rights.within(range) {
            self.pages.release(piece);
        }
        self.rights.remove(range);
        self.content.remove(range);
    }

    /// Makes `range`, seen with `rights`, zeros.
    pub(super) fn clear(&mut self, range: &Range<u64>, rights: Rights) -> Result<(), Errno> {
        self.forget(range);
        self.expose(range, rights)
    }

    /// Writes `pieces`, one after the other, into `range` from `at` on, as far as they fit.
    pub(super) fn load(&mut self, range: &Range<u64>, at: u64, pieces: &[&[u8]]) -> Result<(), Errno> {
        let room = range.end.saturating_sub(at);
        let bytes = pieces.iter().fold(0, |sum: u64, piece| sum.saturating_add(piece.len() as u64)).min(room);
        if bytes == 0 || at < range.start {
            return Ok(());
        }
        let touched = at / PAGE_BYTES * PAGE_BYTES..(at + bytes).next_multiple_of(PAGE_BYTES);
        self.freshen(&touched)?;
        self.settle(&touched, Rights::Write)?;
        self.content.set(&touched, Content::Live);
        let mut to = at;
        for piece in pieces {
            let fitting = (range.end - to).min(piece.len() as u64) as usize;
            self.pages.fill(to, &piece[..fitting]);
            to += fitting as u64;
        }
        Ok(())
    }

    /// Makes sure that there are pages in `range`, where nothing is mapped.
    pub(super) fn claim(&mut self, range: &Range<u64>) -> Result<(), Errno> {
        if !self.reserved(range) {
            return Ok(());
        }
        let claimed = self.settle(range, Rights::Write);
        if claimed.is_err() {
            self.discard(range);
        }
        claimed
    }

    /// Moves what is live in `from` to `to`, where nothing is live but what overlaps it; nothing else is left of `from`.
    /// If they overlap, `to` is the lower one: the pieces are copied in ascending order.
    pub(super) fn relocate(&mut self, from: &Range<u64>, to: u64) -> Result<(), Errno> {
        let moved = |range: &Range<u64>| range.start - from.start + to..range.end - from.start + to;
        let live = self.live(from);
        for range in &live {
            self.settle(range, Rights::Write)?;
            self.settle(&moved(range), Rights::Write)?;
        }
        for range in &live {
            self.pages.copy(range.start, moved(range).start, range.end - range.start);
        }
        self.forget(from);
        for range in &live {
            self.content.set(&moved(range), Content::Live);
        }
        Ok(())
    }

    fn reserved(&self, range: &Range<u64>) -> bool {
        self.reserve.contains(&range.start)
    }

    /// The parts of `range` with live contents.
    fn live(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        self.with_content(range, Content::Live)
    }

    fn with_content(&self, range: &Range<u64>, content: Content) -> Vec<Range<u64>> {
        self.content.within(range).filter(|&(_, &c)| c == content).map(|(piece, _)| piece).collect()
    }

    /// Makes leftovers of what is live in `range`.
    fn forget(&mut self, range: &Range<u64>) {
        for piece in self.live(range) {
            self.content.set(&piece, Content::Stale);
        }
    }

    /// Zeroes the leftovers in `range`.
    fn freshen(&mut self, range: &Range<u64>) -> Result<(), Errno> {
        let stale = self.with_content(range, Content::Stale);
        if let (Some(first), Some(last)) = (stale.first(), stale.last()) {
            self.settle(&(first.start..last.end), Rights::Write)?;
        }
        for piece in stale {
            self.pages.zero(piece.clone());
            self.content.remove(&piece);
        }
        Ok(())
    }

    /// Gives the pages of `range` their rights, where they have others.
    fn settle(&mut self, range: &Range<u64>, rights: Rights) -> Result<(), Errno> {
        if rights == Rights::Execute {
            return self.settle_code(range);
        }
        if self.reserved(range) {
            return self.settle_reserve(range, rights);
        }
        let listed = self.rights.within(range).filter(|&(_, &has)| has != rights).map(|(piece, _)| piece);
        let (mut low, mut high) = (range.end, range.start);
        for piece in listed {
            (low, high) = (low.min(piece.start), high.max(piece.end));
        }
        if rights != Rights::Write {
            low = self.rights.gaps(range).next().map_or(low, |gap| low.min(gap.start));
            high = self.rights.gaps(range).next_back().map_or(high, |gap| high.max(gap.end));
        }
        if low >= high {
            return Ok(());
        }
        self.pages.protect(low..high, rights)?;
        if rights == Rights::Write {
            self.rights.remove(&(low..high));
        } else {
            self.rights.set(&(low..high), rights);
        }
        Ok(())
    }

    /// Code is rewritten as it becomes that, so it can be written until then. What is code already stays.
    fn settle_code(&mut self, range: &Range<u64>) -> Result<(), Errno> {
        let code = self.rights.within(range).filter(|&(_, &has)| has == Rights::Execute).map(|(piece, _)| piece);
        let bounds = code.chain(core::iter::once(range.end..range.end)).collect::<Vec<_>>();
        let mut start = range.start;
        for piece in bounds {
            let other = start..piece.start;
            start = piece.end;
            if other.is_empty() {
                continue;
            }
            self.settle(&other, Rights::Write)?;
            self.pages.protect(other.clone(), Rights::Execute)?;
            self.rights.set(&other, Rights::Execute);
        }
        Ok(())
    }

    fn settle_reserve(&mut self, range: &Range<u64>, rights: Rights) -> Result<(), Errno> {
        if rights != Rights::None {
            // First, because it is what fails.
            let gaps: Vec<_> = self.rights.gaps(range).collect();
            for (at, gap) in gaps.iter().enumerate() {
                if let Err(error) = self.pages.back(gap.clone(), rights) {
                    for backed in &gaps[..at] {
                        self.pages.release(backed.clone());
                        self.rights.remove(backed);
                    }
                    return Err(error);
                }
                self.rights.set(gap, rights);
            }
        }
        let others: Vec<_> = self.rights.within(range).filter(|&(_, &has)| has != rights).map(|(p, _)| p).collect();
        for piece in others {
            self.pages.protect(piece.clone(), rights)?;
            self.rights.set(&piece, rights);
        }
        Ok(())
    }
}
