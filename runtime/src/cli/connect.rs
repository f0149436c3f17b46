//! The options by which commands name a node, and the connection that they get.

use super::{failure::Hint, key, print};
use crate::client::check::Expectation;
use crate::{
    client::{
        known_nodes,
        session::{Session, SessionError},
        target::{NodeName, Target, TargetError},
    },
    home::Home,
    transport::ConnectError,
};
use denali_protocol::{digest::Digest, identity::KeyPair, job::JobId};
use std::path::PathBuf;

/// Which node, and as whom.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// The node: NODEID@HOST:PORT as `denali node` prints it, or HOST:PORT alone if it is known from before.
    #[arg(long, value_name = "NODE", env = "DENALI_NODE")]
    pub(crate) node: NodeName,
    /// Key of the client [default: the default key, made at first use]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// A node that proved its key.
pub(crate) struct Connected {
    /// The node.
    pub(crate) target: Target,
    /// The client's key.
    pub(crate) key: KeyPair,
    /// The connection.
    pub(crate) session: Session,
}

impl Connected {
    /// What receipts for a job must state, as far as anyone knows who did not submit it.
    pub(crate) fn expectation(&self, job: JobId, bundle: Option<Digest>) -> Expectation {
        let (node, client) = (self.target.node, self.key.public());
        Expectation { node, client, job, bundle, arguments: None, input: None }
    }
}

/// Connects, and remembers the node that proved its key.
pub(crate) async fn connect(args: &NodeArgs) -> anyhow::Result<Connected> {
    let known = Home::locate()?.known_nodes_path();
    let target = match args.node.locate(&known) {
        Err(error @ TargetError::Unknown { .. }) => {
            return Err(error).hint("give --node NODEID@HOST:PORT once, as `denali node` prints it; then it is known");
        }
        located => located?,
    };
    let key = key::given_or_default(&args.key)?;
    if let Some(remembered) = target.replaced() {
        print::note(format!(
            "denali: warning: the node at {} was {remembered} before, and is now asked to be {}",
            target.address, target.node
        ));
    }
    let session = open(&target, &key).await?;
    if target.remembered != Some(target.node)
        && let Err(error) = known_nodes::remember(&known, &target.address, target.node)
    {
        print::note(format!("denali: warning: the node will not be known next time: {error}"));
    }
    Ok(Connected { target, key, session })
}

async fn open(target: &Target, key: &KeyPair) -> anyhow::Result<Session> {
    let (error, hint) = match Session::open(target, key).await {
        Ok(session) => return Ok(session),
        Err(error @ SessionError::Connect(ConnectError::WrongKey { .. })) => {
            let hint = "someone may be between you and the node; if its volunteer says it has a new key, pin that: \
                        --node NODEID@HOST:PORT";
            (error, hint)
        }
        Err(error @ SessionError::Connect(ConnectError::NoAnswer { .. })) => {
            (error, "start one with: denali node --data DIR")
        }
        Err(error) => return Err(error.into()),
    };
    Err(error).hint(hint)
}
