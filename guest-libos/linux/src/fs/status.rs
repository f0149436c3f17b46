//! What is told about files: stat(2), statx(2), statfs(2).
use super::{
    Fs,
    inode::{Device, Ino, Inode, Kind, Mount, Timespec},
    limits::{MAX_INODES, NAME_MAX},
    walk::{Follow, Node},
};
use crate::errno::Errno;
use linux_raw_sys::general as abi;

/// What stat(2) and statx(2) tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "as the fields of struct stat")]
pub struct Metadata {
    pub dev: u64,
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub btime: Timespec,
}

/// Preferred bytes of a read or write.
const BLOCK: u32 = 4096;

/// The inode number of a link in /proc/self/fd.
pub(super) fn descriptor_ino(fd: i32) -> u64 {
    (1 << 32) + u64::from(fd.cast_unsigned())
}

const fn device_number(device: Device) -> u64 {
    let (major, minor) = match device {
        Device::Null => (1, 3),
        Device::Zero => (1, 5),
        Device::Full => (1, 7),
        Device::Random => (1, 8),
        Device::Urandom => (1, 9),
        Device::Tty => (5, 0),
        // Of those for local use.
        Device::Progress => (240, 0),
    };
    major << 8 | minor
}

/// The type bits of a mode.
const fn type_bits(kind: &Kind) -> u32 {
    match kind {
        Kind::File(_) | Kind::Generated(_) => abi::S_IFREG,
        Kind::Directory(_) | Kind::Descriptors(_) => abi::S_IFDIR,
        Kind::Symlink(_) | Kind::WorkingDirectory => abi::S_IFLNK,
        Kind::Device(_) => abi::S_IFCHR,
        Kind::Standard(_) | Kind::Pipe(_) => abi::S_IFIFO,
        Kind::Socket(_) | Kind::Bound(_) => abi::S_IFSOCK,
        Kind::Counter(_) | Kind::Timer(_) | Kind::Epoll(_) => 0,
    }
}

/// `DT_DIR` and the like: the type bits, shifted.
pub(super) const fn directory_type(inode: &Inode) -> u8 {
    (type_bits(&inode.kind) >> 12) as u8
}

impl Fs {
    fn metadata(&self, node: Node) -> Result<Metadata, Errno> {
        let ino = match node {
            Node::Inode(ino) => ino,
            Node::Descriptor(fd) => {
                // As Linux: the link's permissions are those of the descriptor.
                let whole = self.metadata(Node::Inode(self.any_description(fd)?.ino))?;
                let (dev, ino, mode) = (Mount::Proc as u64, descriptor_ino(fd), abi::S_IFLNK | 0o700);
                return Ok(Metadata {
                    dev,
                    ino,
                    mode,
                    nlink: 1,
                    uid: 0,
                    gid: 0,
                    rdev: 0,
                    size: 64,
                    blocks: 0,
                    ..whole
                });
            }
        };
        let inode = self.inodes.get(ino)?;
        let (size, stored) = match &inode.kind {
            Kind::File(content) => (content.len(), content.stored()),
            Kind::Symlink(target) => (target.len() as u64, 0),
            _ => (0, 0),
        };
        let nlink = match &inode.kind {
            Kind::Directory(directory) if inode.links > 0 => 2 + directory.subdirectories,
            Kind::Descriptors(_) => 2,
            Kind::Directory(_) => 0,
            _ if inode.mount == Mount::Nameless => 1,
            _ => inode.links,
        };
        let rdev = if let Kind::Device(device) = inode.kind { device_number(device) } else { 0 };
        let Inode { uid, gid, atime, mtime, ctime, btime, .. } = *inode;
        let mode = type_bits(&inode.kind) | inode.mode;
        let (dev, ino, blocks) = (inode.mount as u64, u64::from(ino.0), stored.div_ceil(512));
        Ok(Metadata { dev, ino, mode, nlink, uid, gid, rdev, size, blocks, atime, mtime, ctime, btime })
    }

    /// fstat(2).
    pub fn fstat(&self, fd: i32) -> Result<Metadata, Errno> {
        self.metadata(Node::Inode(self.any_description(fd)?.ino))
    }

    /// newfstatat(2).
    pub fn fstatat(&self, dirfd: i32, path: &[u8], flags: u32) -> Result<Metadata, Errno> {
        if flags & !(abi::AT_EMPTY_PATH | abi::AT_SYMLINK_NOFOLLOW | abi::AT_NO_AUTOMOUNT) != 0 {
            return Err(Errno::EINVAL);
        }
        self.metadata(self.node_at(dirfd, path, flags)?)
    }

