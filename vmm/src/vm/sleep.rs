//! An idle VM out of its hardware: its pages and its virtual CPU on disk, all else here.

use super::{Hardware, HardwareError, Template, Vm};
use crate::{
    kvm::{CpuState, Host},
    swap::{Page, Place, SwapError, SwapSpace},
};
use denali_abi::memory::PAGE_BYTES;
use denali_protocol::{
    codec,
    job::{Clock, Outcome, Usage},
};
use std::{ops::Range, sync::Arc, time::Instant};
use vm_memory::{Bytes, VolatileSlice};

/// A VM on disk.
pub(crate) struct Asleep {
    vm: Vm<Place>,
    template: Arc<Template>,
}

/// Why a VM can't be brought back. It is lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WakeError {
    #[error(transparent)]
    Swap(#[from] SwapError),
    #[error(transparent)]
    Hardware(#[from] HardwareError),
    #[error("there is no place any more where VMs sleep")]
    NoSpace,
    #[error("the image of a VM on disk has a page {0:#x} that it can't have")]
    Page(u64),
    #[error("the image of a VM on disk has no state of a virtual CPU: {0}")]
    State(#[from] codec::DecodeError),
}

/// Pages of the supervisor slot are numbered from here on.
const SUPERVISOR: u64 = 1 << 40;

impl Vm {
    /// Writes an idle VM to disk. Gives it back, whole, where there is no room; else its hardware, for others to use.
    pub(crate) fn sleep(
        mut self,
        host: &Host,
        space: &mut SwapSpace,
    ) -> Result<(Asleep, Hardware), (Box<Self>, SleepError)> {
        match self.store(host, space) {
            Ok(place) => {
                let template = Arc::clone(&self.hardware.template);
                let (hardware, vm) = self.exchange(place);
                Ok((Asleep { vm, template }, hardware))
            }
            Err(error) => Err((Box::new(self), error)),
        }
    }

    fn store(&mut self, host: &Host, space: &mut SwapSpace) -> Result<Place, SleepError> {
        let machine = &mut self.hardware.machine;
        machine.complete_exit();
        let state = codec::encode(&machine.state()?, STATE_BYTES)?;
        let memory = machine.memory();
        let (ram, supervisor) = (memory.private_ram(&host.pagemap)?, memory.private_supervisor(&host.pagemap)?);
        let pages = read(memory.ram(), ram, 0).chain(read(memory.supervisor(), supervisor, SUPERVISOR));
        Ok(space.store(self.id.0, &state, pages)?)
    }

    fn exchange<H>(self, hardware: H) -> (Hardware, Vm<H>) {
        exchange(self, hardware)
    }
}

/// Why a VM was not written. It is as before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SleepError {
    #[error(transparent)]
    Swap(#[from] SwapError),
    #[error(transparent)]
    Machine(#[from] crate::kvm::MachineError),
    #[error("the host does not tell which pages are a VM's own: {0}")]
    Pages(#[from] std::io::Error),
    #[error(transparent)]
    State(#[from] codec::EncodeError),
}

impl SleepError {
    /// Bytes in one piece that it needs on disk at the least, where that is why; else 0.
    pub(crate) fn needed(&self) -> u64 {
        match self {
            Self::Swap(SwapError::Full { needed, .. }) => *needed,
            _ => 0,
        }
    }
}

impl Asleep {
    /// What its hardware must be made from.
    pub(crate) fn template(&self) -> &Arc<Template> {
        &self.template
    }

    /// What the VM used until it went to sleep.
    pub(crate) fn usage(&self) -> Usage {
        self.vm.usage()
    }

    /// When its wall time is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.vm.deadline()
    }

    /// Why it ends without being brought back, once its wall time is over.
    pub(crate) fn over(&self) -> Option<Outcome> {
        let over = self.vm.deadline().is_some_and(|deadline| deadline <= Instant::now());
        over.then_some(Outcome::TimeLimit { clock: Clock::Wall, limit_us: self.vm.limits.wall_time_us })
    }

    /// It will not be brought back. Gives what it used.
    pub(crate) fn forget(self, space: &mut SwapSpace) -> Usage {
        let (place, vm) = exchange(self.vm, ());
        space.free(place);
        vm.usage()
    }

    /// Reads it from the disk, into hardware that is as its template.
    pub(crate) fn load(self, hardware: Hardware, space: &mut SwapSpace) -> Result<Loaded, WakeError> {
        let (place, vm) = exchange(self.vm, ());
        let mut bad = None;
        let mut supervisor = Vec::new();
        let ram = hardware.machine.memory().ram();
        let state = space.load(place, vm.id.0, |number, page| {
            if number >= SUPERVISOR {
                supervisor.push((number - SUPERVISOR, Box::new(*page)));
            } else if number.checked_mul(PAGE_BYTES).is_none_or(|at| ram.write_slice(page, at as usize).is_err()) {
                bad = Some(number);
            }
        })?;
        if let Some(number) = bad {
            return Err(WakeError::Page(number));
        }
        let state = codec::decode(&state, STATE_BYTES)?;
        Ok(Loaded { vm, hardware, supervisor, state })
    }
}

/// A VM that was read from the disk.
pub(crate) struct Loaded {
    vm: Vm<()>,
    hardware: Hardware,
    /// Pages of the supervisor slot, by their numbers.
    supervisor: Vec<(u64, Box<Page>)>,
    state: CpuState,
}

impl Loaded {
    /// Brings it back. Its page tables are written by the VM itself, which takes its time where there are many: nothing that
    /// others wait for is held.
    pub(crate) fn wake(mut self) -> Result<Vm, WakeError> {
        for (number, page) in self.supervisor {
            self.hardware.write_supervisor(number * PAGE_BYTES, &page)?;
        }
        self.hardware.machine.set_state(&self.state).map_err(HardwareError::from)?;
        Ok(exchange(self.vm, self.hardware).1)
    }
}

/// Most bytes of a virtual CPU's state.
const STATE_BYTES: usize = crate::swap::STATE_BYTES_MAX;

fn read(memory: VolatileSlice<'_>, runs: Vec<Range<u64>>, base: u64) -> impl Iterator<Item = (u64, Page)> {
    runs.into_iter().flat_map(|run| run.step_by(PAGE_BYTES as usize)).map(move |at| {
        let mut page = [0; PAGE_BYTES as usize];
        // The runs are of this very memory, so this can't fail.
        let _ = memory.read_slice(&mut page, at as usize);
        (base + at / PAGE_BYTES, page)
    })
}

fn exchange<A, B>(vm: Vm<A>, hardware: B) -> (A, Vm<B>) {
    let Vm {
        id,
        hardware: before,
        gateway,
        withheld,
        limits,
        exits,
        phase,
        changing,
        seen,
        told,
        clock_zero,
        path,
        begun,
        start,
        entered,
        cpu,
        memory_peak_kib,
    } = vm;
    let after = Vm {
        id,
        hardware,
        gateway,
        withheld,
        limits,
        exits,
        phase,
        changing,
        seen,
        told,
        clock_zero,
        path,
        begun,
        start,
        entered,
        cpu,
        memory_peak_kib,
    };
    (before, after)
}
