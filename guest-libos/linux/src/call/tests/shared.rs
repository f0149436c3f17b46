//! Shared mappings of files show the file, and the file what they store.
use super::{CWD, DATA, Program, TEXT};
use crate::{errno::Errno, mm::Pages};
use linux_raw_sys::general as nr;
use proptest::{collection::vec, prelude::*};

const READ: u64 = nr::PROT_READ as u64;
const BOTH: u64 = READ | nr::PROT_WRITE as u64;
const SHARED: u64 = nr::MAP_SHARED as u64;
const PAGE: u64 = 4096;
/// Pages of a mapping of the property, and most bytes of its file.
const PAGES: u64 = 3;
const MOST: u64 = PAGES * PAGE + 500;

impl Program {
    fn write_at(&mut self, fd: u64, offset: u64, bytes: &[u8]) {
        self.process.space.pages().fill(DATA, bytes);
        assert_eq!(self.try_call(nr::__NR_pwrite64, [fd, DATA, bytes.len() as u64, offset]), Ok(bytes.len() as u64));
    }

    fn map(&mut self, fd: u64, prot: u64, offset: u64, bytes: u64) -> Result<u64, Errno> {
        self.try_call(nr::__NR_mmap, [0, bytes, prot, SHARED, fd, offset])
    }

    fn store(&mut self, address: u64, bytes: &[u8]) {
        self.process.space.pages().fill(address, bytes);
    }
}

#[test]
fn a_mapping_is_the_file() {
    let mut p = Program::new();
    let fd = p.open("/tmp/shared", nr::O_RDWR | nr::O_CREAT);
    p.write_at(fd, 0, b"0123456789");
    let at = p.map(fd, BOTH, 0, 10).unwrap();
    p.store(at, b"AB");
    assert_eq!(p.contents("/tmp/shared"), "AB23456789");
    p.write_at(fd, 4, b"xy");
    p.store(at + 9, b"!");
    assert_eq!(p.bytes(at, 11), b"AB23xy678!\0");
    assert_eq!(p.try_call(nr::__NR_ftruncate, [fd, 5]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_ftruncate, [fd, 7]), Ok(0));
    assert_eq!(p.bytes(at, 10), b"AB23x\0\0\0\0\0");
    // What it shows could not be the same twice.
    assert_eq!((p.map(fd, READ, 0, 10), p.map(fd, BOTH, 0, 1)), (Err(Errno::ENODEV), Err(Errno::ENODEV)));
    let reader = p.open("/tmp/shared", nr::O_RDONLY);
    assert_eq!(p.map(reader, BOTH, 0, 10), Err(Errno::EACCES));
    p.store(at, b"C");
    let private = p.try_call(nr::__NR_mmap, [0, 10, READ, nr::MAP_PRIVATE.into(), fd, 0]).unwrap();
    assert_eq!(p.bytes(private, 5), b"CB23x");
    p.store(at, b"D");
    assert_eq!(p.try_call(nr::__NR_munmap, [at, 10]), Ok(0));
    p.store(at, b"E");
    assert_eq!(p.contents("/tmp/shared"), "DB23x\0\0");
    assert!(p.map(fd, BOTH, 0, 10).is_ok());
}

#[test]
fn rights_are_those_of_the_descriptor() {
    let mut p = Program::new();
    let writer = p.open("/tmp/shared", nr::O_RDWR | nr::O_CREAT);
    p.write_at(writer, 0, &[b'a'; 9000]);
    let reader = p.open("/tmp/shared", nr::O_RDONLY);
    assert_eq!(p.map(reader, BOTH, 0, PAGE), Err(Errno::EACCES));
    let shown = p.map(reader, READ, 0, 9000).unwrap();
    assert_eq!(p.try_call(nr::__NR_mprotect, [shown, PAGE, BOTH]), Err(Errno::EACCES));
    let written = p.open("/tmp/shared", nr::O_WRONLY | nr::O_APPEND);
    p.write_at(written, 0, b"end");
    assert_eq!(p.bytes(shown + 8999, 5), b"aend\0");
    assert_eq!(p.try_call(nr::__NR_munmap, [shown, 9000]), Ok(0));
    let shown = p.map(writer, READ, PAGE, PAGE).unwrap();
    assert_eq!(p.try_call(nr::__NR_mprotect, [shown, PAGE, BOTH]), Ok(0));
    p.store(shown, b"b");
    assert_eq!(p.try_call(nr::__NR_mprotect, [shown, PAGE, 0]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_pread64, [reader, DATA, 2, PAGE]), Ok(2));
    assert_eq!(p.bytes(DATA, 2), b"ba");
}

