//! Sending and receiving by descriptors of sockets, with what comes along: addresses, descriptors, credentials.
use super::{Buffers, Fs, Stop, Wait, inode::Kind, world::Events};
use crate::{
    errno::Errno,
    net::{Control, Credentials, Cursor, Family, Given, Got, How, Kind as Type, Message, SocketId, To},
};
use alloc::vec::Vec;
use linux_raw_sys::{general as abi, net as raw};

/// What is sent besides bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Send<'a> {
    /// The address, as the program gave it.
    pub(crate) to: Option<&'a [u8]>,
    /// Descriptors.
    pub(crate) rights: &'a [i32],
    /// Who the program says that it is.
    pub(crate) credentials: Option<Credentials>,
    /// `MSG_` flags.
    pub(crate) flags: u32,
}

/// What came with bytes.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Bytes in the buffers, or of the whole message if that was asked for.
    pub(crate) count: usize,
    /// `MSG_` flags.
    pub(crate) flags: u32,
    /// Where it came from; empty where that is not told.
    pub(crate) from: Vec<u8>,
    /// Open file descriptions: [`Fs::install_rights`] must be given them.
    pub(crate) rights: Vec<u64>,
    /// Who sent it, if the socket wants to know.
    pub(crate) credentials: Option<Credentials>,
}

/// One buffer.
pub(super) struct One<'a>(pub(super) &'a mut [u8]);

impl Buffers for One<'_> {
    fn buffer(&mut self, place: usize) -> Option<&mut [u8]> {
        (place == 0).then_some(&mut *self.0)
    }
}

impl Fs {
    fn waits(&self, fd: i32, flags: u32) -> Result<bool, Errno> {
        Ok(flags & raw::MSG_DONTWAIT == 0 && self.description(fd)?.flags & abi::O_NONBLOCK == 0)
    }

    /// write(2) and writev(2) of a socket.
    pub(super) fn send_bytes(&mut self, fd: i32, socket: SocketId, parts: &[&[u8]]) -> Result<usize, Stop> {
        self.send_from(fd, socket, parts, &Send::default())
    }

    /// sendmsg(2) and its relatives: how many bytes were sent.
    pub(crate) fn send(&mut self, fd: i32, parts: &[&[u8]], with: &Send<'_>) -> Result<usize, Stop> {
        let socket = self.socket_of(fd)?;
        self.send_from(fd, socket, parts, with)
    }

