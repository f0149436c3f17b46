//! Shared mappings of files. A mapping is a copy; these are made to look like the file itself, which is possible since a
//! program sees a file only by its calls: what it stored in a mapping is brought back before a call looks at the file, and
//! what a call changed is shown in the mappings after it.
//!
//! So two mappings of the same bytes, one of which is written, are refused: between calls they would differ. As long as a
//! part of a mapping is there its file is held. A program that ends brings all back.

use super::{Machine, Process};
use crate::{
    errno::Errno,
    fs::Mapped,
    mm::{Access, PAGE_BYTES},
};
use alloc::vec::Vec;
use core::ops::Range;
use linux_raw_sys::general as abi;

/// A shared mapping of a file, or what is left of it.
#[derive(Debug)]
pub(super) struct Shared {
    /// Addresses, whole pages.
    range: Range<u64>,
    file: Mapped,
    /// Where in the file it begins, in bytes.
    offset: u64,
    /// The program may have stored something.
    written: bool,
}

/// What of which files a call looks at or changes; without files, all of all.
#[derive(Clone, Debug)]
pub(super) struct Touched {
    files: Option<[i32; 2]>,
    bytes: Range<u64>,
    changed: bool,
}

/// Everything in a file.
const WHOLE: Range<u64> = 0..u64::MAX;

fn meet(one: &Range<u64>, other: &Range<u64>) -> Range<u64> {
    one.start.max(other.start)..one.end.min(other.end)
}

/// Bytes from an address on, as pages.
fn pages(address: u64, bytes: u64) -> Range<u64> {
    address..address.saturating_add(bytes).checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX)
}

impl Shared {
    /// The bytes of the file that it shows.
    fn bytes(&self) -> Range<u64> {
        self.offset..self.offset + (self.range.end - self.range.start)
    }

    /// The addresses that show a part of the file, in whole pages; empty for none.
    fn addresses(&self, bytes: &Range<u64>) -> Range<u64> {
        let part = meet(&self.bytes(), bytes);
        if part.is_empty() {
            return 0..0;
        }
        let start = part.start / PAGE_BYTES * PAGE_BYTES - self.offset;
        pages(self.range.start + start, part.end - self.offset - start)
    }
}

impl<M: Machine> Process<M> {
    /// What a call is about to do to the contents of files, if some are mapped.
    pub(super) fn touched(&mut self, number: u32, [a, b, c, d, ..]: [u64; 6]) -> Option<Touched> {
        let truncates = |flags: u64| flags & u64::from(abi::O_TRUNC) != 0;
        let changed = !matches!(
            number,
            abi::__NR_read | abi::__NR_pread64 | abi::__NR_readv | abi::__NR_preadv | abi::__NR_preadv2
        );
        let files = match number {
            abi::__NR_sendfile => Some([a as i32, b as i32]),
            abi::__NR_copy_file_range | abi::__NR_splice => Some([a as i32, c as i32]),
            abi::__NR_open if truncates(b) => None,
            abi::__NR_openat if truncates(c) => None,
            abi::__NR_creat | abi::__NR_truncate | abi::__NR_openat2 => None,
            abi::__NR_read
            | abi::__NR_pread64
            | abi::__NR_readv
            | abi::__NR_preadv
            | abi::__NR_preadv2
            | abi::__NR_write
            | abi::__NR_pwrite64
            | abi::__NR_writev
            | abi::__NR_pwritev
            | abi::__NR_pwritev2
            | abi::__NR_ftruncate
            | abi::__NR_fallocate => Some([a as i32; 2]),
            _ => return None,
        };
        let appends = self.files.fcntl(a as i32, abi::F_GETFL, 0).is_ok_and(|flags| flags as u32 & abi::O_APPEND != 0);
        let start = match number {
            abi::__NR_pwrite64 | abi::__NR_write if appends => None,
            abi::__NR_pread64 | abi::__NR_pwrite64 => Some(d),
            abi::__NR_read | abi::__NR_write => self.files.lseek(a as i32, 0, abi::SEEK_CUR).ok(),
            _ => None,
        };
        let bytes = start.map_or(WHOLE, |start| start..start.saturating_add(c));
        Some(Touched { files, bytes, changed })
    }

    /// Brings back what a call looks at.
    pub(super) fn before(&mut self, touched: &Touched) {
        self.bring_back(
            |process, shared| {
                if process.concerned(touched, shared) { shared.addresses(&touched.bytes) } else { 0..0 }
            },
        );
    }

