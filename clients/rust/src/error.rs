//! What can go wrong that is neither a miss nor a refusal.

use cascade_core::segment::LayoutError;
use std::io;
use std::path::PathBuf;

/// Why a call could not do its work. A miss is no error ([`crate::Lookup`]), nor is a refusal ([`crate::Refusal`]).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The handle was made before a `fork` and this is the child, which shares none of its memory.
    #[error("this handle belongs to the parent process: connect again after fork")]
    Forked,
    /// The node has gone and none took its place before the deadline. Resident pieces can still be read.
    #[error("the node is gone and did not come back before the deadline; resident pieces can still be read")]
    NodeLost,
    /// The node lives but did not answer before the deadline.
    #[error("the node did not answer before the deadline")]
    Deadline,
    /// No node listens where one is looked for.
    #[error("no node found; tried {}; start `cascade-node run` or set CASCADE_SOCKET", list(.tried))]
    NoNode {
        /// The paths that were tried, in order, with what was found there; of the folders beside
        /// ([`cascade_core::place::segment_directories`]) those that exist.
        tried: Vec<(PathBuf, io::Error)>,
    },
    /// The node, or the check of who it is, said no.
    #[error("the node refused: {0}")]
    Refused(String),
    /// The node's shared memory is not what this library reads.
    #[error("{0}: use client and node of one release")]
    Layout(#[from] LayoutError),
    /// The operating system said no.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Names what was being done when the system said no.
    pub(crate) fn io<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { doing, source: source.into() }
    }
}

fn list(tried: &[(PathBuf, io::Error)]) -> String {
    let one = |(path, error): &(PathBuf, io::Error)| format!("{} ({error})", path.display());
    tried.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_a_node_says_where_it_looked() {
        let tried = ["/a/node.sock", "/b/node.sock"]
            .map(|path| (PathBuf::from(path), io::Error::from(io::ErrorKind::NotFound)));
        let text = Error::NoNode { tried: tried.into() }.to_string();
        assert!(text.contains("/a/node.sock (") && text.contains("/b/node.sock ("), "{text}");
    }
}
