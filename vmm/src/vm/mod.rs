//! One Denali VM: built from an image for one job, run to its end, destroyed.
//!
//! The thread that calls [`Vm::run`] runs the virtual CPU. Whoever else has to do with the VM (the attendant that looks
//! at rings and limits, a cancel) reaches it through its [`Door`].

mod build;
mod door;
mod fault;
mod protect;
mod run;

pub(crate) use build::{Assignment, BuildError};
use door::Phase;
pub(crate) use door::{Door, LOOK_INTERVAL};

use crate::kvm::VirtualMachine;
use denali_protocol::job::{Exits, Limits, VmId};
use std::{fs::File, sync::Arc, time::Instant};

/// A VM that has not run yet.
#[derive(Debug)]
pub(crate) struct Vm {
    id: VmId,
    machine: VirtualMachine,
    door: Arc<Door>,
    limits: Limits,
    exits: Exits,
    pagemap: Arc<File>,
    /// Whether KICK goes to the door's doorbell.
    has_doorbell: bool,
    /// When building it began.
    begun: Instant,
    /// Zero of the VM's clock.
    clock_zero: Instant,
}

impl Vm {
    /// Its name.
    pub(crate) fn id(&self) -> VmId {
        self.id
    }

    /// Its door.
    pub(crate) fn door(&self) -> &Arc<Door> {
        &self.door
    }
}