    /// statx(2). All that is known is told, whatever the mask.
    pub fn statx(&self, dirfd: i32, path: &[u8], flags: u32, mask: u32) -> Result<Metadata, Errno> {
        const SYNC: u32 = abi::AT_STATX_FORCE_SYNC | abi::AT_STATX_DONT_SYNC;
        if mask & abi::STATX__RESERVED != 0 || flags & SYNC == SYNC {
            return Err(Errno::EINVAL);
        }
        self.fstatat(dirfd, path, flags & !SYNC)
    }

    /// statfs(2).
    pub fn statfs(&self, path: &[u8]) -> Result<abi::statfs, Errno> {
        let (node, _) = self.node(abi::AT_FDCWD, path, Follow::Always)?;
        let Node::Inode(ino) = node else { return Err(Errno::ENOENT) };
        self.statistics(ino)
    }

    /// fstatfs(2).
    pub fn fstatfs(&self, fd: i32) -> Result<abi::statfs, Errno> {
        self.statistics(self.any_description(fd)?.ino)
    }

    fn statistics(&self, ino: Ino) -> Result<abi::statfs, Errno> {
        /// `SYSFS_MAGIC` of statfs(2).
        const SYSFS_MAGIC: i64 = 0x6265_6572;
        let mount = self.mount(ino)?;
        let magic = match mount {
            Mount::Root | Mount::Dev | Mount::Nameless => i64::from(abi::TMPFS_MAGIC),
            Mount::Proc => i64::from(abi::PROC_SUPER_MAGIC),
            Mount::Sys => SYSFS_MAGIC,
        };
        let budget = &self.inodes.budget;
        let blocks = |bytes: usize| (bytes as u64 / u64::from(BLOCK)).cast_signed();
        let free = blocks(budget.limit() - budget.held());
        Ok(abi::statfs {
            f_type: magic,
            f_bsize: BLOCK.into(),
            f_blocks: blocks(budget.limit()),
            f_bfree: free,
            f_bavail: free,
            f_files: MAX_INODES as i64,
            f_ffree: (MAX_INODES - self.inodes.used()) as i64,
            f_fsid: abi::__kernel_fsid_t { val: [mount as i32, 0] },
            f_namelen: NAME_MAX as i64,
            f_frsize: BLOCK.into(),
            f_flags: 0,
            f_spare: [0; 4],
        })
    }
}

impl Metadata {
    /// As stat(2) gives it.
    #[must_use]
    pub const fn stat(&self) -> abi::stat {
        abi::stat {
            st_dev: self.dev,
            st_ino: self.ino,
            st_nlink: self.nlink as u64,
            st_mode: self.mode,
            st_uid: self.uid,
            st_gid: self.gid,
            __pad0: 0,
            st_rdev: self.rdev,
            st_size: self.size.cast_signed(),
            st_blksize: BLOCK as i64,
            st_blocks: self.blocks.cast_signed(),
            st_atime: self.atime.sec.cast_unsigned(),
            st_atime_nsec: self.atime.nsec as u64,
            st_mtime: self.mtime.sec.cast_unsigned(),
            st_mtime_nsec: self.mtime.nsec as u64,
            st_ctime: self.ctime.sec.cast_unsigned(),
            st_ctime_nsec: self.ctime.nsec as u64,
            __unused: [0; 3],
        }
    }

    /// As statx(2) gives it.
    #[must_use]
    pub const fn statx(&self) -> abi::statx {
        const fn time(time: Timespec) -> abi::statx_timestamp {
            abi::statx_timestamp { tv_sec: time.sec, tv_nsec: time.nsec, __reserved: 0 }
        }
        abi::statx {
            stx_mask: abi::STATX_BASIC_STATS | abi::STATX_BTIME,
            stx_blksize: BLOCK,
            stx_attributes: 0,
            stx_nlink: self.nlink,
            stx_uid: self.uid,
            stx_gid: self.gid,
            stx_mode: self.mode as u16,
            __spare0: [0],
            stx_ino: self.ino,
            stx_size: self.size,
            stx_blocks: self.blocks,
            stx_attributes_mask: 0,
            stx_atime: time(self.atime),
            stx_btime: time(self.btime),
            stx_ctime: time(self.ctime),
            stx_mtime: time(self.mtime),
            stx_rdev_major: (self.rdev >> 8) as u32,
            stx_rdev_minor: (self.rdev & 0xff) as u32,
            // The file systems are numbered as minors of major 0, as Linux numbers those without a device.
            stx_dev_major: 0,
            stx_dev_minor: self.dev as u32,
            stx_mnt_id: self.dev,
            stx_dio_mem_align: 0,
            stx_dio_offset_align: 0,
            stx_subvol: 0,
            stx_atomic_write_unit_min: 0,
            stx_atomic_write_unit_max: 0,
            stx_atomic_write_segments_max: 0,
            stx_dio_read_offset_align: 0,
            stx_atomic_write_unit_max_opt: 0,
            __spare2: [0],
            __spare3: [0; 8],
        }
    }
}
