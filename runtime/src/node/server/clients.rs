//! Who is connected and from where, and what each client may have under way at once.

use denali_protocol::identity::PublicKey;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Connections in all.
const CONNECTIONS: usize = 1024;

/// Handshakes and connections from one place: keys cost nothing, addresses do.
const CONNECTIONS_OF_PLACE: usize = 256;

/// Connections of one client.
const CONNECTIONS_OF_ONE: usize = 64;

/// Requests of all clients that are being received at once: a frame and a small input each are in memory.
const ALL_REQUESTS: usize = 1024;

/// Those from one place. More wait their turn.
const REQUESTS_OF_PLACE: usize = 256;

/// Those of one client.
const REQUESTS: usize = 16;

/// Uploads of one client to the disk at once. More wait their turn.
const UPLOADS: usize = 8;

/// What one client has.
#[derive(Debug)]
struct Held {
    connections: usize,
    uploads: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    clients: HashMap<PublicKey, Held>,
    places: HashMap<IpAddr, (usize, Arc<Semaphore>)>,
}

/// All clients that are connected.
#[derive(Debug)]
pub(super) struct Clients {
    counts: Mutex<Counts>,
    requests: Semaphore,
}

impl Default for Clients {
    fn default() -> Self {
        Self { counts: Mutex::default(), requests: Semaphore::new(ALL_REQUESTS) }
    }
}

/// Turns to be received: of the client, the place and all.
pub(super) type Turn<'a> = [Option<SemaphorePermit<'a>>; 3];

/// Someone at the door, from the first packet to the end of the connection.
#[derive(Debug)]
pub(super) struct Arrival {
    clients: Arc<Clients>,
    place: IpAddr,
    requests: Arc<Semaphore>,
}

/// A connection that counts.
#[derive(Debug)]
pub(super) struct Counted {
    clients: Arc<Clients>,
    key: PublicKey,
}

/// The client of one connection.
#[derive(Debug)]
pub(super) struct Client {
    key: PublicKey,
    clients: Arc<Clients>,
    place_requests: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// What one subscriber has to itself: an IPv4 address, or 64 bits of an IPv6 address.
fn place_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl Clients {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a handshake from `address`; nothing where there are too many of its place.
    pub(super) fn arrived(self: &Arc<Self>, address: IpAddr) -> Option<Arrival> {
        let place = place_of(address);
        let mut counts = self.counts();
        let (own, requests) =
            counts.places.entry(place).or_insert_with(|| (0, Arc::new(Semaphore::new(REQUESTS_OF_PLACE))));
        if *own >= CONNECTIONS_OF_PLACE {
            return None;
        }
        *own += 1;
        Some(Arrival { clients: Arc::clone(self), place, requests: Arc::clone(requests) })
    }
}

impl Arrival {
    /// Counts a connection of `key`; nothing where there are too many.
    pub(super) fn connected(&self, key: PublicKey) -> Option<(Client, Counted)> {
        let counts = &mut *self.clients.counts();
        let own = counts.clients.get(&key).map_or(0, |held| held.connections);
        if counts.connections >= CONNECTIONS || own >= CONNECTIONS_OF_ONE {
            return None;
        }
        counts.connections += 1;
        let held = counts.clients.entry(key).or_insert_with(|| Held {
            connections: 0,
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            requests: Arc::new(Semaphore::new(REQUESTS)),
        });
        held.connections += 1;
        let client = Client {
            key,
            clients: Arc::clone(&self.clients),
            place_requests: Arc::clone(&self.requests),
            uploads: Arc::clone(&held.uploads),
            requests: Arc::clone(&held.requests),
        };
        Some((client, Counted { clients: Arc::clone(&self.clients), key }))
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let places = &mut self.clients.counts().places;
        if let Some((own, _)) = places.get_mut(&self.place) {
            *own -= 1;
            if *own == 0 {
                places.remove(&self.place);
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let counts = &mut *self.clients.counts();
        counts.connections -= 1;
        if let Some(held) = counts.clients.get_mut(&self.key) {
            held.connections -= 1;
            if held.connections == 0 {
                counts.clients.remove(&self.key);
            }
        }
    }
}

impl Client {
    /// Its key.
    pub(super) fn key(&self) -> PublicKey {
        self.key
    }

    /// A turn to be received, held until the request is in the node's hands.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // Its own first, so that a client that waits for itself is in nobody's way. No semaphore is ever closed.
        [
            self.requests.acquire().await.ok(),
            self.place_requests.acquire().await.ok(),
            self.clients.requests.acquire().await.ok(),
        ]
    }

    /// Its turns to upload.
    pub(super) fn uploads(&self) -> &Semaphore {
        &self.uploads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use denali_protocol::identity::KeyPair;

    #[test]
    fn one_place_gets_a_part_of_all_connections() {
        let clients = Arc::new(Clients::default());
        let arrive = |address: &str| clients.arrived(address.parse().unwrap());
        let all: Vec<_> = (0..CONNECTIONS_OF_PLACE).map(|n| arrive(&format!("2001:db8::{n:x}")).unwrap()).collect();
        assert!(arrive("2001:db8::ffff:1").is_none());
        assert!(arrive("2001:db8:0:1::1").is_some());
        let mapped = arrive("::ffff:192.0.2.1").unwrap();
        assert_eq!(mapped.place, "192.0.2.1".parse::<IpAddr>().unwrap());
        drop((all, mapped));
        assert!(clients.counts().places.is_empty());
    }

    #[test]
    fn a_connection_counts_until_it_ends_whatever_its_requests_do() {
        let clients = Arc::new(Clients::default());
        let arrival = clients.arrived("192.0.2.1".parse().unwrap()).unwrap();
        let key = KeyPair::from_seed(&[1; 32]).public();
        let mut all: Vec<_> = (0..CONNECTIONS_OF_ONE).map(|_| arrival.connected(key).unwrap()).collect();
        assert!(arrival.connected(key).is_none());
        let (_client, counted) = all.pop().unwrap();
        drop(counted);
        assert!(arrival.connected(key).is_some());
    }
}
