//! The keeper: one thread that makes virtual hardware before it is needed and destroys what is not needed any more, so that
//! no job waits for either. Both take longer than a small job.

use super::{AbortOnPanic, shelf::Shelf};
use crate::{
    gateway::{Feed, Sink},
    kvm::{Alarm, Host, forget_interruption},
    vm::{Assignment, Given, Hardware, HardwareError, Stop, Template, Vm},
};
use denali_protocol::{
    job::{Channel, Limits, VmId},
    receipt::StartPath,
};
use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Chores that may wait. Who has more waits himself: then VMs end faster than they can be destroyed.
const CHORES: usize = 64;

/// How long a guest may run, without a job, to touch the pages that it needs at its start.
const WARM_UP: Duration = Duration::from_millis(2);

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
            // Without an alarm no guest is run here, and first runs are slower.
            keep(&host, Alarm::new().ok().as_ref(), &chores);
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

fn keep(host: &Host, alarm: Option<&Alarm>, chores: &Receiver<Chore>) {
    while let Ok(chore) = chores.recv() {
        match chore {
            Chore::Destroy(hardware) => drop(hardware),
            Chore::Stock(shelf) => {
                if let Some(template) = shelf.wants_fresh() {
                    // Where the host has no room for it, the next job finds out.
                    drop(shelf.restock(make(host, &template, alarm).ok()));
                }
            }
        }
    }
}

/// Makes hardware whose pages that every run of this guest touches are mapped: the guest is let run until it waits for its
/// job, and everything that it did is undone. No job was ever in it.
pub(crate) fn make(host: &Host, template: &Arc<Template>, alarm: Option<&Alarm>) -> Result<Hardware, HardwareError> {
    let hardware = Hardware::new(host, template)?;
    let Some(alarm) = alarm else { return Ok(hardware) };
    let limits = Limits {
        memory_bytes: template.image.memory_bytes,
        cpu_time_us: 1 << 40,
        wall_time_us: 1 << 40,
        output_bytes: 0,
    };
    let no_job =
        Assignment { vm: VmId(0), arguments: Vec::new(), limits, input: Feed::messages(), sink: Box::new(Nowhere) };
    let mut frame = Vec::new();
    let mut vm = Vm::start(host, hardware, no_job, StartPath::New, Given::NothingYet, Instant::now(), &mut frame)?;
    forget_interruption();
    if let Stop::Ended(_) = vm.run(alarm, WARM_UP, &mut frame) {
        // A guest that can't even wait for its job. What it may have left is no start for one.
        return Hardware::new(host, template);
    }
    let mut hardware = vm.into_hardware();
    hardware.reset(&host.pagemap)?;
    Ok(hardware)
}

/// Where the output of a guest without a job goes.
struct Nowhere;

impl Sink for Nowhere {
    fn output(&mut self, _channel: Channel, _bytes: &[u8]) {}

    fn progress(&mut self, _permille: u16) {}
}
