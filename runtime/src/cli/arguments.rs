//! The arguments of a job, held against their limits before anything is sent.

use super::failure::fail;
use denali_protocol::limits;

/// Refuses more arguments than a job may have.
pub(crate) fn check(arguments: &[String]) -> anyhow::Result<()> {
    let bytes: usize = arguments.iter().map(String::len).sum();
    if arguments.len() > limits::ARGUMENTS || bytes > limits::ARGUMENTS_BYTES {
        return fail(
            format!(
                "{} arguments with {bytes} bytes, more than the limit of {} arguments or {} bytes",
                arguments.len(),
                limits::ARGUMENTS,
                limits::ARGUMENTS_BYTES
            ),
            "give large data to the job as its input",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_inclusive() {
        assert!(check(&vec![String::new(); limits::ARGUMENTS]).is_ok());
        assert!(check(&["x".repeat(limits::ARGUMENTS_BYTES)]).is_ok());
        assert!(check(&["x".repeat(limits::ARGUMENTS_BYTES + 1)]).is_err());
        assert!(check(&vec![String::new(); limits::ARGUMENTS + 1]).is_err());
    }
}
