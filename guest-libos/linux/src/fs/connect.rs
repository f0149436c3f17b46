//! Where sockets are, also as names in the tree, and who is connected: bind(2), listen(2), connect(2), accept(2).
use super::{
    Fs, Stop,
    inode::Kind,
    socket::FLAGS,
    walk::{Follow, Node},
    world::Events,
};
use crate::{
    errno::Errno,
    net::{Family, Given, Kind as Type, SocketId},
};
use alloc::vec::Vec;
use linux_raw_sys::general as abi;

impl Fs {
    /// bind(2).
    pub(crate) fn bind(&mut self, fd: i32, address: &[u8]) -> Result<(), Errno> {
        let socket = self.socket_of(fd)?;
        let given = Given::parse(address)?;
        match (self.net.get(socket)?.family, given) {
            (Family::Unix, Given::Unix(name)) if name.first().is_some_and(|byte| *byte != 0) => {
                self.bind_path(socket, &name)
            }
            (Family::Unix, Given::Unix(name)) => self.net.bind_unix(socket, &name),
            (Family::Unix, _) => Err(Errno::EINVAL),
            (_, given) => self.net.bind_inet(socket, &given),
        }
    }

    fn bind_path(&mut self, socket: SocketId, path: &[u8]) -> Result<(), Errno> {
        let taken = |error| if error == Errno::EEXIST { Errno::EADDRINUSE } else { error };
        let place = self.vacant(abi::AT_FDCWD, path, false).map_err(taken)?;
        if self.net.get(socket)?.local.is_some() {
            return Err(Errno::EINVAL);
        }
        self.make(&place, Kind::Bound(socket), 0o777 & !self.umask)?;
        self.net.bind_unix(socket, path)
    }

    /// Which Unix socket is meant by a path or an abstract name.
    pub(super) fn unix_socket(&self, kind: Type, given: &Given) -> Result<SocketId, Errno> {
        match given {
            Given::Unix(name) if name.is_empty() => Err(Errno::EINVAL),
            Given::Unix(name) if name.first() == Some(&0) => self.net.named(kind, name).ok_or(Errno::ECONNREFUSED),
            Given::Unix(path) => match self.node(abi::AT_FDCWD, path, Follow::Always)?.0 {
                Node::Inode(ino) => match self.inodes.get(ino)?.kind {
                    Kind::Bound(socket) => Ok(socket),
                    _ => Err(Errno::ECONNREFUSED),
                },
                Node::Descriptor(_) => Err(Errno::ECONNREFUSED),
            },
            _ => Err(Errno::EINVAL),
        }
    }

    /// listen(2).
    pub(crate) fn listen(&mut self, fd: i32, backlog: u32) -> Result<(), Errno> {
        let (socket, credentials) = (self.socket_of(fd)?, self.credentials());
        self.touch();
        self.net.listen(socket, backlog, credentials)
    }

    /// connect(2).
    pub(crate) fn connect(&mut self, fd: i32, address: &[u8]) -> Result<(), Stop> {
        let socket = self.socket_of(fd)?;
        let given = Given::parse(address)?;
        let (family, kind) = (self.net.get(socket)?.family, self.net.get(socket)?.kind);
        let done = match (family, kind, given) {
            (Family::Unix, Type::Datagram, Given::Unspecified) => {
                self.net.connect_messages(socket, None, &mut self.inodes.budget).map(|()| true)
            }
            (Family::Unix, Type::Datagram, given) => {
                let to = self.unix_socket(kind, &given)?;
                self.net.connect_messages(socket, Some(to), &mut self.inodes.budget).map(|()| true)
            }
            (Family::Unix, _, given) => {
                let (to, credentials) = (self.unix_socket(kind, &given)?, self.credentials());
                self.net.connect_unix(socket, to, credentials, &mut self.inodes.budget)
            }
            (_, Type::Stream, Given::Unspecified) => {
                self.net.disconnect(socket, &mut self.inodes.budget)?;
                Ok(true)
            }
            (_, Type::Stream, given) => return self.connect_tcp(fd, socket, &given),
            (_, _, given) => self.net.connect_datagrams(socket, &given).map(|()| true),
        };
        self.close_sockets();
        if done? {
            self.touch();
            return Ok(());
        }
        Err(self.blocked(fd, 0, Events::OUT))
    }

    fn connect_tcp(&mut self, fd: i32, socket: SocketId, given: &Given) -> Result<(), Stop> {
        let nonblock = self.description(fd)?.flags & abi::O_NONBLOCK != 0;
        let pending = if self.net.is_connecting(socket)? {
            Errno::EALREADY
        } else {
            self.net.start_connect(socket, given, &mut self.inodes.budget)?;
            self.touch();
            if nonblock {
                return Err(Errno::EINPROGRESS.into());
            }
            Errno::EINPROGRESS
        };
        match self.net.finish_connect(socket, &mut self.inodes.budget)? {
            true => Ok(()),
            false if nonblock => Err(pending.into()),
            false => Err(self.blocked(fd, 0, Events::OUT)),
        }
    }

    /// accept4(2): a descriptor, and where the other end is.
    pub(crate) fn accept(&mut self, fd: i32, flags: u32) -> Result<(i32, Vec<u8>), Stop> {
        let socket = self.socket_of(fd)?;
        if flags & !FLAGS != 0 {
            return Err(Errno::EINVAL.into());
        }
        self.lowest_free(0)?;
        let nonblock = self.description(fd)?.flags & abi::O_NONBLOCK != 0;
        let Some(child) = self.net.accept(socket, nonblock, &mut self.inodes.budget)? else {
            return Err(self.blocked(fd, 0, Events::IN));
        };
        self.touch();
        let from = self.net.came_from(child)?;
        Ok((self.install_socket(child, flags)?, from))
    }
}