    fn send_from(&mut self, fd: i32, socket: SocketId, parts: &[&[u8]], with: &Send<'_>) -> Result<usize, Stop> {
        let waits = self.waits(fd, with.flags)?;
        let (family, kind) = (self.net.get(socket)?.family, self.net.get(socket)?.kind);
        if with.flags & raw::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let given = with.to.map(Given::parse).transpose()?;
        let rights: Result<Vec<u64>, Errno> = with.rights.iter().map(|fd| self.description_id(*fd)).collect();
        let rights = if family == Family::Unix { rights? } else { Vec::new() };
        let result = match (family, kind) {
            (Family::Unix, Type::Datagram) => {
                self.net.can_send(socket)?;
                let to = match &given {
                    Some(given) => self.unix_socket(kind, given).map(To::Other),
                    None => Ok(To::Peer),
                };
                to.and_then(|to| {
                    let control = self.control_of(socket, to, &rights, with.credentials);
                    self.net.send_unix(socket, to, Message { parts, control }, &mut self.inodes.budget)
                })
                .inspect_err(|_| self.net.not_sent(socket))
            }
            (_, Type::Datagram) => {
                let message = Message { parts, control: Control::default() };
                self.net.send_udp(socket, given.as_ref(), &message, &mut self.inodes.budget).map(Some)
            }
            (Family::Unix, Type::Stream) if given.is_some() => {
                let connected = self.net.remote(socket).is_ok();
                Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP })
            }
            _ => {
                let control = self.control_of(socket, To::Peer, &rights, with.credentials);
                self.net.send(socket, Message { parts, control }, &mut self.inodes.budget)
            }
        };
        if result != Ok(None) {
            self.close_sockets();
            self.touch();
        }
        let total = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        match result {
            Ok(Some(count)) => {
                if count > 0 || kind != Type::Stream {
                    rights.into_iter().for_each(|right| self.hold_description(right));
                }
                if count < total && waits && kind == Type::Stream {
                    return Err(self.waiting(fd, count, Events::OUT));
                }
                Ok(count)
            }
            Ok(None) if waits => Err(self.waiting(fd, 0, Events::OUT)),
            Ok(None) => Err(Errno::EAGAIN.into()),
            Err(Errno::EPIPE) if kind == Type::Stream && with.flags & raw::MSG_NOSIGNAL == 0 => Err(Stop::BrokenPipe),
            Err(error) => Err(error.into()),
        }
    }

    /// What goes along with bytes over a Unix socket; nothing over others.
    fn control_of(&self, socket: SocketId, to: To, rights: &[u64], claimed: Option<Credentials>) -> Control {
        let wanted = self.net.passes_credentials(socket, to);
        Control { rights: rights.into(), credentials: claimed.or_else(|| wanted.then(|| self.credentials())) }
    }

    fn waiting(&self, fd: i32, done: usize, events: Events) -> Stop {
        match self.description_id(fd) {
            Ok(description) => Stop::Blocked { done, wait: Wait { description, events } },
            Err(error) => error.into(),
        }
    }

    /// read(2) and readv(2) of a socket: what came along is lost.
    pub(super) fn receive_bytes(
        &mut self,
        fd: i32,
        socket: SocketId,
        buffers: &mut dyn Buffers,
    ) -> Result<usize, Stop> {
        // As on Linux: reading nothing takes no message.
        if Cursor::new(buffers, 0).is_full() {
            return Ok(0);
        }
        let told = self.receive_from(fd, socket, buffers, 0, 0)?;
        self.install_rights(told.rights, 0, 0);
        Ok(told.count)
    }

    /// recvmsg(2) and its relatives, into what is behind the first `done` bytes of the buffers.
    pub(crate) fn receive(
        &mut self,
        fd: i32,
        buffers: &mut dyn Buffers,
        flags: u32,
        done: usize,
    ) -> Result<Told, Stop> {
        let socket = self.socket_of(fd)?;
        self.receive_from(fd, socket, buffers, flags, done)
    }

    fn receive_from(
        &mut self,
        fd: i32,
        socket: SocketId,
        buffers: &mut dyn Buffers,
        flags: u32,
        done: usize,
    ) -> Result<Told, Stop> {
        let waits = self.waits(fd, flags)?;
        let peek = flags & raw::MSG_PEEK != 0;
        let stream = self.net.get(socket)?.kind == Type::Stream;
        if flags & (raw::MSG_OOB | raw::MSG_ERRQUEUE) != 0 {
            // There is neither.
            let error = if flags & raw::MSG_OOB != 0 { Errno::EINVAL } else { Errno::EAGAIN };
            return Err(error.into());
        }
        let mut into = Cursor::new(buffers, done);
        let how = How { peek, nonblock: !waits };
        let received = match self.net.receive(socket, &mut into, how, &mut self.inodes.budget)? {
            Got::Some(received) => received,
            Got::End => return Ok(Told::default()),
            Got::Later if stream && into.is_full() => return Ok(Told::default()),
            Got::Later if waits => return Err(self.waiting(fd, 0, Events::IN)),
            Got::Later => return Err(Errno::EAGAIN.into()),
        };
        let taken = received.taken;
        if !peek {
            self.touch();
            let all = flags & raw::MSG_WAITALL != 0 && stream && waits;
            if all && taken.control.rights.is_empty() && !into.is_full() {
                return Err(self.waiting(fd, taken.count, Events::IN));
            }
        }
        if peek {
            // Those that stay in the message are held by it.
            taken.control.rights.iter().for_each(|right| self.hold_description(*right));
        }
        let cut = !stream && taken.length > taken.count;
        let whole = cut && flags & raw::MSG_TRUNC != 0;
        Ok(Told {
            count: if whole { taken.length } else { taken.count },
            flags: if cut { raw::MSG_TRUNC } else { 0 },
            from: received.from,
            rights: taken.control.rights,
            credentials: self.net.wanted_credentials(socket, taken.control.credentials),
        })
    }

    /// Gives the descriptions that a message brought descriptors, as many as `most`; the others are closed.
    pub(crate) fn install_rights(&mut self, rights: Vec<u64>, most: usize, flags: u32) -> Vec<i32> {
        let mut descriptors = Vec::new();
        for right in rights {
            if descriptors.len() < most
                && let Ok(fd) = self.install_again(right, flags & raw::MSG_CMSG_CLOEXEC != 0)
            {
                descriptors.push(fd);
            }
            self.let_go(right);
        }
        self.close_sockets();
        descriptors
    }

    /// How long a call waits at a socket, in ns; `None` for ever, and for anything else.
    pub(crate) fn timeout_ns(&self, wait: Wait) -> Option<u64> {
        let open = self.descriptions.get(wait.description)?;
        let Kind::Socket(socket) = self.inodes.get(open.ino).ok()?.kind else { return None };
        self.net.timeout_ns(socket, wait.events.meets(Events::OUT))
    }
}
