//! A node of one command's own: a child process on the loopback interface with a temporary data directory. It ends with
//! the command.

use crate::client::target::{NodeName, Target};
use anyhow::Context;
use denali_protocol::identity::PublicKey;
use rustix::process::{Pid, Signal, kill_process};
use std::{fs::File, path::Path, process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// A node that did not say where it serves by then never will.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node may take to end when asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running node.
pub(crate) struct NodeProcess {
    child: Child,
    target: Target,
    /// Deleted with everything in it when this is dropped.
    _directory: TempDir,
}

impl NodeProcess {
    /// Starts a node whose policy knows `signer`, and waits until it serves.
    pub(crate) async fn start(signer: PublicKey) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let policy = directory.path().join("policy.toml");
        std::fs::write(&policy, format!("[[signer]]\nkey = \"{signer}\"\n"))?;
        let log = directory.path().join("node.log");
        let mut child = Command::new(std::env::current_exe().context("cannot find the denali program")?)
            .args(["node", "--listen", "127.0.0.1:0", "--data"])
            .arg(directory.path().join("node"))
            .arg("--policy")
            .arg(policy)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a node")?;
        let stdout = child.stdout.take().context("the node has no standard output")?;
        let mut line = String::new();
        let read = timeout(READY_TIMEOUT, BufReader::new(stdout).read_line(&mut line)).await;
        let said = |why: &str| format!("{why}: {}", last_words(&log));
        read.with_context(|| said("the node did not start in time"))?
            .with_context(|| said("the node did not start"))?;
        let name: NodeName = line.trim_end().parse().with_context(|| said("the node did not start"))?;
        let target = Target {
            node: name.node.with_context(|| said("the node told no id"))?,
            socket: name.address.parse().context("the node told no address")?,
            address: name.address,
            remembered: None,
        };
        Ok(Self { child, target, _directory: directory })
    }

    /// Where it serves.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // Fails only for a process that is gone.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = timeout(STOP_TIMEOUT, self.child.wait()).await;
    }
}

/// The end of what the node wrote on standard error, on one line.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().map(|line| line.trim_start_matches("denali: ")).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}
