use super::Counts;
use super::offset;
use crate::swap::{Page, Place, STATE_BYTES_MAX, SwapError, SwapSpace, block::UNIT, create};
use proptest::{prelude::*, sample::Index};
use rustix::{
    fs::{MemfdFlags, OFlags, fcntl_getfl, memfd_create},
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use twox_hash::XxHash3_64;

const MIB: u64 = 1 << 20;

/// SplitMix64: bytes that no compressor makes smaller.
pub(in crate::swap) struct Random(pub(in crate::swap) u64);

impl Random {
    pub(in crate::swap) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(in crate::swap) fn page(&mut self) -> Page {
        let mut page = [0; _];
        page.as_chunks_mut::<8>().0.iter_mut().for_each(|word| *word = self.next().to_le_bytes());
        page
    }
}

/// What a VM is to a swap space.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Vm {
    state: Vec<u8>,
    pages: BTreeMap<u64, Page>,
}

impl Vm {
    /// A VM of random pages, all different.
    fn random(pages: u64, seed: u64) -> Self {
        let mut random = Random(seed);
        let state = random.page()[..100].to_vec();
        Self { state, pages: (0..pages).map(|n| (3 * n, random.page())).collect() }
    }

    fn store(&self, space: &mut SwapSpace, name: u64) -> Result<Place, SwapError> {
        space.store(name, &self.state, self.pages.iter().map(|(&number, page)| (number, page)))
    }

    /// Loads a VM, with its error and the pages that came before it if it fails.
    fn load(space: &mut SwapSpace, place: Place, name: u64) -> Result<Self, (SwapError, BTreeMap<u64, Page>)> {
        let mut pages = BTreeMap::new();
        let state = space.load(place, name, |number, page| {
            assert_eq!(pages.insert(number, *page), None, "page {number} came twice");
        });
        match state {
            Ok(state) => Ok(Self { state, pages }),
            Err(error) => Err((error, pages)),
        }
    }
}

/// A space in memory, for what has nothing to do with disks, and its file.
fn in_memory(bytes: u64) -> (SwapSpace, File) {
    let file = File::from(memfd_create("swap", MemfdFlags::CLOEXEC).unwrap());
    (SwapSpace::new(file.try_clone().unwrap(), bytes).unwrap(), file)
}

/// A space on the disk of temporary files.
fn on_disk(bytes: u64) -> SwapSpace {
    SwapSpace::new(create(&std::env::temp_dir()).unwrap(), bytes).unwrap()
}

/// Nothing is held, and what is free is in one piece.
fn assert_empty(space: &SwapSpace) {
    let Counts { images, held, free, .. } = space.counts();
    assert_eq!((images, held), (0, 0));
    assert_eq!(space.holes.largest().map(|hole| offset(hole.units)), Some(free));
}

fn read(file: &File, place: &Place) -> Vec<u8> {
    let mut bytes = vec![0; offset(place.extent.units) as usize];
    file.read_exact_at(&mut bytes, offset(place.extent.start)).unwrap();
    bytes
}

fn write(file: &File, place: &Place, bytes: &[u8]) {
    file.write_all_at(bytes, offset(place.extent.start)).unwrap();
}

/// Loading gives [`SwapError::Corrupt`], and not one page.
#[track_caller]
fn assert_corrupt(space: &mut SwapSpace, place: Place, name: u64) {
    match Vm::load(space, place, name) {
        Err((SwapError::Corrupt { vm, .. }, pages)) => {
            assert_eq!((vm, pages.len()), (name, 0));
        }
        other => panic!("{other:?}"),
    }
}

fn page() -> impl Strategy<Value = Page> {
    prop_oneof![
        Just([0; 4096]),
        any::<u8>().prop_map(|byte| [byte; 4096]),
        any::<[u8; 13]>().prop_map(|words| std::array::from_fn(|n| words[n % 13])),
        (0..4096usize, any::<u8>()).prop_map(|(at, byte)| std::array::from_fn(|n| if n == at { byte } else { 0 })),
        any::<u64>().prop_map(|seed| Random(seed).page()),
    ]
}

