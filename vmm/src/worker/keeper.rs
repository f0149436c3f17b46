//! The keeper: one thread that makes virtual hardware before it is needed and destroys what is not needed any more, so that
//! no job waits for either. Both take longer than a small job.

use super::{AbortOnPanic, shelf::Shelf};
use crate::{
    kvm::Host,
    vm::{Hardware, HardwareError, Template},
};
use denali_abi::memory::PAGE_BYTES;
use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

/// Chores that may wait. Who has more waits himself: then VMs end faster than they can be destroyed.
const CHORES: usize = 64;

enum Chore {
    Destroy(Box<Hardware>),
    Stock(Arc<Shelf>),
}

/// The keeper, as other threads see it.
#[derive(Clone)]
pub(super) struct Keeper(SyncSender<Chore>);

impl Keeper {
    /// Starts the thread. It ends when no one can give it chores any more.
    pub(super) fn start(host: Arc<Host>) -> io::Result<Self> {
        let (sender, chores) = sync_channel(CHORES);
        thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            let _guard = AbortOnPanic;
            keep(&host, &chores);
        })?;
        Ok(Self(sender))
    }

    /// Destroys hardware, some time.
    pub(super) fn destroy(&self, hardware: Hardware) {
        // The thread ends only after all senders.
        let _ = self.0.send(Chore::Destroy(Box::new(hardware)));
    }

    /// Sees to it that a shelf has fresh hardware, if there is time.
    pub(super) fn stock(&self, shelf: &Arc<Shelf>) {
        let _ = self.0.try_send(Chore::Stock(Arc::clone(shelf)));
    }
}

fn keep(host: &Host, chores: &Receiver<Chore>) {
    while let Ok(chore) = chores.recv() {
        match chore {
            Chore::Destroy(hardware) => drop(hardware),
            Chore::Stock(shelf) => {
                if let Some((template, pages)) = shelf.wants_fresh() {
                    // Where the host has no room for it, the next job finds out.
                    drop(shelf.restock(make(host, &template, &pages).ok()));
                }
            }
        }
    }
}

/// Makes hardware in which `pages`, those that an earlier job of the same bundle made its own, and all of the image are
/// mapped before it is needed. No job was ever in it.
pub(crate) fn make(host: &Host, template: &Arc<Template>, pages: &[u64]) -> Result<Hardware, HardwareError> {
    let mut hardware = Hardware::new(host, template)?;
    let image = template.image.ram.iter().flat_map(|part| part.pages.clone().step_by(PAGE_BYTES as usize));
    let pages: Vec<u64> = pages.iter().copied().chain(image).collect();
    hardware.touch(&pages)?;
    hardware.reset(&host.pagemap)?;
    Ok(hardware)
}
