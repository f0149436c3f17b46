//! The limits of a submission.

use denali_protocol::{
    digest::Digest,
    job::{Indices, IndicesError},
    limits::{ARGUMENTS, ARGUMENTS_BYTES, BUNDLE_BYTES, INPUT_BYTES},
    wire::message::{Submit, SubmitError},
};

fn submit() -> Submit {
    Submit {
        job: "job".parse().expect("a job id"),
        bundle: Digest::of(b"bundle"),
        bundle_bytes: BUNDLE_BYTES,
        signatures: vec![],
        arguments: vec![String::new(); ARGUMENTS],
        indices: Indices::SINGLE,
        input_bytes: INPUT_BYTES,
        input: Digest::of(b"input"),
        attach: false,
    }
}

#[test]
fn all_limits_can_be_used_up() {
    assert_eq!(submit().check(), Ok(()));
    let longest = vec!["x".repeat(ARGUMENTS_BYTES / 2); 2];
    assert_eq!(Submit { arguments: longest, ..submit() }.check(), Ok(()));
}

#[test]
fn one_more_is_refused() {
    let refused = |submit: Submit| submit.check().unwrap_err();
    let bytes = BUNDLE_BYTES + 1;
    assert_eq!(refused(Submit { bundle_bytes: bytes, ..submit() }), SubmitError::Bundle { bytes });
    let bytes = INPUT_BYTES + 1;
    assert_eq!(refused(Submit { input_bytes: bytes, ..submit() }), SubmitError::Input { bytes });
    let indices = Indices { first: 2, last: 1 };
    assert_eq!(refused(Submit { indices, ..submit() }), SubmitError::Indices(IndicesError::Backwards));

    let arguments = |arguments| refused(Submit { arguments, ..submit() });
    let count = ARGUMENTS + 1;
    assert_eq!(arguments(vec![String::new(); count]), SubmitError::TooManyArguments { count });
    let long = vec!["x".repeat(ARGUMENTS_BYTES), "y".to_owned()];
    assert_eq!(arguments(long), SubmitError::LongArguments { bytes: ARGUMENTS_BYTES + 1 });
    let nul = vec!["a".to_owned(), "b\0c".to_owned()];
    assert_eq!(arguments(nul), SubmitError::NulInArgument { number: 1 });
}
