//! Walking a path, as path_resolution(7) has it.
//!
//! Texts still to walk are a stack: the path, and above it the targets of the links on the way. A path's last component
//! is the caller's: what it may be depends on the call.
use super::{
    Fs,
    inode::{Ino, Kind},
    limits::{MAX_SYMLINKS, NAME_MAX, PATH_MAX},
};
use crate::errno::Errno;
use alloc::vec::Vec;
use linux_raw_sys::general as abi;

/// What an entry of a directory leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Inode(Ino),
    /// The link in /proc/self/fd that stands for a descriptor.
    Descriptor(i32),
}

/// What kind of component is last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Name,
    Dot,
    DotDot,
    Root,
}

/// What a call does about a link that is last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// Follow it.
    Always,
    /// Follow it where a slash comes after.
    IfSlash,
    /// Never: the entry itself is meant.
    Never,
    /// It is not even looked at: only the directory and the name are wanted.
    Parent,
    /// Follow it if so, in a call that may make a regular file: a slash after the name is `EISDIR`.
    Create(bool),
}

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory of the last component.
    pub(super) directory: Ino,
    pub(super) name: Vec<u8>,
    pub(super) last: Last,
    /// A slash came after it, or after a link that led here.
    pub(super) slash: bool,
    /// What is there.
    pub(super) node: Option<Node>,
}

struct Walk<'a> {
    fs: &'a Fs,
    at: Ino,
    links: usize,
    texts: Vec<(&'a [u8], usize)>,
    name: Vec<u8>,
}

impl Walk<'_> {
    /// Takes the next component into `name`; whether it is the last one, and whether a slash comes after it.
    fn next(&mut self) -> Option<(bool, bool)> {
        loop {
            let bottom = self.texts.len() == 1;
            let (text, position) = self.texts.last_mut()?;
            let slashes = |from: usize| text[from..].iter().take_while(|byte| **byte == b'/').count();
            let start = *position + slashes(*position);
            if start == text.len() {
                self.texts.pop();
                continue;
            }
            let end = text[start..].iter().position(|byte| *byte == b'/').map_or(text.len(), |length| start + length);
            self.name.clear();
            self.name.extend_from_slice(&text[start..end]);
            *position = end + slashes(end);
            return Some((bottom && *position == text.len(), end < text.len()));
        }
    }

    /// Walks to the last component.
    fn run(&mut self) -> Result<(Last, bool), Errno> {
        while let Some((last, slash)) = self.next() {
            let kind = match &self.name[..] {
                b"." => Last::Dot,
                b".." => Last::DotDot,
                _ => Last::Name,
            };
            if last {
                return Ok((kind, slash));
            }
            match kind {
                Last::DotDot => self.at = self.fs.inodes.get(self.at)?.directory()?.parent,
                Last::Name => self.enter()?,
                Last::Dot | Last::Root => {}
            }
        }
        Ok((Last::Root, false))
    }

    /// Goes into the directory `name`, or into what the link of that name says.
    fn enter(&mut self) -> Result<(), Errno> {
        let node = self.fs.entry(self.at, &self.name)?.ok_or(Errno::ENOENT)?;
        if !self.follow(node)? {
            let Node::Inode(ino) = self.fs.through(node)? else { return Err(Errno::ENOTDIR) };
            self.fs.inodes.get(ino)?.directory()?;
            self.at = ino;
        }
        Ok(())
    }

    /// Takes up the text of a symbolic link, if it is one.
    fn follow(&mut self, node: Node) -> Result<bool, Errno> {
        let Node::Inode(ino) = node else { return Ok(false) };
        let Kind::Symlink(target) = &self.fs.inodes.get(ino)?.kind else { return Ok(false) };
        self.links += 1;
        if self.links > MAX_SYMLINKS {
            return Err(Errno::ELOOP);
        }
        if target.first() == Some(&b'/') {
            self.at = Ino::ROOT;
        }
        self.texts.push((&target[..], 0));
        Ok(true)
    }
}

