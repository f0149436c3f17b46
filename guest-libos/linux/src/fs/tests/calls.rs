//! Calls on names and files, with the errors that their manual pages give.
use super::{super::limits, new, with_memory};
use crate::{
    bundle::Tree,
    errno::Errno,
    fs::{Fs, Generated, Now, Stop, Timespec, Touch},
};
use linux_raw_sys::{general as abi, ioctl};

const CWD: i32 = abi::AT_FDCWD;
const CREATE: u32 = abi::O_RDWR | abi::O_CREAT;

fn open(fs: &mut Fs, path: &str, flags: u32) -> Result<i32, Errno> {
    fs.openat(CWD, path.as_bytes(), flags, 0o644)
}

fn contents(fs: &mut Fs, path: &str) -> Vec<u8> {
    let fd = open(fs, path, abi::O_RDONLY).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let count = fs.read(fd, &mut buffer).unwrap();
    fs.close(fd).unwrap();
    buffer.truncate(count);
    buffer
}

#[test]
fn the_bundle_is_copied_when_it_is_written() {
    let (mut fs, _) = new();
    let fd = open(&mut fs, "/in/data/numbers", abi::O_RDWR).unwrap();
    assert_eq!(fs.pwrite(fd, b"xy", 3), Ok(2));
    assert_eq!(contents(&mut fs, "/in/data/numbers"), b"012xy56789");
    assert_eq!(super::FILES[1].1, b"0123456789");
    fs.ftruncate(fd, 4).unwrap();
    fs.ftruncate(fd, 12).unwrap();
    assert_eq!(contents(&mut fs, "/in/data/numbers"), b"012x\0\0\0\0\0\0\0\0");
    // The bundle's own file is kept, what it lacks is added.
    assert_eq!(contents(&mut fs, "/etc/hosts"), b"127.0.0.1 me\n");
    assert!(contents(&mut fs, "/etc/passwd").starts_with(b"root:x:0:0:"));
    assert_eq!(open(&mut fs, "/etc/localtime", 0), Err(Errno::ENOENT));
}

#[test]
fn memory_ends_with_enospc_and_comes_back() {
    let (mut fs, _) = with_memory(300 << 10);
    let before = fs.held();
    let fd = open(&mut fs, "/tmp/a", CREATE).unwrap();
    let written = fs.write(fd, &vec![1; 1 << 20]).unwrap();
    assert!((100 << 10..300 << 10).contains(&written), "{written}");
    assert_eq!(fs.write(fd, &[1; limits::CHUNK]), Err(Stop::Error(Errno::ENOSPC)));
    assert_eq!(fs.fstat(fd).unwrap().size, written as u64);
    fs.unlinkat(CWD, b"/tmp/a", 0).unwrap();
    assert!(fs.held() > before, "it is still open");
    fs.close(fd).unwrap();
    assert_eq!(fs.held(), before);
    let names = (0..).take_while(|number| fs.mkdirat(CWD, format!("/tmp/{number}").as_bytes(), 0).is_ok()).count();
    assert!(names < 2000, "{names}");
    assert_eq!(fs.mkdirat(CWD, b"/tmp/more", 0), Err(Errno::ENOSPC));
    assert_eq!(fs.statfs(b"/tmp").unwrap().f_bfree, 0);
}

