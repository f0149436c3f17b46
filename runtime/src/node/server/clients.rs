//! Who is connected, and what each client may have under way at once.

use denali_protocol::identity::PublicKey;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Connections in all.
const CONNECTIONS: usize = 1024;

/// Connections of one client.
const CONNECTIONS_OF_ONE: usize = 64;

/// Requests of one client that are being received at once. More wait their turn.
const REQUESTS: usize = 64;

/// Requests of all clients that are being received at once: a frame and a small input each are in memory.
const ALL_REQUESTS: usize = 1024;

/// Uploads of one client to the disk at once. More wait their turn.
const UPLOADS: usize = 8;

#[derive(Debug)]
struct Held {
    connections: usize,
    uploads: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// All clients that are connected.
#[derive(Debug)]
pub(super) struct Clients {
    held: Mutex<(usize, HashMap<PublicKey, Held>)>,
    requests: Semaphore,
}

impl Default for Clients {
    fn default() -> Self {
        Self { held: Mutex::default(), requests: Semaphore::new(ALL_REQUESTS) }
    }
}

/// A turn to be received.
pub(super) type Turn<'a> = (Option<SemaphorePermit<'a>>, Option<SemaphorePermit<'a>>);

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Client {
    key: PublicKey,
    clients: Arc<Clients>,
    uploads: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

impl Clients {
    fn held(&self) -> MutexGuard<'_, (usize, HashMap<PublicKey, Held>)> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection of `key`; nothing where there are too many.
    pub(super) fn connected(self: &Arc<Self>, key: PublicKey) -> Option<Client> {
        let (all, clients) = &mut *self.held();
        let own = clients.get(&key).map_or(0, |held| held.connections);
        if *all >= CONNECTIONS || own >= CONNECTIONS_OF_ONE {
            return None;
        }
        *all += 1;
        let held = clients.entry(key).or_insert_with(|| Held {
            connections: 0,
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            requests: Arc::new(Semaphore::new(REQUESTS)),
        });
        held.connections += 1;
        let (uploads, requests) = (Arc::clone(&held.uploads), Arc::clone(&held.requests));
        Some(Client { key, clients: Arc::clone(self), uploads, requests })
    }
}

impl Client {
    /// Its key.
    pub(super) fn key(&self) -> PublicKey {
        self.key
    }

    /// A turn to be received, held until the request is in the node's hands.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // Its own first, so that a client that waits for itself is in nobody's way. Neither semaphore is ever closed.
        (self.requests.acquire().await.ok(), self.clients.requests.acquire().await.ok())
    }

    /// Its turns to upload.
    pub(super) fn uploads(&self) -> &Semaphore {
        &self.uploads
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let (all, clients) = &mut *self.clients.held();
        *all -= 1;
        if let Some(held) = clients.get_mut(&self.key) {
            held.connections -= 1;
            if held.connections == 0 {
                clients.remove(&self.key);
            }
        }
    }
}
