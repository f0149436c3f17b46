//! What programs are known to do, each once.

use super::machine::{ARENA, Machine, PROGRAM, RESERVE, areas};
use crate::errno::Errno;
use crate::mm::{Access, Areas, Backing, File, PAGE_BYTES, Request, Rights, Space};

const PRIVATE: u64 = 0x22;
const FIXED: u64 = 0x32;
const NORESERVE: u64 = 0x4022;
const READ: u64 = 1;
const WRITE: u64 = 3;
const MAY_MOVE: u64 = 1;

fn space(spare: usize) -> Space<Machine> {
    Space::new(areas(), Machine::new(spare)).unwrap()
}

fn request(address: u64, pages: u64, prot: u64, flags: u64) -> Request<'static> {
    Request { address, bytes: pages * PAGE_BYTES, prot, flags, file: None }
}

fn map(space: &mut Space<Machine>, pages: u64, prot: u64) -> u64 {
    space.mmap(&request(0, pages, prot, PRIVATE)).unwrap()
}

#[test]
fn a_heap_costs_no_exit_and_touches_nothing() {
    let mut space = space(0);
    let at = map(&mut space, 5, WRITE);
    assert_eq!(at + 5 * PAGE_BYTES, areas().arena.end);
    assert_eq!(space.brk(ARENA + 9000), ARENA + 9000);
    space.munmap(at, 5 * PAGE_BYTES).unwrap();
    assert_eq!((space.pages().exits, space.pages().zeroed.len()), (0, 0));
    // Used before, so zeroed now; still no exit.
    map(&mut space, 2, WRITE);
    assert_eq!((space.pages().exits, space.pages().zeroed.len()), (0, 2));
}

#[test]
fn rights_change_once_however_many_mappings_there_are() {
    let mut space = space(0);
    let at = map(&mut space, 8, WRITE);
    space.mprotect(at, PAGE_BYTES, READ).unwrap();
    space.mprotect(at + 4 * PAGE_BYTES, PAGE_BYTES, 0).unwrap();
    assert_eq!(space.pages().exits, 2);
    space.mprotect(at, 8 * PAGE_BYTES, READ).unwrap();
    space.mprotect(at, 8 * PAGE_BYTES, READ).unwrap();
    assert_eq!(space.pages().exits, 3);
    assert_eq!(space.mappings.len(), 1);
}

#[test]
fn the_stack_of_a_thread_that_ends_is_not_zeroed() {
    const DONTNEED: u64 = 4;
    let zeroed = |flags: u64| {
        let mut space = space(0);
        let at = space.mmap(&request(0, 4, WRITE, PRIVATE | flags)).unwrap();
        space.madvise(at, 4 * PAGE_BYTES, DONTNEED).unwrap();
        // Of what is mapped there next, whatever it is, all is.
        let before = space.pages().zeroed.len();
        space.munmap(at, 4 * PAGE_BYTES).unwrap();
        space.mmap(&request(at, 4, WRITE, FIXED)).unwrap();
        (before, space.pages().zeroed.len())
    };
    assert_eq!((zeroed(0), zeroed(0x2_0000)), ((4, 4), (0, 4)));
}

#[test]
fn code_can_be_written_until_it_is_code() {
    const EXECUTE: u64 = 5;
    let mut space = space(4);
    let at = map(&mut space, 6, 0);
    // The machine of these tests panics if it could not.
    space.mprotect(at, PAGE_BYTES, EXECUTE).unwrap();
    space.mprotect(at + 2 * PAGE_BYTES, PAGE_BYTES, READ).unwrap();
    space.mprotect(at, 6 * PAGE_BYTES, EXECUTE).unwrap();
    let far = space.mmap(&request(0, 60, 0, NORESERVE)).unwrap();
    space.mprotect(far, 2 * PAGE_BYTES, EXECUTE).unwrap();
    space.mprotect(far, 4 * PAGE_BYTES, READ).unwrap();
    space.mprotect(far, 4 * PAGE_BYTES, EXECUTE).unwrap();
    assert_eq!(space.check_bytes(far, 4 * PAGE_BYTES, Access::Read), Ok(()));
}

