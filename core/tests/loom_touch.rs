//! Touches: notes may be lost, never made up.
#![cfg(loom)]

use cascade_core::slot::SlotRef;
use cascade_core::sync::{AtomicU64, Ordering, zeroed_words};
use cascade_core::touch::{NOTE_WORDS, Touch, Touches};
use loom::sync::Arc;
use loom::thread;

fn touch(name: u32) -> Touch {
    Touch { tail: SlotRef { arena: 0, slot: name, generation: 1 }, blocks: name }
}

fn touches(words: &[AtomicU64]) -> Touches<'_> {
    Touches::new(&words[0], &words[1..])
}

/// How many notes were begun, and those of them that the node believes.
fn believed(words: &[AtomicU64]) -> (u64, Vec<Touch>) {
    let mut notes = Vec::new();
    let begun = touches(words).read(0, |note| notes.push(note));
    (begun, notes)
}

#[test]
fn a_note_torn_by_an_overwrite_is_never_believed() {
    loom::model(|| {
        // Room for one note, so that every note overwrites the one before it.
        let words = Arc::new(zeroed_words(1 + NOTE_WORDS));
        let writer = |name: u32| {
            let words = words.clone();
            thread::spawn(move || touches(&words).note(touch(name)))
        };
        let writers = [writer(1), writer(2)];
        for note in believed(&words).1 {
            assert!(note == touch(1) || note == touch(2), "made up: {note:?}");
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        for note in believed(&words).1 {
            assert!(note == touch(1) || note == touch(2), "made up: {note:?}");
        }
    });
}

#[test]
fn a_note_that_is_complete_is_heard() {
    loom::model(|| {
        let words = Arc::new(zeroed_words(1 + NOTE_WORDS));
        let shared = words.clone();
        let client = thread::spawn(move || touches(&shared).note(touch(1)));
        let complete = words[2].load(Ordering::Relaxed) != 0;
        let (begun, heard) = believed(&words);
        assert!(begun == 0 || !complete || heard == [touch(1)], "lost without an overwrite");
        client.join().unwrap();
        assert_eq!(believed(&words), (1, vec![touch(1)]));
    });
}
