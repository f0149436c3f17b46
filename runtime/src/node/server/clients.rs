//! Who is connected, and what each client may have under way at once.

use denali_protocol::identity::PublicKey;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Semaphore;

/// Connections in all.
const CONNECTIONS: usize = 8192;

/// Connections of one client.
const CONNECTIONS_OF_ONE: usize = 64;

/// Uploads of one client to the disk at once. More wait their turn.
const UPLOADS: usize = 8;

#[derive(Debug)]
struct Held {
    connections: usize,
    uploads: Arc<Semaphore>,
}

/// All clients that are connected.
#[derive(Debug, Default)]
pub(super) struct Clients {
    held: Mutex<(usize, HashMap<PublicKey, Held>)>,
}

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Client {
    key: PublicKey,
    clients: Arc<Clients>,
    uploads: Arc<Semaphore>,
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
        let held =
            clients.entry(key).or_insert_with(|| Held { connections: 0, uploads: Arc::new(Semaphore::new(UPLOADS)) });
        held.connections += 1;
        Some(Client { key, clients: Arc::clone(self), uploads: Arc::clone(&held.uploads) })
    }
}

impl Client {
    /// Its key.
    pub(super) fn key(&self) -> PublicKey {
        self.key
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
