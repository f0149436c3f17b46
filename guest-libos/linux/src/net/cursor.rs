//! Where received bytes go.
use crate::fs::Buffers;

/// Where in a program's buffers the next bytes go.
pub(crate) struct Cursor<'a> {
    buffers: &'a mut dyn Buffers,
    place: usize,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Behind the first `skip` bytes.
    pub(crate) fn new(buffers: &'a mut dyn Buffers, skip: usize) -> Self {
        let mut cursor = Self { buffers, place: 0, at: skip };
        while let Some(length) = cursor.buffers.buffer(cursor.place).map(|buffer| buffer.len())
            && cursor.at >= length
        {
            cursor.at -= length;
            cursor.place += 1;
        }
        cursor
    }

    /// Whether there is room for nothing more.
    pub(crate) fn is_full(&mut self) -> bool {
        self.put(&[0; 0]);
        self.buffers.buffer(self.place).is_none()
    }

    /// Copies what has room: how many bytes.
    pub(super) fn put(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while let Some(buffer) = self.buffers.buffer(self.place) {
            let room = buffer.get_mut(self.at..).unwrap_or_default();
            let count = room.len().min(bytes.len() - done);
            room[..count].copy_from_slice(&bytes[done..done + count]);
            done += count;
            self.at += count;
            if self.at < buffer.len() {
                break;
            }
            (self.place, self.at) = (self.place + 1, 0);
        }
        done
    }
}
