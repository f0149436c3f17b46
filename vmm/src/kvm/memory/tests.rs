use super::{GuestMemory, Pagemap};
use crate::machine::image::Image;
use denali_abi::memory::IMAGE_BASE;
use denali_protocol::bundle::{Content, CpuModel, PackRequest, pack};
use std::os::unix::fs::MetadataExt;
use vm_memory::Bytes;

const MEMORY: u64 = 16 << 20;
const DATA: u64 = IMAGE_BASE + 0x1000;

/// One page of code, and data of 100 bytes in 8 MiB.
fn program() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([IMAGE_BASE, 64, 0].map(u64::to_le_bytes).concat());
    file.extend([0u16, 0, 64, 56, 2, 64, 0, 0].map(u16::to_le_bytes).concat());
    for (flags, offset, address, file_bytes, bytes) in [(5u32, 176, IMAGE_BASE, 2, 2u64), (6, 178, DATA, 100, 8 << 20)]
    {
        file.extend([1u32, flags].map(u32::to_le_bytes).concat());
        file.extend([offset, address, address, file_bytes, bytes, 4096].map(u64::to_le_bytes).concat());
    }
    file.extend([0xeb, 0xfe]);
    file.extend([7; 100]);
    file
}

fn image() -> Image {
    let content = pack(&PackRequest {
        name: "test",
        cpu: CpuModel::V2,
        memory_bytes: MEMORY,
        cpu_time_us: 1,
        wall_time_us: 1,
        program: &program(),
        files: &[("file".to_owned(), b"contents".to_vec())],
    });
    let content = content.expect("it packs");
    Image::prepare(&Content::parse(&content).expect("a content"), MEMORY).expect("an image")
}

fn byte(memory: &GuestMemory, address: u64) -> u8 {
    memory.ram().read_obj(address as usize).expect("inside of memory")
}

fn kib(memory: &GuestMemory, pagemap: &Pagemap) -> u64 {
    let runs = memory.private_ram(pagemap).expect("it can be read");
    runs.iter().map(|run| (run.end - run.start) / 1024).sum()
}

/// What one VM writes is neither in the file nor in another VM, and pages of zeros are not allocated in the file.
#[test]
fn memory_is_private_and_costs_once() {
    let image = image();
    let blocks = image.ram[0].file.metadata().expect("a memfd").blocks();
    let (first, second) = (GuestMemory::new(&image).expect("memory"), GuestMemory::new(&image).expect("memory"));
    for memory in [&first, &second] {
        let found = [IMAGE_BASE, IMAGE_BASE + 2, DATA, DATA + 99, DATA + 100, DATA + (4 << 20), MEMORY - 1];
        assert_eq!(found.map(|at| byte(memory, at)), [0xeb, 0, 7, 7, 0, 0, 0]);
    }
    for at in (IMAGE_BASE..MEMORY).step_by(4096) {
        first.ram().write_obj(0xaau8, at as usize).expect("inside of memory");
    }
    let pagemap = Pagemap::open().expect("it is there");
    assert!(kib(&first, &pagemap) >= (MEMORY - IMAGE_BASE) / 1024);
    assert!(kib(&second, &pagemap) < 1024);
    assert_eq!(byte(&second, DATA), 7);
    assert_eq!(byte(&second, DATA + (4 << 20)), 0);
    assert_eq!(byte(&GuestMemory::new(&image).expect("memory"), IMAGE_BASE), 0xeb);
    assert_eq!(image.ram[0].file.metadata().expect("a memfd").blocks(), blocks);
}

/// The file's contents follow the program's zeros, and are where the module table says.
#[test]
fn files_of_the_bundle_are_in_memory() {
    let image = image();
    let memory = GuestMemory::new(&image).expect("memory");
    let word = |at: u64| memory.ram().read_obj::<u64>(at as usize).expect("inside of memory");
    let (name, name_bytes, data, data_bytes) =
        (word(image.modules), word(image.modules + 8), word(image.modules + 16), word(image.modules + 24));
    assert_eq!((image.module_count, name_bytes, data_bytes, data % 4096), (1, 4, 8, 0));
    let text = |at: u64, bytes: u64| (0..bytes).map(|n| byte(&memory, at + n)).collect::<Vec<_>>();
    assert_eq!((text(name, name_bytes), text(data, data_bytes)), (b"file".to_vec(), b"contents".to_vec()));
}
