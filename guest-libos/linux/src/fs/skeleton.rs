//! What is there at the start: the bundle's files, the directories and devices that programs expect, and descriptors 0 to 2.
use super::{
    Fs, Setup, SetupError,
    content::Content,
    directory::Directory,
    inode::{Device, Ino, Inode, Kind, Mount},
    limits::NAME_MAX,
    walk::Node,
    world::Generated,
};
use crate::{
    bundle::{Entry, Node as Packed},
    errno::Errno,
};
use alloc::{format, string::String};
use linux_raw_sys::general as abi;

/// Directories, their modes, and which file system starts there.
const DIRECTORIES: &[(&str, u32, Mount)] = &[
    ("dev", 0o755, Mount::Dev),
    ("dev/denali", 0o755, Mount::Dev),
    ("dev/shm", 0o1777, Mount::Dev),
    ("etc", 0o755, Mount::Root),
    ("in", 0o755, Mount::Root),
    ("out", 0o755, Mount::Root),
    ("proc", 0o555, Mount::Proc),
    ("root", 0o700, Mount::Root),
    ("run", 0o755, Mount::Root),
    ("sys", 0o555, Mount::Sys),
    ("tmp", 0o1777, Mount::Root),
    ("var/tmp", 0o1777, Mount::Root),
];

const DEVICES: &[(&str, Device)] = &[
    ("dev/denali/progress", Device::Progress),
    ("dev/full", Device::Full),
    ("dev/null", Device::Null),
    ("dev/random", Device::Random),
    ("dev/tty", Device::Tty),
    ("dev/urandom", Device::Urandom),
    ("dev/zero", Device::Zero),
];

const LINKS: &[(&str, &str)] = &[
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
    ("proc/mounts", "self/mounts"),
    ("proc/net", "self/net"),
    ("proc/thread-self", "self"),
];

/// Files of /etc for a bundle that has none of its own. There is no localtime: the time zone is UTC.
const ETC: &[(&str, &str)] = &[
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/resolv.conf", ""),
];

/// Generated files of the process, in /proc/self.
const PROCESS: &[(&str, Generated)] = &[
    ("auxv", Generated::ProcAuxv),
    ("cmdline", Generated::ProcCmdline),
    ("comm", Generated::ProcComm),
    ("environ", Generated::ProcEnviron),
    ("limits", Generated::ProcLimits),
    ("maps", Generated::ProcMaps),
    ("mountinfo", Generated::ProcMountinfo),
    ("mounts", Generated::ProcMounts),
    ("stat", Generated::ProcStat),
    ("statm", Generated::ProcStatm),
    ("status", Generated::ProcStatus),
];

/// Generated files of the system.
const SYSTEM: &[(&str, Generated)] = &[
    ("dev/denali/ready", Generated::Ready),
    ("proc/cpuinfo", Generated::Cpuinfo),
    ("proc/filesystems", Generated::Filesystems),
    ("proc/loadavg", Generated::Loadavg),
    ("proc/meminfo", Generated::Meminfo),
    ("proc/stat", Generated::Stat),
    ("proc/uptime", Generated::Uptime),
    ("proc/version", Generated::Version),
    ("proc/sys/fs/file-max", Generated::SysFileMax),
    ("proc/sys/fs/pipe-max-size", Generated::SysPipeMaxSize),
    ("proc/sys/kernel/cap_last_cap", Generated::SysCapLastCap),
    ("proc/sys/kernel/hostname", Generated::SysHostname),
    ("proc/sys/kernel/osrelease", Generated::SysOsrelease),
    ("proc/sys/kernel/ostype", Generated::SysOstype),
    ("proc/sys/kernel/pid_max", Generated::SysPidMax),
    ("proc/sys/kernel/random/boot_id", Generated::SysBootId),
    ("proc/sys/kernel/threads-max", Generated::SysThreadsMax),
    ("proc/sys/net/core/somaxconn", Generated::SysSomaxconn),
    ("proc/sys/vm/max_map_count", Generated::SysMaxMapCount),
    ("proc/sys/vm/overcommit_memory", Generated::SysOvercommitMemory),
    ("sys/devices/system/cpu/online", Generated::CpusOnline),
    ("sys/devices/system/cpu/possible", Generated::CpusPossible),
    ("sys/devices/system/cpu/present", Generated::CpusPresent),
    ("sys/kernel/mm/transparent_hugepage/enabled", Generated::HugepageEnabled),
    ("sys/kernel/mm/transparent_hugepage/hpage_pmd_size", Generated::HugepageSize),
];

