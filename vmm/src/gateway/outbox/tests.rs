use super::Outbox;
use crate::gateway::{GatewayError, Sink};
use denali_protocol::{
    job::Channel,
    limits::{FILES, OUTPUT_PIECE_BYTES},
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<(Pieces, Vec<u16>)>>);

type Pieces = Vec<(Channel, Vec<u8>)>;

impl Kept {
    fn pieces(&self) -> Pieces {
        self.0.lock().expect("no one panicked").0.clone()
    }

    fn steps(&self) -> Vec<u16> {
        self.0.lock().expect("no one panicked").1.clone()
    }
}

impl Sink for Kept {
    fn output(&mut self, channel: Channel, bytes: &[u8]) {
        self.0.lock().expect("no one panicked").0.push((channel, bytes.to_vec()));
    }

    fn progress(&mut self, permille: u16) {
        self.0.lock().expect("no one panicked").1.push(permille);
    }
}

fn outbox(limit: u64) -> (Outbox, Kept) {
    let kept = Kept::default();
    (Outbox::new(limit, Box::new(kept.clone())), kept)
}

#[test]
fn the_limit_holds_to_the_byte_over_all_channels() {
    let (mut outbox, kept) = outbox(10);
    assert!(outbox.output(Channel::Output, b"1234").is_ok());
    assert!(outbox.file("f", b"56").is_ok());
    assert!(outbox.output(Channel::Error, b"7890").is_ok());
    assert!(outbox.output(Channel::Error, b"").is_ok());
    assert!(matches!(outbox.output(Channel::Output, b"!"), Err(GatewayError::OutputLimit { limit_bytes: 10 })));
    assert!(matches!(outbox.file("f", b"!"), Err(GatewayError::OutputLimit { .. })));
    outbox.flush();
    let bytes: usize = kept.pieces().iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(bytes, 10);

    let (mut outbox, kept) = self::outbox(3);
    assert!(outbox.output(Channel::Output, b"12345").is_err());
    outbox.flush();
    assert_eq!(kept.pieces(), [(Channel::Output, b"123".to_vec())], "what was within the limit is passed on");
}

#[test]
fn a_file_exists_from_its_first_message_on() {
    let (mut outbox, kept) = outbox(10);
    outbox.file("empty", b"").expect("a file");
    outbox.file("empty", b"").expect("the same file");
    outbox.flush();
    assert_eq!(kept.pieces(), [(Channel::File("empty".to_owned()), Vec::new())]);
}

#[test]
fn the_number_of_files_is_bounded() {
    let (mut outbox, _) = outbox(10);
    for n in 0..FILES {
        outbox.file(&n.to_string(), b"").expect("a file");
    }
    assert!(matches!(outbox.file("one more", b""), Err(GatewayError::Files)));
    assert!(outbox.file("0", b"x").is_ok(), "known files go on");
}

#[test]
fn progress_only_grows() {
    let (mut outbox, kept) = outbox(0);
    for permille in [0, 5, 5, 3, 1000, 0, 1000, 999] {
        outbox.progress(permille);
    }
    assert_eq!(kept.steps(), [5, 1000]);
}

fn channel(n: u8) -> Channel {
    match n {
        0 => Channel::Output,
        1 => Channel::Error,
        n => Channel::File(n.to_string()),
    }
}

proptest! {
    /// Each channel's bytes arrive whole and in order, in pieces that are never too long and seldom too small.
    #[test]
    fn gathering_keeps_the_order_of_each_channel(
        writes in prop::collection::vec((0u8..4, 0usize..30_000), 0..60),
        flushes in prop::collection::vec(any::<bool>(), 60),
    ) {
        let (mut outbox, kept) = outbox(u64::MAX);
        let mut expected: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (n, ((to, length), flush)) in writes.into_iter().zip(flushes).enumerate() {
            let bytes = vec![n as u8; length];
            expected.entry(format!("{:?}", channel(to))).or_default().extend(&bytes);
            match channel(to) {
                Channel::File(name) => outbox.file(&name, &bytes).expect("within the limit"),
                other => outbox.output(other, &bytes).expect("within the limit"),
            }
            if flush {
                outbox.flush();
            }
        }
        outbox.flush();
        let mut got: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (channel, bytes) in kept.pieces() {
            prop_assert!(bytes.len() <= OUTPUT_PIECE_BYTES);
            got.entry(format!("{channel:?}")).or_default().extend(bytes);
        }
        expected.retain(|name, bytes| !bytes.is_empty() || name.starts_with("File"));
        prop_assert_eq!(got, expected);
    }
}

#[test]
fn no_file_is_also_a_directory() {
    for (first, second) in [("a", "a/b"), ("a/b/c", "a/b"), ("a/b", "a/b/c/d")] {
        let (mut outbox, kept) = outbox(100);
        outbox.file("a-b", b"").unwrap();
        outbox.file(first, b"").unwrap();
        assert!(matches!(outbox.file(second, b"x"), Err(GatewayError::FileAndDirectory)));
        assert_eq!(kept.pieces().len(), 2);
    }
}
