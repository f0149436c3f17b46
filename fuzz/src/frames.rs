//! A stream of frames, as a peer might send it.

use denali_protocol::{
    limits::FRAME_BYTES,
    wire::{
        frame::{self, FrameError, HEADER_BYTES},
        message::Request,
    },
};

/// Reads `data` as a stream of frames, the way both ends of a connection do. No header makes a reader make room for more
/// than a frame may hold, and a frame that holds a message is the one frame of that message.
pub fn frames(mut data: &[u8]) {
    while let Some((header, rest)) = data.split_first_chunk::<HEADER_BYTES>() {
        let length = match frame::body_length(*header) {
            Ok(length) => length,
            Err(FrameError::TooLong { announced }) => return assert!(announced > FRAME_BYTES),
            Err(other) => panic!("a header is no message: {other}"),
        };
        assert!(length <= FRAME_BYTES);
        let Some((body, rest)) = rest.split_at_checked(length) else { return };
        if let Ok(request) = frame::decode::<Request>(body) {
            let again = frame::encode(&request).expect("what was decoded can be encoded");
            assert_eq!(again, data[..HEADER_BYTES + length]);
        }
        data = rest;
    }
}
