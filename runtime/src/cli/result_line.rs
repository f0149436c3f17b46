//! The JSON line of a job that ended, for `submit --json` and `result --json`.

use super::{
    facts::Facts,
    outputs::{self, OutputLine},
};
use crate::client::{collect::Finished, open_job::Kept};
use data_encoding::BASE64;
use denali_protocol::{job::JobId, wire::message::JobResult};
use serde::Serialize;

/// One job.
#[derive(Serialize)]
pub(crate) struct ResultLine<'a> {
    job: &'a JobId,
    index: u32,
    #[serde(flatten)]
    facts: Facts,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout_base64: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    stdout_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr_base64: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    stderr_truncated: bool,
    output: String,
    outputs: Vec<OutputLine>,
    receipt: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl<'a> ResultLine<'a> {
    /// The line of `finished`, a job of `job`.
    pub(crate) fn new(job: &'a JobId, finished: &'a Finished) -> Self {
        let JobResult { index, outcome, usage, vm, outputs, receipt } = &finished.result;
        let (stdout, stdout_base64) = text_or_base64(&finished.stdout);
        let (stderr, stderr_base64) = text_or_base64(&finished.stderr);
        Self {
            job,
            index: *index,
            facts: Facts::new(outcome, usage, *vm),
            stdout,
            stdout_base64,
            stdout_truncated: finished.stdout.truncated,
            stderr,
            stderr_base64,
            stderr_truncated: finished.stderr.truncated,
            output: outputs.digest().to_string(),
            outputs: outputs::lines(outputs),
            receipt: BASE64.encode(&receipt.0),
        }
    }
}

/// The bytes as text, else in base64. Text that was cut within a character is cut before it.
pub(crate) fn text_or_base64(kept: &Kept) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(&kept.bytes) {
        Ok(text) => (Some(text), None),
        Err(error) if kept.truncated && error.error_len().is_none() => {
            let whole = &kept.bytes[..error.valid_up_to()];
            (std::str::from_utf8(whole).ok(), None)
        }
        Err(_) => (None, Some(BASE64.encode(&kept.bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_when_it_is_cut() {
        let kept = |bytes: &[u8], truncated| Kept { bytes: bytes.to_vec(), truncated };
        assert_eq!(text_or_base64(&kept("aé".as_bytes(), false)).0, Some("aé"));
        assert_eq!(text_or_base64(&kept(b"a\xc3", true)).0, Some("a"));
        assert_eq!(text_or_base64(&kept(b"a\xc3", false)), (None, Some("YcM=".to_owned())));
        assert_eq!(text_or_base64(&kept(b"a\xff", true)).1, Some("Yf8=".to_owned()));
    }
}
