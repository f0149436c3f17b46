//! The same operations on this file system and on the host's: every result, every error and the final tree agree.
//!
//! On tmpfs (`/dev/shm`) where there is one, since it is what this file system is most like. Paths climb by `..`, also in
//! the targets of links; so that no walk leaves the temporary directory, all is done deep inside of it: a walk starts at
//! the base or at a directory found from there, and each climbs at most by a path's length and one level a link.
use super::{
    host::Host,
    model::{Entry, Model, Op, Target, tree},
    ours::Ours,
};
use proptest::{collection::vec, prelude::*, sample::select};
use rustix::fs::{AtFlags, FallocateFlags, OFlags, RenameFlags};

/// Directories above the base: more than two walks can climb (4 components and 40 links each).
pub(super) const DEPTH: usize = 100;
const SLOTS: usize = 5;
/// An absolute path where nothing is, and where no operation can make anything, its directory being absent too.
const ABSENT: &str = "/nothing-is-here/nor-here";

fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        30 => select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        3 => Just(".".to_owned()),
        3 => Just("..".to_owned()),
        1 => Just(String::new()),
        1 => Just("n".repeat(255)),
        1 => Just("n".repeat(256)),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    (vec(component(), 1..=3), prop::bool::weighted(0.15)).prop_map(|(components, slash)| {
        let path = components.join("/") + if slash { "/" } else { "" };
        path.trim_start_matches('/').as_bytes().to_vec()
    })
}

fn target() -> impl Strategy<Value = Target> {
    (prop::option::weighted(0.15, 0..SLOTS), path()).prop_map(|(at, path)| Target { at, path })
}

fn link_text() -> impl Strategy<Value = Vec<u8>> {
    let texts = ["a", "b", "c", "a/b", "b/c", "../a", "./b/", "..", ".", "c/../a", ABSENT, "", "a/"];
    select(texts.map(|text| text.as_bytes().to_vec()).to_vec())
}

fn open_flags() -> impl Strategy<Value = OFlags> {
    let access = select(vec![OFlags::RDONLY, OFlags::WRONLY, OFlags::RDWR, OFlags::RDWR]);
    let some = |flag: OFlags, chance: f64| {
        prop::bool::weighted(chance).prop_map(move |on| if on { flag } else { OFlags::empty() })
    };
    let creation = (some(OFlags::CREATE, 0.6), some(OFlags::EXCL, 0.2), some(OFlags::TRUNC, 0.2));
    let rest = (
        some(OFlags::APPEND, 0.2),
        some(OFlags::DIRECTORY, 0.15),
        some(OFlags::NOFOLLOW, 0.2),
        some(OFlags::PATH, 0.08),
    );
    (access, creation, rest).prop_map(|(access, (create, exclusive, truncate), (append, directory, nofollow, path))| {
        // Making a directory by open, and exclusive without making, mean different things in different kernels.
        let directory = if create.is_empty() { directory } else { OFlags::empty() };
        let exclusive = if create.is_empty() { OFlags::empty() } else { exclusive };
        access | create | exclusive | truncate | append | directory | nofollow | path
    })
}

/// Offsets and sizes: near chunks' ends, and a few impossible ones.
fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![
        10 => 0..300_i64,
        5 => select(vec![65_535, 65_536, 65_537, 131_072]),
        3 => 0..400_000_i64,
        1 => select(vec![-1, -300, i64::MIN]),
    ]
}

/// Offsets that have no effect on a file: the largest ones besides.
fn any_offset() -> impl Strategy<Value = i64> {
    prop_oneof![12 => offset(), 1 => select(vec![i64::MAX, i64::MAX - 1])]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..300_usize, 1 => 0..140_000_usize]
}

/// Modes that leave a directory open to its owner: this file system serves root, the host may serve anybody.
fn mode() -> impl Strategy<Value = u32> {
    select(vec![0o700, 0o755, 0o4711])
}

