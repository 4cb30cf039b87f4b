//! The planted bug. This target must fail: if the fuzzer does not find four bytes one after another, it finds nothing,
//! and the silence of the other targets means nothing. `cargo xtask fuzz` expects the failure.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Nested, so that each byte found is new coverage: the guidance is what is under test.
    if bytes.first() == Some(&b'c')
        && bytes.get(1) == Some(&b'a')
        && bytes.get(2) == Some(&b'g')
        && bytes.get(3) == Some(&b'e')
    {
        panic!("the canary sings: the fuzzer works");
    }
});
