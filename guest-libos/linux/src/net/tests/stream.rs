//! A stream against a model: a queue of bytes.
use super::{STREAM, new, pair, receive};
use crate::{
    errno::Errno,
    fs::{Send, Stop},
};
use linux_raw_sys::net as abi;
use proptest::{collection::vec, prelude::*};
use std::collections::VecDeque;

#[derive(Debug, Clone)]
enum Step {
    Send(Vec<usize>),
    Receive(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![4 => 0..3000_usize, 1 => 0..150_000_usize];
    prop_oneof![
        vec(size(), 0..4).prop_map(Step::Send),
        (1..200_000_usize, prop::bool::weighted(0.2)).prop_map(|(count, peek)| Step::Receive(count, peek)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_come_out_as_they_went_in(steps in vec(step(), 1..60)) {
        let (mut fs, _) = new();
        let held = fs.held();
        let [one, other] = pair(&mut fs, STREAM);
        let (mut model, mut next) = (VecDeque::new(), 0_u8);
        for step in steps {
            match step {
                Step::Send(sizes) => {
                    let parts: Vec<Vec<u8>> = sizes.iter().map(|size| {
                        (0..*size).map(|_| { next = next.wrapping_mul(5).wrapping_add(3); next }).collect()
                    }).collect();
                    let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
                    let all = parts.concat();
                    let flags = abi::MSG_DONTWAIT;
                    match fs.send(one, &parts, &Send { flags, ..Send::default() }) {
                        Ok(count) => {
                            prop_assert!(count > 0 || all.is_empty());
                            model.extend(&all[..count]);
                        }
                        Err(stop) => {
                            prop_assert_eq!(stop, Stop::Error(Errno::EAGAIN));
                            prop_assert!(fs.held() - held > 100_000, "there is room for {} bytes", all.len());
                        }
                    }
                }
                Step::Receive(count, peek) => {
                    let flags = abi::MSG_DONTWAIT | if peek { abi::MSG_PEEK } else { 0 };
                    let wanted: Vec<u8> = model.iter().take(count).copied().collect();
                    if !peek {
                        model.drain(..wanted.len());
                    }
                    let expected = if wanted.is_empty() { Err(Errno::EAGAIN.into()) } else { Ok(wanted) };
                    prop_assert_eq!(receive(&mut fs, other, count, flags), expected);
                }
            }
            prop_assert!(fs.held() - held < 230 << 10, "no more than a buffer: {}", fs.held() - held);
        }
        fs.close_range(3, u32::MAX, 0).unwrap();
        prop_assert_eq!(fs.held(), held);
    }
}
