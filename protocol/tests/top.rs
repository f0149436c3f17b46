//! What a node says of itself: it fits a frame, and its durations can be read.

use denali_protocol::{
    identity::PublicKey,
    limits::TOP_CLIENTS,
    wire::{
        frame,
        message::{Response, Top},
        top::{Durations, Share},
    },
};

#[test]
fn the_longest_answer_fits_a_frame() {
    let most = Share {
        workers: u32::MAX,
        runnable: u64::MAX,
        running: u64::MAX,
        idle: u64::MAX,
        swapped: u64::MAX,
        memory_bytes: u64::MAX,
        swap_bytes: u64::MAX,
        cpu_us: u64::MAX,
        jobs_queued: u32::MAX,
        jobs_running: u32::MAX,
        jobs_ended: u64::MAX,
        jobs_lost: u64::MAX,
    };
    let by_client = Some(vec![(PublicKey([0xff; 32]), most); TOP_CLIENTS]);
    let top = Response::Top(Box::new(Top { by_client, wake: Durations([u64::MAX; 32]), ..Top::default() }));
    let bytes = frame::encode(&top).unwrap();
    assert_eq!(frame::decode::<Response>(&bytes[frame::HEADER_BYTES..]).unwrap(), top);
}

#[test]
fn quantiles_are_within_their_places() {
    assert_eq!(Durations::default().quantile_us(500), None);
    // Ninety-nine of 16 to 31 µs, one of 1024 to 2047.
    let mut durations = Durations::default();
    (durations.0[5], durations.0[11]) = (99, 1);
    let quantile = |permille| durations.quantile_us(permille).unwrap();
    assert!((16..=24).contains(&quantile(500)) && (30..=32).contains(&quantile(990)), "{}", quantile(990));
    assert_eq!((quantile(0), quantile(1000), quantile(5000)), (16, 2048, 2048));
    assert_eq!(durations.since(&durations).count(), 0);
    // Any numbers can come.
    let absurd = Durations([u64::MAX; 32]);
    assert_eq!(absurd.count(), u64::MAX);
    assert!(absurd.quantile_us(500).is_some() && absurd.since(&durations).count() > 0);
}