#[test]
fn descriptors_are_the_lowest_free_and_end() {
    let (mut fs, _) = new();
    assert_eq!(open(&mut fs, "/dev/null", abi::O_RDWR), Ok(3));
    assert_eq!(fs.dup(3), Ok(4));
    assert_eq!(fs.dup2(3, 9), Ok(9));
    assert_eq!(fs.fcntl(3, abi::F_DUPFD_CLOEXEC, 5), Ok(5));
    assert_eq!((fs.fcntl(5, abi::F_GETFD, 0), fs.fcntl(4, abi::F_GETFD, 0)), (Ok(1), Ok(0)));
    assert_eq!(fs.fcntl(3, abi::F_DUPFD, 1024), Err(Errno::EINVAL));
    assert_eq!((fs.dup3(3, 3, 0), fs.dup2(3, 3)), (Err(Errno::EINVAL), Ok(3)));
    assert_eq!(
        (fs.dup2(3, 1024), fs.dup2(3, -1), fs.dup2(77, 3)),
        (Err(Errno::EBADF), Err(Errno::EBADF), Err(Errno::EBADF))
    );
    fs.close(4).unwrap();
    assert_eq!(fs.close(4), Err(Errno::EBADF));
    assert_eq!(open(&mut fs, "/dev/null", 0), Ok(4));
    let more = (0..).take_while(|_| fs.dup(3).is_ok()).count();
    assert_eq!(more, 1024 - 7);
    for error in [fs.dup(3), open(&mut fs, "/absent", 0), fs.epoll_create1(0), fs.fcntl(3, abi::F_DUPFD, 0)] {
        assert_eq!(error, Err(Errno::EMFILE));
    }
    assert_eq!(fs.pipe2(0), Err(Errno::EMFILE));
    fs.close(1000).unwrap();
    assert_eq!(fs.pipe2(0), Err(Errno::EMFILE));
    fs.close_range(3, u32::MAX, 0).unwrap();
    assert_eq!(fs.close_range(4, 3, 0), Err(Errno::EINVAL));
    assert_eq!(open(&mut fs, "/dev/null", 0), Ok(3));
}

#[test]
fn links_are_followed_forty_times() {
    let (mut fs, _) = new();
    fs.symlinkat(b"/in/data/numbers", CWD, b"/tmp/0").unwrap();
    for number in 1..=40 {
        let (target, name) = (format!("{}", number - 1), format!("/tmp/{number}"));
        fs.symlinkat(target.as_bytes(), CWD, name.as_bytes()).unwrap();
    }
    assert!(fs.fstatat(CWD, b"/tmp/39", 0).is_ok());
    assert_eq!(fs.fstatat(CWD, b"/tmp/40", 0), Err(Errno::ELOOP));
    assert!(fs.fstatat(CWD, b"/tmp/40", abi::AT_SYMLINK_NOFOLLOW).is_ok());
    let long = [b"/".repeat(4094), b"x".to_vec()].concat();
    assert_eq!(fs.fstatat(CWD, &long, 0), Err(Errno::ENOENT));
    assert_eq!(fs.fstatat(CWD, &[&long[..], b"x"].concat(), 0), Err(Errno::ENAMETOOLONG));
    assert_eq!(fs.symlinkat(&[b'x'; 4096], CWD, b"/tmp/x"), Err(Errno::ENAMETOOLONG));
}

