use super::{PIECE_BYTES, Piece, Source};
use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
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
    let mut source = Source::of(File::from(std::os::fd::OwnedFd::from(reader))).expect("a source");
    assert_eq!(source.bytes(), 0);
    assert_eq!(source.read().expect("it can be read"), Piece::NotYet);
    writer.write_all(b"abc").expect("room");
    assert_eq!(bytes(source.read().expect("it can be read")), (3, false));
    drop(writer);
    assert_eq!(bytes(source.read().expect("it can be read")), (0, true));
}
