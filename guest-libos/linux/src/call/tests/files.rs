//! Reading, writing, descriptors, mappings.
use super::{CWD, DATA, NOWHERE, Program, TEXT};
use crate::errno::Errno;
use linux_raw_sys::{general as nr, ioctl};

const MADE: u32 = nr::O_RDWR | nr::O_CREAT;

#[test]
fn bytes_go_and_come_back() {
    let mut p = Program::new();
    let fd = p.open("/tmp/a", MADE);
    let text = p.text(0, "hello, world");
    assert_eq!(p.try_call(nr::__NR_write, [fd, text, 12]), Ok(12));
    assert_eq!(p.try_call(nr::__NR_pwrite64, [fd, text, 2, 20]), Ok(2));
    assert_eq!(p.try_call(nr::__NR_lseek, [fd, 7, 0]), Ok(7));
    assert_eq!((p.try_call(nr::__NR_read, [fd, DATA, 5]), p.bytes(DATA, 5)), (Ok(5), b"world".to_vec()));
    assert_eq!((p.try_call(nr::__NR_pread64, [fd, DATA, 9, 18]), p.bytes(DATA, 4)), (Ok(4), b"\0\0he".to_vec()));
    for (number, bad) in [(nr::__NR_read, Errno::EFAULT), (nr::__NR_write, Errno::EFAULT)] {
        assert_eq!(p.try_call(number, [fd, NOWHERE, 5]), Err(bad));
        assert_eq!(p.try_call(number, [fd, u64::MAX, 5]), Err(bad));
        assert_eq!(p.try_call(number, [99, DATA, 5]), Err(Errno::EBADF));
    }
    assert_eq!(p.try_call(nr::__NR_pread64, [fd, DATA, 1, u64::MAX]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_write, [1, text, 5]), Ok(5));
    assert_eq!(p.outside.borrow().output, b"hello");
}

#[test]
fn vectors_are_gathered_and_scattered() {
    let mut p = Program::new();
    let fd = p.open("/tmp/a", MADE);
    let text = p.text(0, "abcdefgh");
    p.put(DATA, &[text, 3, 0, 0, text + 5, 2]);
    assert_eq!(p.try_call(nr::__NR_writev, [fd, DATA, 3]), Ok(5));
    assert_eq!(p.try_call(nr::__NR_pwritev, [fd, DATA, 3, 5]), Ok(5));
    assert_eq!(p.try_call(nr::__NR_pwritev2, [fd, DATA, 1, u64::MAX, 0, 0]), Ok(3));
    // Both pieces are the same bytes: what comes later stays.
    p.put(DATA, &[DATA + 100, 2, DATA + 100, 3]);
    assert_eq!((p.try_call(nr::__NR_preadv, [fd, DATA, 2, 0]), p.bytes(DATA + 100, 3)), (Ok(5), b"cfg".to_vec()));
    assert_eq!(p.try_call(nr::__NR_preadv2, [fd, DATA, 2, 0, 0, 64]), Err(Errno::EOPNOTSUPP));
    assert_eq!(p.try_call(nr::__NR_readv, [fd, DATA, 1025]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_readv, [fd, NOWHERE, 1]), Err(Errno::EFAULT));
    p.put(DATA, &[NOWHERE, 2]);
    assert_eq!(p.try_call(nr::__NR_readv, [fd, DATA, 1]), Err(Errno::EFAULT));
    p.put(DATA, &[DATA, u64::MAX]);
    assert_eq!(p.try_call(nr::__NR_writev, [fd, DATA, 1]), Err(Errno::EINVAL));
}

#[test]
fn descriptors_are_made_and_closed() {
    let mut p = Program::new();
    let path = p.text(0, "/in/numbers");
    assert_eq!(p.try_call(nr::__NR_openat, [CWD, path, 0, 0]), Ok(3));
    p.put(DATA, &[0, 0, 0, 1]);
    assert_eq!(p.try_call(nr::__NR_openat2, [CWD, path, DATA, 24]), Ok(4));
    assert_eq!(p.try_call(nr::__NR_openat2, [CWD, path, DATA, 32]), Err(Errno::E2BIG));
    assert_eq!(p.try_call(nr::__NR_openat2, [CWD, path, DATA, 8]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_open, [NOWHERE, 0]), Err(Errno::EFAULT));
    assert_eq!((p.try_call(nr::__NR_dup, [3]), p.try_call(nr::__NR_dup2, [3, 9])), (Ok(5), Ok(9)));
    assert_eq!(p.try_call(nr::__NR_dup3, [3, 3, 0]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_fcntl, [3, nr::F_DUPFD_CLOEXEC.into(), 20]), Ok(20));
    assert_eq!(p.try_call(nr::__NR_fcntl, [20, nr::F_GETFD.into()]), Ok(1));
    assert_eq!(p.try_call(nr::__NR_fcntl, [3, nr::F_GETLK.into(), DATA]), Ok(0));
    assert_eq!(p.bytes(DATA, 2), (nr::F_UNLCK as u16).to_le_bytes());
    assert_eq!((p.try_call(nr::__NR_close, [5]), p.try_call(nr::__NR_close, [5])), (Ok(0), Err(Errno::EBADF)));
    assert_eq!(p.try_call(nr::__NR_close_range, [3, 100, 0]), Ok(0));
    let path = p.text(0, "/tmp/new");
    assert_eq!((p.try_call(nr::__NR_creat, [path, 0o600]), p.try_call(nr::__NR_close, [3])), (Ok(3), Ok(0)));
    assert_eq!(p.try_call(nr::__NR_mknod, [path, nr::S_IFREG.into()]), Err(Errno::EEXIST));
    assert_eq!(p.try_call(nr::__NR_mknodat, [CWD, path, nr::S_IFIFO.into()]), Err(Errno::EPERM));
    assert_eq!(p.try_call(nr::__NR_memfd_create, [path, 0]), Err(Errno::EINVAL).or(Ok::<_, Errno>(3)));
}