#[test]
fn a_large_reservation_takes_no_memory_until_it_is_committed() {
    let mut space = space(3);
    let at = space.mmap(&request(0, 60, 0, NORESERVE)).unwrap();
    assert!(at >= RESERVE && space.pages().exits == 0);
    space.mprotect(at, 2 * PAGE_BYTES, WRITE).unwrap();
    assert_eq!(space.check_bytes(at, 2 * PAGE_BYTES, Access::Write), Ok(()));
    assert_eq!(space.mprotect(at, 4 * PAGE_BYTES, WRITE), Err(Errno::ENOMEM));
    assert_eq!(space.mmap(&request(at + PAGE_BYTES, 1, WRITE, FIXED)), Ok(at + PAGE_BYTES));
    space.munmap(at, 60 * PAGE_BYTES).unwrap();
    assert_eq!(space.pages().spare, 3);
    // Nothing of it is remembered.
    let (at, exits) = (space.mmap(&request(0, 60, 0, NORESERVE)).unwrap(), space.pages().exits);
    assert_eq!(space.mremap(at, 30 * PAGE_BYTES, 30 * PAGE_BYTES, MAY_MOVE | 2, RESERVE), Ok(RESERVE));
    assert_eq!(space.pages().exits, exits);
}

#[test]
fn a_small_reservation_is_in_the_arena() {
    let mut space = space(0);
    // As glibc makes the stack of a thread.
    let at = space.mmap(&request(0, 6, 0, NORESERVE | 0x20000)).unwrap();
    assert!(areas().arena.contains(&at));
    space.mprotect(at + PAGE_BYTES, 5 * PAGE_BYTES, WRITE).unwrap();
    assert_eq!(space.check_bytes(at, 1, Access::Read), Err(Errno::EFAULT));
}

#[test]
fn what_has_no_room_in_the_arena_may_be_backed_elsewhere() {
    assert_eq!(space(24).mmap(&request(0, 25, WRITE, PRIVATE)), Err(Errno::ENOMEM));
    assert!(space(25).mmap(&request(0, 25, WRITE, PRIVATE)).is_ok_and(|at| at >= RESERVE));
}

#[test]
fn a_mapping_larger_than_half_of_memory_can_grow() {
    let mut space = space(0);
    let at = map(&mut space, 20, WRITE);
    for page in 0..20 {
        space.pages().writable(at + page * PAGE_BYTES).bytes[0] = page as u8 + 1;
    }
    let new = space.mremap(at, 20 * PAGE_BYTES, 24 * PAGE_BYTES, MAY_MOVE, 0);
    assert_eq!(new, Ok(ARENA));
    for page in 0..24 {
        let expected = if page < 20 { page as u8 + 1 } else { 0 };
        assert_eq!(space.pages().pages[&(ARENA + page * PAGE_BYTES)].bytes[0], expected);
    }
}

#[test]
fn pieces_that_move_over_themselves_arrive_whole() {
    let mut space = space(0);
    let at = map(&mut space, 21, READ);
    assert_eq!(at, ARENA + 3 * PAGE_BYTES);
    let used = [0, 1, 4, 5, 6, 20];
    for page in used {
        space.mprotect(at + page * PAGE_BYTES, PAGE_BYTES, WRITE).unwrap();
        space.pages().writable(at + page * PAGE_BYTES).bytes[0] = page as u8 + 1;
    }
    space.mprotect(at, 21 * PAGE_BYTES, READ).unwrap();
    assert_eq!(space.mremap(at, 21 * PAGE_BYTES, 23 * PAGE_BYTES, MAY_MOVE, 0), Ok(at - 2 * PAGE_BYTES));
    for page in 0..23 {
        let expected = if used.contains(&page) { page as u8 + 1 } else { 0 };
        let moved = &space.pages().pages[&(at + page * PAGE_BYTES - 2 * PAGE_BYTES)];
        assert_eq!((moved.bytes[0], moved.rights), (expected, Rights::Read), "{page}");
    }
}