fn vm() -> impl Strategy<Value = Vm> {
    let number = prop_oneof![0..1000u64, any::<u64>()];
    let state = prop::collection::vec(any::<u8>(), 0..5000);
    (state, prop::collection::btree_map(number, page(), 0..60)).prop_map(|(state, pages)| Vm { state, pages })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What is stored comes back, whatever is in it, on a disk past its cache, in whatever order VMs go and come; and
    /// then all space is free again.
    #[test]
    fn vms_come_back_as_they_went(vms in prop::collection::vec(vm(), 1..8), order in any::<[Index; 8]>()) {
        let mut space = on_disk(4 * MIB);
        let mut stored = Vec::new();
        for (name, vm) in (0..).zip(&vms) {
            stored.push((name, vm, vm.store(&mut space, name).unwrap()));
        }
        prop_assert_eq!(space.counts().images, vms.len() as u64);
        prop_assert_eq!(space.counts().held, space.counts().written);
        for index in &order[..vms.len()] {
            let (name, vm, place) = stored.swap_remove(index.index(stored.len()));
            prop_assert_eq!(&Vm::load(&mut space, place, name).unwrap(), vm);
        }
        assert_empty(&space);
        prop_assert_eq!(space.counts().read, space.counts().written);
    }
}

/// A VM of several blocks comes back, by few reads of its bytes once each; pages may be lent or given.
#[test]
fn a_large_vm_comes_back() {
    let mut space = on_disk(8 * MIB);
    let mut vm = Vm::random(900, 1);
    // Blocks of all sizes: some pages in a row are zero, some compress.
    vm.pages.range_mut(600..1200).for_each(|(_, page)| *page = [0; 4096]);
    vm.pages.range_mut(1200..1900).for_each(|(number, page)| *page = [*number as u8; 4096]);
    let place = space.store(5, &vm.state, vm.pages.clone()).unwrap();
    assert_eq!(space.counts().held, offset(place.extent.units));
    assert_eq!(Vm::load(&mut space, place, 5).unwrap(), vm);
    assert_eq!(space.counts().read, space.counts().written);
    assert_empty(&space);
}

/// Zero pages take no space but for a mark.
#[test]
fn zero_pages_are_only_marked() {
    let (mut space, _) = in_memory(4 * MIB);
    let vm = Vm { state: vec![1; 9], pages: (0..1000).map(|number| (number, [0; 4096])).collect() };
    let place = vm.store(&mut space, 1).unwrap();
    assert!(place.extent.units <= 2, "{place:?}");
    assert_eq!(Vm::load(&mut space, place, 1).unwrap(), vm);
}

/// VMs come and go four thousand times in a space that is often full, and it is as at the start.
#[test]
fn nothing_is_lost_over_time() {
    let (mut space, _) = in_memory(2 * MIB);
    let vms: Vec<Vm> = (0..60).map(|n| Vm::random(n % 30, n)).collect();
    let (mut random, mut stored, mut full) = (Random(0), BTreeMap::new(), 0);
    for _ in 0..4000 {
        let name = random.next() % 60;
        match stored.remove(&name) {
            Some(place) if random.next().is_multiple_of(4) => space.free(place),
            Some(place) => assert_eq!(Vm::load(&mut space, place, name).unwrap(), vms[name as usize]),
            None => match vms[name as usize].store(&mut space, name) {
                Ok(place) => drop(stored.insert(name, place)),
                Err(SwapError::Full { .. }) => full += 1,
                Err(error) => panic!("{error}"),
            },
        }
        assert_eq!(space.counts().images, stored.len() as u64);
        assert_eq!(space.counts().held + space.counts().free, 2 * MIB);
    }
    assert!(full > 100, "the space was never full");
    stored.into_values().for_each(|place| space.free(place));
    assert_empty(&space);
}

