//! A file full of images, on a disk that changes what it likes, against a model of what was stored.

use super::{Place, SwapError, SwapSpace, offset};
use crate::swap::{Page, block::UNIT};
use arbitrary::{Result, Unstructured};
use rustix::fs::{MemfdFlags, memfd_create};
use std::{cell::RefCell, fs::File, os::unix::fs::FileExt};

const UNITS: u64 = 32;
/// Pages that fit a block, whatever is in them.
const ONE_BLOCK: usize = 255;
/// Most steps of one input.
const STEPS: usize = 48;

struct Disk {
    space: SwapSpace,
    file: File,
}

/// What was stored.
struct Image {
    place: Place,
    vm: u64,
    state: Vec<u8>,
    pages: Vec<(u64, Page)>,
    /// Whether the disk changed some of it.
    torn: bool,
}

/// Stores, loads and forgets VMs, and tears what is on the disk, as `data` say. What was not torn comes back as it went; what was
/// comes back so too, where the change changed nothing, or is refused whole; and all space is free in the end.
pub fn swap_space(data: &[u8]) {
    thread_local! {
        static DISK: RefCell<Disk> = RefCell::new(Disk::new());
    }
    DISK.with_borrow_mut(|disk| {
        let mut images = Vec::new();
        // It ends where the bytes do.
        let _ = disk.run(&mut Unstructured::new(data), &mut images);
        images.into_iter().for_each(|image| disk.space.free(image.place));
        let counts = disk.space.counts();
        assert_eq!((counts.images, counts.held), (0, 0));
        assert_eq!((counts.free, disk.space.largest_hole()), (offset(UNITS), offset(UNITS)));
    });
}

impl Disk {
    fn new() -> Self {
        let file = File::from(memfd_create("swap", MemfdFlags::CLOEXEC).expect("a memory file"));
        let space = SwapSpace::new(file.try_clone().expect("a descriptor"), offset(UNITS)).expect("room");
        Self { space, file }
    }

    fn run(&mut self, u: &mut Unstructured<'_>, images: &mut Vec<Image>) -> Result<()> {
        for _ in 0..STEPS {
            if u.is_empty() {
                break;
            }
            match u.int_in_range(0..=7u8)? {
                0..=3 => self.store(u, images)?,
                _ if images.is_empty() => {}
                4 | 5 => {
                    let image = images.swap_remove(u.choose_index(images.len())?);
                    self.load(image, u.ratio(1, 8)?);
                }
                6 => {
                    let at = u.choose_index(images.len())?;
                    self.tear(u, &mut images[at])?;
                }
                _ => self.space.free(images.swap_remove(u.choose_index(images.len())?).place),
            }
            let held: u64 = images.iter().map(|image| image.place.extent.units).sum();
            let counts = self.space.counts();
            assert_eq!((counts.images, counts.held), (images.len() as u64, offset(held)));
            assert_eq!(counts.held + counts.free, offset(UNITS));
        }
        Ok(())
    }

    fn store(&mut self, u: &mut Unstructured<'_>, images: &mut Vec<Image>) -> Result<()> {
        let vm = u.int_in_range(0..=3)?;
        let bytes = u.int_in_range(0..=40.min(u.len()))?.min(u.len());
        let state = u.bytes(bytes)?.to_vec();
        // Now and then more than a block holds.
        let large = !u.ratio(63, 64)?;
        let count = if large { ONE_BLOCK + 10 } else { u.int_in_range(0..=6)? };
        let page = |u: &mut Unstructured<'_>| {
            let (number, seed, noise) = (u.arbitrary()?, u.arbitrary::<u8>()?, !large && u.ratio(1, 2)?);
            Ok((number, std::array::from_fn(|n| if noise { noisy(seed, n) } else { seed })))
        };
        let pages = (0..count).map(|_| page(u)).collect::<Result<Vec<(u64, Page)>>>()?;
        match self.space.store(vm, &state, pages.iter().map(|(number, page)| (*number, page))) {
            Ok(place) => {
                let (start, end) = (place.extent.start, place.extent.start + place.extent.units);
                let apart = |other: &Image| {
                    let other = other.place.extent;
                    other.start + other.units <= start || end <= other.start
                };
                assert!(end <= UNITS && images.iter().all(apart));
                images.push(Image { place, vm, state, pages, torn: false });
            }
            Err(SwapError::Full { needed, largest, .. }) => {
                assert!(largest == self.space.largest_hole() && needed > largest);
            }
            Err(error) => panic!("{error}"),
        }
        Ok(())
    }

    /// Loads an image, or one that was never there: the same place for another VM.
    fn load(&mut self, image: Image, other: bool) {
        let Image { place, vm, state, pages, torn } = image;
        let mut found = Vec::new();
        let loaded = self.space.load(place, vm + u64::from(other), |number, page| found.push((number, *page)));
        match loaded {
            Ok(loaded) => assert!(!other && loaded == state && found == pages),
            // Nothing of a block is handed on before it was checked.
            Err(SwapError::Corrupt { .. }) => {
                assert!((other || torn) && (found.is_empty() || pages.len() > ONE_BLOCK && pages.starts_with(&found)));
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn tear(&mut self, u: &mut Unstructured<'_>, image: &mut Image) -> Result<()> {
        let extent = image.place.extent;
        let at = offset(extent.start) + u.int_in_range(0..=offset(extent.units) - 1)?;
        let count = u.int_in_range(1..=16)?.min(u.len());
        let bytes = u.bytes(count)?;
        let end = offset(extent.start + extent.units);
        let bytes = &bytes[..bytes.len().min((end - at) as usize)];
        self.file.write_all_at(bytes, at).expect("the file is as long");
        image.torn = true;
        Ok(())
    }
}

/// Bytes that no compressor makes much smaller.
fn noisy(seed: u8, n: usize) -> u8 {
    let word = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(seed).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (word ^ word >> 31).wrapping_mul(0x94d0_49bb_1331_11eb).to_le_bytes()[6]
}

const _: () = assert!(UNIT == 4096);
