//! Plugins that are wrong in one way each. One library holds them all, each under its own symbol.

use cascade_tier::vtable::Vtable;
use cascade_tier::{ABI_VERSION, Capabilities, CloseMode, Completion, Operation, Status, Tier, TierError};
use std::ptr;

/// A tier that panics where its configuration says: `open`, `submit`, `stats`, `drop`, or `probe`.
#[derive(Debug)]
pub struct Panicking {
    place: String,
}

impl Panicking {
    fn panic_at(&self, place: &str) {
        assert!(self.place != place, "told to panic in {place}");
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        self.panic_at("drop");
    }
}

impl Tier for Panicking {
    fn probe(config: &str) -> Result<String, TierError> {
        assert!(config != "probe", "told to panic in probe");
        Ok("{}".to_owned())
    }

    fn open(config: &str) -> Result<Panicking, TierError> {
        let tier = Panicking { place: config.to_owned() };
        tier.panic_at("open");
        Ok(tier)
    }

    fn close(self, _: CloseMode) -> Result<(), TierError> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn submit(&mut self, _: &[Operation]) -> Result<usize, TierError> {
        self.panic_at("submit");
        Ok(0)
    }

    fn poll(&mut self, _: &mut [Completion]) -> Result<usize, TierError> {
        Ok(0)
    }

    fn cancel(&mut self, request_id: u64) -> Result<(), TierError> {
        Err(TierError::new(Status::NOT_FOUND, format!("request {request_id} is not under way")))
    }

    fn stats(&self) -> String {
        self.panic_at("stats");
        "{}".to_owned()
    }
}

cascade_tier::export_tier!(faulty, Panicking);

const WHOLE: Vtable = Vtable::of::<Panicking>("faulty", "0");

/// Speaks no version that there is.
#[unsafe(no_mangle)]
pub extern "C" fn cascade_tier_null(_: u32) -> *const Vtable {
    ptr::null()
}

/// Answers every host with a later version of the table.
#[unsafe(no_mangle)]
pub extern "C" fn cascade_tier_later(_: u32) -> *const Vtable {
    static LATER: Vtable = Vtable { abi_version: ABI_VERSION + 1, ..WHOLE };
    &raw const LATER
}

/// Says the right version, but its table ends early.
#[unsafe(no_mangle)]
pub extern "C" fn cascade_tier_short(_: u32) -> *const Vtable {
    static SHORT: Vtable = Vtable { size_bytes: WHOLE.size_bytes - 8, ..WHOLE };
    &raw const SHORT
}

/// As long as a table, with the right beginning and not one function.
#[unsafe(no_mangle)]
pub extern "C" fn cascade_tier_hole(_: u32) -> *const Vtable {
    const WORDS: usize = size_of::<Vtable>() / 8;
    static HOLE: [u64; WORDS] = {
        let mut words = [0; WORDS];
        words[0] = size_of::<Vtable>() as u64;
        let version = ABI_VERSION.to_ne_bytes();
        words[1] = u64::from_ne_bytes([version[0], version[1], version[2], version[3], 0, 0, 0, 0]);
        words
    };
    (&raw const HOLE).cast()
}
