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
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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
    /// The options by which a command that is pasted into a shell reaches the same node as the same client.
    pub(crate) options: String,
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
    let mut remembered = true;
    if target.remembered != Some(target.node)
        && let Err(error) = known_nodes::remember(&known, &target.address, target.node)
    {
        print::note(format!("denali: warning: the node will not be known next time: {error}"));
        remembered = false;
    }
    let options = options(&target, remembered, args.key.as_deref());
    Ok(Connected { target, key, session, options })
}

/// Pauses before a question is asked again whose connection broke.
pub(crate) const PAUSES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];

/// Connects and asks. Where the connection breaks on the way, as when the node is started anew, asks again over another:
/// only for questions that can be asked twice.
pub(crate) async fn ask<T, E>(
    args: &NodeArgs,
    question: impl AsyncFn(&Connected) -> Result<T, E>,
    is_transient: impl Fn(&E) -> bool,
) -> anyhow::Result<(Connected, Result<T, E>)> {
    for pause in PAUSES {
        let connected = connect(args).await?;
        match question(&connected).await {
            Err(error) if is_transient(&error) => tokio::time::sleep(pause).await,
            answer => return Ok((connected, answer)),
        }
    }
    let connected = connect(args).await?;
    let answer = question(&connected).await;
    Ok((connected, answer))
}

fn options(target: &Target, remembered: bool, key: Option<&Path>) -> String {
    let node = if remembered { target.address.clone() } else { target.to_string() };
    let key = key.map(|key| format!(" --key {}", quoted(&key.to_string_lossy())));
    format!("--node {}{}", quoted(&node), key.unwrap_or_default())
}

/// A word that a shell reads as it is.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '@' | '+' | ',');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use denali_protocol::identity::PublicKey;

    #[test]
    fn options_can_be_pasted() {
        let socket = "[::1]:7".parse().unwrap();
        let node = PublicKey([0xab; 32]);
        let target = Target { node, socket, address: "h:7".to_owned(), remembered: None };
        assert_eq!(options(&target, true, None), "--node h:7");
        assert_eq!(options(&target, false, None), format!("--node {}@h:7", "ab".repeat(32)));
        let target = Target { address: "[::1]:7".to_owned(), ..target };
        let key = Path::new("my key's");
        assert_eq!(options(&target, true, Some(key)), r"--node '[::1]:7' --key 'my key'\''s'");
    }
}
