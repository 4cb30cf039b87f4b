//! The governor against a plain account: what passed in a span of time is never more than it may be, and never much less.
#![cfg(not(loom))]

use cascade_core::governor::{Governor, Rate, Urgency};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const NONE: Rate = Rate { per_s: 0, burst: 1 };

#[test]
fn without_a_rate_everything_passes() {
    let mut governor = Governor::new(NONE, NONE);
    assert!((0..1000).all(|_| governor.admit(0, Urgency::Ahead, u64::MAX)));
    assert_eq!(governor.wait_ns(0, Urgency::Ahead), 0);
}

#[test]
fn a_piece_larger_than_the_bucket_passes_and_is_paid_for_afterwards() {
    let mut governor = Governor::new(Rate { per_s: 100, burst: 100 }, NONE);
    assert!(governor.admit(0, Urgency::Waited, 1000));
    assert!(!governor.admit(8 * SECOND, Urgency::Waited, 1));
    assert_eq!(governor.wait_ns(8 * SECOND, Urgency::Waited), SECOND + SECOND / 100);
    assert!(governor.admit(9 * SECOND + SECOND / 100, Urgency::Waited, 1));
}

#[test]
fn who_waits_goes_before_the_background_and_that_before_what_is_ahead_of_need() {
    let mut governor = Governor::new(Rate { per_s: 100, burst: 100 }, NONE);
    let admitted =
        |governor: &mut Governor, urgency| (0..200).filter(|_| governor.admit(0, urgency, 1)).count();
    assert_eq!(admitted(&mut governor, Urgency::Ahead), 50);
    assert_eq!(admitted(&mut governor, Urgency::Background), 25);
    assert_eq!(admitted(&mut governor, Urgency::Waited), 25);
}

#[test]
fn operations_are_counted_beside_bytes() {
    let mut governor = Governor::new(Rate { per_s: 1 << 40, burst: 1 << 40 }, Rate { per_s: 10, burst: 10 });
    assert_eq!((0..100).filter(|_| governor.admit(0, Urgency::Waited, 1)).count(), 10);
    assert!(governor.wait_ns(0, Urgency::Waited) >= SECOND / 10);
}

proptest! {
    #[test]
    fn in_any_span_no_more_passes_than_burst_and_rate_and_one_more(
        per_s in 1u64..1_000_000,
        burst in 1u64..10_000,
        asks in prop::collection::vec((0u64..SECOND, 1u64..5_000), 1..200),
    ) {
        let mut governor = Governor::new(Rate { per_s, burst }, NONE);
        let mut now = 0;
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (pause, bytes) in asks {
            now += pause;
            if governor.admit(now, Urgency::Waited, bytes) {
                passed.push((now, bytes));
            } else {
                let wait = governor.wait_ns(now, Urgency::Waited);
                prop_assert!(wait > 0);
                let mut later = governor.clone();
                prop_assert!(later.admit(now + wait, Urgency::Waited, bytes), "waited as long as it was told");
            }
        }
        for first in 0..passed.len() {
            let mut sum = 0u128;
            for &(at, bytes) in &passed[first..] {
                let span = u128::from(at - passed[first].0);
                prop_assert!(sum <= u128::from(burst) + span * u128::from(per_s) / u128::from(SECOND) + 1);
                sum += u128::from(bytes);
            }
        }
    }
}