#[test]
fn what_is_left_of_a_mapping_is_shared_still() {
    let mut p = Program::new();
    let before = p.process.files.held();
    let fd = p.open("/out/shared", nr::O_RDWR | nr::O_CREAT);
    assert_eq!(p.try_call(nr::__NR_ftruncate, [fd, 4 * PAGE]), Ok(0));
    let at = p.map(fd, BOTH, 0, 4 * PAGE).unwrap();
    for page in 0..4 {
        p.store(at + page * PAGE, &[b'0' + page as u8]);
    }
    let fixed = u64::from(nr::MAP_PRIVATE | nr::MAP_ANONYMOUS | nr::MAP_FIXED);
    assert_eq!(p.try_call(nr::__NR_mmap, [at + PAGE, PAGE, BOTH, fixed, 0, 0]), Ok(at + PAGE));
    assert_eq!(p.try_call(nr::__NR_mremap, [at + 2 * PAGE, PAGE, 3 * PAGE, 1, 0]), Err(Errno::ENOMEM));
    assert_eq!(p.try_call(nr::__NR_mremap, [at + 2 * PAGE, 2 * PAGE, PAGE, 0, 0]), Ok(at + 2 * PAGE));
    for (page, byte) in [(0, b"a"), (1, b"b"), (2, b"c")] {
        p.store(at + page * PAGE, byte);
    }
    // No name and no descriptor is left: the mapping keeps it.
    let (old, new) = (p.text(0, "/out/shared"), p.text(50, "/out/other"));
    assert_eq!((p.try_call(nr::__NR_link, [old, new]), p.try_call(nr::__NR_close, [fd])), (Ok(0), Ok(0)));
    p.process.bring_all_back();
    let file = p.contents("/out/other");
    assert_eq!([0, 1, 2, 3].map(|page| file.as_bytes()[page * PAGE as usize]), *b"a1c3");
    for name in [old, new] {
        assert_eq!(p.try_call(nr::__NR_unlinkat, [CWD, name, 0]), Ok(0));
    }
    assert!(p.process.files.held() > before);
    assert_eq!(p.try_call(nr::__NR_munmap, [at, 4 * PAGE]), Ok(0));
    assert_eq!(p.process.files.held(), before);
}

