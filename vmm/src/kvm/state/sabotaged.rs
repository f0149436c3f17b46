//! A virtual CPU of which a part is left as it was.

use super::{CpuState, MXCSR, Registers};
use crate::sabotage::left_out;

impl CpuState {
    /// This state, but for what a test leaves out: that is as in `old`.
    pub(crate) fn sabotaged(&self, old: &Self) -> Self {
        let mut state = self.clone();
        let (rip, rflags) = (state.registers.rip, state.registers.rflags);
        if left_out!(GeneralRegisters) {
            state.registers = Registers { rip, rflags, ..old.registers };
        }
        if left_out!(Flags) {
            state.registers.rflags = old.registers.rflags;
        }
        let (new, old_system) = (&mut state.system, &old.system);
        if left_out!(Selectors) {
            for (new, old) in [
                (&mut new.ds, &old_system.ds),
                (&mut new.es, &old_system.es),
                (&mut new.fs, &old_system.fs),
                (&mut new.gs, &old_system.gs),
            ] {
                let base = new.base;
                *new = *old;
                new.base = base;
            }
        }
        if left_out!(Bases) {
            (new.fs.base, new.gs.base) = (old_system.fs.base, old_system.gs.base);
        }
        if left_out!(Mxcsr) {
            state.extended[MXCSR] = old.extended[MXCSR];
        }
        state
    }
}
