use super::Pagemap;
use std::ops::Range;
use vm_memory::{Bytes, VolatileMemory, VolatileSlice, mmap::MmapRegion};

fn found(pagemap: &Pagemap, memory: &VolatileSlice<'_>) -> Vec<u64> {
    let mut pages = Vec::new();
    pagemap.private(memory, |run: Range<u64>| pages.extend(run.step_by(4096))).expect("it can be read");
    pages
}

/// Both ways find exactly the pages that were written, however many runs they make; not those only read.
#[test]
fn both_ways_find_the_pages_written() {
    let region: MmapRegion = MmapRegion::new(8 << 20).expect("memory");
    let memory = region.as_volatile_slice();
    let written: Vec<u64> = (0..300).map(|n| n * 3 * 4096).chain([(8 << 20) - 4096]).collect();
    for page in &written {
        memory.write_obj(1u8, *page as usize).expect("inside");
    }
    let _: u8 = memory.read_obj(4096).expect("inside");
    let mut pagemap = Pagemap::open().expect("it is there");
    if pagemap.scans {
        assert_eq!(found(&pagemap, &memory), written);
    }
    pagemap.scans = false;
    // Older kernels tell a page of zeros that was only read from none.
    let by_reading = found(&pagemap, &memory);
    assert!(written.iter().all(|page| by_reading.contains(page)), "a written page was missed");
    assert!(by_reading.len() <= written.len() + 1, "pages were found that no one touched");
}
