//! Making and removing names: mkdir(2), link(2), symlink(2), unlink(2), rmdir(2), and the working directory.
use super::{
    Fs,
    directory::Directory,
    inode::{Ino, Kind, Mount},
    limits::PATH_MAX,
    walk::{Follow, Last, Node, Place},
};
use crate::errno::Errno;
use alloc::vec::Vec;
use linux_raw_sys::general as abi;

impl Fs {
    /// A place where a name can be made. A slash after it is for directories only.
    pub(super) fn vacant(&self, dirfd: i32, path: &[u8], directory: bool) -> Result<Place, Errno> {
        let place = self.place(dirfd, path, Follow::Never)?;
        match place.node {
            Some(_) => Err(Errno::EEXIST),
            None if place.slash && !directory => Err(Errno::ENOENT),
            None => Ok(place),
        }
    }

    /// mkdirat(2).
    pub fn mkdirat(&mut self, dirfd: i32, path: &[u8], mode: u32) -> Result<(), Errno> {
        let place = self.vacant(dirfd, path, true)?;
        self.make(&place, Kind::Directory(Directory::new()), mode & 0o1777 & !self.umask).map(|_| ())
    }

    /// symlinkat(2).
    pub fn symlinkat(&mut self, target: &[u8], dirfd: i32, path: &[u8]) -> Result<(), Errno> {
        match target.len() {
            0 => return Err(Errno::ENOENT),
            PATH_MAX.. => return Err(Errno::ENAMETOOLONG),
            _ => {}
        }
        let place = self.vacant(dirfd, path, false)?;
        self.make(&place, Kind::Symlink(target.into()), 0o777).map(|_| ())
    }

    /// linkat(2).
    pub fn linkat(&mut self, olddir: i32, old: &[u8], newdir: i32, new: &[u8], flags: u32) -> Result<(), Errno> {
        if flags & !(abi::AT_SYMLINK_FOLLOW | abi::AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL);
        }
        let nofollow = if flags & abi::AT_SYMLINK_FOLLOW == 0 { abi::AT_SYMLINK_NOFOLLOW } else { 0 };
        let node = self.node_at(olddir, old, flags & abi::AT_EMPTY_PATH | nofollow)?;
        let place = self.vacant(newdir, new, false)?;
        let Node::Inode(ino) = node else { return Err(Errno::EXDEV) };
        let inode = self.inodes.get(ino)?;
        if inode.mount != self.inodes.get(place.directory)?.mount {
            return Err(Errno::EXDEV);
        }
        self.writable(place.directory)?;
        match inode.kind {
            Kind::Directory(_) | Kind::Descriptors(_) => return Err(Errno::EPERM),
            _ if inode.links == 0 => return Err(Errno::ENOENT),
            _ => {}
        }
        let now = self.world.now();
        self.inodes.link(place.directory, &place.name, ino, now)?;
        self.inodes.get_mut(ino)?.changed(now);
        Ok(())
    }

    /// unlinkat(2).
    pub fn unlinkat(&mut self, dirfd: i32, path: &[u8], flags: u32) -> Result<(), Errno> {
        match flags {
            0 => {}
            abi::AT_REMOVEDIR => return self.rmdir(dirfd, path),
            _ => return Err(Errno::EINVAL),
        }
        let place = self.place(dirfd, path, Follow::Never)?;
        let node = place.node.ok_or(Errno::ENOENT)?;
        if self.is_directory(node) {
            return Err(Errno::EISDIR);
        }
        if place.slash {
            return Err(Errno::ENOTDIR);
        }
        self.removable(&place)?;
        self.inodes.unlink(place.directory, &place.name, self.world.now())
    }

    fn rmdir(&mut self, dirfd: i32, path: &[u8]) -> Result<(), Errno> {
        let place = self.place(dirfd, path, Follow::Never)?;
        match place.last {
            Last::Name => {}
            Last::Dot => return Err(Errno::EINVAL),
            Last::DotDot => return Err(Errno::ENOTEMPTY),
            Last::Root => return Err(Errno::EBUSY),
        }
        let Node::Inode(ino) = place.node.ok_or(Errno::ENOENT)? else { return Err(Errno::ENOTDIR) };
        let empty = self.inodes.get(ino)?.directory()?.is_empty();
        self.removable(&place)?;
        if !empty {
            return Err(Errno::ENOTEMPTY);
        }
        self.inodes.unlink(place.directory, &place.name, self.world.now())
    }

    /// Whether the entry at a place may be taken away: not where another file system would be mounted.
    pub(super) fn removable(&self, place: &Place) -> Result<(), Errno> {
        let mount = self.writable(place.directory)?;
        match place.node {
            Some(Node::Inode(ino)) if self.inodes.get(ino)?.mount != mount => Err(Errno::EBUSY),
            _ => Ok(()),
        }
    }

    /// chdir(2).
    pub fn chdir(&mut self, path: &[u8]) -> Result<(), Errno> {
        let (node, _) = self.node(abi::AT_FDCWD, path, Follow::Always)?;
        let Node::Inode(ino) = node else { return Err(Errno::ENOTDIR) };
        self.enter(ino)
    }

    /// chroot(2): `EPERM` but for the root that there is.
    pub fn chroot(&self, path: &[u8]) -> Result<(), Errno> {
        let (node, _) = self.node(abi::AT_FDCWD, path, Follow::Always)?;
        let Node::Inode(ino) = node else { return Err(Errno::ENOTDIR) };
        self.inodes.get(ino)?.directory()?;
        if ino == Ino::ROOT { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// fchdir(2).
    pub fn fchdir(&mut self, fd: i32) -> Result<(), Errno> {
        let ino = self.any_description(fd)?.ino;
        self.enter(ino)
    }

    fn enter(&mut self, ino: Ino) -> Result<(), Errno> {
        self.inodes.get(ino)?.directory()?;
        self.inodes.hold(ino)?;
        let old = core::mem::replace(&mut self.cwd, ino);
        self.inodes.release(old);
        Ok(())
    }

    /// getcwd(2), without the NUL. `ENOENT` where it was removed.
    pub fn getcwd(&self) -> Result<Vec<u8>, Errno> {
        self.path_of(self.cwd)
    }

    /// The absolute path of a directory.
    pub(super) fn path_of(&self, mut ino: Ino) -> Result<Vec<u8>, Errno> {
        let mut names: Vec<&[u8]> = Vec::new();
        let mut length = 1;
        while ino != Ino::ROOT {
            let inode = self.inodes.get(ino)?;
            if inode.links == 0 {
                return Err(Errno::ENOENT);
            }
            let directory = inode.directory()?;
            length += directory.name.len() + 1;
            if length > PATH_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            names.push(&directory.name);
            ino = directory.parent;
        }
        let mut path = Vec::with_capacity(length);
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }

    /// Which file system a directory would be on.
    pub(super) fn mount(&self, ino: Ino) -> Result<Mount, Errno> {
        self.inodes.get(ino).map(|inode| inode.mount)
    }
}