/// One bit wrong, wherever it is: header, checksum, records or padding.
#[test]
fn every_flipped_byte_is_found() {
    let (mut space, file) = in_memory(MIB);
    let mut vm = Vm::random(1, 1);
    vm.pages.extend([(8, [0; 4096]), (9, [9; 4096])]);
    let mut bytes = 0;
    for at in 0.. {
        let place = vm.store(&mut space, 1).unwrap();
        let mut image = read(&file, &place);
        bytes = image.len();
        let Some(byte) = image.get_mut(at) else {
            assert_eq!(Vm::load(&mut space, place, 1).unwrap(), vm);
            break;
        };
        *byte ^= 1 << (at % 8);
        write(&file, &place, &image);
        assert_corrupt(&mut space, place, 1);
    }
    assert_eq!(bytes, 2 * UNIT);
    assert_empty(&space);
}

/// Damage in a large VM: what came before it is right, and nothing of the damaged block or after it comes.
#[test]
fn damage_to_a_large_vm_lets_no_wrong_page_through() {
    let (mut space, file) = in_memory(8 * MIB);
    let vm = Vm::random(700, 1);
    let mut before = Vec::new();
    for tenth in 0..10 {
        let place = vm.store(&mut space, 1).unwrap();
        let mut image = read(&file, &place);
        let at = image.len() * tenth / 10;
        image[at] ^= 0x10;
        write(&file, &place, &image);
        let Err((SwapError::Corrupt { vm: 1, .. }, pages)) = Vm::load(&mut space, place, 1) else {
            panic!("byte {at} was not missed");
        };
        assert!(pages.iter().all(|(number, page)| vm.pages[number] == *page));
        before.push(pages.len());
    }
    assert_eq!((before[0], before.is_sorted()), (0, true));
    assert!(*before.last().unwrap() > 350, "{before:?}");
    assert_empty(&space);
}

/// Blocks of a large VM in another order, left out, or of an older image, each good by itself.
#[test]
fn blocks_are_in_the_order_and_of_the_image_that_was_stored() {
    let (mut space, file) = in_memory(8 * MIB);
    let vm = Vm::random(700, 1);
    let old = vm.store(&mut space, 1).unwrap();
    let old_image = read(&file, &old);
    Vm::load(&mut space, old, 1).unwrap();
    // Where the second block begins, and the third: they are of the same size.
    let starts: Vec<usize> =
        (0..old_image.len() / UNIT).map(|n| n * UNIT).filter(|&at| is_header(&old_image[at..])).collect();
    let &[0, second, third] = &starts[..] else { panic!("{starts:?}") };
    let change = |change: &dyn Fn(&mut Vec<u8>), space: &mut SwapSpace| {
        let place = vm.store(space, 1).unwrap();
        let mut image = read(&file, &place);
        change(&mut image);
        write(&file, &place, &image);
        Vm::load(space, place, 1).map(drop).map_err(|(error, pages)| (error.to_string(), pages.len()))
    };
    assert_eq!(change(&|_| {}, &mut space), Ok(()));
    let (error, first) = change(&|image| image[second..].rotate_left(third - second), &mut space).unwrap_err();
    assert!(error.contains("checksum") && first > 200, "{error} after {first}");
    let (error, pages) = change(&|image| image.copy_within(third.., second), &mut space).unwrap_err();
    assert!(error.contains("checksum") && pages == first, "{error} after {pages}");
    let (error, pages) =
        change(&|image| image[second..].copy_from_slice(&old_image[second..]), &mut space).unwrap_err();
    assert!(error.contains("another time") && pages == first, "{error} after {pages}");
    assert_empty(&space);
}

fn is_header(bytes: &[u8]) -> bool {
    bytes[8..].starts_with(b"dnlswap\x01")
}

/// Each of two images in the place of the other, and a place with the name of another VM.
#[test]
fn an_image_of_another_vm_is_refused() {
    let (mut space, file) = in_memory(MIB);
    let [a, b] = [1, 2].map(|name| Vm::random(3, name).store(&mut space, name).unwrap());
    let images = [&a, &b].map(|place| read(&file, place));
    write(&file, &a, &images[1]);
    write(&file, &b, &images[0]);
    assert_corrupt(&mut space, a, 1);
    assert_corrupt(&mut space, b, 2);
    let place = Vm::random(3, 1).store(&mut space, 1).unwrap();
    assert_corrupt(&mut space, place, 2);
    assert_empty(&space);
}