#[test]
fn controls_are_few() {
    let mut p = Program::new();
    assert_eq!(p.try_call(nr::__NR_ioctl, [1, ioctl::TCGETS.into(), DATA]), Err(Errno::ENOTTY));
    let fd = p.open("/in/numbers", nr::O_RDONLY);
    assert_eq!(
        (p.try_call(nr::__NR_ioctl, [fd, ioctl::FIONREAD.into(), DATA]), p.bytes(DATA, 4)),
        (Ok(0), vec![10, 0, 0, 0])
    );
    assert_eq!(p.try_call(nr::__NR_ioctl, [fd, ioctl::FIONREAD.into(), NOWHERE]), Err(Errno::EFAULT));
    assert_eq!(p.try_call(nr::__NR_ioctl, [0, ioctl::FIONBIO.into(), DATA]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_read, [0, DATA, 1]), Err(Errno::EAGAIN));
    for number in [nr::__NR_syncfs, nr::__NR_fadvise64, nr::__NR_readahead, nr::__NR_sync_file_range, nr::__NR_fsync] {
        assert_eq!((p.try_call(number, [fd]), p.try_call(number, [77])), (Ok(0), Err(Errno::EBADF)));
    }
    assert_eq!((p.try_call(nr::__NR_flock, [fd, 2]), p.try_call(nr::__NR_flock, [fd, 3])), (Ok(0), Err(Errno::EINVAL)));
    assert_eq!(p.try_call(nr::__NR_ftruncate, [fd, 1]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_fallocate, [fd, 0, 0, 1]), Err(Errno::EBADF));
}

#[test]
fn files_are_sent_and_copied() {
    let mut p = Program::new();
    let (from, to) = (p.open("/in/numbers", nr::O_RDONLY), p.open("/tmp/a", MADE));
    p.put(DATA, &[4, 0]);
    assert_eq!((p.try_call(nr::__NR_sendfile, [1, from, DATA, 100]), p.word(DATA)), (Ok(6), 10));
    assert_eq!(p.outside.borrow().output, b"456789");
    assert_eq!(p.try_call(nr::__NR_copy_file_range, [from, 0, to, DATA + 8, 3, 0]), Ok(3));
    assert_eq!((p.word(DATA + 8), p.contents("/tmp/a")), (3, "012".into()));
    assert_eq!(p.try_call(nr::__NR_sendfile, [1, from, NOWHERE, 1]), Err(Errno::EFAULT));
    let version = p.open("/proc/version", nr::O_RDONLY);
    let count = p.try_call(nr::__NR_sendfile, [1, version, 0, 100]).unwrap();
    assert!(count > 20 && p.outside.borrow().output.ends_with(b"Denali\n"));
}

#[test]
fn files_are_mapped() {
    let mut p = Program::new();
    let fd = p.open("/in/numbers", nr::O_RDONLY);
    let read = [0, 10, nr::PROT_READ.into(), nr::MAP_PRIVATE.into(), fd, 0];
    let at = p.try_call(nr::__NR_mmap, read).unwrap();
    assert_eq!((p.bytes(at, 10), p.bytes(at + 10, 4)), (b"0123456789".to_vec(), vec![0; 4]));
    assert!(p.contents("/proc/self/maps").lines().any(|line| line.ends_with("/in/numbers")));
    let write = [0, 10, nr::PROT_WRITE.into(), nr::MAP_SHARED.into(), fd, 0];
    assert_eq!(p.try_call(nr::__NR_mmap, write), Err(Errno::EACCES));
    assert_eq!(p.try_call(nr::__NR_mmap, [0, 10, 1, nr::MAP_PRIVATE.into(), fd, 5]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_mmap, [0, 10, 1, nr::MAP_PRIVATE.into(), 88, 0]), Err(Errno::EBADF));
    assert_eq!(p.try_call(nr::__NR_mmap, [0, 10, 1, nr::MAP_PRIVATE.into(), 0, 0]), Err(Errno::ENODEV));
    assert_eq!(p.try_call(nr::__NR_mmap, [0, 1 << 40, 1, nr::MAP_PRIVATE.into(), fd, 0]), Err(Errno::ENOMEM));
    let zero = p.open("/dev/zero", nr::O_RDWR);
    p.try_call(nr::__NR_mmap, [0, 10, 3, nr::MAP_PRIVATE.into(), zero, 0]).unwrap();
    let sparse = p.open("/tmp/sparse", MADE);
    let text = p.text(0, "x");
    assert_eq!(p.try_call(nr::__NR_pwrite64, [sparse, text, 1, 70_000]), Ok(1));
    let at = p.try_call(nr::__NR_mmap, [0, 70_001, 1, nr::MAP_PRIVATE.into(), sparse, 0]).unwrap();
    assert_eq!((p.bytes(at, 70_000), p.bytes(at + 70_000, 2)), (vec![0; 70_000], b"x\0".to_vec()));
    assert_eq!((p.try_call(nr::__NR_mincore, [at, 8192, TEXT]), p.bytes(TEXT, 2)), (Ok(0), vec![1, 1]));
    assert_eq!(p.try_call(nr::__NR_msync, [0x7000_0000, 8192]), Err(Errno::ENOMEM));
    assert_eq!(p.try_call(nr::__NR_mlock, [at + 1, 8191]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_mlock2, [at, 8192, 2]), Err(Errno::EINVAL));
}
