//! Reading and writing: at a description's offset, or at one that is given.
use super::{
    Fs,
    inode::{Device, Ino, Kind},
    limits::{MAX_GENERATED, MAX_TRANSFER},
    message::One,
    pipe::Flow,
    progress::permille,
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
        self.read_at(fd, buffer, None)
    }

    /// pread64(2).
    pub fn pread(&mut self, fd: i32, buffer: &mut [u8], offset: i64) -> Result<usize, Stop> {
        self.read_at(fd, buffer, Some(u64::try_from(offset).map_err(|_| Errno::EINVAL)?))
    }

    /// write(2).
    pub fn write(&mut self, fd: i32, bytes: &[u8]) -> Result<usize, Stop> {
        self.write_at(fd, bytes, None)
    }

    /// pwrite64(2). As on Linux, a description with `O_APPEND` appends all the same.
    pub fn pwrite(&mut self, fd: i32, bytes: &[u8], offset: i64) -> Result<usize, Stop> {
        self.write_at(fd, bytes, Some(u64::try_from(offset).map_err(|_| Errno::EINVAL)?))
    }

    /// Whether a descriptor has an offset.
    pub(super) fn seekable(&self, fd: i32) -> Result<bool, Errno> {
        Ok(self.inodes.get(self.any_description(fd)?.ino)?.kind.seekable())
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

    /// Reads at an offset, or at the description's own, which moves on.
    fn read_at(&mut self, fd: i32, buffer: &mut [u8], offset: Option<u64>) -> Result<usize, Stop> {
        let buffer = clip(buffer);
        let open = self.description(fd)?;
        let (ino, readable, start) = (open.ino, open.readable(), offset.unwrap_or(open.offset));
        let inode = self.inodes.get_mut(ino)?;
        if offset.is_some() && !inode.kind.seekable() {
            return Err(Errno::ESPIPE.into());
        }
        if !readable {
            return Err(Errno::EBADF.into());
        }
        possible(start, buffer.len())?;
        let count = match &mut inode.kind {
            Kind::File(content) => {
                let count = content.read(start, buffer);
                if !buffer.is_empty() {
                    inode.was_read(&*self.world);
                }
                count
            }
            Kind::Generated(file) => {
                let file = *file;
                self.read_generated(fd, file, buffer, start)?
            }
            _ => return self.read_stream(fd, ino, buffer),
        };
        if offset.is_none() {
            self.description_mut(fd)?.offset = start + count as u64;
        }
        Ok(count)
    }

    /// Reads what has no offset that would say what comes.
    fn read_stream(&mut self, fd: i32, ino: Ino, buffer: &mut [u8]) -> Result<usize, Stop> {
        match &mut self.inodes.get_mut(ino)?.kind {
            Kind::Directory(_) | Kind::Descriptors(_) => return Err(Errno::EISDIR.into()),
            Kind::Device(device) => return Ok(read_device(*device, buffer, &mut *self.world)),
            Kind::Standard(_) if buffer.is_empty() => return Ok(0),
            Kind::Standard(_) => {
                self.input_told = false;
                match self.world.read(buffer) {
                    Input::Bytes(count) => return Ok(count.min(buffer.len())),
                    Input::End => return Ok(0),
                    Input::Pending => {}
                }
            }
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
                let count = timer.take(self.world.now());
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
            _ => return Err(Errno::EINVAL.into()),
        }
        Err(self.blocked(fd, 0, Events::IN))
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

    /// Writes at an offset, or at the description's own, which moves on.
    fn write_at(&mut self, fd: i32, bytes: &[u8], offset: Option<u64>) -> Result<usize, Stop> {
        let bytes = &bytes[..bytes.len().min(MAX_TRANSFER)];
        let open = self.description(fd)?;
        let (ino, writable, append) = (open.ino, open.writable(), open.flags & abi::O_APPEND != 0);
        let start = offset.unwrap_or(open.offset);
        let kind = &self.inodes.get(ino)?.kind;
        if offset.is_some() && !kind.seekable() {
            return Err(Errno::ESPIPE.into());
        }
        if !writable {
            return Err(Errno::EBADF.into());
        }
        possible(start, bytes.len())?;
        let Kind::File(content) = kind else { return self.write_stream(fd, ino, bytes) };
        let start = if append { content.len() } else { start };
        let (count, end) = self.write_file(ino, bytes, start)?;
        if offset.is_none() && count > 0 {
            self.description_mut(fd)?.offset = end;
        }
        Ok(count)
    }

    /// Writes to what has no offset.
    fn write_stream(&mut self, fd: i32, ino: Ino, bytes: &[u8]) -> Result<usize, Stop> {
        match &mut self.inodes.get_mut(ino)?.kind {
            Kind::Device(Device::Full) if !bytes.is_empty() => return Err(Errno::ENOSPC.into()),
            Kind::Device(Device::Progress) => {
                self.progress(permille(bytes).ok_or(Errno::EINVAL)?);
                return Ok(bytes.len());
            }
            Kind::Device(_) => return Ok(bytes.len()),
            Kind::Standard(_) if bytes.is_empty() => return Ok(0),
            Kind::Standard(number) => {
                let count = self.world.write(stream(*number), bytes).min(bytes.len());
                return self.moved(fd, count, bytes.len(), count == 0);
            }
            Kind::Pipe(pipe) => {
                let flow = pipe.write(bytes);
                self.touch();
                return match flow {
                    Flow::Moved(count) => self.moved(fd, count, bytes.len(), false),
                    Flow::Wait => self.moved(fd, 0, bytes.len(), true),
                    Flow::Broken => Err(Stop::BrokenPipe),
                };
            }
            Kind::Counter(counter) => {
                let value = bytes.first_chunk().ok_or(Errno::EINVAL)?;
                if counter.add(u64::from_ne_bytes(*value))? {
                    self.touch();
                    return Ok(8);
                }
            }
            Kind::Socket(socket) => {
                let socket = *socket;
                return self.send_bytes(fd, socket, &[bytes]);
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

    /// How much was written, and where that ends.
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
        let now = self.world.now();
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
        Device::Null | Device::Tty | Device::Progress => return 0,
        Device::Zero | Device::Full => buffer.fill(0),
        Device::Random | Device::Urandom => world.random(buffer),
    }
    buffer.len()
}
