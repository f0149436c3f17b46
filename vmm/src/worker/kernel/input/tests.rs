use super::{INPUT_LOW, Inflow};
use crate::worker::source::Source;

fn source() -> Source {
    Source::of(tempfile::tempfile().expect("a file")).expect("a source")
}

#[test]
fn a_vm_asks_once_and_when_it_has_little() {
    let mut inflow = Inflow::Away { again: false };
    assert!(!inflow.give(source(), false));
    assert!(!inflow.is_wanted(INPUT_LOW));
    assert!(inflow.is_wanted(INPUT_LOW - 1));
    assert!(!inflow.is_wanted(0), "it has asked");
    assert!(inflow.take().is_some());
    assert!(!inflow.give(source(), false));
    assert!(inflow.is_wanted(0));
}

/// Else both would wait for the other.
#[test]
fn a_vm_that_asks_while_a_maker_has_the_input_is_heard() {
    let mut inflow = Inflow::Away { again: false };
    assert!(!inflow.is_wanted(0));
    assert!(inflow.give(source(), false), "it is read again");
    assert!(!inflow.is_wanted(0), "by who was told so");
}

#[test]
fn input_that_comes_while_a_maker_has_it_is_read() {
    let mut inflow = Inflow::Away { again: false };
    assert!(inflow.take().is_none());
    assert!(inflow.give(source(), true));
    assert!(inflow.take().is_some());
}

#[test]
fn what_waits_for_more_to_come_is_not_asked_for() {
    let mut inflow = Inflow::Away { again: false };
    assert!(!inflow.give(source(), true));
    assert!(!inflow.is_wanted(0));
    assert!(inflow.into_source().is_some());
    assert!(Inflow::Away { again: true }.into_source().is_none(), "its maker closes it");
}
