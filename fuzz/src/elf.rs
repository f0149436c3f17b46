//! Programs, as a bundle by a stranger might hold them.

use denali_vmm::machine::{elf::parse, paging::Rights};

/// Memory sizes of VMs, in bytes.
const MEMORY_BYTES: [u64; 3] = [4 << 20, 64 << 20, 16 << 30];
/// Lowest address of an image.
const BASE: u64 = 0x20_0000;
const PAGE: u64 = 4096;

/// Parses `data` as a program. What is accepted lies where an image may, in whole pages that no two segments share, each
/// with its rights, and starts in code.
pub fn elf(data: &[u8]) {
    for memory_bytes in MEMORY_BYTES {
        let program = match parse(data, memory_bytes) {
            Ok(program) => program,
            Err(error) => {
                assert_ne!(error.to_string(), "");
                continue;
            }
        };
        assert!((1..=64).contains(&program.segments.len()));
        let mut end = BASE;
        for segment in &program.segments {
            let pages = &segment.pages;
            assert!((pages.start | pages.end).is_multiple_of(PAGE));
            assert!(end <= pages.start && pages.start < pages.end && pages.end <= memory_bytes);
            let data_end = segment.start + segment.data.len() as u64;
            assert!(pages.contains(&segment.start) && data_end <= pages.end);
            assert!(matches!(segment.rights, Rights::Read | Rights::Write | Rights::Execute));
            end = pages.end;
        }
        assert_eq!(program.end, end);
        let code = program.segments.iter().find(|segment| segment.pages.contains(&program.entry));
        assert_eq!(code.map(|segment| segment.rights), Some(Rights::Execute));
    }
}
