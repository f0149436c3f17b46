//! A node's statement as JSON.

use super::facts::Facts;
use denali_protocol::receipt::Statement;
use serde::Serialize;

/// What a receipt states, for `verify --json`.
#[derive(Debug, Serialize)]
pub(crate) struct StatementLine {
    node: String,
    client: String,
    job: String,
    index: u32,
    bundle: String,
    arguments: String,
    input: String,
    output: String,
    ended_unix_ms: u64,
    #[serde(flatten)]
    facts: Facts,
}

impl From<&Statement> for StatementLine {
    fn from(statement: &Statement) -> Self {
        Self {
            node: statement.node.to_string(),
            client: statement.client.to_string(),
            job: statement.job.to_string(),
            index: statement.index,
            bundle: statement.bundle.to_string(),
            arguments: statement.arguments.to_string(),
            input: statement.input.to_string(),
            output: statement.output.to_string(),
            ended_unix_ms: statement.ended_unix_ms,
            facts: Facts::new(&statement.outcome, &statement.usage, statement.vm),
        }
    }
}
