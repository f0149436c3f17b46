//! Which call is which: those on files. The others are in `others`.

use super::{Answer, Machine, Process, buffers, io::offset2, poll::Timeout};
use crate::errno::Errno;
use linux_raw_sys::general as nr;

/// The working directory, where a path is relative.
const CWD: i32 = nr::AT_FDCWD;
/// The same as the argument of a call.
const HERE: u64 = CWD as u64;
/// No mask of signals.
const NO_MASK: (u64, u64) = (0, 0);
/// Flags of `preadv2` and `pwritev2` that change nothing: priority, and what is written through.
const RWF_IGNORED: u64 = nr::RWF_HIPRI as u64 | nr::RWF_DSYNC as u64 | nr::RWF_SYNC as u64;

/// What a call answers that answers nothing.
fn nothing((): ()) -> u64 {
    0
}

impl<M: Machine> Process<M> {
    /// What a call answers that is not one of `others`.
    pub(super) fn answer_with_files(&mut self, number: u32, arguments: [u64; 6]) -> Answer {
        let touched = if self.shared.is_empty() { None } else { self.touched(number, arguments) };
        if let Some(touched) = &touched {
            self.before(touched);
        }
        let answer = self.transfer(number, arguments);
        if let Some(touched) = &touched {
            self.after(touched);
        }
        // Who waits for what the call changed goes on soon.
        self.attention |= self.files.generation() != self.files_seen && !self.parked.is_empty();
        answer
    }

    /// Bytes from and to files.
    fn transfer(&mut self, number: u32, arguments: [u64; 6]) -> Answer {
        let [a, b, c, d, e, f] = arguments;
        match number {
            nr::__NR_read => self.read(a, b, c, None),
            nr::__NR_write => self.write(a, b, c),
            nr::__NR_pread64 => self.read(a, b, c, Some(d)),
            nr::__NR_pwrite64 => self.pwrite64(a, b, c, d),
            nr::__NR_readv => self.readv(a, b, c, None),
            nr::__NR_writev => self.writev(a, b, c, None),
            nr::__NR_preadv => self.readv(a, b, c, Some(d)),
            nr::__NR_pwritev => self.writev(a, b, c, Some(d)),
            nr::__NR_preadv2 | nr::__NR_pwritev2 if f & !RWF_IGNORED != 0 => Err(Errno::EOPNOTSUPP.into()),
            nr::__NR_preadv2 => self.readv(a, b, c, offset2(d)),
            nr::__NR_pwritev2 => self.writev(a, b, c, offset2(d)),
            nr::__NR_sendfile => self.sendfile(a, b, c, d),
            nr::__NR_copy_file_range => self.copy_file_range(arguments),
            nr::__NR_splice => self.splice(arguments),
            nr::__NR_lseek => Ok(self.files.lseek(a as i32, b.cast_signed(), c as u32)?),
            nr::__NR_poll => self.poll(a, u64::from(b as u32), Timeout::Ms(c), NO_MASK),
            nr::__NR_ppoll => self.poll(a, u64::from(b as u32), Timeout::Timespec(c), (d, e)),
            nr::__NR_select => self.select(a, [b, c, d], Timeout::Timeval(e), NO_MASK),
            nr::__NR_pselect6 => {
                let mask = self.select_mask(f)?;
                self.select(a, [b, c, d], Timeout::Timespec(e), mask)
            }
            nr::__NR_epoll_wait => self.epoll_wait(a, b, c, Timeout::Ms(d), NO_MASK),
            nr::__NR_epoll_pwait => self.epoll_wait(a, b, c, Timeout::Ms(d), (e, f)),
            nr::__NR_epoll_pwait2 => self.epoll_wait(a, b, c, Timeout::Timespec(d), (e, f)),
            nr::__NR_epoll_ctl => self.epoll_ctl(a, b, c, d),
            _ => self.descriptor(number, arguments),
        }
    }

    /// Making, keeping and closing descriptors.
    fn descriptor(&mut self, number: u32, arguments: [u64; 6]) -> Answer {
        let [a, b, c, d, ..] = arguments;
        let opened = |descriptor: Result<i32, Errno>| Ok(descriptor? as u64);
        match number {
            nr::__NR_open => self.openat(HERE, a, b, c),
            nr::__NR_openat => self.openat(a, b, c, d),
            nr::__NR_openat2 => self.openat2(a, b, c, d),
            nr::__NR_creat => self.openat(HERE, a, (nr::O_CREAT | nr::O_WRONLY | nr::O_TRUNC).into(), b),
            nr::__NR_mknod => self.mknodat(HERE, a, b),
            nr::__NR_mknodat => self.mknodat(a, b, c),
            nr::__NR_close => Ok(self.files.close(a as i32).map(nothing)?),
            nr::__NR_close_range => Ok(self.files.close_range(a as u32, b as u32, c as u32).map(nothing)?),
            nr::__NR_dup => opened(self.files.dup(a as i32)),
            nr::__NR_dup2 => opened(self.files.dup2(a as i32, b as i32)),
            nr::__NR_dup3 => opened(self.files.dup3(a as i32, b as i32, c as u32)),
            nr::__NR_fcntl => self.fcntl(a, b, c),
            nr::__NR_ioctl => self.ioctl(a, b, c),
            nr::__NR_flock => Ok(self.files.flock(a as i32, b as u32).map(nothing)?),
            nr::__NR_getdents64 => self.getdents64(a, b, c),
            nr::__NR_fstat => self.fstat(a, b),
            nr::__NR_fstatfs => self.fstatfs(a, b),
            nr::__NR_fchdir => Ok(self.files.fchdir(a as i32).map(nothing)?),
            nr::__NR_fchmod => Ok(self.files.fchmod(a as i32, b as u32).map(nothing)?),
            nr::__NR_fchown => Ok(self.files.fchown(a as i32, b as u32, c as u32).map(nothing)?),
            nr::__NR_ftruncate => Ok(self.files.ftruncate(a as i32, b.cast_signed()).map(nothing)?),
            nr::__NR_fallocate => {
                Ok(self.files.fallocate(a as i32, b as u32, c.cast_signed(), d.cast_signed()).map(nothing)?)
            }
            nr::__NR_fsync | nr::__NR_fdatasync => Ok(self.files.fsync(a as i32).map(nothing)?),
            nr::__NR_sync => Ok(0),
            nr::__NR_syncfs | nr::__NR_sync_file_range | nr::__NR_fadvise64 | nr::__NR_readahead => self.advised(a),
            nr::__NR_pipe => self.pipe2(a, 0),
            nr::__NR_pipe2 => self.pipe2(a, b),
            nr::__NR_eventfd => self.eventfd2(a, 0),
            nr::__NR_eventfd2 => self.eventfd2(a, b),
            nr::__NR_memfd_create => self.memfd_create(a, b),
            nr::__NR_epoll_create => self.epoll_create(a),
            nr::__NR_epoll_create1 => opened(self.files.epoll_create1(a as u32)),
            nr::__NR_timerfd_create => opened(self.files.timerfd_create(a as u32, b as u32)),
            nr::__NR_timerfd_settime => self.timerfd_settime(a, b, c, d),
            nr::__NR_timerfd_gettime => self.timerfd_gettime(a, b),
            _ => self.name(number, arguments),
        }
    }

