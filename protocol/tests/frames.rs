//! Frames, and the bytes that messages have on the wire.

mod any;

use denali_protocol::{
    codec::EncodeError,
    job::{Channel, Indices},
    limits::{self, FRAME_BYTES},
    wire::{
        frame::{self, FrameError, HEADER_BYTES},
        message::{Event, Request, Response},
    },
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_frame_is_its_length_and_its_message(request in any::request()) {
        let bytes = frame::encode(&request).unwrap();
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
        prop_assert_eq!(frame::body_length(*header).unwrap(), body.len());
        prop_assert_eq!(frame::decode::<Request>(body).unwrap(), request);
    }

    #[test]
    fn a_header_is_refused_above_the_limit_only(announced: u32) {
        let expected = match announced as usize {
            length if length <= FRAME_BYTES => Ok(length),
            announced => Err(FrameError::TooLong { announced }),
        };
        prop_assert_eq!(frame::body_length(announced.to_le_bytes()), expected);
    }
}

#[test]
fn the_longest_frame_is_exact() {
    // The variant takes 4 bytes and the length 8.
    let echo = |bytes| Request::Echo(vec![0; bytes]);
    assert_eq!(frame::encode(&echo(FRAME_BYTES - 12)).unwrap().len(), HEADER_BYTES + FRAME_BYTES);
    let too_long = frame::encode(&echo(FRAME_BYTES - 11));
    assert_eq!(too_long, Err(EncodeError::TooLong { actual: FRAME_BYTES + 1, limit: FRAME_BYTES }));
    assert_eq!(frame::body_length((FRAME_BYTES as u32).to_le_bytes()), Ok(FRAME_BYTES));
    assert!(frame::body_length((FRAME_BYTES as u32 + 1).to_le_bytes()).is_err());
}

#[test]
fn a_piece_of_output_fits_a_frame_whatever_its_channel() {
    let channel = Channel::File("n".repeat(limits::NAME_BYTES));
    let event = Event::Output { index: u32::MAX, channel, bytes: vec![0; limits::OUTPUT_PIECE_BYTES] };
    assert!(frame::encode(&Response::Event(event)).is_ok());
}

#[test]
fn messages_keep_their_bytes() {
    // Changing any of these breaks every peer: raise the version in `wire::ALPN` with it.
    let job = "a".parse().unwrap();
    let id = [1, 0, 0, 0, 0, 0, 0, 0, b'a'].as_slice();
    let expected: [(Request, &[&[u8]]); 4] = [
        (Request::Info, &[&[0; 4]]),
        (Request::Follow("a".parse().unwrap()), &[&[2, 0, 0, 0], id]),
        (Request::Result { job, index: 258 }, &[&[5, 0, 0, 0], id, &[2, 1, 0, 0]]),
        (Request::Echo(vec![9]), &[&[7, 0, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 9]]),
    ];
    for (request, body) in expected {
        assert_eq!(frame::encode(&request).unwrap()[HEADER_BYTES..], body.concat(), "{request:?}");
    }
}

#[test]
fn a_peer_cannot_send_a_job_id_or_a_range_that_breaks_the_rules() {
    let follow = |id: &[u8]| [[2, 0, 0, 0].as_slice(), &(id.len() as u64).to_le_bytes(), id].concat();
    assert!(frame::decode::<Request>(&follow(b"ok")).is_ok());
    let refused = frame::decode::<Request>(&follow(b"../ok")).unwrap_err().to_string();
    assert!(refused.contains("a job id has 1 to 64 characters"), "{refused}");
    let backwards = [1, 0, 0, 0, 0, 0, 0, 0];
    let refused = frame::decode::<Indices>(&backwards).unwrap_err().to_string();
    assert!(refused.contains("the last index is below the first"), "{refused}");
}
