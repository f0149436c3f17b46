//! What is at hand for the next job of a bundle: the template that its VMs start from, and virtual hardware made before it
//! is needed.

use crate::{
    kvm::Host,
    vm::{Given, Hardware, HardwareError, Template, usual_rings_suffice},
};
use denali_protocol::receipt::StartPath;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Hardware kept of VMs that have ended.
const USED: usize = 16;

/// Hardware kept in which no job ran.
const FRESH: usize = 2;

/// KiB of memory that hardware without a VM takes, on shelves or on its way to be destroyed.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Arc<AtomicU64>);

impl Kept {
    pub(super) fn kib(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts so much more until what it gives is dropped.
    pub(super) fn charge(&self, kib: u64) -> Charge {
        self.0.fetch_add(kib, Ordering::Relaxed);
        Charge { kib, kept: self.clone() }
    }
}

/// A part of what is kept, as long as this lives.
#[derive(Debug)]
pub(super) struct Charge {
    kib: u64,
    kept: Kept,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.kept.0.fetch_sub(self.kib, Ordering::Relaxed);
    }
}

/// Hardware without a VM.
#[derive(Debug)]
pub(super) struct Spare {
    hardware: Hardware,
    _charge: Charge,
}

/// The shelf of one bundle.
#[derive(Debug)]
pub(super) struct Shelf {
    cold: Arc<Template>,
    kept: Kept,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    warm: Warm,
    starts: u64,
    /// Put back to what the current template is.
    used: Vec<Spare>,
    fresh: Vec<Spare>,
    /// Fresh hardware that is being made.
    coming: usize,
    /// Pages that a job made its own, for fresh hardware to have them mapped.
    touched: Vec<u64>,
    /// Nothing is kept any more: new jobs have another shelf.
    retired: bool,
}

/// Whether VMs start from a CHECKPOINT.
#[derive(Clone, Debug, Default)]
enum Warm {
    /// No one has tried.
    #[default]
    Untried,
    /// A VM is on its way to one.
    Trying,
    /// They do.
    Taken(Arc<Template>),
    /// The program makes none.
    Never,
}

/// Hardware for a job, and how to start it.
pub(super) struct Ready {
    pub(super) hardware: Hardware,
    pub(super) path: StartPath,
    pub(super) given: Given,
    /// Whether the job found it made.
    pub(super) made_before: bool,
}