impl Fs {
    pub(super) fn populate(&mut self, setup: &Setup<'_>) -> Result<(), SetupError> {
        let root =
            self.inodes.add(Inode::new(Kind::Directory(Directory::new()), 0o755, Mount::Root, self.world.now()))?;
        let inode = self.inodes.get_mut(root)?;
        inode.links = 1;
        inode.directory_mut()?.parent = root;
        for (path, mode, mount) in DIRECTORIES {
            self.lay(path, Kind::Directory(Directory::new()), *mode, Some(*mount))?;
        }
        for (path, entry) in setup.tree.entries() {
            self.unpack(path, entry).map_err(|error| failed(path, error))?;
        }
        for (path, bytes) in setup.files {
            // A bundle does not say which of its files are programs.
            self.lay(path, Kind::File(Content::borrowed(bytes)), 0o755, None)?;
        }
        for (path, text) in ETC {
            match self.lay(path, Kind::File(Content::borrowed(text.as_bytes())), 0o644, None) {
                Ok(_) | Err(SetupError { error: Errno::EEXIST, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for (path, device) in DEVICES {
            self.lay(path, Kind::Device(*device), 0o666, None)?;
        }
        for (path, target) in LINKS {
            self.lay(path, Kind::Symlink(target.as_bytes().into()), 0o777, None)?;
        }
        self.populate_process(setup)?;
        self.populate_streams()
    }

    fn populate_process(&mut self, setup: &Setup<'_>) -> Result<(), SetupError> {
        for (path, file) in SYSTEM {
            self.lay(path, Kind::Generated(*file), 0o444, None)?;
        }
        let pid = self.pid;
        self.lay("proc/self", Kind::Symlink(format!("{pid}").as_bytes().into()), 0o777, None)?;
        for (name, file) in PROCESS {
            self.lay(format!("proc/{pid}/{name}"), Kind::Generated(*file), 0o444, None)?;
        }
        self.lay(format!("proc/{pid}/fd"), Kind::Descriptors(Directory::new()), 0o500, None)?;
        self.lay(format!("proc/{pid}/net"), Kind::Directory(Directory::new()), 0o555, None)?;
        self.lay(format!("proc/{pid}/exe"), Kind::Symlink(setup.program.into()), 0o777, None)?;
        self.lay(format!("proc/{pid}/cwd"), Kind::WorkingDirectory, 0o777, None)?;
        self.lay(format!("proc/{pid}/root"), Kind::Symlink(b"/"[..].into()), 0o777, None)?;
        Ok(())
    }

    fn populate_streams(&mut self) -> Result<(), SetupError> {
        for (number, flags) in [(0, abi::O_RDONLY), (1, abi::O_WRONLY), (2, abi::O_WRONLY)] {
            self.install_new(Kind::Standard(number), 0o600, Mount::Nameless, flags, false)?;
        }
        Ok(())
    }

    /// Puts an entry of the bundle's tree where it belongs. A directory that is there takes the mode.
    fn unpack(&mut self, path: &[u8], entry: &Entry<&'static [u8]>) -> Result<(), Errno> {
        let kind = match &entry.node {
            Packed::Directory => {
                let ino = self.lead(path)?;
                self.inodes.get_mut(ino)?.mode = entry.mode;
                return Ok(());
            }
            Packed::File(bytes) => Kind::File(Content::borrowed(bytes)),
            Packed::Symlink(text) => Kind::Symlink(text.as_slice().into()),
        };
        self.lay_at(path, kind, entry.mode, None).map(|_| ())
    }

    /// Puts an inode at a path below the root, with the directories that lead to it. `EINVAL` for a path that a bundle
    /// may not have.
    fn lay(&mut self, path: impl AsRef<[u8]>, kind: Kind, mode: u32, mount: Option<Mount>) -> Result<Ino, SetupError> {
        let path = path.as_ref();
        self.lay_at(path, kind, mode, mount).map_err(|error| failed(path, error))
    }

    fn lay_at(&mut self, path: &[u8], kind: Kind, mode: u32, mount: Option<Mount>) -> Result<Ino, Errno> {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (directories, name) = slash.map_or((&[][..], path), |slash| (&path[..slash], &path[slash + 1..]));
        let at = self.lead(directories)?;
        self.lay_one(at, name, kind, mode, mount)
    }

    /// The directory at a path below the root, made with those that lead to it where it is not there.
    fn lead(&mut self, path: &[u8]) -> Result<Ino, Errno> {
        let mut at = Ino::ROOT;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            check_name(name)?;
            at = match self.entry(at, name)? {
                Some(Node::Inode(ino)) => ino,
                _ => self.lay_one(at, name, Kind::Directory(Directory::new()), 0o755, None)?,
            };
            self.inodes.get(at)?.directory()?;
        }
        Ok(at)
    }

    fn lay_one(&mut self, parent: Ino, name: &[u8], kind: Kind, mode: u32, mount: Option<Mount>) -> Result<Ino, Errno> {
        check_name(name)?;
        if self.entry(parent, name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        let mount = mount.map_or_else(|| self.mount(parent), Ok)?;
        self.inodes.add_named(parent, name, Inode::new(kind, mode, mount, self.world.now()), self.world.now())
    }
}

fn failed(path: &[u8], error: Errno) -> SetupError {
    SetupError { path: String::from_utf8_lossy(path).into_owned(), error }
}

/// `EINVAL` for what is not the name of a file.
fn check_name(name: &[u8]) -> Result<(), Errno> {
    match name {
        b"" | b"." | b".." => Err(Errno::EINVAL),
        _ if name.len() > NAME_MAX => Err(Errno::ENAMETOOLONG),
        _ if name.contains(&0) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}
