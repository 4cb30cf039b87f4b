//! Every kernel that runs here, against a model that knows nothing but the polynomial.

use cascade_core::checksum::Crc32c;
use cascade_core::copy::{self, Copier, Kernel, STREAM_FROM_BYTES, checksum_with};
use proptest::prelude::*;

/// CRC32C bit by bit, from its definition.
fn model(bytes: &[u8]) -> u32 {
    let mut register = u32::MAX;
    for &byte in bytes {
        register ^= u32::from(byte);
        for _ in 0..8 {
            register = (register >> 1) ^ if register & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !register
}

/// Bytes without a period that a lane or a fold could hide behind.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

/// Miri interprets every byte.
const CASES: u32 = if cfg!(miri) { 4 } else { 256 };
const LONGEST: usize = if cfg!(miri) { 300 } else { 20_000 };
/// On each side of a target; no byte of it may change.
const GUARD_BYTES: usize = 128;
const GUARD: u8 = 0xa5;

/// Copies `source` to an address that is `target_skew` past a line, and checks everything but the checksum.
fn copy_between_guards(
    kernel: &'static Kernel,
    source: &[u8],
    target_skew: usize,
    total_bytes: usize,
    before: Crc32c,
) -> Crc32c {
    let mut room = vec![GUARD; source.len() + 2 * GUARD_BYTES + 64];
    let to_line = room.as_ptr().addr().wrapping_neg() % 64;
    let start =
        GUARD_BYTES + to_line % 64 + target_skew % 64 - 64 * usize::from(to_line + target_skew % 64 >= 64);
    let mut copier = Copier::with_kernel(kernel, total_bytes, before);
    copier.copy_slice(&mut room[start..start + source.len()], source);
    let checksum = copier.finish();
    assert!(room[start..start + source.len()] == *source, "{kernel:?}: other bytes");
    assert!(room[..start].iter().all(|&byte| byte == GUARD), "{kernel:?}: wrote before the target");
    assert!(
        room[start + source.len()..].iter().all(|&byte| byte == GUARD),
        "{kernel:?}: wrote behind the target"
    );
    checksum
}

#[test]
fn the_portable_kernel_is_always_there_and_the_best_comes_first() {
    let names: Vec<_> = Kernel::available().map(Kernel::name).collect();
    assert_eq!(names.last(), Some(&"portable"));
    assert_eq!(names.first(), Some(&Kernel::best().name()));
}

#[test]
#[cfg(not(miri))]
fn the_kernels_on_offer_are_those_whose_instructions_the_standard_library_finds() {
    #[cfg(target_arch = "x86_64")]
    let (zmm, ymm, lanes) = {
        use std::arch::is_x86_feature_detected as has;
        let lanes = has!("avx2") && has!("sse4.2") && has!("pclmulqdq");
        let ymm = lanes && has!("vpclmulqdq");
        (ymm && has!("avx512f") && has!("avx512bw") && has!("avx512vl"), ymm, lanes)
    };
    #[cfg(target_arch = "aarch64")]
    let (zmm, ymm, lanes) = {
        use std::arch::is_aarch64_feature_detected as has;
        (false, false, has!("crc") && has!("pmull"))
    };
    let offered = |name| Kernel::available().any(|kernel| kernel.name() == name);
    assert_eq!(offered("folding-zmm"), zmm);
    assert_eq!(offered("folding-ymm"), ymm);
    assert_eq!(offered("lanes"), lanes);
}

#[test]
fn every_kernel_knows_the_check_value() {
    for kernel in Kernel::available() {
        for total_bytes in [0, STREAM_FROM_BYTES] {
            let checksum = copy_between_guards(kernel, b"123456789", 0, total_bytes, Crc32c::EMPTY);
            assert_eq!(checksum.value(), 0xe306_9283, "{kernel:?}");
        }
    }
}

#[test]
fn every_length_up_to_a_few_blocks_is_copied_and_summed_by_every_kernel() {
    let source = noise(if cfg!(miri) { 70 } else { 4_000 }, 1);
    for len in (0..source.len()).step_by(if cfg!(miri) { 7 } else { 1 }) {
        let expected = model(&source[..len]);
        for kernel in Kernel::available() {
            for total_bytes in [0, STREAM_FROM_BYTES] {
                let checksum = copy_between_guards(kernel, &source[..len], len, total_bytes, Crc32c::EMPTY);
                assert_eq!(checksum.value(), expected, "{kernel:?}, {len} bytes");
            }
        }
    }
}

#[test]
fn every_pair_of_alignments_is_copied_and_summed_by_every_kernel() {
    let noise = noise(1_000, 2);
    for source_skew in (0..64).step_by(if cfg!(miri) { 21 } else { 1 }) {
        let source = &noise[source_skew..];
        let expected = model(source);
        for target_skew in (0..64).step_by(if cfg!(miri) { 21 } else { 1 }) {
            for kernel in Kernel::available() {
                for total_bytes in [0, STREAM_FROM_BYTES] {
                    let checksum =
                        copy_between_guards(kernel, source, target_skew, total_bytes, Crc32c::EMPTY);
                    assert_eq!(checksum.value(), expected, "{kernel:?}, {source_skew} to {target_skew}");
                }
            }
        }
    }
}

#[test]
fn a_single_flipped_bit_is_seen_wherever_it_is() {
    let source = noise(if cfg!(miri) { 200 } else { 3_500 }, 3);
    for kernel in Kernel::available() {
        // SAFETY: a slice is valid for reads of its length.
        let sum = |bytes: &[u8]| unsafe { checksum_with(kernel, bytes.as_ptr(), bytes.len(), Crc32c::EMPTY) };
        let right = sum(&source);
        for at in (0..source.len()).step_by(17) {
            let mut wrong = source.clone();
            wrong[at] ^= 1 << (at % 8);
            assert_ne!(sum(&wrong), right, "{kernel:?}, byte {at}");
        }
    }
}

#[test]
fn the_dispatched_functions_agree_with_the_model() {
    let source = noise(if cfg!(miri) { 500 } else { STREAM_FROM_BYTES + 4_321 }, 4);
    let expected = model(&source);
    let mut target = vec![0; source.len()];
    assert_eq!(copy::copy_slice(&mut target, &source, Crc32c::EMPTY).value(), expected);
    assert!(target == source);
    target.fill(0);
    // SAFETY: two vectors of the same length.
    let raw = unsafe { copy::copy(target.as_mut_ptr(), source.as_ptr(), source.len(), Crc32c::EMPTY) };
    assert_eq!(raw.value(), expected);
    assert!(target == source);
    assert_eq!(copy::checksum_slice(&source, Crc32c::EMPTY).value(), expected);
    assert_eq!(Crc32c::EMPTY.update(&source).value(), expected);
}

#[test]
fn an_unverified_copy_is_exact_and_sums_nothing() {
    let source = noise(LONGEST, 5);
    for kernel in Kernel::available() {
        let mut target = vec![0; source.len()];
        let mut copier = Copier::unverified(kernel);
        copier.copy_slice(&mut target[3..], &source[3..]);
        assert_eq!(copier.finish(), Crc32c::EMPTY);
        assert!(target[3..] == source[3..], "{kernel:?}");
        assert_eq!(target[..3], [0; 3], "{kernel:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_at_any_alignment_after_any_prefix_agree_with_the_model(
        len in 0..LONGEST,
        source_skew in 0..64_usize,
        target_skew in 0..64_usize,
        prefix in 0..64_usize,
        seed: u64,
    ) {
        let bytes = noise(prefix + source_skew + len, seed);
        let (prefix, source) = (&bytes[..prefix], &bytes[prefix + source_skew..]);
        let expected = model(&[prefix, source].concat());
        let before = Crc32c::EMPTY.update(prefix);
        for kernel in Kernel::available() {
            for total_bytes in [0, STREAM_FROM_BYTES] {
                let checksum = copy_between_guards(kernel, source, target_skew, total_bytes, before);
                prop_assert_eq!(checksum.value(), expected, "{:?}", kernel);
            }
            // SAFETY: a slice is valid for reads of its length.
            let in_place = unsafe { checksum_with(kernel, source.as_ptr(), source.len(), before) };
            prop_assert_eq!(in_place.value(), expected, "{:?}", kernel);
        }
    }
}
