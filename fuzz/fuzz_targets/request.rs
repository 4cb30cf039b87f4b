//! Entries of a client's ring. For every input: refused, or a request that means the same after encoding and decoding.
#![no_main]

use cascade_core::request::{REQUEST_WORDS, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut words = [0; REQUEST_WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
    }
    if let Ok(request) = Request::decode(&words) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
});
