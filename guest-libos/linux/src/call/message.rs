//! Sending and receiving: sendto(2), sendmsg(2), sendmmsg(2) and their opposites, with what comes along.

use super::{Answer, Machine, Process, buffers, io::clip};
use crate::{
    errno::Errno,
    fs::{self, Send, Told},
    mm::Access,
    net::{Credentials, limits::MAX_RIGHTS},
    thread::Timespec,
};
use alloc::vec::Vec;
use linux_raw_sys::net as abi;

/// Bytes of `struct msghdr`, of `struct mmsghdr`, and where the count is in it.
const HEADER: u64 = 56;
const MANY: u64 = 64;
/// Most messages of one call, as on Linux.
const MANY_MOST: u64 = 1024;
/// Bytes of `struct cmsghdr`, of `struct ucred`, of a descriptor.
const CONTROL: usize = 16;
const UCRED: usize = 12;
const DESCRIPTOR: usize = 4;
/// Most bytes of control messages (Linux's `optmem_max`).
const CONTROL_MOST: u64 = 20_480;
/// recvmmsg(2): wait for the first message alone.
const MSG_WAITFORONE: u32 = 0x1_0000;

/// A `struct msghdr`.
#[derive(Clone, Copy)]
struct Header {
    name: u64,
    name_bytes: u64,
    vector: u64,
    count: u64,
    control: u64,
    control_bytes: u64,
}

/// What comes along with bytes that are sent.
#[derive(Default)]
struct Along {
    rights: Vec<i32>,
    credentials: Option<Credentials>,
}

