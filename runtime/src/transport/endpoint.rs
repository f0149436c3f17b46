//! Endpoints and connections: configuration, limits, and what can go wrong before the first message.

use super::tls;
use denali_protocol::{
    identity::{KeyPair, PublicKey},
    wire,
};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac::{self, HMAC_SHA256};
use rustls::{client::AlwaysResolvesClientRawPublicKeys, server::AlwaysResolvesServerRawPublicKeys};
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Requests that one connection may have open at once. A client that keeps 64 jobs under way still gets its questions
/// through.
const STREAMS: u32 = 80;

/// Bytes of one stream that a peer may send ahead of the reader. Enough for 100 MB/s over 10 ms.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// Bytes of one connection that a peer may send ahead of the readers, all streams together.
const RECEIVE_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// Bytes of one connection that are kept for sending again until the peer has acknowledged them.
const SEND_WINDOW_BYTES: u64 = 2 * 1024 * 1024;

/// A peer that says nothing for so long is gone.
const IDLE_MS: u32 = 30_000;

/// A client pings this often, so that a job that runs for hours does not look idle.
const KEEP_ALIVE: Duration = Duration::from_secs(8);

/// A client that gets no answer for so long gives up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that wait to be accepted. More are refused: an honest client tries again.
const INCOMING: usize = 1024;

/// Bytes that all connections not accepted yet may hold together.
const INCOMING_BYTES: u64 = 16 * 1024 * 1024;

/// TLS alert `no_application_protocol` (RFC 7301) as a QUIC error (RFC 9001, section 4.8).
const NO_COMMON_PROTOCOL: u64 = 0x100 + 120;

/// Why no endpoint could be made. The host or the operator is at fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// The address cannot be listened on.
    #[error("cannot use UDP address {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// TLS could not be set up with this key.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// No socket could be made here. The host is at fault.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Another node answers, or the node has a new key. Someone may be in between.
    #[error("the node at {address} is not the one expected: expected key {expected}, it has {actual}")]
    WrongKey {
        /// Where it answers.
        address: SocketAddr,
        /// The key the client expects.
        expected: PublicKey,
        /// The key the node showed.
        actual: PublicKey,
    },
    /// It speaks another version of the protocol.
    #[error(
        "the node at {address} speaks another version of the protocol: this client speaks {}",
        String::from_utf8_lossy(wire::ALPN)
    )]
    Version {
        /// Where it answers.
        address: SocketAddr,
    },
    /// Nobody answers.
    #[error("no answer from {address}: is the node running, and does a firewall let UDP through?")]
    NoAnswer {
        /// Who should have answered.
        address: SocketAddr,
    },
    /// The handshake failed otherwise.
    #[error("cannot connect to {address}: {source}")]
    Failed {
        /// Whom to.
        address: SocketAddr,
        /// What QUIC says.
        source: ConnectionError,
    },
    /// The address cannot be connected to.
    #[error("cannot connect to {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What QUIC says.
        source: quinn::ConnectError,
    },
}

fn transport_config() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(STREAMS.into())
        .max_concurrent_uni_streams(0_u32.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(RECEIVE_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .datagram_receive_buffer_size(None);
    config
}

fn server_config(key: &KeyPair) -> Result<ServerConfig, rustls::Error> {
    let mut tls = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(tls::AnyClient))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(tls::certified(key)?)));
    tls.alpn_protocols = vec![wire::ALPN.to_vec()];
    // No resumption: each connection proves both keys anew.
    tls.send_tls13_tickets = 0;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .max_incoming(INCOMING)
        .incoming_buffer_size_total(INCOMING_BYTES)
        .transport_config(transport_config().into());
    Ok(config)
}

fn client_config(
    key: &KeyPair,
    node: PublicKey,
    met: Arc<OnceLock<PublicKey>>,
    protocol: &[u8],
) -> Result<ClientConfig, rustls::Error> {
    let mut tls = rustls::ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(tls::PinnedNode { expected: node, met }))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(tls::certified(key)?)));
    tls.alpn_protocols = vec![protocol.to_vec()];
    tls.enable_sni = false;
    tls.resumption = rustls::client::Resumption::disabled();
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = transport_config();
    transport.max_concurrent_bidi_streams(0_u32.into()).keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// What lets a node that was killed tell the clients of its last life that their connections are gone (RFC 9000, section
/// 10.3), so that they need not wait for a timeout: the secrets behind connection ids and reset tokens are the key's.
fn endpoint_config(key: &KeyPair) -> EndpointConfig {
    let secret = hmac::Key::new(HMAC_SHA256, &key.seed());
    let derive = |label: &[u8]| hmac::sign(&secret, label);
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(HMAC_SHA256, derive(b"stateless reset").as_ref())));
    let ids = derive(b"connection ids").as_ref().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

/// An endpoint that accepts connections on `address` as the node of `key`.
///
/// # Errors
/// [`BindError`] when the address is taken or not this host's.
pub(crate) fn server_endpoint(address: SocketAddr, key: &KeyPair) -> Result<Endpoint, BindError> {
    let config = server_config(key)?;
    let socket = UdpSocket::bind(address).map_err(|source| BindError::Address { address, source })?;
    let endpoint = Endpoint::new(endpoint_config(key), Some(config), socket, Arc::new(TokioRuntime));
    endpoint.map_err(|source| BindError::Address { address, source })
}

/// Connects to the node at `address`, which must prove to be `node`, as the client of `key`.
///
/// The connection keeps its own socket; it is released when the last clone of it is dropped.
///
/// # Errors
/// [`ConnectError`], which says who is at fault.
pub(crate) async fn connect(address: SocketAddr, node: PublicKey, key: &KeyPair) -> Result<Connection, ConnectError> {
    connect_with_protocol(address, node, key, wire::ALPN).await
}

pub(super) async fn connect_with_protocol(
    address: SocketAddr,
    node: PublicKey,
    key: &KeyPair,
    protocol: &[u8],
) -> Result<Connection, ConnectError> {
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let met = Arc::new(OnceLock::new());
    let config = client_config(key, node, Arc::clone(&met), protocol).map_err(BindError::Tls)?;
    let endpoint = Endpoint::client(local).map_err(|source| BindError::Address { address: local, source })?;
    // The name is not sent: a node is known by its key alone.
    let connecting = endpoint
        .connect_with(config, address, "denali.invalid")
        .map_err(|source| ConnectError::Address { address, source })?;
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(ConnectionError::TimedOut)) | Err(_) => Err(ConnectError::NoAnswer { address }),
        Ok(Err(source)) => Err(match (met.get(), error_code(&source)) {
            (Some(&actual), _) => ConnectError::WrongKey { address, expected: node, actual },
            (None, Some(NO_COMMON_PROTOCOL)) => ConnectError::Version { address },
            (None, _) => ConnectError::Failed { address, source },
        }),
    }
}

/// The transport error code that ended a handshake, whichever side found it.
fn error_code(error: &ConnectionError) -> Option<u64> {
    match error {
        ConnectionError::TransportError(error) => Some(error.code.into()),
        ConnectionError::ConnectionClosed(close) => Some(close.error_code.into()),
        _ => None,
    }
}

/// The key that the other end of `connection` proved to hold. Absent only before the handshake is over.
pub(crate) fn peer_key(connection: &Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
    tls::sound_key(identity.first()?)
}
