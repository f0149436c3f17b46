//! What files need of the VM.

use denali_guest::{
    embedded_io::{Read, Write},
    random,
};
use denali_linux::fs::{Console, Input, Stream, World};

/// The VM's streams.
#[derive(Debug)]
pub struct Vm;

impl Console for Vm {
    fn read(&mut self, buffer: &mut [u8]) -> Input {
        let Ok(count) = denali_guest::Input.read(buffer);
        if count == 0 { Input::End } else { Input::Bytes(count) }
    }

    fn readable(&self) -> bool {
        true
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> usize {
        let mut output = match stream {
            Stream::Output => denali_guest::Output::standard(),
            Stream::Error => denali_guest::Output::error(),
        };
        // Neither ever fails.
        let Ok(()) = output.write_all(bytes);
        bytes.len()
    }

    fn writable(&self, _stream: Stream) -> bool {
        true
    }
}

impl World for Vm {
    fn random(&mut self, buffer: &mut [u8]) {
        random::fill(buffer);
    }
}
