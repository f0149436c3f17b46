//! Job names, index ranges, outcomes, and the digest of outputs.

mod any;

use denali_protocol::{
    digest::Digest,
    job::{Channel, ChannelDigest, Clock, Indices, IndicesError, JobId, Outcome, OutputDigests, ParseJobIdError},
    limits::ARRAY_JOBS,
};
use proptest::prelude::*;
use std::collections::HashSet;

proptest! {
    #[test]
    fn a_job_id_keeps_its_text(text in "[A-Za-z0-9][A-Za-z0-9._-]{0,63}") {
        prop_assert_eq!(text.parse::<JobId>().unwrap().to_string(), text);
    }

    #[test]
    fn a_job_id_with_another_character_is_refused(before in "[a-z]{1,3}", other in "[^A-Za-z0-9._-]", after in "[a-z]{0,3}") {
        prop_assert_eq!(format!("{before}{other}{after}").parse::<JobId>(), Err(ParseJobIdError));
    }

    #[test]
    fn a_range_holds_what_it_counts(first: u32, more in 0..ARRAY_JOBS) {
        let last = first.saturating_add(more);
        let indices: Indices = format!("{first}-{last}").parse().unwrap();
        prop_assert_eq!(indices, Indices { first, last });
        prop_assert_eq!(indices.iter().count(), indices.count() as usize);
        prop_assert!(indices.iter().all(|index| indices.contains(index)));
        prop_assert!(first == 0 || !indices.contains(first - 1));
        prop_assert!(last == u32::MAX || !indices.contains(last + 1));
    }

    #[test]
    fn other_outputs_have_another_digest(a in any::outputs(), b in any::outputs()) {
        prop_assert_eq!(a == b, a.digest() == b.digest());
    }
}

#[test]
fn job_ids_at_the_edges() {
    assert!("x".repeat(64).parse::<JobId>().is_ok());
    for refused in ["", ".", "-a", "_a", "a b", "a/b", "a\0", "é", &"x".repeat(65)] {
        assert_eq!(refused.parse::<JobId>(), Err(ParseJobIdError), "{refused:?}");
    }
}

#[test]
fn ranges_at_the_edges() {
    assert_eq!("7".parse(), Ok(Indices { first: 7, last: 7 }));
    assert_eq!("0-99999".parse::<Indices>().map(|i| i.count()), Ok(ARRAY_JOBS));
    assert_eq!("0-100000".parse::<Indices>(), Err(IndicesError::TooMany { jobs: 100_001 }));
    assert_eq!("0-4294967295".parse::<Indices>(), Err(IndicesError::TooMany { jobs: 1 << 32 }));
    assert_eq!("2-1".parse::<Indices>(), Err(IndicesError::Backwards));
    for refused in ["", "-", "1-", "-1", "+1", "0-+1", "a", "1-2-3", " 1", "4294967296"] {
        assert_eq!(refused.parse::<Indices>(), Err(IndicesError::Syntax), "{refused:?}");
    }
}

#[test]
fn the_digest_of_outputs_is_the_one_stated() {
    let digest = Digest::of(b"x");
    let one = |channel| OutputDigests(vec![ChannelDigest { channel, bytes: 5, digest }]).digest();
    let stated = |kind: u64, name: &[u8]| {
        let numbers = [1, kind, name.len() as u64].map(u64::to_le_bytes).concat();
        Digest::of(&[&numbers, name, &5_u64.to_le_bytes(), &digest.0].concat())
    };
    assert_eq!(one(Channel::Output), stated(0, b""));
    assert_eq!(one(Channel::Error), stated(1, b""));
    assert_eq!(one(Channel::File("f".to_owned())), stated(2, b"f"));
    assert_eq!(OutputDigests::default().digest(), Digest::of(&[0; 8]));
}

#[test]
fn exit_statuses_and_words_are_those_documented() {
    let limit = Outcome::TimeLimit { clock: Clock::Wall, limit_us: 1_500_000 };
    assert_eq!(limit.to_string(), "reached its limit of 1500 ms wall time");
    let outcomes = [
        (Outcome::Exited(3), 3, "exited"),
        (limit, 124, "time-limit"),
        (Outcome::MemoryLimit { limit_bytes: 1 }, 137, "memory-limit"),
        (Outcome::OutputLimit { limit_bytes: 1 }, 137, "output-limit"),
        (Outcome::Cancelled, 125, "cancelled"),
        (Outcome::Unstartable(String::new()), 125, "unstartable"),
        (Outcome::Lost(String::new()), 125, "lost"),
    ];
    let words: HashSet<_> = outcomes.iter().map(|(outcome, ..)| outcome.word()).collect();
    assert_eq!(words.len(), outcomes.len());
    for (outcome, status, word) in outcomes {
        assert_eq!((outcome.exit_status(), outcome.word()), (status, word));
    }
}