impl Shelf {
    pub(super) fn new(template: Template, kept: Kept) -> Self {
        Self { cold: Arc::new(template), kept, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that the templates hold.
    pub(super) fn bytes(&self) -> u64 {
        let warm = match &self.state().warm {
            Warm::Taken(template) => template.image.bytes(),
            _ => 0,
        };
        self.cold.image.bytes() + warm
    }

    /// Hardware for a job with so much input, if there is some that is made: of an earlier job, if such a one will do
    /// (`reimage`), or fresh.
    pub(super) fn take_made(&self, input_bytes: u64, reimage: bool) -> Option<Ready> {
        let mut state = self.state();
        let usual = usual_rings_suffice(&self.cold, input_bytes);
        let template = match &state.warm {
            Warm::Taken(template) if usual => Arc::clone(template),
            Warm::Untried | Warm::Trying if usual => return None,
            _ => Arc::clone(&self.cold),
        };
        let (hardware, path) = state.find(&template, reimage)?;
        state.starts += 1;
        Some(Ready { hardware, path, given: Given::Job, made_before: true })
    }

    /// Hardware for such a job, made if need be.
    pub(super) fn take(&self, host: &Host, input_bytes: u64, reimage: bool) -> Result<Ready, HardwareError> {
        let (template, found, given) = {
            let mut state = self.state();
            state.starts += 1;
            let usual = usual_rings_suffice(&self.cold, input_bytes);
            let mut given = Given::Job;
            let template = match &state.warm {
                Warm::Taken(template) if usual => Arc::clone(template),
                // The second job of a bundle is a sign that there will be a third.
                Warm::Untried if usual && state.starts > 1 => {
                    state.warm = Warm::Trying;
                    given = Given::NothingYet;
                    Arc::clone(&self.cold)
                }
                _ => Arc::clone(&self.cold),
            };
            let found = state.find(&template, reimage);
            (template, found, given)
        };
        let made_before = found.is_some();
        let (hardware, path) = match found {
            Some(found) => found,
            None => match Hardware::new(host, &template) {
                Ok(hardware) => (hardware, StartPath::New),
                Err(error) => {
                    // Else no one would ever try again.
                    if given == Given::NothingYet {
                        self.untried();
                    }
                    return Err(error);
                }
            },
        };
        Ok(Ready { hardware, path, given, made_before })
    }

    /// Hardware made from this template, for a VM that comes back from disk.
    pub(super) fn take_for(
        &self,
        host: &Host,
        template: &Arc<Template>,
        reimage: bool,
    ) -> Result<Hardware, HardwareError> {
        let found = self.state().find(template, reimage);
        found.map_or_else(|| Hardware::new(host, template), |(hardware, _)| Ok(hardware))
    }

    /// VMs start from this copy from now on. Gives what is of no more use.
    pub(super) fn captured(&self, template: Template) -> Vec<Spare> {
        let mut state = self.state();
        state.warm = Warm::Taken(Arc::new(template));
        state.take_all()
    }

    /// The program makes no CHECKPOINT, or none that can be used.
    pub(super) fn never(&self) {
        self.state().warm = Warm::Never;
    }

    /// The VM that was to reach a CHECKPOINT ended on its way there, by no wish of its program: the next one tries again.
    pub(super) fn untried(&self) {
        self.state().warm = Warm::Untried;
    }

    /// Hardware as in the beginning, for the VM that was to reach a CHECKPOINT and did not.
    pub(super) fn cold(&self, host: &Host) -> Result<Hardware, HardwareError> {
        Hardware::new(host, &self.cold)
    }

    /// Keeps hardware that was put back and takes so much memory, or gives it back where it is of no use here.
    pub(super) fn keep(&self, hardware: Hardware, kib: u64) -> Option<Hardware> {
        let mut state = self.state();
        if state.used.len() >= USED || !self.wants(&state, &hardware) {
            return Some(hardware);
        }
        state.used.push(Spare { hardware, _charge: self.kept.charge(kib) });
        None
    }

    /// Whether it would help to know the pages of a job that ended.
    pub(super) fn wants_pages(&self) -> bool {
        let state = self.state();
        state.touched.is_empty() && state.starts > 1
    }

    /// The pages that a job made its own.
    pub(super) fn learn(&self, pages: Vec<u64>) {
        self.state().touched = pages;
    }

    /// The template to make fresh hardware from, and the pages to map in it, where there should be some: the caller makes it and calls
    /// [`Shelf::restock`].
    pub(super) fn wants_fresh(&self) -> Option<(Arc<Template>, Vec<u64>)> {
        let mut state = self.state();
        if state.starts < 2
            || state.retired
            || state.fresh.len() + state.coming >= FRESH
            || matches!(state.warm, Warm::Untried | Warm::Trying)
        {
            return None;
        }
        state.coming += 1;
        Some((self.current(&state), state.touched.clone()))
    }

    /// Takes fresh hardware, which takes so much memory, or the news that none could be made. Gives it back where it is of no use
    /// any more.
    pub(super) fn restock(&self, hardware: Option<Hardware>, kib: u64) -> Option<Hardware> {
        let mut state = self.state();
        state.coming -= 1;
        let hardware = hardware?;
        if !self.wants(&state, &hardware) {
            return Some(hardware);
        }
        state.fresh.push(Spare { hardware, _charge: self.kept.charge(kib) });
        None
    }

    /// One piece of what is on it, to be destroyed.
    pub(super) fn release(&self) -> Option<Spare> {
        let mut state = self.state();
        state.fresh.pop().or_else(|| state.used.pop())
    }

    /// Keeps nothing from now on. Gives everything on it, to be destroyed.
    pub(super) fn retire(&self) -> Vec<Spare> {
        let mut state = self.state();
        state.retired = true;
        state.take_all()
    }

    /// Whether it keeps nothing any more.
    #[cfg(test)]
    pub(super) fn is_retired(&self) -> bool {
        self.state().retired
    }

    fn wants(&self, state: &State, hardware: &Hardware) -> bool {
        !state.retired && Arc::ptr_eq(hardware.template(), &self.current(state))
    }

    fn current(&self, state: &State) -> Arc<Template> {
        match &state.warm {
            Warm::Taken(template) => Arc::clone(template),
            _ => Arc::clone(&self.cold),
        }
    }
}

impl State {
    /// Hardware as this template.
    fn find(&mut self, template: &Arc<Template>, reimage: bool) -> Option<(Hardware, StartPath)> {
        let used = if reimage { pop(&mut self.used, template) } else { None };
        match used {
            Some(hardware) => Some((hardware, StartPath::Reimaged)),
            None => pop(&mut self.fresh, template).map(|hardware| (hardware, StartPath::New)),
        }
    }

    fn take_all(&mut self) -> Vec<Spare> {
        self.used.drain(..).chain(self.fresh.drain(..)).collect()
    }
}

fn pop(shelf: &mut Vec<Spare>, template: &Arc<Template>) -> Option<Hardware> {
    shelf.pop_if(|spare| Arc::ptr_eq(spare.hardware.template(), template)).map(|spare| spare.hardware)
}
