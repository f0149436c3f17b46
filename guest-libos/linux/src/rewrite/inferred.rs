//! Extents of functions where no table tells them: between the addresses that are called.

use super::functions::Functions;
use super::step::Stepper;
use super::text::Text;

/// Largest text that is decoded as a whole for this, bytes: some 10 ms. Programs without any table are small ones, made with musl.
const LARGEST: usize = 1 << 20;

impl Functions {
    /// Each address that is called begins a function. One that is only called through pointers counts as part of the one before
    /// it, so that extents are too large rather than too small: what holds for an extent holds for each function in it. None reaches
    /// into a function of `known`.
    pub(super) fn inferred(text: Text<'_>, known: &Self) -> Self {
        if text.bytes().len() > LARGEST {
            return Self::unknown();
        }
        let mut stepper = Stepper::new(text);
        let mut starts = alloc::vec![text.address(), text.end()];
        starts.extend(known.ends().filter(|end| text.position(*end).is_some()));
        let mut address = text.address();
        while address < text.end() {
            // Data among code: decoding gets into step again by itself.
            address = stepper.at(address).map_or(address + 1, |step| {
                starts.extend(step.target.filter(|target| step.calls && text.position(*target).is_some()));
                step.end()
            });
        }
        starts.sort_unstable();
        Self::new(starts.windows(2).filter_map(|pair| Some(*pair.first()?..*pair.last()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn called_addresses_bound_functions() {
        // call 0x1008; jmp 0x100a; ret; ret
        let bytes = [0xe8, 3, 0, 0, 0, 0xeb, 3, 0xc3, 0xc3, 0x90, 0xc3];
        let functions =
            Functions::inferred(Text::new(0x1000, &bytes).unwrap(), &Functions::new(core::iter::once(0x1005..0x1006)));
        assert_eq!(functions.around(0x1004), Some(0x1000..0x1005));
        assert_eq!(functions.around(0x1007), Some(0x1006..0x1008));
        assert_eq!(functions.around(0x100a), Some(0x1008..0x100b));
    }
}
