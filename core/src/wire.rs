//! Frames on the node's Unix socket: attaching, and questions for people.
//!
//! A frame is a header of 16 bytes (magic, version, kind, length) and a body; file descriptors ride along where the
//! kind says so. Nothing hot goes this way. Decoding trusts nothing: a frame that is malformed, too long or of another
//! version is an error with a reason that a person can act on.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"CSCD";
/// Version of the frames.
pub const VERSION: u16 = 1;
/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 16;
/// The longest body, in bytes.
pub const BODY_MAX_BYTES: usize = 1 << 20;

/// What goes over the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Client → node: let me in. With a page of an earlier attachment to the same segment, it is taken up again.
    Attach {
        /// The segment that the client has mapped, 0 for none.
        segment_id: u64,
        /// Its page in that segment.
        page: u16,
        /// What the page's owner word says.
        owner: u64,
    },
    /// Node → client: you are in. Descriptors: bell of the node, bell of the client, pages, meta (read-only), arenas.
    Attached {
        /// The segment.
        segment_id: u64,
        /// The client's page.
        page: u16,
        /// What the page's owner word says.
        owner: u64,
        /// The epoch of the node.
        epoch: u64,
        /// A bit for each arena whose descriptor rides along.
        arenas: u8,
    },
    /// Node → client: no, and why.
    Refused(String),
    /// A question for the node, by name (`status`, `plugins`), answered with [`Frame::Answer`].
    Query(String),
    /// The answer, one JSON value.
    Answer(String),
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The first bytes are not [`MAGIC`].
    Magic,
    /// Another version, with the version found.
    Version(u16),
    /// A kind that this version does not know.
    Kind(u16),
    /// A body longer than [`BODY_MAX_BYTES`], or of the wrong length for its kind.
    Length(u32),
    /// A text that is not UTF-8.
    Text,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("not a Cascade frame: is another program listening on this socket?"),
            Self::Version(found) => {
                write!(
                    f,
                    "frame version {found}, this program speaks {VERSION}: use client and node of one release"
                )
            }
            Self::Kind(found) => write!(f, "unknown frame kind {found}"),
            Self::Length(found) => write!(f, "frame body of {found} bytes"),
            Self::Text => f.write_str("frame text is not UTF-8"),
        }
    }
}

impl core::error::Error for WireError {}

/// The header of a frame, to know how much to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    kind: u16,
    /// Bytes of the body.
    pub body_bytes: usize,
}

impl Header {
    /// Decodes the 16 bytes in front of a body.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, WireError> {
        if bytes[..4] != MAGIC {
            return Err(WireError::Magic);
        }
        let version = u16::from_le_bytes([bytes[4], bytes[5]]);
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let kind = u16::from_le_bytes([bytes[6], bytes[7]]);
        let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if length as usize > BODY_MAX_BYTES || bytes[12..] != [0; 4] {
            return Err(WireError::Length(length));
        }
        Ok(Self { kind, body_bytes: length as usize })
    }
}

impl Frame {
    /// Header and body.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let kind: u16 = match self {
            Frame::Attach { segment_id, page, owner } => {
                put(&mut body, &[*segment_id, u64::from(*page), *owner]);
                1
            }
            Frame::Attached { segment_id, page, owner, epoch, arenas } => {
                put(&mut body, &[*segment_id, u64::from(*page), *owner, *epoch, u64::from(*arenas)]);
                2
            }
            Frame::Refused(text) => text_body(&mut body, text, 3),
            Frame::Query(text) => text_body(&mut body, text, 4),
            Frame::Answer(text) => text_body(&mut body, text, 5),
        };
        let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
        frame.extend_from_slice(&MAGIC);
        frame.extend_from_slice(&VERSION.to_le_bytes());
        frame.extend_from_slice(&kind.to_le_bytes());
        frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&body);
        frame
    }

    /// The frame with this header and body.
    pub fn decode(header: Header, body: &[u8]) -> Result<Self, WireError> {
        let length = WireError::Length(body.len() as u32);
        let text = || core::str::from_utf8(body).map(String::from).map_err(|_| WireError::Text);
        let narrow = |word: u64| u16::try_from(word).map_err(|_| length.clone());
        Ok(match header.kind {
            1 => {
                let [segment_id, page, owner] = words(body).ok_or(length.clone())?;
                Frame::Attach { segment_id, page: narrow(page)?, owner }
            }
            2 => {
                let [segment_id, page, owner, epoch, arenas] = words(body).ok_or(length.clone())?;
                let arenas = u8::try_from(arenas).map_err(|_| length.clone())?;
                Frame::Attached { segment_id, page: narrow(page)?, owner, epoch, arenas }
            }
            3 => Frame::Refused(text()?),
            4 => Frame::Query(text()?),
            5 => Frame::Answer(text()?),
            kind => return Err(WireError::Kind(kind)),
        })
    }
}

fn put(body: &mut Vec<u8>, words: &[u64]) {
    for word in words {
        body.extend_from_slice(&word.to_le_bytes());
    }
}

fn text_body(body: &mut Vec<u8>, text: &str, kind: u16) -> u16 {
    let mut end = text.len().min(BODY_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    body.extend_from_slice(&text.as_bytes()[..end]);
    kind
}

fn words<const N: usize>(body: &[u8]) -> Option<[u64; N]> {
    if body.len() != N * 8 {
        return None;
    }
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(body.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
    }
    Some(words)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> Result<Frame, WireError> {
        let header = Header::decode(bytes[..HEADER_BYTES].try_into().unwrap())?;
        Frame::decode(header, &bytes[HEADER_BYTES..])
    }

    proptest! {
        #[test]
        fn a_frame_survives_the_socket(a: u64, page: u16, b: u64, c: u64, arenas: u8, text: String) {
            for frame in [
                Frame::Attach { segment_id: a, page, owner: b },
                Frame::Attached { segment_id: a, page, owner: b, epoch: c, arenas },
                Frame::Refused(text.clone()),
                Frame::Query(text.clone()),
                Frame::Answer(text),
            ] {
                prop_assert_eq!(decode(&frame.encode()), Ok(frame));
            }
        }

        #[test]
        fn bytes_that_are_no_frame_are_refused(bytes in prop::collection::vec(any::<u8>(), 16..80)) {
            prop_assert!(decode(&bytes).is_err());
            let mut framed = Frame::Query(String::new()).encode();
            framed[6] = bytes[0];
            framed.extend_from_slice(&bytes);
            if let Ok(frame) = decode(&framed) {
                prop_assert_eq!(decode(&frame.encode()), Ok(frame));
            }
        }
    }
}
