//! Transfers in fragments: the same bytes and the same checksum, however they are cut.

use cascade_core::checksum::Crc32c;
use cascade_core::copy::{Copier, Fragment, Kernel, STREAM_FROM_BYTES};
use proptest::prelude::*;

const CASES: u32 = if cfg!(miri) { 4 } else { 128 };
const LONGEST_FRAGMENT: usize = if cfg!(miri) { 40 } else { 3_000 };

fn noise(len: usize) -> Vec<u8> {
    let mut state = 7_u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

/// Lays pieces of these lengths in one buffer, `gap` bytes apart and out of order; returns each one's offset.
fn scattered(lens: &[usize], gap: usize) -> (Vec<usize>, usize) {
    let mut offsets = vec![0; lens.len()];
    let mut end = gap;
    for i in (0..lens.len()).step_by(2).chain((1..lens.len()).step_by(2)) {
        offsets[i] = end;
        end += lens[i] + gap;
    }
    (offsets, end)
}

/// Gathers fragments into one buffer, scatters that into others, and returns both checksums.
fn round_trip(
    kernel: &'static Kernel,
    lens: &[usize],
    gap: usize,
    total_bytes: usize,
) -> (Vec<u8>, [Crc32c; 2]) {
    let (offsets, end) = scattered(lens, gap);
    let original = noise(end);
    let mut contiguous = vec![0; lens.iter().sum()];
    let mut back = vec![0x5a; end];
    let starts = lens.iter().scan(0, |at, len| {
        *at += len;
        Some(*at - len)
    });
    let places: Vec<_> =
        starts.zip(&offsets).zip(lens).map(|((start, &offset), &len)| (start, offset, len)).collect();

    let (middle, source) = (contiguous.as_mut_ptr(), original.as_ptr());
    let mut put = Copier::with_kernel(kernel, total_bytes, Crc32c::EMPTY);
    // SAFETY: the places lie within both buffers, which are distinct.
    unsafe {
        put.copy_fragments(places.iter().map(|&(start, offset, len)| Fragment {
            target: middle.add(start),
            source: source.add(offset),
            len,
        }));
    }
    let put = put.finish();

    let (target, middle) = (back.as_mut_ptr(), contiguous.as_ptr());
    let mut get = Copier::with_kernel(kernel, total_bytes, Crc32c::EMPTY);
    // SAFETY: the places lie within both buffers, which are distinct.
    unsafe {
        get.copy_fragments(places.iter().map(|&(start, offset, len)| Fragment {
            target: target.add(offset),
            source: middle.add(start),
            len,
        }));
    }
    let get = get.finish();

    let mut expected = vec![0x5a; end];
    for &(_, offset, len) in &places {
        expected[offset..offset + len].copy_from_slice(&original[offset..offset + len]);
    }
    assert!(back == expected, "{kernel:?}: a fragment is wrong, or a byte between fragments was written");
    (contiguous, [put, get])
}

#[test]
fn a_block_of_a_fragment_per_layer_keeps_one_checksum() {
    let shapes: &[(usize, usize)] = if cfg!(miri) { &[(4, 64)] } else { &[(48, 4_096), (160, 8_520)] };
    for &(fragments, fragment_bytes) in shapes {
        for kernel in Kernel::available() {
            let (contiguous, checksums) =
                round_trip(kernel, &vec![fragment_bytes; fragments], 64, fragments * fragment_bytes);
            assert_eq!(checksums, [Crc32c::EMPTY.update(&contiguous); 2], "{kernel:?}");
        }
    }
}

#[test]
fn a_header_and_its_payload_share_a_checksum() {
    let (header, payload) = (*b"key, rank, group, length", noise(2_000));
    let whole = Crc32c::EMPTY.update(&header).update(&payload);
    let mut target = vec![0; payload.len()];
    let mut copier = Copier::new(payload.len(), Crc32c::EMPTY.update(&header));
    copier.copy_slice(&mut target, &payload);
    assert_eq!(copier.finish(), whole);
    assert_eq!(Crc32c::from_value(whole.value()), whole);
}

#[test]
fn a_transfer_of_nothing_keeps_the_checksum_it_began_with() {
    let before = Crc32c::EMPTY.update(b"before");
    assert_eq!(Copier::new(0, before).finish(), before);
    let mut copier = Copier::new(0, before);
    copier.copy_slice(&mut [], &[]);
    // SAFETY: there is no fragment.
    unsafe { copier.copy_fragments([]) };
    assert_eq!(copier.finish(), before);
}

#[test]
#[should_panic(expected = "a copy has one length")]
fn slices_of_different_lengths_are_a_programmers_error() {
    Copier::new(2, Crc32c::EMPTY).copy_slice(&mut [0; 1], &[0; 2]);
}

/// Another core that sees the flag sees every byte: the fence of `finish` comes before the store behind it.
///
/// Every round has bytes of its own, so a stale one shows; the reader looks at the last lines first, as those are the
/// late ones. Without the fence this fails on x86-64 if the two threads run at once.
#[test]
#[cfg(not(miri))]
fn what_is_published_after_finish_is_complete() {
    use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    const LINE_BYTES: usize = 64;
    const LEN: usize = 16 * LINE_BYTES;
    const ROUNDS: u64 = 10_000;
    let target: Vec<AtomicU8> = (0..LEN + LINE_BYTES).map(|_| AtomicU8::new(0)).collect();
    let target = &target[target.as_ptr().addr().wrapping_neg() % LINE_BYTES..][..LEN];
    let (published, taken) = (AtomicU64::new(0), AtomicU64::new(0));
    let wait_for = |turn: &AtomicU64, round| {
        for spins in 1_u32.. {
            if turn.load(Ordering::Acquire) >= round {
                break;
            }
            if spins.is_multiple_of(1_000) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    };
    let torn = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut torn = 0;
            for round in 1..=ROUNDS {
                wait_for(&published, round);
                let is_stale = |byte: &AtomicU8| byte.load(Ordering::Relaxed) != round as u8;
                torn += u64::from(target.iter().rev().step_by(LINE_BYTES).any(is_stale));
                taken.store(round, Ordering::Release);
            }
            torn
        });
        for round in 1..=ROUNDS {
            let source = [round as u8; LEN];
            let mut copier = Copier::new(STREAM_FROM_BYTES, Crc32c::EMPTY);
            // SAFETY: the target is atomics, which may be written through a shared pointer; the reader waits its turn.
            unsafe { copier.copy(target.as_ptr().cast::<u8>().cast_mut(), source.as_ptr(), LEN) };
            let _ = copier.finish();
            published.store(round, Ordering::Release);
            wait_for(&taken, round);
        }
        reader.join().expect("the reader asserts nothing")
    });
    assert_eq!(torn, 0, "published before it was complete");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_bytes_and_checksum(
        lens in proptest::collection::vec(0..LONGEST_FRAGMENT, 0..20),
        gap in 0..100_usize,
    ) {
        for kernel in Kernel::available() {
            for total_bytes in [0, STREAM_FROM_BYTES] {
                let (contiguous, checksums) = round_trip(kernel, &lens, gap, total_bytes);
                prop_assert_eq!(checksums, [Crc32c::EMPTY.update(&contiguous); 2], "{:?}", kernel);
            }
        }
    }
}
