//! A panic in any tier: caught, told, and the handle poisoned. The fault is a wrapper around the tier under test.

use super::Scratch;
use crate::subjects::Subject;
use cascade_tier::vtable::Vtable;
use cascade_tier::{
    ABI_VERSION, Capabilities, CloseMode, Completion, Library, Memory, MemoryId, Operation, Status, Tier,
    TierError,
};
use std::cell::Cell;
use std::ptr;

thread_local! {
    /// Which method panics, in tiers that this thread uses.
    static PANICS_IN: Cell<&'static str> = const { Cell::new("") };
}

fn panic_in(method: &str) {
    assert!(PANICS_IN.get() != method, "told to panic in {method}");
}

/// A tier that panics where it is told to, and is the tier that it holds everywhere else.
struct Panicking<T>(T);

impl<T: Tier> Tier for Panicking<T> {
    fn probe(config: &str) -> Result<String, TierError> {
        panic_in("probe");
        T::probe(config)
    }

    fn open(config: &str) -> Result<Panicking<T>, TierError> {
        let tier = T::open(config)?;
        panic_in("open");
        Ok(Panicking(tier))
    }

    fn close(self, mode: CloseMode) -> Result<(), TierError> {
        panic_in("close");
        self.0.close(mode)
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn exports(&self) -> &[Memory] {
        panic_in("exports");
        self.0.exports()
    }

    fn register_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        self.0.register_memory(memory)
    }

    fn submit(&mut self, operations: &[Operation]) -> Result<usize, TierError> {
        panic_in("submit");
        self.0.submit(operations)
    }

    fn poll(&mut self, completions: &mut [Completion]) -> Result<usize, TierError> {
        panic_in("poll");
        self.0.poll(completions)
    }

    fn cancel(&mut self, request_id: u64) -> Result<(), TierError> {
        panic_in("cancel");
        self.0.cancel(request_id)
    }

    fn stats(&self) -> String {
        panic_in("stats");
        self.0.stats()
    }
}

extern "C" fn entry<T: Tier>(host_abi_version: u32) -> *const Vtable {
    if host_abi_version == ABI_VERSION {
        // One table for each test that asks; a table lives for ever.
        Box::leak(Box::new(Vtable::of::<Panicking<T>>("panicking", "0")))
    } else {
        ptr::null()
    }
}

pub(crate) fn a_panic_is_an_error_and_poisons_the_handle_alone<S: Subject>() {
    let library = Library::from_entry(entry::<S::Tier>).unwrap();
    let scratch = Scratch::new();
    let config = S::config(scratch.path());
    for method in ["exports", "submit", "poll", "cancel", "stats"] {
        PANICS_IN.set("");
        let mut tier = library.open(&config).unwrap();
        PANICS_IN.set(method);
        let error = match method {
            "exports" => tier.exports().unwrap_err(),
            "submit" => tier.submit(&[Operation::new(1, cascade_tier::Action::Unknown(0))]).unwrap_err(),
            "poll" => tier.poll(&mut Vec::new()).unwrap_err(),
            "cancel" => tier.cancel(1).unwrap_err(),
            _ => tier.stats().unwrap_err(),
        };
        assert_eq!(error.status, Status::PANICKED);
        assert!(error.message.contains(&format!("told to panic in {method}")), "{error}");
        PANICS_IN.set("");
        assert_eq!(tier.stats().unwrap_err().status, Status::PANICKED, "the handle stays poisoned");
        assert_eq!(tier.close(CloseMode::Unlink).unwrap_err().status, Status::PANICKED);
    }
    // Each of them let go of what it had: else the tier could not be opened again, here and above.
    library.open(&config).unwrap().close(CloseMode::Unlink).unwrap();
}

pub(crate) fn a_panic_without_a_handle_is_an_error<S: Subject>() {
    let library = Library::from_entry(entry::<S::Tier>).unwrap();
    let scratch = Scratch::new();
    let config = S::config(scratch.path());
    PANICS_IN.set("probe");
    assert_eq!(library.probe("{}").unwrap_err().status, Status::PANICKED);
    PANICS_IN.set("open");
    let error = library.open(&config).unwrap_err();
    assert_eq!(error.status, Status::PANICKED);
    assert!(error.message.contains("told to panic in open"), "{error}");
    PANICS_IN.set("close");
    let tier = library.open(&config).unwrap();
    assert_eq!(tier.close(CloseMode::Unlink).unwrap_err().status, Status::PANICKED);
    PANICS_IN.set("");
    library.open(&config).unwrap().close(CloseMode::Unlink).unwrap();
}