#[test]
fn a_move_that_finds_no_pages_loses_nothing() {
    // None at all, and all but for the last one.
    for spare in [3, 24] {
        let mut space = space(spare);
        let at = map(&mut space, 24, WRITE);
        assert_eq!(space.mremap(at, 24 * PAGE_BYTES, 25 * PAGE_BYTES, MAY_MOVE, 0), Err(Errno::ENOMEM));
        assert_eq!(space.check_bytes(at, 24 * PAGE_BYTES, Access::Write), Ok(()));
        assert_eq!(space.pages().spare, spare);
    }
}

#[test]
fn a_move_shows_nothing_of_what_it_replaces() {
    let mut space = space(0);
    let (target, at) = (map(&mut space, 1, WRITE), map(&mut space, 1, READ));
    space.pages().writable(target).bytes[0] = 1;
    assert_eq!(space.mremap(at, PAGE_BYTES, PAGE_BYTES, MAY_MOVE | 2, target), Ok(target));
    assert_eq!(space.pages().pages[&target].bytes[0], 0);
}

#[test]
fn a_file_is_copied_and_its_parts_know_their_place() {
    let mut space = space(0);
    let file = File { name: "/lib/a".into(), offset: 0x3000, contents: &[&[1; 3], &[2; 5000]], writable: false };
    let file = Request { file: Some(file), ..request(0, 3, 5, 2) };
    let at = space.mmap(&file).unwrap();
    let page = &space.pages().pages[&at];
    assert_eq!((&page.bytes[..5], page.rights), (&[1, 1, 1, 2, 2][..], Rights::Execute));
    assert_eq!(space.pages().pages[&(at + PAGE_BYTES)].bytes[905..909], [2, 2, 0, 0]);
    space.munmap(at, PAGE_BYTES).unwrap();
    let name = format!("{:08x}-{:08x} r-xp 00004000 00:00 0 ", at + 0x1000, at + 0x3000);
    assert_eq!(space.maps(), format!("{name:73}/lib/a\n"));
    assert_eq!(space.mmap(&Request { prot: WRITE, flags: 1, ..file.clone() }), Err(Errno::EACCES));
    assert_eq!(space.mmap(&Request { file: None, ..file }), Err(Errno::EBADF));
}

#[test]
fn the_loader_places_segments_where_they_belong() {
    let mut space = space(0);
    let text = Backing::File { name: "/bin/p".into(), bias: 0x1000u64.wrapping_sub(PROGRAM) };
    space.load(&(PROGRAM..PROGRAM + 0x2000), Rights::Execute, text, (PROGRAM + 0x10, b"code")).unwrap();
    assert_eq!(space.pages().pages[&PROGRAM].bytes[0x10..0x15], *b"code\0");
    let beyond = PROGRAM..PROGRAM + 0x10_0000;
    assert_eq!(space.load(&beyond, Rights::Read, Backing::Anonymous, (PROGRAM, b"")), Err(Errno::ENOMEM));
    assert!(space.maps().contains("r-xp 00001000"));
}

#[test]
fn write_and_execute_exclude_each_other() {
    let mut space = space(0);
    assert_eq!(space.mmap(&request(0, 1, 7, PRIVATE)), Err(Errno::EACCES));
    let at = map(&mut space, 1, WRITE);
    assert_eq!(space.mprotect(at, 1, 6), Err(Errno::EACCES));
    assert_eq!(Rights::from_prot(4), Ok(Rights::Execute));
    assert_eq!(Rights::from_prot(2), Ok(Rights::Write));
    assert_eq!(Rights::from_prot(0x10), Err(Errno::EINVAL));
}