    /// Shows what a call changed.
    pub(super) fn after(&mut self, touched: &Touched) {
        for place in 0..self.shared.len() {
            let shared = &self.shared[place];
            if !touched.changed || !self.concerned(touched, shared) {
                continue;
            }
            let range = shared.addresses(&touched.bytes);
            let offset = shared.offset + range.start.saturating_sub(shared.range.start);
            let pieces = self.files.shown(&shared.file, offset, range.end - range.start);
            // What has no memory to be shown keeps what it has.
            let _ = self.space.show(&range, &pieces);
        }
    }

    fn concerned(&self, touched: &Touched, shared: &Shared) -> bool {
        touched.files.is_none_or(|files| files.iter().any(|file| self.files.is_mapped(*file, &shared.file)))
    }

    /// Brings back all that the program stored in shared mappings: it ends.
    pub fn bring_all_back(&mut self) {
        self.bring_back(|_, shared| shared.range.clone());
    }

    /// The same of a part of the address space.
    pub(super) fn bring_part_back(&mut self, address: u64, bytes: u64) {
        let part = pages(address, bytes);
        self.bring_back(|_, shared| meet(&shared.range, &part));
    }

    /// Writes what is stored in the part of each mapping that `part` names to its file.
    fn bring_back(&mut self, part: impl Fn(&Self, &Shared) -> Range<u64>) {
        for place in 0..self.shared.len() {
            let part = part(self, &self.shared[place]);
            let shared = &self.shared[place];
            if !shared.written || part.is_empty() {
                continue;
            }
            for page in part.step_by(PAGE_BYTES as usize) {
                // A page that cannot be read was brought back when it became so.
                if self.space.check_bytes(page, PAGE_BYTES, Access::Read).is_ok() {
                    let bytes = self.space.machine().bytes(page..page + PAGE_BYTES);
                    self.files.bring_back(&shared.file, shared.offset + (page - shared.range.start), bytes);
                }
            }
        }
    }

    /// Whether a mapping of a file would show the same as another, and one of them were written.
    pub(super) fn contradicts(&self, descriptor: i32, offset: u64, bytes: u64, written: bool) -> bool {
        let bytes = pages(offset, bytes);
        let same = |shared: &&Shared| self.files.is_mapped(descriptor, &shared.file);
        let mut others = self.shared.iter().filter(same);
        others.any(|shared| (shared.written || written) && !meet(&shared.bytes(), &bytes).is_empty())
    }

    /// Whether something of a file is shared in a part of the address space.
    pub(super) fn shares(&self, address: u64, bytes: u64) -> bool {
        let part = pages(address, bytes);
        self.shared.iter().any(|shared| !meet(&shared.range, &part).is_empty())
    }

    /// Notes a new shared mapping of a descriptor's file.
    pub(super) fn share(&mut self, descriptor: i32, address: u64, bytes: u64, offset: u64, written: bool) {
        if let Ok(file) = self.files.mapped(descriptor) {
            self.shared.push(Shared { range: pages(address, bytes), file, offset, written });
        }
    }

    /// Forgets what was shared in a part of the address space, which was brought back before.
    pub(super) fn unshare(&mut self, address: u64, bytes: u64) {
        let part = pages(address, bytes);
        let (gone, mut kept): (Vec<_>, Vec<_>) =
            self.shared.drain(..).partition(|shared| !meet(&shared.range, &part).is_empty());
        for Shared { range, file, offset, written } in gone {
            for rest in [range.start..part.start.min(range.end), part.end.max(range.start)..range.end] {
                if !rest.is_empty()
                    && let Ok(file) = self.files.mapped_again(&file)
                {
                    let offset = offset + (rest.start - range.start);
                    kept.push(Shared { range: rest, file, offset, written });
                }
            }
            self.files.unmapped(file);
        }
        self.shared = kept;
    }

    /// A part of the address space gets other rights: what it shows is brought back while it can be read, and may be
    /// written from now on if `writes` says so. `ENODEV` if that would contradict another mapping.
    pub(super) fn change_shared(&mut self, address: u64, bytes: u64, writes: bool) -> Result<(), Errno> {
        self.bring_part_back(address, bytes);
        let part = pages(address, bytes);
        let changes = |shared: &Shared| writes && !shared.written && !meet(&shared.range, &part).is_empty();
        let others = |at: usize, one: &Shared| {
            let mut others = self.shared.iter().enumerate().filter(|(other, _)| *other != at);
            others.any(|(_, other)| other.file == one.file && !meet(&other.bytes(), &one.bytes()).is_empty())
        };
        if self.shared.iter().enumerate().any(|(at, shared)| changes(shared) && others(at, shared)) {
            return Err(Errno::ENODEV);
        }
        for shared in self.shared.iter_mut().filter(|shared| changes(shared)) {
            shared.written = true;
        }
        Ok(())
    }
}
