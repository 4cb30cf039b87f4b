//! Which engine: as configured, or the best that the machine has.

use super::{Caching, Depth, Engine, Pool, Ring};
use serde::{Deserialize, Serialize};
use std::io;

/// How bytes are asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A ring where the kernel has them and lets us, else threads.
    #[default]
    Auto,
    /// A ring. Without one, threads all the same: they are slower, not wrong.
    IoUring,
    /// Threads.
    Pread,
    /// Threads, and all files through the page cache.
    Buffered,
}

/// An engine, and what it is instead of.
pub struct Chosen {
    /// The engine.
    pub engine: Box<dyn Engine>,
    /// Why it is no ring, where one was wanted.
    pub no_ring: Option<String>,
}

impl Method {
    /// How containers are to be opened for it.
    #[must_use]
    pub const fn caching(self) -> Caching {
        match self {
            Method::Auto | Method::IoUring | Method::Pread => Caching::Avoided,
            Method::Buffered => Caching::Used,
        }
    }

    /// Starts the engine.
    ///
    /// # Errors
    /// The machine has neither rings nor threads for us.
    pub fn start(self, depth: Depth) -> io::Result<Chosen> {
        self.start_with(depth, Ring::new(depth))
    }

    fn start_with(self, depth: Depth, ring: io::Result<Ring>) -> io::Result<Chosen> {
        let name = if self == Method::Buffered { "buffered" } else { "pread" };
        let (engine, no_ring): (Box<dyn Engine>, _) = match (self, ring) {
            (Method::Auto | Method::IoUring, Ok(ring)) => (Box::new(ring), None),
            (Method::Auto | Method::IoUring, Err(error)) => {
                (Box::new(Pool::new(name, depth)?), Some(format!("no io_uring here: {error}")))
            }
            (Method::Pread | Method::Buffered, _) => (Box::new(Pool::new(name, depth)?), None),
        };
        #[cfg(feature = "faults")]
        let engine = match super::faulty::Faults::of_environment() {
            Some(faults) => Box::new(super::faulty::FaultyEngine::new(engine, faults)?),
            None => engine,
        };
        Ok(Chosen { engine, no_ring })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_rings(method: Method) -> Chosen {
        method.start_with(Depth::default(), Err(io::Error::from_raw_os_error(libc::EPERM))).unwrap()
    }

    #[test]
    fn where_rings_are_forbidden_threads_do_it_and_say_why() {
        for method in [Method::Auto, Method::IoUring] {
            let chosen = without_rings(method);
            assert_eq!(chosen.engine.name(), "pread");
            assert_eq!(
                chosen.no_ring.as_deref(),
                Some("no io_uring here: Operation not permitted (os error 1)")
            );
        }
    }

    #[test]
    fn who_asks_for_threads_is_told_nothing_of_rings() {
        for (method, name) in [(Method::Pread, "pread"), (Method::Buffered, "buffered")] {
            let chosen = without_rings(method);
            assert_eq!((chosen.engine.name(), chosen.no_ring), (name, None));
        }
    }
}
