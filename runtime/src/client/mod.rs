//! The grid client: talks to nodes, and believes nothing they say that it can check.
//!
//! | module | what |
//! |---|---|
//! | [`target`] | which node is meant: `NODEID@ADDRESS`, or an address that is known |
//! | [`known_nodes`] | the nodes reached before, and their keys |
//! | [`session`] | requests on one connection |
//! | [`check`] | a result against its receipt, and against what arrived |
//! | [`collect`] | a followed job's events, checked and put in order (sans-IO) |
//! | [`open_job`] | what arrived of a job, against what was shown of it |
//! | [`fetch`] | the outputs of an ended job, verified before they are given out |
//! | [`watch`] | follows a job to its end, over lost connections |

pub(crate) mod check;
pub(crate) mod collect;
pub(crate) mod fetch;
pub(crate) mod known_nodes;
pub(crate) mod open_job;
pub(crate) mod session;
pub(crate) mod target;
pub(crate) mod watch;

#[cfg(test)]
mod tests;
