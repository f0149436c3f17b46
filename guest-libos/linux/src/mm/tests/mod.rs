//! Tests of the address space, on pages that check how they are used.

mod hostile;
mod machine;
mod model;
mod step;
mod unit;

/// As the end of the program does.
fn unmap_all<P: super::Pages>(space: &mut super::Space<P>) {
    let super::Areas { program, arena, reserve } = space.areas.clone();
    for range in [program, arena, reserve] {
        space.unmap(&range);
    }
}