fn on_names() -> impl Strategy<Value = Op> {
    let stat = select(vec![AtFlags::empty(), AtFlags::SYMLINK_NOFOLLOW, AtFlags::EMPTY_PATH]);
    let rename =
        select(vec![RenameFlags::empty(), RenameFlags::empty(), RenameFlags::NOREPLACE, RenameFlags::EXCHANGE]);
    let link = select(vec![AtFlags::empty(), AtFlags::SYMLINK_FOLLOW]);
    prop_oneof![
        8 => target().prop_map(Op::Mkdir),
        3 => target().prop_map(Op::Rmdir),
        5 => target().prop_map(Op::Unlink),
        8 => (target(), target(), rename).prop_map(|(from, to, flags)| Op::Rename(from, to, flags)),
        5 => (target(), target(), link).prop_map(|(from, to, flags)| Op::Link(from, to, flags)),
        5 => (link_text(), target()).prop_map(|(text, at)| Op::Symlink(text, at)),
        6 => (target(), stat).prop_map(|(target, flags)| Op::Stat(target, flags)),
        3 => target().prop_map(Op::Readlink),
        2 => (target(), mode()).prop_map(|(target, mode)| Op::Chmod(target, mode)),
        2 => (target(), 0..8_u32).prop_map(|(target, mode)| Op::Access(target, mode)),
        2 => path().prop_map(Op::List),
    ]
}

fn on_descriptors() -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let allocate = select(vec![FallocateFlags::empty(), FallocateFlags::KEEP_SIZE, punch]);
    prop_oneof![
        16 => (slot(), path(), open_flags()).prop_map(|(slot, path, flags)| Op::Open(slot, path, flags)),
        4 => slot().prop_map(Op::Close),
        2 => (slot(), slot()).prop_map(|(from, to)| Op::Dup(from, to)),
        6 => (slot(), size()).prop_map(|(slot, count)| Op::Read(slot, count)),
        12 => (slot(), size(), any::<u8>()).prop_map(|(slot, count, byte)| Op::Write(slot, count, byte)),
        4 => (slot(), size(), any_offset()).prop_map(|(slot, count, offset)| Op::Pread(slot, count, offset)),
        4 => (slot(), size(), any::<u8>(), offset()).prop_map(|(slot, count, byte, at)| Op::Pwrite(slot, count, byte, at)),
        3 => (slot(), vec(size(), 0..4), any::<u8>()).prop_map(|(slot, parts, byte)| Op::Writev(slot, parts, byte)),
        3 => (slot(), vec(size(), 0..4)).prop_map(|(slot, parts)| Op::Readv(slot, parts)),
        4 => (slot(), any_offset(), 0..3_u8).prop_map(|(slot, offset, whence)| Op::Seek(slot, offset, whence)),
        3 => (slot(), offset()).prop_map(|(slot, len)| Op::Ftruncate(slot, len)),
        2 => (slot(), allocate, offset(), offset()).prop_map(|(slot, flags, at, len)| Op::Fallocate(slot, flags, at, len)),
        2 => (slot(), slot(), size()).prop_map(|(from, to, count)| Op::Sendfile(from, to, count)),
        2 => (slot(), slot(), prop::option::of(0..300_u64), prop::option::of(0..300_u64), size())
            .prop_map(|(from, to, start, end, count)| Op::CopyRange(from, to, start, end, count)),
        2 => slot().prop_map(Op::Fstat),
        2 => (slot(), any::<bool>()).prop_map(|(slot, append)| Op::Status(slot, append)),
    ]
}

fn operations() -> impl Strategy<Value = Vec<Op>> {
    vec(prop_oneof![on_names(), on_descriptors()], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_host_agrees(operations in operations()) {
        let mut host = Host::new(DEPTH);
        let mut ours = Ours::new(DEPTH);
        for (number, operation) in operations.iter().enumerate() {
            let expected = host.run(operation);
            let found = ours.run(operation);
            prop_assert_eq!(expected, found, "operation {}: {:?}", number, operation);
        }
        let (theirs, mine): (Vec<Entry>, Vec<Entry>) = (tree(&mut host), tree(&mut ours));
        prop_assert_eq!(theirs, mine);
        prop_assert!(ours.gives_all_back());
    }
}
