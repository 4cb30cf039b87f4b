//! Texts across the boundary: what does not fit is kept, and the work behind it is not done twice.

use cascade_tier::vtable::{Text, TextBuffer, Vtable};
use cascade_tier::{
    ABI_VERSION, Capabilities, CloseMode, Completion, Library, Operation, Status, Tier, TierError,
};
use std::sync::atomic::{AtomicU32, Ordering};

/// How often garbage was collected, over all tests: each uses its own configuration.
static COLLECTED: AtomicU32 = AtomicU32::new(0);

/// A tier that only reports.
struct Reporter;

impl Tier for Reporter {
    fn probe(config: &str) -> Result<String, TierError> {
        Ok(config.repeat(2))
    }

    fn collect_garbage(_: &str) -> Result<String, TierError> {
        let times = COLLECTED.fetch_add(1, Ordering::Relaxed);
        Ok(format!("collected for the {times}. time{}", ".".repeat(10_000)))
    }

    fn open(config: &str) -> Result<Reporter, TierError> {
        Err(TierError::invalid(config.repeat(3)))
    }

    fn close(self, _: CloseMode) -> Result<(), TierError> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn submit(&mut self, _: &[Operation]) -> Result<usize, TierError> {
        Ok(0)
    }

    fn poll(&mut self, _: &mut [Completion]) -> Result<usize, TierError> {
        Ok(0)
    }

    fn cancel(&mut self, _: u64) -> Result<(), TierError> {
        Ok(())
    }

    fn stats(&self) -> String {
        "{}".to_owned()
    }
}

extern "C" fn entry(_: u32) -> *const Vtable {
    static TABLE: Vtable = Vtable::of::<Reporter>("reporter", "1");
    &raw const TABLE
}

/// Collects garbage with a buffer of so many bytes: status, full length, what was written.
fn collect(config: &str, capacity: usize) -> (Status, u64, String) {
    let mut bytes = vec![0; capacity];
    let mut buffer = TextBuffer { data: bytes.as_mut_ptr(), capacity: capacity as u64, length: 0 };
    // SAFETY: the table lives for ever; the text and the buffer are what they say and live through the call.
    let status = unsafe { ((*entry(ABI_VERSION)).collect_garbage)(Text::new(config), &raw mut buffer) };
    bytes.truncate(buffer.length.min(capacity as u64) as usize);
    (status, buffer.length, String::from_utf8(bytes).unwrap())
}

#[test]
fn a_report_that_did_not_fit_comes_at_the_next_call_and_the_work_is_done_once() {
    let (status, length, start) = collect("a", 20);
    assert_eq!((status, start.len()), (Status::TRUNCATED, 20));
    let (status, same_length, whole) = collect("a", length as usize);
    assert_eq!((status, same_length), (Status::OK, length));
    assert!(whole.starts_with(&start), "it is the report of the first call");
    let (_, _, next) = collect("a", length as usize);
    assert_ne!(next, whole, "what was read once is not kept");
}

#[test]
fn a_report_is_kept_for_the_same_question_only() {
    let (_, length, first) = collect("b", 20);
    let (_, _, other) = collect("c", length as usize);
    assert!(!other.starts_with(&first));
}

#[test]
fn long_reports_and_reasons_come_whole() {
    let library = Library::from_entry(entry).unwrap();
    let long = "question ".repeat(5000);
    assert_eq!(library.probe(&long).unwrap(), long.repeat(2));
    assert!(library.open(&long).unwrap_err().message.ends_with(&long.repeat(3)));
    assert!(library.open("").unwrap_err().message.starts_with("reporter: "));
}
