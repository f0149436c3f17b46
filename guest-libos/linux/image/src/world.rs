//! What files need of the VM: the standard streams, randomness, and where the results of the job go.

use crate::machine;
use alloc::vec;
use denali_guest::{Job, OutputFile, embedded_io::Write, eprintln, random};
use denali_linux::fs::{Console, Fs, Input, Now, Output, Stream, World};

/// Most named results of a job, and bytes of the name of one: the VMM ends a VM that has more.
const RESULTS: usize = 256;
const NAME_BYTES: usize = 255;

/// Bytes of a result that are sent at a time.
const PIECE_BYTES: usize = 32 << 10;

/// The VM's streams.
#[derive(Debug)]
pub struct Streams;

impl Console for Streams {
    fn read(&mut self, buffer: &mut [u8]) -> Input {
        match denali_guest::Input::try_read(buffer) {
            None => Input::Pending,
            Some(0) => Input::End,
            Some(count) => Input::Bytes(count),
        }
    }

    fn readable(&self) -> bool {
        denali_guest::Input::is_readable()
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

impl World for Streams {
    fn now(&self) -> Now {
        let (monotonic_ns, realtime_ns) = machine::now();
        Now { monotonic_ns, realtime_ns }
    }

    fn random(&mut self, buffer: &mut [u8]) {
        random::fill(buffer);
    }

    fn progress(&mut self, permille: u16) -> bool {
        // A message before would keep the VM from being copied, and be of whichever job comes first.
        let has_job = machine::has_job();
        if has_job {
            Job::tell_progress(permille);
        }
        has_job
    }
}

/// Makes the files below /out results of the job. Those that cannot be are named on standard error.
pub fn send_results(files: &Fs) {
    let mut sent = 0;
    for output in files.outputs() {
        match name(&output.name) {
            Some(name) if sent < RESULTS => {
                send(name, &output);
                sent += 1;
            }
            Some(name) => eprintln!("denali: /out/{name} is lost: a job has {RESULTS} results at most"),
            None => eprintln!("denali: /out/{} is lost: no result can have that name", output.name.escape_ascii()),
        }
    }
}

fn send(name: &str, output: &Output<'_>) {
    let mut file = OutputFile::create(name);
    let (mut piece, mut offset) = (vec![0; PIECE_BYTES], 0);
    loop {
        let count = output.content.read(offset, &mut piece);
        if count == 0 {
            return;
        }
        let Ok(()) = file.write_all(&piece[..count]);
        offset += count as u64;
    }
}

/// The name as the VMM takes it, without controls, nor what turns the direction of reading: it would end a VM that sends
/// another.
fn name(bytes: &[u8]) -> Option<&str> {
    let refused = |c: char| c.is_control() || matches!(c, '\\' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let allowed = |name: &&str| name.len() <= NAME_BYTES && !name.contains(refused);
    str::from_utf8(bytes).ok().filter(allowed)
}