/// Reads control messages.
fn along(mut rest: &[u8], own: Credentials) -> Result<Along, Errno> {
    let mut found = Along::default();
    while let Some((header, _)) = rest.split_first_chunk::<CONTROL>() {
        let ([length @ .., _, _, _, _, _, _, _, _], [.., l0, l1, l2, l3, t0, t1, t2, t3]) = (*header, *header);
        let length = usize::try_from(u64::from_le_bytes(length)).map_err(|_| Errno::EINVAL)?;
        let (level, kind) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([t0, t1, t2, t3]));
        let data = rest.get(CONTROL..length).ok_or(Errno::EINVAL)?;
        match (level, kind) {
            (abi::SOL_SOCKET, abi::SCM_RIGHTS) => {
                found.rights.extend(data.as_chunks::<DESCRIPTOR>().0.iter().map(|fd| i32::from_le_bytes(*fd)));
            }
            (abi::SOL_SOCKET, abi::SCM_CREDENTIALS) => {
                let (words, []) = data.as_chunks::<4>() else { return Err(Errno::EINVAL) };
                let [pid, uid, gid] = *words else { return Err(Errno::EINVAL) };
                let [pid, uid, gid] = [pid, uid, gid].map(u32::from_le_bytes);
                if own != (Credentials { pid, uid, gid }) {
                    return Err(Errno::EPERM);
                }
                found.credentials = Some(own);
            }
            (abi::SOL_SOCKET, _) => return Err(Errno::EINVAL),
            // Of other protocols, nothing would change.
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    if found.rights.len() > MAX_RIGHTS { Err(Errno::EINVAL) } else { Ok(found) }
}

/// A control message, without what aligns the next.
fn control(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = ((CONTROL + data.len()) as u64).to_le_bytes().to_vec();
    bytes.extend(abi::SOL_SOCKET.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(data);
    bytes
}

impl<M: Machine> Process<M> {
    pub(super) fn sendto(&mut self, [descriptor, address, bytes, flags, to, to_bytes]: [u64; 6]) -> Answer {
        let done = self.done();
        let to = if to == 0 { None } else { Some(self.address(to, to_bytes)?) };
        let bytes = buffers::input(&self.space, address, clip(bytes))?;
        let rest = bytes.get(done as usize..).unwrap_or_default();
        let with = Send { to: to.as_deref(), flags: flags as u32, ..Send::default() };
        let result = self.files.send(descriptor as i32, &[rest], &with);
        self.moved(result, done)
    }

    pub(super) fn recvfrom(&mut self, [descriptor, address, bytes, flags, from, from_bytes]: [u64; 6]) -> Answer {
        let done = self.done();
        let pieces = [(address, clip(bytes))];
        self.space.check_bytes(address, pieces[0].1, Access::Write)?;
        if from != 0 {
            self.array::<4>(from_bytes)?;
        }
        let mut into = buffers::Pieces(&mut self.space, &pieces);
        match self.files.receive(descriptor as i32, &mut into, flags as u32, done as usize) {
            Ok(told) => {
                self.files.install_rights(told.rights, 0, 0);
                if from != 0 {
                    self.put_address(from, from_bytes, &told.from)?;
                }
                Ok(done + told.count as u64)
            }
            Err(stop) => self.not_moved(stop, done),
        }
    }

    fn header(&mut self, address: u64) -> Result<Header, Errno> {
        let [name, name_bytes, vector, count, control, control_bytes, _] =
            self.get::<{ HEADER as usize / 8 }>(address)?;
        if count > buffers::PIECES_MOST {
            return Err(Errno::EMSGSIZE);
        }
        Ok(Header { name, name_bytes: u64::from(name_bytes as u32), vector, count, control, control_bytes })
    }

    pub(super) fn sendmsg(&mut self, descriptor: u64, header: u64, flags: u64) -> Answer {
        let done = self.done();
        let result = self.send_message(descriptor as i32, header, flags as u32, done);
        self.moved(result, done)
    }

    /// Sends a message, but for its first `done` bytes.
    fn send_message(&mut self, descriptor: i32, header: u64, flags: u32, done: u64) -> Result<usize, fs::Stop> {
        let header = self.header(header)?;
        let to = if header.name == 0 || header.name_bytes == 0 {
            None
        } else {
            Some(self.address(header.name, header.name_bytes)?)
        };
        let mut found = Along::default();
        // What came along went with the first bytes.
        if header.control != 0 && done == 0 {
            if header.control_bytes > CONTROL_MOST {
                return Err(Errno::ENOBUFS.into());
            }
            let own = self.files.credentials();
            found = along(self.input(header.control, header.control_bytes)?, own)?;
        }
        let pieces = buffers::vector(&self.space, header.vector, header.count, Access::Read)?;
        let parts = buffers::parts(&self.space, &pieces, done)?;
        let (rights, credentials) = (&found.rights[..], found.credentials);
        self.files.send(descriptor, &parts, &Send { to: to.as_deref(), rights, credentials, flags })
    }

    pub(super) fn recvmsg(&mut self, descriptor: u64, header: u64, flags: u64) -> Answer {
        let done = self.done();
        let result = self.receive_message(descriptor as i32, header, flags as u32, done);
        self.moved(result, done)
    }

    /// Receives a message into what is behind the first `done` bytes.
    fn receive_message(&mut self, descriptor: i32, address: u64, flags: u32, done: u64) -> Result<usize, fs::Stop> {
        let header = self.header(address)?;
        let pieces = buffers::vector(&self.space, header.vector, header.count, Access::Write)?;
        // All that is written is looked at before: what was received can't be put back.
        self.space.check_bytes(address, HEADER, Access::Write)?;
        let name_bytes = if header.name == 0 { 0 } else { header.name_bytes };
        self.space.check_bytes(header.name, name_bytes, Access::Write)?;
        let room = if header.control == 0 { 0 } else { header.control_bytes.min(CONTROL_MOST) };
        self.space.check_bytes(header.control, room, Access::Write)?;
        let mut into = buffers::Pieces(&mut self.space, &pieces);
        let mut told = self.files.receive(descriptor, &mut into, flags, done as usize)?;
        let control = self.bring(&mut told, room as usize, flags);
        self.output(header.control, control.len() as u64)?.copy_from_slice(&control);
        let count = told.from.len().min(name_bytes as usize);
        self.output(header.name, count as u64)?.copy_from_slice(&told.from[..count]);
        if header.name != 0 {
            self.output(address + 8, 4)?.copy_from_slice(&(told.from.len() as u32).to_le_bytes());
        }
        let kept = flags & abi::MSG_CMSG_CLOEXEC;
        self.output(address + 40, 8)?.copy_from_slice(&(control.len() as u64).to_le_bytes());
        self.output(address + 48, 4)?.copy_from_slice(&(told.flags | kept).to_le_bytes());
        Ok(told.count)
    }

    /// The control messages that say what came along, in so many bytes.
    fn bring(&mut self, told: &mut Told, room: usize, flags: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(Credentials { pid, uid, gid }) = told.credentials {
            if room >= CONTROL + UCRED {
                bytes = control(abi::SCM_CREDENTIALS, [pid, uid, gid].map(u32::to_le_bytes).as_flattened());
                bytes.resize(bytes.len().next_multiple_of(8).min(room), 0);
            } else {
                told.flags |= abi::MSG_CTRUNC;
            }
        }
        let rights = core::mem::take(&mut told.rights);
        let (brought, most) = (rights.len(), (room - bytes.len()).saturating_sub(CONTROL) / DESCRIPTOR);
        let descriptors = self.files.install_rights(rights, most, flags);
        if descriptors.len() < brought {
            told.flags |= abi::MSG_CTRUNC;
        }
        if !descriptors.is_empty() {
            let data: Vec<_> = descriptors.iter().map(|fd| fd.to_le_bytes()).collect();
            bytes.extend(control(abi::SCM_RIGHTS, data.as_flattened()));
            bytes.resize(bytes.len().next_multiple_of(8).min(room), 0);
        }
        bytes
    }

    pub(super) fn sendmmsg(&mut self, [descriptor, vector, count, flags]: [u64; 4]) -> Answer {
        let mut sent = self.done();
        let most = u64::from(count as u32).min(MANY_MOST);
        self.space.check_bytes(vector, most * MANY, Access::Write)?;
        while sent < most {
            let header = vector + sent * MANY;
            let bytes = match self.send_message(descriptor as i32, header, flags as u32, 0) {
                // A part of a stream is a short count.
                Ok(bytes) | Err(fs::Stop::Blocked { done: bytes @ 1.., .. }) => bytes,
                Err(stop) => return self.none_more(stop, sent, None),
            };
            self.output(header + HEADER, 4)?.copy_from_slice(&(bytes as u32).to_le_bytes());
            sent += 1;
        }
        Ok(sent)
    }

    pub(super) fn recvmmsg(&mut self, [descriptor, vector, count, flags, timeout]: [u64; 5]) -> Answer {
        let (mut received, mut until_ns) = (0, None);
        if let Some(again) = self.again.take() {
            (received, until_ns) = (again.done, again.until_ns);
        } else if timeout != 0 {
            let ns = self.timespec(timeout).and_then(Timespec::ns)?;
            until_ns = Some(self.now().mono_ns.saturating_add(ns));
        }
        let most = u64::from(count as u32).min(MANY_MOST);
        self.space.check_bytes(vector, most * MANY, Access::Write)?;
        while received < most {
            let mut flags = flags as u32 & !abi::MSG_WAITALL;
            if flags & MSG_WAITFORONE != 0 && received > 0 {
                flags |= abi::MSG_DONTWAIT;
            }
            let header = vector + received * MANY;
            match self.receive_message(descriptor as i32, header, flags & !MSG_WAITFORONE, 0) {
                Ok(bytes) => self.output(header + HEADER, 4)?.copy_from_slice(&(bytes as u32).to_le_bytes()),
                Err(stop) => return self.none_more(stop, received, until_ns),
            }
            received += 1;
            let now_ns = self.now().mono_ns;
            if until_ns.is_some_and(|until_ns| until_ns <= now_ns) {
                break;
            }
        }
        Ok(received)
    }
}