/// An older image of the same VM, of the same size, in the same place; and each mixture of both, as a torn write leaves it.
#[test]
fn an_older_image_is_refused() {
    let (mut space, file) = in_memory(MIB);
    let mut vm = Vm::random(5, 1);
    let old = vm.store(&mut space, 1).unwrap();
    let (extent, old_image) = (old.extent, read(&file, &old));
    Vm::load(&mut space, old, 1).unwrap();
    vm.pages.insert(0, Random(2).page());
    for torn in 0..old_image.len() / UNIT {
        for keep_front in [false, true] {
            let new = vm.store(&mut space, 1).unwrap();
            assert_eq!(new.extent, extent);
            let mut image = read(&file, &new);
            let (front, back) = old_image.split_at(torn * UNIT);
            if keep_front {
                image[..front.len()].copy_from_slice(front);
            } else {
                image[front.len()..].copy_from_slice(back);
            }
            write(&file, &new, &image);
            if keep_front && torn == 0 {
                assert_eq!(Vm::load(&mut space, new, 1).unwrap(), vm);
            } else {
                assert_corrupt(&mut space, new, 1);
            }
        }
    }
    assert_empty(&space);
}

/// An older image made to look like the latest, with a checksum that is right: the place knows the true one.
#[test]
fn a_forged_image_of_one_block_is_refused() {
    let (mut space, file) = in_memory(MIB);
    let old = Vm::random(5, 1).store(&mut space, 1).unwrap();
    let mut image = read(&file, &old);
    space.free(old);
    let new = Vm::random(5, 2).store(&mut space, 1).unwrap();
    image[24..32].copy_from_slice(&new.sequence.to_le_bytes());
    let checksum = XxHash3_64::oneshot_with_seed(0, &image[8..]);
    image[..8].copy_from_slice(&checksum.to_le_bytes());
    write(&file, &new, &image);
    assert_corrupt(&mut space, new, 1);
    assert_empty(&space);
}

/// A file that was cut off, within an image or before it; the space is as good as new when it has its length again.
#[test]
fn a_cut_file_is_a_failure_of_the_disk() {
    let (mut space, file) = in_memory(MIB);
    let vm = Vm::random(5, 1);
    for length in [0, UNIT as u64, 3 * UNIT as u64 + 5] {
        let place = vm.store(&mut space, 1).unwrap();
        file.set_len(length).unwrap();
        let (error, pages) = Vm::load(&mut space, place, 1).unwrap_err();
        assert!(matches!(&error, SwapError::Disk(error) if error.kind() == ErrorKind::UnexpectedEof), "{error}");
        assert_eq!(pages.len(), 0);
        assert_empty(&space);
        file.set_len(MIB).unwrap();
        let place = vm.store(&mut space, 1).unwrap();
        assert_eq!(Vm::load(&mut space, place, 1).unwrap(), vm);
    }
}

/// The system's own errors, small VM and large, on the way out and on the way in. Each is passed on, and costs no space.
#[test]
fn errors_of_the_disk_come_out_and_nothing_leaks() {
    let (mut space, file) = in_memory(8 * MIB);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let full = || OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let read_only = || File::open(&path).unwrap();
    let write_only = || OpenOptions::new().write(true).open(&path).unwrap();
    let errno = |error: &SwapError| match error {
        SwapError::Disk(error) => Errno::from_io_error(error),
        _ => None,
    };
    for pages in [5, 700] {
        let vm = Vm::random(pages, 1);
        for (broken, expected) in [(full(), Errno::NOSPC), (read_only(), Errno::BADF)] {
            let good = std::mem::replace(&mut space.file, broken);
            let error = vm.store(&mut space, 1).unwrap_err();
            assert_eq!(errno(&error), Some(expected), "{error}");
            space.file = good;
            assert_empty(&space);
        }
        let place = vm.store(&mut space, 1).unwrap();
        let good = std::mem::replace(&mut space.file, write_only());
        let (error, handed_on) = Vm::load(&mut space, place, 1).unwrap_err();
        assert_eq!((errno(&error), handed_on.len()), (Some(Errno::BADF), 0), "{error}");
        space.file = good;
        assert_empty(&space);
        let place = vm.store(&mut space, 1).unwrap();
        assert_eq!(Vm::load(&mut space, place, 1).unwrap(), vm);
    }
}

