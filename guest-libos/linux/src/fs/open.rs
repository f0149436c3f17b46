//! open(2).
use super::{
    Fs,
    content::Content,
    inode::{Device, Ino, Inode, Kind, Mount},
    walk::{Follow, Last, Node, Place},
};
use crate::errno::Errno;
use alloc::boxed::Box;
use linux_raw_sys::general as abi;

/// The flags that `F_GETFL` tells, besides the access mode.
const STATUS: u32 = abi::O_APPEND
    | abi::O_NONBLOCK
    | abi::O_SYNC
    | abi::O_DSYNC
    | abi::O_DIRECT
    | abi::O_NOATIME
    | abi::O_PATH
    | abi::O_DIRECTORY
    | abi::O_NOFOLLOW;

impl Fs {
    /// openat(2).
    pub fn openat(&mut self, dirfd: i32, path: &[u8], flags: u32, mode: u32) -> Result<i32, Errno> {
        let mut flags = flags;
        if flags & abi::O_PATH != 0 {
            flags &= abi::O_PATH | abi::O_DIRECTORY | abi::O_NOFOLLOW | abi::O_CLOEXEC;
        }
        if flags & abi::O_TMPFILE & !abi::O_DIRECTORY != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if flags & abi::O_CREAT != 0 && flags & abi::O_DIRECTORY != 0 {
            return Err(Errno::EINVAL);
        }
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        self.lowest_free(0)?;
        let (ino, place) = if flags & abi::O_CREAT == 0 {
            self.find(dirfd, path, flags)
        } else {
            self.create(dirfd, path, flags, mode)
        }?;
        // As on Linux: a generated file or a device has no second name that could be told.
        let at = (place.last == Last::Name).then(|| (place.directory, place.name.into_boxed_slice()));
        let status = flags & (abi::O_ACCMODE | STATUS) | large(flags);
        self.install(ino, status, at, flags & abi::O_CLOEXEC != 0)
    }

    /// memfd_create(2), without seals.
    pub fn memfd_create(&mut self, name: &[u8], flags: u32) -> Result<i32, Errno> {
        const LONGEST: usize = super::limits::NAME_MAX - "memfd:".len();
        if flags & !(abi::MFD_CLOEXEC | abi::MFD_ALLOW_SEALING | abi::MFD_NOEXEC_SEAL | abi::MFD_EXEC) != 0 {
            return Err(Errno::EINVAL);
        }
        if name.len() > LONGEST {
            return Err(Errno::EINVAL);
        }
        let (kind, status) = (Kind::File(Content::default()), abi::O_RDWR | abi::O_LARGEFILE);
        self.install_new(kind, 0o777, Mount::Nameless, status, flags & abi::MFD_CLOEXEC != 0)
    }

    /// The inode of an open that makes none.
    fn find(&mut self, dirfd: i32, path: &[u8], flags: u32) -> Result<(Ino, Place), Errno> {
        let follow = if flags & abi::O_NOFOLLOW == 0 { Follow::Always } else { Follow::IfSlash };
        let (node, place) = self.node(dirfd, path, follow)?;
        let ino = self.openable(node, flags)?;
        Ok((ino, place))
    }

    /// The inode of an open that may make it.
    fn create(&mut self, dirfd: i32, path: &[u8], flags: u32, mode: u32) -> Result<(Ino, Place), Errno> {
        let exclusive = flags & abi::O_EXCL != 0;
        let follow = Follow::Create(!exclusive && flags & abi::O_NOFOLLOW == 0);
        let mut place = self.place(dirfd, path, follow)?;
        let ino = match place.node {
            Some(_) if exclusive => return Err(Errno::EEXIST),
            Some(node) if self.is_directory(node) => return Err(Errno::EISDIR),
            Some(node) => self.openable(node, flags)?,
            None => {
                let kind = Kind::File(Content::default());
                self.make(&place, kind, mode & 0o7777 & !self.umask)?
            }
        };
        place.node = Some(Node::Inode(ino));
        Ok((ino, place))
    }

    /// Whether names may be made and removed in a directory: `EROFS` in /proc and /sys, `ENOENT` if it was removed itself.
    pub(super) fn writable(&self, directory: Ino) -> Result<Mount, Errno> {
        let inode = self.inodes.get(directory)?;
        match inode.mount {
            Mount::Proc | Mount::Sys => Err(Errno::EROFS),
            _ if inode.links == 0 => Err(Errno::ENOENT),
            mount => Ok(mount),
        }
    }

    /// Makes an inode at a place where there is none.
    pub(super) fn make(&mut self, place: &Place, kind: Kind, mode: u32) -> Result<Ino, Errno> {
        let mount = self.writable(place.directory)?;
        let inode = Inode::new(kind, mode, mount, self.world.now());
        self.inodes.add_named(place.directory, &place.name, inode, self.world.now())
    }

    /// Whether an inode may be opened so; truncates it if asked.
    fn openable(&mut self, node: Node, flags: u32) -> Result<Ino, Errno> {
        let path_only = flags & abi::O_PATH != 0;
        let Node::Inode(ino) = node else {
            // The link of a descriptor itself: there is no inode to stand for it.
            return Err(if flags & abi::O_DIRECTORY != 0 { Errno::ENOTDIR } else { Errno::ELOOP });
        };
        let inode = self.inodes.get(ino)?;
        if flags & abi::O_DIRECTORY != 0 && !inode.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        if path_only {
            return Ok(ino);
        }
        let writes = flags & abi::O_ACCMODE != abi::O_RDONLY || flags & abi::O_TRUNC != 0;
        match &inode.kind {
            Kind::Symlink(_) | Kind::WorkingDirectory => return Err(Errno::ELOOP),
            Kind::Directory(_) | Kind::Descriptors(_) if writes => return Err(Errno::EISDIR),
            Kind::Device(Device::Tty)
            | Kind::Counter(_)
            | Kind::Timer(_)
            | Kind::Epoll(_)
            | Kind::Socket(_)
            | Kind::Bound(_) => {
                return Err(Errno::ENXIO);
            }
            Kind::Generated(_) if writes => return Err(Errno::EROFS),
            Kind::File(_) if flags & abi::O_TRUNC != 0 => self.cut(ino, 0)?,
            _ => {}
        }
        Ok(ino)
    }

    /// Which file a descriptor was opened as, for the embedder's messages and for links in /proc/self/fd.
    pub(super) fn opened_at(&self, fd: i32) -> Option<&(Ino, Box<[u8]>)> {
        self.any_description(fd).ok()?.at.as_ref()
    }
}

/// `O_LARGEFILE`, which Linux adds to every open of a 64-bit program.
const fn large(flags: u32) -> u32 {
    if flags & abi::O_PATH == 0 { abi::O_LARGEFILE } else { 0 }
}
