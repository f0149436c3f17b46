//! What is told and recorded about files: stat(2), statx(2), statfs(2), access(2), chmod(2), chown(2), utimensat(2).

use super::{Answer, Machine, Process, buffers};
use crate::{
    errno::Errno,
    fs::{Metadata, Touch},
};
use linux_raw_sys::general as abi;

const CWD: i32 = abi::AT_FDCWD;

/// The words of `struct stat`, in its order.
fn stat_words(metadata: &Metadata) -> [u64; 18] {
    let stat = metadata.stat();
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    [
        stat.st_dev,
        stat.st_ino,
        stat.st_nlink,
        pair(stat.st_mode, stat.st_uid),
        pair(stat.st_gid, 0),
        stat.st_rdev,
        stat.st_size.cast_unsigned(),
        stat.st_blksize.cast_unsigned(),
        stat.st_blocks.cast_unsigned(),
        stat.st_atime,
        stat.st_atime_nsec,
        stat.st_mtime,
        stat.st_mtime_nsec,
        stat.st_ctime,
        stat.st_ctime_nsec,
        0,
        0,
        0,
    ]
}

/// The words of `struct statx`, in its order; the rest of its 256 bytes is zero.
fn statx_words(metadata: &Metadata) -> [u64; 32] {
    let all = metadata.statx();
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let mut words = [0; 32];
    let first = [
        pair(all.stx_mask, all.stx_blksize),
        all.stx_attributes,
        pair(all.stx_nlink, all.stx_uid),
        pair(all.stx_gid, all.stx_mode.into()),
        all.stx_ino,
        all.stx_size,
        all.stx_blocks,
        all.stx_attributes_mask,
    ];
    words[..8].copy_from_slice(&first);
    for (place, time) in [all.stx_atime, all.stx_btime, all.stx_ctime, all.stx_mtime].iter().enumerate() {
        words[8 + 2 * place] = time.tv_sec.cast_unsigned();
        words[9 + 2 * place] = time.tv_nsec.into();
    }
    words[16] = pair(all.stx_rdev_major, all.stx_rdev_minor);
    words[17] = pair(all.stx_dev_major, all.stx_dev_minor);
    words[18] = all.stx_mnt_id;
    words
}

impl<M: Machine> Process<M> {
    pub(super) fn fstat(&mut self, descriptor: u64, address: u64) -> Answer {
        let metadata = self.files.fstat(descriptor as i32)?;
        self.put(address, &stat_words(&metadata))
    }

    pub(super) fn fstatat(&mut self, directory: i32, path: u64, address: u64, flags: u32) -> Answer {
        let path = self.path_or_empty(path, flags)?;
        let metadata = self.files.fstatat(directory, path, flags)?;
        self.put(address, &stat_words(&metadata))
    }

    pub(super) fn statx(&mut self, [directory, path, flags, mask, address]: [u64; 5]) -> Answer {
        let path = self.path_or_empty(path, flags as u32)?;
        let metadata = self.files.statx(directory as i32, path, flags as u32, mask as u32)?;
        self.put(address, &statx_words(&metadata))
    }

    /// Extended attributes of what is at a path: there are none to list, and none can be read or set.
    pub(super) fn attributes(&mut self, path: u64, flags: u32, list: bool) -> Answer {
        let path = buffers::text(&self.space, path)?;
        self.files.fstatat(abi::AT_FDCWD, path, flags)?;
        if list { Ok(0) } else { Err(Errno::EOPNOTSUPP.into()) }
    }

    /// The same of an open file.
    pub(super) fn attributes_of(&mut self, descriptor: u64, list: bool) -> Answer {
        self.files.fstat(descriptor as i32)?;
        if list { Ok(0) } else { Err(Errno::EOPNOTSUPP.into()) }
    }

    /// Newer programs give no path at all where they mean the descriptor.
    fn path_or_empty(&self, path: u64, flags: u32) -> Result<&[u8], Errno> {
        if path == 0 && flags & abi::AT_EMPTY_PATH != 0 { Ok(&[]) } else { buffers::text(&self.space, path) }
    }

    pub(super) fn statfs(&mut self, path: u64, address: u64) -> Answer {
        let path = buffers::text(&self.space, path)?;
        let told = self.files.statfs(path)?;
        self.put_statfs(address, &told)
    }

