use super::{Images, KEPT, PrepareError};
use denali_protocol::{
    bundle::{CpuModel, PackRequest, pack},
    digest::Digest,
};
use std::{fs::File, io::Write, sync::Arc};

/// The smallest ELF file: a header, a program header, and one instruction.
fn program() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([0x20_0000u64, 64, 0].map(u64::to_le_bytes).concat());
    file.extend([0u16, 0, 64, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
    file.extend([1u32, 5].map(u32::to_le_bytes).concat());
    file.extend([120u64, 0x20_0000, 0x20_0000, 2, 2, 4096].map(u64::to_le_bytes).concat());
    file.extend([0xeb, 0xfe]);
    file
}

fn bundle(program: &[u8], data_bytes: usize) -> File {
    let content = pack(&PackRequest {
        name: "test",
        cpu: CpuModel::V2,
        memory_bytes: 1 << 30,
        cpu_time_us: 1,
        wall_time_us: 1,
        program,
        files: &[("data".to_owned(), vec![1; data_bytes])],
    });
    let memory = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd");
    let mut file = File::from(memory);
    file.write_all(&content.expect("it packs")).expect("room");
    file
}

fn digest(n: usize) -> Digest {
    Digest::of(&n.to_le_bytes())
}

fn count(images: &Images) -> usize {
    images.entries().len()
}

#[test]
fn an_image_is_prepared_once_and_the_oldest_goes() {
    let images = Images::default();
    let get = |n| images.get(digest(n), 16 << 20, bundle(&program(), 10)).expect("an image").0;
    let first = get(0);
    assert!(Arc::ptr_eq(&first, &get(0)));
    let (other_size, _) = images.get(digest(0), 32 << 20, bundle(&program(), 10)).expect("an image");
    assert!(!Arc::ptr_eq(&first, &other_size), "an image is for one size of memory");
    for n in 1..KEPT - 1 {
        get(n);
    }
    assert!(Arc::ptr_eq(&first, &get(0)), "used again, so the latest");
    get(100);
    assert_eq!(count(&images), KEPT);
    assert!(Arc::ptr_eq(&first, &get(0)), "another was older");
}

#[test]
fn large_images_are_not_hoarded() {
    let images = Images::default();
    for n in 0..4 {
        let (image, _) = images.get(digest(n), 1 << 30, bundle(&program(), 200 << 20)).expect("an image");
        assert!(image.bytes() > 200 << 20);
        assert!(count(&images) <= 2, "512 MiB hold two of them");
    }
}

#[test]
fn a_broken_bundle_is_to_blame_and_not_kept() {
    let images = Images::default();
    let error = images.get(digest(0), 16 << 20, bundle(b"\x7fELF", 0)).expect_err("no program");
    assert!(error.blames_bundle(), "{error}");
    let mut junk = bundle(b"\x7fELF", 0);
    junk.write_all(b"more").expect("room");
    let error = images.get(digest(1), 16 << 20, junk).expect_err("junk");
    assert!(matches!(*error, PrepareError::Content(_)) && error.blames_bundle(), "{error}");
    assert_eq!(count(&images), 0);
    for memory_bytes in [0, 4096, (4 << 20) + 1, (16 << 30) + 4096, u64::MAX] {
        let error = images.get(digest(0), memory_bytes, bundle(&program(), 0)).expect_err("no such memory");
        assert!(error.blames_bundle(), "{memory_bytes}: {error}");
    }
}

/// Of an array of jobs whose bundle is broken, one finds out, and the others hear of it.
#[test]
fn what_failed_once_is_not_tried_by_each_who_waited() {
    let images = Images::default();
    let attempt = || {
        let barrier = std::sync::Barrier::new(3);
        let get = || {
            let file = bundle(b"\x7fELF", 50 << 20);
            barrier.wait();
            images.get(digest(0), 16 << 20, file).expect_err("no program")
        };
        std::thread::scope(|scope| {
            let threads = [(); 3].map(|()| scope.spawn(get));
            threads.map(|thread| thread.join().expect("no one panicked"))
        })
    };
    // A busy machine may let one of them go only after the others are through.
    let together = |[one, two, three]: [Arc<PrepareError>; 3]| Arc::ptr_eq(&one, &two) && Arc::ptr_eq(&one, &three);
    assert!((0..20).any(|_| together(attempt())));
    assert_eq!(count(&images), 0);
}

/// What was kept for a bundle that is forgotten goes, and nothing more is kept for it.
#[test]
fn a_forgotten_bundle_keeps_nothing() {
    let images = Images::default();
    let get = |n| images.get(digest(n), 16 << 20, bundle(&program(), 10)).expect("an image").0;
    let first = get(0);
    assert!(!first.is_retired());
    for n in 1..=KEPT {
        get(n);
    }
    assert!(first.is_retired());
}
