//! The keeper: one thread that does what no job should wait for. It makes virtual hardware before it is needed, destroys what
//! is not needed any more, both of which take longer than a small job; writes VMs to disk; and tells the node how things
//! are.

use super::{
    kernel::{Kernel, OVERHEAD_KIB},
    message::STATUS_INTERVAL,
    shelf::Shelf,
};
use crate::{
    kvm::Host,
    vm::{Hardware, HardwareError, Template},
};
use denali_abi::memory::PAGE_BYTES;
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Instant,
};

/// Chores that may wait. Who has more waits himself: then VMs end faster than they can be destroyed.
const CHORES: usize = 64;

/// What there is to do.
pub(super) enum Chore {
    /// Destroy this.
    Destroy(Box<dyn Send>),
    /// See to it that a shelf has fresh hardware.
    Stock(Arc<Shelf>),
    /// Memory is short.
    Relieve,
    /// Tell the node how things are, not too often.
    Tell,
    /// Close and drop what is of no more use.
    Tidy,
    /// The worker ends.
    Stop,
}

/// The keeper, as other threads see it.
#[derive(Clone)]
pub(super) struct Keeper(SyncSender<Chore>);

/// A keeper, and its chores for [`keep`].
pub(super) fn open() -> (Keeper, Receiver<Chore>) {
    let (sender, chores) = sync_channel(CHORES);
    (Keeper(sender), chores)
}

impl Keeper {
    /// Gives it a chore. Never call it with a lock held that the keeper takes.
    pub(super) fn give(&self, chore: Chore) {
        // The thread ends last of all.
        let _ = self.0.send(chore);
    }

    /// Sees to it that a shelf has fresh hardware, if there is time.
    pub(super) fn stock(&self, shelf: &Arc<Shelf>) {
        let _ = self.0.try_send(Chore::Stock(Arc::clone(shelf)));
    }
}

/// Does chores until it is told to stop.
pub(super) fn keep(kernel: &Kernel, chores: &Receiver<Chore>) {
    let mut tell_at: Option<Instant> = None;
    let mut relieve_at: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let chore = match [tell_at, relieve_at].into_iter().flatten().min() {
            Some(at) => chores.recv_timeout(at.saturating_duration_since(now)),
            None => chores.recv().map_err(RecvTimeoutError::from),
        };
        match chore {
            Ok(Chore::Destroy(hardware)) => {
                drop(hardware);
                kernel.destroyed();
            }
            Ok(Chore::Stock(shelf)) => {
                // Where memory is short, jobs do without.
                if kernel.may_stock()
                    && let Some((template, pages)) = shelf.wants_fresh()
                {
                    let kib = OVERHEAD_KIB + pages.len() as u64 * PAGE_BYTES / 1024;
                    // Where the host has no room for it, the next job finds out.
                    drop(shelf.restock(make(&kernel.host, &template, &pages).ok(), kib));
                }
            }
            Ok(Chore::Relieve) => relieve_at = Some(now),
            Ok(Chore::Tell) => tell_at = tell_at.or(Some(now + STATUS_INTERVAL)),
            Ok(Chore::Tidy) => kernel.tidy(),
            Ok(Chore::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if relieve_at.is_some_and(|at| at <= Instant::now()) {
            relieve_at = kernel.make_room();
            tell_at = tell_at.or(relieve_at.map(|_| now + STATUS_INTERVAL));
        }
        if tell_at.is_some_and(|at| at <= Instant::now()) {
            tell_at = None;
            kernel.tidy();
            kernel.tell_status();
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
