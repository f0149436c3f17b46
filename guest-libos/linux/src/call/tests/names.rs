//! Names, and what is told of them.
use super::{CWD, DATA, NOWHERE, Program};
use crate::errno::Errno;
use linux_raw_sys::general as nr;

#[test]
fn names_come_and_go() {
    let mut p = Program::new();
    let (one, two) = (p.text(0, "/tmp/one"), p.text(100, "/tmp/two"));
    assert_eq!(p.try_call(nr::__NR_mkdir, [one, 0o755]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_mkdirat, [CWD, one, 0o755]), Err(Errno::EEXIST));
    assert_eq!((p.try_call(nr::__NR_chdir, [one]), p.try_call(nr::__NR_getcwd, [DATA, 9])), (Ok(0), Ok(9)));
    assert_eq!(
        (p.bytes(DATA, 9), p.try_call(nr::__NR_getcwd, [DATA, 8])),
        (b"/tmp/one\0".to_vec(), Err(Errno::ERANGE))
    );
    assert_eq!(p.try_call(nr::__NR_rename, [one, two]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_rmdir, [one]), Err(Errno::ENOENT));
    assert_eq!(p.try_call(nr::__NR_symlink, [two, one]), Ok(0));
    assert_eq!((p.try_call(nr::__NR_readlink, [one, DATA, 4]), p.bytes(DATA, 4)), (Ok(4), b"/tmp".to_vec()));
    assert_eq!(p.try_call(nr::__NR_readlink, [one, DATA, 0]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_readlinkat, [CWD, two, DATA, 4]), Err(Errno::EINVAL));
    assert_eq!((p.try_call(nr::__NR_unlink, [one]), p.try_call(nr::__NR_unlink, [two])), (Ok(0), Err(Errno::EISDIR)));
    p.open("/in/x", nr::O_CREAT);
    let from = p.text(200, "/in/x");
    assert_eq!(p.try_call(nr::__NR_link, [from, one]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_linkat, [CWD, from, CWD, NOWHERE, 0]), Err(Errno::EFAULT));
    assert_eq!(p.try_call(nr::__NR_renameat2, [CWD, from, CWD, one, nr::RENAME_NOREPLACE.into()]), Err(Errno::EEXIST));
    assert_eq!(p.try_call(nr::__NR_unlinkat, [CWD, two, nr::AT_REMOVEDIR.into()]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_truncate, [one, 5]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_truncate, [one, u64::MAX]), Err(Errno::EINVAL));
    for number in [nr::__NR_chroot, nr::__NR_umount2, nr::__NR_execve] {
        assert_eq!(p.try_call(number, [0]), Err(Errno::EFAULT));
    }
    assert_eq!(p.try_call(nr::__NR_umount2, [one]), Err(Errno::EPERM));
    let directory = p.text(300, "/tmp/..");
    let [file, program] = [p.text(400, "/etc/hosts"), p.text(500, "/bin/program")];
    assert_eq!(
        [directory, file, program, two].map(|path| p.try_call(nr::__NR_chroot, [path])),
        [Ok(0), Err(Errno::ENOTDIR), Err(Errno::ENOTDIR), Err(Errno::ENOENT)]
    );
    let etc = p.text(600, "/etc");
    assert_eq!(p.try_call(nr::__NR_chroot, [etc]), Err(Errno::EPERM));
    assert_eq!(
        [directory, file, program, two].map(|path| p.try_call(nr::__NR_execve, [path])),
        [Err(Errno::EACCES), Err(Errno::EACCES), Err(Errno::ENOSYS), Err(Errno::ENOENT)]
    );
    assert_eq!(p.try_call(nr::__NR_execveat, [CWD, program, 0, 0, 7]), Err(Errno::EINVAL));
    // As on Linux: the other file system first, then that it is a directory.
    let net = p.text(700, "/proc/self/net");
    assert_eq!(p.try_call(nr::__NR_link, [net, two]), Err(Errno::EXDEV));
    let long = p.text(1000, &"x/".repeat(2050));
    assert_eq!(p.try_call(nr::__NR_chdir, [long]), Err(Errno::ENAMETOOLONG));
}

#[test]
fn directories_are_listed() {
    let mut p = Program::new();
    let fd = p.open("/in", nr::O_DIRECTORY);
    let count = p.try_call(nr::__NR_getdents64, [fd, DATA, 1000]).unwrap();
    assert!(p.bytes(DATA, count).windows(8).any(|name| name == b"numbers\0"));
    assert_eq!(p.try_call(nr::__NR_getdents64, [fd, DATA, 1000]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_getdents64, [0, DATA, 1000]), Err(Errno::ENOTDIR));
    assert_eq!(p.try_call(nr::__NR_getdents64, [fd, NOWHERE, 1000]), Err(Errno::EFAULT));
    assert_eq!(p.try_call(nr::__NR_fchdir, [fd]), Ok(0));
    let path = p.text(0, "numbers");
    assert_eq!(
        (p.try_call(nr::__NR_access, [path, 4]), p.try_call(nr::__NR_access, [path, 8])),
        (Ok(0), Err(Errno::EINVAL))
    );
    assert_eq!(p.try_call(nr::__NR_faccessat2, [CWD, path, 0, 1]), Err(Errno::EINVAL));
}