    /// Paths, and what is recorded of what they lead to.
    fn name(&mut self, number: u32, arguments: [u64; 6]) -> Answer {
        let [a, b, c, d, e, _] = arguments;
        match number {
            nr::__NR_stat => self.fstatat(CWD, a, b, 0),
            nr::__NR_lstat => self.fstatat(CWD, a, b, nr::AT_SYMLINK_NOFOLLOW),
            nr::__NR_newfstatat => self.fstatat(a as i32, b, c, d as u32),
            nr::__NR_statx => self.statx([a, b, c, d, e]),
            nr::__NR_statfs => self.statfs(a, b),
            nr::__NR_access => self.faccessat(CWD, a, b, 0),
            nr::__NR_faccessat => self.faccessat(a as i32, b, c, 0),
            nr::__NR_faccessat2 => self.faccessat(a as i32, b, c, d),
            nr::__NR_readlink => self.readlinkat(HERE, a, b, c),
            nr::__NR_readlinkat => self.readlinkat(a, b, c, d),
            nr::__NR_getcwd => self.getcwd(a, b),
            nr::__NR_chdir => self.chdir(a),
            nr::__NR_mkdir => self.mkdirat(HERE, a, b),
            nr::__NR_mkdirat => self.mkdirat(a, b, c),
            nr::__NR_rmdir => self.unlinkat(HERE, a, nr::AT_REMOVEDIR.into()),
            nr::__NR_unlink => self.unlinkat(HERE, a, 0),
            nr::__NR_unlinkat => self.unlinkat(a, b, c),
            nr::__NR_rename => self.renameat2([HERE, a, HERE, b, 0]),
            nr::__NR_renameat => self.renameat2([a, b, c, d, 0]),
            nr::__NR_renameat2 => self.renameat2([a, b, c, d, e]),
            nr::__NR_link => self.linkat([HERE, a, HERE, b, 0]),
            nr::__NR_linkat => self.linkat([a, b, c, d, e]),
            nr::__NR_symlink => self.symlinkat(a, HERE, b),
            nr::__NR_symlinkat => self.symlinkat(a, b, c),
            nr::__NR_truncate => self.truncate(a, b),
            nr::__NR_listxattr => self.attributes(a, 0, true),
            nr::__NR_llistxattr => self.attributes(a, nr::AT_SYMLINK_NOFOLLOW, true),
            nr::__NR_flistxattr => self.attributes_of(a, true),
            nr::__NR_getxattr | nr::__NR_setxattr | nr::__NR_removexattr => self.attributes(a, 0, false),
            nr::__NR_lgetxattr | nr::__NR_lsetxattr | nr::__NR_lremovexattr => {
                self.attributes(a, nr::AT_SYMLINK_NOFOLLOW, false)
            }
            nr::__NR_fgetxattr | nr::__NR_fsetxattr | nr::__NR_fremovexattr => self.attributes_of(a, false),
            nr::__NR_chmod => self.fchmodat(CWD, a, b, 0),
            nr::__NR_fchmodat => self.fchmodat(a as i32, b, c, 0),
            nr::__NR_fchmodat2 => self.fchmodat(a as i32, b, c, d),
            nr::__NR_chown => self.chown(a, b, c, 0),
            nr::__NR_lchown => self.chown(a, b, c, nr::AT_SYMLINK_NOFOLLOW),
            nr::__NR_fchownat => self.fchownat([a, b, c, d, e]),
            nr::__NR_utime => self.utime(a, b),
            nr::__NR_utimes => self.futimesat(HERE, a, b),
            nr::__NR_futimesat => self.futimesat(a, b, c),
            nr::__NR_utimensat => self.utimensat(a, b, c, d),
            nr::__NR_umask => Ok(self.files.umask(a as u32).into()),
            nr::__NR_chroot => self.chroot(a),
            nr::__NR_umount2 => self.not_permitted(a),
            nr::__NR_mount | nr::__NR_pivot_root => {
                buffers::text(&self.space, a)?;
                self.not_permitted(b)
            }
            nr::__NR_execve => self.execveat(HERE, a, 0),
            nr::__NR_execveat => self.execveat(a, b, e),
            _ => self.about(number, arguments),
        }
    }
}
