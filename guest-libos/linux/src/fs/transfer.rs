//! Reading and writing: at a description's offset, or at one that is given.
use super::{
    Fs,
    inode::{Device, Ino, Kind, Timespec},
    limits::{MAX_GENERATED, MAX_TRANSFER},
    message::One,
    pipe::Flow,
    ready::{Stop, Wait, stream},
    world::{Events, Generated, Input},
};
use crate::errno::Errno;
use alloc::vec::Vec;
use linux_raw_sys::general as abi;

/// Whether a transfer would end at an offset that there is.
fn possible(offset: u64, count: usize) -> Result<(), Errno> {
    let end = offset.checked_add(count as u64).filter(|end| *end <= i64::MAX.cast_unsigned());
    end.map(|_| ()).ok_or(Errno::EINVAL)
}

impl Fs {
    /// read(2).
    pub fn read(&mut self, fd: i32, buffer: &mut [u8]) -> Result<usize, Stop> {
        let buffer = clip(buffer);
        let offset = self.description(fd)?.offset;
        let count = self.read_from(fd, buffer, offset)?;
        if self.seekable(fd)? {
            self.description_mut(fd)?.offset = offset + count as u64;
        }
        Ok(count)
    }

    /// pread64(2).
    pub fn pread(&mut self, fd: i32, buffer: &mut [u8], offset: i64) -> Result<usize, Stop> {
        let buffer = clip(buffer);
        let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        self.description(fd)?;
        if !self.seekable(fd)? {
            return Err(Errno::ESPIPE.into());
        }
        self.read_from(fd, buffer, offset)
    }

    /// write(2).
    pub fn write(&mut self, fd: i32, bytes: &[u8]) -> Result<usize, Stop> {
        let bytes = &bytes[..bytes.len().min(MAX_TRANSFER)];
        let offset = self.description(fd)?.offset;
        let (count, end) = self.write_to(fd, bytes, offset)?;
        if self.seekable(fd)? && count > 0 {
            self.description_mut(fd)?.offset = end;
        }
        Ok(count)
    }

    /// pwrite64(2). As on Linux, a description with `O_APPEND` appends all the same.
    pub fn pwrite(&mut self, fd: i32, bytes: &[u8], offset: i64) -> Result<usize, Stop> {
        let bytes = &bytes[..bytes.len().min(MAX_TRANSFER)];
        let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        self.description(fd)?;
        if !self.seekable(fd)? {
            return Err(Errno::ESPIPE.into());
        }
        self.write_to(fd, bytes, offset).map(|(count, _)| count)
    }

    /// Whether a descriptor has an offset.
    pub(super) fn seekable(&self, fd: i32) -> Result<bool, Errno> {
        Ok(matches!(
            self.inodes.get(self.any_description(fd)?.ino)?.kind,
            Kind::File(_) | Kind::Directory(_) | Kind::Descriptors(_) | Kind::Device(_) | Kind::Generated(_)
        ))
    }

    /// The end of a call that can move nothing now.
    pub(super) fn blocked(&self, fd: i32, done: usize, events: Events) -> Stop {
        let nonblock = self.description(fd).is_ok_and(|open| open.flags & abi::O_NONBLOCK != 0);
        match self.description_id(fd) {
            Ok(_) if nonblock => Errno::EAGAIN.into(),
            Ok(description) => Stop::Blocked { done, wait: Wait { description, events } },
            Err(error) => error.into(),
        }
    }

    fn read_from(&mut self, fd: i32, buffer: &mut [u8], offset: u64) -> Result<usize, Stop> {
        let open = self.description(fd)?;
        if !open.readable() {
            return Err(Errno::EBADF.into());
        }
        possible(offset, buffer.len())?;
        let (ino, now) = (open.ino, self.now);
        match &mut self.inodes.get_mut(ino)?.kind {
            Kind::File(content) => {
                let count = content.read(offset, buffer);
                self.read_at(ino, buffer.len())?;
                return Ok(count);
            }
            Kind::Directory(_) | Kind::Descriptors(_) => return Err(Errno::EISDIR.into()),
            Kind::Generated(file) => {
                let file = *file;
                return self.read_generated(fd, file, buffer, offset);
            }
            Kind::Device(device) => return Ok(read_device(*device, buffer, &mut *self.world)),
            Kind::Standard(_) if buffer.is_empty() => return Ok(0),
            Kind::Standard(_) => match self.world.read(buffer) {
                Input::Bytes(count) => return Ok(count.min(buffer.len())),
                Input::End => return Ok(0),
                Input::Pending => {}
            },
            Kind::Pipe(pipe) => match pipe.read(buffer) {
                Flow::Moved(count) => {
                    self.touch();
                    return Ok(count);
                }
                Flow::Wait | Flow::Broken => {}
            },
            Kind::Counter(_) | Kind::Timer(_) if buffer.len() < 8 => return Err(Errno::EINVAL.into()),
            Kind::Counter(counter) => {
                if let Some(value) = counter.take() {
                    buffer[..8].copy_from_slice(&value.to_ne_bytes());
                    self.touch();
                    return Ok(8);
                }
            }
            Kind::Timer(timer) => {
                let count = timer.take(now);
                if count > 0 {
                    self.find_deadline();
                    buffer[..8].copy_from_slice(&count.to_ne_bytes());
                    return Ok(8);
                }
            }
            Kind::Socket(socket) => {
                let socket = *socket;
                return self.receive_bytes(fd, socket, &mut One(buffer));
            }
            Kind::Symlink(_) | Kind::WorkingDirectory | Kind::Epoll(_) | Kind::Bound(_) => {
                return Err(Errno::EINVAL.into());
            }
        }
        Err(self.blocked(fd, 0, Events::IN))
    }

