//! renameat2(2): the checks in the order of Linux's do_renameat2, since which error comes first is seen by programs.
use super::{
    Fs,
    inode::Ino,
    walk::{Follow, Last, Node, Place},
};
use crate::errno::Errno;
use linux_raw_sys::general as abi;

impl Fs {
    /// renameat2(2).
    pub fn renameat2(&mut self, olddir: i32, old: &[u8], newdir: i32, new: &[u8], flags: u32) -> Result<(), Errno> {
        let (keep, exchange) = (flags & abi::RENAME_NOREPLACE != 0, flags & abi::RENAME_EXCHANGE != 0);
        if flags & !(abi::RENAME_NOREPLACE | abi::RENAME_EXCHANGE) != 0 || keep && exchange {
            return Err(Errno::EINVAL);
        }
        let from = self.place(olddir, old, Follow::Parent)?;
        let to = self.place(newdir, new, Follow::Parent)?;
        if self.mount(from.directory)? != self.mount(to.directory)? {
            return Err(Errno::EXDEV);
        }
        if from.last != Last::Name {
            return Err(Errno::EBUSY);
        }
        if to.last != Last::Name {
            return Err(if keep { Errno::EEXIST } else { Errno::EBUSY });
        }
        let source = self.entry(from.directory, &from.name)?.ok_or(Errno::ENOENT)?;
        let target = self.entry(to.directory, &to.name)?;
        let (from, to) = (Place { node: Some(source), ..from }, Place { node: target, ..to });
        self.check_slashes(&from, &to, source, keep, exchange)?;
        self.check_loops(&from, &to, exchange)?;
        let Node::Inode(ino) = source else { return Err(Errno::EROFS) };
        match target {
            Some(target) if target == source => Ok(()),
            Some(Node::Inode(other)) if exchange => self.exchange(&from, ino, &to, other),
            Some(Node::Inode(other)) => self.replace(&from, ino, &to, other),
            Some(Node::Descriptor(_)) => Err(Errno::EROFS),
            None => self.relocate(&from, ino, &to),
        }
    }

    fn check_slashes(&self, from: &Place, to: &Place, source: Node, keep: bool, exchange: bool) -> Result<(), Errno> {
        if keep && to.node.is_some() {
            return Err(Errno::EEXIST);
        }
        if exchange {
            let target = to.node.ok_or(Errno::ENOENT)?;
            if to.slash && !self.is_directory(target) {
                return Err(Errno::ENOTDIR);
            }
        }
        // A slash after a name says that it is a directory's.
        if !self.is_directory(source) && (from.slash || to.slash && !exchange) {
            return Err(Errno::ENOTDIR);
        }
        Ok(())
    }

    /// A directory does not go into itself.
    fn check_loops(&self, from: &Place, to: &Place, exchange: bool) -> Result<(), Errno> {
        if let Some(Node::Inode(source)) = from.node
            && self.is_within(to.directory, source)?
        {
            return Err(Errno::EINVAL);
        }
        if let Some(Node::Inode(target)) = to.node
            && self.is_within(from.directory, target)?
        {
            return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        Ok(())
    }

    /// Whether a directory is `ancestor` or somewhere in it.
    fn is_within(&self, mut directory: Ino, ancestor: Ino) -> Result<bool, Errno> {
        if !self.inodes.get(ancestor)?.is_directory() {
            return Ok(false);
        }
        while directory != ancestor {
            if directory == Ino::ROOT {
                return Ok(false);
            }
            directory = self.inodes.get(directory)?.directory()?.parent;
        }
        Ok(true)
    }

    fn relocate(&mut self, from: &Place, ino: Ino, to: &Place) -> Result<(), Errno> {
        self.removable(from)?;
        self.writable(to.directory)?;
        // Made before the other is taken, since this is what can fail; a directory then says where it is by the second.
        self.inodes.put(to.directory, &to.name, ino)?;
        self.inodes.take(from.directory, &from.name)?;
        self.renamed(from, to, &[ino])
    }

    fn replace(&mut self, from: &Place, ino: Ino, to: &Place, other: Ino) -> Result<(), Errno> {
        self.removable(from)?;
        self.removable(to)?;
        let target = self.inodes.get(other)?;
        match (self.inodes.get(ino)?.is_directory(), target.directory()) {
            (true, Err(error)) => return Err(error),
            (false, Ok(_)) => return Err(Errno::EISDIR),
            (true, Ok(directory)) if !directory.is_empty() => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        self.inodes.swap(to.directory, &to.name, ino)?;
        self.inodes.take(from.directory, &from.name)?;
        self.inodes.lose(other, to.directory, self.world.now())?;
        self.renamed(from, to, &[ino])
    }

    fn exchange(&mut self, from: &Place, ino: Ino, to: &Place, other: Ino) -> Result<(), Errno> {
        self.removable(from)?;
        self.removable(to)?;
        self.inodes.swap(to.directory, &to.name, ino)?;
        self.inodes.swap(from.directory, &from.name, other)?;
        self.renamed(from, to, &[ino, other])
    }

    fn renamed(&mut self, from: &Place, to: &Place, moved: &[Ino]) -> Result<(), Errno> {
        let now = self.world.now();
        self.inodes.get_mut(from.directory)?.modified(now);
        self.inodes.get_mut(to.directory)?.modified(now);
        for ino in moved {
            self.inodes.get_mut(*ino)?.changed(now);
        }
        let (old, new) = ((from.directory, &from.name[..]), (to.directory, &to.name[..]));
        for (ino, (before, after)) in moved.iter().zip([(old, new), (new, old)]) {
            self.descriptions.renamed(*ino, before, after);
        }
        Ok(())
    }
}
