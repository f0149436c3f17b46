//! Spools, in memory and in files: what goes in comes out, in order, for every reader.

use super::*;
use crate::node::store::Store;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn channel(n: u8) -> Channel {
    match n {
        0 => Channel::Output,
        1 => Channel::Error,
        n => Channel::File(format!("f{}", 9 - n)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A reader that looks whenever it likes sees every byte once and in order; the result holds the same bytes.
    #[test]
    fn nothing_is_lost_or_doubled(
        pieces in proptest::collection::vec((0..5_u8, 0..40_000_usize, any::<bool>()), 0..24),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut spool = Spool::new(Arc::clone(&store.files));
        let (mut cursor, mut seen, mut written) = (Cursor::default(), BTreeMap::new(), BTreeMap::new());
        let mut read = |spool: &Spool| {
            while let Some((channel, bytes)) = spool.read(&mut cursor).unwrap() {
                seen.entry(channel).or_insert_with(Vec::new).extend(bytes);
            }
        };
        for (n, (to, length, look)) in pieces.into_iter().enumerate() {
            let bytes: Vec<u8> = (0..length).map(|at| (at + n) as u8).collect();
            spool.append(channel(to), &bytes).unwrap();
            if length > 0 {
                written.entry(channel(to)).or_insert_with(Vec::new).extend(&bytes);
            }
            if look {
                read(&spool);
            }
        }
        read(&spool);
        prop_assert_eq!(&seen, &written);
        let finished = spool.finish().unwrap();
        store.files.keep_output(&finished).unwrap();
        spool.keep();
        prop_assert!(finished.outputs.0.is_sorted_by(|a, b| a.channel < b.channel));
        let mut inline = finished.inline.as_slice();
        for (place, row) in finished.outputs.0.iter().enumerate() {
            let bytes = match &finished.place {
                OutputPlace::Inline => inline.split_off(..row.bytes as usize).unwrap().to_vec(),
                OutputPlace::File(name) => {
                    let file = store.files.get_output(name).unwrap();
                    let mut reader = ChannelReader::open(file, finished.outputs.0.len(), place).unwrap();
                    std::iter::from_fn(|| reader.next().unwrap()).flatten().collect()
                }
            };
            prop_assert_eq!(&bytes, &written.get(&row.channel).cloned().unwrap_or_default());
            prop_assert_eq!(row.digest, denali_protocol::digest::Digest::of(&bytes));
        }
    }
}