#[test]
fn paths_start_where_they_say() {
    let (mut fs, _) = new();
    let directory = open(&mut fs, "/in", abi::O_DIRECTORY | abi::O_PATH).unwrap();
    let file = open(&mut fs, "/in/data/numbers", 0).unwrap();
    assert_eq!(fs.fstatat(directory, b"data/numbers", 0).unwrap().size, 10);
    assert_eq!(fs.fstatat(file, b"", abi::AT_EMPTY_PATH).unwrap().size, 10);
    assert_eq!(fs.fstatat(file, b"", 0), Err(Errno::ENOENT));
    assert_eq!(fs.fstatat(file, b"x", 0), Err(Errno::ENOTDIR));
    assert_eq!(fs.fstatat(99, b"x", 0), Err(Errno::EBADF));
    assert!(fs.fstatat(99, b"/in", 0).is_ok());
    assert_eq!(fs.fstatat(CWD, b"/in", 1), Err(Errno::EINVAL));
    assert_eq!(fs.openat(CWD, b"/tmp", abi::O_TMPFILE | abi::O_RDWR, 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(fs.fchdir(file), Err(Errno::ENOTDIR));
    fs.fchdir(directory).unwrap();
    fs.chdir(b"data").unwrap();
    assert_eq!(fs.getcwd().unwrap(), b"/in/data");
    assert_eq!(fs.readlinkat(CWD, b"/proc/self/cwd").unwrap(), b"/in/data");
    assert_eq!(fs.fstatat(CWD, b"/proc/self/cwd/../data/numbers", 0).unwrap().size, 10);
    assert_eq!(fs.openat(CWD, b"/proc/self/cwd", abi::O_NOFOLLOW, 0), Err(Errno::ELOOP));
    assert!(fs.fstatat(CWD, b"numbers", 0).is_ok());
}

#[test]
fn a_removed_working_directory_still_has_a_parent() {
    let (mut fs, _) = new();
    let before = fs.held();
    fs.mkdirat(CWD, b"/tmp/a", 0o755).unwrap();
    fs.mkdirat(CWD, b"/tmp/a/b", 0o755).unwrap();
    fs.chdir(b"/tmp/a/b").unwrap();
    fs.unlinkat(CWD, b"/tmp/a/b", abi::AT_REMOVEDIR).unwrap();
    fs.unlinkat(CWD, b"/tmp/a", abi::AT_REMOVEDIR).unwrap();
    assert_eq!(fs.getcwd(), Err(Errno::ENOENT));
    assert_eq!(fs.mkdirat(CWD, b"x", 0), Err(Errno::ENOENT));
    assert_eq!(fs.openat(CWD, b"x", CREATE, 0), Err(Errno::ENOENT));
    assert_eq!(fs.fstatat(CWD, b"..", 0).unwrap().nlink, 0);
    assert!(fs.fstatat(CWD, b"../../../in", 0).is_ok());
    fs.chdir(b"../..").unwrap();
    assert_eq!(fs.getcwd().unwrap(), b"/tmp");
    assert_eq!(fs.held(), before);
}

#[test]
fn offsets_go_to_the_largest() {
    const MAX: i64 = i64::MAX;
    let (mut fs, _) = new();
    let fd = open(&mut fs, "/tmp/a", CREATE).unwrap();
    assert_eq!(fs.pwrite(fd, b"end", MAX - 3), Ok(3));
    assert_eq!(fs.pwrite(fd, b"end", MAX - 2), Err(Stop::Error(Errno::EINVAL)));
    assert_eq!(fs.fstat(fd).unwrap().size, MAX.cast_unsigned());
    let mut buffer = [1; 6];
    assert_eq!(fs.pread(fd, &mut buffer, MAX - 6), Ok(6));
    assert_eq!(&buffer, b"\0\0\0end");
    assert_eq!(fs.lseek(fd, 1, abi::SEEK_END), Err(Errno::EINVAL));
    assert_eq!(fs.lseek(fd, 0, abi::SEEK_DATA), Ok(MAX.cast_unsigned() & !0xffff));
    assert_eq!(fs.lseek(fd, 0, abi::SEEK_HOLE), Ok(0));
    assert_eq!(fs.lseek(fd, MAX - 2, abi::SEEK_HOLE), Ok(MAX.cast_unsigned()));
    assert_eq!(fs.lseek(fd, MAX, abi::SEEK_DATA), Err(Errno::ENXIO));
    fs.fcntl(fd, abi::F_SETFL, abi::O_APPEND.into()).unwrap();
    fs.lseek(fd, 0, abi::SEEK_SET).unwrap();
    assert_eq!(fs.write(fd, b"x"), Err(Stop::Error(Errno::EFBIG)));
    assert_eq!(fs.fallocate(fd, 0, MAX, 1), Err(Errno::EFBIG));
    let punch = abi::FALLOC_FL_PUNCH_HOLE | abi::FALLOC_FL_KEEP_SIZE;
    fs.fallocate(fd, punch, 0, MAX).unwrap();
    assert_eq!(fs.pread(fd, &mut buffer, MAX - 6), Ok(6));
    assert_eq!(buffer, [0; 6]);
    assert_eq!(fs.fallocate(fd, abi::FALLOC_FL_PUNCH_HOLE, 0, 1), Err(Errno::EOPNOTSUPP));
    fs.ftruncate(fd, 0).unwrap();
    assert_eq!(fs.ftruncate(fd, -1), Err(Errno::EINVAL));
}

#[test]
fn files_without_a_name_give_their_memory_back() {
    let (mut fs, _) = new();
    let held = fs.held();
    let fd = fs.memfd_create(b"scratch", abi::MFD_CLOEXEC).unwrap();
    assert_eq!(fs.write(fd, &[5; 100_000]), Ok(100_000));
    assert_eq!(fs.lseek(fd, -1, abi::SEEK_CUR), Ok(99_999));
    assert!(fs.readlinkat(CWD, b"/proc/self/fd/3").unwrap().ends_with(b"(deleted)"));
    assert_eq!(fs.memfd_create(&[b'x'; 250], 0), Err(Errno::EINVAL));
    fs.close(fd).unwrap();
    assert_eq!(fs.held(), held);
}

#[test]
fn times_follow_what_is_done() {
    let at = |second: u64| Now { monotonic_ns: 0, realtime_ns: second * 1_000_000_000 };
    let (mut fs, streams) = new();
    let status = |fs: &Fs| {
        let status = fs.fstatat(CWD, b"/tmp/a", 0).unwrap();
        [status.atime.sec, status.mtime.sec, status.ctime.sec, status.btime.sec]
    };
    streams.borrow_mut().now = at(10);
    let fd = open(&mut fs, "/tmp/a", CREATE).unwrap();
    streams.borrow_mut().now = at(20);
    fs.write(fd, b"x").unwrap();
    assert_eq!(status(&fs), [10, 20, 20, 10]);
    streams.borrow_mut().now = at(30);
    fs.pread(fd, &mut [0], 0).unwrap();
    assert_eq!(status(&fs), [30, 20, 20, 10]);
    streams.borrow_mut().now = at(40);
    fs.linkat(CWD, b"/tmp/a", CWD, b"/tmp/b", 0).unwrap();
    assert_eq!(status(&fs), [30, 20, 40, 10]);
    assert_eq!(fs.fstatat(CWD, b"/tmp", 0).unwrap().mtime.sec, 40);
    let times = [Touch::new(-5, 7).unwrap(), Touch::new(0, i64::from(abi::UTIME_NOW)).unwrap()];
    fs.utimensat(fd, None, times, 0).unwrap();
    assert_eq!(status(&fs), [-5, 40, 40, 10]);
    assert_eq!(fs.fstat(fd).unwrap().statx().stx_atime.tv_nsec, 7);
    assert_eq!(Touch::new(0, 1_000_000_000), Err(Errno::EINVAL));
    assert_eq!(Touch::new(1, 2), Ok(Touch::At(Timespec { sec: 1, nsec: 2 })));
    assert_eq!(fs.fstat(fd).unwrap().stat().st_nlink, 2);
}

#[test]
fn devices_are_there() {
    let (mut fs, _) = new();
    let mut buffer = [9; 4];
    for (path, read, write) in [
        ("/dev/null", Ok(0), Ok(1)),
        ("/dev/zero", Ok(4), Ok(1)),
        ("/dev/full", Ok(4), Err(Stop::Error(Errno::ENOSPC))),
        ("/dev/urandom", Ok(4), Ok(1)),
    ] {
        let fd = open(&mut fs, path, abi::O_RDWR).unwrap();
        assert_eq!((fs.read(fd, &mut buffer), fs.write(fd, b"x")), (read, write), "{path}");
        assert_eq!(fs.fstat(fd).unwrap().mode, abi::S_IFCHR | 0o666);
        assert_eq!(fs.lseek(fd, 7, abi::SEEK_SET), Ok(0));
    }
    assert_eq!(buffer, [4; 4]);
    assert_eq!(open(&mut fs, "/dev/tty", abi::O_RDWR), Err(Errno::ENXIO));
    assert_eq!(fs.unlinkat(CWD, b"/dev", abi::AT_REMOVEDIR), Err(Errno::EBUSY));
    open(&mut fs, "/dev/shm/a", CREATE).unwrap();
    assert_eq!(fs.renameat2(CWD, b"/dev/shm/a", CWD, b"/tmp/a", 0), Err(Errno::EXDEV));
    assert_eq!(fs.linkat(CWD, b"/dev/shm/a", CWD, b"/tmp/a", 0), Err(Errno::EXDEV));
    assert_eq!(fs.faccessat(CWD, b"/dev/shm/a", abi::X_OK, 0), Err(Errno::EACCES));
    fs.faccessat(CWD, b"/bin/program", abi::X_OK | abi::R_OK, 0).unwrap();
}

#[test]
fn proc_tells_of_the_process() {
    let (mut fs, _) = new();
    assert_eq!(fs.readlinkat(CWD, b"/proc/self/exe").unwrap(), b"/bin/program");
    assert_eq!(fs.readlinkat(CWD, b"/proc/self").unwrap(), b"7");
    let fd = open(&mut fs, "/proc/7/maps", 0).unwrap();
    assert_eq!(fs.read(fd, &mut [0; 4]), Err(Stop::Text(Generated::ProcMaps)));
    let fd = open(&mut fs, "/sys/devices/system/cpu/online", 0).unwrap();
    let (mut buffer, wanted) = ([0; 4], Err(Stop::Text(Generated::CpusOnline)));
    assert_eq!(fs.pread(fd, &mut buffer, 2), wanted);
    fs.set_text(fd, b"first text".to_vec()).unwrap();
    assert_eq!((fs.pread(fd, &mut buffer, 2), &buffer), (Ok(4), b"rst "));
    assert_eq!(fs.read(fd, &mut buffer), wanted);
    fs.set_text(fd, b"second".to_vec()).unwrap();
    assert_eq!((fs.read(fd, &mut buffer), &buffer), (Ok(4), b"seco"));
    assert_eq!((fs.read(fd, &mut buffer), &buffer[..2]), (Ok(2), &b"nd"[..]));
    assert_eq!(fs.read(fd, &mut buffer), Ok(0));
    let held = fs.held();
    fs.set_text(fd, Vec::new()).unwrap();
    assert_eq!((fs.pread(fd, &mut buffer, 0), fs.held()), (Ok(0), held - 6));
    assert_eq!(open(&mut fs, "/proc/self/maps", abi::O_RDWR), Err(Errno::EROFS));
    assert_eq!(open(&mut fs, "/proc/x", CREATE), Err(Errno::EROFS));
    assert_eq!(fs.unlinkat(CWD, b"/proc/cpuinfo", 0), Err(Errno::EROFS));
    assert_eq!(fs.renameat2(CWD, b"/proc/cpuinfo", CWD, b"/proc/x", 0), Err(Errno::EROFS));
    assert_eq!(fs.fchmodat(CWD, b"/proc/cpuinfo", 0, 0), Err(Errno::EPERM));
}

#[test]
fn descriptors_have_links() {
    let (mut fs, _) = new();
    let fd = open(&mut fs, "/tmp/a", CREATE).unwrap();
    fs.write(fd, b"text").unwrap();
    assert_eq!(fs.readlinkat(CWD, b"/proc/self/fd/3").unwrap(), b"/tmp/a");
    assert_eq!(contents(&mut fs, "/dev/fd/3"), b"text");
    fs.renameat2(CWD, b"/tmp/a", CWD, b"/out/b", 0).unwrap();
    assert_eq!(fs.readlinkat(CWD, b"/proc/self/fd/3").unwrap(), b"/out/b");
    fs.unlinkat(CWD, b"/out/b", 0).unwrap();
    assert_eq!(fs.readlinkat(CWD, b"/dev/fd/3").unwrap(), b"/out/b (deleted)");
    assert_eq!(contents(&mut fs, "/proc/self/fd/3"), b"text");
    assert_eq!(fs.linkat(CWD, b"/dev/fd/3", CWD, b"/tmp/b", abi::AT_SYMLINK_FOLLOW), Err(Errno::ENOENT));
    assert_eq!(fs.fstatat(CWD, b"/dev/fd/9", 0), Err(Errno::ENOENT));
    assert_eq!(fs.fstatat(CWD, b"/dev/fd/3", abi::AT_SYMLINK_NOFOLLOW).unwrap().mode & 0o170_000, abi::S_IFLNK);
    let output = open(&mut fs, "/dev/stdout", abi::O_WRONLY).unwrap();
    assert_eq!(fs.fstat(output).unwrap().ino, fs.fstat(1).unwrap().ino);
    let listing = open(&mut fs, "/dev/fd/", abi::O_DIRECTORY).unwrap();
    let (mut buffer, mut names) = ([0; 64], Vec::new());
    while let Ok(count @ 1..) = fs.getdents64(listing, &mut buffer) {
        super::model::records(&buffer[..count], &mut names);
    }
    let names: Vec<_> = names.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    assert_eq!(names, [".", "..", "0", "1", "2", "3", "4", "5"]);
    assert_eq!(fs.getdents64(fd, &mut buffer), Err(Errno::ENOTDIR));
    fs.lseek(listing, 0, abi::SEEK_SET).unwrap();
    assert_eq!(fs.getdents64(listing, &mut buffer[..23]), Err(Errno::EINVAL));
}

#[test]
fn listing_goes_on_while_entries_go() {
    let (mut fs, _) = new();
    for number in 0..100 {
        fs.mkdirat(CWD, format!("/tmp/{number}").as_bytes(), 0).unwrap();
    }
    let fd = open(&mut fs, "/tmp", 0).unwrap();
    let (mut buffer, mut names) = ([0; 100], Vec::new());
    while let Ok(count @ 1..) = fs.getdents64(fd, &mut buffer) {
        let first = names.len();
        super::model::records(&buffer[..count], &mut names);
        for (name, _) in names[first..].iter().filter(|(name, _)| name[0] != b'.') {
            fs.unlinkat(CWD, &[b"/tmp/", &name[..]].concat(), abi::AT_REMOVEDIR).unwrap();
        }
    }
    assert_eq!(names.len(), 102);
}

#[test]
fn results_are_what_is_below_out() {
    let (mut fs, _) = new();
    fs.mkdirat(CWD, b"/out/d", 0o755).unwrap();
    for path in ["/out/a", "/out/d/b"] {
        let fd = open(&mut fs, path, CREATE).unwrap();
        fs.write(fd, path.as_bytes()).unwrap();
    }
    fs.symlinkat(b"/etc/passwd", CWD, b"/out/link").unwrap();
    let mut outputs: Vec<_> = fs.outputs().map(|output| (output.name, output.content.len())).collect();
    outputs.sort();
    assert_eq!(outputs, [(b"a".to_vec(), 6), (b"d/b".to_vec(), 8)]);
}

#[test]
fn nothing_is_a_terminal() {
    let (mut fs, _) = new();
    let fd = open(&mut fs, "/in/data/numbers", 0).unwrap();
    fs.lseek(fd, 4, abi::SEEK_SET).unwrap();
    assert_eq!(fs.ioctl(fd, ioctl::FIONREAD, 0), Ok(Some(6)));
    for request in [ioctl::TCGETS, ioctl::TIOCGWINSZ, 0, u32::MAX] {
        assert_eq!(fs.ioctl(1, request, 0), Err(Errno::ENOTTY));
    }
    fs.ioctl(0, ioctl::FIONBIO, 1).unwrap();
    assert_eq!(fs.fcntl(0, abi::F_GETFL, 0), Ok((abi::O_RDONLY | abi::O_NONBLOCK).cast_signed()));
    fs.ioctl(fd, ioctl::FIOCLEX, 0).unwrap();
    assert_eq!(fs.fcntl(fd, abi::F_GETFD, 0), Ok(1));
    fs.flock(fd, abi::LOCK_EX | abi::LOCK_NB).unwrap();
    assert_eq!((fs.flock(fd, 0), fs.flock(50, abi::LOCK_EX)), (Err(Errno::EINVAL), Err(Errno::EBADF)));
    assert_eq!((fs.fcntl(fd, abi::F_SETLK, 0), fs.fcntl(fd, 12345, 0)), (Ok(0), Err(Errno::EINVAL)));
    assert_eq!((fs.fcntl(0, abi::F_GETPIPE_SZ, 0), fs.fcntl(fd, abi::F_GETPIPE_SZ, 0)), (Ok(65536), Err(Errno::EBADF)));
}

#[test]
fn bundles_that_do_not_fit_are_refused() {
    for (files, path, error) in [
        (&[("a", &b""[..]), ("a/b", b"")][..], "a/b", Errno::ENOTDIR),
        (&[("a/b", b""), ("a", b"")], "a", Errno::EEXIST),
        (&[("dev/null", b"")], "dev/null", Errno::EEXIST),
        (&[("../a", b"")], "../a", Errno::EINVAL),
        (&[("a/", b"")], "a/", Errno::EINVAL),
    ] {
        let error = super::super::SetupError { path: path.to_owned(), error };
        let setup = super::Setup { files, tree: &Tree::default(), program: b"/a", pid: 1, memory: 1 << 20 };
        assert_eq!(Fs::new(&setup, Box::new(super::Desk(Default::default()))).err(), Some(error));
    }
}