#[derive(Clone, Debug)]
enum Step {
    Map(u64, u64, bool),
    Unmap(u64, u64),
    Protect(bool),
    Store(u64, u8),
    Write(u64, usize, u8),
    Append(usize, u8),
    Read(u64, u64),
    Truncate(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let page = 0..PAGES;
    prop_oneof![
        3 => (page.clone(), 1..=PAGES, any::<bool>()).prop_map(|(page, count, write)| Step::Map(page, count, write)),
        1 => (page, 1..=PAGES).prop_map(|(page, count)| Step::Unmap(page, count)),
        1 => any::<bool>().prop_map(Step::Protect),
        6 => (0..MOST, any::<u8>()).prop_map(|(at, byte)| Step::Store(at, byte)),
        4 => (0..MOST - 300, 1..300_usize, any::<u8>()).prop_map(|(at, count, byte)| Step::Write(at, count, byte)),
        1 => (1..300_usize, any::<u8>()).prop_map(|(count, byte)| Step::Append(count, byte)),
        3 => (0..MOST, 1..600_u64).prop_map(|(at, count)| Step::Read(at, count)),
        2 => (0..MOST).prop_map(Step::Truncate),
    ]
}

/// A file that a model has as plain bytes, and what of it is mapped: address of each page, and whether it may be written.
struct Run {
    p: Program,
    fd: u64,
    file: Vec<u8>,
    pages: [Option<(u64, bool)>; PAGES as usize],
}

impl Run {
    fn step(&mut self, step: &Step) {
        let Self { p, fd, file, pages } = self;
        match *step {
            Step::Map(page, count, write) => {
                let count = count.min(PAGES - page);
                let places = page as usize..(page + count) as usize;
                let prot = if write { BOTH } else { READ };
                // What the model would see twice is not mapped twice.
                if pages[places.clone()].iter().all(Option::is_none) {
                    let at = p.map(*fd, prot, page * PAGE, count * PAGE).unwrap();
                    for (place, address) in places.zip((at..).step_by(PAGE as usize)) {
                        pages[place] = Some((address, write));
                    }
                }
            }
            Step::Unmap(page, count) => {
                for place in page..(page + count).min(PAGES) {
                    if let Some((address, _)) = pages[place as usize].take() {
                        assert_eq!(p.try_call(nr::__NR_munmap, [address, PAGE]), Ok(0));
                    }
                }
            }
            Step::Protect(write) => {
                for (address, writes) in pages.iter_mut().flatten() {
                    let prot = if write { BOTH } else { READ };
                    assert_eq!(p.try_call(nr::__NR_mprotect, [*address, PAGE, prot]), Ok(0));
                    *writes = write;
                }
            }
            Step::Store(at, byte) => {
                let page = pages.get((at / PAGE) as usize).copied().flatten();
                if let (Some((address, true)), Some(place)) = (page, file.get_mut(at as usize)) {
                    *place = byte;
                    p.store(address + at % PAGE, &[byte]);
                }
            }
            Step::Write(at, count, byte) => {
                p.write_at(*fd, at, &vec![byte; count]);
                file.resize(file.len().max(at as usize + count), 0);
                file[at as usize..at as usize + count].fill(byte);
            }
            Step::Append(count, byte) => {
                p.try_call(nr::__NR_lseek, [*fd, 0, nr::SEEK_END.into()]).unwrap();
                p.store(DATA, &vec![byte; count]);
                assert_eq!(p.try_call(nr::__NR_write, [*fd, DATA, count as u64]), Ok(count as u64));
                file.resize(file.len() + count, byte);
            }
            Step::Read(at, count) => {
                let there = (file.len() as u64).saturating_sub(at).min(count);
                assert_eq!(p.try_call(nr::__NR_pread64, [*fd, TEXT, count, at]), Ok(there));
                assert_eq!(p.bytes(TEXT, there), file.get(at as usize..).unwrap_or(&[])[..there as usize]);
            }
            Step::Truncate(len) => {
                assert_eq!(p.try_call(nr::__NR_ftruncate, [*fd, len]), Ok(0));
                file.resize(len as usize, 0);
            }
        }
    }

    /// Each page shows what is before the file's end.
    fn check(&mut self) {
        for (page, place) in self.pages.into_iter().enumerate() {
            let start = (page * PAGE as usize).min(self.file.len());
            let expected = &self.file[start..(start + PAGE as usize).min(self.file.len())];
            if let Some((address, _)) = place {
                assert_eq!(self.p.bytes(address, expected.len() as u64), expected, "page {page}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn file_and_mappings_are_one(steps in vec(step(), 1..60)) {
        let mut p = Program::new();
        let fd = p.open("/tmp/shared", nr::O_RDWR | nr::O_CREAT);
        let mut run = Run { p, fd, file: Vec::new(), pages: [None; PAGES as usize] };
        for step in &steps {
            run.step(step);
            run.check();
        }
        run.p.process.bring_all_back();
        let len = run.file.len() as u64;
        run.step(&Step::Read(0, len.max(1)));
    }
}
