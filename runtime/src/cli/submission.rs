//! What is sent to a node: a program, a request and an input.

use super::program::Program;
use crate::client::check::Expectation;
use denali_protocol::{
    digest::Digest,
    identity::PublicKey,
    job::{Indices, JobId},
    wire::message::Submit,
};
use ring::rand::{SecureRandom, SystemRandom};

/// A submission.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    /// The program.
    pub(crate) program: Program,
    /// The request.
    pub(crate) request: Submit,
    /// The input.
    pub(crate) input: Vec<u8>,
}

impl Submission {
    /// A submission, under a new name if none is given.
    pub(crate) fn new(
        program: Program,
        job: Option<JobId>,
        arguments: Vec<String>,
        indices: Indices,
        input: Vec<u8>,
        attach: bool,
    ) -> anyhow::Result<Self> {
        let job = match job {
            Some(job) => job,
            None => new_id(&program.manifest.name)?,
        };
        let request = Submit {
            job,
            bundle: program.digest,
            bundle_bytes: program.content.len() as u64,
            signatures: program.signatures.clone(),
            arguments,
            indices,
            input_bytes: input.len() as u64,
            input: Digest::of(&input),
            attach,
        };
        request.check()?;
        Ok(Self { program, request, input })
    }

    /// What a receipt for one of its jobs must state.
    pub(crate) fn expectation(&self, node: PublicKey, client: PublicKey) -> Expectation {
        let Submit { job, bundle, arguments, input, .. } = self.request.clone();
        Expectation { node, client, job, bundle: Some(bundle), arguments: Some(arguments), input: Some(input) }
    }
}

/// A new name: the bundle's, as far as a job's name may be like it, and 64 random bits.
fn new_id(bundle: &str) -> anyhow::Result<JobId> {
    let mut random = [0; 8];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow::anyhow!("the system gave no random bytes"))?;
    let name: String = bundle
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .skip_while(|c| *c == '-')
        .take(40)
        .collect();
    let name = if name.is_empty() { "job" } else { name.trim_end_matches('-') };
    Ok(format!("{name}-{}", data_encoding::HEXLOWER.encode(&random)).parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use denali_protocol::limits;

    #[test]
    fn any_bundle_name_gives_a_job_name() {
        for name in ["hello", "", "../..", "ümlaut", &"x".repeat(255), "hostile/spin"] {
            let id = new_id(name).unwrap();
            assert_ne!(id, new_id(name).unwrap());
        }
        assert!(new_id("hostile/spin").unwrap().as_str().starts_with("hostile-spin-"));
    }

    #[test]
    fn what_the_node_would_refuse_is_not_sent() {
        let program = Program::from_content(super::super::samples::named("hello").unwrap(), Vec::new()).unwrap();
        let submission = |arguments| {
            Submission::new(program.clone(), None, arguments, Indices::SINGLE, Vec::new(), false).map(|_| ())
        };
        assert!(submission(vec!["x".repeat(limits::ARGUMENTS_BYTES)]).is_ok());
        for wrong in ["x\0y".to_owned(), "x".repeat(limits::ARGUMENTS_BYTES + 1)] {
            assert!(submission(vec![wrong]).is_err());
        }
    }
}