#[test]
fn nothing_outside_of_the_areas_can_be_mapped() {
    let mut space = space(9);
    for address in [0, 0x1000, 0x20_0000, PROGRAM - PAGE_BYTES, areas().arena.end, 1 << 47, u64::MAX - 4095] {
        assert_eq!(space.mmap(&request(address, 1, WRITE, FIXED)), Err(Errno::ENOMEM), "{address:#x}");
    }
    assert_eq!(space.mmap(&request(ARENA + 1, 1, WRITE, FIXED)), Err(Errno::EINVAL));
    assert_eq!(space.munmap(0x20_0000, 1 << 30), Ok(()));
    assert_eq!(space.munmap(ARENA, u64::MAX), Err(Errno::EINVAL));
}

#[test]
fn a_limit_holds() {
    let mut space = space(0);
    space.set_limit(4 * PAGE_BYTES);
    let at = map(&mut space, 3, WRITE);
    assert_eq!(space.mmap(&request(0, 2, WRITE, PRIVATE)), Err(Errno::ENOMEM));
    assert_eq!(space.mremap(at, 3 * PAGE_BYTES, 5 * PAGE_BYTES, MAY_MOVE, 0), Err(Errno::ENOMEM));
    assert_eq!(space.brk(ARENA + 2 * PAGE_BYTES), ARENA);
    assert_eq!(space.mmap(&request(at, 4, WRITE, PRIVATE | 0x10)), Err(Errno::ENOMEM));
    assert_eq!(space.mmap(&request(at, 3, READ, PRIVATE | 0x10)), Ok(at));
}

#[test]
fn a_check_spans_mappings_and_stops_at_holes() {
    let mut space = space(0);
    let at = map(&mut space, 4, WRITE);
    space.mprotect(at + PAGE_BYTES, PAGE_BYTES, READ).unwrap();
    let end = at + 4 * PAGE_BYTES;
    assert_eq!(space.check(&(at + 5..end), Access::Read), Ok(()));
    assert_eq!(space.check(&(at + 5..end), Access::Write), Err(Errno::EFAULT));
    assert_eq!(space.check(&(at..end + 1), Access::Read), Err(Errno::EFAULT));
    assert_eq!(space.accessible(end - 3, 100, Access::Read), 3);
    assert_eq!(space.accessible(end, 100, Access::Read), 0);
    assert_eq!(space.check_bytes(u64::MAX, 2, Access::Read), Err(Errno::EFAULT));
    assert_eq!(space.check_bytes(0, 0, Access::Write), Ok(()));
    // What was found is forgotten.
    space.munmap(at, PAGE_BYTES).unwrap();
    assert_eq!(space.check(&(at + 5..end), Access::Read), Err(Errno::EFAULT));
}

#[test]
fn advice_is_checked() {
    let mut space = space(0);
    let at = map(&mut space, 2, WRITE);
    space.pages().writable(at).bytes[0] = 1;
    assert_eq!(space.madvise(at, PAGE_BYTES, 8), Ok(()));
    assert_eq!(space.pages().pages[&at].bytes[0], 1);
    assert_eq!(space.madvise(at, PAGE_BYTES, 4), Ok(()));
    assert_eq!(space.pages().pages[&at].bytes[0], 0);
    assert_eq!(space.madvise(at, PAGE_BYTES, 999), Err(Errno::EINVAL));
    assert_eq!(space.madvise(at, 3 * PAGE_BYTES, 3), Err(Errno::ENOMEM));
    assert_eq!(space.mincore(at, PAGE_BYTES + 1), Ok(2));
    assert_eq!(space.mlock(at + 1, PAGE_BYTES), Ok(()));
    assert_eq!(space.msync(at, PAGE_BYTES, 5), Err(Errno::EINVAL));
    assert_eq!(space.msync(at + 1, PAGE_BYTES, 4), Err(Errno::EINVAL));
}

#[test]
fn bad_areas_are_refused() {
    let good = areas();
    let bad = [
        Areas { program: 0x40_0001..0x40_1000, ..good.clone() },
        Areas { arena: PROGRAM..good.arena.end, ..good.clone() },
        Areas { reserve: good.arena.end..RESERVE, ..good.clone() },
        Areas { reserve: RESERVE..1 << 48, ..good },
    ];
    for areas in bad {
        assert!(Space::new(areas, Machine::new(0)).is_err());
    }
}
