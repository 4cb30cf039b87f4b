//! The function table itself, called as a host in another language would: null and small buffers, numbers that mean nothing.

use super::Scratch;
use crate::subjects::Subject;
use cascade_tier::vtable::{Handle, Text, TextBuffer, Vtable};
use cascade_tier::{ABI_VERSION, Memory, Status};
use std::ptr;

fn table<S: Subject>() -> &'static Vtable {
    // SAFETY: an entry that is given its own version returns a table that lives for ever.
    unsafe { &*(S::ENTRY)(ABI_VERSION) }
}

fn open<S: Subject>(scratch: &Scratch) -> Handle {
    let config = S::config(scratch.path());
    let mut handle = ptr::null_mut();
    // SAFETY: the text and the place for the handle live through the call.
    let status = unsafe { (table::<S>().open)(Text::new(&config), &raw mut handle) };
    assert_eq!(status, Status::OK);
    handle
}

pub(crate) fn null_is_refused_everywhere<S: Subject>() {
    let table = table::<S>();
    let null: Handle = ptr::null_mut();
    let scratch = Scratch::new();
    let config = S::config(scratch.path());
    // SAFETY: the text lives through the call. It must not open what nobody could close: the next line opens it.
    assert_eq!(unsafe { (table.open)(Text::new(&config), ptr::null_mut()) }, Status::INVALID);
    let handle = open::<S>(&scratch);
    // SAFETY: the table's functions take null for any pointer, which is what is tested; the handle is open until `close`.
    unsafe {
        assert_eq!((table.capabilities)(null, ptr::null_mut()), Status::INVALID);
        assert_eq!((table.submit)(null, ptr::null(), 0, ptr::null_mut()), Status::INVALID);
        assert_eq!((table.poll)(null, ptr::null_mut(), 0, ptr::null_mut()), Status::INVALID);
        assert_eq!((table.stats)(null, ptr::null_mut()), Status::INVALID);
        assert_eq!((table.close)(null, 0), Status::INVALID);
        assert_eq!((table.capabilities)(handle, ptr::null_mut()), Status::INVALID);
        let mut memory = Memory::new("?", 0);
        let has_memory = (table.export_memory)(handle, 0, &raw mut memory).is_ok();
        let refusal = if has_memory { Status::INVALID } else { Status::NOT_FOUND };
        assert_eq!((table.export_memory)(handle, 0, ptr::null_mut()), refusal);
        assert_eq!((table.export_memory)(handle, u64::MAX, ptr::null_mut()), Status::NOT_FOUND);
        assert_eq!((table.register_memory)(handle, ptr::null(), ptr::null_mut()), Status::INVALID);
        assert_eq!((table.stats)(handle, ptr::null_mut()), Status::INVALID);
        let mut count = 9;
        assert_eq!((table.submit)(handle, ptr::null(), 5, &raw mut count), Status::OK);
        assert_eq!(count, 0);
        assert_eq!((table.close)(handle, 77), Status::INVALID);
    }
}

pub(crate) fn a_text_that_does_not_fit_is_handed_over_at_the_next_call<S: Subject>() {
    let table = table::<S>();
    let scratch = Scratch::new();
    let handle = open::<S>(&scratch);
    let mut start = [0_u8; 4];
    let mut small = TextBuffer { data: start.as_mut_ptr(), capacity: 4, length: 0 };
    // SAFETY: the handle is open, and the buffers are what they say.
    unsafe {
        assert_eq!((table.stats)(handle, &raw mut small), Status::TRUNCATED);
        assert!(small.length > 4);
        let mut whole = vec![0_u8; small.length as usize];
        let mut large = TextBuffer { data: whole.as_mut_ptr(), capacity: small.length, length: 0 };
        assert_eq!((table.stats)(handle, &raw mut large), Status::OK);
        assert_eq!((large.length, &whole[..4]), (small.length, &start[..]));
        assert_eq!((table.close)(handle, 0), Status::OK);
    }
}
