use super::{PIECE_BYTES, Piece, Source};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::{
    fs::File,
    io::{IoSliceMut, PipeReader, Seek, SeekFrom, Write},
    os::fd::OwnedFd,
    sync::{Barrier, mpsc},
    thread,
    time::Duration,
};

fn bytes(piece: Piece) -> (usize, bool) {
    match piece {
        Piece::Bytes(bytes, last) => (bytes.len(), last),
        Piece::NotYet => panic!("nothing came"),
    }
}

#[test]
fn a_file_comes_from_its_position_to_its_end() {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&vec![7; PIECE_BYTES + 10]).expect("room");
    file.seek(SeekFrom::Start(4)).expect("a position");
    let mut source = Source::of(file).expect("a source");
    assert_eq!(source.bytes(), PIECE_BYTES as u64 + 6);
    assert_eq!(bytes(source.read().expect("it can be read")), (PIECE_BYTES, false));
    assert_eq!(bytes(source.read().expect("it can be read")), (6, true));
}

#[test]
fn an_empty_file_ends_at_once() {
    let mut source = Source::of(tempfile::tempfile().expect("a file")).expect("a source");
    assert_eq!(bytes(source.read().expect("it can be read")), (0, true));
}

/// A file that became shorter than it was.
#[test]
fn a_file_that_is_cut_ends() {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(PIECE_BYTES as u64 * 2).expect("room");
    let mut source = Source::of(file.try_clone().expect("a descriptor")).expect("a source");
    file.set_len(0).expect("it can be cut");
    assert_eq!(bytes(source.read().expect("it can be read")), (0, true));
}

#[test]
fn a_pipe_is_not_waited_for() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut source = Source::of(File::from(OwnedFd::from(reader))).expect("a source");
    assert_eq!(source.bytes(), 0);
    assert_eq!(source.read().expect("it can be read"), Piece::NotYet);
    writer.write_all(b"abc").expect("room");
    assert_eq!(bytes(source.read().expect("it can be read")), (3, false));
    drop(writer);
    assert_eq!(bytes(source.read().expect("it can be read")), (0, true));
}

fn of_pipe(reader: PipeReader) -> Source {
    Source::of(File::from(OwnedFd::from(reader))).expect("a source")
}

/// What this gives. It fails where that waits for something that never comes.
fn without_waiting<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    is_done.recv_timeout(Duration::from_secs(60)).expect("it waits")
}

/// Whether pipes know here how not to wait: they do from Linux 6.4 on.
fn may_try() -> bool {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(b"x").expect("room");
    let read = preadv2(&reader, &mut [IoSliceMut::new(&mut [0])], u64::MAX, ReadWriteFlags::NOWAIT);
    if read == Err(Errno::OPNOTSUPP) {
        println!("not tried: this kernel's pipes do not know how not to wait");
    }
    read != Err(Errno::OPNOTSUPP)
}

/// As if another reader had been quicker, after it was seen that there is something.
#[test]
fn what_another_reader_took_is_not_waited_for() {
    if !may_try() {
        return;
    }
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let source = of_pipe(reader);
    let read = without_waiting(move || source.read_into(&mut [0; 10]));
    assert_eq!(read.expect("it can be read"), None);
}

/// Of each byte both see that it is there.
#[test]
fn two_readers_of_a_pipe_do_not_wait_for_each_other() {
    const BYTES: usize = 2_000;
    if !may_try() {
        return;
    }
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let sources = [reader.try_clone().expect("a descriptor"), reader].map(of_pipe);
    let taken = without_waiting(move || {
        let (written, read) = (Barrier::new(3), Barrier::new(3));
        let take = |mut source: Source| {
            let mut taken = 0;
            for _ in 0..BYTES {
                written.wait();
                match source.read().expect("it can be read") {
                    Piece::Bytes(bytes, _) => taken += bytes.len(),
                    Piece::NotYet => {}
                }
                read.wait();
            }
            taken
        };
        thread::scope(|scope| {
            let readers = sources.map(|source| scope.spawn(|| take(source)));
            for _ in 0..BYTES {
                writer.write_all(b"x").expect("room");
                written.wait();
                read.wait();
            }
            readers.map(|reader| reader.join().expect("it ends"))
        })
    });
    assert_eq!(taken.iter().sum::<usize>(), BYTES, "{taken:?}");
}
