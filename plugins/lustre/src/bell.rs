//! A descriptor that is readable while somebody is called.

use cascade_tier::{Status, TierError};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A bell that is heard from when it is rung until it is quieted, however often it was rung.
#[derive(Debug)]
pub(crate) struct Bell {
    event: OwnedFd,
    is_rung: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> Result<Bell, TierError> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| {
            TierError::new(Status::IO, format!("cannot make an event descriptor: {error}; raise `ulimit -n`"))
        })?;
        Ok(Bell { event, is_rung: AtomicBool::new(false) })
    }

    /// Rings. A system call only if it was quiet.
    pub(crate) fn ring(&self) {
        // AcqRel: pairs with the swap in `quiet`: either the ringer finds it quiet and rings, or the woken sees what was done
        // before.
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            let result = write(&self.event, &1_u64.to_ne_bytes());
            debug_assert_eq!(result, Ok(8));
        }
    }

    /// Quiets it; look at what there is to do only afterwards.
    pub(crate) fn quiet(&self) {
        // In this order: a ring in between writes anew or is seen by the look that follows. Nothing to read is no failure.
        let _ = read(&self.event, &mut [0_u8; 8]);
        // AcqRel: pairs with the swap in `ring`.
        self.is_rung.swap(false, Ordering::AcqRel);
    }

    /// Makes it say whether there is something; for those who all hold one lock, and never call the others. A system call only
    /// if that changed.
    pub(crate) fn set(&self, rung: bool) {
        // Relaxed: the callers' lock orders it.
        if self.is_rung.swap(rung, Ordering::Relaxed) != rung {
            let result = if rung {
                write(&self.event, &1_u64.to_ne_bytes())
            } else {
                read(&self.event, &mut [0_u8; 8])
            };
            debug_assert_eq!(result, Ok(8));
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
