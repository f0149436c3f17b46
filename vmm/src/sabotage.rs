//! Parts of starting over, and of fault reports, that a test can leave out, to show that the leak suite (`vm::leaks`) or an
//! attack (`attack`) notices. Only [`left_out`] is there in other builds, and always `false`.

/// Whether a test left out this [`Item`].
#[cfg(test)]
macro_rules! left_out {
    ($item:ident) => {
        crate::sabotage::is_left_out(crate::sabotage::Item::$item)
    };
}

/// Nothing is left out.
#[cfg(not(test))]
macro_rules! left_out {
    ($item:ident) => {
        false
    };
}

pub(crate) use left_out;

#[cfg(test)]
pub(crate) use switches::{Item, is_left_out, sabotaged};

#[cfg(test)]
mod switches {
    use std::cell::Cell;

    /// What can be left out.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Item {
        /// The general registers but for the instruction pointer.
        GeneralRegisters,
        /// The flags.
        Flags,
        /// The selectors of the data segments.
        Selectors,
        /// The bases of FS and GS.
        Bases,
        /// x87, SSE, AVX and whatever else XSAVE knows.
        Extended,
        /// MXCSR alone.
        Mxcsr,
        /// Private pages that come from the image.
        ImagePages,
        /// Private pages that were zero.
        ZeroPages,
        /// The control page.
        ControlPage,
        /// All private pages but the control page.
        Memory,
        /// Page rights, and the window.
        PageRights,
        /// The window alone.
        Window,
        /// The virtual registers.
        VirtualRegisters,
        /// The ring positions among them.
        RingPositions,
        /// The random seed among them.
        RandomSeed,
        /// The generation among them.
        Generation,
        /// The address in the report of a page fault.
        FaultAddress,
        /// The address of the instruction in the report of an exception.
        FaultInstruction,
    }

    thread_local! {
        static LEFT_OUT: Cell<Option<Item>> = const { Cell::new(None) };
    }

    /// Whether this is what the calling thread leaves out.
    pub(crate) fn is_left_out(item: Item) -> bool {
        LEFT_OUT.get() == Some(item)
    }

    /// Does something with an item left out.
    pub(crate) fn sabotaged<T>(item: Item, work: impl FnOnce() -> T) -> T {
        LEFT_OUT.set(Some(item));
        let done = work();
        LEFT_OUT.set(None);
        done
    }
}
