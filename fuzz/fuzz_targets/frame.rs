//! Frames on the node's socket. For every input: refused with a reason, or a frame that encodes to the same bytes.
#![no_main]

use cascade_core::wire::{BODY_MAX_BYTES, Frame, HEADER_BYTES, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(header_bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return };
    let Ok(header) = Header::decode(header_bytes) else { return };
    // The node waits for so much: it must be bounded.
    assert!(header.body_bytes <= BODY_MAX_BYTES);
    let Some(body) = bytes.get(HEADER_BYTES..HEADER_BYTES + header.body_bytes) else { return };
    if let Ok(frame) = Frame::decode(header, body) {
        assert_eq!(frame.encode(), bytes[..HEADER_BYTES + header.body_bytes]);
    }
});
