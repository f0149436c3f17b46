//! Output on its way through memory and files, and output files that a disk changed.

use super::{ChannelReader, Cursor, Spool};
use crate::node::store::{OutputPlace, files::Files};
use arbitrary::{Result, Unstructured};
use denali_protocol::{digest::Digest, job::Channel, limits::OUTPUT_PIECE_BYTES};
use std::{collections::BTreeMap, fs::File, io::Write, sync::Arc};

/// Most channels of one spool.
const CHANNELS: usize = 6;

/// Appends and reads what `data` describe, then reads the rest of them as an output file. All that was appended comes back, in order, to
/// who follows and to who asks later; of a hostile file come bounded pieces, or an error.
pub fn spool(data: &[u8]) {
    thread_local! {
        static FILES: (Arc<Files>, tempfile::TempDir) = {
            let directory = tempfile::tempdir().expect("a directory");
            (Arc::new(Files::open(directory.path()).expect("a store")), directory)
        };
    }
    // It ends where the bytes do.
    let _ = FILES.with(|(files, _)| run(&mut Unstructured::new(data), files));
}

fn run(u: &mut Unstructured<'_>, files: &Arc<Files>) -> Result<()> {
    let mut spool = Spool::new(Arc::clone(files));
    let (mut cursor, mut followed) = (Cursor::default(), BTreeMap::<Channel, Vec<u8>>::new());
    let mut appended = BTreeMap::from([(Channel::Output, Vec::new()), (Channel::Error, Vec::new())]);
    for _ in 0..u.int_in_range(0..=24)? {
        if u.is_empty() {
            break;
        }
        let channel = match u.int_in_range(0..=CHANNELS - 1)? {
            0 => Channel::Output,
            1 => Channel::Error,
            n => Channel::File(format!("{}", CHANNELS - n)),
        };
        let (byte, long) = (u.arbitrary::<u8>()?, !u.ratio(15, 16)?);
        let bytes = vec![byte; if long { OUTPUT_PIECE_BYTES } else { u.arbitrary::<u8>()?.into() }];
        spool.append(channel.clone(), &bytes).expect("room");
        appended.entry(channel).or_default().extend(bytes);
        if u.arbitrary()? {
            follow(&spool, &mut cursor, &mut followed);
        }
    }
    follow(&spool, &mut cursor, &mut followed);
    assert!(followed.iter().all(|(channel, bytes)| appended[channel] == *bytes));
    assert!(appended.iter().all(|(channel, bytes)| bytes.is_empty() || followed.contains_key(channel)));

    let finished = spool.finish().expect("room");
    assert!(finished.outputs.0.iter().map(|row| &row.channel).eq(appended.keys()));
    for (row, bytes) in finished.outputs.0.iter().zip(appended.values()) {
        assert!(row.bytes == bytes.len() as u64 && row.digest == Digest::of(bytes));
    }
    match &finished.place {
        OutputPlace::Inline => assert_eq!(finished.inline, appended.into_values().flatten().collect::<Vec<u8>>()),
        OutputPlace::File(name) => {
            for (place, bytes) in appended.values().enumerate() {
                let file = files.get_output(name).expect("it is there");
                let mut reader = ChannelReader::open(file, appended.len(), place).expect("it is whole");
                let mut read = Vec::new();
                while let Some(piece) = reader.next().expect("it is whole") {
                    read.extend(piece);
                }
                assert!(read == *bytes);
            }
        }
    }
    drop(spool);
    hostile(u.bytes(u.len())?);
    Ok(())
}

fn follow(spool: &Spool, cursor: &mut Cursor, followed: &mut BTreeMap<Channel, Vec<u8>>) {
    while let Some((channel, bytes)) = spool.read(cursor).expect("it can be read") {
        followed.entry(channel).or_default().extend(bytes);
    }
}

/// Reads `bytes` as the file of a result with a few channels.
fn hostile(bytes: &[u8]) {
    for channels in 1..4 {
        let memory = rustix::fs::memfd_create("output", rustix::fs::MemfdFlags::CLOEXEC).expect("a memory file");
        let mut file = File::from(memory);
        file.write_all(bytes).expect("room");
        let Ok(mut reader) = ChannelReader::open(file, channels, channels - 1) else { continue };
        let mut pieces = 0;
        while let Ok(Some(piece)) = reader.next() {
            pieces += 1;
            assert!(piece.len() <= OUTPUT_PIECE_BYTES && piece.len() <= bytes.len() && pieces <= bytes.len() / 6);
        }
    }
}
