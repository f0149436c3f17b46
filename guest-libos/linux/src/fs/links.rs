//! What symbolic links say: readlink(2), and the links in /proc/self/fd.
use super::{
    Fs,
    inode::{Ino, Kind},
    walk::{Follow, Node},
};
use crate::errno::Errno;
use alloc::{format, string::String, vec::Vec};
use linux_raw_sys::general as abi;

impl Fs {
    /// readlinkat(2): the whole text, which the caller cuts to the program's buffer.
    pub fn readlinkat(&self, dirfd: i32, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let itself = path.is_empty() && dirfd != abi::AT_FDCWD;
        let node = if itself {
            Node::Inode(self.any_description(dirfd)?.ino)
        } else {
            self.node(dirfd, path, Follow::IfSlash)?.0
        };
        match node {
            Node::Descriptor(fd) => self.describe(fd),
            Node::Inode(ino) => match &self.inodes.get(ino)?.kind {
                Kind::Symlink(target) => Ok(target.to_vec()),
                Kind::WorkingDirectory => self.path_of(self.cwd),
                _ if itself => Err(Errno::ENOENT),
                _ => Err(Errno::EINVAL),
            },
        }
    }

    /// What the link of a descriptor in /proc/self/fd says: the path that it was opened by, or what it is.
    pub fn describe(&self, fd: i32) -> Result<Vec<u8>, Errno> {
        let ino = self.any_description(fd)?.ino;
        let text: String = match &self.inodes.get(ino)?.kind {
            Kind::Directory(_) | Kind::Descriptors(_) => return self.path_of(ino).or(Ok(b"/ (deleted)".to_vec())),
            Kind::Pipe(_) | Kind::Standard(_) => format!("pipe:[{}]", ino.0),
            Kind::Counter(_) => "anon_inode:[eventfd]".into(),
            Kind::Timer(_) => "anon_inode:[timerfd]".into(),
            Kind::Epoll(_) => "anon_inode:[eventpoll]".into(),
            Kind::Socket(_) => format!("socket:[{}]", ino.0),
            _ => return self.path_of_file(fd, ino),
        };
        Ok(text.into_bytes())
    }

    /// The path that a file was opened by, if it still leads there.
    fn path_of_file(&self, fd: i32, ino: Ino) -> Result<Vec<u8>, Errno> {
        let Some((directory, name)) = self.opened_at(fd) else { return Ok(b"/memfd: (deleted)".to_vec()) };
        let mut path = self.path_of(*directory).unwrap_or_default();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        if self.entry(*directory, name) != Ok(Some(Node::Inode(ino))) {
            path.extend_from_slice(b" (deleted)");
        }
        Ok(path)
    }
}
