//! What the models share: a slot with bytes that loom watches, and names of pieces that differ in one word only.
#![allow(dead_code, reason = "each model uses its part")]

use cascade_core::hazard::{Reader, Scan, protect};
use cascade_core::key::BlockKey;
use cascade_core::piece::{PieceId, PieceMeta};
use cascade_core::slot::{Event, LINE_WORDS, Line, SlotRef, State};
use cascade_core::sync::{AtomicU64, zeroed_words};
use loom::cell::UnsafeCell;
use std::cell::Cell;

/// A slot of arena 0: its line and its bytes.
pub(crate) struct Slot {
    number: u32,
    line: Vec<AtomicU64>,
    bytes: UnsafeCell<u64>,
}

// SAFETY: the protocol under test is what orders accesses to the bytes; loom reports those that it does not order.
unsafe impl Sync for Slot {}
// SAFETY: as above; a word of bytes belongs to no thread.
unsafe impl Send for Slot {}

impl Slot {
    /// A slot never used.
    pub(crate) fn new(number: u32) -> Self {
        Self { number, line: zeroed_words(LINE_WORDS), bytes: UnsafeCell::new(0) }
    }

    /// A Ready slot at generation 1 that holds piece `name`.
    pub(crate) fn holding(number: u32, name: u64) -> Self {
        let slot = Self::new(number);
        slot.publish(name);
        slot
    }

    /// The line.
    pub(crate) fn line(&self) -> Line<'_> {
        Line::new(&self.line)
    }

    /// The handle of one use.
    pub(crate) fn at(&self, generation: u32) -> SlotRef {
        SlotRef { arena: 0, slot: self.number, generation }
    }

    /// The node's way of a put: grant, fill, describe, publish.
    pub(crate) fn publish(&self, name: u64) {
        self.line().step(Event::Grant { client: 0 }).unwrap();
        self.fill(name);
        self.line().describe(&meta(name));
        self.line().step(Event::Publish).unwrap();
    }

    /// Writes the bytes; a reader at the same time is a race.
    pub(crate) fn fill(&self, name: u64) {
        // SAFETY: loom fails the model if anyone else may be looking.
        self.bytes.with_mut(|bytes| unsafe { *bytes = name });
    }

    /// Reads the bytes; a writer at the same time is a race.
    pub(crate) fn bytes(&self) -> u64 {
        // SAFETY: loom fails the model if anyone may be writing.
        self.bytes.with(|bytes| unsafe { *bytes })
    }

    /// The node's way of an eviction: drain, look at all claims, reclaim or restore. Whether the slot is free.
    pub(crate) fn evict<'a>(&self, claims: impl FnOnce() -> Vec<&'a [AtomicU64]>) -> bool {
        let generation = self.line().step(Event::Drain).unwrap().generation;
        let mut scan = Scan::new(Vec::new());
        claims().into_iter().for_each(|cells| scan.add(cells));
        scan.finish();
        let named = scan.names(self.at(generation));
        self.line().step(if named { Event::Restore } else { Event::Reclaim }).unwrap();
        !named
    }

    /// The client's way of a get: note the generation, pin, compare the name. Whether `cell` pins piece `name`.
    pub(crate) fn pin(&self, cell: &AtomicU64, name: u64) -> bool {
        let Some(seen) = self.line().snapshot().filter(|seen| seen.state == State::Ready) else {
            return false;
        };
        if !protect(cell, self.at(seen.generation), self.line().state_word(), Reader::Anyone) {
            return false;
        }
        let named = self.line().names(&id(name));
        if !named {
            cascade_core::hazard::release(cell);
        }
        named
    }
}

thread_local! {
    // All threads of a model are coroutines of one thread of the machine.
    static YIELDS: Cell<bool> = const { Cell::new(false) };
}

/// Explores a model twice, without and with a yield where its first thread calls [`let_the_others_run`].
///
/// Loom needs both: where the first thread only looks, it does not try to run the others before it, and weakened
/// orderings passed; with the yield alone it tries hardly anything else.
pub(crate) fn explore(model: impl Fn() + Clone + Send + Sync + 'static) {
    for yields in [false, true] {
        YIELDS.set(yields);
        loom::model(model.clone());
    }
}

/// What a model's first thread calls after it has spawned the others; see [`explore`].
pub(crate) fn let_the_others_run() {
    if YIELDS.get() {
        loom::thread::yield_now();
    }
}

/// The piece that a small number stands for.
pub(crate) fn id(name: u64) -> PieceId {
    PieceId::sole(BlockKey::from_words([name, 0, 0, name]))
}

/// All about it.
pub(crate) fn meta(name: u64) -> PieceMeta {
    PieceMeta { id: id(name), len_bytes: name, checksum: name as u32, depth: 0 }
}
