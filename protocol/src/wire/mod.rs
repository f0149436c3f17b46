//! What travels on a QUIC stream between a client and a node.
//!
//! One bidirectional stream a request. The client sends one frame with a [`message::Request`] and the raw bytes that
//! belong to it; the node answers with frames of [`message::Response`], and raw bytes where a response announces them.

pub mod frame;
pub mod message;
mod submit;
pub mod top;

/// The protocol's name and version, negotiated by TLS (ALPN): peers of different versions never exchange a message.
pub const ALPN: &[u8] = b"denali/1";
