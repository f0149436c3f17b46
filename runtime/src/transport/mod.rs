//! QUIC with raw ed25519 keys on both ends: what clients and nodes share.
//!
//! | module | what |
//! |---|---|
//! | `endpoint` | endpoints and connections, their limits and errors |
//! | `stream` | frames and raw bodies on a stream |
//! | `tls` | identities for TLS: RFC 7250 raw public keys, no X.509 |
//!
//! Each side learns the other's key from the handshake ([`peer_key`]); a client names the key that it expects.
//! See `docs/decisions/0005-transport-identities.md`.

mod endpoint;
mod stream;
mod tls;

pub(crate) use endpoint::{BindError, ConnectError, connect, peer_key, server_endpoint};
pub(crate) use stream::{ReceiveError, SendError, read_frame, write_body, write_frame};

#[cfg(test)]
mod tests;
