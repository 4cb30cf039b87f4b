//! The names of a store's files: what is in a file, and whose it is, stands in its name.

use super::ContainerId;
use std::fmt;

/// The file that makes a directory a store.
pub const STORE_NAME: &str = "cascade.store";

/// A file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// `cascade.store`.
    Store,
    /// `WRITER.manifest`: what a writer tells.
    Manifest(u64),
    /// `WRITER.folded`: what is left of the manifests of the dead.
    Folded(u64),
    /// `WRITER.SEQUENCE.pieces`.
    Container(ContainerId),
    /// `collector.GENERATION`: the claim of who collects.
    Claim(u32),
    /// `WRITER.new`: a file that is being written, and gets its name when it is whole.
    Unfinished(u64),
}

impl FileName {
    /// What a name is the name of; `None` for what is none of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<FileName> {
        let mut parts = name.split('.');
        let parsed = match (parts.next()?, parts.next()?, parts.next()) {
            ("cascade", "store", None) => FileName::Store,
            ("collector", generation, None) => FileName::Claim(number(generation, 8)? as u32),
            (writer, "manifest", None) => FileName::Manifest(number(writer, 16)?),
            (writer, "folded", None) => FileName::Folded(number(writer, 16)?),
            (writer, "new", None) => FileName::Unfinished(number(writer, 16)?),
            (writer, sequence, Some("pieces")) => FileName::Container(ContainerId {
                writer: number(writer, 16)?,
                sequence: number(sequence, 8)? as u32,
            }),
            _ => return None,
        };
        parts.next().is_none().then_some(parsed)
    }
}

/// A number in exactly so many lower-case hexadecimal digits: one number has one name.
fn number(text: &str, digits: usize) -> Option<u64> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(is_digit) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Store => formatter.write_str(STORE_NAME),
            FileName::Manifest(writer) => write!(formatter, "{writer:016x}.manifest"),
            FileName::Folded(writer) => write!(formatter, "{writer:016x}.folded"),
            FileName::Container(id) => write!(formatter, "{:016x}.{:08x}.pieces", id.writer, id.sequence),
            FileName::Claim(generation) => write!(formatter, "collector.{generation:08x}"),
            FileName::Unfinished(writer) => write!(formatter, "{writer:016x}.new"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_what_it_was_written_for() {
        let container = ContainerId { writer: 0x0123_4567_89ab_cdef, sequence: 0x42 };
        for name in [
            FileName::Store,
            FileName::Manifest(7),
            FileName::Folded(u64::MAX),
            FileName::Container(container),
            FileName::Claim(3),
            FileName::Unfinished(9),
        ] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        assert_eq!(FileName::Container(container).to_string(), "0123456789abcdef.00000042.pieces");
        assert_eq!(FileName::Store.to_string(), STORE_NAME);
    }

    #[test]
    fn what_others_put_there_is_none_of_ours() {
        for name in [
            "",
            ".",
            "README",
            "cascade.store.old",
            "7.manifest",
            "0123456789abcdeF.manifest",
            "+123456789abcdef.manifest",
            "0123456789abcdef.manifest~",
            "0123456789abcdef.00000042.pieces.bak",
            "0123456789abcdef.0000042.pieces",
            "0123456789abcdef.0000000042.pieces",
            "collector",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