/// A write that the system cuts short, in the first block of a VM or a later one.
#[test]
fn a_write_cut_short_is_an_error_and_nothing_leaks() {
    if !is_limited("a_write_cut_short_is_an_error_and_nothing_leaks") {
        return;
    }
    for (pages, limit) in [(10, 6 * UNIT as u64), (700, MIB + MIB / 2)] {
        let (mut space, vm) = (on_disk(8 * MIB), Vm::random(pages, 1));
        let error = with_file_limit(limit, || vm.store(&mut space, 1)).unwrap_err();
        assert!(matches!(&error, SwapError::Disk(error) if error.kind() == ErrorKind::FileTooLarge), "{error}");
        // It did write up to there.
        let mut last = [0; 512];
        reopened(&space).read_exact_at(&mut last, limit - 512).unwrap();
        assert_ne!(last, [0; 512]);
        assert_empty(&space);
        let place = vm.store(&mut space, 1).unwrap();
        assert_eq!(Vm::load(&mut space, place, 1).unwrap(), vm);
    }
}

/// Each write of a VM's, cut short at its start, after a unit, in the middle and at its end: in a hole between two others, and,
/// for a large VM, behind them. No space is taken, no other VM is touched, and what is stored next is whole.
#[test]
fn a_write_that_fails_anywhere_changes_nothing() {
    if !is_limited("a_write_that_fails_anywhere_changes_nothing") {
        return;
    }
    let (mut space, file) = in_memory(8 * MIB);
    let others = [1, 2].map(|seed| Vm::random(3, seed));
    let first = others[0].store(&mut space, 1).unwrap();
    let gap = Vm::random(12, 9).store(&mut space, 9).unwrap();
    let last = others[1].store(&mut space, 2).unwrap();
    space.free(gap);
    let held = [read(&file, &first), read(&file, &last)];
    for pages in [10, 700] {
        let vm = Vm::random(pages, 3);
        let place = vm.store(&mut space, 3).unwrap();
        let (start, cuts) = (place.extent.start, cuts(&read(&file, &place)));
        assert_eq!(start < last.extent.start, pages == 10);
        space.free(place);
        for cut in cuts {
            let before = space.counts();
            let error = with_file_limit(offset(start + cut), || vm.store(&mut space, 3)).unwrap_err();
            assert!(matches!(&error, SwapError::Disk(error) if error.kind() == ErrorKind::FileTooLarge), "{error}");
            assert_eq!(Counts { written: before.written, ..space.counts() }, before, "cut at {cut}");
            assert!([read(&file, &first), read(&file, &last)] == held, "another VM was written to, cut at {cut}");
            let place = vm.store(&mut space, 3).unwrap();
            assert_eq!(place.extent.start, start);
            assert!(Vm::load(&mut space, place, 3).unwrap() == vm, "cut at {cut}");
        }
    }
    for (name, place, other) in [(1, first, &others[0]), (2, last, &others[1])] {
        assert_eq!(Vm::load(&mut space, place, name).unwrap(), *other);
    }
    assert_empty(&space);
}

