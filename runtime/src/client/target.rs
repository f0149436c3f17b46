//! Which node a client means: `NODEID@HOST:PORT`, or `HOST:PORT` of a node that is known.

use super::known_nodes::{self, KnownNodesError};
use denali_protocol::{digest::ParseHexError, identity::PublicKey};
use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
    str::FromStr,
};

/// The port of a node that was not told another.
const DEFAULT_PORT: u16 = 4900;

/// A node as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeName {
    /// Its key, if given.
    pub(crate) node: Option<PublicKey>,
    /// `HOST:PORT`, as given but for a port that was left out.
    pub(crate) address: String,
}

/// The text names no node.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ParseNodeNameError {
    /// The part before the `@`.
    #[error("before the @ stands no node id: {0}")]
    Node(#[from] ParseHexError),
    /// The part after it.
    #[error("expected NODEID@HOST:PORT, such as 3c…9f@127.0.0.1:4900")]
    Address,
}

impl FromStr for NodeName {
    type Err = ParseNodeNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (node, address) = match text.split_once('@') {
            Some((node, address)) => (Some(node.parse()?), address),
            None => (None, text),
        };
        // White space would break the lines of the known nodes' file.
        if address.is_empty() || address.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@') {
            return Err(ParseNodeNameError::Address);
        }
        let address = match (has_port(address), address.parse::<std::net::Ipv6Addr>()) {
            (true, _) => address.to_owned(),
            (false, Ok(v6)) => format!("[{v6}]:{DEFAULT_PORT}"),
            (false, Err(_)) => format!("{address}:{DEFAULT_PORT}"),
        };
        // What had a colon before is no name of a host, but one with a port that is none, or a broken IPv6 address.
        if has_port(&address) { Ok(Self { node, address }) } else { Err(ParseNodeNameError::Address) }
    }
}

/// Whether `address` is `HOST:PORT`, with an IPv6 address in brackets.
fn has_port(address: &str) -> bool {
    // Numbers are read with a sign too, and the same node would be remembered by two names.
    let is_port = |port: &str| !port.starts_with('+') && port.parse::<u16>().is_ok();
    let named = |(host, port): (&str, &str)| !host.is_empty() && !host.contains(':') && is_port(port);
    address.parse::<SocketAddr>().is_ok() || address.rsplit_once(':').is_some_and(named)
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "{node}@{}", self.address),
            None => f.write_str(&self.address),
        }
    }
}

/// A node to connect to: its key is certain before the first packet.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The key that it must prove to hold.
    pub(crate) node: PublicKey,
    /// Where it answers.
    pub(crate) socket: SocketAddr,
    /// Where it answers, as it is remembered.
    pub(crate) address: String,
    /// The key that was remembered for this address.
    pub(crate) remembered: Option<PublicKey>,
}

/// Why a name leads to no node. The operator is at fault, but for [`TargetError::Resolve`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// No key was given, and none is remembered.
    #[error("the node at {address} is not known yet, and without its id anyone could answer in its place")]
    Unknown {
        /// The address.
        address: String,
    },
    /// The known nodes cannot be read.
    #[error(transparent)]
    Known(#[from] KnownNodesError),
    /// The host's name has no address.
    #[error("cannot find the host of {address}: {source}")]
    Resolve {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The host's name has no address at all.
    #[error("the host of {address} has no address")]
    NoAddress {
        /// The address.
        address: String,
    },
}

impl NodeName {
    /// The node's key and socket address, with the help of the file of `known` nodes.
    pub(crate) fn locate(&self, known: &Path) -> Result<Target, TargetError> {
        let address = self.address.clone();
        let remembered = known_nodes::recall(known, &address)?;
        let Some(node) = self.node.or(remembered) else { return Err(TargetError::Unknown { address }) };
        let mut sockets = match self.address.to_socket_addrs() {
            Ok(sockets) => sockets,
            Err(source) => return Err(TargetError::Resolve { address, source }),
        };
        match sockets.next() {
            Some(socket) => Ok(Target { node, socket, address, remembered }),
            None => Err(TargetError::NoAddress { address }),
        }
    }
}

impl Target {
    /// The key that was remembered for this address, where another was asked for.
    pub(crate) fn replaced(&self) -> Option<PublicKey> {
        self.remembered.filter(|remembered| *remembered != self.node)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.node, self.address)
    }
}

#[cfg(feature = "testing")]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_and_without_key_and_port() {
        let key = "ab".repeat(32);
        let address = |text: &str| text.parse::<NodeName>().unwrap().address;
        assert_eq!(format!("{key}@localhost:1").parse::<NodeName>().unwrap().node, Some(key.parse().unwrap()));
        assert_eq!(address("localhost"), "localhost:4900");
        assert_eq!(address("10.0.0.1:7"), "10.0.0.1:7");
        assert_eq!(address("[::1]:7"), "[::1]:7");
        assert_eq!(address("::1"), "[::1]:4900");
        let hosts = ["", "x@", "ab@localhost:1", "a b:1", "a\n:1", ":1", "[::1]1:7"];
        let ports = ["a:65536", "a:1:2", "a:b", "a:+1", "a:-1", "127.0.0.1:+1", "[::1]:+1", "[::1]:7:"];
        for wrong in hosts.into_iter().chain(ports) {
            assert!(wrong.parse::<NodeName>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_unknown_node_needs_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let known = directory.path().join("known_nodes");
        let name: NodeName = "127.0.0.1:9".parse().unwrap();
        assert!(matches!(name.locate(&known), Err(TargetError::Unknown { .. })));

        let (first, second) = (PublicKey([1; 32]), PublicKey([2; 32]));
        known_nodes::remember(&known, "127.0.0.1:9", first).unwrap();
        assert_eq!(name.locate(&known).unwrap().node, first);
        let pinned = NodeName { node: Some(second), ..name }.locate(&known).unwrap();
        assert_eq!((pinned.node, pinned.replaced()), (second, Some(first)));
    }
}
