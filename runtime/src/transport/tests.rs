//! Two endpoints on loopback: identities, versions, frames.

use super::{endpoint::connect_with_protocol, *};
use denali_protocol::{
    identity::{KeyPair, PublicKey},
    limits,
    wire::message::{Request, Response},
};
use quinn::Endpoint;
use std::net::{Ipv4Addr, SocketAddr};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn key(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

/// An endpoint that echoes, and says whom it meets.
fn echo_server(node: &KeyPair) -> (Endpoint, tokio::sync::mpsc::Receiver<PublicKey>) {
    let endpoint = server_endpoint(LOOPBACK, node).unwrap();
    let (met, keys) = tokio::sync::mpsc::channel(8);
    let listener = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = listener.accept().await {
            let met = met.clone();
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else { return };
                met.send(peer_key(&connection).unwrap()).await.unwrap();
                while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                    match read_frame::<Request>(&mut receive).await {
                        Ok(Request::Echo(bytes)) => write_frame(&mut send, &Response::Echo(bytes)).await.unwrap(),
                        _ => drop(send.reset(1_u32.into())),
                    }
                }
            });
        }
    });
    (endpoint, keys)
}

#[tokio::test]
async fn each_side_learns_the_key_of_the_other() {
    let (endpoint, mut keys) = echo_server(&key(1));
    let connection = connect(endpoint.local_addr().unwrap(), key(1).public(), &key(2)).await.unwrap();
    assert_eq!(peer_key(&connection), Some(key(1).public()));
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    write_frame(&mut send, &Request::Echo(vec![7; 100_000])).await.unwrap();
    assert_eq!(read_frame::<Response>(&mut receive).await.unwrap(), Response::Echo(vec![7; 100_000]));
    assert_eq!(keys.recv().await, Some(key(2).public()));
}

#[test]
fn a_node_that_was_killed_and_is_back_ends_the_connections_of_its_last_life() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (killed, alive) = (runtime(), runtime());
    let (endpoint, _keys) = killed.block_on(async { echo_server(&key(1)) });
    let address = endpoint.local_addr().unwrap();
    let connection = alive.block_on(connect(address, key(1).public(), &key(2))).unwrap();
    // Without a word: nothing of it runs any more.
    killed.shutdown_timeout(std::time::Duration::from_secs(5));
    drop(endpoint);
    alive.block_on(async {
        let _back = server_endpoint(address, &key(1)).unwrap();
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(&[7; 1000]).await.unwrap();
        let closed = tokio::time::timeout(std::time::Duration::from_secs(10), connection.closed()).await;
        assert_eq!(closed, Ok(quinn::ConnectionError::Reset));
    });
}

#[tokio::test]
async fn a_wrong_node_is_named_with_both_keys() {
    let (endpoint, _keys) = echo_server(&key(1));
    let error = connect(endpoint.local_addr().unwrap(), key(3).public(), &key(2)).await.unwrap_err();
    let ConnectError::WrongKey { expected, actual, .. } = &error else { panic!("{error}") };
    assert_eq!((*expected, *actual), (key(3).public(), key(1).public()));
    assert!(error.to_string().contains(&key(1).public().to_string()));
}

#[tokio::test]
async fn another_version_is_called_so() {
    let (endpoint, _keys) = echo_server(&key(1));
    let address = endpoint.local_addr().unwrap();
    let error = connect_with_protocol(address, key(1).public(), &key(2), b"denali/999").await.unwrap_err();
    assert!(matches!(error, ConnectError::Version { .. }), "{error}");
}

#[tokio::test]
async fn a_frame_that_is_too_long_or_cut_short_is_refused() {
    let (endpoint, _keys) = echo_server(&key(1));
    let connection = connect(endpoint.local_addr().unwrap(), key(1).public(), &key(2)).await.unwrap();
    for bytes in [&(limits::FRAME_BYTES as u32 + 1).to_le_bytes()[..], &[1, 0], &[4, 0, 0, 0, 9], &[1, 0, 0, 0, 200]] {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        let error = read_frame::<Response>(&mut receive).await.unwrap_err();
        assert!(matches!(error, ReceiveError::Read(_)), "{error}");
    }
}

#[test]
fn only_sound_ed25519_keys_pass() {
    let good = tls::certified(&key(1)).unwrap();
    let spki = good.cert[0].as_ref();
    assert_eq!(tls::sound_key(spki), Some(key(1).public()));
    assert_eq!(tls::sound_key(&spki[..43]), None);
    assert_eq!(tls::sound_key(&[spki, &[0]].concat()), None);
    // The identity point: a signature by "it" holds for everyone.
    let mut weak = spki.to_vec();
    weak[12..].fill(0);
    weak[12] = 1;
    assert_eq!(tls::sound_key(&weak), None);
}
