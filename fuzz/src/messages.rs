//! Messages between client and node, and between node and worker.

use denali_protocol::{
    codec,
    job::Indices,
    limits::{self, ARRAY_JOBS, FRAME_BYTES},
    wire::{
        frame,
        message::{Request, Response, Submit},
    },
};
use denali_vmm::worker::message::{Command, Report};
use serde::{Serialize, de::DeserializeOwned};

/// Decodes `data` as each kind of message. What is accepted has exactly these bytes for its encoding, and can be shown.
pub fn messages(data: &[u8]) {
    if let Some(Request::Submit(submit)) = check::<Request>(data) {
        check_submit(&submit);
    }
    match check::<Response>(data) {
        Some(Response::Result(result)) => {
            assert_ne!(result.outcome.to_string(), "");
            let _ = result.receipt.verify();
        }
        Some(Response::Top(top)) => {
            for durations in [top.start, top.wake, top.swap_in, top.swap_out] {
                assert_eq!(durations.quantile_us(990).is_some(), durations.count() > 0);
            }
        }
        _ => {}
    }
    check::<Command>(data);
    if let Some(Report::Ended { outcome, .. }) = check::<Report>(data) {
        assert_ne!(outcome.to_string(), "");
    }
}

fn check<T: Serialize + DeserializeOwned>(data: &[u8]) -> Option<T> {
    let message = frame::decode::<T>(data).ok()?;
    assert_eq!(codec::encode(&message, FRAME_BYTES).as_deref(), Ok(data));
    Some(message)
}

fn check_submit(submit: &Submit) {
    let (arguments, bytes) = (submit.arguments.len(), submit.arguments.iter().map(String::len).sum::<usize>());
    match submit.check() {
        Ok(()) => {
            assert!(submit.bundle_bytes <= limits::BUNDLE_BYTES && submit.input_bytes <= limits::INPUT_BYTES);
            assert!(arguments <= limits::ARGUMENTS && bytes <= limits::ARGUMENTS_BYTES);
            assert!(!submit.arguments.concat().contains('\0'));
        }
        Err(error) => assert_ne!(error.to_string(), ""),
    }
    check_indices(submit.indices);
}

fn check_indices(indices: Indices) {
    assert!(indices.first <= indices.last);
    assert!((1..=ARRAY_JOBS).contains(&indices.count()));
}