impl Fs {
    /// What `name` means in a directory.
    pub(super) fn entry(&self, directory: Ino, name: &[u8]) -> Result<Option<Node>, Errno> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        match &self.inodes.get(directory)?.kind {
            Kind::Directory(entries) => Ok(entries.get(name).map(Node::Inode)),
            Kind::Descriptors(_) => {
                let number =
                    core::str::from_utf8(name).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let fd = number.and_then(|text| text.parse().ok()).filter(|fd| self.slot(*fd).is_ok());
                Ok(fd.map(Node::Descriptor))
            }
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The inode that a link without a text leads to; anything else is itself.
    pub(super) fn through(&self, node: Node) -> Result<Node, Errno> {
        match node {
            Node::Descriptor(fd) => Ok(Node::Inode(self.any_description(fd).map_err(|_| Errno::ENOENT)?.ino)),
            Node::Inode(ino) if matches!(self.inodes.get(ino)?.kind, Kind::WorkingDirectory) => {
                Ok(Node::Inode(self.cwd))
            }
            Node::Inode(_) => Ok(node),
        }
    }

    /// The directory that a path starts in.
    fn start(&self, dirfd: i32, path: &[u8]) -> Result<Ino, Errno> {
        match path.first() {
            None => Err(Errno::ENOENT),
            Some(_) if path.len() >= PATH_MAX => Err(Errno::ENAMETOOLONG),
            Some(b'/') => Ok(Ino::ROOT),
            Some(_) if dirfd == abi::AT_FDCWD => Ok(self.cwd),
            Some(_) => {
                let ino = self.any_description(dirfd)?.ino;
                self.inodes.get(ino)?.directory()?;
                Ok(ino)
            }
        }
    }

    /// Walks `path` from `dirfd`.
    pub(super) fn place(&self, dirfd: i32, path: &[u8], follow: Follow) -> Result<Place, Errno> {
        let at = self.start(dirfd, path)?;
        let texts = alloc::vec![(path, 0)];
        let mut walk = Walk { fs: self, at, links: 0, texts, name: Vec::new() };
        let mut slash = false;
        loop {
            let (last, after) = walk.run()?;
            slash |= after && last == Last::Name;
            let node = match last {
                _ if follow == Follow::Parent => None,
                Last::Name if slash && matches!(follow, Follow::Create(_)) => return Err(Errno::EISDIR),
                Last::Name => self.entry(walk.at, &walk.name)?,
                Last::Dot | Last::Root => Some(Node::Inode(walk.at)),
                Last::DotDot => Some(Node::Inode(self.inodes.get(walk.at)?.directory()?.parent)),
            };
            let follows = match follow {
                Follow::Always | Follow::Create(true) => true,
                Follow::IfSlash => slash,
                Follow::Never | Follow::Parent | Follow::Create(false) => false,
            };
            if let Some(found) = node.filter(|_| follows) {
                walk.texts.clear();
                if walk.follow(found)? {
                    continue;
                }
                let node = Some(self.through(found)?);
                return Ok(Place { directory: walk.at, name: walk.name, last, slash, node });
            }
            return Ok(Place { directory: walk.at, name: walk.name, last, slash, node });
        }
    }

    /// What a path leads to.
    pub(super) fn node(&self, dirfd: i32, path: &[u8], follow: Follow) -> Result<(Node, Place), Errno> {
        let place = self.place(dirfd, path, follow)?;
        let node = place.node.ok_or(Errno::ENOENT)?;
        if place.slash && !self.is_directory(node) {
            return Err(Errno::ENOTDIR);
        }
        Ok((node, place))
    }

    /// What a path leads to; with `AT_EMPTY_PATH` in `flags`, an empty one to what `dirfd` is.
    pub(super) fn node_at(&self, dirfd: i32, path: &[u8], flags: u32) -> Result<Node, Errno> {
        if path.is_empty() && flags & abi::AT_EMPTY_PATH != 0 {
            let cwd = dirfd == abi::AT_FDCWD;
            return Ok(Node::Inode(if cwd { self.cwd } else { self.any_description(dirfd)?.ino }));
        }
        let follow = if flags & abi::AT_SYMLINK_NOFOLLOW == 0 { Follow::Always } else { Follow::IfSlash };
        self.node(dirfd, path, follow).map(|(node, _)| node)
    }

    pub(super) fn is_directory(&self, node: Node) -> bool {
        matches!(node, Node::Inode(ino) if self.inodes.get(ino).is_ok_and(super::inode::Inode::is_directory))
    }

    pub(super) fn is_link(&self, node: Node) -> bool {
        match node {
            Node::Inode(ino) => {
                self.inodes.get(ino).is_ok_and(|inode| matches!(inode.kind, Kind::Symlink(_) | Kind::WorkingDirectory))
            }
            Node::Descriptor(_) => true,
        }
    }
}
