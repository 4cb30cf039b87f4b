//! Which claim cells of the page are free: a bitmap of this process alone, without locks.
//!
//! Invariants: a cell has at most one holder; a free cell holds no claim. Threads start their search at different words,
//! so that they do not write to the same cache lines; low cells are preferred, since the node looks at all cells up to the
//! highest one ever used.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Cells are handed out by number.
#[derive(Debug)]
pub(crate) struct Cells {
    taken: Box<[AtomicU64]>,
}

impl Cells {
    /// Cells `0..count`, all free.
    pub(crate) fn new(count: usize) -> Self {
        assert!(count.is_multiple_of(64));
        Self { taken: (0..count / 64).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Takes a free cell, or `None` if there is none.
    pub(crate) fn take(&self) -> Option<usize> {
        let words = self.taken.len();
        let first = stripe() % words;
        for word in (first..words).chain(0..first) {
            let mut seen = self.taken[word].load(Ordering::Relaxed);
            while seen != u64::MAX {
                let bit = seen.trailing_ones();
                // Acquire: pairs with the Release in `give`; the last holder has emptied the cell.
                match self.taken[word].compare_exchange_weak(
                    seen,
                    seen | 1 << bit,
                    Ordering::Acquire,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Some(word * 64 + bit as usize),
                    Err(now) => seen = now,
                }
            }
        }
        None
    }

    /// Gives a cell back. It must be empty by now.
    pub(crate) fn give(&self, cell: usize) {
        // Release: pairs with the Acquire in `take`.
        let before = self.taken[cell / 64].fetch_and(!(1 << (cell % 64)), Ordering::Release);
        debug_assert!(before & 1 << (cell % 64) != 0, "cell {cell} given back twice");
    }
}

/// A small number that differs between threads, as far as there are numbers: where a thread keeps off the others' lines.
pub(crate) fn stripe() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) });
    STRIPE.with(|stripe| {
        if stripe.get() == usize::MAX {
            stripe.set(THREADS.fetch_add(1, Ordering::Relaxed) % 4096);
        }
        stripe.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_cell_has_one_holder_at_a_time() {
        let cells = Cells::new(128);
        let held: BTreeSet<_> = (0..128).map(|_| cells.take().unwrap()).collect();
        assert_eq!(held.len(), 128);
        assert_eq!(cells.take(), None);
        cells.give(77);
        assert_eq!(cells.take(), Some(77));
    }

    #[test]
    fn threads_never_share_a_cell() {
        let cells = Cells::new(64);
        let users: Vec<_> = (0..64).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        let cell = cells.take().unwrap();
                        assert_eq!(users[cell].fetch_add(1, Ordering::Relaxed), 0);
                        users[cell].fetch_sub(1, Ordering::Relaxed);
                        cells.give(cell);
                    }
                });
            }
        });
    }
}
