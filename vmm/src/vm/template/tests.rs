use super::{PARTS, merged};

#[test]
fn runs_that_are_close_are_joined_and_none_is_lost() {
    assert_eq!(
        merged(vec![0x1000..0x2000, 0x3000..0x4000, 0x10_0000..0x10_1000]),
        [0x1000..0x4000, 0x10_0000..0x10_1000]
    );
    let scattered: Vec<_> = (0..1000).map(|n| n * 0x20_0000..n * 0x20_0000 + 0x1000).collect();
    let joined = merged(scattered.clone());
    assert!(joined.len() <= PARTS);
    assert!(joined.windows(2).all(|pair| pair[0].end < pair[1].start));
    for run in scattered {
        assert!(joined.iter().any(|one| one.start <= run.start && run.end <= one.end), "{run:x?} is lost");
    }
}