/// Each read of a VM's, that ends at its start, after a unit, in the middle and at its end. What came before is right, its space is
/// free once, and the other VM is whole.
#[test]
fn a_read_that_fails_anywhere_costs_that_vm_alone() {
    let (mut space, file) = in_memory(8 * MIB);
    let other = Vm::random(3, 1);
    let kept = other.store(&mut space, 1).unwrap();
    let without = space.counts();
    for pages in [10, 700] {
        let vm = Vm::random(pages, 3);
        let place = vm.store(&mut space, 3).unwrap();
        let (start, cuts) = (place.extent.start, cuts(&read(&file, &place)));
        space.free(place);
        for cut in cuts {
            let place = vm.store(&mut space, 3).unwrap();
            file.set_len(offset(start + cut)).unwrap();
            let (error, handed_on) = Vm::load(&mut space, place, 3).unwrap_err();
            assert!(matches!(&error, SwapError::Disk(error) if error.kind() == ErrorKind::UnexpectedEof), "{error}");
            assert!(handed_on.iter().all(|(number, page)| vm.pages[number] == *page), "cut at {cut}");
            assert!(pages > 10 || handed_on.is_empty(), "cut at {cut}");
            let Counts { images, held, free, .. } = space.counts();
            assert_eq!((images, held, free), (without.images, without.held, without.free), "cut at {cut}");
            file.set_len(8 * MIB).unwrap();
        }
    }
    assert_eq!(Vm::load(&mut space, kept, 1).unwrap(), other);
    assert_empty(&space);
}

/// Where to cut an image, in units: at the start of each of its blocks, one unit further, in its middle and one before its end; a
/// small one at each.
fn cuts(image: &[u8]) -> Vec<u64> {
    let units = image.len() / UNIT;
    let mut blocks: Vec<usize> = (0..units).filter(|&n| is_header(&image[n * UNIT..])).collect();
    blocks.push(units);
    let of_block = |block: &[usize]| match block[1] - block[0] {
        small @ ..20 => (0..small).map(|n| block[0] + n).collect(),
        large => vec![block[0], block[0] + 1, block[0] + large / 2, block[1] - 1],
    };
    blocks.windows(2).flat_map(of_block).map(|n| n as u64).collect()
}

/// Whether a test may limit how large files get: the limit is the process's, so the test, of this name here, runs itself. To a
/// worker the signal that comes with it means nothing.
fn is_limited(name: &str) -> bool {
    const INNER: &str = "DENALI_TEST_SHORT_WRITE";
    let inner = std::env::var_os(INNER).is_some();
    if inner {
        crate::kvm::install_signal_handlers().unwrap();
    } else {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.arg("--exact").arg(format!("swap::space::tests::{name}"));
        let output = test.env(INNER, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
    inner
}

/// Does something while no file can be written beyond `bytes`.
fn with_file_limit<T>(bytes: u64, work: impl FnOnce() -> T) -> T {
    let usual = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), ..usual }).unwrap();
    let done = work();
    setrlimit(Resource::Fsize, usual).unwrap();
    done
}

/// The file of a space, for reads of any length.
fn reopened(space: &SwapSpace) -> File {
    File::open(format!("/proc/self/fd/{}", space.file.as_raw_fd())).unwrap()
}

/// What does not fit is refused, in numbers that help, and changes nothing.
#[test]
fn a_full_space_says_so() {
    let (mut space, _) = in_memory(2 * MIB);
    let small = Vm::random(100, 1);
    let places: Vec<Place> = (0..4).map(|name| small.store(&mut space, name).unwrap()).collect();
    let before = space.counts();
    for vm in [Vm::random(200, 1), Vm::random(700, 2)] {
        match vm.store(&mut space, 9) {
            Err(SwapError::Full { needed, largest, free }) => {
                assert!(needed > 200 * UNIT as u64 && largest == free && needed > free);
                assert_eq!(space.counts(), before);
            }
            other => panic!("{other:?}"),
        }
    }
    // One hole in the middle, one at the end: together they would do.
    let mut places = places.into_iter();
    let (first, second) = (places.next().unwrap(), places.next().unwrap());
    space.free(second);
    let message = Vm::random(150, 1).store(&mut space, 9).unwrap_err().to_string();
    assert!(message.contains("needs at least 618496 bytes in one piece, the largest piece has 442368"), "{message}");
    space.free(first);
    let place = Vm::random(150, 1).store(&mut space, 9).unwrap();
    places.chain([place]).for_each(|place| space.free(place));
    assert_empty(&space);
}

