//! How a call or an operation ended, as one number.
//! Invariant: a number keeps its meaning for ever; new ones are appended. An unknown number is an error, never a crash.

use std::fmt;

/// How a call or an operation ended.
///
/// A newtype and not an enum: the number comes from other people's code, and an unknown one must stay a value.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u32);

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Status = Status($number);)*

            /// Every status that this version knows, in order of its number.
            pub const ALL: &'static [Status] = &[$(Status::$name),*];

            /// The name as written here, or `UNKNOWN` for a number of a later version.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($number => stringify!($name),)*
                    _ => "UNKNOWN",
                }
            }
        }
    };
}

statuses! {
    /// Done, in full.
    OK = 0;
    /// The arguments are wrong: an unknown memory, a range outside of it, a configuration that cannot be read.
    INVALID = 1;
    /// This tier does not do that; its capabilities say so.
    UNSUPPORTED = 2;
    /// Nothing is there under that name, id or extent.
    NOT_FOUND = 3;
    /// No room, or none that is safe to take. Try less, or later.
    NO_SPACE = 4;
    /// The deadline passed before the work was done.
    EXPIRED = 5;
    /// The host withdrew the request before the work was done.
    CANCELLED = 6;
    /// The bytes are not the piece that was asked for: key, length or checksum differ.
    CORRUPT = 7;
    /// The operating system or the device refused; the message says what.
    IO = 8;
    /// What lies behind the tier is given up for now (a lost peer, a hung file system): do not wait for it.
    FENCED = 9;
    /// A living process owns what was to be opened; the message names it.
    OWNED = 10;
    /// The tier panicked. The handle is poisoned: only `close` and `last_error` still work on it.
    PANICKED = 11;
    /// The text did not fit: `TextBuffer::length` says how much room it takes. Nothing is lost, call again.
    TRUNCATED = 12;
    /// The tier can take no writes any more, but reads go on (a full quota).
    READ_ONLY = 13;
}

impl Status {
    /// Whether the call or operation did what was asked.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == Status::OK.0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "UNKNOWN" => write!(formatter, "status {}", self.0),
            name => formatter.write_str(name),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_number_and_name() {
        for (number, status) in Status::ALL.iter().enumerate() {
            assert_eq!(status.0 as usize, number);
            assert_ne!(status.name(), "UNKNOWN");
        }
        assert_eq!(Status(4_000_000).to_string(), "status 4000000");
    }
}