    /// A file was read: its access time moves as with Linux's `relatime`.
    fn read_at(&mut self, ino: Ino, wanted: usize) -> Result<(), Errno> {
        const DAY_S: i64 = 86_400;
        let now = self.now;
        let inode = self.inodes.get_mut(ino)?;
        let day_old = Timespec::from_ns(now.realtime_ns).sec.saturating_sub(inode.atime.sec) >= DAY_S;
        if wanted > 0 && (inode.atime <= inode.mtime || inode.atime <= inode.ctime || day_old) {
            inode.accessed(now);
        }
        Ok(())
    }

    /// A generated file is made anew when it is read from its start.
    fn read_generated(&mut self, fd: i32, file: Generated, buffer: &mut [u8], offset: u64) -> Result<usize, Stop> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let open = self.description_mut(fd)?;
        if !open.fresh && (offset == 0 || open.text.is_empty()) {
            return Err(Stop::Text(file));
        }
        open.fresh = false;
        let rest = usize::try_from(offset).ok().and_then(|offset| open.text.get(offset..)).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    /// Gives a generated file the text that the next read of `fd` finds; what is beyond [`MAX_GENERATED`] is cut. `ENOMEM`
    /// if the memory of files does not hold it.
    pub fn set_text(&mut self, fd: i32, mut text: Vec<u8>) -> Result<(), Errno> {
        text.truncate(MAX_GENERATED);
        let open = self.description_mut(fd)?;
        open.fresh = false;
        let held = core::mem::take(&mut open.text).len();
        self.inodes.budget.release(held);
        self.inodes.budget.charge(text.len()).map_err(|_| Errno::ENOMEM)?;
        let open = self.description_mut(fd)?;
        (open.fresh, open.text) = (true, text);
        Ok(())
    }

    /// How much was written, and where that ends.
    fn write_to(&mut self, fd: i32, bytes: &[u8], offset: u64) -> Result<(usize, u64), Stop> {
        let open = self.description(fd)?;
        if !open.writable() {
            return Err(Errno::EBADF.into());
        }
        possible(offset, bytes.len())?;
        let (ino, append) = (open.ino, open.flags & abi::O_APPEND != 0);
        let at = |count: usize| (count, offset.saturating_add(count as u64));
        match &mut self.inodes.get_mut(ino)?.kind {
            Kind::File(content) => {
                let start = if append { content.len() } else { offset };
                return Ok(self.write_file(ino, bytes, start)?);
            }
            Kind::Device(Device::Full) if !bytes.is_empty() => return Err(Errno::ENOSPC.into()),
            Kind::Device(_) => return Ok(at(bytes.len())),
            Kind::Standard(_) if bytes.is_empty() => return Ok(at(0)),
            Kind::Standard(number) => {
                let count = self.world.write(stream(*number), bytes).min(bytes.len());
                return self.moved(fd, count, bytes.len(), count == 0).map(at);
            }
            Kind::Pipe(pipe) => {
                let flow = pipe.write(bytes);
                self.touch();
                return match flow {
                    Flow::Moved(count) => self.moved(fd, count, bytes.len(), false).map(at),
                    Flow::Wait => self.moved(fd, 0, bytes.len(), true).map(at),
                    Flow::Broken => Err(Stop::BrokenPipe),
                };
            }
            Kind::Counter(counter) => {
                let value = bytes.first_chunk().ok_or(Errno::EINVAL)?;
                if counter.add(u64::from_ne_bytes(*value))? {
                    self.touch();
                    return Ok(at(8));
                }
            }
            Kind::Socket(socket) => {
                let socket = *socket;
                return self.send_bytes(fd, socket, &[bytes]).map(at);
            }
            _ => return Err(Errno::EINVAL.into()),
        }
        Err(self.blocked(fd, 0, Events::OUT))
    }

    /// A write to a stream: a short one goes on later, unless the descriptor is not to block.
    fn moved(&self, fd: i32, count: usize, wanted: usize, nothing: bool) -> Result<usize, Stop> {
        let nonblock = self.description(fd)?.flags & abi::O_NONBLOCK != 0;
        if nothing || count < wanted && !nonblock {
            return Err(self.blocked(fd, count, Events::OUT));
        }
        Ok(count)
    }

    pub(super) fn write_file(&mut self, ino: Ino, bytes: &[u8], start: u64) -> Result<(usize, u64), Errno> {
        if bytes.is_empty() {
            return Ok((0, start));
        }
        let room = i64::MAX.cast_unsigned().saturating_sub(start);
        if room == 0 {
            return Err(Errno::EFBIG);
        }
        let bytes = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        let (content, budget) = self.inodes.content(ino)?;
        let count = content.write(start, bytes, budget)?;
        let now = self.now;
        self.inodes.get_mut(ino)?.modified(now);
        Ok((count, start + count as u64))
    }
}

fn clip(buffer: &mut [u8]) -> &mut [u8] {
    let count = buffer.len().min(MAX_TRANSFER);
    &mut buffer[..count]
}

fn read_device(device: Device, buffer: &mut [u8], world: &mut dyn super::World) -> usize {
    match device {
        Device::Null | Device::Tty => return 0,
        Device::Zero | Device::Full => buffer.fill(0),
        Device::Random | Device::Urandom => world.random(buffer),
    }
    buffer.len()
}