#[test]
fn more_state_than_any_vm_has_is_refused() {
    let (mut space, _) = in_memory(MIB);
    let error = space.store(1, &vec![1; STATE_BYTES_MAX + 1], [(0, [0; 4096])]).unwrap_err();
    assert!(matches!(error, SwapError::State { bytes: 65_537 }), "{error}");
    let place = space.store(1, &vec![1; STATE_BYTES_MAX], [(0, [0; 4096])]).unwrap();
    assert_eq!(space.load(place, 1, |_, page| assert_eq!(*page, [0; 4096])).unwrap(), vec![1; STATE_BYTES_MAX]);
}

/// More than any disk has, nothing at all, and a file that can't be written.
#[test]
fn space_that_is_not_there_is_an_error() {
    let temporary = || create(&std::env::temp_dir()).unwrap();
    let error = SwapSpace::new(temporary(), 1 << 60).unwrap_err();
    assert!(error.to_string().contains("make room"), "{error}");
    let SwapError::Allocate { bytes: 100, .. } = SwapSpace::new(temporary(), 100).unwrap_err() else { panic!() };
    let SwapError::Allocate { .. } = SwapSpace::new(File::open("/dev/null").unwrap(), MIB).unwrap_err() else {
        panic!()
    };
}

/// The file has no name, all its space, and goes past the cache if the file system can.
#[test]
fn a_file_has_no_name_and_all_its_space() {
    let directory = tempfile::tempdir().unwrap();
    let space = SwapSpace::new(create(directory.path()).unwrap(), MIB + 5).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let stat = rustix::fs::fstat(&space.file).unwrap();
    assert_eq!((stat.st_nlink, stat.st_size), (0, MIB as i64));
    assert!(stat.st_blocks * 512 >= MIB as i64);
    assert_eq!(space.counts(), Counts { images: 0, held: 0, free: MIB, written: 0, read: 0 });
    println!("direct: {}", fcntl_getfl(&space.file).unwrap().contains(OFlags::DIRECT));
}

/// How long it takes. `cargo test --release -p denali-vmm swap -- --ignored --nocapture`.
#[test]
#[ignore = "measures, and shows nothing else"]
fn measure() {
    for directory in ["/tmp", "/dev/shm"] {
        for direct in [true, false] {
            let directory = Path::new(directory);
            let file = if direct { create(directory) } else { tempfile::tempfile_in(directory) }.unwrap();
            let direct = fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT);
            let mut space = SwapSpace::new(file, 64 * MIB).unwrap();
            for pages in [30, 160] {
                // Of two pages, one is random, and one is zero or nearly so.
                let mut vm = Vm::random(pages, pages);
                let nearly = std::array::from_fn(|n| if n % 512 < 6 { n as u8 } else { 0 });
                vm.pages.iter_mut().step_by(4).for_each(|(_, page)| *page = [0; 4096]);
                vm.pages.iter_mut().skip(2).step_by(4).for_each(|(_, page)| *page = nearly);
                let (mut stores, mut loads, mut memory) = (Vec::new(), Vec::new(), vec![[0; 4096]; 480]);
                // Old places over and over, and new ones that were never written.
                let mut places = Vec::new();
                for name in 0..60 {
                    let begun = Instant::now();
                    places.push(vm.store(&mut space, name).unwrap());
                    stores.push(begun.elapsed());
                }
                let bytes = offset(places[0].extent.units);
                for (name, place) in (0..).zip(places) {
                    let begun = Instant::now();
                    space.load(place, name, |number, page| memory[number as usize] = *page).unwrap();
                    loads.push(begun.elapsed());
                }
                let mut again = Vec::new();
                for name in 0..200 {
                    let begun = Instant::now();
                    let place = vm.store(&mut space, name).unwrap();
                    again.push(begun.elapsed());
                    space.free(place);
                }
                let directory = directory.display();
                println!("{directory} direct={direct} {pages} pages, {bytes} bytes:");
                for (what, times) in [("store", &mut stores), ("store again", &mut again), ("load", &mut loads)] {
                    times.sort();
                    let at = |part: usize| times[(times.len() - 1) * part / 100];
                    let [median, p95, most]: [Duration; 3] = [at(50), at(95), at(100)];
                    println!("  {what}: median {median:?}, 95% {p95:?}, most {most:?}");
                }
            }
        }
    }
}