    pub(super) fn fstatfs(&mut self, descriptor: u64, address: u64) -> Answer {
        let told = self.files.fstatfs(descriptor as i32)?;
        self.put_statfs(address, &told)
    }

    fn put_statfs(&mut self, address: u64, told: &abi::statfs) -> Answer {
        let [low, high] = told.f_fsid.val.map(|half| u64::from(half.cast_unsigned()));
        let (kind, sizes) = ([told.f_type, told.f_bsize], [told.f_namelen, told.f_frsize, told.f_flags]);
        let counts = [told.f_blocks, told.f_bfree, told.f_bavail, told.f_files, told.f_ffree];
        let mut words = [0; 15];
        for (word, value) in words.iter_mut().zip(kind.iter().chain(&counts)) {
            *word = value.cast_unsigned();
        }
        words[7] = low | high << 32;
        for (word, value) in words[8..].iter_mut().zip(sizes) {
            *word = value.cast_unsigned();
        }
        self.put(address, &words)
    }

    pub(super) fn faccessat(&mut self, directory: i32, path: u64, mode: u64, flags: u64) -> Answer {
        let path = buffers::text(&self.space, path)?;
        Ok(self.files.faccessat(directory, path, mode as u32, flags as u32).map(|()| 0)?)
    }

    pub(super) fn fchmodat(&mut self, directory: i32, path: u64, mode: u64, flags: u64) -> Answer {
        let path = buffers::text(&self.space, path)?;
        Ok(self.files.fchmodat(directory, path, mode as u32, flags as u32).map(|()| 0)?)
    }

    pub(super) fn fchownat(&mut self, [directory, path, user, group, flags]: [u64; 5]) -> Answer {
        let path = buffers::text(&self.space, path)?;
        let owners = (user as u32, group as u32);
        Ok(self.files.fchownat(directory as i32, path, owners.0, owners.1, flags as u32).map(|()| 0)?)
    }

    /// `lchown` is `chown` with `AT_SYMLINK_NOFOLLOW`.
    pub(super) fn chown(&mut self, path: u64, user: u64, group: u64, flags: u32) -> Answer {
        self.fchownat([CWD as u64, path, user, group, flags.into()])
    }

    /// Without a path, of what the descriptor is.
    fn touch(&mut self, directory: u64, path: u64, times: [Touch; 2], flags: u64) -> Answer {
        let named = path != 0 || directory as i32 == CWD;
        let path = if named { Some(buffers::text(&self.space, path)?) } else { None };
        Ok(self.files.utimensat(directory as i32, path, times, flags as u32).map(|()| 0)?)
    }

    pub(super) fn utimensat(&mut self, directory: u64, path: u64, times: u64, flags: u64) -> Answer {
        let mut touches = [Touch::Now; 2];
        if times != 0 {
            let [atime, atime_ns, mtime, mtime_ns] = self.get::<4>(times)?.map(u64::cast_signed);
            touches = [Touch::new(atime, atime_ns)?, Touch::new(mtime, mtime_ns)?];
        }
        self.touch(directory, path, touches, flags)
    }

    /// `utimes` and `futimesat`: seconds and microseconds.
    pub(super) fn futimesat(&mut self, directory: u64, path: u64, times: u64) -> Answer {
        let mut touches = [Touch::Now; 2];
        if times != 0 {
            let [atime, atime_us, mtime, mtime_us] = self.get::<4>(times)?.map(u64::cast_signed);
            let touch = |seconds, us: i64| match us {
                0..1_000_000 => Touch::new(seconds, us * 1000),
                _ => Err(Errno::EINVAL),
            };
            touches = [touch(atime, atime_us)?, touch(mtime, mtime_us)?];
        }
        self.touch(directory, path, touches, 0)
    }

    /// Whole seconds.
    pub(super) fn utime(&mut self, path: u64, times: u64) -> Answer {
        let mut touches = [Touch::Now; 2];
        if times != 0 {
            let [atime, mtime] = self.get::<2>(times)?.map(u64::cast_signed);
            touches = [Touch::new(atime, 0)?, Touch::new(mtime, 0)?];
        }
        self.touch(CWD as u64, path, touches, 0)
    }
}
