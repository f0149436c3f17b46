use super::Pool;
use crate::mm::PAGE_BYTES;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const PAGES: u64 = 40;
const POOL: u64 = 0x80_0000;
const RESERVE: u64 = 1 << 40;

proptest! {
    /// Each page is behind one address, and is said to be zeros only until it was behind some.
    #[test]
    fn no_page_is_given_twice(steps in prop::collection::vec((any::<bool>(), 0..60u64, 1..20u64), 0..60)) {
        let at = |base: u64, n: u64| base + n * PAGE_BYTES;
        let mut pool = Pool::new(&(POOL..at(POOL, PAGES)));
        let (mut behind, mut used) = (BTreeMap::new(), BTreeSet::new());
        for (take, first, count) in steps {
            let range = at(RESERVE, first)..at(RESERVE, first + count);
            let addresses: Vec<_> = (first..first + count).map(|n| at(RESERVE, n)).collect();
            if !take {
                pool.give(&range);
                behind.retain(|address, _| !addresses.contains(address));
                continue;
            }
            if addresses.iter().any(|address| behind.contains_key(address)) {
                continue;
            }
            let pieces = pool.take(&range);
            prop_assert_eq!(pieces.is_some(), behind.len() as u64 + count <= PAGES);
            let mut next = range.start;
            for piece in pieces.into_iter().flatten() {
                prop_assert_eq!(piece.address, next);
                for page in piece.pages.step_by(PAGE_BYTES as usize) {
                    prop_assert!((POOL..at(POOL, PAGES)).contains(&page));
                    prop_assert!(behind.values().all(|taken| *taken != page));
                    prop_assert_eq!(piece.zeroed, used.insert(page));
                    behind.insert(next, page);
                    next += PAGE_BYTES;
                }
            }
        }
    }
}