#[test]
fn a_file_is_told_of_in_all_forms() {
    let mut p = Program::new();
    let path = p.text(0, "/in/numbers");
    let size = |p: &mut Program, at: u64| (p.word(DATA + at), p.try_call(nr::__NR_stat, [NOWHERE, DATA]));
    assert_eq!(p.try_call(nr::__NR_stat, [path, DATA]), Ok(0));
    assert_eq!(size(&mut p, 48), (10, Err(Errno::EFAULT)));
    assert_eq!(p.word(DATA + 24) & 0xffff_ffff, u64::from(nr::S_IFREG | 0o755));
    assert_eq!((p.try_call(nr::__NR_lstat, [path, DATA]), p.word(DATA + 56)), (Ok(0), 4096));
    assert_eq!(p.try_call(nr::__NR_newfstatat, [CWD, path, NOWHERE, 0]), Err(Errno::EFAULT));
    let empty = nr::AT_EMPTY_PATH.into();
    assert_eq!((p.try_call(nr::__NR_newfstatat, [1, 0, DATA, empty]), p.word(DATA + 24) & 0xf000), (Ok(0), 0x1000));
    assert_eq!(p.try_call(nr::__NR_fstat, [9, DATA]), Err(Errno::EBADF));
    assert_eq!(p.try_call(nr::__NR_statx, [CWD, path, 0, nr::STATX_SIZE.into(), DATA]), Ok(0));
    assert_eq!((p.word(DATA + 40), p.word(DATA) & 0xfff), (10, 0xfff));
    assert_eq!(p.try_call(nr::__NR_statx, [CWD, path, 0, nr::STATX__RESERVED.into(), DATA]), Err(Errno::EINVAL));
    assert_eq!((p.try_call(nr::__NR_statfs, [path, DATA]), p.word(DATA)), (Ok(0), u64::from(nr::TMPFS_MAGIC)));
    assert_eq!((p.word(DATA + 8), p.word(DATA + 16), p.word(DATA + 64)), (4096, 256, 255));
    assert_eq!(p.try_call(nr::__NR_fstatfs, [9, DATA]), Err(Errno::EBADF));
}

#[test]
fn attributes_are_kept() {
    let mut p = Program::new();
    let path = p.text(0, "/in/numbers");
    assert_eq!((p.try_call(nr::__NR_chmod, [path, 0o600]), p.try_call(nr::__NR_chown, [path, 5, 6])), (Ok(0), Ok(0)));
    p.put(DATA, &[10, 20]);
    assert_eq!(p.try_call(nr::__NR_utime, [path, DATA]), Ok(0));
    p.try_call(nr::__NR_stat, [path, DATA]).unwrap();
    assert_eq!((p.word(DATA + 72), p.word(DATA + 88)), (10, 20));
    assert_eq!((p.word(DATA + 24), p.word(DATA + 32) & 0xffff_ffff), (u64::from(nr::S_IFREG | 0o600) | 5 << 32, 6));
    p.put(DATA, &[11, 5, 21, 1_000_000]);
    assert_eq!(p.try_call(nr::__NR_utimes, [path, DATA]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_futimesat, [CWD, 0, 0]), Err(Errno::EFAULT));
    p.put(DATA, &[11, 5, 21, 7]);
    assert_eq!(p.try_call(nr::__NR_utimensat, [CWD, path, DATA, 0]), Ok(0));
    p.try_call(nr::__NR_lstat, [path, DATA]).unwrap();
    assert_eq!((p.word(DATA + 80), p.word(DATA + 88), p.word(DATA + 96)), (5, 21, 7));
    let fd = p.open("/in/numbers", nr::O_RDONLY);
    assert_eq!(p.try_call(nr::__NR_utimensat, [fd, 0, 0, 0]), Ok(0));
    assert_eq!(
        (p.try_call(nr::__NR_fchmod, [fd, 0o644]), p.try_call(nr::__NR_fchown, [77, 0, 0])),
        (Ok(0), Err(Errno::EBADF))
    );
    assert_eq!(p.try_call(nr::__NR_fchmodat2, [CWD, path, 0, 1]), Err(Errno::EINVAL));
    assert_eq!(p.try_call(nr::__NR_lchown, [NOWHERE, 0, 0]), Err(Errno::EFAULT));
    assert_eq!((p.try_call(nr::__NR_umask, [0o77]), p.try_call(nr::__NR_umask, [0])), (Ok(0o22), Ok(0o77)));
}

#[test]
fn no_file_has_extended_attributes() {
    let mut p = Program::new();
    let (file, nothing, name) = (p.text(0, "/in/numbers"), p.text(64, "/nothing"), p.text(128, "user.a"));
    assert_eq!(p.try_call(nr::__NR_listxattr, [file, DATA, 100]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_llistxattr, [nothing, DATA, 100]), Err(Errno::ENOENT));
    assert_eq!(p.try_call(nr::__NR_flistxattr, [1, DATA, 100]), Ok(0));
    assert_eq!(p.try_call(nr::__NR_flistxattr, [77, DATA, 100]), Err(Errno::EBADF));
    assert_eq!(p.try_call(nr::__NR_getxattr, [file, name, DATA, 100]), Err(Errno::EOPNOTSUPP));
    assert_eq!(p.try_call(nr::__NR_fsetxattr, [1, name, DATA, 1, 0]), Err(Errno::EOPNOTSUPP));
}

#[test]
fn threads_and_the_process_have_clocks_of_cpu_time() {
    let mut p = Program::new();
    p.outside.borrow_mut().now_ns = 7_000_000_000;
    let clock = |tid: u32, kind: u32| u64::from(!tid << 3 | kind);
    for id in [clock(0, 2), clock(1, 2), clock(1, 6)] {
        assert_eq!((p.try_call(nr::__NR_clock_gettime, [id, DATA]), p.word(DATA)), (Ok(0), 7));
    }
    for id in [clock(9, 6), clock(1, 7), clock(1, 3)] {
        assert_eq!(p.try_call(nr::__NR_clock_gettime, [id, DATA]), Err(Errno::EINVAL));
    }
}
